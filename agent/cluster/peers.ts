// From the cluster's objects to this node's BGP sessions: the node-to-node mesh and the BGPPeer objects. Pure: the result
// is a function of what was told last, in whatever order; only what a change touches is worked out again. One address is
// one session, since a peer is known by the address it connects from. Peers and their names follow Calico (`Mesh_`,
// `Node_`, `Global_`), so that an operator reads the same words.
import { isDeepStrictEqual } from 'node:util'
import type { Resource } from '../../api/kinds.ts'
import { matchesSelector } from '../../api/selector.ts'
import { broken, type Condition, type ConditionCause, formatRef, type ObjectRef } from '../../api/status.ts'
import { BGP_PORT, type PeerConfig } from '../../bgp/config.ts'
import { unicastFamily } from '../../bgp/family.ts'
import { familyOf, parseSocketAddress } from '../../lib/ip.ts'
import type { NodeFacts } from './nodes.ts'

/** What all sessions of this node have in common. */
export type PeersOf = { nodeName: string; address: string; config: Resource<'BGPConfiguration'>['spec'] }

/** Where a session comes from: the mesh, or a BGPPeer for some nodes or for all. */
export type PeerOrigin = 'mesh' | 'node' | 'global'

/** The session to set under its name, with its origin; or only the name of one that ends. Those that end come first. */
export type PeerChange = { name: string; peer?: PeerConfig; origin?: PeerOrigin }

/** A session that one object asks for. Of several for one address the lowest `rank` has it, then the first by name. */
type SessionRequest = { rank: number; by: ObjectRef; peer: Session }

type Session = PeerConfig & { name: string; address: string }

/** A BGPPeer for one node beats one for a group of nodes, which beats one for all; any of them beats the mesh. */
const RANK = { node: 0, selector: 1, global: 2, mesh: 3 } as const

/** Seconds that neighbours keep our routes while this node's agent is away; long enough for an upgrade's restart. */
const RESTART_SECONDS = 120

/** Most addresses that a clash names. */
const MOST_NAMED = 3

export class Peers {
  readonly #nodes = new Map<string, NodeFacts>()
  readonly #bgpPeers = new Map<string, Resource<'BGPPeer'>>()
  #of: PeersOf
  /** By address, then by the object that asks for it. */
  readonly #requests = new Map<string, Map<string, SessionRequest>>()
  /** The address that each source asks for: `Node n2`, `BGPPeer rack`, `BGPPeer rack for Node n2`. */
  readonly #addresses = new Map<string, string>()
  /** Addresses that more than one source asks for. */
  readonly #shared = new Set<string>()
  readonly #problems = new Map<string, Condition>()
  readonly #wanted = new Map<string, { name: string; peer: PeerConfig }>()
  readonly #dirty = new Set<string>()

  constructor(of: PeersOf) {
    this.#of = of
  }

  /** This node's AS number: its own, or the cluster's. */
  get asn(): number {
    return this.#nodes.get(this.#of.nodeName)?.asn ?? this.#of.config.asNumber
  }

