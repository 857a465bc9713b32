// UPDATE (RFC 4271 §4.3): withdrawn length u16 | withdrawn | attributes length u16 | attributes | NLRI. For the hot path
// it is split and scanned by offsets, so that a receiver can intern the attributes by their octets and parse each
// distinct set once; `parseUpdate` reads everything into values. What is judged here needs the whole message.
import { Writer } from '../../lib/bytes.ts'
import { BASE_FAMILY, FAMILY, familyOfNumbers, numbersOfFamily } from '../family.ts'
import { attributeRows } from './attribute-rows.ts'
import type { Attributes } from './attribute-values.ts'
import { emitAttributes, emitKnown, type ParsedAttributes, parseAttributes } from './attributes.ts'
import type { AfiSafi } from './capabilities.ts'
import type { CodecSession } from './codec-session.ts'
import { type Cost, costOf, ProtocolError, resetFault, type UpdateFault } from './errors.ts'
import { ATTRIBUTE, ERROR, FLAG, MESSAGE, UPDATE_ERROR } from './iana.ts'
import { emitMessage } from './message.ts'
import { emitMpReach, emitMpUnreach, mpNlriFault } from './multiprotocol.ts'
import { emitNlri, type Nlri } from './nlri.ts'

/** Where the three parts of an UPDATE lie, as absolute offsets. Made once and reused. */
export class UpdateOffsets {
  withdrawnStart = 0
  withdrawnEnd = 0
  attributesStart = 0
  attributesEnd = 0
  nlriStart = 0
  nlriEnd = 0
}

/** Splits the body `bytes[start..end)` into `into`; an error when the lengths do not fit (RFC 4271 §6.3, RFC 7606 §3). */
export function splitUpdate(
  bytes: Uint8Array,
  start: number,
  end: number,
  into: UpdateOffsets,
): ProtocolError | undefined {
  if (end - start < 4) return lengthsDoNotFit()
  const withdrawnEnd = start + 2 + ((bytes[start]! << 8) | bytes[start + 1]!)
  if (withdrawnEnd + 2 > end) return lengthsDoNotFit()
  const attributesStart = withdrawnEnd + 2
  const attributesEnd = attributesStart + ((bytes[withdrawnEnd]! << 8) | bytes[withdrawnEnd + 1]!)
  if (attributesEnd > end) return lengthsDoNotFit()
  into.withdrawnStart = start + 2
  into.withdrawnEnd = withdrawnEnd
  into.attributesStart = attributesStart
  into.attributesEnd = attributesEnd
  into.nlriStart = attributesEnd
  into.nlriEnd = end
  return undefined
}

/** Optional and Transitive flags of both multiprotocol attributes. */
const MP_FLAGS = attributeRows.mpReach.flags & attributeRows.mpUnreach.flags

/** Where the multiprotocol attributes lie: header, value, end; all -1 when absent. Made once and reused. */
export class MpOffsets {
  reach = -1
  reachValue = -1
  reachEnd = -1
  unreach = -1
  unreachValue = -1
  unreachEnd = -1
}

/**
 * Finds the multiprotocol attributes without reading any value, so that the octets around them can be interned. False
 * when the attributes are not well framed, or a multiprotocol attribute occurs twice or has wrong flags: then only
 * `parseAttributes` over everything can say what it costs.
 */
export function scanAttributes(bytes: Uint8Array, start: number, end: number, into: MpOffsets): boolean {
  into.reach = into.reachValue = into.reachEnd = into.unreach = into.unreachValue = into.unreachEnd = -1
  let at = start
  while (at < end) {
    const flags = bytes[at]!
    const head = (flags & FLAG.extended) !== 0 ? 4 : 3
    if (end - at < head) return false
    const code = bytes[at + 1]!
    const next = at + head + (head === 4 ? (bytes[at + 2]! << 8) | bytes[at + 3]! : bytes[at + 2]!)
    if (next > end) return false
    if (code === ATTRIBUTE.mpReach || code === ATTRIBUTE.mpUnreach) {
      if ((flags & (FLAG.optional | FLAG.transitive)) !== MP_FLAGS) return false
      const reach = code === ATTRIBUTE.mpReach
      if ((reach ? into.reach : into.unreach) >= 0) return false
      if (reach) {
        into.reach = at
        into.reachValue = at + head
        into.reachEnd = next
      } else {
        into.unreach = at
        into.unreachValue = at + head
        into.unreachEnd = next
      }
    }
    at = next
  }
  return true
}

