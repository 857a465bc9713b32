// What one node wants of its kernel, line by line as `ip` prints it.
import test from 'ava'
import { vtepMac } from '../../felix/calc/tunnels.ts'
import { desiredState, lines, said } from './wanted.ts'
import {
  calculated,
  EMPTY,
  endpoint,
  FULL,
  learned,
  N2,
  N3,
  N4,
  tell,
  WITHOUT_IPIP,
  WORLDS,
  type World,
  wantedBy,
} from './worlds.ts'

test('a full node has exactly the routes of the specification', t => {
  t.deepEqual(lines(FULL), [
    '10.244.1.5/32 dev calia proto boot scope link',
    '10.244.1.6/32 dev calib proto boot scope link',
    '10.244.2.0/26 via 192.168.10.12 dev eth0 proto 80',
    '10.244.3.0/26 via 192.168.20.13 dev tunl0 proto 80 onlink',
    '10.244.4.0/26 via 10.245.4.1 dev vxlan.calico proto 80 onlink',
    '10.245.3.0/26 via 10.245.3.1 dev vxlan.calico proto 80 onlink',
    '10.246.2.0/26 via 192.168.10.12 dev eth0 proto 80',
    '169.254.1.1/32 dev lo proto 80 scope link metric 1024',
    '203.0.113.0/24 via 192.168.10.1 dev eth0 proto 80',
    'blackhole 10.244.1.0/26 proto 80',
    'blackhole 10.245.1.0/26 proto 80',
    'fd00:1::6/128 dev calib proto boot',
  ])
})

test('the route to the pods’ gateway is the same whatever becomes of the uplink', t => {
  const gateway = (world: World) => lines(world).filter(line => line.startsWith('169.254.1.1/32'))
  for (const uplink of ['eth0', 'eth1', 'lo'])
    t.deepEqual(gateway({ ...FULL, node: { ...FULL.node!, uplink } }), [
      '169.254.1.1/32 dev lo proto 80 scope link metric 1024',
    ])
})

test('a full node says which block got no route and which node lacks IP-in-IP', t => {
  t.deepEqual(desiredState(FULL).conditions.map(said), [
    'BlocksReachable Route 10.246.3.0/26 NextHopNotOnLink',
    'EncapsulationAsAsked Node n4 IpipLackedThere',
  ])
})

test('a block behind a router that no pool holds is told so, and not to change a pool', t => {
  const { conditions } = desiredState({ ...FULL, pools: [] })
  const found = conditions.find(({ object }) => object?.name === '10.244.3.0/26')
  t.like(found, { type: 'BlocksReachable', reason: 'NextHopNotOnLink' })
  t.regex(found?.message ?? '', /10\.244\.3\.0\/26 lies in no IPPool/)
  t.regex(found?.remedy ?? '', /^create the IPPool/)
})

test('what is announced of a pool that nodes do not exchange is no route, and told', t => {
  const pools = FULL.pools.map(pool => ({ ...pool, isExchanged: pool.cidr !== '10.246.0.0/16' }))
  t.deepEqual(
    lines(FULL).filter(line => !lines({ ...FULL, pools }).includes(line)),
    ['10.246.2.0/26 via 192.168.10.12 dev eth0 proto 80'],
  )
  const found = desiredState({ ...FULL, pools }).conditions.find(({ object }) => object?.name === '10.246.2.0/26')
  t.like(found, { type: 'BlocksReachable', reason: 'NotExported' })
  t.regex(found?.remedy ?? '', /ipipMode or vxlanMode/)
})

test('a kernel without IP-in-IP sends the same blocks over VXLAN and says so once per node', t => {
  const { conditions, tunnels } = desiredState(WITHOUT_IPIP)
  t.true(lines(WITHOUT_IPIP).includes('10.244.3.0/26 via 10.245.3.1 dev vxlan.calico proto 80 onlink'))
  t.deepEqual(conditions.filter(({ reason }) => reason.startsWith('Ipip')).map(said), [
    'EncapsulationAsAsked Node n3 IpipLackedHere',
    'EncapsulationAsAsked Node n4 IpipLackedHere',
  ])
  t.deepEqual(
    tunnels.map(({ name }) => name),
    ['vxlan.calico'],
  )
})

