// Elements on the wire. Three forms: a key alone (hash sets), a first and a last key (joined keys in sets of intervals), and
// for plain intervals two elements, of which the second, flagged as an end, is the first key after the range; a range up
// to the last key has no end. nft also writes an end at 0 into a new set: it says nothing, and we write none.
import { fromHex, toHex } from '../../../lib/bytes.ts'
import type { NftElement, NftElements, NftExpression, NftSet } from '../../port/nftables.ts'
import { type Message, NlWriter } from '../message.ts'
import { NLA_F } from '../numbers.ts'
import { data, valueBytes } from './data.ts'
import { expression, expressions, oneOrMore } from './expressions.ts'
import {
  absentIf,
  count,
  listOf,
  Malformed,
  octets,
  optional,
  type Parsed,
  parseSafely,
  record,
  required,
  text,
  u32,
} from './fields.ts'
import { formatKey, type KeyType, parseKey, parseKeyRange, setTypes } from './keys.ts'
import { NFT_SET_ELEM_F } from './numbers.ts'
import { parseBody } from './objects.ts'
import { emitElementNotes, parseElementNotes } from './userdata.ts'

/** Octets of elements in one message: an attribute holds 65,531. */
const MESSAGE_OCTETS = 60_000
/** NFTA_SET_ELEM_LIST_ELEMENTS. */
export const ELEMENTS = 3
const LIST_ELEMENT = 1

type WireElement = {
  key?: Uint8Array
  keyEnd?: Uint8Array
  data?: NonNullable<ReturnType<typeof data.parse>>
  flags?: number
  timeout?: number
  expiration?: number
  userdata?: string
  expression?: NftExpression
  expressions?: readonly NftExpression[]
}

const element = record<WireElement>({
  key: optional(1, valueBytes),
  keyEnd: optional(10, valueBytes),
  data: optional(2, data),
  flags: optional(3, absentIf(0, u32)),
  timeout: optional(4, count),
  expiration: optional(5, count),
  userdata: optional(6, octets),
  expression: optional(7, expression),
  expressions: optional(11, expressions),
})

const list = record<{ table: string; set: string; elements?: readonly WireElement[] }>({
  table: required(1, text),
  set: required(2, text),
  elements: optional(ELEMENTS, listOf(LIST_ELEMENT, element)),
})

const head = record<{ table: string; set: string; setId?: number }>({
  table: required(1, text),
  set: required(2, text),
  setId: optional(4, u32),
})

/** What of an element says which it is. */
const named = record<Pick<WireElement, 'key' | 'keyEnd' | 'flags'>>({
  key: optional(1, valueBytes),
  keyEnd: optional(10, valueBytes),
  flags: optional(3, absentIf(0, u32)),
})

const namedList = record<{ table: string; set: string; elements?: readonly Pick<WireElement, 'key' | 'flags'>[] }>({
  table: required(1, text),
  set: required(2, text),
  elements: optional(ELEMENTS, listOf(LIST_ELEMENT, named)),
})

type Head = Pick<NftElements, 'table' | 'set' | 'setId'>

/** The head of a dump of one set's elements, or of a request that removes all of them. */
export function emitElementsHead(w: NlWriter, of: Head): void {
  head.emit(w, of)
}

/**
 * The bodies of the messages that say these elements, at most as many in each as it can hold. `bare` leaves out all but
 * the keys, which is enough to delete.
 */
export function elementMessages(of: NftElements, { bare }: { bare: boolean }): ((w: NlWriter) => void)[] {
  const { key, data: dataType } = setTypes(of)
  const all = new NlWriter()
  const ends: number[] = []
  for (const each of of.elements)
    for (const wire of toWire(key, dataType, bare ? { key: each.key } : each)) {
      all.nest(LIST_ELEMENT | NLA_F.nested, w => element.emit(w, wire))
      ends.push(all.length)
    }
  const bytes = all.done()
  const messages: ((w: NlWriter) => void)[] = []
  for (let from = 0, i = 0; i < ends.length; i++) {
    const next = ends[i + 1]
    if (next !== undefined && next - from <= MESSAGE_OCTETS) continue
    const part = bytes.subarray(from, ends[i])
    messages.push(w => {
      head.emit(w, of)
      w.attrBytes(ELEMENTS | NLA_F.nested, part)
    })
    from = ends[i]!
  }
  return messages
}

/** Which element the wire element `wire` of all messages is of, counted from 0; undefined for one too many. */
export function elementOfWire(of: NftElements, { bare }: { bare: boolean }, wire: number): number | undefined {
  const { key, data: dataType } = setTypes(of)
  let wires = 0
  for (const [i, each] of of.elements.entries()) {
    wires += toWire(key, dataType, bare ? { key: each.key } : each).length
    if (wire < wires) return i
  }
  return undefined
}

