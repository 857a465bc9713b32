// Prefixes as small numbers. A prefix keeps its id until `release`; everything else about a prefix is in typed arrays by
// id. Look-up is open addressing with linear probing. Sixteen neighbouring prefixes share a cache line, because routes are
// announced and withdrawn in the order of their addresses. The ids of released prefixes stay in the slots until ids run out;
// then the whole table is built again without them.
import { type Family, formatAddress, formatCidr, formatIpv4 } from '../../../lib/ip.ts'
import { eachIpv4Prefix, eachIpv6Prefix, readIpv6Prefix } from '../../wire/nlri.ts'
import { isIpv4Destination, isIpv6Destination } from './destination.ts'
import { hashBytes, mix, newSeed, type Seed } from './hash.ts'

/** Length of an id that belongs to no prefix and is in a slot, and of one in no slot. */
const RELEASED = 255
const FREE = 254
/** A slot without an id. */
const EMPTY = -1
/** When ids run out and fewer than one in so many are of released prefixes, there are twice as many from then on. */
const RELEASED_SHARE = 8

/** Ids of the prefixes of one message, with their path ids (0 without ADD-PATH): a list without an object per prefix. */
class NlriIds {
  ids = new Uint32Array(1024)
  pathIds = new Uint32Array(1024)
  count = 0

  push(id: number, pathId: number): void {
    if (this.count === this.ids.length) {
      this.ids = widened(this.ids, new Uint32Array(this.count * 2))
      this.pathIds = widened(this.pathIds, new Uint32Array(this.count * 2))
    }
    this.ids[this.count] = id
    this.pathIds[this.count++] = pathId
  }
}

/** Prefix ids of one family. */
export abstract class PrefixTable {
  protected lengths = new Uint8Array(1024).fill(FREE)
  protected slots = new Int32Array(2048).fill(EMPTY)
  protected mask = 2047
  protected readonly seed: Seed = newSeed()
  protected readonly nlri = new NlriIds()
  #size = 0
  #end = 0
  /** All ids below are not `FREE`. */
  #free = 0

  /** Octets of a whole address. */
  abstract readonly octets: 4 | 16
  protected abstract hash(id: number): number
  protected abstract grow(capacity: number): void
  protected abstract store(id: number, bytes: Uint8Array, at: number, length: number): void
  /** The id of the prefix whose octets, host bits cleared, stand at `bytes[at]`; -1 when there is none. */
  abstract find(bytes: Uint8Array, at: number, length: number): number
  /**
   * The ids of the prefixes in the NLRI `bytes[start..end)`, which must be well-formed; a prefix without an id gets one. The
   * list is used again by the next call.
   */
  abstract addNlri(bytes: Uint8Array, start: number, end: number, addPath: boolean): NlriIds
  /** As `addNlri`, without the prefixes that have no id. */
  abstract findNlri(bytes: Uint8Array, start: number, end: number, addPath: boolean): NlriIds
  /** Writes `length u8 | prefix` as NLRI; the new offset. */
  abstract emit(id: number, bytes: Uint8Array, at: number): number
  /** Whether packets can be forwarded to addresses of this prefix (destination.ts). */
  abstract isDestination(id: number): boolean
  /** Canonical CIDR text. */
  abstract text(id: number): string
  /** Copies the octets of the address to the front of `into`. */
  abstract read(id: number, into: Uint8Array): void

  /** One more than the largest id in use or free. */
  get end(): number {
    return this.#end
  }

  /** Ids in use. */
  get size(): number {
    return this.#size
  }

  /** Ids the arrays beside this table must have room for. */
  get capacity(): number {
    return this.lengths.length
  }

  length(id: number): number {
    return this.lengths[id]!
  }

  /** As `find`, making an id when there is none. */
  add(bytes: Uint8Array, at: number, length: number): number {
    const found = this.find(bytes, at, length)
    if (found >= 0) return found
    const id = this.take()
    this.store(id, bytes, at, length)
    this.enter(id)
    return id
  }

  /** Forgets a prefix; its id may be given to another one. */
  release(id: number): void {
    this.lengths[id] = RELEASED
    this.#size--
  }

