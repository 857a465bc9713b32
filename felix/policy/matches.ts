// The conditions of one rule for packets of one family, as expressions of nftables. A condition is a list of ways to satisfy
// it: none means never, and one without expressions means always. A set that is not there counts as empty.
// Hazards: a set of a rule's own costs the kernel a walk of all sets of the table, several times, so a few ports or CIDRs are a
// rule for each instead, and more of them a source of members like others, of which many share a set (lists.ts). What a packet
// has no header for (ports of ICMP) satisfies no condition about it, and every negated one.
// So a rule about a protocol without ports asks for none: nft would print a port of ICMP as `icmp checksum`, and refuse that where
// a set has ports.
import type { NftComparison, NftExpression } from '../../kernel/port/nftables.ts'
import { toHex } from '../../lib/bytes.ts'
import { addressBytes, type Family } from '../../lib/ip.ts'
import { DESTINATION, ofFamily, SOURCE, type Steps } from '../calc/nft-expressions.ts'
import type { InlineSets } from './inline-sets.ts'
import { byLengths, byList, byNets, disjoint, dividePorts, WAYS } from './lists.ts'
import type { SetPlaces } from './members.ts'
import type { Icmp, PolicyRule, PortRange, Ports, Protocol, RuleSide } from './model.ts'
import { type MemberSource, protocolWord, type SetPlace, sourceKey } from './sources.ts'

export type SideName = 'source' | 'destination'

/** The sets that are there, by the key of their source. */
export type SetsOf = (key: string) => SetPlaces

/** Makes the expressions for one rule: with its sets, they are another rule's no more. */
export type Match = (inline: InlineSets) => Steps
type Condition = readonly Match[]
type Is = 'in' | 'not in'
type Payload = Extract<NftExpression, { type: 'payload' }>
/** What of a packet, or of its connection, is read into a register; what is no payload and no address has at most 4 octets. */
type Field = Extract<NftExpression, { type: 'payload' } | { type: 'meta' } | { type: 'ct' }>

const ALWAYS: Condition = [() => []]
const NEVER: Condition = []

const FAMILIES = ['ipv4', 'ipv6'] as const
export const VERSIONS: Record<Family, 4 | 6> = { ipv4: 4, ipv6: 6 }
export const ICMP: Record<Family, Protocol> = { ipv4: 1, ipv6: 58 }
/** TCP, UDP, DCCP, SCTP, UDP-Lite: their ports are at the same place. */
export const PORT_PROTOCOLS: readonly Protocol[] = [6, 17, 33, 132, 136]
const ADDRESS = { source: SOURCE, destination: DESTINATION } as const
const ADDRESS_TYPE: Record<Family, string> = { ipv4: 'ipv4_addr', ipv6: 'ipv6_addr' }
const PORT_OFFSET: Record<SideName, number> = { source: 0, destination: 2 }

/** The sources of the sets that a rule names. `own`: the side on which an endpoint of this node is, where one is known to be. */
export function sourcesOf(rule: PolicyRule, own: SideName | undefined): MemberSource[] {
  if (rule.never === true) return []
  return (['source', 'destination'] as const).flatMap(name => {
    const { nets, notNets, selector, notSelector, nodes, service, ports, notPorts, domains = [] } = rule[name]
    return [
      ...[selector, notSelector].flatMap(text => (text === undefined ? [] : [bySelector(text)])),
      ...(nodes === undefined ? [] : [byNodes(nodes)]),
      ...(service === undefined || !canBeOfService(rule, name) ? [] : [byService(service, name)]),
      ...domains.map(byDomain),
      ...familiesOf(rule).flatMap(family => [nets, notNets].flatMap(each => byNets(each, family))),
      ...[ports, notPorts].flatMap(each => [
        ...byPorts(rule, name, own, each),
        ...(each === undefined || !asksForPorts(rule) ? [] : byList(dividePorts(each.ranges))),
      ]),
    ]
  })
}

