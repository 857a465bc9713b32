// That this node could get no block, by family: what that means for its pods, and when it is asked for again. Without this a
// node that got no pod, because it has no address for one, would never ask again. Each family waits for itself: a full pool of
// one must not delay the other, nor be asked about again because of it. Hazard: an ask for a block of full pools lists all
// blocks of the cluster.
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
  /** Asks for what is missing of a family again. */
  again: (family: Family) => void
}

/** Full pools have a free block when somebody adds a pool, which is told at once, or when another node gives one back. */
const FULL_MS = 20 * 60_000

/** What one family waits for. */
type Wait = { refusal?: AssignRefusal; cancel: Cancel; readonly backoff: Backoff; readonly slow: Backoff }

export class SpareRefusals {
  readonly #deps: SpareRefusalsDeps
  readonly #waits: Readonly<Record<Family, Wait>> = { ipv4: aWait(), ipv6: aWait() }
  #closed = false

  constructor(deps: SpareRefusalsDeps) {
    this.#deps = deps
  }

  /** The answer to an ask for a block; undefined: there is one, or none is wanted. */
  answered(family: Family, refusal: AssignRefusal | undefined): void {
    if (this.#closed) return
    const { log, clock, again } = this.#deps
    const wait = this.#waits[family]
    const before = wait.refusal
    if (refusal === undefined && before === undefined) return
    wait.refusal = refusal
    wait.cancel()
    if (refusal === undefined) {
      wait.backoff.reset()
      return
    }
    if (before?.message !== refusal.message) log.info({ refusal }, 'no spare block')
    const delayMs = refusal.refused === 'unreachable' ? wait.backoff.next() : wait.slow.next()
    wait.cancel = clock.after(delayMs, () => again(family))
  }

  /** Families that get no block more, of those that a pool serves. `roomOf` is asked only of families that were refused. */
  conditions(roomOf: (family: Family) => Room): Condition[] {
    return (['ipv4', 'ipv6'] as const).flatMap(family => {
      const { refusal } = this.#waits[family]
      return refusal === undefined ? [] : refusedCondition(roomOf(family), refusal)
    })
  }

  close(): void {
    this.#closed = true
    for (const { cancel } of Object.values(this.#waits)) cancel()
  }
}

function aWait(): Wait {
  const backoff = new Backoff({ firstMs: 1000, maxMs: 60_000 })
  return { cancel: () => undefined, backoff, slow: new Backoff({ firstMs: FULL_MS, maxMs: FULL_MS }) }
}

function refusedCondition({ family, pools, serving, free }: Room, refusal: AssignRefusal): Condition[] {
  if (pools.length === 0) return []
  const { message, remedy } = refusal
  if (serving.length === 0)
    return [
      broken('PoolsUsable', { reason: 'NoBlock', message: `no ${family} block for this node: ${message}`, remedy }),
    ]
  const pods = free === 1 ? '1 pod more gets' : `${Math.max(0, free)} pods more get`
  const next = broken('BlocksLeft', {
    ...{ reason: REASONS[refusal.refused] ?? 'NoBlock', remedy },
    message: `${pods} an ${family} address on this node, and none after that: ${message}`,
  })
  if (free > 0) return [next]
  const said = `every ${family} address of this node is in use, and it gets no block more: ${message}`
  return [broken('AddressesLeft', { reason: 'AllInUse', message: said, remedy }), next]
}

const REASONS: Partial<Record<AssignRefusal['refused'], string>> = {
  exhausted: 'PoolsFull',
  'block-limit': 'BlockLimit',
  unreachable: 'Unreachable',
}
