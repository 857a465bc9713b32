// All watches of a server. A committed change goes to the watches of its kind alone, and its event is encoded once for all
// of them: with 5,000 agents a heartbeat is one buffer, not 5,000.
import type { Kind } from '../api/kinds.ts'
import type { Clock } from '../lib/clock.ts'
import type { Sender } from './send-pieces.ts'
import type { Storage, StoredChange } from './storage.ts'
import { EventLines, type WatchLimits, type WatchRequest, WatchStream } from './watch-stream.ts'

export class WatchHub {
  readonly #storage: Storage
  readonly #clock: Clock
  readonly #limits: WatchLimits
  readonly #streams = new Map<Kind, Set<WatchStream>>()

  constructor(storage: Storage, clock: Clock, limits: WatchLimits) {
    this.#storage = storage
    this.#clock = clock
    this.#limits = limits
    storage.listen(changes => this.#tell(changes))
  }

  /** Serves a watch until it times out, the client leaves or reads too slowly, or `close` is called. */
  async open(request: WatchRequest, sender: Sender): Promise<void> {
    const { response } = sender
    await this.#storage.read(() => {
      if (response.destroyed) return
      const streams = this.#streams.get(request.kind) ?? new Set()
      this.#streams.set(request.kind, streams)
      const deps = { storage: this.#storage, clock: this.#clock, limits: this.#limits }
      const stream = new WatchStream(request, sender, deps)
      if (stream.closed) return
      streams.add(stream)
      response.once('close', () => {
        stream.close()
        streams.delete(stream)
      })
    })
  }

  /** Ends every watch in order. */
  close(): void {
    for (const streams of this.#streams.values()) for (const stream of streams) stream.close()
  }

  #tell(changes: readonly StoredChange[]): void {
    for (const change of changes) {
      const lines = new EventLines(change.after)
      for (const stream of this.#streams.get(change.kind) ?? []) stream.change(change, lines)
    }
  }
}
