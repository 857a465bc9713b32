// From the cluster's objects to this node's BGP sessions: the node-to-node mesh and the BGPPeer objects. Pure: the result
// is a function of what was told last, in whatever order; only what a change touches is worked out again. A BGPPeer is about both
// ends: the nodes that it is for have sessions with the nodes that it selects or names, and so those with them.
import { isDeepStrictEqual } from 'node:util'
import type { Resource } from '../../api/kinds.ts'
import { matchesSelector } from '../../api/selector.ts'
import { broken, type CauseOf, type Condition, type ObjectRef } from '../../api/status.ts'
import { BGP_PORT } from '../../bgp/config.ts'
import { familyOf, parseSocketAddress } from '../../lib/ip.ts'
import { closedCause } from './fields.ts'
import { KnownNodes } from './known-nodes.ts'
import { type BgpPeer, type KnownPeer, KnownPeers, type PeersOf, secretsOf } from './known-peers.ts'
import { askedPod, type LocalPod } from './local-pods.ts'
import { asNumberOf, badAsLabel } from './node-as.ts'
import { addressesOf, type NodeFacts } from './nodes.ts'
import { type Password, passwordOf, type SecretKey, sameKey } from './passwords.ts'
import { badAddress, NO_AS_NUMBER, nodeConditions, noPeers, sharesFamily } from './peer-conditions.ts'
import { Ranges } from './ranges.ts'
import { rankAt, selects } from './ranks.ts'
import { Reflection, type ReflectionAsked } from './reflection.ts'
import {
  type Guard,
  guarded,
  originOf,
  type PeerChange,
  RANK,
  type SessionRequest,
  SessionRequests,
} from './session-requests.ts'
import {
  type Asked,
  type FarEnd,
  meshSession,
  namedBack,
  namedSession,
  type PeerOrigin,
  placeSession,
  type SessionEnd,
  selectedSession,
} from './sessions.ts'
import type { AskedAo } from './tcp-ao.ts'

const FAMILIES = ['ipv4', 'ipv6'] as const
const NO_KEYS: AskedAo = { keys: [] }

export class Peers {
  readonly #nodes = new KnownNodes()
  /** The ports of nodes that do not listen on that of the cluster. */
  readonly #listenPorts = new Map<string, number>()
  readonly #bgpPeers = new KnownPeers()
  #of: PeersOf
  /** Why the mesh has no sessions, whatever its password. */
  #meshClosed: CauseOf<'PeersConfigured'> | undefined
  /** What is wrong with other Nodes, seen from this one: they have something of this node, or nothing in common with it. */
  readonly #ofNodes = new Map<string, readonly Condition[]>()
  readonly #requests = new SessionRequests()
  readonly #ranges = new Ranges(this.#requests)
  readonly #problems = new Map<string, Condition>()
  /** Interfaces of pods that run here, by the ids of their endpoints. */
  readonly #pods = new Map<string, LocalPod>()
  readonly #reflection: Reflection

  constructor(of: PeersOf) {
    this.#of = of
    this.#reflection = new Reflection(of.nodeName, this.#nodes)
    this.#reflection.set(of.reflectors)
    this.#meshClosed = closedCause('BGPConfiguration', { metadata: { name: 'default' }, spec: of.config })
  }

