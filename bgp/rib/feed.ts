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
   * More than `most` prefixes have changed and were not taken: whoever reads so slowly keeps more and more prefixes that are long
   * gone. Called once, while the RIB decides: the feed is to be closed, in a later turn of the event loop.
   */
  overflowed(): void
  most: number
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
