// OPEN (RFC 4271 §4.2) with its optional parameters in both encodings: version u8 | AS u16 | hold time u16 |
// identifier u32 | length u8 | parameters. Length 255 with a first type of 255 is the long form of RFC 9072. Hazard:
// speakers that read its length as one octet crashed (CVE-2022-40302).
import { Reader, type Writer } from '../../lib/bytes.ts'
import { type Capability, capabilityBytes, parseCapabilities } from './capabilities.ts'
import { ProtocolError } from './errors.ts'
import { AS_TRANS, ERROR, MESSAGE, OPEN_ERROR } from './iana.ts'
import { emitMessage } from './message.ts'

/**
 * `asn` is the four-octet one when the capability is there; `holdTime` is 0 or 3-65535 seconds; `routerId` is the BGP
 * identifier as an unsigned number, never 0 (RFC 6286).
 */
export type Open = { asn: number; holdTime: number; routerId: number; capabilities: readonly Capability[] }

const VERSION = 4
const PARAMETER = { capabilities: 2, extended: 255 } as const

/**
 * The OPEN in `bytes[start..end)` (a body, without header). Total. Only what needs no configuration is checked: the caller
 * compares the AS. The version is a constant, so it is checked and not stored.
 */
export function parseOpen(bytes: Uint8Array, start: number, end: number): Open | ProtocolError {
  if (end - start < 10) return bad(OPEN_ERROR.unspecific, 'the message is too short')
  const r = new Reader(bytes, start, end)
  const version = r.u8()
  if (version !== VERSION) return bad(OPEN_ERROR.version, `version ${version}`, Uint8Array.of(0, VERSION))
  const as2 = r.u16()
  const holdTime = r.u16()
  const routerId = r.u32()
  if (holdTime === 1 || holdTime === 2)
    return bad(OPEN_ERROR.holdTime, `${holdTime} s`, Uint8Array.of(holdTime >>> 8, holdTime))
  if (routerId === 0) return bad(OPEN_ERROR.identifier, 'the identifier is 0.0.0.0', new Uint8Array(4))
  const capabilities = parseParameters(r)
  if (capabilities instanceof ProtocolError) return capabilities
  const asn = capabilities.find(c => c.type === 'fourOctetAs')?.asn ?? as2
  // RFC 7607: AS 0 must not be used
  if (asn === 0) return bad(OPEN_ERROR.peerAs, 'AS 0', new Uint8Array(2))
  return { asn, holdTime, routerId, capabilities }
}

/**
 * Writes a whole OPEN, all capabilities in one parameter; the form of RFC 9072 only when 255 octets are not enough.
 * The `fourOctetAs` capability is written only when it is in the list.
 */
export function emitOpen(w: Writer, { asn, holdTime, routerId, capabilities }: Open): void {
  const list = capabilityBytes(capabilities)
  emitMessage(w, MESSAGE.open, () => {
    w.u8(VERSION)
      .u16(asn > 0xffff ? AS_TRANS : asn)
      .u16(holdTime)
      .u32(routerId)
    if (list.length === 0) w.u8(0)
    // a length of 255 with type 255 marks the long form, so 253 octets are the most the short one is used for
    else if (list.length <= 252)
      w.u8(list.length + 2)
        .u8(PARAMETER.capabilities)
        .u8(list.length)
        .put(list)
    else
      w.u8(255)
        .u8(PARAMETER.extended)
        .u16(list.length + 3)
        .u8(PARAMETER.capabilities)
        .u16(list.length)
        .put(list)
  })
}

function parseParameters(r: Reader): Capability[] | ProtocolError {
  let length = r.u8()
  // RFC 9072 §2: the type says which form it is; a sender should, but need not, write 255 as the short length
  const long = length > 0 && r.left >= 3 && r.bytes[r.offset] === PARAMETER.extended
  if (long) {
    r.skip(1)
    length = r.u16()
  }
  if (length !== r.left) return bad(OPEN_ERROR.unspecific, 'the length of the parameters does not fit the message')
  const capabilities: Capability[] = []
  while (r.left > 0) {
    const at = r.offset
    if (r.left < (long ? 3 : 2)) return bad(OPEN_ERROR.unspecific, 'a parameter header is cut off')
    const type = r.u8()
    const size = long ? r.u16() : r.u8()
    if (size > r.left) return bad(OPEN_ERROR.unspecific, `parameter ${type} is cut off`)
    if (type !== PARAMETER.capabilities)
      return bad(OPEN_ERROR.parameter, `type ${type}`, r.bytes.subarray(at, r.offset + size))
    const some = parseCapabilities(r.sub(size))
    if (some instanceof ProtocolError) return some
    capabilities.push(...some)
  }
  return capabilities
}

function bad(subcode: number, detail: string, data?: Uint8Array): ProtocolError {
  return new ProtocolError(ERROR.open, subcode, data, detail)
}
