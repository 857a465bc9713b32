// What the kernel port promises of routes with several next hops, over the real kernel and the fake.
import type { ExecutionContext, TestFn } from 'ava'
import { ERRNO } from '../../kernel/port/error.ts'
import type { Route } from '../../kernel/port/routes.ts'
import { add, ours, refusals, replace, twoUplinks } from './builders.ts'
import type { World } from './contract.ts'

export function nextHopsContract(test: TestFn, open: () => World): void {
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
}