test('tunnel devices take the uplink MTU less their overhead, or what is configured', t => {
  const mtus = (input: World) => desiredState(input).tunnels.map(({ name, mtu }) => `${name} ${mtu}`)
  t.deepEqual(mtus(FULL), ['tunl0 1480', 'vxlan.calico 1450'])
  t.deepEqual(mtus({ ...FULL, uplinkMtu: 9000 }), ['tunl0 8980', 'vxlan.calico 8950'])
  t.deepEqual(mtus({ ...FULL, config: { ...FULL.config, ipipMtu: 1400, vxlanMtu: 1300 } }), [
    'tunl0 1400',
    'vxlan.calico 1300',
  ])
})

test('every known VTEP has a permanent neighbour and a forwarding entry while the device is wanted', t => {
  const { neighbours, fdb } = desiredState(FULL)
  const vxlan = neighbours.filter(({ interfaceName }) => interfaceName === 'vxlan.calico')
  t.deepEqual(
    vxlan.map(({ address, mac }) => `${address} ${mac}`),
    ['10.245.2.1 66:00:00:00:00:02', '10.245.3.1 66:00:00:00:00:03', '10.245.4.1 66:00:00:00:00:04'],
  )
  t.deepEqual(
    fdb.map(({ mac, dst }) => `${mac} ${dst}`),
    ['66:00:00:00:00:02 192.168.10.12', '66:00:00:00:00:03 192.168.20.13', '66:00:00:00:00:04 192.168.20.14'],
  )
  t.deepEqual(desiredState({ ...FULL, pools: [] }).fdb, [])
})

test('a pod interface is up with the MTU of its endpoint; one with an IPv6 address has the gateway of its pod', t => {
  const { podLinks, addresses } = desiredState({ ...EMPTY, endpoints: [endpoint('a', '10.244.1.5', 'fd00:1::5')] })
  t.deepEqual(podLinks, [{ name: 'calia', mtu: 1450 }])
  t.deepEqual(addresses, [
    { interfaceName: 'calia', address: 'fe80::ecee:eeff:feee:eeee', length: 64, scope: 253, noDad: true },
  ])
})

test('a pod interface gets its neighbours and sysctls, and the host forwards', t => {
  const { neighbours, sysctls } = desiredState({ ...EMPTY, endpoints: [endpoint('a', '10.244.1.5')] })
  t.deepEqual(neighbours, [
    { interfaceName: 'calia', address: '10.244.1.5', mac: '02:00:00:00:00:61', permanent: true },
  ])
  t.deepEqual(
    sysctls.map(({ family, path, value }) => `${family} ${path.join('/')} ${value}`),
    [
      'ipv4 conf/calia/accept_source_route 0',
      'ipv4 conf/calia/forwarding 1',
      'ipv4 conf/calia/proxy_arp 1',
      'ipv4 conf/calia/route_localnet 1',
      'ipv4 conf/eth0/forwarding 1',
      'ipv4 ip_forward 1',
      'ipv4 neigh/calia/proxy_delay 0',
      'ipv6 conf/calia/accept_ra 0',
      'ipv6 conf/calia/rpl_seg_enabled 0',
      'ipv6 conf/calia/seg6_enabled 0',
    ],
  )
})

test('an announcement of an own block, of a part of it, of the own subnet or of an own address gets no route', t => {
  const stolen = [
    '10.244.1.0/26',
    '10.244.1.5/32',
    '192.168.10.0/24',
    '192.168.10.11/32',
    '10.244.1.1/32',
    '169.254.1.1/32',
  ]
  const input = { ...FULL, learned: stolen.map(prefix => learned(prefix, '192.168.10.12')), endpoints: [] }
  const { routes, conditions } = desiredState(input)
  t.deepEqual(
    routes.filter(({ gateway }) => gateway !== undefined),
    [],
  )
  t.deepEqual(
    conditions.map(({ reason }) => reason),
    stolen.map(() => 'OwnPrefix'),
  )
})

test('an address of an own block that is lent to another node has a route there, and no other part of the block has one', t => {
  const lent = ['10.244.1.7/32']
  const theirs = [...lent, '10.244.1.8/32', '10.244.1.0/27'].map(prefix => learned(prefix, '192.168.10.12'))
  const input = { ...FULL, lent, learned: theirs, endpoints: [] }
  const { routes, conditions } = desiredState(input)
  t.deepEqual(
    routes.filter(({ gateway }) => gateway !== undefined).map(({ dst }) => dst),
    lent,
  )
  t.deepEqual(
    conditions.map(({ reason }) => reason),
    ['OwnPrefix', 'OwnPrefix'],
  )
  t.deepEqual(
    desiredState({ ...input, lent: [] }).routes.filter(({ gateway }) => gateway !== undefined),
    [],
    'it came back, and its route is gone also where it is still announced',
  )
})

