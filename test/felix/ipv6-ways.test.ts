// The ways of packets between IPv6 pods: direct, in VXLAN over IPv4, in VXLAN over IPv6.
import test from 'ava'
import { desiredState, lines, said } from './wanted.ts'
import {
  calculated,
  IPIP_POOL,
  IPV6_ADDRESSED,
  IPV6_ALONE,
  IPV6_BESIDE_BOTH,
  IPV6_OVER_IPV4,
  learned,
  VXLAN_POOL,
  type World,
} from './worlds.ts'

test('an IPv6 block that is announced over IPv4 goes through the VXLAN device, also within a LAN', t => {
  t.deepEqual(
    lines(IPV6_OVER_IPV4).filter(line => line.startsWith('fd00')),
    [
      'fd00:10:2::/122 via fe80::6400:ff:fe00:2 dev vxlan.calico proto 80',
      'fd00:10:3::/122 via fe80::6400:ff:fe00:3 dev vxlan.calico proto 80',
      'fd00:10:5::/122 via 2001:db8:10::15 dev eth0 proto 80',
      'fd00:10:6::/122 via fe80::6400:ff:fe00:6 dev vxlan.calico proto 80',
    ],
  )
  const { neighbours, fdb, addresses, sysctls } = desiredState(IPV6_OVER_IPV4)
  t.deepEqual(
    neighbours.map(({ address, mac }) => `${address} ${mac}`),
    ['2', '3', '5', '6'].map(n => `fe80::6400:ff:fe00:${n} 66:00:00:00:00:0${n}`),
  )
  t.is(fdb.length, 4)
  t.deepEqual(addresses, [])
  t.deepEqual(
    sysctls.filter(({ family }) => family === 'ipv6').map(({ path, value }) => `${path.join('/')} ${value}`),
    [
      'conf/all/forwarding 1',
      'conf/vxlan.calico/accept_dad 0',
      'conf/vxlan.calico/accept_ra 0',
      'conf/vxlan.calico/disable_ipv6 0',
      'conf/vxlan.calico/forwarding 1',
    ],
  )
})

test('a cluster of IPv6 pools alone needs no IPv4 tunnel address for its VXLAN device', t => {
  const calculator = calculated(IPV6_OVER_IPV4)
  const none = { ipip: false, vxlanIpv4: false, vxlanOverIpv6: false }
  t.deepEqual(calculator.tunnelsNeeded(), { ...none, vxlan: true, vxlanIpv6: true })
  t.deepEqual(calculator.podMtu(), { now: 1450, byConfiguration: 1450 })
  t.deepEqual(
    desiredState(IPV6_OVER_IPV4).tunnels.map(({ name, mtu }) => `${name} ${mtu}`),
    ['vxlan.calico 1450'],
  )
})

test('a node of IPv6 alone reaches blocks of its LAN directly, and those behind a router through VXLAN over IPv6', t => {
  const routes = [
    'fd00:10:2::/122 via 2001:db8:10::12 dev eth0 proto 80',
    'fd00:10:3::/122 via fe80::6400:ff:fe00:3 dev vxlan-v6.calico proto 80',
    'fd00:10:6::/122 via fe80::6400:ff:fe00:6 dev vxlan-v6.calico proto 80',
  ]
  t.deepEqual(
    lines(IPV6_ALONE).filter(line => line.startsWith('fd00')),
    routes,
  )
  const { tunnels, fdb, neighbours, sysctls, addresses } = desiredState(IPV6_ALONE)
  t.deepEqual(tunnels, [
    {
      ...{ name: 'vxlan-v6.calico', kind: 'vxlan', mac: '66:00:00:00:00:01', vni: 4096, port: 4789 },
      ...{ addresses: [], mtu: 1430, local: '2001:db8:10::11' },
    },
  ])
  t.deepEqual(
    fdb.map(({ interfaceName, mac, dst }) => `${interfaceName} ${mac} ${dst}`),
    ['2 2001:db8:10::12', '3 2001:db8:20::13', '6 2001:db8:20::16'].map(of => `vxlan-v6.calico 66:00:00:00:00:0${of}`),
  )
  t.deepEqual(
    neighbours.map(({ address }) => address),
    ['2', '3', '6'].map(n => `fe80::6400:ff:fe00:${n}`),
  )
  t.deepEqual(addresses, [])
  t.true(sysctls.some(({ path, value }) => path.join('/') === 'conf/vxlan-v6.calico/disable_ipv6' && value === '0'))
  t.false(sysctls.some(({ path }) => path.join('/').startsWith('conf/vxlan.calico/')))
})

