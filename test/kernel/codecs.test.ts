import test from 'ava'
import fc from 'fast-check'
import { formatMac, macBytes } from '../../kernel/netlink/mac.ts'
import { type Message, NlWriter, parseAcknowledgement, parseMessages } from '../../kernel/netlink/message.ts'
import { emitNewLink, parseLink } from '../../kernel/netlink/route/link.ts'
import { emitFdb, emitNeighbour, parseFdb, parseNeighbour } from '../../kernel/netlink/route/neighbour.ts'
import { emitNextHopObject, parseNextHopObject } from '../../kernel/netlink/route/next-hop.ts'
import { emitRoute, parseRoute } from '../../kernel/netlink/route/route.ts'
import {
  emitBucket,
  emitRedirect,
  parseIngressFilter,
  parseQdisc,
  shapingIfindex,
} from '../../kernel/netlink/route/shaping.ts'
import type { NextHopObject } from '../../kernel/port/next-hops.ts'
import type { NextHop, Route } from '../../kernel/port/routes.ts'
import { type Bucket, sameBucket } from '../../kernel/port/shaping.ts'
import { fromHex, toHex } from '../../lib/bytes.ts'
import { block } from './builders.ts'

/** The message that `body` writes, as the kernel would get it. */
function written(body: (w: NlWriter) => void): Message {
  return parseMessages(new NlWriter().message(24, 5, 7, body).done())[0]!
}

const octet = fc.integer({ min: 0, max: 255 })
const ipv4 = fc.tuple(octet, octet, octet, octet).map(parts => parts.join('.'))
const gateways = fc.oneof(ipv4, fc.constantFrom('fe80::1', '2001:db8::a:1'))
const present = <T extends object>(fields: T): T =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as T
const ifindexes = fc.integer({ min: 1, max: 2 ** 31 - 1 })
const nextHops = fc.array(
  fc
    .record({
      gateway: fc.option(gateways, { nil: undefined }),
      ifindex: ifindexes,
      onlink: fc.constantFrom(true as const, undefined),
      weight: fc.option(fc.integer({ min: 2, max: 256 }), { nil: undefined }),
    })
    .map((hop): NextHop => present(hop) as NextHop),
  { minLength: 2, maxLength: 64 },
)
const routes = fc
  .record({
    dst: fc.oneof(
      ipv4.map(address => `${address}/32`),
      fc.constantFrom('0.0.0.0/0', '10.2.0.64/26', '::/0', 'fd00:2::/122', 'fd00::1/128'),
    ),
    table: fc.constantFrom(1, 254, 255, 256, 70_000),
    protocol: octet,
    scope: fc.constantFrom(0, 200, 253),
    gateway: fc.option(gateways, { nil: undefined }),
    ifindex: fc.option(ifindexes, { nil: undefined }),
    onlink: fc.constantFrom(true, undefined),
    nextHops: fc.option(nextHops, { nil: undefined }),
    metric: fc.option(fc.integer({ min: 1, max: 1023 }), { nil: undefined }),
    source: fc.option(ipv4, { nil: undefined }),
    mtu: fc.option(fc.integer({ min: 68, max: 65535 }), { nil: undefined }),
  })
  .map(({ gateway, ifindex, onlink, nextHops, ...fields }): Route => {
    const way = nextHops === undefined ? { gateway, ifindex, onlink } : { nextHops }
    return { ...(present({ ...fields, ...way }) as Omit<Route, 'type'>), type: 'unicast' }
  })

test('what is written of a route reads back the same', t => {
  fc.assert(
    fc.property(routes, route => {
      t.deepEqual(parseRoute(written(w => emitRoute(w, route))), route)
    }),
  )
})

test('a route of one type of service, or of some senders, is none of those that have its destination and metric', t => {
  fc.assert(
    fc.property(routes, fc.constantFrom(2, 3), fc.integer({ min: 1, max: 32 }), (route, at, value) => {
      const message = written(w => emitRoute(w, route))
      message.body[at] = value
      t.is(parseRoute(message), undefined)
    }),
  )
})

