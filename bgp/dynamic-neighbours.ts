// Dynamic neighbours: peers that nobody configured one by one, which connect from the prefix of a range. Each is of the most specific
// range that holds its address, whatever came first, and never of a wider one that is less strict. Hazard: whoever has many addresses
// in a range may connect from all of them, so each range has a limit, and a neighbour that is away is forgotten with all that it took.
import type { Cancel, Clock } from '../lib/clock.ts'
import { contains, parseCidr } from '../lib/ip.ts'
import { nameOf, type PeerConfig, type RangeStatus } from './config.ts'
import type { Peer } from './peer.ts'
import { CEASE } from './wire/iana.ts'

const DEFAULT_LIMIT = 100
/** A neighbour is removed after so long without a session. */
const IDLE_MS = 60_000

/** `refused`: who was turned away last since it is full. */
type Range = { config: PeerConfig & { range: string }; bits: number; neighbours: Set<Peer>; refused?: string }

type DynamicNeighboursDeps = {
  clock: Clock
  add(config: PeerConfig): Peer
  /** Ends a neighbour, with a Cease of this subcode, and calls `forget` with it. */
  drop(peer: Peer, subcode: number): void
  /** Whether routes of its last session are kept (RFC 4724 §4.2). */
  hasStaleRoutes(peer: Peer): boolean
}

export class DynamicNeighbours {
  readonly #deps: DynamicNeighboursDeps
  readonly #ranges = new Map<string, Range>()
  /** The name of the range each came from, and the end of the timer that asks whether it is away. */
  readonly #neighbours = new Map<Peer, { from: string; cancel: Cancel }>()
  #admits: (address: string) => boolean = () => true

  constructor(deps: DynamicNeighboursDeps) {
    this.#deps = deps
  }

  has(peer: Peer): boolean {
    return this.#neighbours.has(peer)
  }

  range(name: string): PeerConfig | undefined {
    return this.#ranges.get(name)?.config
  }

  configs(): (PeerConfig & { range: string })[] {
    return [...this.#ranges.values()].map(({ config }) => config)
  }

  status(): RangeStatus[] {
    return [...this.#ranges].map(([name, { config, neighbours, refused }]) => ({
      ...{ name, range: config.range, limit: limitOf(config), neighbours: neighbours.size },
      ...(refused !== undefined && { refused }),
    }))
  }

  /** Sets a range. Neighbours stay that are still its own, and those of others that it does not take over. */
  set(name: string, config: PeerConfig & { range: string }): void {
    const { neighbours = new Set<Peer>(), refused } = this.#ranges.get(name) ?? {}
    const isFull = neighbours.size >= limitOf(config)
    const bits = parseCidr(config.range)?.length ?? 0
    this.#ranges.set(name, { config, bits, neighbours, ...(isFull && refused !== undefined && { refused }) })
    for (const peer of neighbours)
      if (contains(config.range, peer.address!)) peer.configure(neighbourOf(config, peer.address!))
    this.#recheck()
  }

  /** Removes a range with all its neighbours. */
  delete(name: string): void {
    const range = this.#ranges.get(name)
    this.#ranges.delete(name)
    for (const peer of range?.neighbours ?? []) this.#deps.drop(peer, CEASE.deconfigured)
  }

  /** Sets which addresses may have neighbours; those that may not end. */
  admit(admits: (address: string) => boolean): void {
    this.#admits = admits
    this.#recheck()
  }

  /** A peer of its own has this address from now on. */
  displace(address: string): void {
    for (const peer of this.#neighbours.keys())
      if (peer.address === address) this.#deps.drop(peer, CEASE.configurationChange)
  }

  /** The new neighbour with this address; undefined where there must be none. */
  newcomer(address: string): Peer | undefined {
    const [name = '', range] = this.#homeOf(address) ?? []
    if (range === undefined) return undefined
    if (range.neighbours.size >= limitOf(range.config)) {
      range.refused = address
      return undefined
    }
    const peer = this.#deps.add(neighbourOf(range.config, address))
    range.neighbours.add(peer)
    this.#neighbours.set(peer, { from: name, cancel: this.#forgetLater(peer) })
    return peer
  }

  /** A peer was dropped; whether it was one of these. */
  forget(peer: Peer): boolean {
    const neighbour = this.#neighbours.get(peer)
    if (neighbour === undefined) return false
    neighbour.cancel()
    this.#neighbours.delete(peer)
    const range = this.#ranges.get(neighbour.from)
    range?.neighbours.delete(peer)
    if (range !== undefined && range.neighbours.size < limitOf(range.config)) delete range.refused
    return true
  }

  /** Stops without telling anybody. */
  close(): void {
    for (const { cancel } of this.#neighbours.values()) cancel()
  }

  /** The range that says what counts for an address; undefined where there must be no neighbour. */
  #homeOf(address: string): readonly [name: string, range: Range] | undefined {
    if (!this.#admits(address)) return undefined
    let best: readonly [string, Range] | undefined
    for (const entry of this.#ranges)
      if (contains(entry[1].config.range, address) && (best === undefined || entry[1].bits > best[1].bits)) best = entry
    return best?.[1].config.disabled ? undefined : best
  }

  #recheck(): void {
    for (const [peer, { from }] of this.#neighbours) {
      const [home] = this.#homeOf(peer.address!) ?? []
      if (home === from) continue
      // by another range it may be a neighbour again at once
      this.#deps.drop(peer, home === undefined ? CEASE.deconfigured : CEASE.configurationChange)
    }
  }

  /** Removes a neighbour when it has been away for a while and nothing of it is kept for its restart. */
  #forgetLater(peer: Peer, afterMs: number = IDLE_MS): Cancel {
    return this.#deps.clock.after(afterMs, () => {
      const leftMs = peer.state === 'Established' ? IDLE_MS : IDLE_MS - peer.awayMs
      if (leftMs <= 0 && !this.#deps.hasStaleRoutes(peer)) this.#deps.drop(peer, CEASE.deconfigured)
      else this.#neighbours.get(peer)!.cancel = this.#forgetLater(peer, leftMs > 0 ? leftMs : IDLE_MS)
    })
  }
}

function limitOf({ rangeLimit = DEFAULT_LIMIT }: PeerConfig): number {
  return rangeLimit
}

function neighbourOf(range: PeerConfig, address: string): PeerConfig {
  return { ...range, name: `${nameOf(range)}:${address}`, address, range: undefined, passive: true }
}
