import test from 'ava'
import { KernelSink } from '../../agent/kernel-sink.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import {
  ROUTE_PROTOCOL,
  ROUTE_SCOPE,
  ROUTE_TABLE,
  type RouteChange,
  type RouteFilter,
} from '../../kernel/port/routes.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'

const MAIN = ROUTE_TABLE.main

const selected = (prefix: string, nextHop = '192.0.2.9') =>
  ({ prefix, family: 'ipv4', nextHop, encapsulations: [], peer: 'tor' }) as const

async function aHost(wrap: (kernel: Kernel) => Kernel = kernel => kernel, { nextHopsTracked = false } = {}) {
  const world = new FakeWorld()
  const kernel = world.kernel()
  const { index } = await kernel.createLink({ kind: 'dummy', name: 'eth0' })
  await kernel.setLink('eth0', { up: true })
  await kernel.addAddress({ ifindex: index, address: '192.0.2.1', length: 24, scope: ROUTE_SCOPE.universe })
  const clock = new ManualClock()
  const sink = new KernelSink(wrap(world.kernel()), { table: MAIN }, silentLog, { clock, nextHopsTracked })
  const pass = async (ms: number) => {
    clock.advance(ms)
    for (let i = 0; i < 50; i++) await new Promise(setImmediate)
  }
  const routes = async () =>
    (await kernel.routes({ table: MAIN, protocol: ROUTE_PROTOCOL.margayBgp }))
      .map(({ dst, gateway }) => `${dst} via ${gateway}`)
      .sort()
  return { kernel, index, clock, sink, pass, routes }
}

test('changes are gathered and written together, a withdrawn route goes', async t => {
  const { sink, pass, routes } = await aHost()
  sink.selected(selected('10.0.0.0/24'))
  sink.selected(selected('10.0.1.0/24'))
  t.deepEqual(await routes(), [])
  await pass(20)
  t.deepEqual(await routes(), ['10.0.0.0/24 via 192.0.2.9', '10.0.1.0/24 via 192.0.2.9'])
  sink.allowDeletes()
  sink.withdrawn('10.0.0.0/24')
  await pass(20)
  t.deepEqual(await routes(), ['10.0.1.0/24 via 192.0.2.9'])
  sink.close()
})

test('a route that is withdrawn before deletes are allowed goes at once, one of an earlier run that nobody announced waits', async t => {
  const { kernel, index, sink, pass, routes } = await aHost()
  for (const dst of ['10.8.0.0/24', '10.9.0.0/24']) {
    const old = { dst, table: MAIN, type: 'unicast', protocol: ROUTE_PROTOCOL.margayBgp } as const
    const route = { ...old, scope: ROUTE_SCOPE.universe, gateway: '192.0.2.9', ifindex: index }
    await kernel.changeRoutes([{ verb: 'add', route }])
  }
  for (const prefix of ['10.0.0.0/24', '10.8.0.0/24']) sink.selected(selected(prefix))
  await pass(20)
  for (const prefix of ['10.0.0.0/24', '10.8.0.0/24']) sink.withdrawn(prefix)
  await pass(20)
  t.deepEqual(await routes(), ['10.9.0.0/24 via 192.0.2.9'])
  sink.close()
})

test('a next hop that is reached over another route of BGP is rejected', async t => {
  const { sink, pass, routes } = await aHost()
  sink.selected(selected('198.51.100.0/24'))
  await pass(20)
  sink.selected(selected('10.0.0.0/24', '198.51.100.7'))
  await pass(20)
  t.deepEqual(await routes(), ['198.51.100.0/24 via 192.0.2.9'])
  sink.close()
})

test('where next hops are tracked one may be reached over another route of BGP, and follows that', async t => {
  const { sink, pass, routes } = await aHost(undefined, { nextHopsTracked: true })
  sink.selected(selected('198.51.100.0/24'))
  await pass(20)
  sink.selected(selected('10.0.0.0/24', '198.51.100.7'))
  await pass(20)
  t.deepEqual(await routes(), ['10.0.0.0/24 via 192.0.2.9', '198.51.100.0/24 via 192.0.2.9'])
  sink.selected(selected('198.51.100.0/24', '192.0.2.8'))
  await pass(20)
  sink.nextHopMoved('198.51.100.7', undefined)
  await pass(200)
  t.deepEqual(await routes(), ['10.0.0.0/24 via 192.0.2.8', '198.51.100.0/24 via 192.0.2.8'])
  t.is(sink.selectedPaths('10.0.0.0/24')?.[0]?.nextHop, '198.51.100.7')
  sink.close()
})

