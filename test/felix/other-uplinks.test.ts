// What a node with several uplinks wants: direct routes by the interface that a next hop is behind, and settings of that interface.
import test from 'ava'
import type { Condition } from '../../api/status.ts'
import { ConditionCounts } from '../../felix/calc/conditions.ts'
import { LearnedGroup } from '../../felix/calc/learned.ts'
import { Output } from '../../felix/calc/output.ts'
import { RouteClaims } from '../../felix/calc/route-claims.ts'
import type { ConnectedSubnet } from '../../felix/input.ts'
import type { NamedRoute } from '../../kernel/reconcile/objects.ts'
import { desiredState, lines, said } from './wanted.ts'
import {
  BARE_POOL,
  calculated,
  FULL,
  IPIP_POOL,
  IPV6_ALONE,
  learned,
  N2,
  TWO_UPLINKS,
  tell,
  type World,
  wantedBy,
} from './worlds.ts'

const LAN1: ConnectedSubnet = { cidr: '192.168.10.11/24', interfaceName: 'eth0', isUp: true }
const LAN2: ConnectedSubnet = { cidr: '192.168.20.11/24', interfaceName: 'eth1', isUp: true }

/** Of a block behind the router, without a tunnel. */
const bare = (world: World) => lines(world).filter(line => line.startsWith('10.246.3.0/26'))
const told = (world: World) => desiredState(world).conditions.map(said)
const connected = (...subnets: ConnectedSubnet[]): World => ({ ...FULL, connected: subnets })

test('a block of a pool without a tunnel goes by the interface that its next hop is behind; with CrossSubnet the tunnel stays', t => {
  const before = lines(FULL)
  const added = lines(TWO_UPLINKS).filter(line => !before.includes(line))
  t.deepEqual(added, ['10.246.3.0/26 via 192.168.20.13 dev eth1 proto 80'])
  t.deepEqual(
    before.filter(line => !lines(TWO_UPLINKS).includes(line)),
    [],
  )
  t.deepEqual(told(TWO_UPLINKS), ['EncapsulationAsAsked Node n4 IpipLackedThere'])
})

test('while that interface is down or without a carrier there is no route, and the interface is named', t => {
  const world = connected(LAN1, { ...LAN2, isUp: false })
  t.deepEqual(bare(world), [])
  const [condition] = desiredState(world).conditions.filter(({ object }) => object?.name === '10.246.3.0/26')
  t.like(condition, { type: 'BlocksReachable', reason: 'NextHopLinkDown' })
  t.regex(condition!.message, /next hop 192\.168\.20\.13 is on eth1, which is down or has no carrier/)
})

test('the longest subnet counts, and of two interfaces in one the one that is up', t => {
  const wide: ConnectedSubnet = { cidr: '192.168.0.11/16', interfaceName: 'eth2', isUp: true }
  t.deepEqual(bare(connected(LAN1, wide)), ['10.246.3.0/26 via 192.168.20.13 dev eth2 proto 80'])
  for (const both of [
    [LAN2, wide],
    [wide, LAN2],
  ])
    t.deepEqual(bare(connected(LAN1, ...both)), ['10.246.3.0/26 via 192.168.20.13 dev eth1 proto 80'])
  const twin: ConnectedSubnet = { cidr: '192.168.20.12/24', interfaceName: 'eth3', isUp: true }
  t.deepEqual(bare(connected({ ...LAN2, isUp: false }, twin)), ['10.246.3.0/26 via 192.168.20.13 dev eth3 proto 80'])
  t.deepEqual(bare(connected(twin, { ...LAN2, isUp: false })), ['10.246.3.0/26 via 192.168.20.13 dev eth3 proto 80'])
})

test('the subnet of the Node address goes by its uplink, whichever other interface is in it', t => {
  const twin: ConnectedSubnet = { cidr: '192.168.10.21/24', interfaceName: 'eth1', isUp: true }
  t.true(lines(connected(LAN1, twin)).includes('10.246.2.0/26 via 192.168.10.12 dev eth0 proto 80'))
})

test('a longer subnet inside that of the Node address goes by its own interface while that is up', t => {
  const inside: ConnectedSubnet = { cidr: '192.168.10.9/28', interfaceName: 'eth1', isUp: true }
  const block = (...subnets: ConnectedSubnet[]) =>
    lines(connected(...subnets)).filter(line => line.startsWith('10.246.2.0/26'))
  t.deepEqual(block(LAN1, inside), ['10.246.2.0/26 via 192.168.10.12 dev eth1 proto 80'])
  t.deepEqual(block(LAN1, { ...inside, isUp: false }), ['10.246.2.0/26 via 192.168.10.12 dev eth0 proto 80'])
})

