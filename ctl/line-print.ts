// Prints lines for who follows them as fast as that is read: what is printed faster waits in this program, without a bound. So what
// finds too much waiting is left out and counted, and the count is told with the next line, or at the end.
import type { Context } from './command.ts'
import { visible } from './visible.ts'

/** Octets that may wait, beside what a pipe keeps (64 KiB). */
const MOST_WAITING = 1 << 20

/** A line, or how many of what it tells are told nowhere. */
export type OrLost<L extends object> = L | { lost: number }

export class LinePrinter<L extends object> {
  readonly #unread: () => number
  readonly #print: (line: OrLost<L>, node: string | undefined) => void
  readonly #tellLeft: (count: number) => void
  #left = 0

  /** `print` prints one line, of a node where it is one of several; `tellLeft` says how many were left out. */
  constructor(
    unread: () => number,
    print: (line: OrLost<L>, node: string | undefined) => void,
    tellLeft: (count: number) => void,
  ) {
    this.#unread = unread
    this.#print = print
    this.#tellLeft = tellLeft
  }

  take(line: OrLost<L>, node?: string): void {
    if (this.#unread() > MOST_WAITING) {
      this.#left += 'lost' in line ? (line.lost as number) : 1
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
export function noteLeft({ note }: Pick<Context, 'note'>, count: number, what: 'flows' | 'events'): void {
  note(`${count} ${what} are not shown: whoever reads this does not keep up.\n`)
}

/** Tells how many packets, or events, nothing is known of. */
export function noteLost(
  { note }: Pick<Context, 'note'>,
  count: number,
  what: 'packets' | 'events',
  node?: string,
): void {
  const of = node === undefined ? '' : `${visible(node)}: `
  note(`${of}${count} ${what} are told nowhere: there were too many.\n`)
}
