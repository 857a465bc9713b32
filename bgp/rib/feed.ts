// A table of the RIB as a monitor reads it: whole first, then what changes, at the monitor's own pace.

/** Whole UPDATE messages, end to end, of the peer with this key. */
export type Replayed = { key: string; bytes: Uint8Array }

export type Feed<T> = {
  /** The whole table, as far as there was one at the start, has been taken, with an End-of-RIB of each family. */
  readonly complete: boolean
  /**
   * What is next, whole messages end to end, possibly none: a few milliseconds of work. Undefined: nothing has changed since; the
   * next change is told to whoever opened the feed.
   */
  take(): T | undefined
  /** Nothing is told any more. */
  close(): void
}

export type Follower = {
  /** `take` had nothing and there is something again. Must return quickly. */
  wake(): void
  /**
   * Whoever reads so slowly keeps more and more of what is long gone: more than `most` prefixes have changed and were not taken, or
   * so many peers have left that their numbers run out; `waiting` says which. Called once, while the RIB works: the feed is to be closed, in a later turn of
   * the event loop.
   */
  overflowed(waiting: string): void
  most: number
}

/** What `overflowed` says of prefixes. */
export function morePrefixes(most: number): string {
  return `more than ${Math.floor(most)} prefixes`
}

/** One feed of the tables of all families, in turns. */
export function mergedFeeds<T>(feeds: readonly Feed<T>[]): Feed<T> {
  let next = 0
  return {
    get complete() {
      return feeds.every(({ complete }) => complete)
    },
    take() {
      for (let left = feeds.length; left > 0; left--) {
        const bytes = feeds[next]!.take()
        next = (next + 1) % feeds.length
        if (bytes !== undefined) return bytes
      }
      return undefined
    },
    close: () => {
      for (const feed of feeds) feed.close()
    },
  }
}