  /** The cluster's BGP settings changed. */
  configure(config: PeersOf['config']): void {
    if (isDeepStrictEqual(config, this.#of.config)) return
    this.#of = { ...this.#of, config }
    this.#all()
  }

  /** A Node changed, appeared, or went. */
  node(name: string, facts: NodeFacts | undefined): void {
    if (isDeepStrictEqual(facts, this.#nodes.get(name))) return
    if (facts === undefined) this.#nodes.delete(name)
    else this.#nodes.set(name, facts)
    if (name === this.#of.nodeName) this.#all()
    else this.#node(name)
  }

  /** A BGPPeer changed, appeared, or went. */
  bgpPeer(name: string, object: Resource<'BGPPeer'> | undefined): void {
    if (object === undefined) this.#bgpPeers.delete(name)
    else this.#bgpPeers.set(name, object)
    this.#bgpPeer(name)
  }

  /** The sessions that changed since the last call. */
  take(): PeerChange[] {
    const ended: PeerChange[] = []
    const set: PeerChange[] = []
    for (const address of this.#dirty) {
      const before = this.#wanted.get(address)
      const winner = this.#winner(address)
      const peer = winner?.peer
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
    return [...this.#problems.values(), ...this.#clashes()]
  }

  #all(): void {
    for (const name of this.#nodes.keys()) this.#node(name)
    for (const name of this.#bgpPeers.keys()) this.#bgpPeer(name)
  }

  /** Works out the sessions with one node: by the mesh, and by the selectors of BGPPeers. */
  #node(name: string): void {
    const facts = this.#nodes.get(name)
    this.#request({ kind: 'Node', name }, facts === undefined ? undefined : this.#meshRequest(facts))
    for (const [peerName, object] of this.#bgpPeers) this.#selected(peerName, object, name)
  }

  #bgpPeer(name: string): void {
    const object = this.#bgpPeers.get(name)
    const by: ObjectRef = { kind: 'BGPPeer', name }
    this.#problems.delete(name)
    this.#request(by, undefined)
    for (const node of this.#nodes.keys()) this.#selected(name, object, node)
    if (object === undefined || object.spec.peerSelector !== undefined) return
    const rank = this.#rankHere(object)
    if (rank === undefined) return
    const peer = this.#namedPeer(object, rank)
    if (peer === undefined) return
    if ('reason' in peer) this.#problems.set(name, broken('PeersConfigured', { ...peer, object: by }))
    else this.#request(by, { rank, by, peer })
  }

  /** Works out the session of a BGPPeer with `peerSelector` with one node. */
  #selected(peerName: string, object: Resource<'BGPPeer'> | undefined, nodeName: string): void {
    const by: ObjectRef = { kind: 'BGPPeer', name: peerName }
    const facts = this.#nodes.get(nodeName)
    const rank = object === undefined ? undefined : this.#rankHere(object)
    const selector = object?.spec.peerSelector
    let request: SessionRequest | undefined
    if (object !== undefined && rank !== undefined && selector !== undefined && this.#isOther(facts))
      if (matchesSelector(selector, facts.labels)) {
        const session = this.#session(rank, facts.address, this.#asnOf(facts), this.#of.config.listenPort)
        request = { rank, by, peer: { ...session, ...options(object) } }
      }
    this.#request(by, request, nodeName)
  }

  #meshRequest(facts: NodeFacts): SessionRequest | undefined {
    const { nodeName, config } = this.#of
    // reflectors and their clients do not mesh: they are joined by BGPPeer objects
    if (!config.nodeToNodeMeshEnabled || this.#nodes.get(nodeName)?.clusterId !== undefined) return undefined
    if (!this.#isOther(facts) || facts.clusterId !== undefined) return undefined
    const peer = this.#session(RANK.mesh, facts.address, this.#asnOf(facts), config.listenPort)
    return { rank: RANK.mesh, by: { kind: 'Node', name: facts.name }, peer }
  }

  /** Undefined where the BGPPeer names this node itself: it is for the others. */
  #namedPeer(object: Resource<'BGPPeer'>, rank: number): Session | ConditionCause | undefined {
    const { peerIP = '', asNumber } = object.spec
    const target = parseSocketAddress(peerIP, BGP_PORT)
    if (target === undefined) return badAddress(peerIP)
    if (asNumber === undefined) return NO_AS_NUMBER
    if (target.address === this.#of.address) return undefined
    // the peer's port when it names one; a cluster's listenPort is about its own nodes only
    const session = this.#session(rank, target.address, asNumber, target.port)
    return { ...session, passive: false, ...options(object) }
  }

  /** Undefined: the BGPPeer is for other nodes. */
  #rankHere({ spec }: Resource<'BGPPeer'>): number | undefined {
    const { nodeName } = this.#of
    if (spec.node !== undefined) return spec.node === nodeName ? RANK.node : undefined
    if (spec.nodeSelector === undefined) return RANK.global
    return matchesSelector(spec.nodeSelector, this.#nodes.get(nodeName)?.labels ?? {}) ? RANK.selector : undefined
  }

  #isOther(facts: NodeFacts | undefined): facts is NodeFacts & { address: string } {
    const { nodeName, address } = this.#of
    return facts?.address !== undefined && facts.name !== nodeName && facts.address !== address
  }

  #asnOf({ asn }: NodeFacts): number {
    return asn ?? this.#of.config.asNumber
  }

  #session(rank: number, remote: string, asn: number, port: number): Session {
    const own = this.#of.address
    return {
      name: `${NAME_PREFIX[originOf(rank)]}_${remote}`.replaceAll(/[.:]/g, '_'),
      address: remote,
      asn,
      port,
      // an address of the other family cannot be bound
      source: familyOf(own) === familyOf(remote) ? own : undefined,
      // Calico's rule, on the text and not on the number: both ends must agree who dials in a mixed cluster.
      passive: remote > own,
      // nodes and top-of-rack routers may be hops away; ttlSecurity narrows it where asked for
      multihop: 255,
      families: [unicastFamily(familyOf(remote))],
      gracefulRestart: { restartSeconds: RESTART_SECONDS, notification: true },
      nextHop: 'auto',
      import: 'accept',
      export: 'accept',
    }
  }

  /** Replaces what one source asks for; `node` tells apart the sessions of one BGPPeer with many nodes. */
  #request(by: ObjectRef, request: SessionRequest | undefined, node?: string): void {
    const source = node === undefined ? formatRef(by) : `${formatRef(by)} for Node ${node}`
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
}

function byRank(a: SessionRequest, b: SessionRequest): number {
  return a.rank - b.rank || (formatRef(a.by) < formatRef(b.by) ? -1 : 1)
}

function originOf(rank: number): PeerOrigin {
  if (rank === RANK.mesh) return 'mesh'
  return rank === RANK.global ? 'global' : 'node'
}

/** What the names of sessions begin with. */
const NAME_PREFIX: Readonly<Record<PeerOrigin, string>> = { mesh: 'Mesh', node: 'Node', global: 'Global' }

function clash(loser: ObjectRef, winner: ObjectRef, addresses: readonly string[]): Condition {
  const named = addresses.slice(0, MOST_NAMED).join(', ')
  const more = addresses.length > MOST_NAMED ? ` and ${addresses.length - MOST_NAMED} more` : ''
  const [type, what] =
    loser.kind === 'Node' ? (['AddressesUnique', 'node'] as const) : (['PeersConfigured', 'peer'] as const)
  return broken(type, {
    reason: 'AddressClash',
    message: `${formatRef(winner)} and ${formatRef(loser)} name the same ${what} ${named}${more}; ${formatRef(winner)} is used`,
    remedy: `change or delete ${formatRef(loser)} or ${formatRef(winner)}`,
    object: loser,
  })
}

function badAddress(peerIP: string): ConditionCause {
  return {
    reason: 'BadAddress',
    message: `peerIP ${JSON.stringify(peerIP)} is not an address`,
    remedy: 'write IP, IP:port or [IPv6]:port, or a peerSelector',
  }
}

const NO_AS_NUMBER: ConditionCause = {
  reason: 'NoAsNumber',
  message: 'asNumber is missing: a peer named by peerIP needs one',
  remedy: 'set asNumber',
}

function options({ spec }: Resource<'BGPPeer'>): Partial<PeerConfig> {
  return {
    ...(spec.localASNumber !== undefined && { localAs: spec.localASNumber }),
    ...(spec.numAllowedLocalASNumbers !== undefined && { allowAsIn: spec.numAllowedLocalASNumbers }),
    ...(spec.ttlSecurity !== undefined && { ttlSecurity: spec.ttlSecurity, multihop: undefined }),
    ...(spec.sourceAddress === 'None' && { source: undefined }),
    nextHop: nextHopMode(spec),
  }
}

function nextHopMode(spec: Resource<'BGPPeer'>['spec']): 'auto' | 'self' | 'keep' {
  if (spec.keepOriginalNextHop === true || spec.nextHopMode === 'Keep') return 'keep'
  return spec.nextHopMode === 'Self' ? 'self' : 'auto'
}
