// Who gets a route, and what becomes of it on the way: loops, reflection, confederations, roles and next hops.
import test from 'ava'
import { SelectedRoutes } from '../../../bgp/rib/selected-route.ts'
import { emitSet } from '../../../bgp/rib/store/attribute-set.ts'
import type { RibPeer } from '../../../bgp/rib/types.ts'
import type { Attributes } from '../../../bgp/wire/attribute-values.ts'
import { COMMUNITY, SEGMENT } from '../../../bgp/wire/iana.ts'
import { Writer } from '../../../lib/bytes.ts'
import { addressBytes, formatAddress, ipv4Number } from '../../../lib/ip.ts'
import { aPeer, OUR_AS, someAttributes, World } from './sessions.ts'

const PREFIX = '192.0.2.0/24'

/** What `to` holds after `from` announced one prefix with these attributes. */
function passed(from: RibPeer, to: RibPeer, attributes: Attributes, world = new World()): Attributes | undefined {
  world.up(from, to)
  const error = world.send(from, { announce: [PREFIX], attributes })
  if (error !== undefined) throw error
  world.settle()
  return world.held(to).get(PREFIX)?.attributes
}

/** Why the route of `from` is not used. */
function refused(from: RibPeer, attributes: Attributes, world = new World()): string | undefined {
  world.up(from)
  world.send(from, { announce: [PREFIX], attributes })
  world.settle()
  return world.rib.explain(PREFIX)?.candidates[0]?.import.reason
}

const internal = (more: Attributes = {}) => someAttributes([7018], { localPref: 100, ...more })
const ibgp = (n: number, config = {}) => aPeer(n, { peerType: 'ibgp', config })
const client = (n: number) => ibgp(n, { reflectorClient: true })

test('a path with our AS more often than allowed is a loop', t => {
  const path = [65001, OUR_AS, 7, OUR_AS]
  t.is(refused(aPeer(1), someAttributes(path)), 'as-loop')
  t.is(refused(aPeer(1, { config: { allowAsIn: 1 } }), someAttributes(path)), 'as-loop')
  t.is(refused(aPeer(1, { config: { allowAsIn: 2 } }), someAttributes(path)), 'accepted')
})

test('a path from an external peer must begin with its AS, unless the peer is a route server', t => {
  t.is(refused(aPeer(1), someAttributes([7018])), 'first-as')
  t.is(refused(aPeer(1, { config: { role: 'rs-client' } }), someAttributes([7018])), 'accepted')
})

test('our own address is no next hop', t => {
  t.is(refused(aPeer(1), someAttributes([65001], { nextHop: ipv4Number('10.0.0.254') })), 'own-next-hop')
})

test('our identifier as originator and our cluster in the list are loops', t => {
  const ours = ipv4Number('10.0.0.254')
  t.is(refused(ibgp(1), internal({ originatorId: ours })), 'originator-loop')
  t.is(refused(ibgp(1), internal({ clusterList: [5, ours] })), 'cluster-loop')
})

test('an external peer without import or export policy gives and gets nothing', t => {
  t.is(refused(aPeer(1, { config: { import: undefined } }), someAttributes()), 'policy')
  t.is(passed(aPeer(1), aPeer(2, { config: { export: undefined } }), someAttributes()), undefined)
})

test('routes go from one internal peer to another only by reflection, with ORIGINATOR_ID and CLUSTER_LIST', t => {
  t.is(passed(ibgp(1), ibgp(2), internal()), undefined)
  const [from, ours] = [ipv4Number('10.0.0.1'), ipv4Number('10.0.0.254')]
  for (const [a, b] of [
    [client(1), ibgp(2)],
    [ibgp(1), client(2)],
    [client(1), client(2)],
  ] as const) {
    const got = passed(a, b, internal({ med: 7 }))
    t.deepEqual([got?.originatorId, got?.clusterList, got?.med, got?.localPref], [from, [ours], 7, 100])
    t.is(got?.nextHop, ipv4Number('10.0.0.1'))
  }
  const again = passed(client(1), client(2), internal({ originatorId: 99, clusterList: [5] }))
  t.deepEqual([again?.originatorId, again?.clusterList], [99, [ours, 5]])
})

