// The messages in streams of TCP (RFC 7766 §8: each behind its length), from copies of their packets in one direction. Pure;
// time is an argument. A stream counts from its SYN on, and as long as no octet of it is missing.
// Hazard: in the middle of a stream nothing says where a message begins. Who serves a name can put octets into a record that
// look like the answer about another one, and whoever asks chooses where a packet begins: so a stream that was not followed
// from its beginning is never read. A pod opens as many streams as it likes: it takes none from one that has fewer.
import type { DnsPacket } from './packet.ts'

type Segment = Extract<DnsPacket, { protocol: 'tcp' }>
/** `rest`: its first `length` octets are of a message that is not whole, and behind them is room for more. */
type Stream = { next: number; rest: Uint8Array; length: number; lastMs: number }

/** The one that was idle longest first. `octets`: of the rests of all. */
type Pod = { readonly streams: Map<string, Stream>; octets: number }

/** A resolver ends a stream that is idle after some seconds (RFC 7766 §6.2.3). */
const IDLE_MS = 30_000
/** Of all pods; where there are more, or more octets in their rests, it goes from the pod that has most. */
const MOST_STREAMS = 1024
const MOST_OCTETS = 4 * 1024 * 1024
const NOTHING = new Uint8Array()

export class TcpStreams {
  readonly #pods = new Map<string, Pod>()
  #streams = 0
  #octets = 0

  /** Takes in the next packet of a stream to a pod. Returns the messages that end in it. */
  take(pod: string, { stream: key, sequence, isSyn, isLast, data, octets }: Segment, nowMs: number): Uint8Array[] {
    for (const [old, { lastMs }] of this.#pods.get(pod)?.streams ?? []) {
      if (nowMs - lastMs < IDLE_MS) break
      this.#drop(pod, old)
    }
    const stream = this.#pods.get(pod)?.streams.get(key)
    if (isSyn) {
      // data beside a SYN is for a stream that nobody here opens
      if (octets === 0) this.#keep(pod, key, { next: (sequence + 1) >>> 0, rest: NOTHING, length: 0, lastMs: nowMs })
      else this.#drop(pod, key)
      return []
    }
    if (stream === undefined) return []
    const isNext = sequence === stream.next
    // what was sent again was read before
    if (octets > 0 && !isNext && (stream.next - sequence) >>> 0 <= octets + 0x10000) return []
    // a copy that is cut off, or one that is missing: where the next message begins is not known any more
    const isKnown = octets === 0 || (isNext && data.length >= octets)
    if (!isKnown) {
      this.#drop(pod, key)
      return []
    }
    const begun = stream.length === 0 ? data : appended(stream, data)
    const { messages, end } = split(begun.subarray(0, stream.length + data.length))
    const length = stream.length + data.length - end
    // a copy of its own where it is a part of what others have, too; else it grows where it is
    const isOwn = stream.length > 0 && end === 0
    const rest = isOwn ? begun : length === 0 ? NOTHING : Uint8Array.from(begun.subarray(end, end + length))
    if (isLast) this.#drop(pod, key)
    else this.#keep(pod, key, { next: (stream.next + octets) >>> 0, rest, length, lastMs: nowMs })
    return messages
  }

  /** A pod is gone. */
  forget(pod: string): void {
    for (const key of [...(this.#pods.get(pod)?.streams.keys() ?? [])]) this.#drop(pod, key)
  }

  #keep(pod: string, key: string, stream: Stream): void {
    this.#drop(pod, key)
    const of = this.#pods.get(pod) ?? { streams: new Map(), octets: 0 }
    this.#pods.set(pod, of)
    of.streams.set(key, stream)
    of.octets += stream.rest.length
    this.#streams++
    this.#octets += stream.rest.length
    while (this.#streams > MOST_STREAMS) this.#dropOldest(({ streams }) => streams.size)
    while (this.#octets > MOST_OCTETS) this.#dropOldest(({ octets }) => octets)
  }

  /** Of the pod that has most. */
  #dropOldest(has: (pod: Pod) => number): void {
    const [pod, { streams }] = [...this.#pods].reduce((a, b) => (has(b[1]) > has(a[1]) ? b : a))
    const [oldest] = streams.keys()
    this.#drop(pod, oldest!)
  }

  #drop(pod: string, key: string): void {
    const of = this.#pods.get(pod)
    const stream = of?.streams.get(key)
    if (of === undefined || stream === undefined) return
    of.streams.delete(key)
    of.octets -= stream.rest.length
    this.#streams--
    this.#octets -= stream.rest.length
    if (of.streams.size === 0) this.#pods.delete(pod)
  }
}

/** Whoever sends chooses how small the pieces are: so what is there already is copied only when the room for it doubles. */
function appended({ rest, length }: Stream, data: Uint8Array): Uint8Array {
  const needed = length + data.length
  const room = needed <= rest.length ? rest : new Uint8Array(Math.max(needed, 2 * rest.length))
  if (room !== rest) room.set(rest.subarray(0, length))
  room.set(data, length)
  return room
}

/** `end`: of the last message that is whole. */
function split(data: Uint8Array): { messages: Uint8Array[]; end: number } {
  const messages: Uint8Array[] = []
  let at = 0
  for (;;) {
    const end = at + 2 + ((data[at] ?? 0) << 8) + (data[at + 1] ?? 0)
    if (at + 2 > data.length || end > data.length) break
    messages.push(data.subarray(at + 2, end))
    at = end
  }
  return { messages, end: at }
}