test('routes of an earlier run stay until deletes are allowed, also when that comes in the middle of a write', async t => {
  let writing = Promise.resolve()
  const { kernel, index, sink, pass, routes } = await aHost(inner => slowed(inner, () => writing))
  const old = { dst: '10.9.0.0/24', table: MAIN, type: 'unicast', protocol: ROUTE_PROTOCOL.margayBgp } as const
  const route = { ...old, scope: ROUTE_SCOPE.universe, gateway: '192.0.2.9', ifindex: index }
  await kernel.changeRoutes([{ verb: 'add', route }])
  sink.selected(selected('10.0.0.0/24'))
  await pass(20)
  t.deepEqual(await routes(), ['10.0.0.0/24 via 192.0.2.9', '10.9.0.0/24 via 192.0.2.9'])

  const write = Promise.withResolvers<void>()
  writing = write.promise
  sink.selected(selected('10.0.1.0/24'))
  await pass(20)
  sink.allowDeletes()
  write.resolve()
  await pass(0)
  await pass(20)
  t.deepEqual(await routes(), ['10.0.0.0/24 via 192.0.2.9', '10.0.1.0/24 via 192.0.2.9'])
  sink.close()
})

test('a next hop is looked up again when a route, link or address leads to it, and not for others', async t => {
  const lookedUp: string[] = []
  const { kernel, index, sink, pass, routes } = await aHost(inner => noted(inner, lookedUp))
  // events arrive first, and what they concern is looked up later
  const heard = async () => {
    await pass(0)
    await pass(200)
  }
  sink.selected(selected('10.0.0.0/24'))
  sink.selected(selected('10.0.1.0/24', '203.0.113.9'))
  await pass(20)
  t.deepEqual(await routes(), ['10.0.0.0/24 via 192.0.2.9'])
  await heard()

  const agents = { table: MAIN, type: 'unicast', protocol: ROUTE_PROTOCOL.blocks, scope: 0, ifindex: index } as const
  const add = (dst: string, gateway: string) =>
    kernel.changeRoutes([{ verb: 'add', route: { ...agents, dst, gateway } }])
  lookedUp.length = 0
  await add('10.244.2.0/26', '192.0.2.12')
  await kernel.setNeighbour({ ifindex: index, address: '192.0.2.44', mac: '02:00:00:00:00:44', permanent: true })
  await heard()
  t.deepEqual(lookedUp, [])

  await add('203.0.113.0/24', '192.0.2.13')
  await heard()
  t.deepEqual(lookedUp, ['203.0.113.9'])
  t.deepEqual(await routes(), ['10.0.0.0/24 via 192.0.2.9', '10.0.1.0/24 via 192.0.2.13'])

  lookedUp.length = 0
  await kernel.setLink('eth0', { up: false })
  await heard()
  t.deepEqual([...new Set(lookedUp)].sort(), ['192.0.2.9', '203.0.113.9'])
  sink.close()
})

test('a next hop is looked up again when its link has another name', async t => {
  const { kernel, sink, pass, routes } = await aHost()
  sink.selected(selected('10.0.0.0/24'))
  await pass(20)
  await kernel.setLink('eth0', { name: 'lan0' })
  await pass(0)
  await pass(200)
  sink.selected(selected('10.0.1.0/24'))
  await pass(20)
  t.deepEqual(await routes(), ['10.0.0.0/24 via 192.0.2.9', '10.0.1.0/24 via 192.0.2.9'])
  sink.close()
})

