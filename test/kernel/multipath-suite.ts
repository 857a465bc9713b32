// What the route table promises of routes with several next hops, over any kernel that keeps the contract.
import type { ExecutionContext, SerialFn } from 'ava'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { ROUTE_PROTOCOL, ROUTE_TABLE, type Route } from '../../kernel/port/routes.ts'
import { add, ours, refusals } from './builders.ts'
import type { World } from './contract.ts'
import { type Setting, selfHealing, setting } from './route-table-suite.ts'

export function multipathSuite(test: SerialFn, open: () => World): void {
  for (const inline of [false, true]) promises(test, open, inline)
}

function promises(test: SerialFn, open: () => World, inline: boolean): void {
  const promise = (title: string, body: (t: ExecutionContext, s: Setting) => Promise<void>) =>
    test(`a route table ${inline ? 'without' : 'with'} next hop objects: ${title}`, async t => {
      const { node, close } = open()
      try {
        await body(t, await setting(node, { inline }))
      } finally {
        close()
      }
    })

  promise('several next hops are the same in any order, and others are not', async (t, it) => {
    const [four, six] = pair(it)
    for (const route of [four, six]) it.want(route)
    await it.apply()
    for (const route of [four, six]) t.deepEqual(await shown(it.kernel, route.dst), [route])
    it.table.invalidate()
    for (const route of [four, six]) it.want({ ...route, nextHops: route.nextHops!.toReversed() })
    await it.apply()
    t.is(it.sent.length, 2)
    const heavier = { ...four, nextHops: four.nextHops!.map((hop, i) => (i === 0 ? { ...hop, weight: 7 } : hop)) }
    const other = {
      ...six,
      nextHops: six.nextHops!.map(hop => ({ ...hop, gateway: hop.gateway!.replace('::', '::7:') })),
    }
    for (const route of [heavier, other]) it.want(route)
    await it.apply()
    t.deepEqual(await shown(it.kernel, four.dst), [heavier])
    t.deepEqual(await shown(it.kernel, six.dst), [other])
    for (const { dst } of [four, six]) it.table.want(dst)
    await it.apply()
    for (const { dst } of [four, six]) t.deepEqual(await ours(it.kernel, dst), [])
  })

  promise('a next hop whose link loses its carrier gets no packets until the carrier is back', async (t, it) => {
    const { kernel, eth } = it
    const { until, close } = selfHealing(it)
    const both = pair(it)
    for (const route of both) it.want(route)
    t.deepEqual((await it.apply()).refused, [])
    await kernel.setLink('p0', { up: false })
    const isAlone = async ({ dst }: Route) => (await ours(kernel, dst))[0]?.ifindex === eth
    await until(async () => (await isAlone(both[0])) && (await isAlone(both[1])))
    t.is(it.sent.length, inline ? 4 : 2, 'with objects none, else one for each route')
    await kernel.setLink('p0', { up: true })
    const isWhole = async ({ dst }: Route) => (await ours(kernel, dst))[0]?.nextHops?.length === 2
    await until(async () => (await isWhole(both[0])) && (await isWhole(both[1])))
    for (const route of both) t.deepEqual(await shown(kernel, route.dst), [route])
    close()
  })

  promise('a next hop on a link that is down is left out, and comes with the link', async (t, it) => {
    const { kernel, eth } = it
    await kernel.setLink('cali0', { up: false })
    const { until, close } = selfHealing(it)
    const both = pair(it)
    it.links.invalidate()
    await it.links.refresh()
    for (const route of both) it.want(route)
    t.deepEqual((await it.apply()).refused, [])
    for (const { dst } of both) t.is((await ours(kernel, dst))[0]?.ifindex, eth)
    await kernel.setLink('cali0', { up: true })
    const isWhole = async ({ dst }: Route) => (await ours(kernel, dst))[0]?.nextHops?.length === 2
    await until(async () => (await isWhole(both[0])) && (await isWhole(both[1])))
    // without objects the kernel leaves next hops of links that are down out by itself, and takes them in again
    const written = it.sent.length
    await kernel.setLink('cali0', { up: false })
    await kernel.setLink('cali0', { up: true })
    await until(async () => (await isWhole(both[0])) && (await isWhole(both[1])))
    if (inline) t.is(it.sent.length, written)
    close()
  })

  promise('a link that is deleted takes its next hops, and what the rest carries comes back', async (t, it) => {
    const { kernel, eth } = it
    const { until, close } = selfHealing(it)
    const both = pair(it)
    for (const route of both) it.want(route)
    await it.apply()
    await kernel.deleteLink('cali0')
    const isAlone = async ({ dst }: Route) => (await ours(kernel, dst))[0]?.ifindex === eth
    await until(async () => (await isAlone(both[0])) && (await isAlone(both[1])))
    close()
    t.pass()
  })

  promise(
    'a foreign route with several next hops is told by them: replaced where it may be, else left',
    async (t, it) => {
      it.ownership.setDestinations(['10.8.0.0/16', 'fd00:8::/32'])
      const [four, six] = pair(it)
      const foreign = [
        { ...four, dst: '10.8.0.0/26', protocol: ROUTE_PROTOCOL.static },
        { ...six, dst: 'fd00:8::/64', protocol: ROUTE_PROTOCOL.static },
        { ...four, dst: '10.9.0.0/26', protocol: ROUTE_PROTOCOL.static },
      ]
      t.deepEqual(await refusals(it.kernel, foreign.map(add)), [])
      const wanted = foreign.map(({ nextHops, ...route }): Route => {
        const { gateway, ifindex, onlink } = nextHops![0]!
        return { ...route, protocol: ROUTE_PROTOCOL.blocks, gateway: gateway!, ifindex, ...(onlink && { onlink }) }
      })
      for (const route of wanted) it.want(route)
      t.deepEqual(
        (await it.apply()).refused.map(({ key }) => key),
        ['10.9.0.0/26'],
      )
      for (const route of wanted.slice(0, 2)) t.deepEqual(await shown(it.kernel, route.dst), [route])
      t.deepEqual(await ours(it.kernel, '10.9.0.0/26'), [foreign[2]!])
    },
  )
}

/** As `ours`, by what they lead to, whether or not by an object. */
export async function shown(kernel: Kernel, dst: string): Promise<Route[]> {
  return (await ours(kernel, dst)).map(({ nextHopId: _, nextHops, ...route }) =>
    nextHops === undefined ? route : { ...route, nextHops: nextHops.toSorted((a, b) => a.ifindex - b.ifindex) },
  )
}

/** One of each family, over both links. */
export function pair({ cali, eth }: Setting): [four: Route, six: Route] {
  const common = { table: ROUTE_TABLE.main, type: 'unicast', protocol: ROUTE_PROTOCOL.blocks, scope: 0 } as const
  const four = [
    { gateway: '192.0.2.1', ifindex: cali, onlink: true },
    { gateway: '198.51.100.7', ifindex: eth, weight: 2 },
  ]
  const six = [
    { gateway: 'fe80::1', ifindex: cali },
    { gateway: 'fe80::2', ifindex: eth },
  ]
  return [
    { ...common, dst: '10.4.0.0/26', nextHops: four },
    { ...common, dst: 'fd00:4::/122', nextHops: six },
  ]
}