  /** This node's AS number: its own, or the cluster's. */
  get asn(): number {
    return asNumberOf(this.#nodes.get(this.#of.nodeName), this.#of)
  }

  /** The cluster id that people gave this node, where they made it a route reflector. */
  get clusterId(): string | undefined {
    return this.#nodes.get(this.#of.nodeName)?.clusterId
  }

  /** What this node has to say of automatic reflectors; undefined: nothing, or it is none of the mesh. */
  reflection(): ReflectionAsked | undefined {
    return this.#meshes ? this.#reflection.asked() : undefined
  }

  /** The cluster's BGP settings, or an address of this node, changed. */
  configure(change: Partial<Omit<PeersOf, 'nodeName'>>): void {
    const of = { ...this.#of, ...change }
    if (isDeepStrictEqual(of, this.#of)) return
    this.#of = of
    this.#meshClosed = closedCause('BGPConfiguration', { metadata: { name: 'default' }, spec: of.config })
    this.#reflection.set(of.reflectors)
    this.#all()
  }

  /** A Node changed, appeared, or went. */
  node(name: string, facts: NodeFacts | undefined): void {
    const before = this.#nodes.get(name)
    if (isDeepStrictEqual(facts, before)) return
    const addresses = this.#nodes.set(name, facts)
    if (this.#reflection.nodeChanged(name) || name === this.#of.nodeName) this.#all()
    // the node may be gone: what it asked for goes too
    this.#node(name)
    // a peer that is named by its address may now be a node, or no longer, or another one
    this.#namedAt(addresses)
  }

  /** A node has a port of its own; undefined: it has that of the cluster. */
  listenPort(name: string, port: number | undefined): void {
    if (port === this.#listenPorts.get(name)) return
    if (port === undefined) this.#listenPorts.delete(name)
    else this.#listenPorts.set(name, port)
    if (name === this.#of.nodeName) this.#all()
    this.#node(name)
    this.#namedAt(addressesOf(this.#nodes.get(name)))
  }

  /** A BGPPeer changed, appeared, or went. */
  bgpPeer(name: string, object: Resource<'BGPPeer'> | undefined): void {
    this.#bgpPeers.set(name, object)
    this.#bgpPeer(name)
  }

  /** A BGPFilter changed, appeared, or went: the BGPPeers that name it follow. */
  filter(name: string, object: Resource<'BGPFilter'> | undefined): void {
    for (const peerName of this.#bgpPeers.filter(name, object)) this.#bgpPeer(peerName)
  }

  /** An interface of a pod of this node changed, appeared, or went. Whether some BGPPeer is for pods at all. */
  pod(id: string, pod: LocalPod | undefined): boolean {
    if (isDeepStrictEqual(pod, this.#pods.get(id))) return false
    if (pod === undefined) this.#pods.delete(id)
    else this.#pods.set(id, pod)
    const names = [...this.#bgpPeers.names()].filter(
      name => this.#bgpPeers.get(name)!.object.spec.localWorkloadSelector !== undefined,
    )
    for (const name of names) this.#withPod(name, id)
    return names.length > 0
  }

  /** What is known of a password; undefined: it is being read, and nothing that needs it comes up. */
  password(secret: SecretKey, password: Password | undefined): void {
    const theirs = this.#bgpPeers.password(secret, password)
    if (theirs === undefined) return
    for (const name of theirs) this.#bgpPeer(name)
    if (!secretsOf(this.#meshNeeds).some(each => sameKey(each, secret))) return
    for (const facts of this.#nodes.all()) this.#mesh(facts.name, facts)
  }

  /** The passwords that sessions of this node need. */
  secrets(): SecretKey[] {
    const named = this.#bgpPeers.secrets(peer => this.#requests.asks(peer))
    const ofMesh = this.#meshes ? secretsOf(this.#meshNeeds) : []
    return [...named, ...ofMesh].filter(secret => secret !== undefined)
  }

  /** The sessions that changed since the last call. */
  take(): PeerChange[] {
    return this.#ranges.judge(this.#requests.take())
  }

  /** The prefix of each BGPPeer whose peers are in one. */
  ranges(): ReadonlyMap<string, string> {
    return this.#ranges.prefixes()
  }

  /** Whether an object asks for a session of this node with an address, also where there must be none. */
  asksFor(address: string): boolean {
    const isForThis = (name: string) => this.#rankAt(this.#bgpPeers.get(name)!.object, this.#of.nodeName) !== undefined
    return this.#requests.has(address) || this.#bgpPeers.at([address]).some(isForThis)
  }

  /** BGPPeers and the label of this node that could not be followed, and addresses that more than one object claims. */
  refused(): Condition[] {
    return [
      ...this.#problems.values(),
      ...this.#bgpPeers.refused(peer => this.#requests.asks(peer), this.#of.bfd),
      ...this.#requests.clashes(),
      ...this.#ranges.refused(this.#of),
      ...[...this.#ofNodes.values()].flat(),
      ...this.#alone(),
      ...[badAsLabel(this.#nodes.get(this.#of.nodeName), this.#of)].filter(each => each !== undefined),
    ]
  }

  #all(): void {
    for (const name of this.#nodes.names()) this.#node(name)
    for (const name of this.#bgpPeers.names()) this.#bgpPeer(name)
  }

  /** Works out the sessions with one node: by the mesh, and by the selectors of BGPPeers. */
  #node(name: string): void {
    const facts = this.#nodes.get(name)
    this.#mesh(name, facts)
    for (const peerName of this.#bgpPeers.names()) this.#joined(peerName, name)
    const conditions = facts === undefined || name === this.#of.nodeName ? [] : nodeConditions(facts, this.#of)
    if (conditions.length === 0) this.#ofNodes.delete(name)
    else this.#ofNodes.set(name, conditions)
  }

  #mesh(name: string, facts: NodeFacts | undefined): void {
    const by: ObjectRef = { kind: 'Node', name }
    for (const family of FAMILIES)
      this.#requests.set(by, facts === undefined ? undefined : this.#meshRequest(facts, family), family)
  }

  #bgpPeer(name: string): void {
    for (const node of this.#nodes.names()) this.#joined(name, node)
    this.#named(name)
    for (const id of this.#pods.keys()) this.#withPod(name, id)
  }

  /** Works out the sessions of the BGPPeers that name one of these addresses. */
  #namedAt(addresses: readonly string[]): void {
    if (addresses.length > 0) for (const name of this.#bgpPeers.at(addresses)) this.#named(name)
  }

  /** Works out the session of a BGPPeer that names its peer: by an interface, a range, or an address that is not this node's. */
  #named(name: string): void {
    const known = this.#bgpPeers.get(name)
    const by: ObjectRef = { kind: 'BGPPeer', name }
    this.#problems.delete(name)
    this.#requests.set(by, undefined)
    const { peerSelector, localWorkloadSelector } = known?.object.spec ?? {}
    if (known === undefined || (peerSelector ?? localWorkloadSelector) !== undefined) return
    const rank = this.#rankAt(known.object, this.#of.nodeName)
    if (rank === undefined) return
    const { place, fault } = known.place
    const asked = this.#bgpPeers.asked(known)
    const origin = originOf(rank)
    const named =
      place === undefined
        ? this.#namedPeer(asked, origin, fault)
        : { peer: placeSession(origin, this.#ownEnd(), place, asked), isMain: true }
    if (named === undefined) return
    if ('reason' in named) this.#problems.set(name, broken('PeersConfigured', { ...named, object: by }))
    else this.#requests.set(by, guarded({ rank, by, origin, ...named }, this.#bgpPeers.guardOf(known)))
  }

  /** Works out the sessions of a BGPPeer with one pod of this node, one in each family. Of several BGPPeers the first by name has it, as in Calico. */
  #withPod(name: string, id: string): void {
    const by: ObjectRef = { kind: 'BGPPeer', name }
    const known = this.#bgpPeers.get(name)
    const pod = this.#pods.get(id)
    const isFor =
      known !== undefined && pod !== undefined && this.#rankAt(known.object, this.#of.nodeName) !== undefined
    const { localWorkloadSelector = '!all()', asNumber } = known?.object.spec ?? {}
    const selected = isFor && matchesSelector(localWorkloadSelector, pod.labels) ? pod : undefined
    const asked = selected && this.#bgpPeers.asked(known!)
    const missing: CauseOf<'PeersConfigured'>[] = []
    for (const family of FAMILIES) {
      const address = selected?.addresses.find(each => familyOf(each) === family)
      let request: SessionRequest | undefined
      if (asked !== undefined && address !== undefined && asNumber !== undefined) {
        const end = { endpoint: id, interfaceName: selected!.interfaceName }
        const ends = { own: this.#ownEnd(), pod: end, far: { address, asn: asNumber } }
        const { peer, fault } = askedPod(ends, asked, this.#of.peering?.[family])
        const common = { rank: RANK.node, by, origin: 'workload', isMain: true } as const
        if (fault !== undefined) missing.push(fault)
        if (peer !== undefined) request = guarded({ ...common, peer }, this.#bgpPeers.guardOf(known!))
      }
      this.#requests.set(by, request, `for pod ${id} ${family}`)
    }
    const key = `${name} for pod ${id}`
    if (missing[0] === undefined) this.#problems.delete(key)
    else this.#problems.set(key, broken('PeersConfigured', { ...missing[0], object: by }))
  }

  /** Undefined where the BGPPeer names this node itself: it is for the others. */
  #namedPeer(
    asked: Asked,
    origin: PeerOrigin,
    fault: CauseOf<'PeersConfigured'> | undefined,
  ): Pick<SessionRequest, 'peer' | 'isMain' | 'way'> | CauseOf<'PeersConfigured'> | undefined {
    const { peerIP = '', asNumber, reversePeering, reachableBy } = asked.spec
    const { address } = parseSocketAddress(peerIP, BGP_PORT) ?? {}
    if (address === undefined) return fault ?? badAddress(peerIP)
    if ([this.#of.address, this.#of.ipv6Address].includes(address)) return undefined
    const node = this.#nodes.at(address)
    // without a port it is that at which the machine listens: a node's own, which may be another one than BGP's
    const mainPort = node === undefined ? BGP_PORT : this.#portOf(node.name)
    const { port } = parseSocketAddress(peerIP, mainPort)!
    const asn = asNumber ?? (node && asNumberOf(node, this.#of))
    if (asn === undefined) return NO_AS_NUMBER
    const isMain = port === mainPort
    const comesBack = node !== undefined && isMain && asn === asNumberOf(node, this.#of) && reversePeering !== 'Manual'
    const { clusterId } = node ?? {}
    const reflects = node !== undefined && this.#reflection.has(node.name)
    const far = { address, port, asn, clusterId, reflects, isNode: node !== undefined, comesBack }
    const way = reachableBy ? { gateway: reachableBy, bgpPeer: asked.metadata.name } : undefined
    return { peer: namedSession(origin, this.#ownEnd(), far, asked), isMain, way }
  }

  /** Works out the sessions that a BGPPeer asks for with one node that it selects, or that is for it where it selects or names this one. */
  #joined(peerName: string, nodeName: string): void {
    const known = this.#bgpPeers.get(peerName)
    const by: ObjectRef = { kind: 'BGPPeer', name: peerName }
    const far = this.#nodes.get(nodeName)
    for (const family of FAMILIES) {
      const address = known === undefined || far === undefined ? undefined : this.#farAddress(far, family)
      const asked = address === undefined ? undefined : this.#between(known!, far!, address)
      const request = asked && guarded({ ...asked, by, far, isMain: true }, this.#bgpPeers.guardOf(known!))
      this.#requests.set(by, request, `for Node ${nodeName} ${family}`)
    }
  }

  #between(
    known: KnownPeer,
    far: NodeFacts,
    address: string,
  ): Pick<SessionRequest, 'rank' | 'origin' | 'peer' | 'isReverse'> | undefined {
    const { object } = known
    const [own, end, asked] = [this.#ownEnd(), this.#farEnd(far, address), this.#bgpPeers.asked(known)]
    if (object.spec.peerSelector !== undefined) {
      const { rank, origin } = selects(object, this.#nodes.named(this.#of.nodeName), far) ?? {}
      return rank === undefined ? undefined : { rank, origin: origin!, peer: selectedSession(origin!, own, end, asked) }
    }
    const rank = this.#namesThis(object, familyOf(address)) ? this.#rankAt(object, far.name) : undefined
    return rank === undefined ? undefined : { rank, origin: 'node', isReverse: true, peer: namedBack(own, end, asked) }
  }

  /** Whether a BGPPeer names this node as what it is to its peers: the nodes that it is for then have sessions with this one. */
  #namesThis({ spec: { peerIP = '', asNumber, reversePeering } }: BgpPeer, family: 'ipv4' | 'ipv6'): boolean {
    const { nodeName, address, ipv6Address } = this.#of
    const ownPort = this.#portOf(nodeName)
    const target = parseSocketAddress(peerIP, ownPort)
    if (target === undefined || target.address !== (family === 'ipv4' ? address : ipv6Address)) return false
    return target.port === ownPort && (asNumber ?? this.asn) === this.asn && reversePeering !== 'Manual'
  }

  #meshRequest(far: NodeFacts, family: 'ipv4' | 'ipv6'): SessionRequest | undefined {
    // reflectors and their clients do not mesh: they are joined by BGPPeer objects
    if (!this.#meshes || far.clusterId !== undefined) return undefined
    if (!this.#reflection.joins(this.#of.nodeName, far.name)) return undefined
    const address = this.#farAddress(far, family)
    if (address === undefined) return undefined
    const { config, bfd = {} } = this.#of
    const peer = meshSession(this.#ownEnd(), this.#farEnd(far, address), { config, ...this.#bgpPeers.withKey(bfd) })
    const request = { rank: RANK.mesh, by: { kind: 'Node', name: far.name }, origin: 'mesh', far, peer } as const
    return guarded({ ...request, isMain: true }, this.#meshGuard)
  }

  /** Whether this node takes part in the mesh. */
  get #meshes(): boolean {
    return this.#of.config.nodeToNodeMeshEnabled && this.clusterId === undefined
  }

  /** What the mesh's sessions need. */
  get #meshNeeds(): Pick<KnownPeer, 'closed' | 'secret' | 'bfd' | 'ao'> {
    const { config, bfd = {}, ao = NO_KEYS } = this.#of
    return { closed: this.#meshClosed, secret: passwordOf(config.nodeMeshPassword), bfd, ao }
  }

  get #meshGuard(): Guard {
    return this.#bgpPeers.guardOf(this.#meshNeeds)
  }

  #rankAt(object: BgpPeer, nodeName: string): number | undefined {
    return rankAt(object, this.#nodes.named(nodeName))
  }

  /** The address of another node that this node can have a session with. */
  #farAddress(facts: NodeFacts, family: 'ipv4' | 'ipv6'): string | undefined {
    const { nodeName, address, ipv6Address } = this.#of
    const [own, far] = family === 'ipv4' ? [address, facts.address] : [ipv6Address, facts.ipv6Address]
    return own === undefined || far === own || facts.name === nodeName ? undefined : far
  }

  #ownEnd(): SessionEnd {
    const { nodeName, address: ipv4, ipv6Address: ipv6 } = this.#of
    return { asn: this.asn, clusterId: this.clusterId, reflects: this.#reflection.has(nodeName), ipv4, ipv6 }
  }

  #farEnd({ name, clusterId, ...facts }: NodeFacts, address: string): FarEnd {
    const reflects = this.#reflection.has(name)
    return { address, asn: asNumberOf({ name, ...facts }, this.#of), port: this.#portOf(name), clusterId, reflects }
  }

  /** Where a node listens. */
  #portOf(nodeName: string): number {
    return this.#listenPorts.get(nodeName) ?? this.#of.config.listenPort
  }

  /** Why this node has no session at all, where there are other nodes. */
  #alone(): Condition[] {
    const { nodeName } = this.#of
    const object: ObjectRef = { kind: 'BGPConfiguration', name: 'default' }
    const { closed, isPending } = this.#meshes ? this.#meshGuard : {}
    if (closed !== undefined && !isPending) return [broken('PeersConfigured', { ...closed, object })]
    if (this.#requests.size > 0 || this.#problems.size > 0) return []
    // one that has no family in common has a condition of its own
    const others = this.#nodes.all().some(facts => facts.name !== nodeName && sharesFamily(facts, this.#of))
    if (!others) return []
    return [broken('PeersConfigured', { ...noPeers(this.clusterId), object: { kind: 'Node', name: nodeName } })]
  }
}
