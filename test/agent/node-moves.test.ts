// A node whose address changes, and nodes with addresses of both families.
import test from 'ava'
import { NODE_ANNOTATION } from '../../api/core.ts'
import { ROUTE_PROTOCOL, ROUTE_SCOPE, ROUTE_TABLE } from '../../kernel/port/routes.ts'
import { aPool } from '../datastore/objects.ts'
import { aCluster, cni, eventually, learnedRoutes, startAgent } from './machines.ts'

test('a node whose address changed takes the new one by itself, tells the others, and keeps its pods', async t => {
  const { store, network, machines } = await aCluster(t)
  await startAgent(t, machines[0], store, network)
  const two = await startAgent(t, machines[1], store, network)
  await eventually(
    t,
    'routes by the old address',
    () => learnedRoutes(machines[0]),
    routes => routes.some(route => route.endsWith('via 192.0.2.12')),
  )
  t.is((await cni(two, 'ADD', 'c1')).exitCode, 0)
  const kernel = machines[1].world.kernel()
  const eth0 = (await kernel.link('eth0'))!
  const address = (text: string) => ({ ifindex: eth0.index, address: text, length: 24, scope: ROUTE_SCOPE.universe })
  await kernel.deleteAddress(address('192.0.2.12'))
  await kernel.addAddress(address('192.0.2.22'))
  const route = { dst: '0.0.0.0/0', table: ROUTE_TABLE.main, type: 'unicast', protocol: ROUTE_PROTOCOL.static } as const
  await kernel.changeRoutes([
    { verb: 'replace', route: { ...route, scope: 0, gateway: '192.0.2.1', ifindex: eth0.index } },
  ])
  const since = performance.now()
  await eventually(
    t,
    'routes by the new address',
    () => learnedRoutes(machines[0]),
    routes => routes.length > 0 && routes.every(route => route.endsWith('via 192.0.2.22')),
  )
  t.true(performance.now() - since < 10_000, 'within seconds')
  t.is(two.status().address, '192.0.2.22')
  t.is((await store.get('Node', 'n2')).metadata.annotations?.[NODE_ANNOTATION.ipv4Address], '192.0.2.22/24')
  await eventually(
    t,
    'ready with its session',
    () => two.status().peers.map(({ state }) => state),
    states => two.ready() && `${states}` === 'Established',
  )
  const [pod] = two.endpoints.live()
  const routes = await kernel.routes({ table: ROUTE_TABLE.main })
  t.true(
    routes.some(({ dst }) => dst === `${pod!.addresses[0]}/32`),
    'the pod has its route',
  )
})

test('in a cluster with an IPv6 pool nodes have sessions over both families, and routes of both', async t => {
  const { store, network, machines } = await aCluster(t)
  for (const [i, { world }] of machines.entries()) {
    const kernel = world.kernel()
    const { index: ifindex } = (await kernel.link('eth0'))!
    await kernel.addAddress({ ifindex, address: `2001:db8::1${i + 1}`, length: 64, scope: ROUTE_SCOPE.universe })
  }
  const one = await startAgent(t, machines[0], store, network)
  await startAgent(t, machines[1], store, network)
  const [before] = await eventually(
    t,
    'a session over IPv4 alone',
    () => one.status().peers,
    peers => peers.length === 1 && peers[0]!.state === 'Established',
  )
  await store.create('IPPool', aPool('six', { cidr: '2001:db8:10::/64', blockSize: 122 }))
  await eventually(
    t,
    'sessions',
    () =>
      one
        .status()
        .peers.map(({ address, state }) => `${address} ${state}`)
        .sort(),
    all => `${all}` === '192.0.2.12 Established,2001:db8::12 Established',
  )
  t.like(
    one.status().peers.find(({ address }) => address === '192.0.2.12'),
    { flaps: 0, since: before!.since },
  )
  t.is((await store.get('Node', 'n1')).metadata.annotations?.[NODE_ANNOTATION.ipv6Address], '2001:db8::11/64')
  const routes = await eventually(
    t,
    'a route of each family',
    () => learnedRoutes(machines[0]),
    all => all.some(route => route.includes('2001:db8:10:')) && all.some(route => route.startsWith('10.244.')),
  )
  t.true(
    routes.some(route => route.startsWith('2001:db8:10:') && route.endsWith(' via 2001:db8::12')),
    `${routes}`,
  )
})
