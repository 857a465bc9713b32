// What the route table promises, over any kernel that keeps the contract.
// Over 400 lines: one list of promises that two test files run, and the setting that the suites of next hops share.
import type { ExecutionContext, SerialFn } from 'ava'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import type { NextHopChange, Resilient } from '../../kernel/port/next-hops.ts'
import {
  ROUTE_PROTOCOL,
  ROUTE_SCOPE,
  ROUTE_TABLE,
  type Route,
  type RouteChange,
  type RouteFilter,
} from '../../kernel/port/routes.ts'
import { LinkView } from '../../kernel/reconcile/link-view.ts'
import { noOutcome, type Outcome } from '../../kernel/reconcile/outcome.ts'
import { type Marks, Ownership } from '../../kernel/reconcile/ownership.ts'
import { namedRoute } from '../../kernel/reconcile/route-writes.ts'
import { RouteTable } from '../../kernel/reconcile/routes.ts'
import { ANSWER_MS } from '../slowness.ts'
import { add, block, ours, refusals, veth, workload } from './builders.ts'
import type { World } from './contract.ts'

const OURS: Marks = { table: ROUTE_TABLE.main, protocol: ROUTE_PROTOCOL.blocks, interfacePrefix: 'cali' }

/** `old`: the kernel knows no resilient groups. */
type Options = { inline?: boolean; resilient?: Resilient | undefined; old?: boolean }

export type Setting = {
  kernel: Kernel
  cali: number
  eth: number
  sent: RouteChange[]
  objectsSent: NextHopChange[]
  reads: RouteFilter[]
  /** Each once, before groups of next hops are written. */
  beforeGroups: (() => Promise<void>)[]
  table: RouteTable
  links: LinkView
  ownership: Ownership
  /** Wants a kernel's route, by the name of its interface. */
  want(route: Route): void
  apply(mayRemove?: boolean): Promise<Outcome>
  /** `options`: others than before. */
  again(options?: Options): Promise<Setting>
}