/** All ways in which packets satisfy a rule; none when no packet does. */
export function matchesOf(rule: PolicyRule, own: SideName | undefined, setsOf: SetsOf): Match[] {
  if (rule.never === true) return []
  if (!isOfFamily(rule)) return product(conditionsOf(rule, own, 'ipv4', setsOf))
  return familiesOf(rule).flatMap(family =>
    apartFromIcmp(rule, family).flatMap(each =>
      product([[() => ofFamily(family)], ...conditionsOf(each, own, family, setsOf)]),
    ),
  )
}

function familiesOf({ ipVersion }: PolicyRule): Family[] {
  return FAMILIES.filter(family => (ipVersion ?? VERSIONS[family]) === VERSIONS[family])
}

/** A rule that says something about ICMP and names no protocol, as one about ICMP, and one about all else where it is about that. */
function apartFromIcmp(rule: PolicyRule, family: Family): PolicyRule[] {
  const { protocol, icmp, notIcmp } = rule
  if (protocol !== undefined || (icmp === undefined && notIcmp === undefined)) return [rule]
  const ofIcmp = { ...rule, protocol: ICMP[family] }
  return icmp === undefined ? [rule, ofIcmp] : [ofIcmp]
}

/** Whether a packet that a rule is about may have ports. */
function mayHavePorts({ protocol, icmp }: PolicyRule): boolean {
  return icmp === undefined && (protocol === undefined || PORT_PROTOCOLS.includes(protocol))
}

/** A packet to a Service is one to a port of it. */
function canBeOfService(rule: PolicyRule, side: SideName): boolean {
  return side === 'source' || mayHavePorts(rule)
}

/** Whether some condition is another one in the other family. */
function isOfFamily(rule: PolicyRule): boolean {
  const { ipVersion, icmp, notIcmp, source, destination } = rule
  return (
    ipVersion !== undefined ||
    icmp !== undefined ||
    notIcmp !== undefined ||
    [source, destination].some(({ nets, notNets, ports, notPorts, selector, notSelector, nodes, service, domains }) => {
      const names = (ports?.names.length ?? 0) + (notPorts?.names.length ?? 0)
      const all = [nets, notNets, selector, notSelector, nodes, service, domains]
      return names > 0 || all.some(each => each !== undefined)
    })
  )
}

/** Every choice of one way out of each condition. */
function product(conditions: readonly Condition[]): Match[] {
  let all: Match[][] = [[]]
  for (const condition of conditions)
    if (condition !== ALWAYS) all = all.flatMap(ways => condition.map(way => [...ways, way]))
  return all.map(ways => inline => ways.flatMap(way => way(inline)))
}

function conditionsOf(rule: PolicyRule, own: SideName | undefined, family: Family, setsOf: SetsOf): Condition[] {
  const { protocol, notProtocol, icmp, notIcmp } = rule
  return [
    protocol === undefined ? ALWAYS : [() => protocolIs('eq', protocol)],
    notProtocol === undefined ? ALWAYS : [() => protocolIs('neq', notProtocol)],
    icmp === undefined ? ALWAYS : isIcmp(icmp, protocol, family),
    notIcmp === undefined ? ALWAYS : isNotIcmp(notIcmp, protocol, family),
    ...(['source', 'destination'] as const).flatMap(name => [
      ...addressConditions(rule, name, family, setsOf),
      ...portConditions(rule, name, own, family, setsOf),
    ]),
  ]
}

function protocolIs(op: 'eq' | 'neq', protocol: Protocol): Steps {
  return [
    { type: 'meta', key: 'l4proto', load: 1 },
    { type: 'cmp', op, from: 1, value: hex(protocol, 1) },
  ]
}

/** ICMP is the protocol of the packet's own family. The rule asks for `known` already. */
function isIcmp({ type, code }: Icmp, known: Protocol | undefined, family: Family): Condition {
  if (known !== ICMP[family]) return NEVER
  const rest = code === undefined ? [] : [transport(1, 1), compare('eq', hex(code, 1))]
  return [() => [transport(0, 1), compare('eq', hex(type, 1)), ...rest]]
}

