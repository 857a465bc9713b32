// Where a speaker listens: the socket options that each peer's connections must carry, on every listener of its family,
// and a bounded number of answers to connections that nobody wants.
import { Writer } from '../lib/bytes.ts'
import type { Clock } from '../lib/clock.ts'
import { familyOf } from '../lib/ip.ts'
import type { BgpConnection, Listener, ListenOptions, SocketOptions, Transport } from './port.ts'
import { mostSpecific } from './required-options.ts'
import { MAX_MESSAGE } from './wire/message.ts'
import { emitNotification, type Notification } from './wire/notification.ts'

/** What happened to connections that belong to no peer. */
export type ListenerCounts = { unknown: number; rejected: number; droppedUnanswered: number }

/** So many rejected connections a second get a NOTIFICATION; the others are reset. */
const REJECTIONS_PER_SECOND = 10

export class Listeners {
  readonly #transport: Transport
  readonly #clock: Clock
  readonly #open = new Set<Listener>()
  /** By address or CIDR. */
  readonly #asked = new Map<string, SocketOptions>()
  readonly counts: ListenerCounts = { unknown: 0, rejected: 0, droppedUnanswered: 0 }
  #tokens = REJECTIONS_PER_SECOND
  #tokensAtMs: number

  constructor(transport: Transport, clock: Clock) {
    this.#transport = transport
    this.#clock = clock
    this.#tokensAtMs = clock.monotonicMs()
  }

  /** Rejects with Node's code (EADDRINUSE, EACCES, …). */
  async listen(options: ListenOptions, accept: (connection: BgpConnection) => void): Promise<Listener> {
    const listener = await this.#transport.listen(options, accept)
    const family = familyOf(options.address)
    const own: Listener = {
      port: listener.port,
      setPeerOptions: (peer, wanted) => {
        if (familyOf(peer) === family) listener.setPeerOptions(peer, wanted)
      },
      close: async () => {
        this.#open.delete(own)
        await listener.close()
      },
    }
    this.#open.add(own)
    return own
  }

  /** What connections from an address or CIDR must carry; without `options` nothing. */
  setPeerOptions(peer: string, options?: SocketOptions): void {
    for (const listener of this.#open) listener.setPeerOptions(peer, options)
    if (options === undefined) this.#asked.delete(peer)
    else this.#asked.set(peer, options)
  }

  /** What connections from an address must carry now. */
  askedOf(address: string): SocketOptions | undefined {
    return mostSpecific(this.#asked, address)
  }

  /** Ends a connection with a NOTIFICATION, or without when there were many in this second. */
  reject(connection: BgpConnection, notification: Notification): void {
    if (!this.#takeToken()) {
      this.counts.droppedUnanswered++
      connection.destroy()
      return
    }
    this.counts.rejected++
    const w = new Writer(MAX_MESSAGE)
    emitNotification(w, notification)
    connection.write(w.done().slice())
    connection.close()
  }

  async close(): Promise<void> {
    await Promise.all([...this.#open].map(listener => listener.close()))
  }

  #takeToken(): boolean {
    const nowMs = this.#clock.monotonicMs()
    const gained = ((nowMs - this.#tokensAtMs) / 1000) * REJECTIONS_PER_SECOND
    this.#tokens = Math.min(REJECTIONS_PER_SECOND, this.#tokens + gained)
    this.#tokensAtMs = nowMs
    if (this.#tokens < 1) return false
    this.#tokens--
    return true
  }
}