test('routes over the same paths share one list of them, and what moves while another next hop is looked up is looked up again', async t => {
  const lookedUp: string[] = []
  let slow: PromiseWithResolvers<void> | undefined
  const { sink, pass, routes } = await aHost(inner =>
    noted(
      slowed(inner, async () => slow?.promise, 'lookupRoute'),
      lookedUp,
    ),
  )
  sink.selected(selected('10.0.0.0/24'))
  sink.selected(selected('10.0.1.0/24', '192.0.2.10'))
  sink.selected(selected('10.0.2.0/24'))
  t.is(sink.selectedPaths('10.0.0.0/24'), sink.selectedPaths('10.0.2.0/24'))
  t.not(sink.selectedPaths('10.0.0.0/24'), sink.selectedPaths('10.0.1.0/24'))
  slow = Promise.withResolvers()
  await pass(20)
  slow.resolve()
  slow = Promise.withResolvers()
  await pass(0)
  // the first is known, the second is being looked up
  t.deepEqual(lookedUp, ['192.0.2.9', '192.0.2.10'])
  sink.nextHopMoved('192.0.2.9', undefined)
  slow.resolve()
  slow = undefined
  await pass(0)
  t.deepEqual(lookedUp, ['192.0.2.9', '192.0.2.10', '192.0.2.9'])
  await pass(200)
  t.deepEqual(await routes(), ['10.0.0.0/24 via 192.0.2.9', '10.0.1.0/24 via 192.0.2.10', '10.0.2.0/24 via 192.0.2.9'])
  sink.close()
})

test('a kernel that does not answer for a next hop is asked again, and its routes stay until it does', async t => {
  let broken = false
  const { kernel, index, sink, pass, routes } = await aHost(kernel => {
    const lookupRoute = kernel.lookupRoute.bind(kernel)
    return Object.assign(kernel, {
      lookupRoute: (dst: string) =>
        broken ? Promise.reject(new KernelError(ERRNO.ENOBUFS, 'look up route', dst)) : lookupRoute(dst),
    })
  })
  sink.selected(selected('10.0.0.0/24', '198.51.100.7'))
  const way = { dst: '198.51.100.0/24', table: MAIN, type: 'unicast', scope: ROUTE_SCOPE.universe } as const
  const over = (gateway: string) => ({ ...way, protocol: ROUTE_PROTOCOL.static, gateway, ifindex: index })
  await kernel.changeRoutes([{ verb: 'add', route: over('192.0.2.7') }])
  await pass(20)
  await pass(200)
  t.deepEqual(await routes(), ['10.0.0.0/24 via 192.0.2.7'])
  broken = true
  await kernel.changeRoutes([{ verb: 'replace', route: over('192.0.2.8') }])
  await pass(20)
  await pass(200)
  t.deepEqual(await routes(), ['10.0.0.0/24 via 192.0.2.7'])
  broken = false
  await pass(1000)
  await pass(20)
  t.deepEqual(await routes(), ['10.0.0.0/24 via 192.0.2.8'])
  await kernel.changeRoutes([{ verb: 'delete', route: over('192.0.2.8') }])
  await pass(20)
  await pass(200)
  t.deepEqual(await routes(), [], 'it answers that there is no way')
  sink.close()
})

