// Which paths of a prefix are used together, and how packets are shared among them (`SpeakerConfig.multipath`).
import { MOST_PATHS, type Multipath } from '../config.ts'
import type { Columns, Decision, UnusedReason } from './decision.ts'
import type { HopFacts } from './hop-facts.ts'
import type { PathGroups } from './store/path-groups.ts'

/** The largest share. */
const FULL = 255

/** Of one prefix. */
type Explained = { used: ReadonlyMap<number, number>; unused: ReadonlyMap<number, UnusedReason> }

type MultipathsDeps = { decision: Decision; hops: HopFacts; groups: PathGroups }

export class Multipaths {
  /** Absent: one path of each prefix is used. */
  rule: Multipath | undefined
  readonly #deps: MultipathsDeps
  readonly #sets = new Uint32Array(MOST_PATHS)
  readonly #weights = new Uint8Array(MOST_PATHS)

  constructor(rule: Multipath | undefined, deps: MultipathsDeps) {
    this.rule = rule
    this.#deps = deps
  }

  /**
   * Moves the best of the first `count` (at least 1) of `slots` to the front. Returns the group of all that are used, with one more
   * reference; 0 for the best alone.
   */
  choose(slots: Uint32Array, count: number, columns: Columns): number {
    const { decision, groups } = this.#deps
    if (this.rule === undefined) {
      slots[0] = decision.best(slots, count, columns)
      return 0
    }
    const used = this.#equals(this.rule, slots, count, columns)
    if (used === 1) return 0
    for (let i = 0; i < used; i++) this.#sets[i] = columns.paths.accepted(slots[i]!)
    return groups.intern(this.#sets, this.#weigh(this.rule, used) ? this.#weights : undefined, used)
  }

  release(group: number): void {
    this.#deps.groups.release(group)
  }

  /** As `choose`, for people: the slots that are used with their shares (0: all have the same), and why others are not. */
  explain(slots: Uint32Array, count: number, columns: Columns): Explained {
    const unused = new Map<number, UnusedReason>()
    const { rule } = this
    if (rule === undefined) return { used: new Map([[this.#deps.decision.best(slots, count, columns), 0]]), unused }
    const used = this.#equals(rule, slots, count, columns, (slot, because) => unused.set(slot, because))
    for (let i = 0; i < used; i++) this.#sets[i] = columns.paths.accepted(slots[i]!)
    const weighted = used > 1 && this.#weigh(rule, used)
    return {
      used: new Map([...slots.subarray(0, used)].map((slot, i) => [slot, weighted ? this.#weights[i]! : 0])),
      unused,
    }
  }

  #equals(
    rule: Multipath,
    slots: Uint32Array,
    count: number,
    columns: Columns,
    unused?: (slot: number, because: UnusedReason) => void,
  ): number {
    const { decision, hops } = this.#deps
    return decision.equals(slots, count, columns, { rule, hops }, unused)
  }

  /** Fills in the shares of the first `count` of `#sets`; false where all have the same: not each of them tells a bandwidth, or all one. */
  #weigh(rule: Multipath, count: number): boolean {
    if (rule.weights !== 'link-bandwidth') return false
    const { hops } = this.#deps
    let most = 0
    let least = Number.POSITIVE_INFINITY
    for (let i = 0; i < count; i++) {
      const told = hops.bandwidth(this.#sets[i]!)
      if (told > most) most = told
      if (told < least) least = told
    }
    if (least === 0 || least === most) return false
    for (let i = 0; i < count; i++)
      this.#weights[i] = Math.max(1, Math.round((FULL * hops.bandwidth(this.#sets[i]!)) / most))
    return true
  }
}