/** Of a rule that names no protocol: what is not ICMP at all. */
function isNotIcmp({ type, code }: Icmp, known: Protocol | undefined, family: Family): Condition {
  if (known === undefined) return [() => protocolIs('neq', ICMP[family])]
  if (known !== ICMP[family]) return ALWAYS
  const typeIs = (op: 'eq' | 'neq') => [transport(0, 1), compare(op, hex(type, 1))]
  // two octets in one comparison are what nft prints as two: another type, and another code
  const differs: Steps[] = [
    typeIs('neq'),
    ...(code === undefined ? [] : [[...typeIs('eq'), transport(1, 1), compare('neq', hex(code, 1))]]),
  ]
  return differs.map(steps => () => steps)
}

function addressConditions(rule: PolicyRule, name: SideName, family: Family, setsOf: SetsOf): Condition[] {
  const { nets, notNets, selector, notSelector, nodes, service, domains } = rule[name]
  const isIn = (source: MemberSource): Condition =>
    setsOf(sourceKey(source))[family].map(place => () => lookup(place, [address(name, family)], 'in'))
  const isInNone = (source: MemberSource): Condition => {
    const sets = setsOf(sourceKey(source))[family]
    return [() => sets.flatMap(place => lookup(place, [address(name, family)], 'not in'))]
  }
  return [
    nets === undefined ? ALWAYS : inNets(nets, name, family, 'in', setsOf),
    notNets === undefined ? ALWAYS : inNets(notNets, name, family, 'not in', setsOf),
    selector === undefined ? ALWAYS : isIn(bySelector(selector)),
    notSelector === undefined ? ALWAYS : isInNone(bySelector(notSelector)),
    nodes === undefined ? ALWAYS : isIn(byNodes(nodes)),
    service === undefined ? ALWAYS : canBeOfService(rule, name) ? inService(service, name, family, setsOf) : NEVER,
    domains === undefined ? ALWAYS : domains.flatMap(domain => wasTold(domain, family, setsOf)),
  ]
}

/** `SADDR . DADDR` is a pod with what it was told. */
function wasTold(pattern: string, family: Family, setsOf: SetsOf): Condition {
  const pair = [address('source', family), address('destination', family)]
  return setsOf(sourceKey(byDomain(pattern)))[family].map(
    (place): Match =>
      () =>
        lookup(place, pair, 'in'),
  )
}

function inNets(nets: readonly string[], name: SideName, family: Family, is: Is, setsOf: SetsOf): Condition {
  const cidrs = disjoint(nets, family)
  const [none, all] = is === 'in' ? [NEVER, ALWAYS] : [ALWAYS, NEVER]
  if (cidrs.length === 0) return none
  if (cidrs[0]!.endsWith('/0')) return all
  if (cidrs.length <= WAYS) return each(cidrs, is, cidr => inCidr(cidr, name, family, is))
  const lists = byLengths(cidrs, family)
  if (lists.length > 0) {
    const places = lists.flatMap(list => setsOf(sourceKey(list))[family].map(place => ({ place, bits: list.bits })))
    return each(places, is, ({ place, bits }) => lookup(place, [address(name, family)], is, maskOf(bits, family)))
  }
  const interval = cidrs.some(cidr => cidr.includes('/'))
  return [inline => [address(name, family), inline.lookup(ADDRESS_TYPE[family], cidrs, { is, interval })]]
}

/** Whole octets are compared as such, as nft does it. */
function inCidr(cidr: string, name: SideName, family: Family, is: Is): Steps {
  const [text, bits] = cidr.split('/') as [string, string | undefined]
  const octets = addressBytes(text)
  const length = bits === undefined ? 8 * octets.length : Number(bits)
  const op = is === 'in' ? 'eq' : 'neq'
  const field = address(name, family)
  if (length % 8 === 0) return [{ ...field, length: length / 8 }, compare(op, toHex(octets.subarray(0, length / 8)))]
  return [field, masked(1, maskOf(length, family)), compare(op, toHex(octets))]
}

