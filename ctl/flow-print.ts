// Prints flows for who follows them as fast as that is read: what is printed faster waits in this program, without a bound. So what
// finds too much waiting is left out and counted, and the count is told with the next line, or at the end.
import type { FlowLine } from '../api/answers.ts'
import type { Context } from './command.ts'
import { visible } from './visible.ts'

/** Octets that may wait, beside what a pipe keeps (64 KiB). */
const MOST_WAITING = 1 << 20

type Print = (line: FlowLine, node: string | undefined) => void

export class FlowPrinter {
  readonly #unread: () => number
  readonly #print: Print
  readonly #tellLeft: (count: number) => void
  #left = 0

  /** `print` prints one line, of a node where it is one of several; `tellLeft` says how many were left out. */
  constructor(unread: () => number, print: Print, tellLeft: (count: number) => void) {
    this.#unread = unread
    this.#print = print
    this.#tellLeft = tellLeft
  }

  take(line: FlowLine, node?: string): void {
    if (this.#unread() > MOST_WAITING) {
      this.#left += 'lost' in line ? line.lost : 1
      return
    }
    this.end()
    this.#print(line, node)
  }

  /** Tells what was left out. */
  end(): void {
    if (this.#left === 0) return
    const count = this.#left
    this.#left = 0
    this.#tellLeft(count)
  }
}

/** Tells people how many lines were left out. */
export function noteLeft({ note }: Pick<Context, 'note'>, count: number): void {
  note(`${count} flows are not shown: whoever reads this does not keep up.\n`)
}

/** Tells how many packets nothing is known of. */
export function noteLost({ note }: Pick<Context, 'note'>, count: number, node?: string): void {
  const of = node === undefined ? '' : `${visible(node)}: `
  note(`${of}${count} packets are told nowhere: there were too many.\n`)
}
