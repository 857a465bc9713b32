// Addresses and CIDRs. Inside Margay an address is its canonical text (RFC 5952 for IPv6) and a CIDR is
// `address/length` with all host bits zero, so that both can be compared, used as map keys and printed as they are.
// Hot paths work on octets and convert with `addressBytes` and `formatAddress`.
import ipaddr from 'ipaddr.js'

export type Family = 'ipv4' | 'ipv6'

/** A parsed CIDR: `address` is the network address in canonical text, `length` the prefix length in bits. */
export type Cidr = { family: Family; address: string; length: number }

/** Canonical text of an address; undefined when `text` is not one (an IPv4 address has four decimal parts). */
export function parseAddress(text: string): string | undefined {
  if (quadBytes(text) !== undefined) return text
  // zone ids name a link, not an address: whoever needs one keeps it beside the address
  return !text.includes('%') && ipaddr.IPv6.isValid(text) ? ipaddr.IPv6.parse(text).toRFC5952String() : undefined
}

/** An address with a port, as of a listener or a peer. */
export type SocketAddress = { address: string; port: number }

/** Host and port of `HOST:PORT`, `[HOST]:PORT` or `HOST`; undefined when `text` is none of these or the port is above 65535. */
export function splitHostPort(text: string): { host: string; port?: number } | undefined {
  const [, bracketed, plain, digits] = /^(?:\[([^[\]]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(text) ?? []
  // two colons outside brackets: an IPv6 address as a whole
  const host = bracketed ?? plain ?? (parseAddress(text) === undefined ? undefined : text)
  if (host === undefined || Number(digits ?? 0) > 65535) return undefined
  return digits === undefined ? { host } : { host, port: Number(digits) }
}

/**
 * An address with its port (1-65535), canonical: `192.0.2.1:179`, `[2001:db8::1]:179`, or the address alone, whose port
 * is then `defaultPort`. Undefined when `text` is none of these.
 */
export function parseSocketAddress(text: string, defaultPort: number): SocketAddress | undefined {
  const { host, port = defaultPort } = splitHostPort(text) ?? {}
  const address = parseAddress(host ?? '')
  // brackets are for IPv6 only
  if (address === undefined || port < 1 || text.startsWith('[') !== (address.includes(':') && text !== host))
    return undefined
  return { address, port }
}

/** `192.0.2.1:179` or `[2001:db8::1]:179`. */
export function formatSocketAddress({ address, port }: SocketAddress): string {
  return familyOf(address) === 'ipv4' ? `${address}:${port}` : `[${address}]:${port}`
}

/**
 * Whether a canonical address can be one machine's: not unspecified (0.0.0.0/8, ::), not multicast or above (224.0.0.0/3, ff00::/8), and
 * not IPv4 inside IPv6 (::ffff:0:0/96), which sockets of one family cannot use.
 */
export function isHostAddress(address: string): boolean {
  if (familyOf(address) === 'ipv4') return !address.startsWith('0.') && Number.parseInt(address, 10) < 224
  return address !== '::' && !/^ff[0-9a-f]{2}:/.test(address) && !MAPPED.test(address)
}

/** Whether a canonical address is of the host itself: 127.0.0.0/8 or ::1. */
export function isLoopback(address: string): boolean {
  return address === '::1' || (familyOf(address) === 'ipv4' && address.startsWith('127.'))
}

/** Whether a canonical address is in fe80::/10: it has a meaning only together with an interface (RFC 4291 §2.5.6). */
export function isLinkLocal(address: string): boolean {
  return /^fe[89ab][0-9a-f]:/.test(address)
}

/** The link-local address of an interface with this MAC (RFC 4291 appendix A). */
export function linkLocal(mac: string): string {
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = mac.split(':').map(octet => Number.parseInt(octet, 16))
  const groups = [((a ^ 2) << 8) | b, (c << 8) | 0xff, 0xfe00 | d, (e << 8) | f]
  return parseAddress(`fe80::${groups.map(group => group.toString(16)).join(':')}`)!
}

/** `isLinkLocal` for the 16 octets of an IPv6 address from `at`. */
export function isLinkLocalOctets(octets: Uint8Array, at = 0): boolean {
  return octets[at] === 0xfe && (octets[at + 1]! & 0xc0) === 0x80
}

/** An IPv4 address inside of IPv6 (RFC 4291 §2.5.5.2), canonical. */
export function ipv4Mapped(address: string): string {
  return parseAddress(`::ffff:${address}`)!
}

/** The IPv4 address inside of a canonical IPv6 one; undefined where there is none. */
export function mappedIpv4(address: string): string | undefined {
  return MAPPED.test(address) ? formatAddress(addressBytes(address).subarray(12)) : undefined
}

const MAPPED = /^::ffff:[0-9a-f]{1,4}:[0-9a-f]{1,4}$/

/** The family of a canonical address or CIDR. */
export function familyOf(text: string): Family {
  return text.includes(':') ? 'ipv6' : 'ipv4'
}

/** Bits of an address of `family`: 32 or 128. */
export function addressBits(family: Family): 32 | 128 {
  return family === 'ipv4' ? 32 : 128
}

/** A text that is no address, no CIDR, or not of the family that is needed here. */
/** The CIDR of one address. */
export function hostPrefix(address: string): string {
  return `${address}/${addressBits(familyOf(address))}`
}

export class AddressError extends Error {
  override readonly name = 'AddressError'
  readonly code = 'bad-address'
}

/** The 4 or 16 octets of an address. Throws `AddressError` when `text` is not one. */
export function addressBytes(text: string): Uint8Array {
  return quadBytes(text) ?? groupBytes(text) ?? parsedBytes(text)
}

function parsedBytes(text: string): Uint8Array {
  try {
    return Uint8Array.from(ipaddr.parse(text).toByteArray())
  } catch (cause) {
    throw new AddressError(`not an address: ${text}`, { cause })
  }
}

/**
 * The octets of exactly four decimal numbers without leading zeros; undefined for any other text. These come by the hundred
 * thousand (routes, prefixes, nodes), and the library's parser costs ten times as much.
 */
function quadBytes(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(4)
  let at = 0
  let value = -1
  for (let i = 0; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 48
    if (digit === -2 && value >= 0 && at < 3) {
      bytes[at++] = value
      value = -1
    } else if (digit >= 0 && digit <= 9 && value !== 0) {
      value = value < 0 ? digit : value * 10 + digit
      if (value > 255) return undefined
    } else return undefined
  }
  if (at !== 3 || value < 0) return undefined
  bytes[3] = value
  return bytes
}

/** The octets of exactly eight groups of 1 to 4 digits; undefined for any other text. These come as often. */
function groupBytes(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(16)
  let at = 0
  let value = 0
  let digits = 0
  for (let i = 0; i <= text.length; i++) {
    const code = i === text.length ? COLON : text.charCodeAt(i)
    if (code === COLON) {
      if (digits === 0 || digits > 4 || at === 16) return undefined
      bytes[at++] = value >> 8
      bytes[at++] = value & 0xff
      value = digits = 0
      continue
    }
    const digit = code >= 48 && code <= 57 ? code - 48 : (code | 32) >= 97 && (code | 32) <= 102 ? (code | 32) - 87 : -1
    if (digit < 0) return undefined
    value = (value << 4) | digit
    digits++
  }
  return at === 16 ? bytes : undefined
}

const COLON = 58

/** Canonical text of 4 or 16 octets. */
export function formatAddress(bytes: Uint8Array): string {
  if (bytes.length === 4) return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}`
  const groups: string[] = []
  for (let i = 0; i < bytes.length; i += 2) groups.push(((bytes[i]! << 8) | bytes[i + 1]!).toString(16))
  // nothing to leave out: RFC 5952 §4.2 is about zeros
  if (groups.length === 8 && !groups.includes('0')) return groups.join(':')
  return new ipaddr.IPv6([...bytes]).toRFC5952String()
}

/** An IPv4 address as an unsigned 32-bit number. Throws on anything else. */
export function ipv4Number(text: string): number {
  const b = addressBytes(text)
  if (b.length !== 4) throw new AddressError(`not an IPv4 address: ${text}`)
  return ((b[0]! << 24) | (b[1]! << 16) | (b[2]! << 8) | b[3]!) >>> 0
}

/** Dotted text of an unsigned 32-bit number. */
export function formatIpv4(value: number): string {
  return `${value >>> 24}.${(value >>> 16) & 255}.${(value >>> 8) & 255}.${value & 255}`
}

/** Parses `address/length`, clearing host bits; undefined when it is not a CIDR. */
export function parseCidr(text: string): Cidr | undefined {
  const slash = text.indexOf('/')
  const address = slash < 0 ? undefined : parseAddress(text.slice(0, slash))
  if (address === undefined) return undefined
  const family = familyOf(address)
  const length = lengthAt(text, slash + 1)
  return length <= addressBits(family) ? { family, address: maskAddress(address, length), length } : undefined
}

/** The number in one to three digits that `text` ends with; above every prefix length when that is not what is there. */
function lengthAt(text: string, from: number): number {
  if (text.length === from || text.length > from + 3) return 1000
  let value = 0
  for (let i = from; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 48
    if (digit < 0 || digit > 9) return 1000
    value = value * 10 + digit
  }
  return value
}

/** `parseCidr` for text that was validated before. Throws on anything else. */
export function cidr(text: string): Cidr {
  const parsed = parseCidr(text)
  if (parsed === undefined) throw new AddressError(`not a CIDR: ${text}`)
  return parsed
}

export function formatCidr({ address, length }: Omit<Cidr, 'family'> & { family?: Family }): string {
  // of a template V8 keeps the parts beside the whole, and a full table has a million of these
  return [address, length].join('/')
}

/** The network address of `address` under a prefix of `length` bits. */
export function maskAddress(address: string, length: number): string {
  const bytes = addressBytes(address)
  for (let i = 0; i < bytes.length; i++) bytes[i]! &= 0xff00 >> Math.min(8, Math.max(0, length - 8 * i))
  return formatAddress(bytes)
}

/** Every canonical prefix that holds an address, the longest first. */
export function* prefixesOf(address: string): Generator<string> {
  const octets = addressBytes(address)
  for (let length = octets.length * 8; length >= 0; length--) {
    yield `${formatAddress(octets)}/${length}`
    if (length > 0) octets[(length - 1) >> 3]! &= 0xff << (8 - ((length - 1) & 7))
  }
}

/** What is kept under the longest canonical prefix that holds an address: each length is asked for, however many are kept. */
export function longestMatch<T>(kept: { get(prefix: string): T | undefined }, address: string): T | undefined {
  for (const prefix of prefixesOf(address)) {
    const found = kept.get(prefix)
    if (found !== undefined) return found
  }
  return undefined
}

/** Whether a CIDR holds an address or another CIDR as a whole. */
export function contains(outer: string, inner: string): boolean {
  const o = cidr(outer)
  const i = inner.includes('/') ? cidr(inner) : cidr(`${inner}/${addressBits(familyOf(inner))}`)
  return o.family === i.family && i.length >= o.length && maskAddress(i.address, o.length) === o.address
}

/** Whether two CIDRs share an address. */
export function overlaps(a: string, b: string): boolean {
  return contains(a, b) || contains(b, a)
}

/** The address `index` places after the first one of a CIDR. Throws when it lies outside. */
export function addressAt(text: string, index: number | bigint): string {
  const { family, address, length } = cidr(text)
  const at = BigInt(index)
  if (at < 0n || at >= 1n << BigInt(addressBits(family) - length))
    throw new RangeError(`${text} has no address ${index}`)
  return fromBig(toBig(addressBytes(address)) + at, family)
}

/** How many places `address` lies after the first address of a CIDR; undefined when it lies outside. */
export function indexOf(text: string, address: string): number | undefined {
  if (!contains(text, address)) return undefined
  return Number(toBig(addressBytes(address)) - toBig(addressBytes(cidr(text).address)))
}

/** An address as a number, from its 4 or 16 octets. */
export function toBig(bytes: Uint8Array): bigint {
  return bytes.reduce((sum, octet) => (sum << 8n) | BigInt(octet), 0n)
}

/** The canonical text of the address that is this number. */
export function fromBig(value: bigint, family: Family): string {
  const bytes = new Uint8Array(addressBits(family) / 8)
  for (let i = bytes.length - 1; i >= 0; i--, value >>= 8n) bytes[i] = Number(value & 0xffn)
  return formatAddress(bytes)
}
