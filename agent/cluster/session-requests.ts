// What objects ask for of this node's sessions, and who has each. Pure. A session is known by the address and the port at its far
// end, or by the link where that is, and keeps that key whoever asks for it: what it is called, and by which object, changes without an end of it.
import { isDeepStrictEqual } from 'node:util'
import { type CauseOf, type Condition, formatRef, type ObjectRef } from '../../api/status.ts'
import type { PeerWay } from '../../felix/input.ts'
import type { TcpAoKey } from '../../lib/tcp-ao.ts'
import type { NodeFacts } from './nodes.ts'
import { clash } from './peer-conditions.ts'
import { rangeKey } from './range-keys.ts'
import type { PeerOrigin, Session } from './sessions.ts'

/**
 * A session that one object asks for. Of several for one address and port the lowest `rank` has it, then one of an object for this
 * node before one that is for the node at the far end (`isReverse`), then the first by name.
 */
export type SessionRequest = {
  rank: number
  by: ObjectRef
  isReverse?: true
  origin: PeerOrigin
  /** The far end, where it is another node: of several with one address the first by precedence and name has it. */
  far?: NodeFacts
  peer: Session
  /** How the far end is reached, where the object says it. */
  way?: PeerWay | undefined
  /** The port is that at which the machine with this address listens for BGP: what it dials itself is this session. */
  isMain: boolean
  /** It must not come up, and no other one for this address and port either. */
  closed: boolean
  /** Closed for a moment, as its password is being read: what is up there stays as it is. */
  isPending?: true
}

/** The session to set under its key, by which speakers know it, with its origin; or only the key of one that ends. Those that end come first. */
export type PeerChange = { key: string } & Partial<Wanted>

/** A BGPPeer for one node beats one for a group of nodes, which beats one for all; any of them beats the mesh. */
export const RANK = { node: 0, selector: 1, global: 2, mesh: 3 } as const

/** What a session must have, or why there is none. */
export type Guard = {
  password?: string
  tcpAo?: readonly TcpAoKey[]
  closed?: CauseOf<'PeersConfigured'>
  isPending?: true
}

export type Wanted = Pick<SessionRequest, 'peer' | 'origin' | 'way'>

export class SessionRequests {
  /** By address, or what stands for one (`placeOf`), as all others here; then by who asks. */
  readonly #requests = new Map<string, Map<string, SessionRequest>>()
  /** The address that each source asks for: `Node n2 ipv4`, `BGPPeer rack`, `BGPPeer rack for Node n2 ipv4`. */
  readonly #addresses = new Map<string, string>()
  /** How many sessions each object asks for. */
  readonly #asking = new Map<string, number>()
  /** Addresses that more than one source asks for. */
  readonly #shared = new Set<string>()
  /** By address, then by key. */
  readonly #wanted = new Map<string, ReadonlyMap<string, Wanted>>()
  readonly #dirty = new Set<string>()

  get size(): number {
    return this.#requests.size
  }

  /** Replaces what one source asks for; `which` tells apart the sessions of one object. */
  set(by: ObjectRef, request: SessionRequest | undefined, which = ''): void {
    const object = formatRef(by)
    const source = `${object} ${which}`
    const before = this.#addresses.get(source)
    this.#count(object, Number(request !== undefined) - Number(before !== undefined))
    if (before !== undefined) this.#change(before, source, undefined)
    if (request === undefined) this.#addresses.delete(source)
    else {
      const place = placeOf(request.peer)
      this.#addresses.set(source, place)
      this.#change(place, source, request)
    }
  }

  /** Whether an object asks for any session. */
  asks(by: ObjectRef): boolean {
    return this.#asking.has(formatRef(by))
  }

  /** The sessions that changed since the last call. */
  take(): PeerChange[] {
    const ended: PeerChange[] = []
    const set: PeerChange[] = []
    for (const address of this.#dirty) {
      const before = this.#wanted.get(address)
      const now = this.#sessionsAt(address, before)
      for (const key of before?.keys() ?? []) if (!now.has(key)) ended.push({ key })
      for (const [key, wanted] of now) if (!isDeepStrictEqual(before?.get(key), wanted)) set.push({ key, ...wanted })
      if (now.size === 0) this.#wanted.delete(address)
      else this.#wanted.set(address, now)
    }
    this.#dirty.clear()
    // a range whose object names another prefix keeps its key
    const kept = new Set(set.map(({ key }) => key))
    return [...ended.filter(({ key }) => !kept.has(key)), ...set]
  }