test('an interface is no uplink for a wide subnet around that of another one, nor for addresses of this node', t => {
  const wide: ConnectedSubnet = { cidr: '192.168.0.1/16', interfaceName: 'docker0', isUp: false }
  const uplinks = (world: World) => calculated(world).otherUplinks
  t.deepEqual(uplinks(connected(LAN1, LAN2, wide)), ['eth1'])
  t.deepEqual(
    told(connected(LAN1, LAN2, wide)).filter(each => each.startsWith('Uplinks')),
    [],
  )
  const twin: ConnectedSubnet = { cidr: '192.168.10.21/24', interfaceName: 'eth2', isUp: true }
  const nobody = { ...connected(LAN1, twin, LAN2), remotes: [], learned: [learned('10.246.3.0/26', '192.168.20.11')] }
  t.deepEqual(uplinks(nobody), [])
})

test('uplinks are worked out again for addresses that are new or gone alone, not for each route', t => {
  const calculator = calculated(TWO_UPLINKS)
  const before = calculator.otherUplinks
  t.deepEqual(before, ['eth1'])
  calculator.set('learned', '10.246.9.0/26', learned('10.246.9.0/26', '192.168.20.13'))
  calculator.step()
  t.is(calculator.otherUplinks, before)
  calculator.set('learned', '10.246.9.0/26', undefined)
  tell(calculator, { remotes: [], learned: [] })
  calculator.step()
  t.deepEqual(calculator.otherUplinks, [])
  tell(calculator, { learned: TWO_UPLINKS.learned })
  calculator.step()
  t.deepEqual(calculator.otherUplinks, before)
})

test('of 200 routes those alone are looked at again whose next hop is in a subnet that changed', t => {
  let looks = 0
  const context = {
    poolOf: () => undefined,
    addressesOf: () => [],
    vtepOf: () => {
      looks++
      return undefined
    },
    routeProtocol: 80,
  }
  const routes = new Output<NamedRoute>()
  const conditions = new ConditionCounts(new Output<Condition>())
  const group = new LearnedGroup(context, new RouteClaims(routes, conditions), conditions)
  const follow = (...subnets: ConnectedSubnet[]) => {
    looks = 0
    group.connectedChanged(subnets)
    group.recalculate()
    return looks
  }
  group.hereChanged(FULL.node, { ipip: false, vxlan: false, vxlanAddress: false })
  for (let n = 0; n < 200; n++) {
    const hop = n < 190 ? `192.168.10.${n + 20}` : `192.168.20.${n}`
    group.update(`198.51.${n}.0/24`, learned(`198.51.${n}.0/24`, hop))
  }
  const strange: ConnectedSubnet = { cidr: '172.17.0.1/16', interfaceName: 'docker0', isUp: true }
  t.is(follow(LAN1, LAN2), 200)
  const behind = () => [...routes.wanted().values()].filter(({ interfaceName }) => interfaceName === 'eth1').length
  t.is(behind(), 10)
  t.is(follow(LAN1, LAN2, strange), 0)
  t.is(follow(LAN1, LAN2, { ...strange, isUp: false }), 0)
  t.is(follow({ ...LAN1, isUp: false }, LAN2, strange), 0)
  t.is(follow(LAN1, { ...LAN2, isUp: false }, strange), 10)
  t.is(behind(), 0)
  t.is(follow(LAN1, { ...LAN2, interfaceName: 'lan2' }, strange), 10)
  t.is(follow(LAN1, LAN2, strange), 10)
  t.is(behind(), 10)
})

test('an address of another interface of this node is no next hop', t => {
  const world = { ...TWO_UPLINKS, learned: [learned('10.246.3.0/26', '192.168.20.11')] }
  t.deepEqual(bare(world), [])
  t.deepEqual(told(world), ['BlocksReachable Route 10.246.3.0/26 BadNextHop'])
})

test('a route outside every pool goes by the interface that its router is behind', t => {
  const world = { ...TWO_UPLINKS, learned: [learned('198.51.100.0/24', '192.168.20.1')] }
  t.true(lines(world).includes('198.51.100.0/24 via 192.168.20.1 dev eth1 proto 80'))
})

test('an IPv6 block of a pool without a tunnel goes by the interface that its next hop is behind', t => {
  const world: World = {
    ...IPV6_ALONE,
    pools: [{ ...BARE_POOL, cidr: 'fd00:10::/32' }],
    connected: [{ cidr: '2001:db8:20::11/64', interfaceName: 'eth1', isUp: true }],
  }
  t.true(lines(world).includes('fd00:10:3::/122 via 2001:db8:20::13 dev eth1 proto 80'))
  t.deepEqual(told(world), [])
})