function masked(register: number, mask: string): NftExpression {
  const length = mask.length / 2
  return { type: 'bitwise', from: register, load: register, length, mask, xor: '00'.repeat(length) }
}

/** Octets of which the first bits are set. */
function maskOf(bits: number, family: Family): string {
  const octets = new Uint8Array(family === 'ipv4' ? 4 : 16)
  return toHex(octets.map((_, i) => 0xff00 >> Math.min(8, Math.max(0, bits - 8 * i))))
}

function inService(
  service: NonNullable<RuleSide['service']>,
  name: SideName,
  family: Family,
  setsOf: SetsOf,
): Condition {
  const sets = setsOf(sourceKey(byService(service, name)))[family]
  const fields = name === 'destination' ? addressAndPort(name, family) : [address(name, family)]
  return sets.map(place => () => lookup(place, fields, 'in'))
}

function portConditions(
  rule: PolicyRule,
  name: SideName,
  own: SideName | undefined,
  family: Family,
  setsOf: SetsOf,
): Condition[] {
  const { ports, notPorts } = rule[name]
  // one set for all names: a set for each would be a rule for each choice of two names
  const named = (of: Ports, is: Is) =>
    byPorts(rule, name, own, of).flatMap(source =>
      setsOf(sourceKey(source))[family].map(
        (place): Match =>
          () =>
            lookup(place, addressAndPort(name, family), is),
      ),
    )
  const conditions: Condition[] = []
  if (ports !== undefined)
    conditions.push([
      ...(ports.ranges.length === 0 ? NEVER : inRanges(rule, ports.ranges, name, setsOf)),
      ...named(ports, 'in'),
    ])
  if (notPorts !== undefined) {
    if (notPorts.ranges.length > 0) conditions.push(inNoRange(rule, notPorts.ranges, name, setsOf))
    for (const match of named(notPorts, 'not in')) conditions.push([match])
  }
  return conditions
}

function asksForPorts({ protocol }: PolicyRule): boolean {
  return protocol === undefined || PORT_PROTOCOLS.includes(protocol)
}

function inRanges(rule: PolicyRule, ranges: readonly PortRange[], name: SideName, setsOf: SetsOf): Condition {
  if (!asksForPorts(rule)) return NEVER
  const ways = portIs(ranges, name, 'in', setsOf)
  if (rule.protocol !== undefined) return ways
  return ways.map(way => inline => [...hasPorts(inline, 'in'), ...way(inline)])
}

function inNoRange(rule: PolicyRule, ranges: readonly PortRange[], name: SideName, setsOf: SetsOf): Condition {
  if (!asksForPorts(rule)) return ALWAYS
  const ways = portIs(ranges, name, 'not in', setsOf)
  if (rule.protocol !== undefined) return ways
  return [
    inline => hasPorts(inline, 'not in'),
    ...ways.map(
      (way): Match =>
        inline => [...hasPorts(inline, 'in'), ...way(inline)],
    ),
  ]
}

function hasPorts(inline: InlineSets, is: Is): Steps {
  const words = PORT_PROTOCOLS.map(protocolWord)
  return [{ type: 'meta', key: 'l4proto', load: 1 }, inline.lookup('inet_proto', words, { is, interval: false })]
}

function portIs(ranges: readonly PortRange[], name: SideName, is: Is, setsOf: SetsOf): Condition {
  const { joined, wide, listed } = dividePorts(ranges)
  const port = transport(PORT_OFFSET[name], 2)
  const ofWide = each(wide, is, range => [port, ...inRange(range, is)])
  const [list] = byList({ listed })
  if (list !== undefined) {
    const listedIs = setsOf(sourceKey(list)).ipv4.map(
      (place): Match =>
        () =>
          lookup(place, [port], is),
    )
    if (is === 'in') return [...listedIs, ...ofWide]
    return [inline => [...listedIs, ...ofWide].flatMap(way => way(inline))]
  }
  if (wide.length === joined.length) return ofWide
  const words = joined.map(range => (range.first === range.last ? `${range.first}` : `${range.first}-${range.last}`))
  const interval = joined.some(range => range.first !== range.last)
  return [inline => [port, inline.lookup('inet_service', words, { is, interval })]]
}