export function routeTableSuite(test: SerialFn, open: () => World): void {
  const promise = (title: string, body: (t: ExecutionContext, s: Setting) => Promise<void>) =>
    test(`a route table: ${title}`, async t => {
      const { node, close } = open()
      try {
        await body(t, await setting(node))
      } finally {
        close()
      }
    })

  promise('converges, and a second apply sends nothing', async (t, { kernel, cali, sent, table, want, apply }) => {
    for (const route of everyKind(cali)) want(route)
    await apply()
    for (const route of everyKind(cali)) t.deepEqual(await ours(kernel, route.dst), [route])
    t.is(sent.length, everyKind(cali).length)
    await apply()
    table.invalidate()
    await apply()
    t.is(sent.length, everyKind(cali).length)
  })

  promise('keeps what an earlier process left, and removes it only when it may', async (t, { kernel, cali, ...it }) => {
    const [kept, changed, stale] = [block('10.2.0.0/26'), block('10.3.0.0/26'), workload('10.4.0.1/32', cali)]
    const staleMetric = { ...block('10.2.0.0/26'), metric: 9 }
    t.deepEqual(await refusals(kernel, [kept, changed, stale, staleMetric].map(add)), [])
    it.want(kept)
    it.want({ ...workload(changed.dst, cali), protocol: ROUTE_PROTOCOL.blocks })
    const { withheld } = await it.apply(false)
    t.deepEqual(withheld.map(({ key }) => key).toSorted(), ['10.2.0.0/26 metric 9', '10.4.0.1/32'])
    t.deepEqual(
      it.sent.map(change => `${change.verb} ${change.route.dst}`),
      ['replace 10.3.0.0/26'],
    )
    t.is((await ours(kernel, stale.dst)).length, 1)
    await it.apply()
    t.deepEqual(await ours(kernel, stale.dst), [])
    t.deepEqual(await ours(kernel, kept.dst), [kept])
  })

  promise(
    'sees that a route is gone, or is there, whatever else lies over its first address',
    async (t, { kernel, cali, eth, table, want, apply }) => {
      const learned = { ...workload('10.4.0.0/26', cali), protocol: ROUTE_PROTOCOL.blocks, scope: 0, onlink: true }
      const wanted = [
        block('10.2.0.0/26'),
        workload('10.2.0.0/32', cali),
        workload('10.2.0.1/32', cali),
        { ...learned, gateway: '192.0.2.1' },
        block('fd00:2::/122'),
        { ...workload('fd00:2::/128', cali), scope: 0 },
        { ...block('10.5.0.0/26'), metric: 7 },
      ]
      const foreign = [
        { ...workload('10.4.0.0/32', eth), protocol: ROUTE_PROTOCOL.static },
        { ...workload('10.4.0.0/30', eth), type: 'unreachable' as const, protocol: ROUTE_PROTOCOL.static, scope: 0 },
        { ...workload('10.5.0.0/32', eth), type: 'prohibit' as const, protocol: ROUTE_PROTOCOL.static, scope: 0 },
        { ...block('10.5.0.0/26'), metric: 3, protocol: ROUTE_PROTOCOL.static },
      ].map(({ ifindex, ...route }) => (route.type === 'unicast' ? { ...route, ifindex } : route))
      t.deepEqual(await refusals(kernel, foreign.map(add)), [])
      for (const route of wanted) want(route)
      t.deepEqual((await apply()).refused, [])
      for (const route of wanted) {
        // told, and not so: it is there
        table.observe({ type: 'route-gone', route })
        t.deepEqual(await apply(), noOutcome(), route.dst)
        t.deepEqual(await refusals(kernel, [{ verb: 'delete', route }]), [])
        table.observe({ type: 'route-gone', route })
        t.is((await apply()).healed.length, 1, route.dst)
        t.deepEqual(await ours(kernel, route.dst).then(all => all.filter(({ metric }) => metric === route.metric)), [
          route,
        ])
      }
    },
  )

  promise('reads a long table once for many routes that others hide', async (t, { kernel, cali, eth, ...it }) => {
    const blocks = Array.from({ length: 40 }, (_, i) =>
      i % 2 === 0 ? `10.7.${i}.0/26` : `fd00:7:${i.toString(16)}::/122`,
    )
    const wanted = blocks.map(dst => ({ ...workload(dst, cali), protocol: ROUTE_PROTOCOL.blocks, scope: 0 }))
    const firsts = blocks.map(dst => dst.replace('/26', '/32').replace('/122', '/128'))
    const hiding = firsts.map(dst => ({ ...workload(dst, eth), protocol: ROUTE_PROTOCOL.static, scope: 0 }))
    t.deepEqual(await refusals(kernel, hiding.map(add)), [])
    for (const route of wanted) it.want(route)
    t.deepEqual((await it.apply()).refused, [])
    const taken = wanted.filter((_, i) => i % 3 > 0)
    t.deepEqual(
      await refusals(
        kernel,
        taken.map(route => ({ verb: 'delete', route })),
      ),
      [],
    )
    it.reads.length = 0
    for (const route of wanted) it.table.observe({ type: 'route-gone', route })
    t.deepEqual((await it.apply()).healed.map(({ key }) => key).toSorted(), taken.map(({ dst }) => dst).toSorted())
    t.true(it.reads.length <= 3, JSON.stringify(it.reads))
  })

  promise(
    'never touches a foreign route, not even under a wanted key',
    async (t, { kernel, cali, eth, table, want, apply }) => {
      const foreign: Route[] = [
        workload('10.5.0.0/24', eth),
        { ...workload('10.6.0.0/24', eth), protocol: ROUTE_PROTOCOL.bird },
        { ...block('10.7.0.0/24'), table: 100 },
        { ...workload('fd00:5::/64', eth), scope: 0 },
        { ...workload('10.8.0.0/26', eth), protocol: ROUTE_PROTOCOL.static },
        { ...workload('fd00:8::/122', eth), protocol: ROUTE_PROTOCOL.bird, scope: 0 },
      ]
      t.deepEqual(await refusals(kernel, foreign.map(add)), [])
      const learned = (dst: string): Route => ({
        ...workload(dst, cali),
        protocol: ROUTE_PROTOCOL.blocks,
        scope: 0,
        gateway: '192.0.2.1',
        onlink: true,
      })
      want(learned('10.8.0.0/26'))
      want({ ...learned('fd00:8::/122'), gateway: 'fe80::1', onlink: undefined })
      want(learned('10.9.0.0/26'))
      for (const _ of [1, 2]) {
        const { refused } = await apply()
        t.deepEqual(
          refused.map(({ kind, key, reason, errno }) => ({ kind, key, reason, errno })),
          ['10.8.0.0/26', 'fd00:8::/122'].map(key => ({
            kind: 'route',
            key,
            reason: 'ForeignOwner',
            errno: ERRNO.EEXIST,
          })),
        )
      }
      for (const { message } of (await apply()).refused)
        t.regex(message, /another owner \(protocol (12: a BIRD, or .*|\d+)\) is in its place/)
      for (const route of foreign) t.deepEqual(await ours(kernel, route.dst), [route])
      t.is((await ours(kernel, '10.9.0.0/26')).length, 1)
      await kernel.changeRoutes(foreign.slice(4).map(route => ({ verb: 'delete', route })))
      const monitored = foreign.slice(4).map(route => ({ type: 'route-gone', route }) as const)
      for (const event of monitored) t.true(table.observe(event))
      t.deepEqual((await apply()).refused, [])
      t.deepEqual(await ours(kernel, '10.8.0.0/26'), [learned('10.8.0.0/26')])
    },
  )

  promise('a foreign route that came after the last reading is refused, not overwritten', async (t, it) => {
    await it.apply()
    const foreign = { ...workload('10.8.0.0/26', it.eth), protocol: ROUTE_PROTOCOL.bird }
    t.deepEqual(await refusals(it.kernel, [add(foreign)]), [])
    // no event told of it
    it.want({ ...workload('10.8.0.0/26', it.eth), protocol: ROUTE_PROTOCOL.blocks, mtu: 1400 })
    const { refused } = await it.apply()
    t.deepEqual(
      refused.map(({ key, interfaceName, reason, errno }) => ({ key, interfaceName, reason, errno })),
      [{ key: '10.8.0.0/26', interfaceName: 'eth0', reason: 'ForeignOwner', errno: ERRNO.EEXIST }],
    )
    t.deepEqual(await ours(it.kernel, '10.8.0.0/26'), [foreign])
  })

  promise('within our destinations a foreign route is replaced in place', async (t, it) => {
    it.ownership.setDestinations(['10.8.0.0/16'])
    await it.apply()
    const foreign = { ...workload('10.8.0.0/26', it.eth), protocol: ROUTE_PROTOCOL.bird }
    t.deepEqual(await refusals(it.kernel, [add(foreign)]), [])
    const wanted = { ...foreign, protocol: ROUTE_PROTOCOL.blocks }
    it.want(wanted)
    t.deepEqual((await it.apply()).refused, [])
    t.deepEqual(
      it.sent.map(({ verb }) => verb),
      ['add', 'replace'],
    )
    t.deepEqual(await ours(it.kernel, '10.8.0.0/26'), [wanted])
  })

  promise('a refused route stays dirty and does not stop its neighbour', async (t, { kernel, cali, want, apply }) => {
    const lost = { ...workload('10.2.0.0/26', cali), protocol: ROUTE_PROTOCOL.blocks, scope: 0, gateway: '192.0.2.9' }
    want(lost)
    want(block('10.3.0.0/26'))
    const { refused } = await apply()
    t.deepEqual(
      refused.map(({ key, interfaceName, reason, errno }) => ({ key, interfaceName, reason, errno })),
      [{ key: '10.2.0.0/26', interfaceName: 'cali0', reason: 'Refused', errno: ERRNO.ENETUNREACH }],
    )
    t.is((await ours(kernel, '10.3.0.0/26')).length, 1)
    want(workload('192.0.2.9/32', cali))
    t.deepEqual((await apply()).refused, [])
    t.deepEqual(await ours(kernel, lost.dst), [lost])
  })

  promise('a route changes its kind, its link and its metric without a gap', async (t, it) => {
    const { kernel, cali, eth } = it
    for (const dst of ['10.2.0.0/26', 'fd00:2::/122']) {
      const scope = dst.includes(':') ? 0 : ROUTE_SCOPE.link
      const life: Route[] = [
        block(dst),
        { ...workload(dst, cali), scope },
        { ...workload(dst, eth), protocol: ROUTE_PROTOCOL.blocks, scope, mtu: 1400 },
        { ...block(dst), metric: 20 },
        { ...workload(dst, cali), scope, metric: 10 },
        block(dst),
      ]
      for (const route of life) {
        it.sent.length = 0
        it.want(route)
        await it.apply()
        t.deepEqual(await ours(kernel, dst), [route])
        // what replaces a route is there before the route goes
        t.true(it.sent.length < 3 && it.sent[0]!.verb !== 'delete' && (it.sent[1]?.verb ?? 'delete') === 'delete')
      }
      it.table.want(dst)
      await it.apply()
      t.deepEqual(await ours(kernel, dst), [])
    }
  })

  promise('what others delete, replace and add heals by the events alone', async (t, it) => {
    const { kernel, cali } = it
    const { until, close } = selfHealing(it)
    const mine = everyKind(cali)
    for (const route of mine) it.want(route)
    await it.apply()
    const [first, second] = [mine[0]!, mine[1]!]
    await kernel.changeRoutes([{ verb: 'delete', route: first }])
    await until(async () => (await ours(kernel, first.dst)).length === 1)
    await kernel.changeRoutes([{ verb: 'replace', route: { ...second, mtu: 1234 } }])
    await until(async () => (await ours(kernel, second.dst))[0]?.mtu === undefined)
    await kernel.changeRoutes([add(block('10.99.0.0/26'))])
    await until(async () => (await ours(kernel, '10.99.0.0/26')).length === 0)
    // IPv4 routes go without a word
    await kernel.setLink('cali0', { up: false })
    await kernel.setLink('cali0', { up: true })
    await until(async () => {
      for (const route of mine) if ((await ours(kernel, route.dst)).length !== 1) return false
      return true
    })
    close()
    t.pass()
  })

  promise('random wishes and random changes of others end in what is wanted', async (t, it) => {
    const { kernel, cali, eth, table } = it
    it.ownership.setDestinations(['10.0.0.0/8', 'fd00::/8'])
    const random = seeded(4711)
    const pick = <T>(of: readonly T[]): T => of[Math.floor(random() * of.length)]!
    const dsts = ['10.2.0.0/26', '10.2.0.64/26', '10.2.0.7/32', 'fd00:2::/122', 'fd00:2::7/128']
    const anyRoute = (dst: string): Route => {
      const metric = pick([undefined, undefined, 5, 6])
      const scope = dst.includes(':') ? 0 : ROUTE_SCOPE.link
      const shapes: Route[] = [block(dst), workload(dst, cali), { ...workload(dst, pick([cali, eth])), protocol: 80 }]
      const route = { ...pick(shapes), ...(metric === undefined ? {} : { metric }) }
      return route.type === 'blackhole' ? route : { ...route, scope }
    }
    for (let round = 0; round < 40; round++) {
      const wanted = new Map<string, Route>()
      for (const dst of dsts) {
        const route = random() < 0.7 ? anyRoute(dst) : undefined
        if (route === undefined) table.want(dst)
        else it.want(route)
        if (route !== undefined) wanted.set(dst, route)
      }
      for (let i = 0; i < 3; i++)
        await kernel.changeRoutes([{ verb: pick(['replace', 'add', 'delete']), route: anyRoute(pick(dsts)) }])
      table.invalidate()
      await it.apply()
      for (const dst of dsts) t.deepEqual(await ours(kernel, dst), wanted.has(dst) ? [wanted.get(dst)!] : [])
    }
  })
}

