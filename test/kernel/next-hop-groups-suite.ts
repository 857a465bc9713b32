// What the route table promises of next hop objects, over any kernel that keeps the contract and has them.
import type { ExecutionContext, SerialFn } from 'ava'
import type { Kernel } from '../../kernel/port/kernel.ts'
import type { NextHopObject } from '../../kernel/port/next-hops.ts'
import { ROUTE_PROTOCOL, ROUTE_SCOPE, ROUTE_TABLE, type Route } from '../../kernel/port/routes.ts'
import { ANSWER_MS } from '../slowness.ts'
import { add, listenTo, ours, refusals, veth } from './builders.ts'
import type { World } from './contract.ts'
import { pair, shown } from './multipath-suite.ts'
import { type Setting, seeded, selfHealing, setting } from './route-table-suite.ts'

const MANY = 50

export function nextHopGroupsSuite(test: SerialFn, open: () => World): void {
  const promise = (title: string, body: (t: ExecutionContext, s: Setting) => Promise<void>) =>
    test(`next hop groups: ${title}`, async t => {
      const { node, close } = open()
      try {
        await body(t, await setting(node))
      } finally {
        close()
      }
    })

  promise(
    'a path that all routes lose is one message, and one that they get is two, whatever their number',
    async (t, it) => {
      const { kernel, sent, objectsSent } = it
      const both = many(it)
      for (const route of both) it.want(route)
      t.deepEqual((await it.apply()).refused, [])
      t.is(sent.length, 2 * MANY)
      t.is(objectsSent.length, 6, 'two next hops and their group in each family')
      const heard = listenTo(kernel)
      sent.length = 0
      objectsSent.length = 0
      const alone = both.map(({ nextHops, ...route }): Route => {
        const { weight: _, ...hop } = nextHops![1]!
        return { ...route, ...hop }
      })
      for (const route of alone) it.want(route)
      t.deepEqual((await it.apply()).refused, [])
      t.deepEqual(sent, [])
      t.deepEqual(
        objectsSent.map(({ verb, object }) => `${verb} ${object.group === undefined ? 'hop' : 'group'}`),
        ['replace group', 'replace group', 'delete hop', 'delete hop'],
      )
      for (const route of [alone[0]!, alone.at(-1)!]) t.deepEqual(await shown(kernel, route.dst), [route])
      await heard.until(({ type }) => type === 'next-hop-gone')
      t.is(heard.events.filter(({ type }) => type === 'next-hop').length, 2)
      t.is(heard.events.filter(({ type }) => type === 'route-gone').length, 0)
      heard.close()
      objectsSent.length = 0
      for (const route of both) it.want(route)
      t.deepEqual((await it.apply()).refused, [])
      t.deepEqual(sent, [])
      t.deepEqual(
        objectsSent.map(({ verb }) => verb),
        ['add', 'add', 'replace', 'replace'],
      )
      for (const route of [both[0]!, both.at(-1)!]) t.deepEqual(await shown(kernel, route.dst), [route])
      for (const { dst } of both) it.table.want(dst)
      await it.apply()
      t.deepEqual(await kernel.nextHopObjects(), [])
    },
  )

  promise('a lost carrier is no message at all, and one that is back two for each family', async (t, it) => {
    const { kernel, sent, objectsSent } = it
    const { until, close } = selfHealing(it)
    const both = many(it)
    for (const route of both) it.want(route)
    await it.apply()
    sent.length = 0
    objectsSent.length = 0
    const sizes = async () =>
      ((await kernel.nextHopObjects()) ?? []).flatMap(({ group }) => (group === undefined ? [] : [group.length]))
    await kernel.setLink('p0', { up: false })
    await until(async () => (await sizes()).join() === '1,1')
    await it.apply()
    t.deepEqual(objectsSent, [])
    await kernel.setLink('p0', { up: true })
    await until(async () => (await sizes()).join() === '2,2')
    t.is(objectsSent.length, 4)
    t.deepEqual(sent, [])
    for (const route of both) t.deepEqual(await shown(kernel, route.dst), [route])
    close()
  })

  promise('when the last way is lost and comes back all routes do, by groups again', async (t, it) => {
    const { kernel } = it
    const { until, close } = selfHealing(it)
    const both = pair(it)
    for (const route of both) it.want(route)
    await it.apply()
    for (const far of ['p0', 'p1']) await kernel.setLink(far, { up: false })
    await until(async () => (await kernel.nextHopObjects())?.length === 0)
    for (const far of ['p1', 'p0']) await kernel.setLink(far, { up: true })
    const isWhole = async ({ dst }: Route) => {
      const [route] = await ours(kernel, dst)
      return route?.nextHopId !== undefined && route.nextHops?.length === 2
    }
    await until(async () => (await isWhole(both[0])) && (await isWhole(both[1])))
    for (const route of both) t.deepEqual(await shown(kernel, route.dst), [route])
    close()
  })

  promise('a process that begins anew takes its groups and routes as they are', async (t, it) => {
    const both = many(it)
    for (const route of both) it.want(route)
    await it.apply()
    const before = await kernelState(it.kernel)
    const next = await it.again()
    for (const route of both) next.want(route)
    t.deepEqual((await next.apply(false)).refused, [])
    t.deepEqual([next.sent, next.objectsSent], [[], []])
    t.deepEqual(await kernelState(it.kernel), before)
  })

  promise('groups that routes of an earlier run go by stay while these do', async (t, it) => {
    const both = pair(it)
    for (const route of both) it.want(route)
    await it.apply()
    const next = await it.again()
    t.is((await next.apply(false)).withheld.length, 2)
    t.is((await it.kernel.nextHopObjects())?.length, 6)
    for (const route of both) t.deepEqual(await shown(it.kernel, route.dst), [route])
    await next.apply()
    t.deepEqual(await it.kernel.nextHopObjects(), [])
  })

  promise('objects of other programs are never touched, also where one has an id that would be ours', async (t, it) => {
    const { kernel, eth } = it
    const both = pair(it)
    for (const route of both) it.want(route)
    await it.apply()
    const own = (await kernel.nextHopObjects())!
    for (const { dst } of both) it.table.want(dst)
    await it.apply()
    const hop = { gateway: '198.51.100.9', ifindex: eth }
    const next = (isOne: (object: NextHopObject) => boolean) => Math.max(...own.filter(isOne).map(({ id }) => id)) + 1
    const foreign: NextHopObject[] = [
      { id: 7, protocol: ROUTE_PROTOCOL.blocks, hop },
      { id: next(({ group }) => group !== undefined), protocol: ROUTE_PROTOCOL.static, group: [{ id: 7 }] },
      { id: next(({ group }) => group === undefined), protocol: ROUTE_PROTOCOL.static, hop },
    ]
    const put = await kernel.changeNextHopObjects(foreign.map(object => ({ verb: 'add', object })))
    t.deepEqual(
      put.filter(error => error !== undefined),
      [],
    )
    const route: Route = { ...COMMON, dst: '10.77.0.0/16', protocol: ROUTE_PROTOCOL.static, nextHopId: foreign[1]!.id }
    t.deepEqual(await refusals(kernel, [add(route)]), [])
    it.table.invalidate()
    for (const each of both) it.want(each)
    t.deepEqual((await it.apply()).refused, [])
    for (const each of both) t.deepEqual(await shown(kernel, each.dst), [each])
    for (const { dst } of both) it.table.want(dst)
    await it.apply()
    t.deepEqual(
      (await kernel.nextHopObjects())!.sort((a, b) => a.id - b.id),
      foreign,
    )
    t.like((await ours(kernel, route.dst))[0], route)
  })

  promise('what others do to our objects heals', async (t, it) => {
    const { kernel, eth } = it
    const { until, close } = selfHealing(it)
    const both = pair(it)
    for (const route of both) it.want(route)
    await it.apply()
    const isWhole = async () => {
      for (const route of both) {
        const [found] = await shown(kernel, route.dst)
        if (found?.nextHops?.length !== 2 || found.nextHops[1]?.gateway !== route.nextHops![1]!.gateway) return false
      }
      return true
    }
    for (const act of [
      (objects: NextHopObject[]) => objects.filter(({ group }) => group !== undefined).map(del),
      (objects: NextHopObject[]) => objects.filter(({ hop }) => hop?.ifindex === eth).map(del),
      (objects: NextHopObject[]) =>
        objects.flatMap(({ group, ...object }) =>
          group === undefined ? [] : [{ verb: 'replace' as const, object: { ...object, group: [group[0]!] } }],
        ),
      (objects: NextHopObject[]) =>
        objects
          .filter(({ group }) => group !== undefined)
          .map(object => ({ verb: 'replace' as const, object: { ...object, protocol: ROUTE_PROTOCOL.static } })),
      (objects: NextHopObject[]) =>
        objects
          .filter(({ hop }) => hop?.ifindex === eth)
          .map(object => ({ verb: 'replace' as const, object: asOthers(object) })),
    ]) {
      await until(isWhole)
      await kernel.changeNextHopObjects(act((await kernel.nextHopObjects())!))
      // the tables hear of it
      await new Promise(resolve => setTimeout(resolve, 5))
    }
    await until(isWhole)
    close()
    t.pass()
  })

  promise('what nobody wants goes also while a route is refused', async (t, it) => {
    const [four, six] = pair(it)
    const foreign: Route = { ...COMMON, dst: '10.9.0.0/26', protocol: ROUTE_PROTOCOL.static, ifindex: it.eth }
    t.deepEqual(await refusals(it.kernel, [add(foreign)]), [])
    for (const route of [four, six, { ...four, dst: foreign.dst }]) it.want(route)
    t.is((await it.apply()).refused.length, 1)
    t.is((await it.kernel.nextHopObjects())?.length, 6)
    it.table.want(six.dst)
    t.is((await it.apply()).refused.length, 1)
    t.is((await it.kernel.nextHopObjects())?.length, 3)
  })

  promise('a link that is made anew takes its next hops along before the kernel tells of it', async (t, it) => {
    const { kernel, links, table } = it
    const [four] = pair(it)
    it.want(four)
    await it.apply()
    await kernel.deleteLink(it.cali)
    const cali = await veth(kernel, 'cali0', 'p0')
    for (const name of ['cali0', 'p0']) await kernel.setLink(name, { up: true })
    await runs(links, 'cali0')
    table.forgetInterface('cali0')
    t.deepEqual((await it.apply()).refused, [])
    const [found] = await shown(kernel, four.dst)
    t.deepEqual(found?.nextHops?.map(({ ifindex }) => ifindex).sort(), [it.eth, cali].sort())
  })

  promise('routes that want only ways over links that are down are refused, and stay as they are', async (t, it) => {
    const { kernel, cali, eth } = it
    const over = (gateways: readonly string[], way: { ifindex: number; onlink?: true }): Route => {
      const nextHops = gateways.map(gateway => ({ gateway, ...way }))
      return { ...COMMON, dst: '10.4.0.0/26', protocol: ROUTE_PROTOCOL.blocks, nextHops }
    }
    const before = over(['198.51.100.7', '198.51.100.8'], { ifindex: eth })
    const after = over(['192.0.2.1', '192.0.2.2'], { ifindex: cali, onlink: true })
    it.want(before)
    await it.apply()
    await kernel.setLink('cali0', { up: false })
    it.links.invalidate()
    await it.links.refresh()
    it.want(after)
    t.is((await it.apply()).refused.length, 1)
    t.deepEqual(await shown(kernel, before.dst), [before])
    await kernel.setLink('cali0', { up: true })
    await runs(it.links, 'cali0')
    t.deepEqual((await it.apply()).refused, [])
    t.deepEqual(await shown(kernel, before.dst), [after])
  })

  promise('where more ways are wanted than there are ids, none is taken for another', async (t, it) => {
    const { kernel, cali } = it
    const hop = (n: number) => ({ gateway: `192.0.${n >> 8}.${n & 255}`, ifindex: cali, onlink: true })
    const of = (i: number) => Array.from({ length: 64 }, (_, n) => hop(i * 64 + n))
    const routes = Array.from({ length: 129 }, (_, i): Route => {
      const dst = `10.${50 + (i >> 8)}.${i & 255}.0/24`
      return { ...COMMON, dst, protocol: ROUTE_PROTOCOL.blocks, nextHops: of(i) }
    })
    for (const route of routes) it.want(route)
    t.deepEqual((await it.apply()).refused, [])
    const gateways = (found: Route | undefined) => found?.nextHops?.map(({ gateway }) => gateway).sort()
    for (const route of [routes[0]!, routes.at(-1)!])
      t.deepEqual(gateways((await ours(kernel, route.dst))[0]), gateways(route))
  })

  promise(
    'random wishes, links and doings of others end in what is wanted, and nothing is left over',
    async (t, it) => {
      const { kernel, cali, eth } = it
      const random = seeded(20)
      const pick = <T>(of: readonly T[]): T => of[Math.floor(random() * of.length)]!
      const hop = (ifindex: number, n: number, weight?: number) => ({
        ...{ gateway: ifindex === eth ? `198.51.100.${n}` : `192.0.2.${n}`, ifindex },
        ...(ifindex === cali && { onlink: true }),
        ...(weight !== undefined && { weight }),
      })
      const lists = [
        [hop(cali, 1), hop(eth, 2)],
        [hop(cali, 1), hop(eth, 2), hop(eth, 3)],
        [hop(cali, 1, 3), hop(eth, 2)],
        [hop(eth, 2), hop(eth, 3)],
      ]
      const dsts = Array.from({ length: 8 }, (_, i) => `10.${i + 50}.0.0/24`)
      const anyRoute = (dst: string): Route => {
        const common = { ...COMMON, dst, protocol: ROUTE_PROTOCOL.blocks }
        return random() < 0.3
          ? { ...common, ...pick([hop(cali, 1), hop(eth, 2)]) }
          : { ...common, nextHops: pick(lists) }
      }
      const monitor = kernel.monitor(event => {
        for (const name of it.links.observe(event)) it.table.invalidateInterface(name)
        it.table.observe(event)
      })
      for (let round = 0; round < 60; round++) {
        const all = random() < 0.4
        const same = anyRoute('')
        const wanted = new Map<string, Route | undefined>()
        for (const dst of dsts)
          if (all || random() < 0.5)
            wanted.set(dst, random() < 0.2 ? undefined : { ...(all ? same : anyRoute(dst)), dst })
        for (const [dst, route] of wanted)
          if (route === undefined) it.table.want(dst)
          else it.want(route)
        if (random() < 0.2) await kernel.setLink(pick(['p0', 'p1']), { up: random() < 0.5 })
        if (random() < 0.1)
          await kernel.changeNextHopObjects(
            ((await kernel.nextHopObjects()) ?? []).filter(() => random() < 0.5).map(del),
          )
        await it.apply()
      }
      for (const far of ['p0', 'p1']) await kernel.setLink(far, { up: true })
      const last = new Map(dsts.map(dst => [dst, anyRoute(dst)]))
      for (const route of last.values()) it.want(route)
      for (let i = 0; i < 3; i++) {
        await new Promise(resolve => setTimeout(resolve, 5))
        it.links.invalidate()
        await it.links.refresh()
        it.table.invalidate()
        await it.apply()
      }
      for (const [dst, route] of last) {
        const [found] = await shown(kernel, dst)
        const { nextHops, ...rest } = route
        t.deepEqual(found, nextHops === undefined ? route : { ...rest, nextHops: found?.nextHops ?? [] }, dst)
        const texts = (of: Route | undefined) => of?.nextHops?.map(each => `${each.gateway} ${each.weight ?? 1}`).sort()
        t.deepEqual(texts(found), texts(route), dst)
      }
      for (const dst of dsts) it.table.want(dst)
      await it.apply()
      t.deepEqual(await kernel.nextHopObjects(), [])
      monitor.close()
    },
  )
}

