// What the route table promises, over any kernel that keeps the contract.
import type { ExecutionContext, TestFn } from 'ava'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { ROUTE_PROTOCOL, ROUTE_SCOPE, ROUTE_TABLE, type Route, type RouteChange } from '../../kernel/port/routes.ts'
import { type RouteOwnership, RoutesRefused, RouteTable } from '../../kernel/route-table.ts'
import { add, block, ours, refusals, veth, workload } from './builders.ts'
import type { World } from './contract.ts'

const OURS: RouteOwnership = {
  table: ROUTE_TABLE.main,
  protocols: [ROUTE_PROTOCOL.bird, ROUTE_PROTOCOL.blocks],
  workloads: { protocol: ROUTE_PROTOCOL.boot, linkPrefixes: ['cali'] },
}

type Setting = { kernel: Kernel; cali: number; eth: number; sent: RouteChange[]; table: RouteTable }

export function routeTableSuite(test: TestFn, open: () => World): void {
  const promise = (title: string, body: (t: ExecutionContext, s: Setting) => Promise<void>) =>
    test(`a route table: ${title}`, async t => {
      const { node, close } = open()
      try {
        await body(t, await setting(node))
      } finally {
        close()
      }
    })

  promise('converges, and a second apply sends nothing', async (t, { kernel, cali, sent, table }) => {
    for (const route of everyKind(cali)) table.want(route.dst, route)
    await table.apply()
    for (const route of everyKind(cali)) t.deepEqual(await ours(kernel, route.dst), [route])
    t.is(sent.length, everyKind(cali).length)
    await table.apply()
    table.distrust()
    await table.apply()
    t.is(sent.length, everyKind(cali).length)
    t.true(table.inSync)
  })

  promise('adopts what an earlier life left, deleting only once it may', async (t, { kernel, cali, sent, table }) => {
    const [kept, changed, stale] = [block('10.2.0.0/26'), block('10.3.0.0/26'), workload('10.4.0.1/32', cali)]
    const staleMetric = { ...block('10.2.0.0/26'), metric: 9 }
    t.deepEqual(await refusals(kernel, [kept, changed, stale, staleMetric].map(add)), [])
    table.want(kept.dst, kept)
    table.want(changed.dst, { ...workload(changed.dst, cali), protocol: ROUTE_PROTOCOL.bird })
    await table.apply()
    t.deepEqual(
      sent.map(change => `${change.verb} ${change.route.dst}`),
      ['replace 10.3.0.0/26'],
    )
    t.is((await ours(kernel, stale.dst)).length, 1)
    table.allowDeletes()
    await table.apply()
    t.deepEqual(await ours(kernel, stale.dst), [])
    t.deepEqual(await ours(kernel, kept.dst), [kept])
  })

  promise('never touches a stranger, not even one that has a wanted key', async (t, { kernel, cali, eth, table }) => {
    const strangers: Route[] = [
      workload('10.5.0.0/24', eth),
      { ...workload('10.6.0.0/24', cali), protocol: ROUTE_PROTOCOL.static },
      { ...block('10.7.0.0/24'), table: 100 },
      { ...workload('fd00:5::/64', eth), scope: 0 },
      { ...block('10.8.0.0/26'), protocol: ROUTE_PROTOCOL.static },
      { ...block('fd00:8::/122'), protocol: ROUTE_PROTOCOL.static },
    ]
    t.deepEqual(await refusals(kernel, strangers.map(add)), [])
    for (const dst of ['10.8.0.0/26', 'fd00:8::/122', '10.9.0.0/26']) table.want(dst, block(dst))
    table.allowDeletes()
    for (const _ of [1, 2]) {
      const error = await t.throwsAsync(table.apply(), { instanceOf: RoutesRefused })
      t.is((error as RoutesRefused).refusals.length, 2)
    }
    for (const route of strangers) t.deepEqual(await ours(kernel, route.dst), [route])
    t.is((await ours(kernel, '10.9.0.0/26')).length, 1)
    await kernel.changeRoutes(strangers.slice(4).map(route => ({ verb: 'delete', route })))
    await table.apply()
    t.deepEqual(await ours(kernel, '10.8.0.0/26'), [block('10.8.0.0/26')])
  })

  promise('a refused route stays dirty and does not stop its neighbour', async (t, { kernel, cali, table }) => {
    const lost = { ...workload('10.2.0.0/26', cali), protocol: 12, scope: 0, gateway: '192.0.2.9' }
    table.want(lost.dst, lost)
    table.want('10.3.0.0/26', block('10.3.0.0/26'))
    const error = await t.throwsAsync(table.apply(), { instanceOf: RoutesRefused })
    t.is((error as RoutesRefused).refusals.length, 1)
    t.is((await ours(kernel, '10.3.0.0/26')).length, 1)
    t.false(table.inSync)
    table.want('192.0.2.9/32', workload('192.0.2.9/32', cali))
    await table.apply()
    t.deepEqual(await ours(kernel, lost.dst), [lost])
  })

  promise('a route changes its kind, its link and its metric in place', async (t, { kernel, cali, eth, table }) => {
    table.allowDeletes()
    for (const dst of ['10.2.0.0/26', 'fd00:2::/122']) {
      const scope = dst.includes(':') ? 0 : ROUTE_SCOPE.link
      const life: Route[] = [
        block(dst),
        { ...workload(dst, cali), scope },
        { ...workload(dst, eth), protocol: 12, scope, mtu: 1400 },
        { ...block(dst), metric: 20 },
        { ...workload(dst, cali), scope, metric: 10 },
        block(dst),
      ]
      for (const route of life) {
        table.want(dst, route)
        await table.apply()
        t.deepEqual(await ours(kernel, dst), [route])
      }
      table.want(dst)
      await table.apply()
      t.deepEqual(await ours(kernel, dst), [])
    }
  })

  promise('a foreign hand is answered: deleted, replaced and added routes heal', async (t, { kernel, cali }) => {
    const { healed, close } = selfHealing(kernel, t)
    const mine = everyKind(cali)
    for (const route of mine) healed.table.want(route.dst, route)
    healed.table.allowDeletes()
    await healed.table.apply()
    const [first, second] = [mine[0]!, mine[1]!]
    await kernel.changeRoutes([{ verb: 'delete', route: first }])
    await healed.until(async () => (await ours(kernel, first.dst)).length === 1)
    await kernel.changeRoutes([{ verb: 'replace', route: { ...second, mtu: 1234 } }])
    await healed.until(async () => (await ours(kernel, second.dst))[0]?.mtu === undefined)
    await kernel.changeRoutes([add(block('10.99.0.0/26'))])
    await healed.until(async () => (await ours(kernel, '10.99.0.0/26')).length === 0)
    // IPv4 routes go without a word
    await kernel.setLink('cali0', { up: false })
    await kernel.setLink('cali0', { up: true })
    await healed.until(async () => {
      for (const route of mine) if ((await ours(kernel, route.dst)).length !== 1) return false
      return true
    })
    await healed.until(async () => healed.table.inSync)
    close()
    t.pass()
  })

  promise('random wishes and random foreign hands end in what is wanted', async (t, { kernel, cali, eth, table }) => {
    table.allowDeletes()
    const random = seeded(4711)
    const pick = <T>(of: readonly T[]): T => of[Math.floor(random() * of.length)]!
    const dsts = ['10.2.0.0/26', '10.2.0.64/26', '10.2.0.7/32', 'fd00:2::/122', 'fd00:2::7/128']
    const anyRoute = (dst: string): Route => {
      const metric = pick([undefined, undefined, 5, 6])
      const scope = dst.includes(':') ? 0 : ROUTE_SCOPE.link
      const shapes: Route[] = [block(dst), workload(dst, cali), { ...workload(dst, pick([cali, eth])), protocol: 12 }]
      const route = { ...pick(shapes), ...(metric === undefined ? {} : { metric }) }
      return route.type === 'blackhole' ? route : { ...route, scope }
    }
    for (let round = 0; round < 40; round++) {
      const wanted = new Map<string, Route>()
      for (const dst of dsts) {
        const route = random() < 0.7 ? anyRoute(dst) : undefined
        table.want(dst, route)
        if (route !== undefined) wanted.set(dst, route)
      }
      for (let i = 0; i < 3; i++)
        await kernel.changeRoutes([{ verb: pick(['replace', 'add', 'delete']), route: anyRoute(pick(dsts)) }])
      table.distrust()
      await table.apply()
      for (const dst of dsts) t.deepEqual(await ours(kernel, dst), wanted.has(dst) ? [wanted.get(dst)!] : [])
    }
  })
}

