// The events of several nodes that are followed from a time on: what was before comes from each node in its own pace, so it waits until
// every node has told it, and is printed by time. What comes after that is printed as it comes.
import type { RecordLine } from '../api/record-line.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { merged, type ShownEvent } from './event-view.ts'
import type { LinePrinter } from './line-print.ts'

/** Records that wait; with more of them those that are there are printed. */
const MOST_WAITING = 200_000

export class EventMerge {
  readonly #printer: LinePrinter<RecordLine>
  readonly #waitsMs: number
  readonly #clock: Clock
  readonly #missing = new Set<string>()
  #waiting: ShownEvent[] | undefined
  #cancel: Cancel = () => undefined

  /** `waitsMs`: how long a node is waited for; 0: for none. */
  constructor(printer: LinePrinter<RecordLine>, waitsMs: number, clock: Clock) {
    this.#printer = printer
    this.#waitsMs = waitsMs
    this.#clock = clock
  }

  begins(nodes: readonly string[]): void {
    if (this.#waitsMs === 0) return
    for (const node of nodes) this.#missing.add(node)
    this.#waiting = []
    this.#cancel = this.#clock.after(this.#waitsMs, () => this.#print())
  }

  take(line: RecordLine, node: string): void {
    if (this.#waiting === undefined) this.#printer.take(line, node)
    else if ('record' in line) this.#waiting.push({ node, ...line.record })
    else if ('reached' in line) this.ends(node)
    else this.#printer.take(line, node)
    if ((this.#waiting?.length ?? 0) > MOST_WAITING) this.#print()
  }

  /** Nothing that was before comes of a node any more. */
  ends(node: string): void {
    if (this.#missing.delete(node) && this.#missing.size === 0) this.#print()
  }

  end(): void {
    this.#print()
    this.#printer.end()
  }

  #print(): void {
    this.#cancel()
    const waiting = merged(this.#waiting ?? [])
    this.#waiting = undefined
    for (const { node, seq = 0, ...event } of waiting) this.#printer.take({ record: { seq, ...event } }, node)
  }
}
