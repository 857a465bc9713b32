// Random values for every row of the codec tables. The records are typed by the tables, so a new attribute or
// capability without a generator does not compile.
import fc from 'fast-check'
import type { AsPath } from '../../../bgp/wire/as-path.ts'
import { attributeRows } from '../../../bgp/wire/attribute-rows.ts'
import type { Attributes, RawAttribute } from '../../../bgp/wire/attribute-values.ts'
import type { Capability } from '../../../bgp/wire/capabilities.ts'
import type { CodecSession } from '../../../bgp/wire/codec-session.ts'
import { ATTRIBUTE, FLAG, SEGMENT } from '../../../bgp/wire/iana.ts'
import type { Nlri } from '../../../bgp/wire/nlri.ts'
import type { Notification } from '../../../bgp/wire/notification.ts'
import type { Open } from '../../../bgp/wire/open.ts'
import type { RouteRefresh } from '../../../bgp/wire/route-refresh.ts'
import type { Update } from '../../../bgp/wire/update.ts'
import { formatAddress, formatIpv4, maskAddress } from '../../../lib/ip.ts'

export const u8 = fc.integer({ min: 0, max: 0xff })
export const u16 = fc.integer({ min: 0, max: 0xffff })
export const u32 = fc.oneof(fc.integer({ min: 0, max: 0xffffffff }), u16, fc.constantFrom(0, 1, 0x7fffffff, 0xffffffff))
const asn = fc.oneof(fc.integer({ min: 1, max: 0xffff }), fc.integer({ min: 1, max: 0xffffffff }))
export const octets = (most: number, least = 0) => fc.uint8Array({ minLength: least, maxLength: most })
const several = <T>(one: fc.Arbitrary<T>, most = 12) => fc.array(one, { minLength: 1, maxLength: most })

export const session: fc.Arbitrary<CodecSession> = fc.record({
  as4: fc.boolean(),
  peerType: fc.constantFrom('ebgp' as const, 'ibgp' as const, 'confed' as const),
  addPath: fc.record({ ipv4: fc.boolean(), ipv6: fc.boolean() }),
  extendedNextHop: fc.boolean(),
  extendedMessage: fc.constant(false),
})

/** Confederation segments lead and have two-octet numbers: what AS4_PATH can carry through an old speaker. */
function asPath({ peerType }: CodecSession): fc.Arbitrary<AsPath> {
  const plain = fc.array(fc.record({ type: fc.constantFrom(SEGMENT.set, SEGMENT.sequence), asns: several(asn, 20) }), {
    maxLength: 4,
  })
  if (peerType === 'ebgp') return plain
  const confed = fc.record({
    type: fc.constantFrom(SEGMENT.confedSet, SEGMENT.confedSequence),
    asns: several(fc.integer({ min: 1, max: 0xffff }), 5),
  })
  return fc.tuple(fc.array(confed, { maxLength: 2 }), plain).map(([head, tail]) => [...head, ...tail])
}

const tunnel = fc.tuple(u16, fc.array(fc.tuple(u8, octets(20)), { maxLength: 3 })).map(([type, subs]) => {
  const body = subs.flatMap(([t, v]) => (t < 128 ? [t, v.length, ...v] : [t, 0, v.length, ...v]))
  return [type >> 8, type & 255, body.length >> 8, body.length & 255, ...body]
})
const known = new Set<number>(Object.values(attributeRows).map(row => row.code))
const unknown: fc.Arbitrary<RawAttribute> = fc.record({
  code: u8.filter(code => !known.has(code)),
  flags: fc.constantFrom(FLAG.optional | FLAG.transitive, FLAG.optional | FLAG.transitive | FLAG.partial),
  value: fc.oneof(octets(30), octets(300)),
})

type Generators = { [K in keyof Required<Attributes>]: fc.Arbitrary<NonNullable<Attributes[K]>> }

/** One generator per attribute, of values that a peer of this session may send. */
export function attributeValues(s: CodecSession): Generators {
  const u64 = fc.bigInt({ min: 0n, max: 0xffffffffffffffffn })
  return {
    origin: fc.integer({ min: 0, max: 2 }),
    asPath: asPath(s),
    nextHop: fc.integer({ min: 0x01000000, max: 0x7effffff }),
    med: u32,
    localPref: u32,
    atomicAggregate: fc.constant(true as const),
    aggregator: fc.record({ asn, address: u32 }),
    communities: several(u32),
    originatorId: u32,
    clusterList: several(u32),
    extendedCommunities: several(u64),
    tunnelEncap: fc.array(tunnel, { maxLength: 3 }).map(tunnels => Uint8Array.from(tunnels.flat())),
    largeCommunities: several(fc.record({ global: u32, local1: u32, local2: u32 })),
    otc: fc.integer({ min: 1, max: 0xffffffff }),
    unknown: fc.uniqueArray(unknown, { selector: a => a.code, minLength: 1, maxLength: 3 }).map(byCode),
    partial: fc.constant([]),
  }
}

const byCode = (list: RawAttribute[]) => list.sort((a, b) => a.code - b.code)
const MANDATORY = ['origin', 'asPath', 'nextHop'] as const

/** Attributes of a valid UPDATE: the mandatory ones and any of the others. */
export function attributes(s: CodecSession): fc.Arbitrary<Attributes> {
  const model: Partial<Generators> = attributeValues(s)
  delete model.partial
  if (s.peerType === 'ebgp') delete model.localPref
  if (s.peerType !== 'ibgp') {
    delete model.originatorId
    delete model.clusterList
  }
  return fc.tuple(fc.record(model, { requiredKeys: [...MANDATORY] }), fc.boolean()).map(([values, marked]) => {
    const codes = (['aggregator', 'communities', 'largeCommunities'] as const).filter(name => name in values)
    return marked && codes.length > 0 ? { ...values, partial: codes.map(name => ATTRIBUTE[name]) } : values
  })
}