async function setting(kernel: Kernel): Promise<Setting> {
  const cali = await veth(kernel, 'cali0', 'p0')
  const eth = await veth(kernel, 'eth0', 'p1')
  for (const name of ['lo', 'cali0', 'p0', 'eth0', 'p1']) await kernel.setLink(name, { up: true })
  await kernel.addAddress({ ifindex: eth, address: '198.51.100.1', length: 24, scope: 0 })
  const sent: RouteChange[] = []
  const spy = {
    links: () => kernel.links(),
    routes: (filter: Parameters<Kernel['routes']>[0]) => kernel.routes(filter),
    changeRoutes: (changes: readonly RouteChange[]) => {
      sent.push(...changes)
      return kernel.changeRoutes(changes)
    },
  }
  return { kernel, cali, eth, sent, table: new RouteTable(spy, OURS) }
}

/** One route of every shape that Margay writes. */
function everyKind(cali: number): Route[] {
  const learned = { ...workload('10.3.0.0/26', cali), protocol: ROUTE_PROTOCOL.bird, scope: 0 }
  return [
    workload('10.2.0.1/32', cali),
    block('10.2.0.0/26'),
    { ...learned, gateway: '192.0.2.1', onlink: true },
    { ...workload('fd00:2::1/128', cali), scope: 0 },
    block('fd00:2::/122'),
    { ...learned, dst: 'fd00:3::/122', gateway: 'fe80::1' },
  ]
}

/** A table that applies whenever it is told to, and the means to wait for what comes of it. */
function selfHealing(kernel: Kernel, t: ExecutionContext) {
  const table = new RouteTable(kernel, OURS, () => {
    table.apply().catch(error => {
      if (!(error instanceof RoutesRefused)) t.fail(String(error))
    })
  })
  const monitor = kernel.monitor(event => table.heard(event))
  const until = async (holds: () => Promise<boolean>) => {
    const deadline = Date.now() + 10_000
    while (!(await holds())) {
      if (Date.now() > deadline) throw new Error('did not heal')
      await new Promise(resolve => setImmediate(resolve))
    }
  }
  return { healed: { table, until }, close: () => monitor.close() }
}

/** Numbers in [0, 1) that are the same in every run (mulberry32). */
function seeded(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0
    let x = Math.imul(seed ^ (seed >>> 15), 1 | seed)
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32
  }
}