  /** Whether an id below `end` belongs to a prefix. */
  holds(id: number): boolean {
    return this.lengths[id]! < FREE
  }

  /** An id for a prefix that has none, for `enter` once the prefix is stored. */
  protected take(): number {
    while (this.#free < this.lengths.length && this.lengths[this.#free] !== FREE) this.#free++
    if (this.#free === this.lengths.length) this.#makeIds()
    const id = this.#free++
    this.#end = Math.max(this.#end, this.#free)
    this.#size++
    return id
  }

  protected enter(id: number): void {
    const { slots, mask } = this
    let at = this.hash(id) & mask
    while (slots[at] !== EMPTY) at = (at + 1) & mask
    slots[at] = id
  }

  /** Frees the ids of released prefixes, or makes twice as many ids when that gives few. */
  #makeIds(): void {
    const { length } = this.lengths
    if ((length - this.#size) * RELEASED_SHARE < length) {
      this.lengths = widened(this.lengths, new Uint8Array(length * 2).fill(FREE))
      this.grow(length * 2)
      this.slots = new Int32Array(length * 4)
      this.mask = length * 4 - 1
    }
    this.slots.fill(EMPTY)
    this.#free = length
    for (let id = length - 1; id >= 0; id--)
      if (this.holds(id)) this.enter(id)
      else {
        this.lengths[id] = FREE
        this.#free = id
      }
  }
}

class Ipv4Prefixes extends PrefixTable {
  override readonly octets = 4
  #addresses = new Uint32Array(1024)

  address(id: number): number {
    return this.#addresses[id]!
  }

  /** `add` for an address as an unsigned number with its host bits cleared. */
  addNumber(address: number, length: number): number {
    const found = this.findNumber(address, length)
    if (found >= 0) return found
    const id = this.take()
    this.#addresses[id] = address
    this.lengths[id] = length
    this.enter(id)
    return id
  }

  /** `find` for an address as an unsigned number with its host bits cleared. */
  findNumber(address: number, length: number): number {
    const { slots, mask, seed } = this
    const addresses = this.#addresses
    for (let at = home(address, length, seed) & mask; ; at = (at + 1) & mask) {
      const id = slots[at]!
      if (id === EMPTY) return -1
      if (addresses[id] === address && this.lengths[id] === length) return id
    }
  }

  override addNlri(bytes: Uint8Array, start: number, end: number, addPath: boolean): NlriIds {
    this.nlri.count = 0
    eachIpv4Prefix(bytes, start, end, addPath, this.#add)
    return this.nlri
  }

  override findNlri(bytes: Uint8Array, start: number, end: number, addPath: boolean): NlriIds {
    this.nlri.count = 0
    eachIpv4Prefix(bytes, start, end, addPath, this.#find)
    return this.nlri
  }

  // visitors are made once: a full table has a message for every few prefixes
  readonly #add = (pathId: number, address: number, length: number): void =>
    this.nlri.push(this.addNumber(address, length), pathId)

  readonly #find = (pathId: number, address: number, length: number): void => {
    const id = this.findNumber(address, length)
    if (id >= 0) this.nlri.push(id, pathId)
  }

  override find(bytes: Uint8Array, at: number, length: number): number {
    return this.findNumber(ipv4At(bytes, at), length)
  }

  override emit(id: number, bytes: Uint8Array, at: number): number {
    const length = this.lengths[id]!
    const address = this.#addresses[id]!
    bytes[at++] = length
    if (length > 0) bytes[at++] = address >>> 24
    if (length > 8) bytes[at++] = address >>> 16
    if (length > 16) bytes[at++] = address >>> 8
    if (length > 24) bytes[at++] = address
    return at
  }

  override isDestination(id: number): boolean {
    return isIpv4Destination(this.#addresses[id]!, this.lengths[id]!)
  }

  override text(id: number): string {
    return formatCidr({ address: formatIpv4(this.#addresses[id]!), length: this.lengths[id]! })
  }

  override read(id: number, into: Uint8Array): void {
    const address = this.#addresses[id]!
    for (let i = 0; i < 4; i++) into[i] = address >>> (24 - 8 * i)
  }

  protected override hash(id: number): number {
    return home(this.#addresses[id]!, this.lengths[id]!, this.seed)
  }

  protected override grow(capacity: number): void {
    this.#addresses = widened(this.#addresses, new Uint32Array(capacity))
  }

  protected override store(id: number, bytes: Uint8Array, at: number, length: number): void {
    this.#addresses[id] = ipv4At(bytes, at)
    this.lengths[id] = length
  }
}

class Ipv6Prefixes extends PrefixTable {
  override readonly octets = 16
  #addresses = new Uint8Array(1024 * 16)
  /** The prefix being read, host bits clear. */
  readonly #read = new Uint8Array(16)

  override addNlri(bytes: Uint8Array, start: number, end: number, addPath: boolean): NlriIds {
    const { nlri } = this
    nlri.count = 0
    eachIpv6Prefix(bytes, start, end, addPath, (pathId, at, length) => {
      readIpv6Prefix(bytes, at, length, this.#read)
      nlri.push(this.add(this.#read, 0, length), pathId)
    })
    return nlri
  }

  override findNlri(bytes: Uint8Array, start: number, end: number, addPath: boolean): NlriIds {
    const { nlri } = this
    nlri.count = 0
    eachIpv6Prefix(bytes, start, end, addPath, (pathId, at, length) => {
      readIpv6Prefix(bytes, at, length, this.#read)
      const id = this.find(this.#read, 0, length)
      if (id >= 0) nlri.push(id, pathId)
    })
    return nlri
  }

  override find(bytes: Uint8Array, at: number, length: number): number {
    const { slots, mask } = this
    const addresses = this.#addresses
    for (let slot = hashBytes(bytes, at, at + 16, length, this.seed) & mask; ; slot = (slot + 1) & mask) {
      const id = slots[slot]!
      if (id === EMPTY) return -1
      if (this.lengths[id] !== length) continue
      let same = 0
      while (same < 16 && addresses[id * 16 + same] === bytes[at + same]) same++
      if (same === 16) return id
    }
  }

  override emit(id: number, bytes: Uint8Array, at: number): number {
    const length = this.lengths[id]!
    bytes[at++] = length
    for (let i = id * 16, end = i + ((length + 7) >>> 3); i < end; i++) bytes[at++] = this.#addresses[i]!
    return at
  }

  override isDestination(id: number): boolean {
    return isIpv6Destination(this.#addresses, id * 16, this.lengths[id]!)
  }

  override text(id: number): string {
    const address = formatAddress(this.#addresses.subarray(id * 16, id * 16 + 16))
    return formatCidr({ address, length: this.lengths[id]! })
  }

  override read(id: number, into: Uint8Array): void {
    into.set(this.#addresses.subarray(id * 16, id * 16 + 16))
  }

  protected override hash(id: number): number {
    return hashBytes(this.#addresses, id * 16, id * 16 + 16, this.lengths[id]!, this.seed)
  }

  protected override grow(capacity: number): void {
    this.#addresses = widened(this.#addresses, new Uint8Array(capacity * 16))
  }

  protected override store(id: number, bytes: Uint8Array, at: number, length: number): void {
    for (let i = 0; i < 16; i++) this.#addresses[id * 16 + i] = bytes[at + i]!
    this.lengths[id] = length
  }
}

/** The prefix table of each kind of address. */
export const PREFIX_TABLES: Readonly<Record<Family, new () => PrefixTable>> = { ipv4: Ipv4Prefixes, ipv6: Ipv6Prefixes }

/** The slot where the search for a prefix begins. Sixteen prefixes that differ only in their last four bits are neighbours. */
function home(address: number, length: number, seed: Seed): number {
  const last = length === 0 ? 0 : (address >>> (32 - length)) & 15
  return (mix(seed.c ^ length, address ^ (last << (32 - length)), seed) & ~15) | last
}

function ipv4At(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0
}

/** Copies `from` to the front of the longer array `to`, and returns `to`. */
export function widened<T extends Uint8Array | Uint16Array | Uint32Array | Int32Array>(from: T, to: T): T {
  to.set(from)
  return to
}
