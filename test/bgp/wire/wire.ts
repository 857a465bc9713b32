// Small constructors and comparisons that the codec tests share.

import type { CodecSession } from '../../../bgp/wire/codec-session.ts'
import { ProtocolError } from '../../../bgp/wire/errors.ts'
import { HEADER, MessageSplitter } from '../../../bgp/wire/message.ts'
import { fromHex, toHex, Writer } from '../../../lib/bytes.ts'

/** eBGP, four-octet numbers, nothing else agreed on. */
export function aSession(changes: Partial<CodecSession> = {}): CodecSession {
  return {
    as4: true,
    peerType: 'ebgp',
    addPath: { ipv4: false, ipv6: false },
    extendedNextHop: false,
    extendedMessage: false,
    ...changes,
  }
}

/** A whole message around a body given in hex. */
export function aMessage(type: number, body: string): Uint8Array {
  const bytes = fromHex(body)
  const length = bytes.length + HEADER
  return Uint8Array.of(...new Array<number>(16).fill(255), length >> 8, length & 255, type, ...bytes)
}

/** An UPDATE message of parts in hex. */
export function anUpdate(parts: { withdrawn?: string; attributes?: string; nlri?: string }): Uint8Array {
  const size = (hex: string) => (fromHex(hex).length + 0x10000).toString(16).slice(1)
  const { withdrawn = '', attributes = '', nlri = '' } = parts
  return aMessage(2, `${size(withdrawn)} ${withdrawn} ${size(attributes)} ${attributes} ${nlri}`)
}

/** What an emitter writes into a buffer full of 0xa5: an octet it forgot shows. */
export function emitted(emit: (w: Writer) => void, capacity = 16_384): Uint8Array {
  const w = new Writer(new Uint8Array(capacity).fill(0xa5))
  emit(w)
  return w.done()
}

/** The only message in `bytes`. */
export function body(bytes: Uint8Array): { type: number; bytes: Uint8Array; start: number; end: number } {
  const found: { type: number; bytes: Uint8Array; start: number; end: number }[] = []
  const splitter = new MessageSplitter()
  splitter.extended = true
  const error = splitter.push(bytes, (type, chunk, start, end) => found.push({ type, bytes: chunk, start, end }))
  if (error !== undefined) throw error
  if (found.length !== 1) throw new Error(`${found.length} messages in ${toHex(bytes)}`)
  return found[0]!
}

/** Runs a body parser over the only message in `bytes`. */
export function parseWith<T>(parse: (bytes: Uint8Array, start: number, end: number) => T, bytes: Uint8Array): T {
  const { bytes: chunk, start, end } = body(bytes)
  return parse(chunk, start, end)
}

/** The value without absent fields, so that two of them compare by what they say; octets become hex. */
export function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return toHex(value)
  if (value instanceof ProtocolError) return { error: `${value.code}/${value.subcode}`, data: toHex(value.data) }
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, v]) => v !== undefined)
      .map(([k, v]) => [k, plain(v)]),
  )
}