test('paths share a prefix by their weights, each over all the ways to its next hop', async t => {
  const { kernel, index, sink, pass } = await aHost()
  const { index: second } = await kernel.createLink({ kind: 'dummy', name: 'eth1' })
  await kernel.setLink('eth1', { up: true })
  await kernel.addAddress({ ifindex: second, address: '198.51.100.1', length: 24, scope: ROUTE_SCOPE.universe })
  // a loopback of a router that two links lead to
  const nextHops = [
    { gateway: '192.0.2.7', ifindex: index },
    { gateway: '198.51.100.7', ifindex: second },
  ]
  const common = { table: MAIN, type: 'unicast', protocol: ROUTE_PROTOCOL.static, scope: ROUTE_SCOPE.universe } as const
  await kernel.changeRoutes([{ verb: 'add', route: { ...common, dst: '203.0.113.0/24', nextHops } }])
  const path = (nextHop: string, weight?: number) => ({ nextHop, encapsulations: [], peer: nextHop, weight })
  const found = async () => {
    await pass(20)
    await pass(200)
    const [route] = await kernel.routes({ table: MAIN, protocol: ROUTE_PROTOCOL.margayBgp })
    const hops = route?.nextHops ?? (route === undefined ? [] : [route])
    return hops.map(hop => `${hop.gateway} ${'weight' in hop ? hop.weight : 1}`).sort()
  }
  const share = (...paths: readonly ReturnType<typeof path>[]) =>
    sink.selected({ ...selected('10.0.0.0/24', paths[0]!.nextHop), paths } as never)
  share(path('192.0.2.9'), path('198.51.100.9'))
  t.deepEqual(await found(), ['192.0.2.9 1', '198.51.100.9 1'])
  share(path('192.0.2.9', 255), path('198.51.100.9', 100))
  t.deepEqual(await found(), ['192.0.2.9 51', '198.51.100.9 20'])
  share(path('192.0.2.9'), path('203.0.113.5'))
  t.deepEqual(await found(), ['192.0.2.9 2', '192.0.2.7 1', '198.51.100.7 1'].sort())
  share(path('192.0.2.7'), path('203.0.113.5'))
  t.deepEqual(await found(), ['192.0.2.7 3', '198.51.100.7 1'])
  share(path('192.0.2.9'), path('100.64.0.1'))
  t.deepEqual(await found(), ['192.0.2.9 1'])
  sink.selected(selected('10.0.0.0/24', '203.0.113.5'))
  t.deepEqual(await found(), ['192.0.2.7 1', '198.51.100.7 1'])
  await kernel.changeRoutes([{ verb: 'delete', route: { ...common, dst: '203.0.113.0/24', nextHops } }])
  await pass(0)
  await pass(200)
  sink.allowDeletes()
  t.deepEqual(await found(), [])
  await sink.close()
})

test('a table of 20,000 routes over two next hops is written once each, in parts, and neither lost events nor half of the paths make all be written again', async t => {
  const COUNT = 20_000
  const [sent, reads, lookedUp, told]: [number[], string[], string[], string[]] = [[], [], [], []]
  const world = new FakeWorld()
  const kernel = world.kernel({ ownRoutes: 'untold' })
  const { index } = await kernel.createLink({ kind: 'dummy', name: 'eth0' })
  await kernel.setLink('eth0', { up: true })
  await kernel.addAddress({ ifindex: index, address: '192.0.2.1', length: 24, scope: ROUTE_SCOPE.universe })
  const spied = called(kernel, (method, [given]) => {
    if (method === 'routes') reads.push(`${(given as RouteFilter).protocol ?? 'all'}`)
    if (method === 'lookupRoute') lookedUp.push(given as string)
    if (method === 'changeRoutes') sent.push((given as RouteChange[]).length)
  })
  kernel.monitor(event => {
    if ('route' in event) told.push(event.route.dst)
  })
  const clock = new ManualClock()
  const written: string[] = []
  const note = (prefixes: readonly string[] | 'unknown') => void written.push(...prefixes)
  const sink = new KernelSink(spied, { table: MAIN }, silentLog, { clock, written: note })
  const pass = async (ms: number) => {
    clock.advance(ms)
    for (let i = 0; i < 50; i++) await new Promise(setImmediate)
  }
  const route = (n: number) => selected(`10.${n >> 8}.${n & 255}.0/24`)
  const paths = ['192.0.2.9', '192.0.2.8'].map(nextHop => ({ ...route(0), nextHop }))
  for (let n = 0; n < COUNT; n++) sink.selected({ ...route(n), paths })
  await pass(20)
  t.deepEqual(sent, [], 'more may come')
  await pass(20)
  t.deepEqual(sent, [1 << 14, COUNT - (1 << 14)])
  t.deepEqual(reads, ['all'])
  t.deepEqual(lookedUp, ['192.0.2.9', '192.0.2.8'])
  t.is(new Set(written).size, COUNT)

  // as when the buffer of the monitor was too small
  for (const list of [sent, reads, written]) list.length = 0
  world.overrun()
  await pass(0)
  await pass(200)
  await pass(20)
  t.deepEqual([sent, written], [[], []])
  t.deepEqual(reads, [`${ROUTE_PROTOCOL.margayBgp}`])

  // the group of all routes becomes one of the path that is left, also where not all of them are told at once
  reads.length = 0
  for (const [from, to] of [
    [0, COUNT / 2],
    [COUNT / 2, COUNT],
  ] as const) {
    for (let n = from; n < to; n++) sink.selected({ ...route(n), paths: [paths[0]!] })
    await pass(20)
  }
  await pass(20)
  t.deepEqual([sent, reads], [[], []])
  const groups = (await kernel.nextHopObjects())!.filter(({ group }) => group !== undefined)
  t.deepEqual(
    groups.map(({ group }) => group!.length),
    [1],
  )

  sink.allowDeletes()
  await pass(20)
  for (let n = 0; n < COUNT; n++) sink.withdrawn(route(n).prefix)
  await pass(20)
  await pass(20)
  t.deepEqual(sent, [1 << 14, COUNT - (1 << 14)])
  t.deepEqual(reads, [])
  t.is(new Set(written).size, COUNT)
  t.deepEqual(told, [])
  sink.close()
})