test('a node with both families goes over IPv6 to those of IPv6 alone, and over IPv4 to the others', t => {
  t.deepEqual(
    lines(IPV6_BESIDE_BOTH).filter(line => line.startsWith('fd00')),
    [
      'fd00:10:2::/122 via 2001:db8:10::12 dev eth0 proto 80',
      'fd00:10:3::/122 via fe80::6400:ff:fe00:3 dev vxlan-v6.calico proto 80',
      'fd00:10:6::/122 via fe80::6400:ff:fe00:6 dev vxlan.calico proto 80',
    ],
  )
  const { fdb, neighbours, tunnels } = desiredState(IPV6_BESIDE_BOTH)
  t.deepEqual(
    fdb.map(({ interfaceName, dst }) => `${interfaceName} ${dst}`),
    ['vxlan-v6.calico 2001:db8:10::12', 'vxlan-v6.calico 2001:db8:20::13', 'vxlan.calico 192.168.20.16'],
  )
  t.is(neighbours.length, 3)
  t.deepEqual(
    tunnels.map(({ name, mtu }) => `${name} ${mtu}`),
    ['vxlan-v6.calico 1430', 'vxlan.calico 1450'],
  )
})

test('the IPv6 address of the tunnels is on each device of VXLAN that carries IPv6, and changes no route', t => {
  const { addresses, routes } = desiredState(IPV6_ADDRESSED)
  t.deepEqual(
    addresses.map(({ interfaceName, address, length, scope }) => `${address}/${length} dev ${interfaceName} ${scope}`),
    ['fd00:10:1::1/128 dev vxlan-v6.calico 0', 'fd00:10:1::1/128 dev vxlan.calico 0'],
  )
  t.deepEqual(routes, desiredState(IPV6_BESIDE_BOTH).routes)
  const over = (world: World) => desiredState(world).addresses.map(({ interfaceName }) => interfaceName)
  t.deepEqual(over({ ...IPV6_ADDRESSED, remotes: IPV6_ADDRESSED.remotes.slice(2) }), ['vxlan.calico'])
  const { ipv4: _, ...node } = IPV6_ADDRESSED.node
  t.deepEqual(over({ ...IPV6_ADDRESSED, node }), ['vxlan-v6.calico'])
  // the device is there for IPv4, and IPv6 may be off on it
  const node4 = { ...IPV6_ADDRESSED.node, vxlanTunnelAddress: '10.245.1.1' }
  t.deepEqual(
    desiredState({ ...IPV6_ADDRESSED, node: node4, pools: [VXLAN_POOL] }).addresses.map(({ address }) => address),
    ['10.245.1.1'],
  )
})

test('a block whose next hop would be the own IPv6 tunnel address has no route, and the condition says whose it is', t => {
  const { routes, conditions } = desiredState({
    ...IPV6_ADDRESSED,
    learned: [learned('fd00:10:7::/122', 'fd00:10:1::1')],
  })
  t.false(routes.some(({ dst }) => dst === 'fd00:10:7::/122'))
  t.deepEqual(conditions.map(said), ['BlocksReachable Route fd00:10:7::/122 BadNextHop'])
})

test('VXLAN over IPv6 comes with the first node of IPv6 alone, and goes with the last', t => {
  const calculator = calculated({ ...IPV6_BESIDE_BOTH, remotes: IPV6_BESIDE_BOTH.remotes.slice(2) })
  const device = () => {
    calculator.step()
    return calculator.wanted().link.has('vxlan-v6.calico')
  }
  t.false(device())
  const [, third] = IPV6_BESIDE_BOTH.remotes
  calculator.set('remote', 'n3', third)
  t.true(device())
  t.deepEqual(calculator.podMtu(), { now: 1430, byConfiguration: 1450 })
  t.deepEqual(
    [...calculator.wanted().fdb.keys()],
    ['vxlan.calico 66:00:00:00:00:06', 'vxlan-v6.calico 66:00:00:00:00:03'],
  )
  calculator.set('remote', 'n3', { ...third!, address: '192.168.20.13' })
  t.false(device())
  t.deepEqual([...calculator.wanted().fdb.keys()].sort(), [
    'vxlan.calico 66:00:00:00:00:03',
    'vxlan.calico 66:00:00:00:00:06',
  ])
})

