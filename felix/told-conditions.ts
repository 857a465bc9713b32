// Conditions that are found anew with each look: what became of those that were told before.
import { isDeepStrictEqual } from 'node:util'
import { type Condition, conditionKey } from '../api/status.ts'

export class ToldConditions {
  #told: ReadonlyMap<string, Condition> = new Map()
  #hasNew = false

  /** Whether the last that were taken have some that did not hold before. */
  get hasNew(): boolean {
    return this.#hasNew
  }

  /** Takes all that hold now; returns what differs, and undefined for what holds no more, by `conditionKey`. */
  take(found: readonly Condition[]): Map<string, Condition | undefined> {
    const before = this.#told
    this.#told = new Map(found.map(condition => [conditionKey(condition), condition]))
    this.#hasNew = this.#told.keys().some(key => !before.has(key))
    const changes = new Map<string, Condition | undefined>()
    for (const [key, condition] of this.#told)
      if (!isDeepStrictEqual(condition, before.get(key))) changes.set(key, condition)
    for (const key of before.keys()) if (!this.#told.has(key)) changes.set(key, undefined)
    return changes
  }
}