export async function setting(kernel: Kernel, options: Options = {}): Promise<Setting> {
  const cali = await veth(kernel, 'cali0', 'p0')
  const eth = await veth(kernel, 'eth0', 'p1')
  for (const name of ['lo', 'cali0', 'p0', 'eth0', 'p1']) await kernel.setLink(name, { up: true })
  await kernel.addAddress({ ifindex: eth, address: '198.51.100.1', length: 24, scope: 0 })
  return begun(kernel, { cali, eth }, options)
}

/** A process that begins, over what an earlier one left. */
async function begun(kernel: Kernel, { cali, eth }: { cali: number; eth: number }, options: Options): Promise<Setting> {
  const { inline = false, resilient, old = false } = options
  const sent: RouteChange[] = []
  const reads: RouteFilter[] = []
  const objectsSent: NextHopChange[] = []
  const beforeGroups: Setting['beforeGroups'] = []
  const spy = {
    routes: (filter: RouteFilter = {}) => {
      reads.push(filter)
      return kernel.routes(filter)
    },
    lookupRoute: (dst: string) => kernel.lookupRoute(dst),
    nextHopObjects: async () => (inline ? undefined : kernel.nextHopObjects()),
    changeNextHopObjects: async (changes: readonly NextHopChange[]) => {
      objectsSent.push(...changes)
      if (changes.some(({ object }) => object.group !== undefined)) await beforeGroups.shift()?.()
      const answers: (KernelError | undefined)[] = []
      for (const change of changes)
        if (old && change.object.resilient !== undefined)
          answers.push(
            new KernelError(ERRNO.EINVAL, 'add next hop object', `${change.object.id}`, 'Invalid group type'),
          )
        else answers.push(...(await kernel.changeNextHopObjects([change])))
      return answers
    },
    changeRoutes: (changes: readonly RouteChange[]) => {
      sent.push(...changes)
      return kernel.changeRoutes(changes)
    },
  }
  const links = new LinkView(kernel)
  await links.refresh()
  const ownership = new Ownership(OURS)
  const table = new RouteTable(spy, links, ownership, { confirm: false, resilient })
  const want = (route: Route) =>
    table.want(
      route.dst,
      namedRoute(route, index => links.nameOf(index)),
    )
  const apply = (mayRemove = true) => table.apply(() => mayRemove)
  const again = (others = options) => begun(kernel, { cali, eth }, others)
  return { kernel, cali, eth, sent, objectsSent, reads, beforeGroups, table, links, ownership, want, apply, again }
}