test('a deletion spells the default metric of IPv6 out, because 0 would mean any', t => {
  const route = block('fd00:2::/122')
  t.false(toHex(written(w => emitRoute(w, route)).body).includes('0800060000040000'))
  t.true(toHex(written(w => emitRoute(w, route, { forDelete: true })).body).includes('0800060000040000'))
})

test('a blackhole with protocol 80 is the message that iproute2 sends', t => {
  const message = written(w => emitRoute(w, block('172.25.0.128/26')))
  // rtmsg: AF_INET, /26, table main, proto 80, scope universe, RTN_BLACKHOLE; RTA_DST
  t.is(toHex(message.body), '021a0000fe50000600000000' + '08000100ac190080')
})

test('several next hops are the message that iproute2 sends, and a deletion in IPv6 names none of them', t => {
  const nextHops: NextHop[] = [
    { gateway: '10.9.0.2', ifindex: 3, weight: 3 },
    { gateway: 'fe80::1', ifindex: 5, onlink: true },
  ]
  const route: Route = { dst: '10.51.0.0/24', table: 254, type: 'unicast', protocol: 80, scope: 0, nextHops }
  const message = written(w => emitRoute(w, route))
  // ip route add 10.51.0.0/24 proto 80 nexthop via 10.9.0.2 dev v0 weight 3 nexthop via inet6 fe80::1 dev w0 onlink
  const first = '1000' + '00' + '02' + '03000000' + '080005000a090002'
  const second = '2000' + '04' + '00' + '05000000' + '160012000a00' + 'fe800000000000000000000000000001' + '0000'
  t.is(toHex(message.body), `02180000fe50000100000000${'080001000a330000'}${'34000900'}${first}${second}`)
  t.deepEqual(parseRoute(message), route)
  const six: Route = { ...route, dst: 'fd00:51::/64', nextHops: [{ ...nextHops[1]!, onlink: true }, nextHops[1]!] }
  const gone = written(w => emitRoute(w, six, { forDelete: true }))
  t.is(parseRoute(gone)?.nextHops, undefined)
})

test('next hops that are cut short end the list, whatever their octets are', t => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), octets => {
      const message = written(w => emitRoute(w, block('10.0.0.0/8')))
      const body = new NlWriter().put(message.body).attrBytes(9, octets).done()
      const hops = parseRoute({ ...message, body })?.nextHops ?? []
      t.true(hops.length <= octets.length / 8)
    }),
  )
})

test('a route by a next hop object names that and nothing that it has', t => {
  const route: Route = { dst: '10.51.0.0/24', table: 254, type: 'unicast', protocol: 80, scope: 0, nextHopId: 7 }
  const message = written(w => emitRoute(w, { ...route, gateway: '10.9.0.2', ifindex: 3, onlink: true }))
  t.is(toHex(message.body), '02180000fe50000100000000' + '080001000a330000' + '08001e0007000000')
  t.deepEqual(parseRoute(message), route)
})

const nextHopObjects = fc
  .record({
    id: fc.integer({ min: 1, max: 2 ** 32 - 1 }),
    protocol: octet,
    way: fc.oneof(
      fc.record({ gateway: gateways, ifindex: ifindexes }).map(hop => ({ hop })),
      fc.record({ gateway: gateways, ifindex: ifindexes }).map(hop => ({ hop: { ...hop, onlink: true } })),
      fc.uniqueArray(fc.integer({ min: 1, max: 2 ** 32 - 1 }), { minLength: 1, maxLength: 64 }).map(ids => ({
        group: ids.sort((a, b) => a - b).map((id, i) => (i % 2 === 0 ? { id } : { id, weight: 2 + (id % 255) })),
      })),
    ),
    resilient: fc.option(fc.record({ buckets: fc.integer({ min: 1, max: 65535 }), idleSeconds: fc.nat(1_000_000) })),
  })
  .map(
    ({ way, resilient, ...common }): NextHopObject => ({
      ...common,
      ...way,
      ...('group' in way && resilient !== null && { resilient }),
    }),
  )