const COMMON = { table: ROUTE_TABLE.main, type: 'unicast', scope: ROUTE_SCOPE.universe } as const

/** The kernel says only after a while that a link which is up carries packets. */
async function runs(links: Setting['links'], name: string): Promise<void> {
  const deadline = Date.now() + ANSWER_MS
  do {
    if (Date.now() > deadline) throw new Error(`${name} does not run`)
    links.invalidate()
    await links.refresh()
  } while (links.byName(name)?.running !== true)
}

/** What another program makes of one of our ways. */
function asOthers(object: NextHopObject): NextHopObject {
  const hop = object.hop!
  const gateway = hop.gateway.includes(':') ? 'fe80::9' : '198.51.100.9'
  return { ...object, protocol: ROUTE_PROTOCOL.static, hop: { ...hop, gateway } }
}

const del = (object: NextHopObject) => ({ verb: 'delete', object }) as const

/** Many routes of each family over the same next hops. */
function many(it: Setting): Route[] {
  const [four, six] = pair(it)
  return Array.from({ length: MANY }, (_, i) => [
    { ...four, dst: `10.4.${i}.0/26` },
    { ...six, dst: `fd00:4:${(i + 1).toString(16)}::/122` },
  ]).flat()
}

async function kernelState(kernel: Kernel) {
  const routes = await kernel.routes({ protocol: ROUTE_PROTOCOL.blocks })
  return { objects: await kernel.nextHopObjects(), routes: routes.sort((a, b) => (a.dst < b.dst ? -1 : 1)) }
}
