// One peer in one export group: how far it has read, and what it is owed beside the backlog.
import { widened } from '../store/prefix-table.ts'

const PATH_SPAN = 2 ** 28

export class Member {
  readonly peer: number
  /** Number of the next block of the backlog to read. */
  cursor: number
  /** Next prefix id of a whole table being sent, and where it ends; -1: none. */
  dumpAt: number
  dumpEnd: number
  /** The table is framed by BoRR and EoRR (RFC 7313). */
  framed = false
  /** It has what it is owed from another group: only withdrawals are of interest. */
  withdrawOnly = false
  /** Queue position after which its first table is complete; -1: End-of-RIB was sent. */
  endOfRibAfter = 0
  messages = 0
  /** `pull` had nothing: it must be told when there is something again. */
  idle = false
  #owed: Uint8Array | undefined
  #owedCount = 0
  #owedAt = 0
  /** With ADD-PATH: `prefix * PATH_SPAN + path id`. */
  readonly #owedPaths = new Set<number>()

  /** `tableEnd`: one more than the last prefix id of a table to send; 0: none. */
  constructor(peer: number, cursor: number, tableEnd: number) {
    this.peer = peer
    this.cursor = cursor
    this.dumpAt = tableEnd === 0 ? -1 : 0
    this.dumpEnd = tableEnd
  }

  /** Prefixes whose state it has missed. */
  get owedCount(): number {
    return this.#owedCount
  }

  isOwed(prefix: number): boolean {
    return this.#owed?.[prefix] === 1
  }

  /** It missed something about a prefix; `pathId` with ADD-PATH, else 0. */
  owe(prefix: number, pathId: number): void {
    if (this.#owed === undefined || prefix >= this.#owed.length) {
      const owed = new Uint8Array(Math.max(1024, 2 ** Math.ceil(Math.log2(prefix + 1))))
      this.#owed = this.#owed === undefined ? owed : widened(this.#owed, owed)
    }
    if (pathId !== 0) this.#owedPaths.add(prefix * PATH_SPAN + pathId)
    if (this.#owed[prefix] === 1) return
    this.#owed[prefix] = 1
    this.#owedCount++
  }

  /** Up to `limit` of the prefixes it is owed; it no longer is. */
  takeOwed(limit: number): number[] {
    const owed = this.#owed ?? new Uint8Array(0)
    const taken: number[] = []
    for (; this.#owedCount > 0 && taken.length < limit; this.#owedAt = (this.#owedAt + 1) % owed.length) {
      if (owed[this.#owedAt] !== 1) continue
      owed[this.#owedAt] = 0
      this.#owedCount--
      taken.push(this.#owedAt)
    }
    if (this.#owedCount === 0) {
      this.#owed = undefined
      this.#owedAt = 0
    }
    return taken
  }

  /** The paths it is owed of some prefixes; it no longer is. */
  takeOwedPaths(prefixes: readonly number[], visit: (prefix: number, pathId: number) => void): void {
    const wanted = new Set(prefixes)
    for (const key of this.#owedPaths) {
      const prefix = Math.floor(key / PATH_SPAN)
      if (!wanted.has(prefix)) continue
      this.#owedPaths.delete(key)
      visit(prefix, key % PATH_SPAN)
    }
  }

  /** Everything it is owed, paths with ADD-PATH. */
  eachOwed(visit: (prefix: number, pathId: number) => void): void {
    for (const [prefix, owed] of (this.#owed ?? []).entries()) if (owed === 1) visit(prefix, 0)
    for (const key of this.#owedPaths) visit(Math.floor(key / PATH_SPAN), key % PATH_SPAN)
  }
}