test('what is written of a next hop object reads back the same', t => {
  fc.assert(
    fc.property(nextHopObjects, object => {
      t.deepEqual(parseNextHopObject(written(w => emitNextHopObject(w, object))), object)
    }),
  )
})

test('a resilient group is the message that iproute2 sends, and a deletion has the id alone', t => {
  const object: NextHopObject = {
    ...{ id: 14, protocol: 80, resilient: { buckets: 32, idleSeconds: 7 } },
    group: [
      { id: 1, weight: 3 },
      { id: 2, weight: 5 },
    ],
  }
  // ip nexthop add id 14 group 1,3/2,5 type resilient buckets 32 idle_timer 7 proto 80
  const members = `14000200${'0100000002000000'}${'0200000004000000'}`
  const buckets = `14000c80${'0600010020000000'}${'08000200bc020000'}`
  const message = written(w => emitNextHopObject(w, object))
  t.is(toHex(message.body), `0000500000000000${'080001000e000000'}${members}${buckets}${'0600030001000000'}`)
  t.is(toHex(written(w => emitNextHopObject(w, object, { forDelete: true })).body), `${'00'.repeat(8)}080001000e000000`)
})

test('a next hop object that is cut short is read as far as it goes', t => {
  fc.assert(
    fc.property(nextHopObjects, fc.nat(), (object, cut) => {
      const message = written(w => emitNextHopObject(w, object))
      const found = parseNextHopObject({ ...message, body: message.body.subarray(0, cut % message.body.length) })
      t.true(found === undefined || found.id === object.id)
    }),
  )
})

test('every message of a datagram is found, and one that is cut short is not', t => {
  const w = new NlWriter()
  for (const seq of [1, 2, 3]) w.message(20, 0, seq, () => w.attrBytes(9, Uint8Array.of(1, 2, 3, 4, 5)))
  const bytes = w.done()
  t.is(bytes.length % 4, 0)
  for (let length = 0; length <= bytes.length; length++) {
    const found = parseMessages(bytes.subarray(0, length))
    t.deepEqual(
      found.map(message => message.seq),
      [1, 2, 3].slice(0, Math.floor(length / 28)),
    )
  }
})

test('an error gives errno and the extended text, whether or not it quotes the request', t => {
  const text = '0a000100' + '6e6f206e6f0000000000'
  const quoted = '1c000000' + '18000500' + '00000000' + '00000000'
  const capped = { type: 2, flags: 0x300, seq: 1, port: 0, body: Buffer.from(fromHex(`efffffff${quoted}${text}`)) }
  t.deepEqual(parseAcknowledgement(capped), { errno: 17, detail: 'no no' })
  const body = Buffer.from(fromHex(`efffffff${quoted}${'00'.repeat(12)}${text}`))
  t.deepEqual(parseAcknowledgement({ ...capped, flags: 0x200, body }), { errno: 17, detail: 'no no' })
  t.deepEqual(parseAcknowledgement({ ...capped, flags: 0, body }), { errno: 17 })
})

test('a veth names its peer inside its own attributes, with the namespace it is born in', t => {
  const spec = { kind: 'veth', name: 'cali1', mac: 'ee:ee:ee:ee:ee:ee', peer: { name: 'eth0' } } as const
  const message = written(w => emitNewLink(w, spec, 42))
  t.like(parseLink(message), { name: 'cali1', kind: 'veth', mac: 'ee:ee:ee:ee:ee:ee' })
  // IFLA_IFNAME eth0, IFLA_NET_NS_FD 42
  t.true(toHex(message.body).includes(`${'0900030065746830'}${'00000000'}${'08001c002a000000'}`))
})

