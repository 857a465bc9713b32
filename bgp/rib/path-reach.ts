// Which paths of one address family can be used as far as their next hops go, and which have a next hop that changed.
import type { NextHopState } from '../port.ts'
import type { PeerFacts } from './decision.ts'
import type { NextHopStates } from './next-hops.ts'
import { PathWalk } from './path-walk.ts'
import type { PathTable } from './store/path-table.ts'

export class PathReach {
  readonly #paths: PathTable
  readonly #peers: Pick<PeerFacts, 'tracked'>
  readonly #nextHops: NextHopStates | undefined
  readonly #isSpared: (slot: number) => boolean
  /** By the numbers of next hops. */
  readonly #walk: PathWalk

  /** `nextHops` undefined: all next hops can be reached. `isSpared`: whether a path is used also where its own cannot. */
  constructor(
    paths: PathTable,
    peers: Pick<PeerFacts, 'tracked'>,
    { nextHops, isSpared }: { nextHops: NextHopStates | undefined; isSpared: (slot: number) => boolean },
  ) {
    this.#paths = paths
    this.#peers = peers
    this.#nextHops = nextHops
    this.#isSpared = isSpared
    this.#walk = new PathWalk(paths, slot => this.ask(slot))
  }

  /** The set that a path can be used with; 0: none, as it is not accepted or its next hop cannot be reached. */
  usable(slot: number): number {
    const set = this.#paths.accepted(slot)
    const nextHops = this.#nextHops
    if (nextHops === undefined || set === 0 || this.#peers.tracked[this.#paths.peer(slot)] === 0) return set
    return Number.isFinite(nextHops.cost(set)) || this.#isSpared(slot) ? set : 0
  }

  /** Has the next hop of a path looked up from now on, so that the answer may be there when its prefix is decided. Its number; 0: it is not tracked. */
  ask(slot: number): number {
    const nextHops = this.#nextHops
    if (nextHops === undefined || this.#peers.tracked[this.#paths.peer(slot)] === 0) return 0
    const set = this.#paths.accepted(slot)
    return set === 0 ? 0 : nextHops.hop(set)
  }

  /** For people: what is known of the next hop of a path; undefined: it is not tracked. */
  state(slot: number): NextHopState | undefined {
    const hop = this.ask(slot)
    return hop === 0 ? undefined : this.#nextHops?.state(hop)
  }

  /** Whether next hops changed whose paths are not all found. */
  get waiting(): boolean {
    return this.#walk.waiting
  }

  /** A next hop changed. */
  changed(hop: number): void {
    this.#walk.changed(hop)
  }

  /** Looks for the time of `limit` decisions, and calls `found` with each path whose next hop changed. Returns the time that it took. */
  find(limit: number, found: (slot: number) => void): number {
    return this.#walk.find(limit, 0, found)
  }
}
