// From the cluster's objects to this node's BGP sessions: the node-to-node mesh and the BGPPeer objects. Pure: the result
// is a function of what was told last, in whatever order; only what a change touches is worked out again. One address is
// one session, since a peer is known by the address it connects from. A BGPPeer with a selector is about both ends: the
// nodes that it is for have sessions with the selected ones, and so the selected ones with them.
import { isDeepStrictEqual } from 'node:util'
import type { Resource } from '../../api/kinds.ts'
import { matchesSelector } from '../../api/selector.ts'
import { broken, type Condition, type ConditionCause, formatRef, type ObjectRef } from '../../api/status.ts'
import type { PeerConfig } from '../../bgp/config.ts'
import { closedCause } from './fields.ts'
import { type NodeFacts, routerIdOf } from './nodes.ts'
import { badAddress, clash, identifierClash, NO_AS_NUMBER, noCommonFamily, noPeers } from './peer-conditions.ts'
import {
  namedSession,
  nodeSession,
  type PeerOrigin,
  type Session,
  type SessionEnd,
  selectedSession,
} from './sessions.ts'
import type { BgpSettings } from './settings.ts'

/** What all sessions of this node have in common. */
export type PeersOf = {
  nodeName: string
  address?: string
  ipv6Address?: string
  config: BgpSettings
}

/** The session to set under its name, with its origin; or only the name of one that ends. Those that end come first. */
export type PeerChange = { name: string; peer?: PeerConfig; origin?: PeerOrigin }

/**
 * A session that one object asks for. Of several for one address the lowest `rank` has it, then the first by name.
 * `closed`: it must not come up, and no other one for this address either.
 */
type SessionRequest = {
  rank: number
  by: ObjectRef
  /** The far end, where it is another node: of several with one address the first by precedence and name has it. */
  far?: NodeFacts
  peer: Session
  closed: boolean
}

/** A BGPPeer for one node beats one for a group of nodes, which beats one for all; any of them beats the mesh. */
const RANK = { node: 0, selector: 1, global: 2, mesh: 3 } as const

const FAMILIES = ['ipv4', 'ipv6'] as const

export class Peers {
  readonly #nodes = new Map<string, NodeFacts>()
  /** The ports of nodes that do not listen on that of the cluster. */
  readonly #listenPorts = new Map<string, number>()
  readonly #bgpPeers = new Map<string, { object: Resource<'BGPPeer'>; closed: ConditionCause | undefined }>()
  #of: PeersOf
  /** Why the mesh has no sessions. */
  #meshClosed: ConditionCause | undefined
  /** What is wrong with other Nodes, seen from this one: they have something of this node, or nothing in common with it. */
  readonly #ofNodes = new Map<string, readonly Condition[]>()
  /** By address, then by the object that asks for it. */
  readonly #requests = new Map<string, Map<string, SessionRequest>>()
  /** The address that each source asks for: `Node n2 ipv4`, `BGPPeer rack`, `BGPPeer rack for Node n2 ipv4`. */
  readonly #addresses = new Map<string, string>()
  /** Addresses that more than one source asks for. */
  readonly #shared = new Set<string>()
  readonly #problems = new Map<string, Condition>()
  readonly #wanted = new Map<string, { name: string; peer: PeerConfig }>()
  readonly #dirty = new Set<string>()

  constructor(of: PeersOf) {
    this.#of = of
    this.#meshClosed = meshClosed(of.config)
  }

  /** This node's AS number: its own, or the cluster's. */
  get asn(): number {
    return this.#asnOf(this.#nodes.get(this.#of.nodeName))
  }

  /** The cluster id of this node, where it is a route reflector. */
  get clusterId(): string | undefined {
    return this.#nodes.get(this.#of.nodeName)?.clusterId
  }