test('a VRF names the table of the links whose master it is', t => {
  const header = `${'00000100'}${'04000000'}${'c1040100'}${'00000000'}`
  const name = '09000300626c756500000000'
  // IFLA_LINKINFO: IFLA_INFO_KIND vrf, and in IFLA_INFO_DATA IFLA_VRF_TABLE 70000
  const info = `18001200${'0800010076726600'}${'0c000200'}${'0800010070110100'}`
  const message = { type: 16, flags: 0, seq: 0, port: 0, body: Buffer.from(fromHex(header + name + info)) }
  t.deepEqual(parseLink(message)?.vrf, { table: 70_000 })
})

test('neighbours and forwarding entries read back as they were written, and are not taken for each other', t => {
  const state = 'permanent' as const
  const neighbour = { ifindex: 3, address: 'fd00::1', mac: '02:00:00:00:00:07', permanent: true, state }
  const proxied = { ifindex: 3, address: '10.0.0.1', permanent: true, proxy: true }
  const entry = { ifindex: 3, mac: '66:00:00:00:00:01', dst: '10.0.0.2' }
  for (const one of [neighbour, proxied]) {
    const message = written(w => emitNeighbour(w, one))
    t.deepEqual(parseNeighbour(message), one)
    t.is(parseFdb(message), undefined)
  }
  const message = written(w => emitFdb(w, entry))
  t.deepEqual(parseFdb(message), entry)
  t.is(parseNeighbour(message), undefined)
})

test('how far the kernel is with a neighbour is told in its words; what needs no neighbour is none', t => {
  // NUD_* of linux/neighbour.h
  const words = { 1: 'incomplete', 2: 'reachable', 4: 'stale', 8: 'delay', 16: 'probe', 32: 'failed', 128: 'permanent' }
  const of = (state: number, flags = 0) => {
    const body = Buffer.from(fromHex(`${'02000000'}${'03000000'}${'00000000'}${'080001000a000001'}`))
    body.writeUInt16LE(state, 8)
    body[10] = flags
    return parseNeighbour({ type: 28, flags: 0, seq: 0, port: 0, body })
  }
  for (const [state, word] of Object.entries(words)) t.is(of(Number(state))?.state, word as never)
  t.is(of(64), undefined)
  t.like(of(0), { address: '10.0.0.1', state: undefined })
  t.like(of(128, 8), { proxy: true, state: undefined })
})

test('a MAC address is six octets in hex, or an error', t => {
  t.is(formatMac(macBytes('EE:ee:00:01:0a:ff')), 'ee:ee:00:01:0a:ff')
  for (const bad of ['', 'ee:ee', 'ee:ee:ee:ee:ee:eg', 'ee-ee-ee-ee-ee-ee']) t.throws(() => macBytes(bad))
})

const octets = fc.integer({ min: 1, max: 2 ** 32 - 1 })
const rates = fc.double({ min: 125, max: 1.3e14, noNaN: true }).map(Math.floor)
const buckets = fc
  .record({ rate: rates, burst: octets, limit: octets, peak: fc.option(fc.record({ rate: rates, burst: octets })) })
  .map(({ peak, ...bucket }): Bucket => ({ ...bucket, ...(peak !== null && { peak }) }))

test('a bucket of any rate reads back as it was written', t => {
  fc.assert(
    fc.property(buckets, bucket => {
      const message = written(w => emitBucket(w, 7, 0x6d67, bucket))
      const qdisc = parseQdisc(message)
      t.like(qdisc, { ifindex: 7, at: 'root', kind: 'tbf', handle: 0x6d67 })
      t.true(sameBucket(bucket, qdisc!.bucket!), JSON.stringify([bucket, qdisc]))
      t.is(shapingIfindex(message), 7)
    }),
  )
})

test('a filter says over which link packets go, and no octets of one that is cut short are taken for it', t => {
  const { body, ...message } = written(w => emitRedirect(w, 7, { preference: 28_007, to: 9 }))
  t.deepEqual(parseIngressFilter({ ...message, body }), { preference: 28_007, to: 9 })
  for (let length = 0; length < body.length; length++) {
    const cut = { ...message, body: body.subarray(0, length) }
    t.not(parseIngressFilter(cut)?.to, 0)
    t.notThrows(() => parseQdisc(cut))
  }
})
