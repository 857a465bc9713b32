// Which changes are kept each by itself: of one kind and cause a thousand at once, and five a second after that. The others are
// counted and told as one sum, so that a reload of a million routes costs a number. Pure.
import type { ChangeCause, ChangeType } from '../../api/changes.ts'
import type { ObjectKind } from '../../api/status.ts'

const AT_ONCE = 1000
const PER_SECOND = 5

type Flood = { room: number; sinceMs: number; more: Map<ChangeType, number> }

export type Sum = { kind: ObjectKind; cause: ChangeCause; counts: ReadonlyMap<ChangeType, number> }

export class Floods {
  readonly #of = new Map<ObjectKind, Map<ChangeCause, Flood>>()
  #summed = false

  /** Whether one more is kept by itself; else it is in the next sum. */
  admits(kind: ObjectKind, cause: ChangeCause, type: ChangeType, nowMs: number): boolean {
    const flood = this.#flood(kind, cause, nowMs)
    if (flood.room < 1) {
      flood.room = Math.min(AT_ONCE, flood.room + ((nowMs - flood.sinceMs) * PER_SECOND) / 1000)
      flood.sinceMs = nowMs
    }
    if (flood.room >= 1) {
      flood.room--
      return true
    }
    flood.more.set(type, (flood.more.get(type) ?? 0) + 1)
    this.#summed = true
    return false
  }

  /** Whether anything waits for the next sum. */
  get hasSums(): boolean {
    return this.#summed
  }

  /** What was counted since the last time. */
  take(): Sum[] {
    this.#summed = false
    return [...this.#of].flatMap(([kind, causes]) =>
      [...causes].flatMap(([cause, flood]) => {
        const counts = flood.more
        flood.more = new Map()
        return counts.size === 0 ? [] : [{ kind, cause, counts }]
      }),
    )
  }

  #flood(kind: ObjectKind, cause: ChangeCause, nowMs: number): Flood {
    const causes = this.#of.get(kind) ?? new Map<ChangeCause, Flood>()
    const flood = causes.get(cause) ?? { room: AT_ONCE, sinceMs: nowMs, more: new Map() }
    if (!causes.has(cause)) this.#of.set(kind, causes.set(cause, flood))
    return flood
  }
}