test('an interface that other nodes are behind is told while it is down, whatever the pools ask for', t => {
  const down = { ...LAN2, isUp: false }
  for (const pools of [FULL.pools, [IPIP_POOL]])
    t.true(told({ ...connected(LAN1, down), pools }).includes('UplinksUp Link eth1 LinkDown'))
  const said = (...subnets: ConnectedSubnet[]) => told(connected(...subnets)).filter(each => each.startsWith('Uplinks'))
  t.deepEqual(said(LAN1, LAN2), [])
  t.deepEqual(said({ ...LAN1, isUp: false }, LAN2), [], 'PodTrafficPasses tells of the uplink of the Node address')
  t.deepEqual(said(LAN1, { cidr: '172.17.0.1/16', interfaceName: 'docker0', isUp: false }), [])
})

test('an uplink of IPv6 alone is another uplink of IPv4 where other nodes are in its IPv4 subnet', t => {
  const node = { ...FULL.node, ipv6: '2001:db8:20::11/64', ipv6Uplink: 'eth1' }
  t.deepEqual(calculated({ ...TWO_UPLINKS, node }).otherUplinks, ['eth1'])
  t.deepEqual(calculated({ ...TWO_UPLINKS, node, connected: [LAN1] }).otherUplinks, [])
})

test('an interface that other nodes are behind forwards; no uplink drops what comes back by another one, or is taken without a carrier', t => {
  // no pool has a tunnel, which would ask for the first uplink by itself
  const settings = (world: World) =>
    Object.keys(wantedBy(calculated({ ...world, pools: [BARE_POOL] })).sysctl!)
      .filter(key => /eth\d|docker/.test(key) && !key.includes('accept_ra'))
      .map(key => key.replace(/net\.(ipv.) conf/, '$1'))
      .toSorted()
  const one = ['ipv4/eth0/forwarding']
  t.deepEqual(settings(FULL), one)
  const both = ['eth0', 'eth1'].flatMap(name => [
    ...['forwarding', 'ignore_routes_with_linkdown', 'rp_filter'].map(setting => `ipv4/${name}/${setting}`),
    `ipv6/${name}/ignore_routes_with_linkdown`,
  ])
  both.sort()
  t.deepEqual(settings(TWO_UPLINKS), both)
  t.deepEqual(settings({ ...TWO_UPLINKS, learned: [] }), both, 'the nodes are there')
  t.deepEqual(settings({ ...TWO_UPLINKS, remotes: [] }), both, 'their next hops are there')
  const strange: ConnectedSubnet = { cidr: '172.17.0.1/16', interfaceName: 'docker0', isUp: true }
  t.deepEqual(settings(connected(LAN1, strange)), one)
})

test('the way to a BGP peer goes by the router that is named, on whichever uplink, and before what others announce of the peer', t => {
  const world = { ...TWO_UPLINKS, learned: [learned('198.51.100.7/32', N2.address!)] }
  const calculator = calculated(world)
  const routes = () =>
    [...calculator.wanted().route.values()].filter(({ dst }) => dst === '198.51.100.7/32').map(({ gateway }) => gateway)
  const conditions = () => [...calculator.wanted().condition.values()].filter(({ type }) => type === 'BlocksReachable')
  const before = conditions().length
  const say = (gateway: string | undefined) => {
    calculator.set('peerWay', '198.51.100.7/32', gateway === undefined ? undefined : { gateway, bgpPeer: 'rr' })
    calculator.step()
  }
  t.deepEqual(routes(), [N2.address])
  say('192.168.20.1')
  t.deepEqual(routes(), ['192.168.20.1'])
  say('203.0.113.1')
  t.deepEqual(routes(), [], 'what is announced is not what was asked for')
  t.regex(
    conditions().find(({ reason }) => reason === 'NextHopNotOnLink')!.message,
    /BGPPeer rr .* by 203\.0\.113\.1, which is in no subnet of this node/,
  )
  say(undefined)
  t.deepEqual(routes(), [N2.address])
  t.is(conditions().length, before)
})

test('of a router that cannot be one, as it is this node, the peer or of the other family, the BGPPeer is told that names it', t => {
  const calculator = calculated(TWO_UPLINKS)
  const peer = '192.168.20.7'
  const cidr = `${peer}/32`
  for (const gateway of ['192.168.10.11', '192.168.20.11', 'fd00::1', peer]) {
    calculator.set('peerWay', cidr, { gateway, bgpPeer: 'rr' })
    calculator.step()
    t.is(calculator.wanted().route.get(cidr), undefined)
    const told = [...calculator.wanted().condition.values()].find(({ object }) => object?.name === cidr)
    t.is(told?.reason, 'BadNextHop')
    t.regex(told!.message, /^BGPPeer rr says that it is reached by \S+, which is /)
    t.regex(told!.remedy, /^name a router in a subnet of this node in reachableBy/)
  }
})

