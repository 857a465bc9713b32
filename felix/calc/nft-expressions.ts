// Pieces of nftables rules: what nft writes as one match or one action is a list of the kernel's expressions. Each piece
// reads into registers from 1 on and leaves nothing there that a later piece needs.
import type { NftData, NftExpression, NftPayloadBase } from '../../kernel/port/nftables.ts'
import { toHex } from '../../lib/bytes.ts'
import { addressBytes, type Family } from '../../lib/ip.ts'

/** The kernel's expressions for one match or one action. */
export type Steps = readonly NftExpression[]
type Field = { base: NftPayloadBase; offset: number; length: number }

/** Where addresses lie in their headers (RFC 791, RFC 8200, RFC 826 for Ethernet and IPv4). */
export const SOURCE: Record<Family | 'arp', Field> = {
  ipv4: { base: 'network', offset: 12, length: 4 },
  ipv6: { base: 'network', offset: 8, length: 16 },
  arp: { base: 'network', offset: 14, length: 4 },
}
export const DESTINATION: Record<Family, Field> = {
  ipv4: { base: 'network', offset: 16, length: 4 },
  ipv6: { base: 'network', offset: 24, length: 16 },
}
/** The target of a neighbour advertisement (RFC 4861 §4.4). */
const ND_TARGET: Field = { base: 'transport', offset: 8, length: 16 }
/** The destination of the packet that an ICMP error quotes, behind 8 octets of its own (RFC 792, RFC 4443). */
const QUOTED_DESTINATION: Record<Family, Field> = {
  ipv4: { base: 'transport', offset: 8 + 16, length: 4 },
  ipv6: { base: 'transport', offset: 8 + 24, length: 16 },
}
const PROTOCOL = { icmp: 1, ipip: 4, tcp: 6, udp: 17, icmpv6: 58 } as const
const IFNAMSIZ = 16
/** RTN_LOCAL as the kernel keeps it in a register, in the order of the machine. */
const LOCAL = '02000000'
/** IPS_DST_NAT, in the order of the machine. */
const TRANSLATED = '20000000'
/** NFPROTO_*. */
const NFPROTO: Record<Family, string> = { ipv4: '02', ipv6: '0a' }

/** NFT_REJECT_ICMPX_PORT_UNREACH. */
const ICMPX_PORT_UNREACHABLE = 1

/** `iifname "PREFIX*"`. */
export function fromInterfaces(prefix: string): Steps {
  return [
    { type: 'meta', key: 'iifname', load: 1 },
    { type: 'cmp', op: 'eq', from: 1, value: toHex(Buffer.from(prefix)) },
  ]
}

/** `oifname "PREFIX*"`. */
export function toInterfaces(prefix: string): Steps {
  return [
    { type: 'meta', key: 'oifname', load: 1 },
    { type: 'cmp', op: 'eq', from: 1, value: toHex(Buffer.from(prefix)) },
  ]
}

/** `meta nfproto FAMILY`: a rule of the family inet says it before it reads a header of the network. */
export function ofFamily(family: Family): Steps {
  return [{ type: 'meta', key: 'nfproto', load: 1 }, equals(NFPROTO[family])]
}

/** `ip protocol PROTOCOL`, past the extension headers of IPv6. */
export function ofProtocol(protocol: keyof typeof PROTOCOL): Steps {
  return [{ type: 'meta', key: 'l4proto', load: 1 }, equals(hex(PROTOCOL[protocol], 1))]
}

/** The packet carries IP-in-IP. */
export function isIpip(): Steps {
  return ofProtocol('ipip')
}

/** `udp sport PORT` or `udp dport PORT`. A fragment that is not the first one has no ports and never matches. */
export function isUdp(side: 'sport' | 'dport', port: number): Steps {
  const field: Field = { base: 'transport', offset: side === 'sport' ? 0 : 2, length: 2 }
  return [...ofProtocol('udp'), read(field, 1), equals(hex(port, 2))]
}

/** `icmp type TYPE` or `icmpv6 type TYPE`. */
export function isIcmp(family: Family, type: number): Steps {
  return [...readIcmpType(family), equals(hex(type, 1))]
}

