// How long changes of a block gather before they are published. A block that seldom changes is published at once; one that
// changes often is published at most once a minute, however many pods come and go. Each write carries all changes so far.
// Hazard: what is not published yet is known to this node alone, in its journal and its kernel.

/** A minute without a change more than one costs each change so much. */
const PER_CHANGE_MS = 5_000
/** The longest pause between two writes. */
const LONGEST_PAUSE_MS = 60_000
/** How long the object of a block may say that it has pods when it has none: the next pod is often near. */
const EMPTIED_MS = 60_000
/** A change waits no longer than this. */
const LONGEST_WAIT_MS = 120_000
const MOST_CHANGES = LONGEST_PAUSE_MS / PER_CHANGE_MS

type Row = {
  /** When the last changes were made, at most as many as make the longest pause. */
  changedMs: readonly number[]
  publishedMs: number
  /** When the first change was made that is not published; undefined: there is none. */
  waitsMs: number | undefined
}

const NEW: Row = { changedMs: [], publishedMs: Number.NEGATIVE_INFINITY, waitsMs: undefined }

/** Times are those of the monotonic clock. */
export class PublishPauses {
  readonly #rows = new Map<string, Row>()

  /** A block changed. Returns when it is to be published: the later, the more changes there were in the last minute. */
  changed(cidr: string, nowMs: number, { emptied }: { emptied: boolean }): number {
    const { changedMs, publishedMs, waitsMs = nowMs } = this.#rows.get(cidr) ?? NEW
    const recent = [...changedMs, nowMs].filter(at => at > nowMs - LONGEST_PAUSE_MS).slice(-MOST_CHANGES)
    this.#rows.set(cidr, { changedMs: recent, publishedMs, waitsMs })
    const endMs = publishedMs + recent.length * PER_CHANGE_MS
    return Math.min(Math.max(endMs, emptied ? nowMs + EMPTIED_MS : nowMs), waitsMs + LONGEST_WAIT_MS)
  }

  /** A block is published, with all changes so far. */
  published(cidr: string, nowMs: number): void {
    this.#rows.set(cidr, { ...(this.#rows.get(cidr) ?? NEW), publishedMs: nowMs, waitsMs: undefined })
  }

  /** The block is not this node's any more. */
  forget(cidr: string): void {
    this.#rows.delete(cidr)
  }
}