test('no pool has a say in the way to a peer, and what belongs to this node is reached by no router', t => {
  const calculator = calculated(TWO_UPLINKS)
  const say = (cidr: string) => {
    calculator.set('peerWay', cidr, { gateway: '192.168.20.1', bgpPeer: 'rr' })
    calculator.step()
    const { gateway, interfaceName } = calculator.wanted().route.get(cidr) ?? {}
    return `${gateway} ${interfaceName}`
  }
  t.is(say('10.244.200.7/32'), '192.168.20.1 eth1')
  t.is(say('192.168.10.11/32'), 'undefined undefined')
  const own = [...calculator.wanted().condition.values()].find(({ reason }) => reason === 'OwnPrefix')
  t.like(own, { object: { kind: 'Route', name: '192.168.10.11/32' }, remedy: 'correct peerIP of the BGPPeer' })
})

test('IPv4 goes by the link-local address of a router on the interface where it was heard, with others that do', t => {
  const path = (nextHop: string, link: string) => ({ nextHop, interface: link, encapsulations: [] })
  const [first, second] = [path('fe80::1', 'eth1'), path('fe80::1', 'eth2')]
  const outside = (world: World) => lines(world).filter(line => line.startsWith('198.51.100.0/24'))
  const prefix = '198.51.100.0/24'
  t.deepEqual(outside({ ...FULL, learned: [{ prefix, ...first }] }), [`${prefix} via fe80::1 dev eth1 proto 80`])
  const { routes } = desiredState({ ...FULL, learned: [{ prefix, ...first, paths: [first, second] }] })
  t.deepEqual(routes.find(({ dst }) => dst === prefix)?.nextHops, [
    { gateway: 'fe80::1', interfaceName: 'eth1' },
    { gateway: 'fe80::1', interfaceName: 'eth2' },
  ])
})

test('an interface that a next hop was heard on is an uplink without any subnet, as long as some path goes by it', t => {
  const path = (link: string) => ({ nextHop: 'fe80::1', interface: link, encapsulations: [] })
  const first = { prefix: '198.51.100.0/24', ...path('eth1'), paths: [path('eth1'), path('eth2')] }
  const second = { prefix: '203.0.113.0/24', ...path('eth1') }
  const calculator = calculated({ ...FULL, learned: [first, second, { prefix: '192.0.2.0/24', ...path('eth0') }] })
  t.deepEqual(calculator.otherUplinks, ['eth1', 'eth2'])
  const sysctls = Object.keys(wantedBy(calculator).sysctl!)
  for (const link of ['eth1', 'eth2'])
    for (const setting of ['forwarding', 'rp_filter', 'ignore_routes_with_linkdown'])
      t.true(sysctls.includes(`net.ipv4 conf/${link}/${setting}`), `${link} ${setting}: ${sysctls.join()}`)
  const learn = (route: typeof first | typeof second, stays: boolean) => {
    calculator.set('learned', route.prefix, stays ? route : undefined)
    calculator.step()
    return calculator.otherUplinks
  }
  const before = calculator.otherUplinks
  t.is(learn(first, true), before, 'the same again')
  t.deepEqual(learn(first, false), ['eth1'])
  t.deepEqual(learn(second, false), [])
})

test('an IPv6 address that is no neighbour on a known link is no next hop for IPv4, and no tunnel ends at one that is', t => {
  const route = { prefix: '198.51.100.0/24', nextHop: 'fe80::1', encapsulations: [] }
  const said = (learned: object) =>
    desiredState({ ...FULL, learned: [learned as typeof route] }).conditions.map(
      each => `${each.object?.name} ${each.reason}`,
    )
  t.true(said(route).includes('198.51.100.0/24 BadNextHop'))
  const inPool = { prefix: '10.244.9.0/26', nextHop: 'fe80::1', interface: 'eth1', encapsulations: [] }
  const always = { ...FULL, pools: [{ ...IPIP_POOL, ipip: 'Always' as const }], learned: [inPool] }
  t.deepEqual(
    lines(always).filter(line => line.startsWith('10.244.9.0/26')),
    [],
  )
  t.true(desiredState(always).conditions.some(({ object }) => object?.name === '10.244.9.0/26'))
})