/** `icmpv6 type < 128`: every error, of types to come too (RFC 4443 §2.1). */
export function isIcmpv6Error(): Steps {
  return [...readIcmpType('ipv6'), { type: 'cmp', op: 'lt', from: 1, value: hex(128, 1) }]
}

/** `icmpv6 type 130-136`: multicast listeners, routers and neighbours (RFC 2710, RFC 4861), without redirects. */
export function isNeighbourDiscovery(): Steps {
  return [
    ...readIcmpType('ipv6'),
    { type: 'cmp', op: 'gte', from: 1, value: hex(130, 1) },
    { type: 'cmp', op: 'lte', from: 1, value: hex(136, 1) },
  ]
}

/** `ct status dnat`: the destination of the connection was translated. */
export function isTranslated(): Steps {
  return [
    { type: 'ct', key: 'status', load: 1 },
    { type: 'bitwise', from: 1, load: 1, length: 4, mask: TRANSLATED, xor: '00000000' },
    { type: 'cmp', op: 'neq', from: 1, value: '00000000' },
  ]
}

/** `fib saddr type local`: under an address of this node. */
export function fromOwnAddress(): Steps {
  return [{ type: 'fib', result: 'type', flags: ['saddr'], load: 1 }, equals(LOCAL)]
}

function readIcmpType(family: Family): Steps {
  const protocol = family === 'ipv4' ? 'icmp' : 'icmpv6'
  return [...ofFamily(family), ...ofProtocol(protocol), read({ base: 'transport', offset: 0, length: 1 }, 1)]
}

/** `iifname . SOURCE != @set`; the family is known by then. */
export function sourceNotOfInterface(of: Family | 'arp', set: string): Steps {
  return ofInterface(SOURCE[of], 'not in', set)
}

/** The same for the target of a neighbour advertisement, which the packet is known to be. */
export function targetNotOfInterface(set: string): Steps {
  return ofInterface(ND_TARGET, 'not in', set)
}

/** `iifname . DESTINATION @set` of the packet that an ICMP error quotes, which the packet is known to be. */
export function quotesPacketToInterface(family: Family, set: string): Steps {
  return ofInterface(QUOTED_DESTINATION[family], 'in', set)
}

/** `DESTINATION @set` of that packet. */
export function quotesPacketTo(family: Family, set: string): Steps {
  return [read(QUOTED_DESTINATION[family], 1), lookup(set, 'in')]
}

/** `ip saddr @set`, or `!=`. */
export function source(family: Family, is: 'in' | 'not in', set: string): Steps {
  return [...ofFamily(family), ...sourceAddress(family, is, set)]
}

/** `ip daddr @set`, or `!=`. */
export function destination(family: Family, is: 'in' | 'not in', set: string): Steps {
  return [...ofFamily(family), ...destinationAddress(family, is, set)]
}

/** `source` in a table of this family alone. */
export function sourceAddress(family: Family, is: 'in' | 'not in', set: string): Steps {
  return [read(SOURCE[family], 1), lookup(set, is)]
}

/** `destination` in a table of this family alone. */
export function destinationAddress(family: Family, is: 'in' | 'not in', set: string): Steps {
  return [read(DESTINATION[family], 1), lookup(set, is)]
}

/** `tcp dport @set`. */
export function tcpTo(set: string): Steps {
  return [...ofProtocol('tcp'), read({ base: 'transport', offset: 2, length: 2 }, 1), lookup(set, 'in')]
}

/** `oifname NAME`. */
export function toInterface(name: string): Steps {
  return [{ type: 'meta', key: 'oifname', load: 1 }, equals(padded(name))]
}

/** `iifname NAME`. */
export function fromInterface(name: string): Steps {
  return [{ type: 'meta', key: 'iifname', load: 1 }, equals(padded(name))]
}

function padded(name: string): string {
  const octets = Buffer.alloc(IFNAMSIZ)
  octets.write(name)
  return toHex(octets)
}

/** `fib saddr type local fib saddr . oif type != local`: from this node, under an address of another interface. */
export function fromOtherOwnAddress(): Steps {
  return [
    { type: 'fib', result: 'type', flags: ['saddr'], load: 1 },
    equals(LOCAL),
    { type: 'fib', result: 'type', flags: ['saddr', 'oif'], load: 1 },
    { type: 'cmp', op: 'neq', from: 1, value: LOCAL },
  ]
}

