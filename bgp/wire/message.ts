// The 19-octet header (RFC 4271 §4.1), and messages from a TCP stream: a message that is whole in a chunk is not copied.
// Lengths are checked here per type (RFC 4271 §6.1), so a body parser knows the least length of its message.
import type { Writer } from '../../lib/bytes.ts'
import { ProtocolError } from './errors.ts'
import { ERROR, HEADER_ERROR, MESSAGE } from './iana.ts'
import { StreamSplitter } from './splitter.ts'

/** Octets of a message header: marker 16 | length u16 | type u8. */
export const HEADER = 19
/** Longest message without RFC 8654, header included. */
export const MAX_MESSAGE = 4096
/** Longest message with RFC 8654, header included. */
export const MAX_EXTENDED_MESSAGE = 65535

/** One row per message type: the least and the most octets it may have, header included. */
const LENGTHS: Readonly<Record<number, { least: number; most: number }>> = {
  [MESSAGE.open]: { least: 29, most: MAX_MESSAGE },
  [MESSAGE.update]: { least: 23, most: MAX_EXTENDED_MESSAGE },
  [MESSAGE.notification]: { least: 21, most: MAX_EXTENDED_MESSAGE },
  [MESSAGE.keepalive]: { least: HEADER, most: HEADER },
  [MESSAGE.routeRefresh]: { least: 23, most: MAX_EXTENDED_MESSAGE },
}

/** Gets one message; its body is `bytes[start..end)`, its header right before that, valid only during the call. */
export type MessageVisitor = (type: number, bytes: Uint8Array, start: number, end: number) => void

/** Cuts the byte stream of one connection into messages. */
export class MessageSplitter {
  /** Set when both sides sent the capability, after the OPENs (RFC 8654 §4). */
  extended = false
  readonly #stream = new StreamSplitter<ProtocolError>(HEADER, (bytes, at) => checkHeader(bytes, at, this.extended))

  /**
   * Visits every message that `chunk` completes, in order. An error is the first fault of the stream (RFC 4271 §6.1);
   * messages before it were visited, nothing after it ever is. Keeps no reference to `chunk`.
   */
  push(chunk: Uint8Array, visit: MessageVisitor): ProtocolError | undefined {
    return this.#stream.push(chunk, (bytes, at, end) => visit(bytes[at + 18]!, bytes, at + HEADER, end))
  }

  /** Nothing is visited any more, not even the rest of the chunk that is being read. */
  stop(): void {
    this.#stream.stop()
  }

  /** Octets that wait for the rest of their message. */
  get waiting(): number {
    return this.#stream.waiting
  }
}

/** The length of the message whose header begins at `at`, or what is wrong with that header. */
function checkHeader(bytes: Uint8Array, at: number, extended: boolean): number | ProtocolError {
  for (let i = at; i < at + 16; i++)
    if (bytes[i] !== 0xff) return new ProtocolError(ERROR.header, HEADER_ERROR.notSynchronized)
  const length = (bytes[at + 16]! << 8) | bytes[at + 17]!
  const row = LENGTHS[bytes[at + 18]!]
  const bad = () => new ProtocolError(ERROR.header, HEADER_ERROR.badLength, bytes.subarray(at + 16, at + 18))
  // an impossible length is reported before an unknown type, because the next message cannot be found
  if (length < HEADER || length > (extended ? MAX_EXTENDED_MESSAGE : MAX_MESSAGE)) return bad()
  if (row === undefined) return new ProtocolError(ERROR.header, HEADER_ERROR.badType, bytes.subarray(at + 18, at + 19))
  return length < row.least || length > row.most ? bad() : length
}

/** Writes a whole message around `body`. Throws `BytesError` when the buffer is too small. */
export function emitMessage(w: Writer, type: number, body: () => void): void {
  const at = w.length
  for (let i = 0; i < 4; i++) w.u32(0xffffffff)
  w.u16(0).u8(type)
  body()
  const length = w.length - at
  w.bytes[at + 16] = length >>> 8
  w.bytes[at + 17] = length
}

/** Writes a KEEPALIVE (RFC 4271 §4.4): the header alone. */
export function emitKeepalive(w: Writer): void {
  emitMessage(w, MESSAGE.keepalive, () => undefined)
}
