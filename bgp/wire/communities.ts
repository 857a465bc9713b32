// The three kinds of communities as values and as text: standard (RFC 1997, a u32), extended (RFC 4360, an u64 kept
// as a bigint) and large (RFC 8092, three u32). Of the extended ones two have a meaning here: the encapsulation of RFC 9012 §4.1
// says how the announcing node can be reached, the link bandwidth of RFC 10005 how much a path carries.
import { formatIpv4, ipv4Number, parseAddress } from '../../lib/ip.ts'
import { COMMUNITY_NAMES } from './iana.ts'

/** `global:local1:local2`, each a u32. */
export type LargeCommunity = { global: number; local1: number; local2: number }

/** A community of any kind: a standard one is a number, an extended one a bigint. */
export type Community = number | bigint | LargeCommunity

/** Octets of type and subtype of an extended community. */
const EXTENDED = {
  as2: 0x00,
  ipv4: 0x01,
  as4: 0x02,
  opaque: 0x03,
  routeTarget: 0x02,
  routeOrigin: 0x03,
  encap: 0x0c,
  bandwidth: 0x04,
}
/** Bit of the type octet of an extended community that must not leave the AS (RFC 4360 §2). */
export const NON_TRANSITIVE = 0x40

/**
 * A community as people write it: `65001:100`, a well-known name such as `no-export`, a large one `65001:1:2`, or an
 * extended one `rt:65001:100`. Undefined when `text` is none of these, also when a number is too large for its place.
 */
export function parseCommunity(text: string): Community | undefined {
  return parseStandardCommunity(text) ?? parseLargeCommunity(text) ?? parseExtendedCommunity(text)
}

/** `65001:100`, or the name of a well-known one. */
export function formatCommunity(value: number): string {
  return COMMUNITY_NAMES.get(value) ?? `${value >>> 16}:${value & 0xffff}`
}

/** A standard community from `high:low` or a well-known name; undefined when `text` is neither. */
function parseStandardCommunity(text: string): number | undefined {
  for (const [value, name] of COMMUNITY_NAMES) if (name === text) return value
  const [high, low] = decimals(text, [0xffff, 0xffff]) ?? []
  return high === undefined || low === undefined ? undefined : high * 0x10000 + low
}

/** `4200000000:1:2`. */
export function formatLargeCommunity({ global, local1, local2 }: LargeCommunity): string {
  return `${global}:${local1}:${local2}`
}

/** A large community from `a:b:c`; undefined when `text` is not one. */
function parseLargeCommunity(text: string): LargeCommunity | undefined {
  const [global, local1, local2] = decimals(text, [0xffffffff, 0xffffffff, 0xffffffff]) ?? []
  if (global === undefined || local1 === undefined || local2 === undefined) return undefined
  return { global, local1, local2 }
}

/** The encapsulation extended community for a tunnel type (u16, as in the registry of RFC 9012). */
export function encapsulation(tunnelType: number): bigint {
  return (BigInt((EXTENDED.opaque << 8) | EXTENDED.encap) << 48n) | BigInt(tunnelType & 0xffff)
}

/** The tunnel type an extended community announces; undefined when it is not an encapsulation. */
export function tunnelType(community: bigint): number | undefined {
  return Number(community >> 48n) === ((EXTENDED.opaque << 8) | EXTENDED.encap)
    ? Number(community & 0xffffn)
    : undefined
}

/** The link bandwidth extended community of an AS (u16) for octets per second, kept as a float of 32 bits; it stays in the AS. */
function bandwidthCommunity(asn: number, octetsPerSecond: number): bigint {
  FLOAT.setFloat32(0, octetsPerSecond)
  const type = ((EXTENDED.as2 | NON_TRANSITIVE) << 8) | EXTENDED.bandwidth
  return (BigInt(type) << 48n) | (BigInt(asn) << 32n) | BigInt(FLOAT.getUint32(0))
}

const FLOAT = new DataView(new ArrayBuffer(4))

/**
 * Octets per second by the link bandwidth communities in the value of an EXTENDED COMMUNITIES attribute: type u8, with or without
 * the bit for non-transitive | subtype u8 | AS u16 | float32. Of several the least; 0 when there is none, or none above zero.
 */
export function linkBandwidth(communities: Uint8Array): number {
  let least = Number.POSITIVE_INFINITY
  for (let at = 0; at + 8 <= communities.length; at += 8) {
    if ((communities[at]! & ~NON_TRANSITIVE) !== EXTENDED.as2 || communities[at + 1] !== EXTENDED.bandwidth) continue
    for (let i = 0; i < 4; i++) FLOAT.setUint8(i, communities[at + 4 + i]!)
    const told = FLOAT.getFloat32(0)
    if (told > 0 && told < least) least = told
  }
  return least === Number.POSITIVE_INFINITY ? 0 : least
}

