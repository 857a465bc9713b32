// What the route table promises of groups that keep flows where they are, over any kernel that keeps the contract and has them.
import type { ExecutionContext, SerialFn } from 'ava'
import type { KernelEvent } from '../../kernel/port/kernel.ts'
import type { NextHopObject } from '../../kernel/port/next-hops.ts'
import type { Route } from '../../kernel/port/routes.ts'
import type { World } from './contract.ts'
import { pair, shown } from './multipath-suite.ts'
import { type Setting, setting } from './route-table-suite.ts'

const RESILIENT = { buckets: 64, idleSeconds: 120 }
const OTHER = { buckets: 128, idleSeconds: 120 }

export function resilientGroupsSuite(test: SerialFn, open: () => World): void {
  const promise = (title: string, body: (t: ExecutionContext, s: Setting) => Promise<void>, old = false) =>
    test(`resilient groups: ${title}`, async t => {
      const { node, close } = open()
      try {
        await body(t, await setting(node, { old }))
      } finally {
        close()
      }
    })

  promise('they come and go while routes stand, which are replaced and never removed', async (t, it) => {
    const heard: KernelEvent[] = []
    const monitor = it.kernel.monitor(event => heard.push(event))
    const routes = several(it)
    for (const route of routes) it.want(route)
    await it.apply()
    for (const resilient of [RESILIENT, OTHER, { ...OTHER, idleSeconds: 7 }, undefined, RESILIENT]) {
      it.sent.length = 0
      t.true(it.table.setResilient(resilient))
      t.false(it.table.setResilient(resilient && { ...resilient }))
      t.deepEqual((await it.apply()).refused, [])
      t.deepEqual(await types(it), [resilient, resilient])
      await stand(t, it, routes)
      t.deepEqual(
        it.sent.map(({ verb }) => verb),
        routes.map(() => 'replace'),
      )
      it.sent.length = 0
      it.objectsSent.length = 0
      it.table.invalidate()
      await it.apply()
      t.deepEqual([it.sent, it.objectsSent], [[], []], 'and nothing is left to do')
    }
    t.is(it.table.lacksResilient, undefined)
    t.is(heard.filter(({ type }) => type === 'route-gone').length, 0)
    monitor.close()
    await nothingIsLeft(t, it, routes)
  })

  promise('paths that come and go in the same turn as the option end in what is wanted', async (t, it) => {
    const routes = several(it)
    const alone = routes.map(({ nextHops, ...route }): Route => ({ ...route, ...nextHops![1]! }))
    let [wanted, other] = [routes, alone]
    for (const route of wanted) it.want(route)
    await it.apply()
    for (const resilient of [RESILIENT, undefined, OTHER, RESILIENT]) {
      ;[wanted, other] = [other, wanted]
      for (const route of wanted) it.want(route)
      it.table.setResilient(resilient)
      t.deepEqual((await it.apply()).refused, [])
      await stand(t, it, wanted)
      for (const type of await types(it)) t.deepEqual(type, resilient)
    }
    await nothingIsLeft(t, it, routes)
  })

  promise('a group keeps its type while paths come and go', async (t, it) => {
    const routes = several(it)
    it.table.setResilient(RESILIENT)
    for (const route of routes) it.want(route)
    await it.apply()
    const ids = async () => (await groups(it)).map(({ id }) => id)
    const before = await ids()
    it.sent.length = 0
    for (const route of routes.map(({ nextHops, ...rest }): Route => ({ ...rest, ...nextHops![1]! }))) it.want(route)
    await it.apply()
    t.deepEqual([await ids(), await types(it), it.sent], [before, [RESILIENT, RESILIENT], []])
  })

  promise('a process that begins anew adopts those of its own type and replaces others', async (t, it) => {
    const routes = several(it)
    for (const route of routes) it.want(route)
    await it.apply()
    let last = it
    for (const resilient of [RESILIENT, OTHER, undefined]) {
      for (const isFirst of [true, false]) {
        last = await it.again({ resilient })
        for (const route of routes) last.want(route)
        t.deepEqual((await last.apply(false)).refused, [])
        t.is(last.sent.length, isFirst ? routes.length : 0)
        t.deepEqual(await types(last), [resilient, resilient])
        await stand(t, last, routes)
      }
      await last.apply()
    }
    await nothingIsLeft(t, last, routes)
  })

  promise('of another type than ours, made by somebody under our mark, none stays', async (t, it) => {
    const routes = several(it)
    for (const route of routes) it.want(route)
    await it.apply()
    const [group] = await groups(it)
    // routes go with their group
    t.deepEqual(await it.kernel.changeNextHopObjects([{ verb: 'delete', object: group! }]), [undefined])
    const made = { ...group!, resilient: RESILIENT }
    t.deepEqual(await it.kernel.changeNextHopObjects([{ verb: 'add', object: made }]), [undefined])
    it.table.invalidate()
    t.deepEqual((await it.apply()).refused, [])
    t.deepEqual(await types(it), [undefined, undefined])
    await stand(t, it, routes)
  })

  promise(
    'an older kernel has plain groups instead, it is said, and nothing is tried again',
    async (t, it) => {
      const routes = several(it)
      t.true(it.table.setResilient(RESILIENT))
      for (const route of routes) it.want(route)
      t.deepEqual((await it.apply()).refused, [])
      t.regex(it.table.lacksResilient ?? '', /EINVAL \(Invalid group type\)/)
      t.deepEqual(await types(it), [undefined, undefined])
      await stand(t, it, routes)
      const tried = () => it.objectsSent.filter(({ object }) => object.resilient !== undefined).length
      t.is(tried(), 2)
      it.sent.length = 0
      it.table.invalidate()
      t.deepEqual((await it.apply()).refused, [])
      t.deepEqual([tried(), it.sent], [2, []])
      // while routes stand, and another number of buckets, which is tried
      it.table.setResilient(OTHER)
      t.deepEqual((await it.apply()).refused, [])
      t.is(tried(), 4)
      await stand(t, it, routes)
      it.table.setResilient(undefined)
      await it.apply()
      t.is(it.table.lacksResilient, undefined)
      t.is(tried(), 4)
      await nothingIsLeft(t, it, routes)
    },
    true,
  )

  promise('a member that went before its group was written is no sign of an older kernel', async (t, it) => {
    const routes = several(it)
    it.table.setResilient(RESILIENT)
    it.beforeGroups.push(async () => {
      const hops = ((await it.kernel.nextHopObjects()) ?? []).filter(({ hop }) => hop !== undefined)
      await it.kernel.changeNextHopObjects(hops.map(object => ({ verb: 'delete', object })))
    })
    for (const route of routes) it.want(route)
    t.is((await it.apply()).refused.length, 2)
    t.is(it.table.lacksResilient, undefined)
    t.deepEqual((await it.apply()).refused, [])
    t.deepEqual(await types(it), [RESILIENT, RESILIENT])
    await stand(t, it, routes)
  })
}

/** Routes of both families, of which all of one go over the same next hops. */
function several(it: Setting): Route[] {
  const [four, six] = pair(it)
  return [four, { ...four, dst: '10.4.9.0/26' }, six, { ...six, dst: 'fd00:9::/122' }].map(route => ({
    ...route,
    nextHops: route.nextHops!.map(({ weight: _, ...hop }) => hop),
  }))
}

async function stand(t: ExecutionContext, { kernel }: Setting, routes: readonly Route[]): Promise<void> {
  for (const route of routes) t.deepEqual(await shown(kernel, route.dst), [route])
}

async function groups({ kernel }: Setting): Promise<NextHopObject[]> {
  return ((await kernel.nextHopObjects()) ?? []).filter(({ group }) => group !== undefined).sort((a, b) => a.id - b.id)
}

async function types(it: Setting) {
  return (await groups(it)).map(({ resilient }) => resilient)
}

async function nothingIsLeft(t: ExecutionContext, it: Setting, routes: readonly Route[]): Promise<void> {
  for (const { dst } of routes) it.table.want(dst)
  await it.apply()
  t.deepEqual(await it.kernel.nextHopObjects(), [])
}