test('of an address that is lent nothing is used but what the node that has it announces, under any of its addresses', t => {
  const lent = ['10.244.1.7/32']
  const of = (nextHop: string, remotes = FULL.remotes) =>
    desiredState({ ...FULL, remotes, lent, learned: lent.map(prefix => learned(prefix, nextHop)), endpoints: [] })
  const routes = (input: ReturnType<typeof of>) => input.routes.filter(({ dst }) => dst === lent[0])
  t.is(routes(of('192.168.10.12')).length, 1)
  for (const other of ['192.168.20.13', '192.168.10.99']) {
    const { conditions } = of(other)
    t.deepEqual(routes(of(other)), [])
    t.deepEqual(
      conditions.map(({ reason }) => reason),
      ['NotBorrower'],
    )
  }
  // it has another address now
  const moved = FULL.remotes.map(each => (each.name === 'n2' ? { ...each, address: '192.168.10.99' } : each))
  t.is(routes(of('192.168.10.99', moved)).length, 1)
  t.deepEqual(routes(of('192.168.10.12', moved)), [])
})

test('a default route and an aggregate around own blocks are used: the longest prefix still finds the blocks', t => {
  const input = { ...FULL, learned: [learned('0.0.0.0/0', '192.168.10.1'), learned('10.0.0.0/8', '192.168.10.1')] }
  t.deepEqual(
    lines(input).filter(line => line.includes('via')),
    ['0.0.0.0/0 via 192.168.10.1 dev eth0 proto 80', '10.0.0.0/8 via 192.168.10.1 dev eth0 proto 80'],
  )
})

test('a next hop that is ourselves, unreadable or of the other family gives a condition and no route', t => {
  const bad = [
    learned('10.9.0.0/24', '192.168.10.11'),
    learned('10.9.1.0/24', 'nonsense'),
    learned('fd01::/64', '192.168.10.12'),
  ]
  const { routes, conditions } = desiredState({ ...EMPTY, learned: bad })
  t.deepEqual(
    routes.filter(({ gateway }) => gateway !== undefined),
    [],
  )
  t.deepEqual(
    conditions.map(({ reason }) => reason),
    ['BadNextHop', 'Malformed', 'BadNextHop'],
  )
})

test('a link-local next hop leads out of the interface it was learned on', t => {
  const route = { ...learned('fd01::/64', 'fe80::1'), interface: 'eth3' }
  t.true(lines({ ...EMPTY, learned: [route] }).includes('fd01::/64 via fe80::1 dev eth3 proto 80'))
})

test('paths of an announcement share its packets, those that go as the best one that goes', t => {
  const [near, router] = [N2.address, '192.168.10.1']
  const path = (nextHop: string, weight?: number) => ({ nextHop, encapsulations: [], ...(weight && { weight }) })
  const routeOf = (prefix: string, paths: readonly ReturnType<typeof path>[], input: World = FULL) => {
    const announced = { ...learned(prefix, paths[0]!.nextHop), paths }
    return desiredState({ ...input, learned: [announced], endpoints: [] }).routes.find(({ dst }) => dst === prefix)
  }
  const direct = (gateway: string) => ({ gateway, interfaceName: 'eth0' })
  t.deepEqual(routeOf('203.0.113.0/24', [path(near), path(router)])?.nextHops, [direct(near), direct(router)])
  t.deepEqual(routeOf('203.0.113.0/24', [path(near, 3), path(router)])?.nextHops?.[0], { ...direct(near), weight: 3 })
  t.like(routeOf('203.0.113.0/24', [path('10.1.2.3'), path(router)]), direct(router), 'the best one is out of reach')
  t.like(routeOf('203.0.113.0/24', [path(near, 3), path('10.1.2.3')]), { ...direct(near), nextHops: undefined })
  // a block of a CrossSubnet pool behind a router goes by tunnel, and what is on the link does not
  const mixed = routeOf('10.244.9.0/26', [path(N3.address), path(router)])
  t.is(mixed?.nextHops, undefined)
  t.is(mixed?.gateway, N3.address)
  const none = desiredState({
    ...FULL,
    learned: [{ ...learned('203.0.113.0/24', '10.1.2.3'), paths: [path('10.1.2.3'), path('nonsense')] }],
  })
  t.deepEqual(
    none.conditions.filter(({ object }) => object?.name === '203.0.113.0/24').map(({ reason }) => reason),
    ['NextHopNotOnLink'],
  )
})