test('towards an external peer our AS comes first, and MED, LOCAL_PREF and reflection stay inside', t => {
  const got = passed(ibgp(1), aPeer(2), internal({ med: 5, originatorId: 99, clusterList: [5] }))
  t.deepEqual(got, { origin: 0, asPath: [{ type: 2, asns: [OUR_AS, 7018] }], nextHop: ipv4Number('10.0.0.254') })
})

test('our AS is put into a new segment when the first one has 255 numbers', t => {
  const asns = [65001, ...new Array<number>(254).fill(7)]
  const got = passed(aPeer(1), aPeer(2), someAttributes(asns))
  t.deepEqual(
    got?.asPath?.map(segment => segment.asns.length),
    [1, 255],
  )
})

test('well-known communities limit to whom a route is announced', t => {
  const withTag = (tag: number) => someAttributes([65001], { communities: [tag] })
  t.is(passed(aPeer(1), aPeer(2), withTag(COMMUNITY.noExport)), undefined)
  t.truthy(passed(aPeer(1), ibgp(2), withTag(COMMUNITY.noExport)))
  t.is(passed(aPeer(1), ibgp(2), withTag(COMMUNITY.noAdvertise)), undefined)
  t.is(passed(aPeer(1), aPeer(2, { peerType: 'confed' }), withTag(COMMUNITY.noExportSubconfed)), undefined)
  t.truthy(passed(aPeer(1), aPeer(2, { peerType: 'confed' }), withTag(COMMUNITY.noExport)))
})

test('what another AS says it will take away is worth least in this one, unless a policy says otherwise', t => {
  const leaving = { communities: [COMMUNITY.gracefulShutdown] }
  const worth = (from: RibPeer, path: readonly number[], more: Attributes) =>
    passed(from, ibgp(2), someAttributes(path, more))?.localPref
  t.is(worth(aPeer(1), [65001], leaving), 0)
  t.is(worth(aPeer(1), [65001], { communities: [7, COMMUNITY.gracefulShutdown] }), 0)
  t.is(worth(aPeer(1), [65001], {}), 100)
  const set100 = [{ action: 'accept' as const, operations: [{ do: 'set-priority' as const, value: 2147483547 }] }]
  t.is(worth(aPeer(1, { config: { import: set100 } }), [65001], leaving), 100)
  // inside the AS the LOCAL_PREF that comes with it counts
  t.is(worth(client(1), [7018], { localPref: 70, ...leaving }), 70)
})

test('a path that its AS will take away gives way to every other one, also to a longer one', t => {
  const world = new World()
  const [leaving, other] = [aPeer(1), aPeer(2)]
  world.up(leaving, other)
  const marked = someAttributes([65001], { communities: [COMMUNITY.gracefulShutdown] })
  world.send(leaving, { announce: [PREFIX], attributes: marked })
  world.settle()
  t.is(world.sink.routes.get(PREFIX)?.peer, leaving.key)
  world.send(other, { announce: [PREFIX], attributes: someAttributes([65002, 7018, 3356]) })
  world.settle()
  t.is(world.sink.routes.get(PREFIX)?.peer, other.key)
})

test('a speaker that drains marks what it announces, and with LOCAL_PREF 0 inside the AS; and takes that back', t => {
  const world = new World()
  const [from, inside, outside] = [aPeer(1), ibgp(2), aPeer(3)]
  world.up(from, inside, outside)
  world.rib.announce({ prefix: '198.51.100.0/24', communities: [7] })
  world.send(from, { announce: [PREFIX], attributes: someAttributes() })
  const held = (to: RibPeer, prefix: string) => {
    const { communities, localPref } = world.held(to).get(prefix)?.attributes ?? {}
    return { communities, localPref }
  }
  world.settle()
  const before = [inside, outside].map(to => [held(to, PREFIX), held(to, '198.51.100.0/24')])
  world.rib.setDraining(true)
  world.settle()
  const mark = COMMUNITY.gracefulShutdown
  t.deepEqual(held(inside, PREFIX), { communities: [mark], localPref: 0 })
  t.deepEqual(held(inside, '198.51.100.0/24'), { communities: [7, mark], localPref: 0 })
  t.deepEqual(held(outside, PREFIX), { communities: [mark], localPref: undefined })
  t.deepEqual(held(outside, '198.51.100.0/24'), { communities: [7, mark], localPref: undefined })
  world.rib.setDraining(false)
  world.settle()
  t.deepEqual(
    [inside, outside].map(to => [held(to, PREFIX), held(to, '198.51.100.0/24')]),
    before,
  )
})

