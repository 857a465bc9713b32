// That this node could get no block, by family: what that means for its pods, and when it is asked for again. Without this a
// node that got no pod, because it has no address for one, would never ask again. Each family waits for itself: a full pool of
// one must not delay the other, nor be asked about again because of it. Hazard: an ask for a block of full pools lists all
// blocks of the cluster.
import { broken, type Condition, type ReasonOf } from '../api/status.ts'
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
export const FULL_MS = 20 * 60_000

/** Why no block more is had ahead of the pods. `scarce`: none is asked for, as other nodes have no address at all. */
export type SpareRefusal = Omit<AssignRefusal, 'refused'> & { refused: AssignRefusal['refused'] | 'scarce' }

/** What one family waits for. */
type Wait = { refusal?: SpareRefusal; cancel: Cancel; readonly backoff: Backoff; readonly slow: Backoff }

export class SpareRefusals {
  readonly #deps: SpareRefusalsDeps
  readonly #waits: Readonly<Record<Family, Wait>> = { ipv4: aWait(), ipv6: aWait() }
  #closed = false

  constructor(deps: SpareRefusalsDeps) {
    this.#deps = deps
  }

  /** The answer to an ask for a block; undefined: there is one, or none is wanted. */
  answered(family: Family, refusal: SpareRefusal | undefined): void {
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

function refusedCondition({ family, pools, serving, free }: Room, refusal: SpareRefusal): Condition[] {
  if (pools.length === 0) return []
  const { message, remedy } = refusal
  const isScarce = refusal.refused === 'scarce'
  // one that gave its last block away may get one again for its first pod
  if (serving.length === 0 && !isScarce)
    return [
      broken('PoolsUsable', { reason: 'NoBlock', message: `no ${family} block for this node: ${message}`, remedy }),
    ]
  const pods = free === 1 ? '1 pod more gets' : `${Math.max(0, free)} pods more get`
  const next = broken('BlocksLeft', {
    ...{ reason: REASONS[refusal.refused] ?? 'NoBlock', remedy },
    message: `${pods} an ${family} address on this node, and ${isScarce ? 'the next one only if another node gives a block back' : 'none after that'}: ${message}`,
  })
  if (free > 0) return [next]
  const said =
    serving.length === 0
      ? `this node has no ${family} block: ${message}`
      : `every ${family} address of this node is in use, and it gets no block more: ${message}`
  return [broken('AddressesLeft', { reason: 'AllInUse', message: said, remedy }), next]
}

const REASONS: Partial<Record<SpareRefusal['refused'], ReasonOf<'BlocksLeft'>>> = {
  scarce: 'Scarce',
  exhausted: 'PoolsFull',
  'block-limit': 'BlockLimit',
  unreachable: 'Unreachable',
}
