// Random MRT records and BMP messages, one generator per kind.
import fc from 'fast-check'
import { BMP_LOC_RIB, type BmpMessage, type BmpPeer } from '../../../bgp/wire/bmp.ts'
import type { MrtBody, MrtRecord } from '../../../bgp/wire/mrt.ts'
import { formatAddress } from '../../../lib/ip.ts'
import { attributes, nlri, octets, u8, u16, u32 } from './arbitraries.ts'
import { aSession } from './wire.ts'

const ipv4 = octets(4, 4).map(formatAddress)
const ipv6 = octets(16, 16).map(formatAddress)
const text = fc.string({ maxLength: 20 }).filter(s => s.isWellFormed())
const u64 = fc.bigInt({ min: 0n, max: 0xffffffffffffffffn })

const mrtSession = fc
  .tuple(fc.boolean(), fc.oneof(fc.tuple(ipv4, ipv4), fc.tuple(ipv6, ipv6)), u32, u32, u16)
  .map(([as4, [peerAddress, localAddress], peerAs, localAs, interfaceIndex]) => ({
    ...{ as4, peerAddress, localAddress, interfaceIndex },
    peerAs: as4 ? peerAs : peerAs & 0xffff,
    localAs: as4 ? localAs : localAs & 0xffff,
  }))

type Mrt<K> = Extract<MrtBody, { kind: K }>

const inDump = attributes(aSession({ peerType: 'ibgp' }))

/** One generator per kind of record that can be written. */
export const mrtBodies: { [K in Exclude<MrtBody['kind'], 'unread'>]: fc.Arbitrary<Mrt<K>> } = {
  message: fc
    .tuple(mrtSession, fc.boolean(), fc.boolean(), octets(200))
    .map(([session, fromUs, addPath, message]) => ({ kind: 'message', ...session, fromUs, addPath, message })),
  state: fc.tuple(mrtSession, u16, u16).map(([session, from, to]) => ({ kind: 'state', ...session, from, to })),
  peers: fc.record({
    kind: fc.constant('peers' as const),
    collectorId: u32,
    view: text,
    peers: fc.array(fc.record({ routerId: u32, address: fc.oneof(ipv4, ipv6), asn: u32 }), { maxLength: 5 }),
  }),
  rib: fc.tuple(fc.boolean(), fc.constantFrom('ipv4' as const, 'ipv6' as const)).chain(([addPath, family]) =>
    fc.record({
      kind: fc.constant('rib' as const),
      sequence: u32,
      prefix: nlri(family, false, 1).map(list => list[0]!.prefix),
      entries: fc.array(
        fc.record({
          peer: u16,
          originatedSeconds: u32,
          pathId: addPath ? u32 : fc.constant(undefined),
          attributes: inDump,
          mpNextHop: fc.option(octets(16, 16), { nil: undefined }),
          faults: fc.constant([]),
        }),
        { minLength: 1, maxLength: 4 },
      ),
    }),
  ),
}

export const mrtRecord: fc.Arbitrary<MrtRecord> = fc
  .tuple(u32, fc.option(u32, { nil: undefined }), fc.oneof(...(Object.values(mrtBodies) as fc.Arbitrary<MrtBody>[])))
  .map(([seconds, microseconds, record]) =>
    microseconds === undefined || record.kind === 'peers' || record.kind === 'rib'
      ? { seconds, ...record }
      : { seconds, microseconds, ...record },
  )

const aPeer = (kind: number): fc.Arbitrary<BmpPeer> => {
  const locRib = kind === BMP_LOC_RIB
  const flag = locRib ? fc.constant(false) : fc.boolean()
  return fc.record({
    kind: fc.constant(kind),
    distinguisher: u64,
    address: locRib ? ipv4 : fc.oneof(ipv4, ipv6),
    asn: u32,
    routerId: u32,
    postPolicy: flag,
    as2: flag,
    ribOut: flag,
    filtered: locRib ? fc.boolean() : fc.constant(false),
    seconds: u32,
    microseconds: u32,
  })
}
const peer = fc.oneof(u8, fc.constant(BMP_LOC_RIB)).chain(aPeer)
const information = fc.array(fc.record({ type: u16, value: octets(30) }), { maxLength: 3 })
const bgp = octets(200).map(body =>
  Uint8Array.of(...new Array<number>(16).fill(255), (body.length + 19) >> 8, (body.length + 19) & 255, 1, ...body),
)
const stat = fc.oneof(
  fc.record({ type: u16, counter: u32 }),
  fc.record({ type: u16, gauge: u64 }),
  fc.record({ type: u16, afi: u16, safi: u8, gauge: u64 }),
  fc.record({ type: u16, value: octets(3) }),
)

/** One generator per kind of message. */
export const bmpMessages: { [K in BmpMessage['kind']]: fc.Arbitrary<Extract<BmpMessage, { kind: K }>> } = {
  routeMonitoring: fc.record({ kind: fc.constant('routeMonitoring' as const), peer, update: octets(200) }),
  statsReport: fc.record({ kind: fc.constant('statsReport' as const), peer, stats: fc.array(stat, { maxLength: 8 }) }),
  peerDown: fc.record({ kind: fc.constant('peerDown' as const), peer, reason: u8, data: octets(40) }),
  peerUp: peer.chain(p =>
    fc.record({
      kind: fc.constant('peerUp' as const),
      peer: fc.constant(p),
      localAddress: p.address.includes(':') ? ipv6 : ipv4,
      localPort: u16,
      remotePort: u16,
      sentOpen: bgp,
      receivedOpen: bgp,
      information,
    }),
  ),
  initiation: fc.record({ kind: fc.constant('initiation' as const), information }),
  termination: fc.record({ kind: fc.constant('termination' as const), information }),
}

export const bmpMessage: fc.Arbitrary<BmpMessage> = fc.oneof(
  ...(Object.values(bmpMessages) as fc.Arbitrary<BmpMessage>[]),
)
