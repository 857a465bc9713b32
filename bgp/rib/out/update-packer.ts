// Writes UPDATE messages one after the other into one block, each with as many prefixes of an attribute set as fit (RFC 4271
// §4.3). IPv6, and IPv4 over IPv6, are in MP_REACH_NLRI, which comes first (RFC 7606 §5.1).
import { type AddressFamily, BASE_FAMILY, FAMILY, type FamilyRow } from '../../family.ts'
import { attributeRows } from '../../wire/attribute-rows.ts'
import { ATTRIBUTE, FLAG, MESSAGE, REFRESH } from '../../wire/iana.ts'
import { HEADER, MAX_EXTENDED_MESSAGE, MAX_MESSAGE } from '../../wire/message.ts'
import type { PrefixTable } from '../store/prefix-table.ts'

/** Octets of one prefix at most: path id, length, address. */
const MOST_NLRI = 4 + 1 + 16
/** Octets around attributes and prefixes: header, two lengths, a wide MP_REACH_NLRI header. */
const FRAME = HEADER + 4 + 4

export type Packed = { bytes: Uint8Array; messages: number }

export class UpdatePacker {
  readonly #prefixes: PrefixTable
  readonly #family: FamilyRow
  /** Prefixes without a multiprotocol next hop stand in the fields of the UPDATE itself. */
  readonly #fields: boolean
  readonly #addPath: boolean
  readonly #limit: number
  #buffer = new Uint8Array(1 << 17)
  #at = 0
  #messages = 0
  /** Start of the open message; -1 when none is open. */
  #open = -1
  #kind: 'reach' | 'mp-reach' | 'withdraw' | 'mp-unreach' = 'reach'
  #set: Uint8Array = this.#buffer
  /** In a set with a multiprotocol next hop: where the value of its MP_REACH_NLRI begins. */
  #value = 0
  /** Attributes of the open message that follow MP_REACH_NLRI. */
  #tail = 0
  #setEnd = 0

  constructor(
    prefixes: PrefixTable,
    { family, addPath, extended }: { family: AddressFamily; addPath: boolean; extended: boolean },
  ) {
    this.#prefixes = prefixes
    this.#family = FAMILY[family]
    this.#fields = family === BASE_FAMILY
    this.#addPath = addPath
    this.#limit = extended ? MAX_EXTENDED_MESSAGE : MAX_MESSAGE
  }

  /** The most octets of an attribute set that leave room for one prefix in a message (RFC 8654 §4). */
  get room(): number {
    return this.#limit - FRAME - MOST_NLRI
  }

  /** Octets written since `take`. */
  get length(): number {
    return this.#at
  }

  /** Prefixes added from now on are announced with the set in `bytes[start..end)`, which must stay until `take`. */
  announce(bytes: Uint8Array, start: number, end: number): void {
    this.#close()
    this.#set = bytes
    const mp = end > start && bytes[start + 1] === ATTRIBUTE.mpReach
    this.#kind = mp ? 'mp-reach' : 'reach'
    this.#value = start + 3
    this.#tail = mp ? start + 3 + bytes[start + 2]! : start
    this.#setEnd = end
  }

  /** Prefixes added from now on are withdrawn. */
  withdraw(): void {
    this.#close()
    this.#kind = this.#fields ? 'withdraw' : 'mp-unreach'
    this.#tail = this.#setEnd = 0
  }