  /** All sessions as `take` told them last. */
  *wanted(): Generator<[key: string, Wanted]> {
    for (const sessions of this.#wanted.values()) yield* sessions
  }

  /** Whether any object asks for a session with an address, also one that must not come up. */
  has(address: string): boolean {
    return this.#requests.has(address)
  }

  /** One condition per object that lost a session to another one. */
  clashes(): Condition[] {
    const lost = new Map<string, { loser: ObjectRef; winner: ObjectRef; keys: string[] }>()
    for (const address of this.#shared)
      for (const [slot, [winner, ...others]] of this.#bySlot(address))
        for (const other of others) {
          const { by: loser } = other
          if (winner === undefined || isNoClash(other, winner)) continue
          const pair = `${formatRef(loser)} ${formatRef(winner.by)}`
          const entry = lost.get(pair) ?? { loser, winner: winner.by, keys: [] }
          entry.keys.push(slot)
          lost.set(pair, entry)
        }
    return [...lost.values()].map(({ loser, winner, keys }) => clash(loser, winner, keys.sort()))
  }

  #count(object: string, more: number): void {
    const count = (this.#asking.get(object) ?? 0) + more
    if (count === 0) this.#asking.delete(object)
    else this.#asking.set(object, count)
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

  /** The sessions with one address by key. A connection from there is of one of them, so the others dial alone. */
  #sessionsAt(address: string, before: ReadonlyMap<string, Wanted> | undefined): Map<string, Wanted> {
    const winners = [...this.#bySlot(address).values()].map(([winner]) => [keyOf(winner!), winner!] as const)
    const [first] = winners.sort(([, a], [, b]) => Number(b.isMain) - Number(a.isMain) || a.peer.port - b.peer.port)
    return new Map(
      winners.flatMap(([key, winner]): [string, Wanted][] => {
        const up = winner.isPending ? before?.get(key) : undefined
        const { origin, way } = winner
        if (winner.closed && up === undefined && winner.peer.range !== undefined)
          // whoever lies in it must not get in by a wider one
          return [[key, { peer: { ...winner.peer, disabled: true }, origin }]]
        if (winner.closed) return up === undefined ? [] : [[key, up]]
        const peer = winner === first![1] ? winner.peer : { ...winner.peer, passive: false, dialOnly: true }
        return [[key, { peer, origin, ...(way !== undefined && { way }) }]]
      }),
    )
  }

  /** The requests for each session with an address, the one that has it first. */
  #bySlot(address: string): Map<string, SessionRequest[]> {
    return Map.groupBy([...(this.#requests.get(address)?.values() ?? [])].sort(byRank), slotOf)
  }
}

/** A range is known by its object, so that its neighbours stay when the prefix grows. */
function keyOf(request: SessionRequest): string {
  return request.peer.range === undefined ? slotOf(request) : rangeKey(request.by.name)
}

/** What one request alone can have. */
function slotOf({ isMain, peer }: SessionRequest): string {
  return isMain ? placeOf(peer) : `${placeOf(peer)} port ${peer.port}`
}

/** An address, or what stands for one: `interface eth1`, `range 192.0.2.0/24`. */
function placeOf({ address, range, interface: link }: Session): string {
  return address ?? (range === undefined ? `interface ${link}` : `range ${range}`)
}

/** What a BGPPeer replaces of the mesh, or of what another one asks for from the far end; and one that selects two nodes of one address. */
function isNoClash(loser: SessionRequest, winner: SessionRequest): boolean {
  if (loser.rank === RANK.mesh) return winner.rank !== RANK.mesh
  return loser.isReverse === true || formatRef(loser.by) === formatRef(winner.by)
}

function byRank(a: SessionRequest, b: SessionRequest): number {
  const key = ({ by, far }: SessionRequest) => {
    const node = far === undefined ? '' : `${far.precedence} ${far.name}`
    return by.kind === 'Node' ? node : `${formatRef(by)} ${node}`
  }
  return a.rank - b.rank || Number(a.isReverse ?? false) - Number(b.isReverse ?? false) || (key(a) < key(b) ? -1 : 1)
}

/** What an object asks for, with what its session must have. */
export function guarded(
  request: Omit<SessionRequest, 'closed'>,
  { closed, isPending, ...signed }: Guard,
): SessionRequest {
  return {
    ...request,
    peer: { ...request.peer, ...signed },
    closed: closed !== undefined,
    ...(isPending && { isPending }),
  }
}

/** Where the session of an object of this rank comes from. */
export function originOf(rank: number): PeerOrigin {
  if (rank === RANK.mesh) return 'mesh'
  return rank === RANK.global ? 'global' : 'node'
}
