// Attributes as tables: a record is a list of fields, each with the number of its attribute and a codec for its value,
// and both directions follow from that. Numbers are big-endian, as everywhere in netfilter. Parsing is total: it ends
// in a value, in `Malformed` (the octets make no sense) or in `Unknown` (they may, but we have no word for it).
import { fromHex, toHex } from '../../../lib/bytes.ts'
import { attributeText, type NlWriter } from '../message.ts'
import { NLA_F } from '../numbers.ts'

/** Octets that are no message of nftables. */
export class Malformed extends Error {
  override readonly name = 'Malformed'
}

/** Octets that another kernel or program may mean something by. */
export class Unknown extends Error {
  override readonly name = 'Unknown'
}

/** What octets say, or that they make no sense. */
export type Parsed<T> = T | Malformed

/** Makes a parser total: whatever is wrong with the octets is the value that comes back. */
export function parseSafely<T>(parse: () => T): Parsed<T> {
  try {
    return parse()
  } catch (error) {
    if (error instanceof Malformed) return error
    if (error instanceof Unknown) return new Malformed(error.message)
    throw error
  }
}

/** How one value lies in an attribute. `parse` gives undefined for a value that means the same as no attribute. */
export type Codec<T> = {
  /** The attribute holds attributes. */
  nested?: true | undefined
  emit(w: NlWriter, value: T): void
  parse(bytes: Buffer): T | undefined
}

type Field<T> = { attribute: number; codec: Codec<T>; isRequired: boolean }
type Fields<T> = { readonly [K in keyof T]-?: Field<Exclude<T[K], undefined>> }

/** A field that is always there. */
export function required<T>(attribute: number, codec: Codec<T>): Field<T> {
  return { attribute, codec, isRequired: true }
}

/** A field that may be absent. */
export function optional<T>(attribute: number, codec: Codec<T>): Field<T> {
  return { attribute, codec, isRequired: false }
}

/**
 * A record of fields, written in the order of the table. Attributes without a field are left out, or with `closed` make
 * it `Unknown`, except those that have exactly the octets which `constant` gives them.
 */
export function record<T extends object>(
  fields: Fields<T>,
  { closed = false, constant = {} }: { closed?: boolean; constant?: Readonly<Record<number, string>> } = {},
): Codec<T> {
  const rows = Object.entries(fields) as [keyof T & string, Field<unknown>][]
  const names = new Map(rows.map(([name, { attribute }]) => [attribute, name]))
  return {
    nested: true,
    emit(w, value) {
      for (const [name, { attribute, codec }] of rows)
        if (value[name] !== undefined) emitAttribute(w, attribute, codec, value[name])
    },
    parse(bytes) {
      const out: Partial<T> = {}
      for (const { type, value } of attributesOf(bytes)) {
        const name = names.get(type)
        if (name !== undefined) {
          const parsed = fields[name].codec.parse(value)
          if (parsed !== undefined) out[name] = parsed
        } else if (closed && constant[type] !== toHex(value)) throw new Unknown(`attribute ${type}`)
      }
      for (const [name, { isRequired }] of rows)
        if (isRequired && out[name] === undefined) throw new Malformed(`no ${name}`)
      return out as T
    },
  }
}

/** A list of values, each in an attribute of the number `attribute`. */
export function listOf<T>(attribute: number, codec: Codec<T>): Codec<readonly T[]> {
  return {
    nested: true,
    emit(w, values) {
      for (const value of values) emitAttribute(w, attribute, codec, value)
    },
    parse(bytes) {
      const out: T[] = []
      for (const { type, value } of attributesOf(bytes)) {
        const parsed = type === attribute ? codec.parse(value) : undefined
        if (parsed === undefined) throw new Malformed(`attribute ${type} in a list of ${attribute}`)
        out.push(parsed)
      }
      return out
    },
  }
}

function emitAttribute<T>(w: NlWriter, attribute: number, codec: Codec<T>, value: T): void {
  w.nest(codec.nested ? attribute | NLA_F.nested : attribute, () => codec.emit(w, value))
}

/** The attributes of `bytes` in order. Throws `Malformed` where one is cut short. */
export function attributesOf(bytes: Buffer): { type: number; value: Buffer }[] {
  const out: { type: number; value: Buffer }[] = []
  for (let at = 0; at < bytes.length; ) {
    const length = at + 4 <= bytes.length ? bytes.readUInt16LE(at) : 0
    if (length < 4 || at + length > bytes.length) throw new Malformed(`an attribute is cut short at octet ${at}`)
    const type = bytes.readUInt16LE(at + 2) & ~(NLA_F.nested | NLA_F.netByteOrder)
    out.push({ type, value: bytes.subarray(at + 4, at + length) })
    at += (length + 3) & ~3
  }
  return out
}

