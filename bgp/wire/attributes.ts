// Path attributes: flags u8 | type u8 | length u8 or u16 | value (RFC 4271 §4.3), read and written by the rows of
// attribute-rows.ts. Parsing is total: any bytes give attributes and faults, and RFC 7606 says what each fault costs.
// Only multiprotocol attributes are views of the message; everything else is a copy.
import { toHex, type Writer } from '../../lib/bytes.ts'
import { mergeAs4Path, needsFourOctets, withoutConfed } from './as-path.ts'
import { attributeRows, type Row, type Values } from './attribute-rows.ts'
import type { Attributes, RawAttribute } from './attribute-values.ts'
import type { CodecSession } from './codec-session.ts'
import { type Cost, costOf, resetFault, type UpdateFault } from './errors.ts'
import { AS_TRANS, ATTRIBUTE, FLAG, UPDATE_ERROR } from './iana.ts'
import type { MpReach, MpUnreach } from './multiprotocol.ts'

type AnyRow = Row<Values[keyof Values]>
const entries = Object.entries(attributeRows) as unknown as readonly [keyof Values, AnyRow][]
const byCode: (readonly [keyof Values, AnyRow] | undefined)[] = new Array(256).fill(undefined)
for (const entry of entries) byCode[entry[1].code] = entry

/** `cost` is the worst of `faults`; absent when there are none. `mpReach` and `mpUnreach` are views. */
export type ParsedAttributes = {
  attributes: Attributes
  mpReach?: MpReach
  mpUnreach?: MpUnreach
  faults: readonly UpdateFault[]
  cost?: Cost
}

// the call in which each type code was last met: tells duplicates without an allocation or a reset per call
const met = new Uint32Array(256)
let call = 0

/**
 * Path attributes in `bytes[start..end)`. Total. What depends on the rest of the UPDATE (mandatory attributes, an error
 * in a message without reachable NLRI) is checked by `judge` in update.ts.
 */
export function parseAttributes(
  bytes: Uint8Array,
  start: number,
  end: number,
  session: CodecSession,
): ParsedAttributes {
  const found: Partial<Values> = {}
  const faults: UpdateFault[] = []
  const unknown: RawAttribute[] = []
  const partial: number[] = []
  call = (call + 1) >>> 0
  if (call === 0) met.fill(call++)
  let at = start
  while (at < end) {
    const flags = bytes[at]!
    const head = (flags & FLAG.extended) !== 0 ? 4 : 3
    const code = at + 1 < end ? bytes[at + 1]! : 0
    if (end - at < head) {
      faults.push(cutOff('an attribute header is cut off', code))
      break
    }
    const from = at + head
    const to = from + (head === 4 ? (bytes[at + 2]! << 8) | bytes[at + 3]! : bytes[at + 2]!)
    if (to > end) {
      faults.push(cutOff('an attribute is longer than what is left', code))
      break
    }
    const whole = at
    at = to
    const entry = byCode[code]
    if (met[code] === call) {
      faults.push(duplicate(code))
      continue
    }
    met[code] = call
    if (entry === undefined) {
      const fault = keepUnknown(unknown, flags, code, bytes, whole, from, to)
      if (fault !== undefined) faults.push(fault)
      continue
    }
    const [name, { flags: wanted, ifMalformed, ifFlagsWrong, taken, parse }] = entry
    if (((flags ^ wanted) & (FLAG.optional | FLAG.transitive)) !== 0) {
      faults.push({ cost: ifFlagsWrong, attribute: code, reason: `${name} has the flags 0x${flags.toString(16)}` })
      // a multiprotocol attribute is read although its flags are wrong: its prefixes must be known to be withdrawn
      if (ifMalformed !== 'reset') continue
    }
    if (!taken(session)) {
      faults.push({ cost: 'discard', attribute: code, reason: `${name} is not taken from this peer` })
      continue
    }
    const value = parse(bytes, from, to, session)
    if (value === undefined) faults.push(malformed(name, ifMalformed, code, bytes, from, to))
    else if (isFault(value)) faults.push(value)
    else {
      ;(found as Record<string, unknown>)[name] = value
      if ((flags & FLAG.partial) !== 0 && mayBePartial(code, wanted)) partial.push(code)
    }
  }
  return finish(found, faults, unknown, partial)
}

/** Splits what was found into attributes and locations, and makes the AS path whole (RFC 6793 §4.2.3). */
function finish(
  found: Partial<Values>,
  faults: UpdateFault[],
  unknown: RawAttribute[],
  partial: number[],
): ParsedAttributes {
  const { mpReach, mpUnreach, as4Path, as4Aggregator, ...rest } = found
  const attributes: Attributes = rest
  // an AGGREGATOR with a two-octet AS other than AS_TRANS was made by an old speaker: the AS4 attributes are out of date
  const stale = attributes.aggregator !== undefined && attributes.aggregator.asn !== AS_TRANS
  if (as4Aggregator !== undefined && attributes.aggregator !== undefined && !stale)
    attributes.aggregator = as4Aggregator
  if (as4Path !== undefined && attributes.asPath !== undefined && !(stale && as4Aggregator !== undefined))
    attributes.asPath = mergeAs4Path(attributes.asPath, as4Path)
  if (unknown.length > 0) attributes.unknown = unknown.sort((a, b) => a.code - b.code)
  if (partial.length > 0) attributes.partial = partial.sort((a, b) => a - b)
  if (mpReach?.fault !== undefined) faults.push(mpReach.fault)
  return { attributes, mpReach, mpUnreach, faults, cost: costOf(faults) }
}

