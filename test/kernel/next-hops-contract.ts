// What the kernel port promises of routes with several next hops, over the real kernel and the fake.
import type { ExecutionContext, SerialFn } from 'ava'
import { ERRNO } from '../../kernel/port/error.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import type { NextHopChange, NextHopObject } from '../../kernel/port/next-hops.ts'
import type { Route } from '../../kernel/port/routes.ts'
import { eventually } from '../felix/node-kernel.ts'
import { add, listenTo, ours, refusals, replace, twoUplinks } from './builders.ts'
import type { World } from './contract.ts'

export function nextHopsContract(test: SerialFn, open: () => World): void {
  const promise = (title: string, body: (t: ExecutionContext, world: World) => Promise<void>) =>
    test(title, async t => {
      const world = open()
      try {
        await body(t, world)
      } finally {
        world.close()
      }
    })

  promise(
    'routes with several next hops read back, are found by each interface, and change to one and back',
    async (t, { node }) => {
      const [first, second] = await twoUplinks(node)
      for (const [dst, gateways] of [
        ['10.4.0.0/16', ['10.1.0.2', '10.2.0.2']],
        ['10.5.0.0/16', ['fe80::1', 'fe80::2']],
        ['fd00:6::/64', ['fd00:1::2', 'fd00:2::2']],
      ] as const) {
        const common = { dst, table: 254, type: 'unicast', protocol: 80, scope: 0 } as const
        const nextHops = [
          { gateway: gateways[0], ifindex: first, weight: 3 },
          { gateway: gateways[1], ifindex: second },
        ]
        const several: Route = { ...common, nextHops }
        const single: Route = { ...common, gateway: gateways[0], ifindex: first }
        for (const route of [several, single, several]) {
          t.deepEqual(await refusals(node, [replace(route)]), [])
          t.deepEqual(await ours(node, dst), [route])
          for (const ifindex of [first, second])
            t.is((await node.routes({ ifindex, protocol: 80 })).length, route === single && ifindex === second ? 0 : 1)
        }
        t.deepEqual(await node.lookupRoute(dst.replace(/\/.*/, '')), several)
        t.is((await node.changeRoutes([add(several)]))[0]?.errno, ERRNO.EEXIST)
        const gone = { verb: 'delete', route: several } as const
        t.deepEqual(await refusals(node, [{ verb: 'delete', route: { ...several, protocol: 4 } }]), [])
        t.is((await ours(node, dst)).length, 1)
        t.deepEqual(await refusals(node, [gone, gone]), [])
        t.deepEqual(await ours(node, dst), [])
        const down: Route = { ...several, nextHops: [nextHops[0]!, { gateway: gateways[1], ifindex: 4711 }] }
        t.is((await refusals(node, [add(down)])).length, 1)
      }
    },
  )

  promise(
    'of several next hops those on a link that goes down stay for its return, and go with it',
    async (t, { node }) => {
      const [first, second] = await twoUplinks(node)
      const hops = (one: string, other: string) => [
        { gateway: one, ifindex: first },
        { gateway: other, ifindex: second },
      ]
      const common = { table: 254, type: 'unicast', protocol: 80, scope: 0 } as const
      const four: Route = { ...common, dst: '10.4.0.0/16', nextHops: hops('10.1.0.2', '10.2.0.2') }
      const six: Route = { ...common, dst: 'fd00:6::/64', nextHops: hops('fd00:1::2', 'fd00:2::2') }
      const all = async () => [...(await ours(node, four.dst)), ...(await ours(node, six.dst))]
      t.deepEqual(await refusals(node, [add(four), add(six)]), [])
      await node.setLink(second, { up: false })
      t.deepEqual(await all(), [four, six])
      t.is((await refusals(node, [replace(four)])).length, 1, 'none can be written over it')
      await node.setLink(second, { up: true })
      t.deepEqual(await all(), [four, six])
      await node.deleteLink(second)
      t.deepEqual(await all(), [{ ...common, dst: six.dst, gateway: 'fd00:1::2', ifindex: first }])
      t.deepEqual(await refusals(node, [add({ ...common, dst: four.dst, gateway: '10.1.0.2', ifindex: first })]), [])
    },
  )

  promise('next hop objects read back, and one change of a group is one for all its routes', async (t, { node }) => {
    const [first, second] = await twoUplinks(node)
    const heard = listenTo(node)
    const [one, two] = [way(1, '10.1.0.2', first), way(2, '10.2.0.2', second)]
    const group: NextHopObject = { id: 12, protocol: 80, group: [{ id: 1, weight: 3 }, { id: 2 }] }
    const resilient = { ...group, id: 13, resilient: { buckets: 32, idleSeconds: 7 } }
    t.deepEqual(await changed(node, 'add', one, two, group, resilient), [])
    t.deepEqual(await objects(node), [one, two, group, resilient])
    t.is((await node.changeNextHopObjects([{ verb: 'add', object: one }]))[0]?.errno, ERRNO.EEXIST)
    t.is((await node.changeNextHopObjects([{ verb: 'replace', object: { ...one, id: 7 } }]))[0]?.errno, ERRNO.ENOENT)
    const routes = ['10.4.0.0/16', '10.5.0.0/16'].map((dst): Route => ({ ...COMMON, dst, nextHopId: 12 }))
    t.deepEqual(await refusals(node, routes.map(add)), [])
    const nextHops = [
      { gateway: '10.1.0.2', ifindex: first, weight: 3 },
      { gateway: '10.2.0.2', ifindex: second },
    ]
    t.deepEqual(await ours(node, '10.4.0.0/16'), [{ ...routes[0]!, nextHops }])
    const small = { ...group, group: [{ id: 2 }] }
    t.deepEqual(await changed(node, 'replace', small), [])
    for (const route of routes)
      t.deepEqual(await ours(node, route.dst), [{ ...route, gateway: '10.2.0.2', ifindex: second }])
    await heard.until(e => e.type === 'next-hop' && e.object.id === 12 && e.object.group?.length === 1)
    const other = { verb: 'delete', route: { ...routes[0]!, nextHopId: 13 } } as const
    t.deepEqual(await refusals(node, [other, { verb: 'delete', route: routes[0]! }]), [])
    t.deepEqual(await ours(node, routes[0]!.dst), [])
    t.deepEqual(await changed(node, 'delete', group, group), [])
    await heard.until(e => e.type === 'next-hop-gone' && e.object.id === 12)
    t.deepEqual(await ours(node, routes[1]!.dst), [], 'its routes go with it')
    t.deepEqual(await objects(node), [one, two, resilient])
    heard.close()
  })

  promise('a route by an object is told with its ways, also where the kernel leaves them out', async (t, { node }) => {
    const [first, second] = await twoUplinks(node)
    const [one, two] = [way(1, '10.1.0.2', first), way(2, '10.2.0.2', second)]
    t.deepEqual(
      await changed(node, 'add', one, two, { id: 12, protocol: 80, group: [{ id: 1, weight: 3 }, { id: 2 }] }),
      [],
    )
    const routes = [12, 1].map(
      (id): Route => ({ ...COMMON, dst: `10.${id}0.0.0/16`.replace('.10.', '.11.'), nextHopId: id }),
    )
    t.deepEqual(await refusals(node, routes.map(add)), [])
    for (const mode of ['1', '0']) {
      node.writeSysctl('ipv4', ['nexthop_compat_mode'], mode)
      const nextHops = [{ ...one.hop!, weight: 3 }, two.hop!]
      const expected = [
        { ...routes[0]!, nextHops },
        { ...routes[1]!, ...one.hop! },
      ]
      for (const route of expected) {
        t.deepEqual(await ours(node, route.dst), [route], mode)
        t.deepEqual(await node.lookupRoute(route.dst.replace(/0\/.*/, '9')), route, mode)
      }
      t.is((await node.routes({ ifindex: second, protocol: 80 })).length, 1, mode)
    }
  })

  promise('IPv6 routes go by objects too', async (t, { node }) => {
    const [first, second] = await twoUplinks(node)
    const [one, two] = [way(1, 'fd00:1::2', first), way(2, 'fe80::2', second)]
    t.deepEqual(await changed(node, 'add', one, two, { id: 12, protocol: 80, group: [{ id: 1 }, { id: 2 }] }), [])
    const route: Route = { ...COMMON, dst: 'fd00:6::/64', nextHopId: 12 }
    const four: Route = { ...COMMON, dst: '10.6.0.0/16', nextHopId: 12 }
    t.deepEqual(await refusals(node, [add(route), add(four)]), [])
    const nextHops = [one, two].map(({ hop }) => hop!)
    t.deepEqual(await ours(node, route.dst), [{ ...route, nextHops }])
    t.deepEqual(await ours(node, four.dst), [{ ...four, nextHops }])
  })

  promise('the deletion of a route by an object that is gone succeeds, and that of others with it', async (t, it) => {
    const { node } = it
    const [first, second] = await twoUplinks(node)
    const [one, two] = [way(1, 'fd00:1::2', first), way(2, 'fd00:2::2', second)]
    t.deepEqual(await changed(node, 'add', one, two), [])
    const dsts = ['10.6.0.0/16', 'fd00:6::/64', '10.7.0.0/16', 'fd00:7::/64']
    const routes = dsts.map((dst, i): Route => ({ ...COMMON, dst, nextHopId: i < 2 ? 1 : 2 }))
    t.deepEqual(await refusals(node, routes.map(add)), [])
    await node.deleteLink(first)
    t.deepEqual(
      await refusals(
        node,
        routes.map(route => ({ verb: 'delete', route })),
      ),
      [],
    )
    for (const dst of dsts) t.deepEqual(await ours(node, dst), [])
  })

  promise(
    'a link without carrier takes its objects, and the groups that are empty then, with their routes',
    async (t, { node }) => {
      const [first, second] = await twoUplinks(node)
      const [one, two] = [way(1, '10.1.0.2', first), way(2, '10.2.0.2', second)]
      const group = (id: number, ...ids: number[]) => ({ id, protocol: 80, group: ids.map(member => ({ id: member })) })
      t.deepEqual(await changed(node, 'add', one, two, group(12, 1, 2), group(11, 1)), [])
      const routes = [12, 11].map((id): Route => ({ ...COMMON, dst: `10.${id}.0.0/16`, nextHopId: id }))
      t.deepEqual(await refusals(node, routes.map(add)), [])
      await node.setLink('far1', { up: false })
      await eventually(
        'the kernel, which works that off later, takes them',
        async () => (await objects(node)).length === 2,
      )
      t.deepEqual(await objects(node), [two, group(12, 2)])
      t.deepEqual(await ours(node, '10.11.0.0/16'), [])
      t.is((await node.changeNextHopObjects([{ verb: 'add', object: one }]))[0]?.errno, ERRNO.ENETDOWN)
      await node.setLink('far1', { up: true })
      t.deepEqual(await objects(node), [two, group(12, 2)], 'they do not come back with it')
      await node.setLink('up2', { up: false })
      t.deepEqual(await objects(node), [])
      t.deepEqual(await ours(node, '10.12.0.0/16'), [])
    },
  )
}

const COMMON = { table: 254, type: 'unicast', protocol: 80, scope: 0 } as const

function way(id: number, gateway: string, ifindex: number): NextHopObject {
  return { id, protocol: 80, hop: { gateway, ifindex } }
}

/** The refusals of one change for each object. */
async function changed(node: Kernel, verb: NextHopChange['verb'], ...all: NextHopObject[]): Promise<string[]> {
  const answers = await node.changeNextHopObjects(all.map(object => ({ verb, object })))
  return answers.flatMap(error => (error === undefined ? [] : [error.message]))
}

async function objects(node: Kernel): Promise<NextHopObject[]> {
  return ((await node.nextHopObjects()) ?? []).sort((a, b) => a.id - b.id)
}