/** As nft does it. */
function inRange({ first, last }: PortRange, is: Is): Steps {
  if (first === last) return [compare(is === 'in' ? 'eq' : 'neq', hex(first, 2))]
  if (is === 'in') return [compare('gte', hex(first, 2)), compare('lte', hex(last, 2))]
  return [{ type: 'range', op: 'neq', from: 1, first: hex(first, 2), last: hex(last, 2) }]
}

/** One of several that are disjoint, or none of them. */
function each<T>(several: readonly T[], is: Is, steps: (one: T) => Steps): Condition {
  if (is === 'in') return several.map(one => () => steps(one))
  return [() => several.flatMap(steps)]
}

export function bySelector(selector: string): MemberSource {
  return { of: 'selector', selector }
}

export function byNodes(selector: string): MemberSource {
  return { of: 'nodes', selector }
}

export function byDomain(pattern: string): MemberSource {
  return { of: 'domain', pattern }
}

export function byService({ namespace, name }: NonNullable<RuleSide['service']>, side: SideName): MemberSource {
  return { of: 'service', namespace, name, with: side === 'destination' ? 'ports' : 'addresses' }
}

/** None where no packet has ports. On its own side a packet of this endpoint has no address but of this node's. */
export function byPorts(
  rule: PolicyRule,
  side: SideName,
  own: SideName | undefined,
  ports: Ports | undefined,
): MemberSource[] {
  if (ports === undefined || ports.names.length === 0 || !mayHavePorts(rule)) return []
  const { protocol } = rule
  const source: MemberSource = {
    of: 'ports',
    selector: rule[side].selector ?? 'all()',
    names: ports.names,
    ...(protocol !== undefined && { protocol }),
    ...(side === own && { local: true }),
  }
  return [source]
}

function address(side: SideName, family: Family): Payload {
  return { type: 'payload', ...ADDRESS[side][family], load: 1 }
}

/** `SIDE address . protocol . SIDE port`. */
function addressAndPort(side: SideName, family: Family): readonly Field[] {
  return [address(side, family), { type: 'meta', key: 'l4proto', load: 1 }, transport(PORT_OFFSET[side], 2)]
}

function transport(offset: number, length: number): Payload {
  return { type: 'payload', base: 'transport', offset, length, load: 1 }
}

function compare(op: NftComparison, value: string): NftExpression {
  return { type: 'cmp', op, from: 1, value }
}

/**
 * Whether the fields together are in a set: one behind the other from register 1 on, in pieces of 4 octets. `mask`: the bits of
 * each that count.
 */
export function lookup({ set, digits }: SetPlace, fields: readonly Field[], is: Is, mask?: string): Steps {
  const steps: NftExpression[] = digits === undefined ? [] : [{ type: 'immediate', load: 1, data: { value: digits } }]
  let octets = digits === undefined ? 0 : digits.length / 2
  for (const field of fields) {
    const load = octets % 16 === 0 ? 1 + octets / 16 : 8 + octets / 4
    steps.push({ ...field, load })
    if (mask !== undefined && /[^f]/.test(mask)) steps.push(masked(load, mask))
    octets += field.type === 'payload' ? Math.ceil(field.length / 4) * 4 : field.key.startsWith('ip6') ? 16 : 4
  }
  return [...steps, { type: 'lookup', set, from: 1, ...(is === 'not in' && { inverted: true }) }]
}

function hex(value: number, octets: number): string {
  return value.toString(16).padStart(2 * octets, '0')
}
