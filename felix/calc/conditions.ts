// Conditions that several items may cause at once: many routes through one node, several pods with one address. Each
// cause is counted, so that the condition stays until the last one is gone.
import { type Condition, conditionKey } from '../../api/status.ts'
import type { Output } from './output.ts'

type Cause = { condition: Condition; text: string; count: number }

export class ConditionCounts {
  readonly #output: Output<Condition>
  readonly #causes = new Map<string, Cause[]>()

  constructor(output: Output<Condition>) {
    this.#output = output
  }

  /** Takes one cause away and adds another. Of causes with different texts the first by text is shown. */
  replace(before: Condition | undefined, now: Condition | undefined): void {
    if (before === now) return
    if (before !== undefined) this.#count(before, -1)
    if (now !== undefined) this.#count(now, 1)
  }

  #count(condition: Condition, change: 1 | -1): void {
    const key = conditionKey(condition)
    const text = `${condition.reason} ${condition.message}`
    const causes = this.#causes.get(key) ?? []
    const cause = causes.find(each => each.text === text)
    if (cause === undefined) causes.push({ condition, text, count: change })
    else cause.count += change
    const left = causes.filter(({ count }) => count > 0).sort((a, b) => (a.text < b.text ? -1 : 1))
    if (left.length === 0) this.#causes.delete(key)
    else this.#causes.set(key, left)
    this.#output.want(key, left[0]?.condition)
  }
}