/** Which reachable prefixes an UPDATE has: none, in the NLRI field, in MP_REACH_NLRI, or in both. */
type Reach = 'none' | 'nlri' | 'mp' | 'both'

/**
 * Faults of attributes that show only in the whole message: a mandatory one is missing (RFC 7606 §3 d), or there is an
 * error but no reachable prefix, so that it is unknown which prefixes should be withdrawn (§5.2).
 */
export function judge({ attributes, faults }: ParsedAttributes, reach: Reach): UpdateFault | undefined {
  if (reach === 'none') {
    // the prefixes of MP_UNREACH_NLRI are withdrawn anyway, so a fault of that attribute changes nothing
    if (!faults.some(f => f.cost === 'withdraw' && f.attribute !== ATTRIBUTE.mpUnreach)) return undefined
    return resetFault(UPDATE_ERROR.attributeList, 'a malformed attribute in a message without reachable prefixes')
  }
  const { origin, asPath, nextHop } = attributes
  if (origin === undefined) return missing(ATTRIBUTE.origin, 'ORIGIN')
  if (asPath === undefined) return missing(ATTRIBUTE.asPath, 'AS_PATH')
  if (nextHop === undefined && reach !== 'mp') return missing(ATTRIBUTE.nextHop, 'NEXT_HOP')
  return undefined
}

/** Prefixes of one family as MP attributes carry them; `opaque` is the NLRI of a family that is not carried. */
export type FamilyNlri = { afi: number; safi: number; nlri: readonly Nlri[]; opaque?: Uint8Array }

export type Update = {
  withdrawn: readonly Nlri[]
  attributes: Attributes
  nlri: readonly Nlri[]
  mpReach?: FamilyNlri & { nextHop: Uint8Array }
  mpUnreach?: FamilyNlri
}

/** When `cost` is `withdraw`, every reachable prefix counts as withdrawn; `faults` say why. */
export type ParsedUpdate = Update & { faults: readonly UpdateFault[]; cost?: Exclude<Cost, 'reset'> }

/** The UPDATE body in `bytes[start..end)` as values; an error when it costs the session. Total. */
export function parseUpdate(
  bytes: Uint8Array,
  start: number,
  end: number,
  session: CodecSession,
): ParsedUpdate | ProtocolError {
  const at = new UpdateOffsets()
  const error = splitUpdate(bytes, start, end, at)
  if (error !== undefined) return error
  const parsed = parseAttributes(bytes, at.attributesStart, at.attributesEnd, session)
  const faults = [...parsed.faults]
  const some = (found: Nlri[] | UpdateFault) => {
    if (Array.isArray(found)) return found
    faults.push(found)
    return []
  }
  const base = FAMILY[BASE_FAMILY]
  const withdrawn = some(base.parse(bytes, at.withdrawnStart, at.withdrawnEnd, session.addPath[base.ip]))
  const nlri = some(base.parse(bytes, at.nlriStart, at.nlriEnd, session.addPath[base.ip]))
  const family = (mp: { afi: number; safi: number; nlriStart: number; nlriEnd: number }): FamilyNlri => {
    const { afi, safi, nlriStart, nlriEnd } = mp
    const row = familyOfNumbers(afi, safi)
    if (row === undefined) return { afi, safi, nlri: [], opaque: bytes.slice(nlriStart, nlriEnd) }
    const found = row.parse(bytes, nlriStart, nlriEnd, session.addPath[row.ip])
    return { afi, safi, nlri: some(Array.isArray(found) ? found : mpNlriFault(found)) }
  }
  const { mpReach: reach, mpUnreach: unreach } = parsed
  const mpReach = reach === undefined ? undefined : { ...family(reach), nextHop: reach.nextHop.slice() }
  const mpUnreach = unreach === undefined ? undefined : family(unreach)
  const inReach = reach !== undefined && reach.nlriEnd > reach.nlriStart
  const verdict = judge(parsed, nlri.length > 0 ? (inReach ? 'both' : 'nlri') : inReach ? 'mp' : 'none')
  if (verdict !== undefined) faults.push(verdict)
  const reset = faults.find(fault => fault.cost === 'reset')
  if (reset !== undefined) return resetError(reset)
  const cost = costOf(faults) as Exclude<Cost, 'reset'> | undefined
  return { withdrawn, attributes: parsed.attributes, nlri, mpReach, mpUnreach, faults, cost }
}