/**
 * Writes attributes in the order of their type codes, with one length octet where that is enough. On a session of
 * two-octet AS numbers AS4_PATH and AS4_AGGREGATOR are written when they are needed (RFC 6793 §4.2.2).
 */
export function emitAttributes(w: Writer, attributes: Attributes, session: CodecSession): void {
  const values: Partial<Values> = attributes
  const raw = [...(attributes.unknown ?? [])].sort((a, b) => a.code - b.code)
  const path = session.as4 ? undefined : attributes.asPath
  const as4: Partial<Values> = {
    as4Path: path !== undefined && needsFourOctets(path) ? withoutConfed(path) : undefined,
    as4Aggregator: !session.as4 && (attributes.aggregator?.asn ?? 0) > 0xffff ? attributes.aggregator : undefined,
  }
  for (const [name, { code, flags, emit }] of entries) {
    const value = values[name] ?? as4[name]
    if (value === undefined) continue
    while (raw.length > 0 && raw[0]!.code < code) emitRaw(w, raw.shift()!)
    const bits = flags | (attributes.partial?.includes(code) === true ? FLAG.partial : 0)
    emitAttribute(w, bits, code, () => emit(w, value, session))
  }
  for (const attribute of raw) emitRaw(w, attribute)
}

/** Writes a known attribute, with the flags of its row, around the value that `body` writes. */
export function emitKnown(w: Writer, name: keyof Values, body: () => void): void {
  const { flags, code } = attributeRows[name]
  emitAttribute(w, flags, code, body)
}

/** Writes one attribute around the value that `body` writes; the Extended Length flag is set only when needed. */
function emitAttribute(w: Writer, flags: number, code: number, body: () => void): void {
  const at = w.length
  w.u8(flags & ~FLAG.extended)
    .u8(code)
    .u8(0)
  body()
  const length = w.length - at - 3
  if (length <= 255) {
    w.bytes[at + 2] = length
    return
  }
  w.u8(0)
  w.bytes.copyWithin(at + 4, at + 3, at + 3 + length)
  w.bytes[at] = flags | FLAG.extended
  w.bytes[at + 2] = length >>> 8
  w.bytes[at + 3] = length
}

/** The unknown attributes as another peer gets them: with the Partial flag (RFC 4271 §5). All of them are transitive. */
export function passOn(unknown: readonly RawAttribute[]): RawAttribute[] {
  return unknown.map(attribute => ({ ...attribute, flags: attribute.flags | FLAG.partial }))
}

function emitRaw(w: Writer, { code, flags, value }: RawAttribute): void {
  emitAttribute(w, flags, code, () => w.put(value))
}

/** Unknown attributes (RFC 4271 §5): transitive kept, non-transitive dropped, well-known resets. */
function keepUnknown(
  unknown: RawAttribute[],
  flags: number,
  code: number,
  bytes: Uint8Array,
  whole: number,
  from: number,
  to: number,
): UpdateFault | undefined {
  if ((flags & FLAG.optional) === 0) {
    const reason = `attribute ${code} is marked well-known and is not known`
    return resetFault(UPDATE_ERROR.unknownWellKnown, reason, bytes.subarray(whole, to), code)
  }
  if ((flags & FLAG.transitive) !== 0)
    unknown.push({ code, flags: flags & ~FLAG.extended, value: bytes.slice(from, to) })
  return undefined
}

/** Only optional transitive attributes can be Partial. The AS4 attributes cannot: they are merged into others here. */
function mayBePartial(code: number, wanted: number): boolean {
  const both = FLAG.optional | FLAG.transitive
  return wanted === both && code !== ATTRIBUTE.as4Path && code !== ATTRIBUTE.as4Aggregator
}

/** RFC 7606 §4. When a multiprotocol attribute is cut off, the prefixes to withdraw cannot be known: a reset (§3 j). */
function cutOff(reason: string, code: number): UpdateFault {
  if (code === ATTRIBUTE.mpReach || code === ATTRIBUTE.mpUnreach)
    return resetFault(UPDATE_ERROR.attributeList, reason, undefined, code)
  return { cost: 'withdraw', attribute: code, reason }
}

/** RFC 7606 §3 g. */
function duplicate(code: number): UpdateFault {
  const reason = `attribute ${code} occurs twice`
  if (code === ATTRIBUTE.mpReach || code === ATTRIBUTE.mpUnreach)
    return resetFault(UPDATE_ERROR.attributeList, reason, undefined, code)
  return { cost: 'discard', attribute: code, reason }
}

function malformed(name: string, cost: Cost, code: number, bytes: Uint8Array, from: number, to: number): UpdateFault {
  const value = toHex(bytes.subarray(from, Math.min(to, from + 32)))
  return { cost, attribute: code, reason: `${name} has the malformed value ${value}${to > from + 32 ? '...' : ''}` }
}

function isFault(value: Values[keyof Values] | UpdateFault): value is UpdateFault {
  return typeof value === 'object' && 'cost' in value
}
