// A default route that goes while everything else works: what is told, when, and that its return is no news for long.
import test, { type ExecutionContext } from 'ava'
import { DefaultRoutes } from '../../agent/default-routes.ts'
import type { Condition } from '../../api/status.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import { ROUTE_PROTOCOL, ROUTE_SCOPE, ROUTE_TABLE } from '../../kernel/port/routes.ts'
import { ManualClock } from '../../lib/clock.ts'

const turns = async () => {
  for (let i = 0; i < 10; i++) await new Promise(setImmediate)
}

async function aMachine(t: ExecutionContext) {
  const kernel = new FakeWorld().kernel()
  const clock = new ManualClock()
  const { index: ifindex } = await kernel.createLink({ kind: 'dummy', name: 'eth0' })
  await kernel.setLink('eth0', { up: true })
  await kernel.addAddress({ ifindex, address: '192.0.2.11', length: 24, scope: ROUTE_SCOPE.universe })
  await kernel.addAddress({ ifindex, address: '2001:db8::b', length: 64, scope: ROUTE_SCOPE.universe })
  let told: readonly Condition[] = []
  let came = 0
  const followed = new DefaultRoutes({ kernel, clock, report: conditions => (told = conditions), came: () => came++ })
  t.teardown(() => followed.close())
  const route = (verb: 'add' | 'delete', dst: string, gateway: string) => {
    const common = { table: ROUTE_TABLE.main, type: 'unicast', protocol: ROUTE_PROTOCOL.static, scope: 0 } as const
    return kernel.changeRoutes([{ verb, route: { ...common, dst, gateway, ifindex } }])
  }
  const pass = async (ms: number) => {
    await turns()
    clock.advance(ms)
    await turns()
    clock.advance(0)
    await turns()
  }
  return { kernel, clock, followed, route, pass, told: () => told, came: () => came }
}

for (const [family, dst, gateway, command] of [
  ['IPv4', '0.0.0.0/0', '192.0.2.1', 'ip route add default via 192.0.2.1 dev eth0'],
  ['IPv6', '::/0', '2001:db8::1', 'ip -6 route add default via 2001:db8::1 dev eth0'],
] as const)
  test(`a lost ${family} default route is told with the route that was there and how to put it back, until it is there`, async t => {
    const { followed, route, pass, told, came } = await aMachine(t)
    await route('add', dst, gateway)
    followed.start()
    await pass(1000)
    t.is(came(), 1)
    await route('delete', dst, gateway)
    await pass(1000)
    t.deepEqual(told(), [], 'a route that is renewed goes for a moment')
    await pass(3000)
    const [condition] = told()
    t.like(condition, { type: 'DefaultRouteKept', status: 'False', reason: 'DefaultRouteLost' })
    t.deepEqual(condition?.object, { kind: 'Route', name: dst })
    t.true(condition?.message.includes(`default via ${gateway} dev eth0`), condition?.message)
    t.true(condition?.remedy.includes(command), condition?.remedy)
    await route('add', dst, gateway)
    await pass(1000)
    t.deepEqual(told(), [])
    t.is(came(), 2, 'whoever waits for the API server may try again')
  })

test('a machine that never had a default route is told nothing, and a route that was replaced is there', async t => {
  const { followed, route, pass, told } = await aMachine(t)
  followed.start()
  await pass(10_000)
  t.deepEqual(told(), [])
  await route('add', '0.0.0.0/0', '192.0.2.1')
  await pass(1000)
  await route('delete', '0.0.0.0/0', '192.0.2.1')
  await route('add', '0.0.0.0/0', '192.0.2.254')
  await pass(10_000)
  t.deepEqual(told(), [])
})

test('a default route that the kernel dropped without a word, as its link went down, is missed', async t => {
  const { kernel, followed, route, pass, told } = await aMachine(t)
  await route('add', '0.0.0.0/0', '192.0.2.1')
  followed.start()
  await pass(1000)
  await kernel.setLink('eth0', { up: false })
  await pass(1000)
  await pass(4000)
  t.is(told().find(({ object }) => object?.name === '0.0.0.0/0')?.reason, 'DefaultRouteLost')
})

test('a default route that the kernel dropped without a word, with the last address of its link, is missed', async t => {
  const { kernel, followed, route, pass, told } = await aMachine(t)
  await route('add', '0.0.0.0/0', '192.0.2.1')
  followed.start()
  await pass(1000)
  const [address] = (await kernel.addresses()).filter(each => each.address === '192.0.2.11')
  await kernel.deleteAddress(address!)
  await pass(1000)
  await pass(4000)
  t.is(told().find(({ object }) => object?.name === '0.0.0.0/0')?.reason, 'DefaultRouteLost')
})

test('a default route over two links is told with both, and is missed when the last of them goes', async t => {
  const { kernel, followed, pass, told } = await aMachine(t)
  const { index: second } = await kernel.createLink({ kind: 'dummy', name: 'eth1' })
  await kernel.setLink('eth1', { up: true })
  await kernel.addAddress({ ifindex: second, address: '198.51.100.11', length: 24, scope: ROUTE_SCOPE.universe })
  const nextHops = [
    { gateway: '192.0.2.1', ifindex: (await kernel.link('eth0'))!.index },
    { gateway: '198.51.100.1', ifindex: second, weight: 2 },
  ]
  const common = { table: ROUTE_TABLE.main, type: 'unicast', protocol: ROUTE_PROTOCOL.static, scope: 0 } as const
  await kernel.changeRoutes([{ verb: 'add', route: { ...common, dst: '0.0.0.0/0', nextHops } }])
  followed.start()
  await pass(1000)
  await kernel.setLink('eth0', { up: false })
  await pass(5000)
  t.deepEqual(told(), [], 'the other way is left')
  await kernel.setLink('eth1', { up: false })
  await pass(1000)
  await pass(4000)
  const text = 'default nexthop via 192.0.2.1 dev eth0 nexthop via 198.51.100.1 dev eth1 weight 2'
  t.true(told()[0]?.remedy.includes(`ip route add ${text}`), told()[0]?.remedy)
})

test('a look that the kernel refuses is taken again by itself, so that a lost route is told', async t => {
  const { kernel, clock, route, pass } = await aMachine(t)
  let told: readonly Condition[] = []
  let refusals = 0
  const routes: typeof kernel.routes = async filter => {
    if (refusals-- > 0) throw new KernelError(ERRNO.ENOBUFS, 'list', 'routes')
    return kernel.routes(filter)
  }
  const followed = new DefaultRoutes({
    kernel: { routes, link: of => kernel.link(of), monitor: listen => kernel.monitor(listen) },
    ...{ clock, report: conditions => (told = conditions), came: () => undefined },
  })
  t.teardown(() => followed.close())
  await route('add', '0.0.0.0/0', '192.0.2.1')
  followed.start()
  await pass(1000)
  refusals = 3
  await route('delete', '0.0.0.0/0', '192.0.2.1')
  for (let i = 0; i < 20; i++) await pass(1000)
  t.is(told.length, 1)
})