test('only the chosen kinds of communities are sent, and extended ones that are not transitive never leave the AS', t => {
  const communities: Attributes = {
    communities: [1],
    largeCommunities: [{ global: 1, local1: 2, local2: 3 }],
    extendedCommunities: [0x030c000000000008n, 0x4300000000000001n],
  }
  const got = passed(aPeer(1), aPeer(2), someAttributes([65001], communities))
  t.deepEqual(got?.extendedCommunities, [0x030c000000000008n])
  const inside = passed(aPeer(1), ibgp(2, { sendCommunities: ['extended'] }), someAttributes([65001], communities))
  t.deepEqual([inside?.communities, inside?.largeCommunities], [undefined, undefined])
  t.is(inside?.extendedCommunities?.length, 2)
})

test('private AS numbers are removed where that is asked for', t => {
  const got = passed(aPeer(1), aPeer(2, { config: { removePrivateAs: true } }), someAttributes([65001, 7, 4200000001]))
  t.deepEqual(got?.asPath, [{ type: 2, asns: [OUR_AS, 7] }])
})

test('a peer with a localAs gets paths that begin with that AS', t => {
  const got = passed(aPeer(1), aPeer(2, { localAs: 64999, config: { localAs: 64999 } }), someAttributes([65001]))
  t.deepEqual(got?.asPath, [{ type: 2, asns: [64999, 65001] }])
})

test('unknown transitive attributes are passed on as partial', t => {
  const unknown = [{ code: 99, flags: 0xc0, value: Uint8Array.of(1, 2) }]
  const got = passed(aPeer(1), aPeer(2), someAttributes([65001], { unknown }))
  t.deepEqual(got?.unknown, [{ code: 99, flags: 0xe0, value: Uint8Array.of(1, 2) }])
})

const confederation = { confederation: { identifier: OUR_AS, members: [64600, 64601] } }
const inside = (n: number) => aPeer(n, { peerType: 'confed', remoteAs: 64601, localAs: 64600 })
const confederated = () => new World({ asn: 64600, ...confederation })

test('member ASes are in confederation segments, which peers outside the confederation do not get', t => {
  const out = passed(aPeer(1), inside(2), someAttributes([65001]), confederated())
  t.deepEqual(out?.asPath, [
    { type: SEGMENT.confedSequence, asns: [64600] },
    { type: SEGMENT.sequence, asns: [65001] },
  ])
  t.is(out?.localPref, 100)
  const attributes = someAttributes([65001], { localPref: 200, med: 3 })
  attributes.asPath = [{ type: SEGMENT.confedSequence, asns: [64601] }, ...attributes.asPath!]
  const gone = passed(inside(1), aPeer(2), attributes, confederated())
  t.deepEqual(gone?.asPath, [{ type: SEGMENT.sequence, asns: [OUR_AS, 65001] }])
  t.is(gone?.localPref, undefined)
})

test('our member AS in a confederation segment is a loop', t => {
  const attributes = someAttributes([7], { localPref: 100 })
  attributes.asPath = [{ type: SEGMENT.confedSequence, asns: [64601, 64600] }, ...attributes.asPath!]
  t.is(refused(inside(1), attributes, confederated()), 'as-loop')
})

const role = (n: number, ours: NonNullable<RibPeer['config']['role']>) => aPeer(n, { config: { role: ours } })

test('a route from a provider or a peer goes to customers only, and is marked so', t => {
  const world = new World()
  const [provider, customer, peer, up] = [
    role(1, 'customer'),
    role(2, 'provider'),
    role(3, 'peer'),
    role(4, 'customer'),
  ]
  world.up(provider, customer, peer, up)
  world.send(provider, { announce: [PREFIX] })
  world.settle()
  t.is(world.held(customer).get(PREFIX)?.attributes.otc, 65001)
  t.deepEqual([world.held(peer).size, world.held(up).size], [0, 0])
})

