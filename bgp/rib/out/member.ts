// One peer in one export group: how far it has read in the backlog, and which prefixes it has missed.
import { widened } from '../store/prefix-table.ts'

const PATH_SPAN = 2 ** 28

export class Member {
  readonly peer: number
  /** The peer's address, canonical. */
  readonly address: string
  /** Number of the next block of the backlog to read. */
  cursor: number
  /** Next prefix id of a whole table being sent, and where it ends; -1: none. */
  dumpAt: number
  dumpEnd: number
  /** The table is framed by BoRR and EoRR (RFC 7313). */
  framed = false
  /** After a change of group: send only withdrawals for missed prefixes. */
  withdrawOnly = false
  /** Queue position after which its first table is complete; -1: End-of-RIB was sent. */
  endOfRibAfter = 0
  messages = 0
  /** `pull` had nothing: it must be woken when there is something again. */
  idle = false
  /** The members of its group that have missed something: it is there while it has. */
  readonly #behind: Set<Member>
  #missed: Uint8Array | undefined
  #missedCount = 0
  #missedAt = 0
  /** With ADD-PATH: `prefix * PATH_SPAN + path id`. */
  readonly #missedPaths = new Set<number>()

  /** `tableEnd`: one more than the last prefix id of a table to send; 0: none. */
  constructor(peer: number, address: string, cursor: number, tableEnd: number, behind: Set<Member>) {
    this.#behind = behind
    this.peer = peer
    this.address = address
    this.cursor = cursor
    this.dumpAt = tableEnd === 0 ? -1 : 0
    this.dumpEnd = tableEnd
  }

  /** Number of prefixes that it has missed. */
  get missedCount(): number {
    return this.#missedCount
  }

  hasMissed(prefix: number): boolean {
    return this.#missed?.[prefix] === 1
  }

  /** Notes that it missed a change of a prefix; `pathId` with ADD-PATH, else 0. */
  markMissed(prefix: number, pathId: number): void {
    if (this.#missed === undefined || prefix >= this.#missed.length) {
      const missed = new Uint8Array(Math.max(1024, 2 ** Math.ceil(Math.log2(prefix + 1))))
      this.#missed = this.#missed === undefined ? missed : widened(this.#missed, missed)
    }
    if (pathId !== 0) this.#missedPaths.add(prefix * PATH_SPAN + pathId)
    if (this.#missed[prefix] === 1) return
    this.#missed[prefix] = 1
    if (this.#missedCount++ === 0) this.#behind.add(this)
  }

  /** Up to `limit` of the prefixes it has missed; they no longer count as missed. */
  takeMissed(limit: number): number[] {
    const missed = this.#missed ?? new Uint8Array(0)
    const taken: number[] = []
    for (; this.#missedCount > 0 && taken.length < limit; this.#missedAt = (this.#missedAt + 1) % missed.length) {
      if (missed[this.#missedAt] !== 1) continue
      missed[this.#missedAt] = 0
      this.#missedCount--
      taken.push(this.#missedAt)
    }
    if (this.#missedCount === 0) {
      this.#missed = undefined
      this.#missedAt = 0
      this.#behind.delete(this)
    }
    return taken
  }

  /** The missed paths of some prefixes; they no longer count as missed. */
  takeMissedPaths(prefixes: readonly number[], visit: (prefix: number, pathId: number) => void): void {
    const wanted = new Set(prefixes)
    for (const key of this.#missedPaths) {
      const prefix = Math.floor(key / PATH_SPAN)
      if (!wanted.has(prefix)) continue
      this.#missedPaths.delete(key)
      visit(prefix, key % PATH_SPAN)
    }
  }

  /** Visits everything it has missed; with ADD-PATH also every path. */
  eachMissed(visit: (prefix: number, pathId: number) => void): void {
    for (const [prefix, missed] of (this.#missed ?? []).entries()) if (missed === 1) visit(prefix, 0)
    for (const key of this.#missedPaths) visit(Math.floor(key / PATH_SPAN), key % PATH_SPAN)
  }
}