type Ports = { first: number; last: number }

/** `masquerade fully-random`, with the address of the interface that the packet leaves by; `to :PORTS` with ports. */
export function masquerade(ports?: Ports): Steps {
  if (ports === undefined) return [{ type: 'masq', flags: ['fully-random'] }]
  return [...loadPorts(ports, 1), { type: 'masq', flags: ['ports', 'fully-random'], minPort: 1, maxPort: 2 }]
}

/** `snat to ADDRESS fully-random` for IPv4, or `snat to ADDRESS:PORTS`. */
export function sourceNat(address: string, ports?: Ports): Steps {
  const to = { type: 'nat', of: 'source', family: 'ip', minAddress: 1, maxAddress: 1 } as const
  const load = immediate(1, { value: toHex(addressBytes(address)) })
  if (ports === undefined) return [load, { ...to, flags: ['addresses', 'fully-random'] }]
  return [
    load,
    ...loadPorts(ports, 2),
    { ...to, minPort: 2, maxPort: 3, flags: ['addresses', 'ports', 'fully-random'] },
  ]
}

/** `dnat to ip daddr map @MAP`, in a table of this family; a packet to an address that the map does not have goes on. */
export function translateByDestination(family: Family, map: string): Steps {
  return [
    read(DESTINATION[family], 1),
    { type: 'lookup', set: map, from: 1, load: 1 },
    translateTo(family, 'destination'),
  ]
}

/** `snat to ip saddr . ip daddr map @MAP`, in the same way. */
export function translateByEnds(family: Family, map: string): Steps {
  // an IPv4 address fills a quarter of register 1, of which 9 is the second piece
  const second = family === 'ipv4' ? 9 : 2
  return [
    read(SOURCE[family], 1),
    read(DESTINATION[family], second),
    { type: 'lookup', set: map, from: 1, load: 1 },
    translateTo(family, 'source'),
  ]
}

function translateTo(family: Family, of: 'source' | 'destination'): NftExpression {
  return {
    ...({ type: 'nat', of, family: family === 'ipv4' ? 'ip' : 'ip6' } as const),
    ...{ minAddress: 1, maxAddress: 1, flags: ['addresses'] as const },
  }
}

function loadPorts({ first, last }: Ports, register: number): Steps {
  return [immediate(register, { value: hex(first, 2) }), immediate(register + 1, { value: hex(last, 2) })]
}

function immediate(load: number, data: NftData): NftExpression {
  return { type: 'immediate', load, data }
}

/** `ip6 saddr ADDRESS`. */
export function sourceIs(family: Family, address: string): Steps {
  return [...ofFamily(family), read(SOURCE[family], 1), equals(toHex(addressBytes(address)))]
}

/** `ip daddr ADDRESS` or `ip6 daddr ADDRESS`. */
export function destinationIs(family: Family, address: string): Steps {
  return [...ofFamily(family), read(DESTINATION[family], 1), equals(toHex(addressBytes(address)))]
}

/** `ip daddr FIRST.0.0.0/8`. */
export function destinationStartsWith(octet: number): Steps {
  return [...ofFamily('ipv4'), read({ ...DESTINATION.ipv4, length: 1 }, 1), equals(hex(octet, 1))]
}

/** `ip saddr FIRST.0.0.0/8`. */
export function sourceStartsWith(octet: number): Steps {
  return [...ofFamily('ipv4'), read({ ...SOURCE.ipv4, length: 1 }, 1), equals(hex(octet, 1))]
}

/** `ip6 saddr fe80::/10`: an address that counts on one link alone (RFC 4291 §2.5.6). */
export function sourceIsLinkLocal(): Steps {
  return [
    ...ofFamily('ipv6'),
    read(SOURCE.ipv6, 1),
    { type: 'bitwise', from: 1, load: 1, length: 16, mask: toHex(addressBytes('ffc0::')), xor: '00'.repeat(16) },
    equals(toHex(addressBytes('fe80::'))),
  ]
}

/** `counter drop`. */
export const COUNTED_DROP: Steps = [{ type: 'counter' }, { type: 'immediate', load: 0, data: { verdict: 'drop' } }]

