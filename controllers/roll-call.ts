// Asks all nodes how far they are with Pods, where it matters: an address of a pod that ended went to another pod, and a node that has
// not heard of that takes the one for the other. Asked are all at once, and rarely, since each answer is a write; a node that has
// not answered in its time is told by name. Pure.
// Hazards: a node that is named is not waited for, or one that is down for days would have all others asked again and again; whoever
// wrote what was asked may have seen another server, whose versions say nothing here: what no node knows of is void.
import { isAtLeast } from '../api/policy-receipts.ts'
import type { PolicyReceipt } from '../api/receipt-schemas.ts'

/** Between two questions: at the least, and for each node: the answers are five writes a second at the most. */
const LEAST_MS = 600_000
const PER_NODE_MS = 200
/** Until a node that has not answered is told: bookmarks come once a minute, and one may be late. Then all write, one after the other. */
const PATIENCE_MS = 180_000
const ANSWER_MS = 20

/** How often it is written that all nodes are further by what they say without being asked, at the most. */
const SETTLED_MS = 300_000

/** Versions of Pods: `asked` in the last question, and `settled`, which all nodes have worked through that are not named. */
export type Asked = { asked: string | undefined; settled: string | undefined }

export class RollCall {
  readonly #said = new Map<string, Pick<PolicyReceipt, 'pods' | 'late'>>()
  #is: Asked = { asked: undefined, settled: undefined }
  #read = this.#is
  #askedMs = Number.NEGATIVE_INFINITY
  #settledMs = Number.NEGATIVE_INFINITY

  /** What stands written: where another run has asked, the time of the nodes begins anew. */
  take({ asked, settled }: Asked, nowMs: number): void {
    // what this run has asked and could not write yet still counts
    if (asked === this.#read.asked && settled === this.#read.settled) return
    this.#read = { asked, settled }
    if (asked !== this.#is.asked && asked !== undefined) this.#askedMs = nowMs
    this.#is = { asked, settled }
  }

  /** What a node says now; undefined: it is none any more. Returns whether that may matter here. */
  set(node: string, said: Pick<PolicyReceipt, 'pods' | 'late'> | undefined): boolean {
    const before = this.#said.get(node)
    if (said === undefined) return this.#said.delete(node)
    this.#said.set(node, { pods: said.pods, late: said.late })
    return before?.pods !== said.pods || before?.late !== said.late
  }

  /** What is to be asked now, who has not answered in its time, sorted, and after how many milliseconds to look again. */
  step(nowMs: number): Asked & { behind: readonly string[]; waitMs: number } {
    const count = this.#said.size
    const said = [...this.#said.values()]
    const isVoid = (version: string | undefined) =>
      version === undefined || !said.some(({ pods, late }) => isAtLeast(pods, version) || isAtLeast(late, version))
    if (isVoid(this.#is.settled)) this.#is = { ...this.#is, settled: undefined }
    if (isVoid(this.#is.asked)) this.#is = { ...this.#is, asked: undefined }
    const late = newest(said.map(each => each.late))
    let waitMs = Number.POSITIVE_INFINITY
    if (late !== undefined && !isAtLeast(this.#is.asked, late)) {
      const leftMs = this.#askedMs + Math.max(LEAST_MS, count * PER_NODE_MS) - nowMs
      if (leftMs > 0) waitMs = leftMs
      else {
        this.#is = { ...this.#is, asked: late }
        this.#askedMs = nowMs
      }
    }
    const { asked } = this.#is
    const missing = [...this.#said].filter(([, { pods }]) => asked !== undefined && !isAtLeast(pods, asked))
    const leftMs = this.#askedMs + PATIENCE_MS + count * ANSWER_MS - nowMs
    const behind = leftMs > 0 ? [] : missing.map(([node]) => node).sort()
    if (missing.length > 0 && leftMs > 0) waitMs = Math.min(waitMs, leftMs)
    const toSettleMs = this.#settle(new Set(behind), nowMs)
    if (toSettleMs > 0) waitMs = Math.min(waitMs, toSettleMs)
    return { ...this.#is, behind, waitMs }
  }

  /** All nodes but those that are named may be further than they were. Returns after how long that may be said, where not now. */
  #settle(behind: ReadonlySet<string>, nowMs: number): number {
    const { asked, settled } = this.#is
    const least = oldest([...this.#said].flatMap(([node, { pods }]) => (behind.has(node) ? [] : [pods])))
    if (least === undefined || (settled !== undefined && isAtLeast(settled, least))) return 0
    const isAnswer = asked !== undefined && isAtLeast(least, asked) && !isAtLeast(settled, asked)
    const leftMs = this.#settledMs + SETTLED_MS - nowMs
    if (!isAnswer && leftMs > 0) return leftMs
    this.#is = { asked, settled: least }
    this.#settledMs = nowMs
    return 0
  }
}

/** Of those that are versions; undefined where none is. */
function newest(versions: readonly (string | undefined)[]): string | undefined {
  return versions.reduce((last, each) => {
    if (each === undefined || !isAtLeast(each, each) || isAtLeast(last, each)) return last
    return each
  }, undefined)
}

/** Undefined where one is. */
function oldest(versions: readonly (string | undefined)[]): string | undefined {
  if (versions.some(each => each === undefined || !isAtLeast(each, each))) return undefined
  return versions.reduce((last, each) => (last === undefined || isAtLeast(last, each!) ? each : last), undefined)
}