/** One route of every shape that Margay writes. */
function everyKind(cali: number): Route[] {
  const learned = { ...workload('10.3.0.0/26', cali), protocol: ROUTE_PROTOCOL.blocks, scope: 0 }
  return [
    workload('10.2.0.1/32', cali),
    block('10.2.0.0/26'),
    { ...learned, gateway: '192.0.2.1', onlink: true },
    { ...workload('fd00:2::1/128', cali), scope: 0 },
    block('fd00:2::/122'),
    { ...learned, dst: 'fd00:3::/122', gateway: 'fe80::1' },
  ]
}

/** Lets a table apply whenever an event says so, and gives the means to wait for what comes of it. */
export function selfHealing({ kernel, table, links, apply }: Setting) {
  let running: Promise<unknown> = Promise.resolve()
  const monitor = kernel.monitor(event => {
    const touched = links.observe(event)
    for (const name of touched) table.invalidateInterface(name)
    if (table.observe(event) || touched.length > 0) running = running.then(() => apply())
  })
  const until = async (holds: () => Promise<boolean>) => {
    const deadline = Date.now() + ANSWER_MS
    while (!(await holds())) {
      if (Date.now() > deadline) throw new Error('did not heal')
      await new Promise(resolve => setImmediate(resolve))
    }
    await running
  }
  return { until, close: () => monitor.close() }
}

/** Numbers in [0, 1) that are the same in every run (mulberry32). */
export function seeded(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0
    let x = Math.imul(seed ^ (seed >>> 15), 1 | seed)
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32
  }
}
