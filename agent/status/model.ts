// The conditions of this node, from every room in one place: who reports what, since when it holds, and an event for
// each change. Readiness is the vital conditions alone.
import { pageOf } from '../../api/reasons.ts'
import {
  CONDITION_TYPES,
  type Condition,
  type ConditionType,
  conditionKey,
  type EventRecord,
  kept,
  type ObjectRef,
} from '../../api/status.ts'
import type { Clock } from '../../lib/clock.ts'

export type StatusModelDeps = {
  clock: Clock
  /** What a condition without an object of its own is about: this node. */
  node: ObjectRef
  record: (event: EventRecord) => void
}

/** A report that changes more conditions of one type than this is one event: a whole rack can fail at once. */
const MOST_EVENTS = 20

const TYPES = Object.keys(CONDITION_TYPES) as ConditionType[]

export class StatusModel {
  readonly #deps: StatusModelDeps
  /** What is not well, per source, by condition key. */
  readonly #sources = new Map<string, Map<string, Condition>>()
  readonly #keptSinceMs = new Map<ConditionType, number>()

  constructor(deps: StatusModelDeps) {
    this.#deps = deps
    for (const type of TYPES) this.#keptSinceMs.set(type, deps.clock.wallMs())
  }

  /** Replaces everything that `source` had to say; only what is not well is reported. What several say of one object is one condition. */
  report(source: string, conditions: readonly Condition[]): void {
    const changes = new Map<string, Condition | undefined>(conditions.map(each => [conditionKey(each), each]))
    for (const key of this.#sources.get(source)?.keys() ?? []) if (!changes.has(key)) changes.set(key, undefined)
    this.change(source, changes)
  }

  /** What changed of what `source` has to say, by condition key: what is not well, or undefined for what is well again. */
  change(source: string, changes: ReadonlyMap<string, Condition | undefined>): void {
    const known = this.#sources.get(source) ?? new Map<string, Condition>()
    this.#sources.set(source, known)
    const nowMs = this.#deps.clock.wallMs()
    const changed: Condition[] = []
    for (const [key, condition] of changes) {
      const old = known.get(key)
      if (condition !== undefined) {
        const same = old?.status === condition.status && old.reason === condition.reason
        if (!same) changed.push(condition)
        known.set(key, { ...condition, sinceMs: same ? old.sinceMs : nowMs })
      } else if (old !== undefined) {
        known.delete(key)
        const left = this.#sources.values().some(others => others.has(key))
        if (!left) changed.push({ ...kept(old.type), object: old.object })
        if (!this.#isBroken(old.type)) this.#keptSinceMs.set(old.type, nowMs)
      }
    }
    this.#recordChanges(changed)
  }

  /** Every type of the table: as kept, or each thing that is wrong with it. In the order of the table, then by object. */
  conditions(): Condition[] {
    const wrong = this.#wrong().toSorted((a, b) => (conditionKey(a) < conditionKey(b) ? -1 : 1))
    return TYPES.flatMap(type => {
      const found = wrong.filter(condition => condition.type === type)
      return found.length > 0 ? found.map(withPage) : [{ ...kept(type), sinceMs: this.#keptSinceMs.get(type) }]
    })
  }

  /** Whether this node can serve its pods. */
  ready(): boolean {
    return this.stops().length === 0
  }

  /** The vital conditions that are not True, in the order of the table, of those of `conditions()`. */
  stops(conditions: readonly Condition[] = this.conditions()): Condition[] {
    return conditions.filter(({ type, status }) => status !== 'True' && CONDITION_TYPES[type].vital !== false)
  }

  #wrong(): Condition[] {
    const byKey = new Map<string, Condition>()
    for (const conditions of this.#sources.values())
      for (const [key, condition] of conditions) byKey.set(key, together(byKey.get(key), condition))
    return [...byKey.values()]
  }

  #isBroken(type: ConditionType): boolean {
    return this.#wrong().some(condition => condition.type === type)
  }

  #recordChanges(changed: readonly Condition[]): void {
    for (const some of Map.groupBy(changed, condition => condition.type).values())
      if (some.length <= MOST_EVENTS) for (const condition of some) this.#record(condition)
      else {
        const reasons = [...Map.groupBy(some, ({ reason }) => reason)].map(([reason, all]) => `${all.length} ${reason}`)
        this.#record({ ...some[0]!, object: undefined, message: `${some.length} changes: ${reasons.join(', ')}` })
      }
  }

  #record({ type, reason, message, object }: Condition): void {
    const text = message === '' ? type : `${type}: ${message}`
    this.#deps.record({ type: 'ConditionChanged', object: object ?? this.#deps.node, reason, message: text })
  }
}

function withPage(condition: Condition): Condition {
  return { ...condition, page: pageOf(condition.type, condition.reason) }
}

/** What two sources say of one promise about one object. */
function together(one: Condition | undefined, other: Condition): Condition {
  if (one === undefined) return other
  const both = (field: 'message' | 'remedy') => [...new Set([one[field], other[field]])].join('; ')
  const sinceMs = Math.min(one.sinceMs ?? Infinity, other.sinceMs ?? Infinity)
  return { ...one, message: both('message'), remedy: both('remedy'), sinceMs }
}