test('where thousands of changes come without end, they are written after ten seconds', async t => {
  const { sink, pass, routes } = await aHost()
  const counts: number[] = []
  for (let n = 0; n < 5; n++) {
    for (let i = 0; i < 2000; i++) sink.selected(selected(`10.${n}.${i >> 8}.${i & 255}/32`))
    await pass(3000)
    counts.push((await routes()).length)
  }
  t.deepEqual(counts, [0, 0, 0, 8000, 8000])
  sink.close()
})

test('where it takes long to look prefixes up, others have a turn each 5 ms, before anything is written', async t => {
  /** Turns of the event loop from the timer to the first write, where 64 prefixes take so long. */
  const turnsAt = async (msPer64: number) => {
    let written = false
    const clock = new ManualClock()
    let lateMs = 0
    clock.monotonicMs = () => {
      lateMs += msPer64
      return lateMs
    }
    const { kernel } = await aHost()
    const spied = called(kernel, method => {
      if (method === 'changeRoutes') written = true
    })
    const sink = new KernelSink(spied, { table: MAIN }, silentLog, { clock })
    for (let n = 0; n < 64 * 16; n++) sink.selected(selected(`10.${n >> 8}.${n & 255}.0/24`))
    clock.advance(20)
    let turns = 0
    for (; !written && turns < 100; turns++) await new Promise(setImmediate)
    await sink.close()
    return turns
  }
  const [instant, slow, slower] = [await turnsAt(0), await turnsAt(2.5), await turnsAt(5)]
  t.true(instant < 5, `${instant}`)
  // 16 looks at the clock, of which each second finds 5 ms over, or each
  t.deepEqual([slow - instant, slower - instant], [8, 16])
})

test('closed, it writes no more and leaves no timer', async t => {
  const { sink, pass, routes, clock } = await aHost()
  sink.selected(selected('10.0.0.0/24'))
  sink.close()
  t.is(clock.pending, 0)
  await pass(1000)
  t.deepEqual(await routes(), [])
})

/** A kernel that answers one method only when `until` is over. */
function slowed(kernel: Kernel, until: () => Promise<void>, method = 'changeRoutes'): Kernel {
  return new Proxy(kernel, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name, target)
      if (typeof value !== 'function') return value
      if (name !== method) return value.bind(target)
      return async (...args: unknown[]) => {
        const answer: unknown = await value.apply(target, args)
        await until()
        return answer
      }
    },
  })
}

/** A kernel that notes which ways are looked up. */
function noted(kernel: Kernel, lookedUp: string[]): Kernel {
  return called(kernel, (method, [dst]) => {
    if (method === 'lookupRoute') lookedUp.push(String(dst))
  })
}

/** A kernel that says which of its methods is called with what. */
function called(kernel: Kernel, note: (method: PropertyKey, args: readonly unknown[]) => void): Kernel {
  return new Proxy(kernel, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name, target)
      if (typeof value !== 'function') return value
      return (...args: unknown[]) => {
        note(name, args)
        return value.apply(target, args)
      }
    },
  })
}
