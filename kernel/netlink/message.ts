// Netlink messages and attributes as bytes. Everything is in the machine's byte order, which is little-endian on every
// machine that Node ships for here (x64, arm64); the few big-endian fields are written as such by their codecs.
// Header: length u32 | type u16 | flags u16 | seq u32 | port u32; attribute: length u16 | type u16; all padded to 4.
import { addressBytes } from '../../lib/ip.ts'
import { NLA_F, NLM_F, NLMSGERR_ATTR } from './numbers.ts'

const HEADER = 16
const TYPE_MASK = 0xffff & ~(NLA_F.nested | NLA_F.netByteOrder)

/** `port` is 0 in what the kernel says by itself; in notifications it is the port of the socket that caused them. */
export type Message = { type: number; flags: number; seq: number; port: number; body: Buffer }

/**
 * What the kernel says in an error message: `errno` positive, 0 for a plain acknowledgement. `detail` is its text and
 * `offset` the octet of the request (from its header on) where the attribute that it refuses begins.
 */
export type Acknowledgement = { errno: number; detail?: string; offset?: number }

/** Writes messages one after the other into one buffer that grows. */
export class NlWriter {
  #bytes = Buffer.alloc(4096)
  #at = 0

  /** Octets written so far. */
  get length(): number {
    return this.#at
  }

  /** Forgets what was written; the buffer of an earlier `done` is written over. */
  clear(): void {
    this.#at = 0
  }

  message(type: number, flags: number, seq: number, body: (w: NlWriter) => void): this {
    const at = this.#at
    this.u32(0).u16(type).u16(flags).u32(seq).u32(0)
    body(this)
    this.#bytes.writeUInt32LE(this.#at - at, at)
    return this.#pad()
  }

  u8(value: number): this {
    const at = this.#advance(1)
    this.#bytes[at] = value
    return this
  }

  u16(value: number): this {
    const at = this.#advance(2)
    this.#bytes.writeUInt16LE(value, at)
    return this
  }

  u32(value: number): this {
    const at = this.#advance(4)
    this.#bytes.writeUInt32LE(value >>> 0, at)
    return this
  }

  u16be(value: number): this {
    const at = this.#advance(2)
    this.#bytes.writeUInt16BE(value, at)
    return this
  }

  u32be(value: number): this {
    const at = this.#advance(4)
    this.#bytes.writeUInt32BE(value >>> 0, at)
    return this
  }

  u64be(value: bigint): this {
    const at = this.#advance(8)
    this.#bytes.writeBigUInt64BE(value, at)
    return this
  }

  put(bytes: Uint8Array): this {
    const at = this.#advance(bytes.length)
    this.#bytes.set(bytes, at)
    return this
  }

  /**
   * An attribute whose value, or nested attributes, `body` writes. Throws when that is more than the 65,531 octets that
   * an attribute can hold.
   */
  nest(type: number, body: (w: NlWriter) => void): this {
    const at = this.#at
    this.u16(0).u16(type)
    body(this)
    this.#bytes.writeUInt16LE(this.#at - at, at)
    return this.#pad()
  }

  attrU32(type: number, value: number): this {
    return this.u16(8).u16(type).u32(value)
  }

  attrU8(type: number, value: number): this {
    return this.nest(type, w => w.u8(value))
  }

  attrBytes(type: number, value: Uint8Array): this {
    this.u16(4 + value.length)
      .u16(type)
      .put(value)
    return this.#pad()
  }

  /** An address in canonical text. IPv4 is read digit by digit: most of a route batch's time would go elsewhere. */
  attrAddress(type: number, address: string): this {
    if (address.includes(':')) return this.attrBytes(type, addressBytes(address))
    this.u16(8).u16(type)
    let octet = 0
    for (let i = 0; i < address.length; i++) {
      const digit = address.charCodeAt(i) - 48
      if (digit >= 0) octet = 10 * octet + digit
      else {
        this.u8(octet)
        octet = 0
      }
    }
    return this.u8(octet)
  }

  /** A zero-terminated string. */
  attrText(type: number, value: string): this {
    return this.attrBytes(type, Buffer.from(`${value}\0`))
  }

  done(): Buffer {
    return this.#bytes.subarray(0, this.#at)
  }

  #pad(): this {
    const at = this.#advance(-this.#at & 3)
    this.#bytes.fill(0, at, this.#at)
    return this
  }

  #advance(count: number): number {
    const at = this.#at
    this.#at += count
    if (this.#at > this.#bytes.length) {
      const wider = Buffer.alloc(Math.max(this.#at, 2 * this.#bytes.length))
      this.#bytes.copy(wider, 0, 0, at)
      this.#bytes = wider
    }
    return at
  }
}

/** The messages of one datagram; what is cut short at its end is left out. Bodies are views. */
export function parseMessages(bytes: Buffer): Message[] {
  const out: Message[] = []
  for (let at = 0; at + HEADER <= bytes.length; ) {
    const length = bytes.readUInt32LE(at)
    if (length < HEADER || at + length > bytes.length) break
    const type = bytes.readUInt16LE(at + 4)
    const flags = bytes.readUInt16LE(at + 6)
    const [seq, port] = [bytes.readUInt32LE(at + 8), bytes.readUInt32LE(at + 12)]
    out.push({ type, flags, seq, port, body: bytes.subarray(at + HEADER, at + length) })
    at += (length + 3) & ~3
  }
  return out
}

/** Calls `each` for every attribute from octet `from` of `bytes` on; stops at one that is cut short. */
export function eachAttribute(bytes: Buffer, from: number, each: (type: number, value: Buffer) => void): void {
  for (let at = from; at + 4 <= bytes.length; ) {
    const length = bytes.readUInt16LE(at)
    if (length < 4 || at + length > bytes.length) return
    each(bytes.readUInt16LE(at + 2) & TYPE_MASK, bytes.subarray(at + 4, at + length))
    at += (length + 3) & ~3
  }
}

/** The text of a zero-terminated string attribute. */
export function attributeText(value: Buffer): string {
  const end = value.indexOf(0)
  return value.toString('utf8', 0, end < 0 ? value.length : end)
}

/** Body of NLMSG_ERROR: errno i32 | header of the request | its body unless capped | attributes. */
export function parseAcknowledgement({ flags, body }: Message): Acknowledgement {
  const errno = body.length < 4 ? 0 : Math.abs(body.readInt32LE(0))
  if (!(flags & NLM_F.ackAttributes) || body.length < 4 + HEADER) return { errno }
  const quoted = flags & NLM_F.capped ? HEADER : (body.readUInt32LE(4) + 3) & ~3
  return { errno, ...extended(body, 4 + quoted) }
}

/** Body of NLMSG_DONE: errno i32 (of a dump that failed half-way) | attributes. */
export function parseDone({ flags, body }: Message): Acknowledgement {
  const errno = body.length < 4 ? 0 : Math.abs(body.readInt32LE(0))
  return flags & NLM_F.ackAttributes ? { errno, ...extended(body, 4) } : { errno }
}

function extended(body: Buffer, from: number): Omit<Acknowledgement, 'errno'> {
  const out: Omit<Acknowledgement, 'errno'> = {}
  eachAttribute(body, from, (type, value) => {
    if (type === NLMSGERR_ATTR.message) out.detail = attributeText(value)
    else if (type === NLMSGERR_ATTR.offset && value.length >= 4) out.offset = value.readUInt32LE(0)
  })
  return out
}