test('a node of IPv6 alone has no IP-in-IP, no VXLAN over IPv4 and no address of either, whatever the pools ask', t => {
  const calculator = calculated({ ...IPV6_ALONE, pools: [...IPV6_ALONE.pools, IPIP_POOL, VXLAN_POOL] })
  const none = { ipip: false, vxlan: false, vxlanIpv4: false }
  t.deepEqual(calculator.tunnelsNeeded(), { ...none, vxlanOverIpv6: true, vxlanIpv6: true })
  t.deepEqual([...calculator.wanted().link.keys()], ['vxlan-v6.calico'])
})

test('without an address in common there is no tunnel, and the condition says that', t => {
  const [pool] = IPV6_ALONE.pools
  const { routes, conditions } = desiredState({
    ...IPV6_ALONE,
    pools: [{ ...pool!, vxlan: 'Always' }],
    // a router outside announces it for the node
    remotes: [{ name: 'n2', address: '192.168.10.12', vxlanTunnelMac: '66:00:00:00:00:02' }],
    learned: [learned('fd00:10:2::/122', '192.168.10.12', [8])],
  })
  t.deepEqual(
    routes.filter(({ gateway }) => gateway !== undefined),
    [],
  )
  t.deepEqual(conditions.map(said), ['BlocksReachable Route fd00:10:2::/122 VtepUnknown'])
})

test('an IPv6 block has no route where the pool asks for no tunnel and the way is over IPv4, and the condition says what to set', t => {
  const [pool] = IPV6_OVER_IPV4.pools
  const { routes, conditions } = desiredState({ ...IPV6_OVER_IPV4, pools: [{ ...pool!, vxlan: 'Never' }] })
  t.deepEqual(
    routes.filter(({ gateway }) => gateway !== undefined).map(({ dst }) => dst),
    ['fd00:10:5::/122'],
  )
  const found = conditions.find(({ object }) => object?.name === 'fd00:10:2::/122')
  t.like(found, { type: 'BlocksReachable', reason: 'NextHopNotOnLink' })
  t.regex(found?.message ?? '', /over IPv4 alone, and pool fd00:10::\/32 asks for no VXLAN/)
  t.regex(found?.remedy ?? '', /^set vxlanMode of the pool/)
})

test('an IPv4 block of a node whose VXLAN carries IPv6 alone has no route through it', t => {
  const [, second] = IPV6_OVER_IPV4.remotes
  const { routes, conditions } = desiredState({
    ...IPV6_OVER_IPV4,
    node: { ...IPV6_OVER_IPV4.node, vxlanTunnelAddress: '10.245.1.1' },
    pools: [...IPV6_OVER_IPV4.pools, VXLAN_POOL],
    learned: [learned('10.245.3.0/26', second!.address!)],
  })
  t.false(routes.some(({ dst }) => dst === '10.245.3.0/26'))
  t.deepEqual(conditions.map(said), ['BlocksReachable Route 10.245.3.0/26 VtepUnknown'])
})

test('a node that goes takes the neighbours, the forwarding entry and the routes of its IPv6 blocks along', t => {
  const calculator = calculated(IPV6_OVER_IPV4)
  calculator.set('remote', 'n3', undefined)
  const { neighbour, fdb, route } = calculator.step()
  t.deepEqual(
    [...neighbour.entries(), ...fdb.entries(), ...route.entries()],
    [
      ['vxlan.calico fe80::6400:ff:fe00:3', undefined],
      ['vxlan.calico 66:00:00:00:00:03', undefined],
      ['fd00:10:3::/122', undefined],
    ],
  )
})
