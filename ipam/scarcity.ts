// Whether blocks of a family are scarce: some node had no address left and asked another one for an empty block. For a time after
// that, or until there are other pools, this node takes no block before a pod needs it. Else the owner that gave its spare block
// back would take it again, before or after the node that needs it, and be asked for it once more.
import type { IpPool } from '../api/pools.ts'
import type { Clock } from '../lib/clock.ts'
import type { Family } from '../lib/ip.ts'
import { FULL_MS } from './spare-refusals.ts'

export class Scarcity {
  readonly #clock: Clock
  readonly #noted = new Map<Family, { untilMs: number; pools: string }>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** A node asks for a block, or is asked for one. `pools`: those that serve pods of this node. */
  note(family: Family, pools: readonly IpPool[]): void {
    this.#noted.set(family, { untilMs: this.#clock.monotonicMs() + FULL_MS, pools: namesOf(pools) })
  }

  is(family: Family, pools: readonly IpPool[]): boolean {
    const noted = this.#noted.get(family)
    return noted !== undefined && this.#clock.monotonicMs() < noted.untilMs && noted.pools === namesOf(pools)
  }
}

function namesOf(pools: readonly IpPool[]): string {
  return pools.map(({ metadata }) => metadata.name).join(' ')
}