/** The NOTIFICATION of a reset; without details it says that the attribute list is malformed. */
export function resetError({ error, reason }: UpdateFault): ProtocolError {
  return error ?? new ProtocolError(ERROR.update, UPDATE_ERROR.attributeList, undefined, reason)
}

/**
 * Writes a whole UPDATE: multiprotocol attributes first (RFC 7606 §5.1), the others by type. Throws `BytesError` when
 * the buffer is too small: the caller gives a buffer within the session's limit.
 */
export function emitUpdate(w: Writer, update: Update, session: CodecSession): void {
  const { withdrawn, attributes, nlri, mpReach, mpUnreach } = update
  emitMessage(w, MESSAGE.update, () => {
    w.prefixed(2, () => emitNlri(w, withdrawn))
    w.prefixed(2, () => {
      if (mpReach !== undefined) {
        const located = { ...mpReach, ...locate(mpReach) }
        emitKnown(w, 'mpReach', () => emitMpReach(w, located))
      }
      if (mpUnreach !== undefined) {
        const located = { ...mpUnreach, ...locate(mpUnreach) }
        emitKnown(w, 'mpUnreach', () => emitMpUnreach(w, located))
      }
      emitAttributes(w, attributes, session)
    })
    emitNlri(w, nlri)
  })
}

/** Writes the End-of-RIB of a family (RFC 4724 §2). */
export function emitEndOfRib(w: Writer, { afi, safi }: AfiSafi): void {
  emitMessage(w, MESSAGE.update, () => {
    w.u16(0)
    if (familyOfNumbers(afi, safi)?.name === BASE_FAMILY) w.u16(0)
    else w.prefixed(2, () => emitKnown(w, 'mpUnreach', () => w.u16(afi).u8(safi)))
  })
}

/** The family whose End-of-RIB this is (RFC 4724 §2); undefined when it says anything else. */
export function endOfRib(bytes: Uint8Array, at: UpdateOffsets): AfiSafi | undefined {
  if (at.withdrawnEnd > at.withdrawnStart || at.nlriEnd > at.nlriStart) return undefined
  const { attributesStart: from, attributesEnd: to } = at
  if (from === to) return numbersOfFamily(BASE_FAMILY)
  const head = (bytes[from]! & FLAG.extended) !== 0 ? 4 : 3
  const alone = to - from === head + 3 && bytes[from + head - 1] === 3 && (head === 3 || bytes[from + 2] === 0)
  if (!alone || bytes[from + 1] !== ATTRIBUTE.mpUnreach) return undefined
  return { afi: (bytes[to - 3]! << 8) | bytes[to - 2]!, safi: bytes[to - 1]! }
}

/** Octets of a path id, a length and a whole IPv6 address. */
const MOST_NLRI = 21

function locate({ nlri, opaque }: FamilyNlri): { bytes: Uint8Array; nlriStart: number; nlriEnd: number } {
  const w = new Writer(nlri.length * MOST_NLRI)
  if (opaque === undefined) emitNlri(w, nlri)
  const bytes = opaque ?? w.done()
  return { bytes, nlriStart: 0, nlriEnd: bytes.length }
}

function missing(attribute: number, name: string): UpdateFault {
  return { cost: 'withdraw', attribute, reason: `${name} is missing` }
}

function lengthsDoNotFit(): ProtocolError {
  return new ProtocolError(ERROR.update, UPDATE_ERROR.attributeList, undefined, 'its lengths do not fit the message')
}