  add(prefix: number, pathId: number): void {
    const tail = this.#kind === 'mp-reach' ? this.#setEnd - this.#tail : 0
    if (this.#open >= 0 && this.#at - this.#open + tail + MOST_NLRI > this.#limit - 2) this.#close()
    if (this.#open < 0) this.#begin()
    const bytes = this.#buffer
    if (this.#addPath) this.#at = u32(bytes, this.#at, pathId)
    this.#at = this.#prefixes.emit(prefix, bytes, this.#at)
  }

  /** Writes End-of-RIB, the end of a family's first table (RFC 4724 §2). */
  endOfRib(): void {
    this.#close()
    if (this.#fields) {
      this.#start(MESSAGE.update)
      this.#at = u32(this.#buffer, this.#at, 0)
      this.#finish()
      return
    }
    this.withdraw()
    this.#begin()
    this.#close()
  }

  /** BoRR or EoRR (RFC 7313 §4). */
  refresh(kind: 'begin' | 'end'): void {
    this.#close()
    this.#start(MESSAGE.routeRefresh)
    const bytes = this.#buffer
    this.#at = u16(bytes, this.#at, this.#family.afi)
    bytes[this.#at++] = REFRESH[kind]
    bytes[this.#at++] = this.#family.safi
    this.#finish()
  }

  /** Everything written, copied out; the packer is empty again. */
  take(): Packed {
    this.#close()
    const packed = { bytes: this.#buffer.slice(0, this.#at), messages: this.#messages }
    this.#at = this.#messages = 0
    return packed
  }

  #start(type: number): void {
    if (this.#buffer.length - this.#at < MAX_EXTENDED_MESSAGE + FRAME) {
      const wider = new Uint8Array(this.#buffer.length * 2)
      wider.set(this.#buffer.subarray(0, this.#at))
      this.#buffer = wider
    }
    const bytes = this.#buffer
    this.#open = this.#at
    for (let i = 0; i < 16; i++) bytes[this.#at++] = 0xff
    this.#at += 2
    bytes[this.#at++] = type
  }

  /** Opens a message of the current kind up to where its prefixes go. */
  #begin(): void {
    this.#start(MESSAGE.update)
    const bytes = this.#buffer
    let at = this.#at
    const kind = this.#kind
    if (kind === 'reach') {
      at = u16(bytes, at, 0)
      at = u16(bytes, at, this.#setEnd - this.#tail)
      at = this.#copyTail(at)
    } else if (kind === 'withdraw') at += 2
    else {
      at = u16(bytes, at, 0) + 2
      bytes[at++] = attributeRows[kind === 'mp-reach' ? 'mpReach' : 'mpUnreach'].flags | FLAG.extended
      bytes[at++] = kind === 'mp-reach' ? ATTRIBUTE.mpReach : ATTRIBUTE.mpUnreach
      at += 2
      if (kind === 'mp-unreach') {
        at = u16(bytes, at, this.#family.afi)
        bytes[at++] = this.#family.safi
      } else {
        // the stored value: afi, safi, next hop, reserved octet
        for (let i = this.#value; i < this.#tail; i++) bytes[at++] = this.#set[i]!
      }
    }
    this.#at = at
  }

  #copyTail(at: number): number {
    const bytes = this.#buffer
    const set = this.#set
    for (let i = this.#tail; i < this.#setEnd; i++) bytes[at++] = set[i]!
    return at
  }

  /** Completes the open message, if there is one. */
  #close(): void {
    if (this.#open < 0) return
    const bytes = this.#buffer
    const body = this.#open + HEADER
    if (this.#kind === 'withdraw') {
      u16(bytes, body, this.#at - body - 2)
      this.#at = u16(bytes, this.#at, 0)
    } else if (this.#kind !== 'reach') {
      u16(bytes, body + 6, this.#at - body - 8)
      this.#at = this.#copyTail(this.#at)
      u16(bytes, body + 2, this.#at - body - 4)
    }
    this.#finish()
  }

  #finish(): void {
    u16(this.#buffer, this.#open + 16, this.#at - this.#open)
    this.#open = -1
    this.#messages++
  }
}

function u16(bytes: Uint8Array, at: number, value: number): number {
  bytes[at] = value >>> 8
  bytes[at + 1] = value
  return at + 2
}

function u32(bytes: Uint8Array, at: number, value: number): number {
  return u16(bytes, u16(bytes, at, value >>> 16), value & 0xffff)
}