function toWire(key: KeyType, dataType: KeyType | undefined, of: NftElement): WireElement[] {
  const wire: WireElement = {
    timeout: of.timeoutMs,
    expiration: of.expiresMs,
    userdata: emitElementNotes(of, { open: false }),
    ...oneOrMore(of.expressions),
  }
  if (of.data !== undefined) wire.data = dataOf(dataType, of.data)
  if (of.key.length === 1 && of.key[0] === '*') return [{ ...wire, flags: NFT_SET_ELEM_F.catchall }]
  if (!key.interval) return [{ ...wire, key: parseKey(key, of.key) }]
  const { from, to } = parseKeyRange(key, of.key)
  if (key.parts.length > 1) return [{ ...wire, key: from, keyEnd: to }]
  const end = following(to)
  if (end === undefined) return [{ ...wire, key: from, userdata: emitElementNotes(of, { open: true }) }]
  return [
    { ...wire, key: from },
    { key: end, flags: NFT_SET_ELEM_F.intervalEnd },
  ]
}

function dataOf(type: KeyType | undefined, value: NonNullable<NftElement['data']>): WireElement['data'] {
  if ('verdict' in value) return value
  if (type === undefined) throw new Error('data in a set, or words for a verdict')
  return { value: toHex(parseKey(type, value)) }
}

/** The key after `key`; undefined after the last one. */
function following(key: Uint8Array): Uint8Array | undefined {
  const next = Uint8Array.from(key)
  for (let i = next.length - 1; i >= 0; i--) {
    next[i] = next[i]! + 1
    if (next[i] !== 0) return next
  }
  return undefined
}

/** A question for one element, by the octets of its key. */
export function emitElementQuestion(
  w: NlWriter,
  { table, set, key }: { table: string; set: string; key: string },
): void {
  namedList.emit(w, { table, set, elements: [{ key: fromHex(key) }] })
}

/** The octets of the keys that a message is about; undefined where something else than a key names one: the end of a range. */
export function keysIn(message: Message): string[] | undefined {
  const elements = parseBody(message, (_, attributes) => namedList.parse(attributes)!.elements ?? [])
  if (elements instanceof Malformed || elements.some(each => each.key === undefined || Object.keys(each).length > 1))
    return undefined
  return elements.map(({ key }) => toHex(key!))
}

/** The words of a key of a set, from its octets. */
export function keyWords(set: NftSet, key: string): Parsed<string[]> {
  return parseSafely(() => formatKey(setTypes(set).key, fromHex(key)))
}

/** The elements of one message of a dump of `set`. Ranges may go over its end, so that `elementsOf` makes sense of all. */
export function parseElements(message: Message): Parsed<readonly WireElement[]> {
  return parseBody(message, (_, attributes) => list.parse(attributes)!.elements ?? [])
}

/** What a set holds, of all wire elements of a dump in any order. */
export function elementsOf(set: NftSet, wires: readonly WireElement[]): Parsed<NftElement[]> {
  const { key, data: dataType } = setTypes(set)
  return parseSafely(() =>
    key.interval && key.parts.length === 1
      ? fromIntervals(key, dataType, wires)
      : wires.map(wire => fromWire(key, dataType, wire)),
  )
}

function fromIntervals(key: KeyType, dataType: KeyType | undefined, wires: readonly WireElement[]): NftElement[] {
  const isEnd = (wire: WireElement) => ((wire.flags ?? 0) & NFT_SET_ELEM_F.intervalEnd) !== 0
  // an end and the next start at the same key: the end is first
  const sorted = wires
    .filter(wire => wire.key !== undefined)
    .sort((a, b) => Buffer.compare(a.key!, b.key!) || Number(isEnd(b)) - Number(isEnd(a)))
  const out = wires.filter(wire => wire.key === undefined).map(wire => fromWire(key, dataType, wire))
  for (const [i, wire] of sorted.entries()) {
    if (isEnd(wire)) continue
    const end = sorted[i + 1]
    const open = end === undefined
    const to = open ? new Uint8Array(key.length).fill(0xff) : before(end.key!)
    out.push(fromWire(key, dataType, { ...wire, keyEnd: to }, { open }))
  }
  return out
}

/** The key before `next`. */
function before(next: Uint8Array): Uint8Array {
  const key = Uint8Array.from(next)
  for (let i = key.length - 1; i >= 0; i--) {
    key[i] = key[i]! - 1
    if (key[i] !== 0xff) break
  }
  return key
}

function fromWire(
  key: KeyType,
  dataType: KeyType | undefined,
  wire: WireElement,
  { open = false }: { open?: boolean } = {},
): NftElement {
  const out: NftElement = { key: keyOf(key, wire) }
  if (wire.data !== undefined) out.data = 'value' in wire.data ? valueWords(dataType, wire.data.value) : wire.data
  if (wire.timeout !== undefined) out.timeoutMs = wire.timeout
  if (wire.expiration !== undefined) out.expiresMs = wire.expiration
  const steps = wire.expression === undefined ? wire.expressions : [wire.expression]
  if (steps !== undefined && steps.length > 0) out.expressions = steps
  return { ...out, ...parseElementNotes(wire.userdata, { open }) }
}

function keyOf(key: KeyType, { key: from, keyEnd: to, flags = 0 }: WireElement): string[] {
  if (flags & NFT_SET_ELEM_F.catchall) return ['*']
  if (from === undefined) throw new Malformed('an element without a key')
  return formatKey(key, from, to)
}

function valueWords(type: KeyType | undefined, hex: string): string[] {
  if (type === undefined) throw new Malformed('data in a set, or a value in a map of verdicts')
  return formatKey(type, fromHex(hex))
}
