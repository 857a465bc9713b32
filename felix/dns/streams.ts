// The messages in streams of TCP (RFC 7766 §8: each behind its length), from copies of their packets in one direction. Pure;
// time is an argument. A stream counts from its SYN on, and as long as no octet of it is missing.
// Hazard: in the middle of a stream nothing says where a message begins. Who serves a name can put octets into a record that
// look like the answer about another one, and whoever asks chooses where a packet begins: so a stream that was not followed
// from its beginning is never read.
import type { DnsPacket } from './packet.ts'

type Segment = Extract<DnsPacket, { protocol: 'tcp' }>
/** `rest`: of a message that is not whole. */
type Stream = { next: number; rest: Uint8Array; lastMs: number }

/** A resolver ends a stream that is idle after some seconds (RFC 7766 §6.2.3). */
const IDLE_MS = 30_000
const MOST_STREAMS = 1024
/** Of the rests of all streams together. */
const MOST_OCTETS = 4 * 1024 * 1024
const NOTHING = new Uint8Array()

export class TcpStreams {
  /** The one that was idle longest first. */
  readonly #streams = new Map<string, Stream>()
  #octets = 0

  /** Takes in the next packet of a stream. Returns the messages that end in it. */
  take({ stream: key, sequence, isSyn, isLast, data, octets }: Segment, nowMs: number): Uint8Array[] {
    for (const [old, { lastMs }] of this.#streams) {
      if (nowMs - lastMs < IDLE_MS && this.#streams.size <= MOST_STREAMS && this.#octets <= MOST_OCTETS) break
      this.#drop(old)
    }
    if (isSyn) {
      this.#drop(key)
      // data beside a SYN is for a stream that nobody here opens
      if (octets === 0) this.#streams.set(key, { next: (sequence + 1) >>> 0, rest: NOTHING, lastMs: nowMs })
      return []
    }
    const stream = this.#streams.get(key)
    if (stream === undefined) return []
    const isNext = sequence === stream.next
    // what was sent again was read before
    if (octets > 0 && !isNext && (stream.next - sequence) >>> 0 <= octets + 0x10000) return []
    this.#drop(key)
    // a copy that is cut off, or one that is missing: where the next message begins is not known any more
    if (octets > 0 && (!isNext || data.length < octets)) return []
    const { messages, rest } = split(stream.rest.length === 0 ? data : Buffer.concat([stream.rest, data]))
    if (!isLast) {
      this.#streams.set(key, { next: (stream.next + octets) >>> 0, rest, lastMs: nowMs })
      this.#octets += rest.length
    }
    return messages
  }

  #drop(key: string): void {
    this.#octets -= this.#streams.get(key)?.rest.length ?? 0
    this.#streams.delete(key)
  }
}

function split(data: Uint8Array): { messages: Uint8Array[]; rest: Uint8Array } {
  const messages: Uint8Array[] = []
  let at = 0
  for (;;) {
    const end = at + 2 + ((data[at] ?? 0) << 8) + (data[at + 1] ?? 0)
    if (at + 2 > data.length || end > data.length) break
    messages.push(data.subarray(at + 2, end))
    at = end
  }
  // a copy of its own: what it is a part of is large
  return { messages, rest: at === data.length ? NOTHING : Uint8Array.from(data.subarray(at)) }
}
