// Lines of JSON (application/x-ndjson) to one who reads until it leaves. A reader that does not keep up loses lines and is told how
// many: what waits for it is bounded.
import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { emitJson } from '../../api/json.ts'

/** Octets that wait for a reader, beside what the kernel keeps. */
const MOST_WAITING = 1 << 18

export class LineStream<T extends object> {
  readonly #response: ServerResponse
  readonly #gone = new AbortController()
  #lost = 0

  constructor(response: ServerResponse) {
    this.#response = response
    response.on('close', () => this.#gone.abort())
    response.writeHead(200, { 'content-type': 'application/x-ndjson' }).flushHeaders()
  }

  get isGone(): boolean {
    return this.#gone.signal.aborted
  }

  /** Sends a line now, or loses it. */
  tell(line: T | { lost: number }): void {
    if (this.#response.writableLength > MOST_WAITING) {
      this.#lost += 'lost' in line ? (line.lost as number) : 1
      return
    }
    if (this.#lost > 0) this.#write({ lost: this.#lost })
    this.#lost = 0
    this.#write(line)
  }

  /** Sends a line when the reader has room for it; resolves at once when it left. */
  async send(line: T): Promise<void> {
    if (this.isGone) return
    this.#write(line)
    if (this.#response.writableLength > MOST_WAITING)
      await once(this.#response, 'drain', { signal: this.#gone.signal }).catch(() => undefined)
  }

  #write(line: object): void {
    this.#response.write(`${emitJson(line)}\n`)
  }
}