test('a route that the role of its sender forbids is rejected as a leak', t => {
  const marked = (n: number, otc: number) => someAttributes([OUR_AS + n], { otc })
  t.is(refused(role(1, 'provider'), marked(1, 7)), 'route-leak')
  t.is(refused(role(1, 'peer'), marked(1, 7)), 'route-leak')
  t.is(refused(role(1, 'peer'), marked(1, 65001)), 'accepted')
  t.is(refused(role(1, 'customer'), marked(1, 7)), 'accepted')
})

test('our own routes and those of customers get OTC when they go to customers and peers', t => {
  t.is(passed(role(1, 'provider'), role(2, 'peer'), someAttributes())?.otc, OUR_AS)
  t.is(passed(role(1, 'provider'), role(2, 'provider'), someAttributes())?.otc, OUR_AS)
  t.is(passed(role(1, 'provider'), role(2, 'customer'), someAttributes())?.otc, undefined)
})

/** Text of the next hop that `to` gets. */
function nextHop(from: RibPeer, to: RibPeer, prefix = PREFIX, attributes?: Attributes): string | undefined {
  const world = new World()
  world.up(from, to)
  world.send(from, { announce: [prefix], attributes })
  world.settle()
  const got = world.held(to).get(prefix)
  if (got?.mpNextHop === undefined)
    return got && formatAddress(Uint8Array.from([24, 16, 8, 0], s => got.attributes.nextHop! >>> s))
  return [got.mpNextHop.subarray(0, 16), got.mpNextHop.subarray(16)]
    .filter(half => half.length > 0)
    .map(formatAddress)
    .join(' ')
}

test('external peers get us as the next hop and internal peers the original one, unless configured otherwise', t => {
  t.is(nextHop(aPeer(1), aPeer(2)), '10.0.0.254')
  t.is(nextHop(aPeer(1), ibgp(2)), '10.0.0.1')
  t.is(nextHop(aPeer(1), ibgp(2, { nextHop: 'self' })), '10.0.0.254')
  t.is(nextHop(aPeer(1), aPeer(2, { config: { nextHop: 'keep' } })), '10.0.0.1')
  t.is(nextHop(aPeer(1), ibgp(2), '2001:db8:5::/48'), '2001:db8::1')
})

test('a router on the link shared with an external peer stays the next hop, the peer itself does not', t => {
  t.is(nextHop(aPeer(1), aPeer(2, { connected: ['10.0.0.0/24'] })), '10.0.0.1')
  const third = someAttributes([65001], { nextHop: ipv4Number('10.0.0.2') })
  t.is(nextHop(aPeer(1), aPeer(2, { connected: ['10.0.0.0/24'] }), PREFIX, third), '10.0.0.254')
  t.is(nextHop(aPeer(1), aPeer(2, { connected: ['10.9.0.0/24'] })), '10.0.0.254')
  t.is(nextHop(aPeer(1), aPeer(2, { connected: ['2001:db8::/64'] }), '2001:db8:5::/48'), '2001:db8::1')
})

test('a next hop that is another peer of the link is ourselves for all while that peer is there', t => {
  const world = new World()
  const onLink = { connected: ['10.0.0.0/24'] }
  const [a, b, c] = [aPeer(1, onLink), aPeer(2, onLink), aPeer(3, onLink)]
  const ofC = { announce: [PREFIX], attributes: someAttributes([65001], { nextHop: ipv4Number('10.0.0.3') }) }
  const hop = (peer: RibPeer) => world.held(peer).get(PREFIX)?.attributes.nextHop
  world.up(a, b)
  world.send(a, ofC)
  world.settle()
  t.is(hop(b), ipv4Number('10.0.0.3'))
  world.up(c)
  world.settle()
  t.deepEqual([hop(b), hop(c)], [ipv4Number('10.0.0.254'), ipv4Number('10.0.0.254')])
  world.lost(c)
  world.settle()
  t.is(hop(b), ipv4Number('10.0.0.3'))
})

