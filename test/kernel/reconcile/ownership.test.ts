// What is ours by which mark, and what may be taken although it is not.
import test from 'ava'
import { ROUTE_PROTOCOL, ROUTE_SCOPE, ROUTE_TABLE } from '../../../kernel/port/routes.ts'
import type { NamedRoute } from '../../../kernel/reconcile/objects.ts'
import { type Marks, Ownership } from '../../../kernel/reconcile/ownership.ts'

const AGENT: Marks = {
  table: ROUTE_TABLE.main,
  protocol: ROUTE_PROTOCOL.blocks,
  interfacePrefix: 'cali',
  vxlanDevices: ['vxlan.calico', 'vxlan-v6.calico'],
  ipipDevice: 'tunl0',
}

const route = (part: Partial<NamedRoute>): NamedRoute => ({
  dst: '10.1.0.0/26',
  table: ROUTE_TABLE.main,
  type: 'unicast',
  protocol: ROUTE_PROTOCOL.blocks,
  scope: ROUTE_SCOPE.universe,
  interfaceName: 'eth0',
  gateway: '192.0.2.1',
  ...part,
})

const { kernel, boot, bird, margayBgp } = ROUTE_PROTOCOL
const routes: readonly [title: string, route: NamedRoute, origin: string | undefined][] = [
  ['our protocol, through a gateway', route({}), 'learned'],
  ['our protocol, a blackhole', route({ type: 'blackhole', gateway: undefined, interfaceName: undefined }), 'block'],
  ['our protocol in another table', route({ table: 100 }), undefined],
  ['protocol bird', route({ protocol: bird }), undefined],
  ['the protocol of margay-bgp', route({ protocol: margayBgp }), undefined],
  ['protocol bird over our tunnel device', route({ protocol: bird, interfaceName: 'vxlan.calico' }), undefined],
  ['boot on a pod', route({ protocol: boot, gateway: undefined, interfaceName: 'cali1' }), 'pod'],
  ['our protocol on a pod', route({ gateway: undefined, interfaceName: 'cali1' }), 'pod'],
  ['boot through a gateway behind a pod', route({ protocol: boot, interfaceName: 'cali1' }), undefined],
  ['the kernel’s own on a pod', route({ protocol: kernel, gateway: undefined, interfaceName: 'cali1' }), undefined],
  ['boot on the uplink', route({ protocol: boot, gateway: undefined }), undefined],
]

for (const [title, value, origin] of routes)
  test(`a route of ${title} is ${origin === undefined ? 'another owner’s' : `ours: ${origin}`}`, t => {
    const ownership = new Ownership(AGENT)
    t.is(ownership.originOf(value), origin as ReturnType<typeof ownership.originOf>)
    t.is(ownership.ownsRoute(value), origin !== undefined)
  })

test('two programs with different protocols own nothing in common', t => {
  const [agent, bgp] = [new Ownership(AGENT), new Ownership({ table: ROUTE_TABLE.main, protocol: margayBgp })]
  for (const [, value] of routes) t.false(agent.ownsRoute(value) && bgp.ownsRoute(value))
})

test('a route of another owner may be taken for a pod, a block and what lies in a pool, and for nothing else', t => {
  const ownership = new Ownership(AGENT)
  ownership.setDestinations(['10.1.0.0/16', 'fd00:1::/64'])
  const foreign = route({ protocol: bird })
  const may = (part: Partial<NamedRoute>) => ownership.mayTakeRoute(foreign, route(part))
  t.true(may({ dst: '10.1.0.0/26' }))
  t.true(may({ dst: 'fd00:1::40/122' }))
  t.true(may({ dst: '10.9.0.1/32', protocol: boot, gateway: undefined, interfaceName: 'cali1' }))
  t.true(may({ dst: '10.9.0.0/26', type: 'blackhole', gateway: undefined, interfaceName: undefined }))
  t.false(may({ dst: '10.2.0.0/26' }))
  t.false(may({ dst: '10.0.0.0/8' }))
  t.false(may({ dst: '0.0.0.0/0' }))
  ownership.setDestinations([])
  t.false(may({ dst: '10.1.0.0/26' }))
})

test('a learned route takes the place of no default route and of no connected subnet, whatever the pools are', t => {
  const ownership = new Ownership(AGENT)
  ownership.setDestinations(['0.0.0.0/0', '10.1.0.0/16'])
  const may = (protocol: number, dst: string) =>
    ownership.mayTakeRoute(route({ dst, protocol, gateway: undefined }), route({ dst }))
  t.false(may(bird, '0.0.0.0/0'))
  t.false(may(kernel, '10.1.2.0/24'))
  t.true(may(bird, '10.1.2.0/24'))
})

test('addresses: all of the VXLAN device, those of a pool on tunl0, the old gateway on lo', t => {
  const ownership = new Ownership(AGENT)
  ownership.setDestinations(['10.1.0.0/16'])
  const owns = (interfaceName: string, address: string, length = 32, scope: number = ROUTE_SCOPE.universe) =>
    ownership.ownsAddress({ interfaceName, address, length, scope })
  for (const device of ['vxlan.calico', 'vxlan-v6.calico']) {
    t.true(owns(device, '10.9.0.1'))
    t.true(owns(device, 'fd00:9::1', 128))
    t.false(owns(device, 'fd00:9::1', 64))
  }
  for (const device of ['tunl0', 'lo', 'eth0', 'cali1']) t.false(owns(device, 'fd00:9::1', 128))
  t.false(owns('vxlan.calico', '10.9.0.1', 24))
  t.false(owns('vxlan.calico', 'fe80::1', 128))
  t.true(owns('tunl0', '10.1.0.1'))
  t.false(owns('tunl0', '10.9.0.1'))
  t.true(owns('lo', '169.254.1.1', 32, ROUTE_SCOPE.link))
  t.false(owns('lo', '169.254.1.1', 32))
  t.false(owns('lo', '127.0.0.1', 32, ROUTE_SCOPE.host))
  t.false(owns('eth0', '10.1.0.1'))
})

test('neighbours: all of pods’ interfaces and of the VXLAN device', t => {
  const ownership = new Ownership(AGENT)
  t.true(ownership.ownsNeighboursOf('cali1'))
  for (const device of ['vxlan.calico', 'vxlan-v6.calico']) t.true(ownership.ownsNeighboursOf(device))
  for (const name of ['eth0', 'tunl0', 'lo', 'xcali1']) t.false(ownership.ownsNeighboursOf(name))
})

test('marks without a prefix or devices own routes of their protocol alone', t => {
  const ownership = new Ownership({ table: ROUTE_TABLE.main, protocol: margayBgp })
  t.false(ownership.ownsInterface('cali1'))
  t.false(ownership.ownsNeighboursOf('vxlan.calico'))
  t.false(ownership.ownsAddress({ interfaceName: 'tunl0', address: '10.1.0.1', length: 32, scope: 0 }))
})
