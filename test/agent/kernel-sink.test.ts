import test from 'ava'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { ROUTE_PROTOCOL, ROUTE_SCOPE } from '../../kernel/port/routes.ts'
import { aHost, called, MAIN, selected } from './sink-host.ts'

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

test('of several paths one that is reached over the route itself leads nowhere by what another one left there', async t => {
  const { kernel, sink, pass } = await aHost(undefined, { nextHopsTracked: true })
  const prefix = '10.255.0.1/32'
  const by = (...hops: string[]) => {
    const paths = hops.map(nextHop => ({ nextHop, encapsulations: [], peer: nextHop }))
    return { ...selected(prefix, hops[0]), ...(paths.length > 1 && { paths }) }
  }
  const gateways = async () => {
    const [route] = await kernel.routes({ table: MAIN, protocol: ROUTE_PROTOCOL.margayBgp })
    return (route?.nextHops ?? [route]).map(hop => `${hop?.gateway} ${(hop as { weight?: number }).weight ?? 1}`).sort()
  }
  const follow = async () => {
    for (let i = 0; i < 3; i++) {
      await pass(20)
      sink.nextHopMoved('10.255.0.1', undefined)
      await pass(200)
    }
  }
  sink.selected(by('192.0.2.8', '192.0.2.9'))
  await pass(20)
  sink.selected(by('10.255.0.1', '192.0.2.8', '192.0.2.9'))
  await follow()
  t.deepEqual(await gateways(), ['192.0.2.8 1', '192.0.2.9 1'])
  sink.selected(by('10.255.0.1', '192.0.2.9'))
  await follow()
  t.deepEqual(await gateways(), ['192.0.2.9 1'])
  sink.close()
})

test('what leads to a next hop over a gateway in no subnet of the link does so for routes too', async t => {
  const { kernel, index, sink, pass } = await aHost()
  const way = { gateway: '203.0.113.1', ifindex: index, onlink: true }
  const to = { dst: '10.255.0.1/32', table: MAIN, type: 'unicast', protocol: ROUTE_PROTOCOL.static, scope: 0 } as const
  t.deepEqual(await kernel.changeRoutes([{ verb: 'add', route: { ...to, ...way } }]), [undefined])
  sink.selected(selected('10.0.0.0/24', '10.255.0.1'))
  await pass(20)
  t.like((await kernel.routes({ table: MAIN, protocol: ROUTE_PROTOCOL.margayBgp }))[0], way)
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
