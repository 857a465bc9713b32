// That this node could get no block, by family: what that means for its pods, and when it is asked for again. Without this a
// node that got no pod, because it has no address for one, would never ask again. Hazard: an ask for a block of full pools
// lists all blocks of the cluster.
import { broken, type Condition } from '../api/status.ts'
import { Backoff } from '../lib/backoff.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import type { Family } from '../lib/ip.ts'
import type { Log } from '../lib/log.ts'
import type { AssignRefusal } from './port.ts'
import type { Room } from './room.ts'

export type SpareRefusalsDeps = {
  clock: Clock
  log: Log
  /** Asks for what is missing again. */
  again: () => void
}

/** Full pools have a free block when somebody adds a pool, which is told at once, or when another node gives one back. */
const FULL_MS = 20 * 60_000

export class SpareRefusals {
  readonly #deps: SpareRefusalsDeps
  readonly #refusals = new Map<Family, AssignRefusal>()
  readonly #backoff: Backoff
  readonly #slow: Backoff
  #cancel: Cancel = () => undefined
  #closed = false

  constructor(deps: SpareRefusalsDeps) {
    this.#deps = deps
    this.#backoff = new Backoff({ firstMs: 1000, maxMs: 60_000 })
    this.#slow = new Backoff({ firstMs: FULL_MS, maxMs: FULL_MS })
  }

  /** The answer to an ask for a block; undefined: there is one, or none is wanted. */
  answered(family: Family, refusal: AssignRefusal | undefined): void {
    if (this.#closed) return
    const before = this.#refusals.get(family)
    if (refusal === undefined) {
      if (this.#refusals.delete(family) && this.#refusals.size === 0) this.#backoff.reset()
      return
    }
    if (before?.message !== refusal.message) this.#deps.log.info({ refusal }, 'no spare block')
    this.#refusals.set(family, refusal)
    this.#cancel()
    const delayMs = refusal.refused === 'unreachable' ? this.#backoff.next() : this.#slow.next()
    this.#cancel = this.#deps.clock.after(delayMs, this.#deps.again)
  }

  /** Families without a free address, of those that a pool serves. */
  conditions(rooms: readonly Room[]): Condition[] {
    return rooms.flatMap(({ family, pools, serving, free }) => {
      const refusal = this.#refusals.get(family)
      if (refusal === undefined || pools.length === 0 || free > 0) return []
      const { message, remedy } = refusal
      if (serving.length === 0)
        return [
          broken('PoolsUsable', { reason: 'NoBlock', message: `no ${family} block for this node: ${message}`, remedy }),
        ]
      const said = `every ${family} address of this node is in use, and it gets no block more: ${message}`
      return [broken('AddressesLeft', { reason: 'AllInUse', message: said, remedy })]
    })
  }

  close(): void {
    this.#closed = true
    this.#cancel()
  }
}