const ipv4Prefix = fc
  .tuple(u32, fc.integer({ min: 0, max: 32 }))
  .map(([address, length]) => `${maskAddress(formatIpv4(address), length)}/${length}`)
const ipv6Prefix = fc
  .tuple(octets(16, 16), fc.integer({ min: 0, max: 128 }))
  .map(([address, length]) => `${maskAddress(formatAddress(address), length)}/${length}`)

/** Prefixes of a family, with path ids where the session has them. */
export function nlri(family: 'ipv4' | 'ipv6', addPath: boolean, least = 0): fc.Arbitrary<Nlri[]> {
  const prefix = family === 'ipv4' ? ipv4Prefix : ipv6Prefix
  const one = addPath ? fc.record({ prefix, pathId: u32 }) : fc.record({ prefix })
  return fc.array(one, { minLength: least, maxLength: 8 })
}

/** Valid UPDATEs, with at least one reachable prefix in one of the two places. */
export function update(s: CodecSession): fc.Arbitrary<Update> {
  const ipv6 = { afi: fc.constant(2), safi: fc.constant(1), nlri: nlri('ipv6', s.addPath.ipv6) }
  const host = octets(16, 16).map(a => Uint8Array.of(0x20, ...a.subarray(1)))
  return fc.record(
    {
      withdrawn: nlri('ipv4', s.addPath.ipv4),
      attributes: attributes(s),
      nlri: nlri('ipv4', s.addPath.ipv4, 1),
      mpReach: fc.record({ ...ipv6, nextHop: host }),
      mpUnreach: fc.record(ipv6),
    },
    { requiredKeys: ['withdrawn', 'attributes', 'nlri'] },
  )
}

const family = { afi: u16, safi: u8 }
const name = fc.string({ maxLength: 20 }).filter(text => text.isWellFormed())

/** One generator per capability. */
export const capabilityValues: { [T in Capability['type']]: fc.Arbitrary<Extract<Capability, { type: T }>> } = {
  multiprotocol: fc.record({ type: fc.constant('multiprotocol' as const), ...family }),
  routeRefresh: fc.record({ type: fc.constant('routeRefresh' as const) }),
  extendedNextHop: fc.record({
    type: fc.constant('extendedNextHop' as const),
    entries: fc.array(fc.record({ afi: u16, safi: u16, nextHopAfi: u16 }), { maxLength: 4 }),
  }),
  extendedMessage: fc.record({ type: fc.constant('extendedMessage' as const) }),
  role: fc.record({ type: fc.constant('role' as const), role: u8 }),
  gracefulRestart: fc.record({
    type: fc.constant('gracefulRestart' as const),
    restarting: fc.boolean(),
    notification: fc.boolean(),
    restartSeconds: fc.integer({ min: 0, max: 4095 }),
    families: fc.array(fc.record({ ...family, forwarding: fc.boolean() }), { maxLength: 4 }),
  }),
  fourOctetAs: fc.record({ type: fc.constant('fourOctetAs' as const), asn }),
  addPath: fc.record({
    type: fc.constant('addPath' as const),
    entries: fc.array(fc.record({ ...family, mode: fc.integer({ min: 1, max: 3 }) }), { maxLength: 4 }),
  }),
  enhancedRouteRefresh: fc.record({ type: fc.constant('enhancedRouteRefresh' as const) }),
  longLived: fc.record({
    type: fc.constant('longLived' as const),
    entries: fc.array(
      fc.record({ ...family, forwarding: fc.boolean(), staleSeconds: fc.integer({ min: 0, max: 0xffffff }) }),
      { maxLength: 4 },
    ),
  }),
  hostname: fc.record({ type: fc.constant('hostname' as const), hostname: name, domain: name }),
  softwareVersion: fc.record({
    type: fc.constant('softwareVersion' as const),
    version: name.filter(text => text.length > 0),
  }),
  unknown: fc.record({
    type: fc.constant('unknown' as const),
    code: fc.integer({ min: 128, max: 255 }),
    value: octets(20),
  }),
}

export const capabilities: fc.Arbitrary<Capability[]> = fc.array(
  fc.oneof(...(Object.values(capabilityValues) as fc.Arbitrary<Capability>[])),
  { maxLength: 30 },
)

/** Valid OPENs. A four-octet capability, when there is one, is the only one and agrees with `asn`. */
export const open: fc.Arbitrary<Open> = fc
  .record({
    asn: fc.integer({ min: 1, max: 0xffff }),
    holdTime: u16.filter(seconds => seconds === 0 || seconds > 2),
    routerId: fc.integer({ min: 1, max: 0xffffffff }),
    capabilities: capabilities.map(list => list.filter(c => c.type !== 'fourOctetAs')),
    four: fc.option(asn, { nil: undefined }),
  })
  .map(({ four, capabilities: list, ...rest }) =>
    four === undefined
      ? { ...rest, capabilities: list }
      : { ...rest, asn: four, capabilities: [{ type: 'fourOctetAs', asn: four }, ...list] },
  )

export const notification: fc.Arbitrary<Notification> = fc.record({ code: u8, subcode: u8, data: octets(300) })
export const routeRefresh: fc.Arbitrary<RouteRefresh> = fc.record({ ...family, subtype: u8 })