/** Whether an extended community may cross an AS border (RFC 4360 §2, T bit). */
export function isTransitive(community: bigint): boolean {
  return (Number(community >> 56n) & NON_TRANSITIVE) === 0
}

/** `rt:65001:100`, `ro:192.0.2.1:7`, `encap:8`, `bandwidth:65001:1250000000`; anything else as its 16 hex digits. */
export function formatExtendedCommunity(value: bigint): string {
  const tunnel = tunnelType(value)
  if (tunnel !== undefined && value === encapsulation(tunnel)) return `encap:${tunnel}`
  FLOAT.setUint32(0, Number(value & 0xffffffffn))
  const [asn, octets] = [Number((value >> 32n) & 0xffffn), FLOAT.getFloat32(0)]
  if (octets > 0 && octets <= MOST_WRITTEN && Number.isInteger(octets) && value === bandwidthCommunity(asn, octets))
    return `bandwidth:${asn}:${octets}`
  const type = Number(value >> 56n)
  const subtype = Number((value >> 48n) & 0xffn)
  const kind = subtype === EXTENDED.routeTarget ? 'rt' : subtype === EXTENDED.routeOrigin ? 'ro' : undefined
  const high = Number((value >> 16n) & 0xffffffffn)
  const low = Number(value & 0xffffn)
  if (kind !== undefined) {
    if (type === EXTENDED.as2) return `${kind}:${high >>> 16}:${Number(value & 0xffffffffn)}`
    if (type === EXTENDED.ipv4) return `${kind}:${formatIpv4(high)}:${low}`
    // RFC 5668 §2: the dot-free form of a four-octet AS is told from the two-octet one by its size or an L
    if (type === EXTENDED.as4) return `${kind}:${high}${high > 0xffff ? '' : 'L'}:${low}`
  }
  return `0x${value.toString(16).padStart(16, '0')}`
}

/** Octets per second in a text: fifteen decimals. */
const MOST_WRITTEN = 999_999_999_999_999

/** The reverse of `formatExtendedCommunity`; undefined when `text` is none. */
function parseExtendedCommunity(text: string): bigint | undefined {
  if (/^0x[0-9a-fA-F]{16}$/.test(text)) return BigInt(text)
  const [kind, rest = ''] = [text.slice(0, text.indexOf(':')), text.slice(text.indexOf(':') + 1)]
  if (kind === 'encap') {
    const [tunnel] = decimals(rest, [0xffff]) ?? []
    return tunnel === undefined ? undefined : encapsulation(tunnel)
  }
  if (kind === 'bandwidth') {
    const [asn, octetsPerSecond] = decimals(rest, [0xffff, MOST_WRITTEN]) ?? []
    return asn === undefined || !octetsPerSecond ? undefined : bandwidthCommunity(asn, octetsPerSecond)
  }
  const subtype = kind === 'rt' ? EXTENDED.routeTarget : kind === 'ro' ? EXTENDED.routeOrigin : undefined
  const colon = rest.lastIndexOf(':')
  if (subtype === undefined || colon < 0) return undefined
  const head = rest.slice(0, colon)
  const compose = (type: number, high: number, low: number, lowBits: bigint) =>
    (BigInt((type << 8) | subtype) << 48n) | (BigInt(high) << lowBits) | BigInt(low)
  if (head.includes('.') && parseAddress(head) !== undefined) {
    const [low] = decimals(rest.slice(colon + 1), [0xffff]) ?? []
    return low === undefined ? undefined : compose(EXTENDED.ipv4, ipv4Number(head), low, 16n)
  }
  const [high, low] = decimals(`${head.replace(/L$/, '')}${rest.slice(colon)}`, [0xffffffff, 0xffffffff]) ?? []
  if (high === undefined || low === undefined) return undefined
  if (high <= 0xffff && !head.endsWith('L')) return compose(EXTENDED.as2, high, low, 32n)
  return low > 0xffff ? undefined : compose(EXTENDED.as4, high, low, 16n)
}

/** The decimal parts of `text` between colons, when there are as many as limits and each is within its limit. */
function decimals(text: string, most: readonly number[]): number[] | undefined {
  const parts = text.split(':')
  if (parts.length !== most.length) return undefined
  const values = parts.map(part => (/^\d{1,15}$/.test(part) ? Number(part) : Number.NaN))
  return values.every((value, i) => value <= most[i]!) ? values : undefined
}