  /** The cluster's BGP settings, or an address of this node, changed. */
  configure(change: Partial<Omit<PeersOf, 'nodeName'>>): void {
    const of = { ...this.#of, ...change }
    if (isDeepStrictEqual(of, this.#of)) return
    this.#of = of
    this.#meshClosed = meshClosed(of.config)
    this.#all()
  }

  /** A Node changed, appeared, or went. */
  node(name: string, facts: NodeFacts | undefined): void {
    const before = this.#nodes.get(name)
    if (isDeepStrictEqual(facts, before)) return
    if (facts === undefined) this.#nodes.delete(name)
    else this.#nodes.set(name, facts)
    if (name === this.#of.nodeName) this.#all()
    // the node may be gone: what it asked for goes too
    this.#node(name)
    // a peer that is named by its address may now be a node, or no longer
    const addresses = (of: NodeFacts | undefined) => [of?.address, of?.ipv6Address]
    if (isDeepStrictEqual(addresses(before), addresses(facts))) return
    for (const peerName of this.#bgpPeers.keys()) this.#named(peerName)
  }

  /** A node has a port of its own; undefined: it has that of the cluster. */
  listenPort(name: string, port: number | undefined): void {
    if (port === this.#listenPorts.get(name)) return
    if (port === undefined) this.#listenPorts.delete(name)
    else this.#listenPorts.set(name, port)
    this.#node(name)
  }

  /** A BGPPeer changed, appeared, or went. */
  bgpPeer(name: string, object: Resource<'BGPPeer'> | undefined): void {
    if (object === undefined) this.#bgpPeers.delete(name)
    else this.#bgpPeers.set(name, { object, closed: closedCause('BGPPeer', object) })
    this.#bgpPeer(name)
  }

  /** The sessions that changed since the last call. */
  take(): PeerChange[] {
    const ended: PeerChange[] = []
    const set: PeerChange[] = []
    for (const address of this.#dirty) {
      const before = this.#wanted.get(address)
      const winner = this.#winner(address)
      const peer = winner?.closed === true ? undefined : winner?.peer
      const name = peer?.name
      if (before !== undefined && before.name !== name) ended.push({ name: before.name })
      if (peer === undefined || name === undefined) this.#wanted.delete(address)
      else {
        if (!isDeepStrictEqual(before?.peer, peer)) set.push({ name, peer, origin: originOf(winner!.rank) })
        this.#wanted.set(address, { name, peer })
      }
    }
    this.#dirty.clear()
    return [...ended, ...set]
  }

  /** BGPPeers that could not be followed, and addresses that more than one object claims. */
  refused(): Condition[] {
    return [
      ...this.#problems.values(),
      ...this.#closed(),
      ...this.#clashes(),
      ...[...this.#ofNodes.values()].flat(),
      ...this.#alone(),
    ]
  }

  /** BGPPeers that ask for a session with this node that must not come up. */
  #closed(): Condition[] {
    return [...this.#bgpPeers].flatMap(([name, { closed }]) => {
      const object: ObjectRef = { kind: 'BGPPeer', name }
      const source = `${formatRef(object)} `
      if (closed === undefined || !this.#addresses.keys().some(each => each.startsWith(source))) return []
      return [broken('PeersConfigured', { ...closed, object })]
    })
  }

  #all(): void {
    for (const name of this.#nodes.keys()) this.#node(name)
    for (const name of this.#bgpPeers.keys()) this.#bgpPeer(name)
  }

  /** Works out the sessions with one node: by the mesh, and by the selectors of BGPPeers. */
  #node(name: string): void {
    const facts = this.#nodes.get(name)
    const by: ObjectRef = { kind: 'Node', name }
    for (const family of FAMILIES)
      this.#request(by, facts === undefined ? undefined : this.#meshRequest(facts, family), family)
    for (const peerName of this.#bgpPeers.keys()) this.#selected(peerName, name)
    const conditions = facts === undefined || name === this.#of.nodeName ? [] : this.#conditionsOf(facts)
    if (conditions.length === 0) this.#ofNodes.delete(name)
    else this.#ofNodes.set(name, conditions)
  }

  #bgpPeer(name: string): void {
    for (const node of this.#nodes.keys()) this.#selected(name, node)
    this.#named(name)
  }

  /** Works out the session of a BGPPeer with `peerIP`. */
  #named(name: string): void {
    const { object, closed } = this.#bgpPeers.get(name) ?? {}
    const by: ObjectRef = { kind: 'BGPPeer', name }
    this.#problems.delete(name)
    this.#request(by, undefined)
    if (object === undefined || object.spec.peerSelector !== undefined) return
    const rank = this.#rankAt(object, this.#of.nodeName)
    if (rank === undefined) return
    const peer = this.#namedPeer(object, rank)
    if (peer === undefined) return
    if ('reason' in peer) this.#problems.set(name, broken('PeersConfigured', { ...peer, object: by }))
    else this.#request(by, { rank, by, peer, closed: closed !== undefined })
  }

  /** Works out the sessions of a BGPPeer with `peerSelector` with one node. */
  #selected(peerName: string, nodeName: string): void {
    const { object, closed } = this.#bgpPeers.get(peerName) ?? {}
    const by: ObjectRef = { kind: 'BGPPeer', name: peerName }
    const facts = this.#nodes.get(nodeName)
    const rank = object === undefined || facts === undefined ? undefined : this.#rankBetween(object, facts)
    for (const family of FAMILIES) {
      let request: SessionRequest | undefined
      if (object !== undefined && facts !== undefined && rank !== undefined) {
        const address = this.#farAddress(facts, family)
        if (address !== undefined) {
          const peer = selectedSession(originOf(rank), this.#ownEnd(), this.#farEnd(facts, address), object)
          request = { rank, by, far: facts, peer, closed: closed !== undefined }
        }
      }
      this.#request(by, request, `for Node ${nodeName} ${family}`)
    }
  }

  #meshRequest(facts: NodeFacts, family: 'ipv4' | 'ipv6'): SessionRequest | undefined {
    const { config } = this.#of
    // reflectors and their clients do not mesh: they are joined by BGPPeer objects
    if (!config.nodeToNodeMeshEnabled || this.clusterId !== undefined || facts.clusterId !== undefined) return undefined
    const address = this.#farAddress(facts, family)
    if (address === undefined) return undefined
    const peer = nodeSession('mesh', this.#ownEnd(), this.#farEnd(facts, address), config.nodeMeshMaxRestartTime)
    const closed = this.#meshClosed !== undefined
    return { rank: RANK.mesh, by: { kind: 'Node', name: facts.name }, far: facts, peer, closed }
  }

  /** Undefined where the BGPPeer names this node itself: it is for the others. */
  #namedPeer(object: Resource<'BGPPeer'>, rank: number): Session | ConditionCause | undefined {
    const { asNumber, peerIP = '' } = object.spec
    const isNode = (at: string) =>
      this.#nodes.values().some(({ address, ipv6Address }) => at === address || at === ipv6Address)
    const peer = namedSession(originOf(rank), this.#ownEnd(), asNumber ?? 0, object, isNode)
    if (peer === undefined) return badAddress(peerIP)
    if (asNumber === undefined) return NO_AS_NUMBER
    return [this.#of.address, this.#of.ipv6Address].includes(peer.address) ? undefined : peer
  }

  /** The rank of a BGPPeer at a node; undefined: it is for other nodes. */
  #rankAt({ spec }: Resource<'BGPPeer'>, nodeName: string): number | undefined {
    if (spec.node !== undefined) return spec.node === nodeName ? RANK.node : undefined
    if (spec.nodeSelector === undefined) return RANK.global
    return matchesSelector(spec.nodeSelector, this.#nodes.get(nodeName)?.labels ?? {}) ? RANK.selector : undefined
  }

  /** The rank of a BGPPeer with `peerSelector` for the session with another node, seen from either end. */
  #rankBetween(object: Resource<'BGPPeer'>, far: NodeFacts): number | undefined {
    const { nodeName } = this.#of
    const { peerSelector } = object.spec
    if (peerSelector === undefined || far.name === nodeName) return undefined
    const own = this.#nodes.get(nodeName)?.labels ?? {}
    const ranks = [
      matchesSelector(peerSelector, far.labels) ? this.#rankAt(object, nodeName) : undefined,
      matchesSelector(peerSelector, own) ? this.#rankAt(object, far.name) : undefined,
    ].filter(rank => rank !== undefined)
    return ranks.length === 0 ? undefined : Math.min(...ranks)
  }

  /** The address of another node that this node can have a session with. */
  #farAddress(facts: NodeFacts, family: 'ipv4' | 'ipv6'): string | undefined {
    const { nodeName, address, ipv6Address } = this.#of
    const [own, far] = family === 'ipv4' ? [address, facts.address] : [ipv6Address, facts.ipv6Address]
    return own === undefined || far === own || facts.name === nodeName ? undefined : far
  }

  #asnOf(facts: NodeFacts | undefined): number {
    return facts?.asn ?? this.#of.config.asNumber
  }

  #ownEnd(): SessionEnd {
    const { address: ipv4, ipv6Address: ipv6 } = this.#of
    return { asn: this.asn, clusterId: this.clusterId, ipv4, ipv6 }
  }

  #farEnd(facts: NodeFacts, address: string): Parameters<typeof nodeSession>[2] {
    const port = this.#listenPorts.get(facts.name) ?? this.#of.config.listenPort
    return { address, asn: this.#asnOf(facts), port, clusterId: facts.clusterId }
  }

  /** Replaces what one source asks for; `which` tells apart the sessions of one object. */
  #request(by: ObjectRef, request: SessionRequest | undefined, which = ''): void {
    const source = `${formatRef(by)} ${which}`
    const before = this.#addresses.get(source)
    if (before !== undefined) this.#change(before, source, undefined)
    if (request === undefined) this.#addresses.delete(source)
    else {
      this.#addresses.set(source, request.peer.address)
      this.#change(request.peer.address, source, request)
    }
  }

  #change(address: string, source: string, request: SessionRequest | undefined): void {
    const requests = this.#requests.get(address) ?? new Map<string, SessionRequest>()
    if (request === undefined) requests.delete(source)
    else requests.set(source, request)
    if (requests.size === 0) this.#requests.delete(address)
    else this.#requests.set(address, requests)
    if (requests.size > 1) this.#shared.add(address)
    else this.#shared.delete(address)
    this.#dirty.add(address)
  }

  #winner(address: string): SessionRequest | undefined {
    return [...(this.#requests.get(address)?.values() ?? [])].sort(byRank)[0]
  }

  /** One condition per object that lost an address to another one. A BGPPeer that replaces a session of the mesh is no clash. */
  #clashes(): Condition[] {
    const lost = new Map<string, { loser: ObjectRef; winner: ObjectRef; addresses: string[] }>()
    for (const address of this.#shared) {
      const [winner, ...others] = [...(this.#requests.get(address)?.values() ?? [])].sort(byRank)
      for (const { by: loser, rank } of others) {
        if (winner === undefined || (rank === RANK.mesh && winner.rank !== RANK.mesh)) continue
        const key = `${formatRef(loser)} ${formatRef(winner.by)}`
        if (formatRef(loser) === formatRef(winner.by)) continue // a BGPPeer that selects two nodes of one address
        const entry = lost.get(key) ?? { loser, winner: winner.by, addresses: [] }
        entry.addresses.push(address)
        lost.set(key, entry)
      }
    }
    return [...lost.values()].map(({ loser, winner, addresses }) => clash(loser, winner, addresses.sort()))
  }

  /**
   * Another Node that has an address of this node, which is its only holder; or its BGP identifier, without which there is no
   * session (RFC 6286 §2.2) and reflected routes look like loops; or no address of a family of this node.
   */
  #conditionsOf(facts: NodeFacts): Condition[] {
    const { nodeName, address, ipv6Address } = this.#of
    const [far, here]: ObjectRef[] = [
      { kind: 'Node', name: facts.name },
      { kind: 'Node', name: nodeName },
    ]
    const same = [facts.address, facts.ipv6Address].filter(each => each !== undefined)
    const shared = same.filter(each => each === address || each === ipv6Address)
    if (shared.length > 0) return [clash(far!, here!, shared)]
    if (same.length === 0) return []
    const routerId = routerIdOf({ name: nodeName, address })
    return [
      ...(routerIdOf(facts) === routerId ? [identifierClash(far!, here!, routerId)] : []),
      ...(this.#sharesFamily(facts) ? [] : [noCommonFamily(far!, facts)]),
    ]
  }

  #sharesFamily(facts: NodeFacts): boolean {
    const { address, ipv6Address } = this.#of
    return (
      (address !== undefined && facts.address !== undefined) ||
      (ipv6Address !== undefined && facts.ipv6Address !== undefined)
    )
  }

  /** Why this node has no session at all, where there are other nodes. */
  #alone(): Condition[] {
    const { nodeName, config } = this.#of
    const object: ObjectRef = { kind: 'BGPConfiguration', name: 'default' }
    const closed = config.nodeToNodeMeshEnabled && this.clusterId === undefined ? this.#meshClosed : undefined
    if (closed !== undefined) return [broken('PeersConfigured', { ...closed, object })]
    if (this.#requests.size > 0 || this.#problems.size > 0) return []
    // one that has no family in common has a condition of its own
    const others = this.#nodes.values().some(facts => facts.name !== nodeName && this.#sharesFamily(facts))
    if (!others) return []
    return [broken('PeersConfigured', { ...noPeers(this.clusterId), object: { kind: 'Node', name: nodeName } })]
  }
}

function meshClosed(spec: PeersOf['config']): ConditionCause | undefined {
  return closedCause('BGPConfiguration', { metadata: { name: 'default' }, spec })
}

function byRank(a: SessionRequest, b: SessionRequest): number {
  const key = ({ by, far }: SessionRequest) => {
    const node = far === undefined ? '' : `${far.precedence} ${far.name}`
    return by.kind === 'Node' ? node : `${formatRef(by)} ${node}`
  }
  return a.rank - b.rank || (key(a) < key(b) ? -1 : 1)
}

function originOf(rank: number): PeerOrigin {
  if (rank === RANK.mesh) return 'mesh'
  return rank === RANK.global ? 'global' : 'node'
}
