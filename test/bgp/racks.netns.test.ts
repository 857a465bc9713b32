// Two top-of-rack routers that announce the same prefixes: packets of the node go to both, and of what one of them loses only its
// own flows move, by a message of the kernel for all routes.
import { existsSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import test from 'ava'
import type { KernelEvent } from '../../kernel/port/kernel.ts'
import { ROUTE_PROTOCOL } from '../../kernel/port/routes.ts'
import { isRoot } from '../kernel/scratch-netns.ts'
import { until } from './interop.ts'
import { birdRouter, frrRouter, Racks, type RouterKind } from './racks.ts'

const PATIENCE_MS = 90_000
const FLOWS = 60
const MORE = 50
const FAMILIES = ['ipv4', 'ipv6'] as const
/** A session whose end is worked through in two turns moves the routes of the first by themselves. */
const ATTEMPTS = 5

const OURS = ROUTE_PROTOCOL.margayBgp

for (const kind of [birdRouter, frrRouter] as readonly RouterKind[]) {
  const runs = isRoot && existsSync(kind.program) ? test.serial : test.serial.skip
  runs(
    `flows go over two ${kind.name} routers of a rack: what one loses moves, by one message for all routes of a family`,
    async t => {
      t.timeout(4 * PATIENCE_MS)
      await using racks = new Racks(2, MORE)
      const [first, second] = racks.routers as [(typeof racks.routers)[0], (typeof racks.routers)[0]]
      using kernel = racks.kernel()
      const foreign = {
        id: 9,
        protocol: ROUTE_PROTOCOL.static,
        hop: { gateway: '10.0.1.2', ifindex: (await kernel.link('t1'))!.index },
      }
      t.deepEqual(await kernel.changeNextHopObjects([{ verb: 'add', object: foreign }]), [undefined])
      const margay = racks.speak({ kernel: { table: 254 } })
      for (const router of racks.routers) router.daemon = kind.begin(racks, router)
      const why = () => `${margay.output().slice(-2000)}\n${first.daemon?.output().slice(-2000)}`
      const all = (MORE + 1) * FAMILIES.length
      const sizes = async () =>
        ((await kernel.nextHopObjects()) ?? []).flatMap(({ protocol, group }) =>
          protocol === OURS && group !== undefined ? [group.length] : [],
        )
      const ready = async (size: number) => {
        const ours = await kernel.routes({ protocol: OURS })
        const groups = new Set(ours.map(({ nextHopId }) => nextHopId))
        return ours.length === all && groups.size === 2 && (await sizes()).join() === `${size},${size}`
      }
      await until('all routes go by the groups of both', () => ready(2), why, PATIENCE_MS)
      const before = await Promise.all(FAMILIES.map(family => racks.flows(family, FLOWS)))
      for (const flows of before)
        for (const name of ['tor1', 'tor2'])
          t.true(flows.filter(each => each === name).length >= FLOWS / 10, flows.join())

      // the session of one is lost, and comes back
      let attempts = 0
      for (let quiet = false; !quiet; attempts++) {
        t.true(attempts < ATTEMPTS, 'each loss made messages of single routes')
        const heard: KernelEvent[] = []
        const monitor = kernel.monitor(event => heard.push(event))
        await first.daemon?.stop('SIGKILL')
        await until('the other has all', () => ready(1), why, PATIENCE_MS)
        const alone = (e: KernelEvent) => e.type === 'next-hop' && e.object.group?.length === 1
        await until('that is told', () => heard.filter(alone).length >= 2, why, PATIENCE_MS)
        const routes = heard.filter(e => (e.type === 'route' || e.type === 'route-gone') && e.route.protocol === OURS)
        const groups = heard.filter(e => e.type === 'next-hop' && e.object.group !== undefined)
        monitor.close()
        quiet = routes.length === 0 && groups.length === 2
        t.log(`${all} routes lost a path: ${groups.length} messages of groups, ${routes.length} of routes`)
        t.deepEqual(
          new Set((await Promise.all(FAMILIES.map(family => racks.flows(family, FLOWS)))).flat()),
          new Set(['tor2']),
        )
        first.daemon = kind.begin(racks, first)
        await until('all routes go over both again', () => ready(2), why, PATIENCE_MS)
      }

      // its link has no carrier, while its sessions wait for their hold time
      const heard: KernelEvent[] = []
      const monitor = kernel.monitor(event => heard.push(event))
      racks.setCarrier(second, false)
      await until('the groups have the other alone', () => ready(1), why, PATIENCE_MS)
      const told = heard.filter(e => (e.type === 'route' || e.type === 'route-gone') && e.route.protocol === OURS)
      t.deepEqual(told, [])
      monitor.close()
      for (const family of FAMILIES) t.deepEqual(new Set(await racks.flows(family, FLOWS)), new Set(['tor1']))
      const sinceMs = performance.now()
      racks.setCarrier(second, true)
      await until('the groups are whole', () => ready(2), why, PATIENCE_MS)
      t.log(
        `groups are whole ${Math.round(performance.now() - sinceMs)} ms after three commands began that bring the link back`,
      )
      // the daemon ended its sessions when it lost the link: the routes may go once more to the other alone before they go over both
      for (const [i, family] of FAMILIES.entries())
        await until(
          'flows go over both',
          async () => isDeepStrictEqual(names(await racks.flows(family, FLOWS)), names(before[i]!)),
          why,
          PATIENCE_MS,
        )
      t.deepEqual(
        (await kernel.nextHopObjects())?.filter(({ protocol }) => protocol !== OURS),
        [foreign],
      )
    },
  )
}

const names = (flows: readonly string[]) => [...new Set(flows)].sort()

const withBird = isRoot && existsSync(birdRouter.program) ? test.serial : test.serial.skip
withBird('of four paths one is lost: with a resilient group no flow of the others moves, without some do', async t => {
  t.timeout(4 * PATIENCE_MS)
  await using racks = new Racks(4)
  using kernel = racks.kernel()
  for (const router of racks.routers) router.daemon = birdRouter.begin(racks, router)
  for (const resilient of [undefined, { buckets: 512, idleSeconds: 120 }]) {
    // the second process takes over the routes of the first, and gives them groups of the other type
    const margay = racks.speak({ kernel: { table: 254, ...(resilient && { resilient }) } })
    const why = () => margay.output().slice(-2000)
    const group = async (size: number) => {
      const groups = ((await kernel.nextHopObjects()) ?? []).filter(object => object.group !== undefined)
      const fit = groups.filter(each => each.group?.length === size && Boolean(each.resilient) === Boolean(resilient))
      return fit.length === 2 && groups.length === 2
    }
    await until('all four share', () => group(4), why, PATIENCE_MS)
    const before = await racks.flows('ipv4', 4 * FLOWS)
    racks.setCarrier(racks.routers[1]!, false)
    await until('three are left', () => group(3), why, PATIENCE_MS)
    const after = await racks.flows('ipv4', 4 * FLOWS)
    const ofOthers = before.filter(name => name !== 'tor2').length
    const moved = before.filter((name, i) => name !== 'tor2' && after[i] !== name).length
    t.log(`${resilient ? 'resilient' : 'not resilient'}: ${moved} of ${ofOthers} flows of the other three moved`)
    t.false(after.includes('tor2'))
    if (resilient) t.is(moved, 0)
    else t.true(moved < ofOthers)
    racks.setCarrier(racks.routers[1]!, true)
    await until('all four share again', () => group(4), why, PATIENCE_MS)
    await margay.stop()
  }
})