test('peers of one link share messages although routers of the link stay next hops', t => {
  const world = new World()
  const onLink = { connected: ['10.0.0.0/24'] }
  const [a, b, c] = [aPeer(1, onLink), aPeer(2, onLink), aPeer(3, onLink)]
  world.up(a, b, c)
  world.settle()
  world.send(a, { announce: [PREFIX] })
  while (world.rib.work());
  const [forB, forC] = [world.rib.pull('p2', 4096), world.rib.pull('p3', 4096)]
  t.is(forB?.length, 1)
  t.is(forB![0], forC![0]!)
})

test('to a peer on the link an IPv6 next hop is a global and a link-local address', t => {
  const nextHops = { ipv4: '10.0.0.254', ipv6: '2001:db8::fe', linkLocal: 'fe80::1' }
  t.is(nextHop(aPeer(1), aPeer(2, { nextHops }), '2001:db8:5::/48'), '2001:db8::fe fe80::1')
  t.is(nextHop(aPeer(1), aPeer(2, { nextHops: { linkLocal: 'fe80::1' } }), '2001:db8:5::/48'), 'fe80::1')
})

test('IPv4 goes over an IPv6 next hop where both sides know how, and nowhere else', t => {
  const nextHops = { linkLocal: 'fe80::1' }
  const session = { extendedNextHop: true }
  t.is(nextHop(aPeer(1), aPeer(2, { nextHops, session })), 'fe80::1')
  t.is(nextHop(aPeer(1), aPeer(2, { nextHops })), undefined)
})

test('a two-octet peer gets AS_TRANS and the real path beside it', t => {
  const got = passed(aPeer(1), aPeer(2, { session: { as4: false } }), someAttributes([65001, 4200000001]))
  t.deepEqual(got?.asPath, [{ type: 2, asns: [OUR_AS, 65001, 4200000001] }])
})

test('a network of our own carries what it was given, and encapsulations as extended communities', t => {
  const world = new World()
  const [a, b] = [aPeer(1), ibgp(2)]
  world.up(a, b)
  world.rib.announce({ prefix: PREFIX, communities: [5], med: 9, localPref: 300, encapsulations: [7] })
  world.settle()
  const plain = { origin: 0, communities: [5], extendedCommunities: [0x030c000000000007n], med: 9 }
  const nextHop = ipv4Number('10.0.0.254')
  t.deepEqual(world.held(a).get(PREFIX)?.attributes, { ...plain, asPath: [{ type: 2, asns: [OUR_AS] }], nextHop })
  t.deepEqual(world.held(b).get(PREFIX)?.attributes, { ...plain, asPath: [], nextHop, localPref: 300 })
})

test('only a link-local next hop comes with an interface, an address like fe8::1 does not', t => {
  const hop = (nextHop: string) => {
    const w = new Writer()
    emitSet(w, { attributes: {}, mpNextHop: addressBytes(nextHop) }, 'ipv6-unicast')
    const sets = { view: () => w.bytes.subarray(0, w.length) }
    const routes = new SelectedRoutes(sets, { members: () => [] }, () => aPeer(1, { interface: 'eth1' }))
    return routes.routeOf('2001:db8::/32', 1, 0).interface
  }
  t.is(hop('fe80::1'), 'eth1')
  t.is(hop('febf::1'), 'eth1')
  t.is(hop('fe8::1'), undefined)
})

test('the sink is told the encapsulations by which a next hop can be reached', t => {
  const world = new World()
  const a = aPeer(1, { peerType: 'ibgp', interface: 'eth1' })
  world.up(a)
  const tunnelEncap = Uint8Array.of(0, 7, 0, 0)
  const attributes = internal({ extendedCommunities: [0x030c000000000008n], tunnelEncap, med: 3 })
  world.send(a, { announce: [PREFIX], attributes })
  world.settle()
  const { encapsulations, med, localPref, peer } = world.sink.routes.get(PREFIX)!
  t.deepEqual([encapsulations, med, localPref, peer], [[8, 7], 3, 100, 'p1'])
})