test('a pod keeps its route in an own block of one address', t => {
  const input = { ...EMPTY, ownBlocks: ['10.244.1.5/32'], endpoints: [endpoint('a', '10.244.1.5')] }
  t.deepEqual(lines(input)[0], '10.244.1.5/32 dev calia proto boot scope link')
  t.false(lines(input).some(line => line.startsWith('blackhole')))
})

test('an address of two pods goes to the first by interface name, and a condition says so', t => {
  const pods = [endpoint('b', '10.244.1.5'), endpoint('a', '10.244.1.5')]
  const { routes, conditions } = desiredState({ ...EMPTY, endpoints: pods })
  t.is(routes.find(({ dst }) => dst === '10.244.1.5/32')?.interfaceName, 'calia')
  t.deepEqual(conditions.map(said), ['AddressesUnique Route 10.244.1.5/32 AddressConflict'])
})

test('a VTEP address of two nodes goes to the first by name, and a condition says so', t => {
  const { fdb, conditions } = desiredState({
    ...FULL,
    remotes: [{ ...N4, vxlanTunnelAddress: N3.vxlanTunnelAddress }, N3],
  })
  t.deepEqual(
    fdb.map(({ dst }) => dst),
    [N3.address],
  )
  t.true(conditions.map(said).includes('AddressesUnique Node n4 DuplicateVtep'))
})

test('a node whose IPv6 address another node has keeps its tunnel over IPv4, and a condition names the address', t => {
  const ipv6Address = '2001:db8:10::12'
  const world = { ...FULL, remotes: [N2, { ...N3, ipv6Address }, { ...N4, ipv6Address }] }
  const { routes, fdb, conditions } = desiredState(world)
  t.deepEqual(
    fdb.map(({ dst }) => dst),
    [N2.address, N3.address, N4.address],
  )
  t.deepEqual(routes, desiredState(FULL).routes)
  const [found, ...others] = conditions.filter(({ reason }) => reason === 'DuplicateIpv6Address')
  t.is(others.length, 0)
  t.is(found && said(found), 'AddressesUnique Node n4 DuplicateIpv6Address')
  t.regex(found?.message ?? '', /nodes n3 and n4 share the IPv6 address 2001:db8:10::12/)
  const calculator = calculated(world)
  calculator.set('remote', 'n3', N3)
  calculator.step()
  t.false([...calculator.wanted().condition.values()].some(({ reason }) => reason === 'DuplicateIpv6Address'))
})

test('VXLAN is needed for an IPIP pool only when one side lacks IP-in-IP', t => {
  const needed = (world: Partial<World>) => {
    const { ipip, vxlan } = calculated({ ...EMPTY, pools: FULL.pools.slice(0, 1), ...world }).tunnelsNeeded()
    return { ipip, vxlan }
  }
  t.deepEqual(needed({}), { ipip: true, vxlan: false })
  t.deepEqual(needed({ learned: FULL.learned }), { ipip: true, vxlan: true })
  t.deepEqual(needed({ capabilities: { ipip: false, vxlan: true } }), { ipip: false, vxlan: true })
  t.deepEqual(needed({ pools: [], learned: FULL.learned }), { ipip: false, vxlan: false })
})

test('a VTEP MAC comes from the node name alone, is local and unicast', t => {
  t.is(vtepMac('n1'), vtepMac('n1'))
  t.regex(vtepMac('n1'), /^66(:[0-9a-f]{2}){5}$/)
  t.not(vtepMac('n1'), vtepMac('n2'))
})

for (const [from, start] of Object.entries(WORLDS))
  for (const [to, end] of Object.entries(WORLDS)) {
    if (from === to) continue
    test(`a walk from ${from} to ${to} ends like a start in ${to}`, t => {
      const calculator = calculated(start)
      tell(calculator, end)
      calculator.step()
      t.deepEqual(wantedBy(calculator), wantedBy(calculated(end)))
    })
  }

test('a hundred thousand learned routes all get their route', t => {
  const routes = Array.from({ length: 100_000 }, (_, i) =>
    learned(`10.${64 + (i >> 14)}.${(i >> 6) & 255}.${(i & 63) * 4}/30`, N3.address),
  )
  const pools = [{ ...FULL.pools[0]!, cidr: '10.0.0.0/8' }]
  t.is(
    desiredState({ ...FULL, pools, learned: routes }).routes.filter(({ gateway }) => gateway !== undefined).length,
    100_000,
  )
})