/** `counter reject`: the sender hears that the port is not reachable. */
export const COUNTED_REJECT: Steps = [
  { type: 'counter' },
  { type: 'reject', with: 'icmpx', code: ICMPX_PORT_UNREACHABLE },
]

/** `counter accept`. */
export const COUNTED_ACCEPT: Steps = [{ type: 'counter' }, { type: 'immediate', load: 0, data: { verdict: 'accept' } }]

/** `return`: the packet goes on behind the rule that jumped here. */
export const RETURN: Steps = [{ type: 'immediate', load: 0, data: { verdict: 'return' } }]

/** `jump CHAIN`. */
export function jump(chain: string): Steps {
  return [{ type: 'immediate', load: 0, data: { verdict: 'jump', chain } }]
}

/** `iifname vmap @MAP`: an interface that the map does not have goes on. */
export function byInterface(key: 'iifname' | 'oifname', map: string): Steps {
  return [
    { type: 'meta', key, load: 1 },
    { type: 'lookup', set: map, from: 1, load: 0 },
  ]
}

/** `iifname @SET`. */
export function byInterfaceIn(key: 'iifname' | 'oifname', set: string): Steps {
  return [{ type: 'meta', key, load: 1 }, lookup(set, 'in')]
}

/** `iifname != @SET`. */
export function fromInterfaceNotIn(set: string): Steps {
  return [{ type: 'meta', key: 'iifname', load: 1 }, lookup(set, 'not in')]
}

/** `fib saddr . iif oif missing`: no route to the source goes by the interface that the packet came by. */
export function hasNoWayBack(): Steps {
  return [{ type: 'fib', result: 'oif', flags: ['saddr', 'iif'], load: 1 }, equals('00000000')]
}

/** `meta l4proto != PROTOCOL`. */
export function notOfProtocol(protocol: keyof typeof PROTOCOL): Steps {
  const value = hex(PROTOCOL[protocol], 1)
  return [
    { type: 'meta', key: 'l4proto', load: 1 },
    { type: 'cmp', op: 'neq', from: 1, value },
  ]
}

/** `tcp dport != PORT`. */
export function tcpNotTo(port: number): Steps {
  return [
    ...ofProtocol('tcp'),
    read({ base: 'transport', offset: 2, length: 2 }, 1),
    { type: 'cmp', op: 'neq', from: 1, value: hex(port, 2) },
  ]
}

/** `ct state STATE`, the octets of the states as the kernel keeps them in a register. */
export function inState(mask: string): Steps {
  return [
    { type: 'ct', key: 'state', load: 1 },
    { type: 'bitwise', from: 1, load: 1, length: 4, mask, xor: '00000000' },
    { type: 'cmp', op: 'neq', from: 1, value: '00000000' },
  ]
}

/** `ip dscp set DSCP`, of a family that is known by then. The bits beside it stay: those of congestion (RFC 3168) among them. */
export function setDscp(family: Family, dscp: number): Steps {
  const field = { base: 'network', offset: 0, length: 2 } as const
  // the traffic class of IPv6 begins in the middle of the first octet (RFC 8200 §3)
  const [mask, xor] = family === 'ipv4' ? ['ff03', hex(dscp << 2, 2)] : ['f03f', hex(dscp << 6, 2)]
  return [
    read(field, 1),
    { type: 'bitwise', from: 1, load: 1, length: 2, mask, xor },
    { type: 'payload', ...field, from: 1, ...(family === 'ipv4' && { checksum: 'inet', checksumOffset: 10 }) },
  ]
}

/** The name of an interface fills register 1, so that the field follows it in register 2. */
function ofInterface(field: Field, is: 'in' | 'not in', set: string): Steps {
  return [{ type: 'meta', key: 'iifname', load: 1 }, read(field, 2), lookup(set, is)]
}

function read(field: Field, load: number): NftExpression {
  return { type: 'payload', ...field, load }
}

function equals(value: string): NftExpression {
  return { type: 'cmp', op: 'eq', from: 1, value }
}

function lookup(set: string, is: 'in' | 'not in'): NftExpression {
  return { type: 'lookup', set, from: 1, ...(is === 'not in' && { inverted: true }) }
}

function hex(value: number, octets: number): string {
  return value.toString(16).padStart(2 * octets, '0')
}