function sized<T>(length: number, emit: (w: NlWriter, value: T) => void, parse: (bytes: Buffer) => T): Codec<T> {
  return {
    emit,
    parse(bytes) {
      if (bytes.length !== length) throw new Malformed(`${bytes.length} octets instead of ${length}`)
      return parse(bytes)
    },
  }
}

export const u8: Codec<number> = sized(
  1,
  (w, value) => w.u8(value),
  bytes => bytes[0]!,
)
export const u16: Codec<number> = sized(
  2,
  (w, value) => w.u16be(value),
  bytes => bytes.readUInt16BE(0),
)
export const u32: Codec<number> = sized(
  4,
  (w, value) => w.u32be(value),
  bytes => bytes.readUInt32BE(0),
)
/** A signed number. */
export const i32: Codec<number> = sized(
  4,
  (w, value) => w.u32be(value),
  bytes => bytes.readInt32BE(0),
)
export const u64: Codec<bigint> = sized(
  8,
  (w, value) => w.u64be(value),
  bytes => bytes.readBigUInt64BE(0),
)

/** An u64 that counts something which never nears 2^53. */
export const count: Codec<number> = sized(
  8,
  (w, value) => w.u64be(BigInt(value)),
  bytes => {
    const value = bytes.readBigUInt64BE(0)
    if (value > Number.MAX_SAFE_INTEGER) throw new Malformed(`${value} is no count`)
    return Number(value)
  },
)

/** An u64 that we have no number for above 2^53. */
export const upTo53Bits: Codec<number> = sized(
  8,
  (w, value) => w.u64be(BigInt(value)),
  bytes => {
    const value = bytes.readBigUInt64BE(0)
    if (value > Number.MAX_SAFE_INTEGER) throw new Unknown(`value ${value}`)
    return Number(value)
  },
)

/** A zero-terminated string in UTF-8. */
export const text: Codec<string> = {
  emit: (w, value) => w.put(Buffer.from(`${value}\0`)),
  parse: attributeText,
}

export const octets: Codec<string> = {
  emit: (w, value) => w.put(fromHex(value)),
  parse: toHex,
}

/** The codec with `absent` for no attribute at all. */
export function absentIf<T, const A extends T>(absent: A, codec: Codec<T>): Codec<Exclude<T, A>> {
  return {
    nested: codec.nested,
    emit: (w, value) => codec.emit(w, value),
    parse(bytes) {
      const value = codec.parse(bytes)
      return value === absent ? undefined : (value as Exclude<T, A>)
    },
  }
}

/** The codec for values of another form. */
export function mapped<T, W>(codec: Codec<W>, toWire: (value: T) => W, fromWire: (wire: W) => T): Codec<T> {
  return {
    nested: codec.nested,
    emit: (w, value) => codec.emit(w, toWire(value)),
    parse(bytes) {
      const wire = codec.parse(bytes)
      return wire === undefined ? undefined : fromWire(wire)
    },
  }
}

/** A number with a word for each value. */
export function word<W extends string>(words: Readonly<Record<W, number>>, number: Codec<number> = u32): Codec<W> {
  const names = new Map(Object.entries<number>(words).map(([name, value]) => [value, name as W]))
  return {
    emit: (w, value) => number.emit(w, words[value]),
    parse(bytes) {
      const value = number.parse(bytes)!
      const name = names.get(value)
      if (name === undefined) throw new Unknown(`value ${value}`)
      return name
    },
  }
}

/** Bits with a word for each, in the order of the table; none of them is the same as no attribute. */
export function bits<W extends string>(words: Readonly<Record<W, number>>): Codec<readonly W[]> {
  const rows = Object.entries<number>(words) as [W, number][]
  const all = rows.reduce((sum, [, bit]) => sum | bit, 0)
  return {
    emit: (w, value) => w.u32be(value.reduce((sum, name) => sum | words[name], 0)),
    parse(bytes) {
      const value = u32.parse(bytes)!
      if (value & ~all) throw new Unknown(`bits ${value.toString(16)}`)
      return value === 0 ? undefined : rows.filter(([, bit]) => value & bit).map(([name]) => name)
    },
  }
}

/** True, or no attribute, for a number that has one meaning at most. */
export const oneIsTrue: Codec<true> = {
  emit: w => w.u32be(1),
  parse(bytes) {
    const value = u32.parse(bytes)!
    if (value > 1) throw new Unknown(`value ${value}`)
    return value === 1 ? true : undefined
  },
}
