// How the bandwidth that pods ask for comes into the kernel, stays there and goes, on the kernel in memory.
import test from 'ava'
import { Bandwidth } from '../../felix/bandwidth.ts'
import type { LocalEndpoint } from '../../felix/policy/model.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import type { Rate, Shape } from '../../kernel/reconcile/objects.ts'

const MARKS = { podPrefix: 'cali', linkPrefix: 'mgbw' }
const RATE = { rate: 125_000, burst: 4000 }
const BOTH: Shape = { ingress: RATE, egress: { rate: 250_000, burst: 8000 } }
const OURS = 0x6d67
const BUCKET = { ...RATE, limit: 131_072 }
/** How long the plugin of a chain has. */
const YIELD_MS = 10_000

/** A host with the interfaces cali1 and cali2, and another program. */
async function aHost(change: (kernel: Kernel) => Kernel = kernel => kernel, clock = { nowMs: 0 }) {
  const world = new FakeWorld()
  const other = world.kernel()
  for (const name of ['cali1', 'cali2']) await other.createLink({ kind: 'veth', name, peer: { name: `${name}-peer` } })
  const start = () => {
    const kernel = change(world.kernel())
    const it = { told: 0, bandwidth: new Bandwidth(kernel, MARKS, () => clock.nowMs) }
    kernel.monitor(event => {
      if (it.bandwidth.observeEvent(event)) it.told++
    })
    return it
  }
  /** What is on the links, as `tc` and `ip` would show it. */
  const shown = async () => {
    const links = await other.links()
    const name = (index: number | undefined) => links.find(link => link.index === index)?.name
    const qdiscs = await other.qdiscs()
    const filters = await Promise.all(
      links.map(async ({ index }) =>
        (await other.ingressFilters(index)).map(({ to }) => `${name(index)} over ${name(to)}`),
      ),
    )
    return [
      ...links.flatMap(({ kind, name, up }) => (kind === 'ifb' ? `${name} ${up ? 'up' : 'down'}` : [])),
      ...qdiscs.flatMap(({ ifindex, bucket, handle }) =>
        bucket === undefined ? [] : `${name(ifindex)} ${bucket.rate}${handle === OURS ? '' : ' of another'}`,
      ),
      ...qdiscs.flatMap(({ ifindex, at }) => (at === 'ingress' ? `ingress of ${name(ifindex)}` : [])),
      ...filters.flat(),
    ].sort()
  }
  const link = async (name: string) => (await other.link(name))!.index
  return { world, other, clock, start, shown, link }
}

const local = (interfaceName: string, bandwidth?: Shape): LocalEndpoint => ({
  ...{ interfaceName, profiles: [] },
  ...(bandwidth && { bandwidth }),
})
const turns = () => new Promise(setImmediate)

const WHOLE = ['cali1 125000', 'cali1 over mgbw1', 'ingress of cali1', 'mgbw1 250000', 'mgbw1 up'].sort()

test('a pod is limited in the directions that it asks, also after its wish changed, and nothing is left when it asks no more', async t => {
  const { start, shown } = await aHost()
  const { bandwidth } = start()
  bandwidth.setLocal('shop/web', local('cali1', BOTH))
  t.deepEqual((await bandwidth.put()).refused, [])
  t.deepEqual(await shown(), WHOLE)
  t.deepEqual((await bandwidth.put()).written, [], 'a second pass writes nothing')
  bandwidth.setLocal('shop/web', local('cali1', { ingress: { ...RATE, rate: 500_000 } }))
  await bandwidth.put()
  t.deepEqual(await shown(), ['cali1 500000'])
  bandwidth.setLocal('shop/web', local('cali1', { egress: RATE }))
  await bandwidth.put()
  t.deepEqual(await shown(), ['cali1 over mgbw1', 'ingress of cali1', 'mgbw1 125000', 'mgbw1 up'])
  bandwidth.setLocal('shop/web', local('cali1'))
  await bandwidth.put()
  t.deepEqual(await shown(), [])
})

test('what goes with the interface of a pod is not missed, and the link beside it goes too', async t => {
  const { start, shown, other } = await aHost()
  const { bandwidth } = start()
  bandwidth.setLocal('shop/web', local('cali1', BOTH))
  await bandwidth.put()
  await other.deleteLink('cali1')
  bandwidth.setLocal('shop/web', undefined)
  const { refused } = await bandwidth.put()
  t.deepEqual([refused, await shown()], [[], []])
})

test('a restart adopts what stands, and takes away what a pod that is gone meanwhile, or asks for nothing now, had', async t => {
  const { start, shown, other } = await aHost()
  const first = start().bandwidth
  first.setLocal('shop/web', local('cali1', BOTH))
  first.setLocal('shop/db', local('cali2', BOTH))
  await first.put()
  const again = start().bandwidth
  again.setLocal('shop/web', local('cali1', BOTH))
  again.setLocal('shop/db', local('cali2', BOTH))
  t.deepEqual((await again.put()).written, [])
  await other.deleteLink('cali2')
  const later = start().bandwidth
  await later.put()
  t.deepEqual(await shown(), [])
})

const BREAKS: readonly [
  what: string,
  breaks: (kernel: Kernel, link: (name: string) => Promise<number>) => Promise<void>,
][] = [
  ['the bucket of the interface is deleted', async (kernel, link) => kernel.deleteBucket(await link('cali1'), OURS)],
  ['the bucket of the link is changed', async (kernel, link) => kernel.setBucket(await link('mgbw1'), OURS, BUCKET)],
  ['the filter is deleted', async (kernel, link) => kernel.deleteIngressFilter(await link('cali1'), OURS)],
  ['what filters hang on is deleted', async (kernel, link) => kernel.deleteIngress(await link('cali1'))],
  ['the link is deleted', kernel => kernel.deleteLink('mgbw1')],
  ['the link is taken down', kernel => kernel.setLink('mgbw1', { up: false })],
]
for (const [what, breaks] of BREAKS)
  test(`where ${what} by another program it is told, put back and told as healed`, async t => {
    const { start, shown, other, link } = await aHost()
    const it = start()
    it.bandwidth.setLocal('shop/web', local('cali1', BOTH))
    await it.bandwidth.put()
    await turns()
    await it.bandwidth.put()
    it.told = 0
    await breaks(other, link)
    await turns()
    t.true(it.told > 0)
    const { healed } = await it.bandwidth.put()
    t.deepEqual(
      healed.map(({ kind }) => kind),
      ['shaping'],
    )
    t.deepEqual(await shown(), WHOLE)
  })

test('an interface that is made again under its name is limited again, and nobody is said to have changed it', async t => {
  const { start, shown, other } = await aHost()
  const it = start()
  await other.deleteLink('cali1')
  it.bandwidth.setLocal('shop/web', local('cali1', BOTH))
  t.deepEqual((await it.bandwidth.put()).refused, [], 'it waits for its interface')
  it.told = 0
  await other.createLink({ kind: 'veth', name: 'cali1', peer: { name: 'p' } })
  await turns()
  t.true(it.told > 0)
  t.deepEqual((await it.bandwidth.put()).healed, [])
  t.deepEqual(await shown(), WHOLE)
})

test('after lost events all is looked at again, where a pod asks for something', async t => {
  const { start, world } = await aHost()
  const it = start()
  world.overrun()
  await turns()
  t.is(it.told, 0)
  it.bandwidth.setLocal('shop/web', local('cali1', BOTH))
  await it.bandwidth.put()
  await turns()
  await it.bandwidth.put()
  it.told = 0
  world.overrun()
  await turns()
  t.is(it.told, 1)
})

test('what another program limits is left alone and told of the pod, each direction by itself', async t => {
  const { start, shown, other, link } = await aHost()
  await other.setBucket(await link('cali1'), 1, BUCKET)
  const theirs = await other.createLink({ kind: 'ifb', name: 'bwp0' })
  await other.addIngress(await link('cali2'))
  await other.addRedirect(await link('cali2'), { preference: 1, to: theirs.index })
  const { bandwidth } = start()
  bandwidth.setLocal('shop/web', local('cali1', BOTH))
  bandwidth.setLocal('shop/db', local('cali2', BOTH))
  const { refused } = await bandwidth.put()
  t.deepEqual(refused, [], 'pods run')
  const conditions = bandwidth.conditions(refused)
  t.like(conditions, [
    { type: 'QosApplied', reason: 'ForeignOwner', object: { kind: 'Pod', namespace: 'shop', name: 'web' } },
    { type: 'QosApplied', reason: 'ForeignOwner', object: { kind: 'Pod', namespace: 'shop', name: 'db' } },
  ])
  t.regex(conditions[0]!.message, /^cali1: qdisc tbf 1: of another program is in the place of the limit for ingress/)
  t.regex(conditions[1]!.message, /^cali2: a filter of what comes in with the preference 1 of another/)
  t.deepEqual(
    await shown(),
    [
      ...['bwp0 down', 'cali1 125000 of another', 'cali1 over mgbw1', 'cali2 125000', 'cali2 over bwp0'],
      ...['ingress of cali1', 'ingress of cali2', 'mgbw1 250000', 'mgbw1 up'],
    ].sort(),
  )
  await turns()
  await bandwidth.put()
  await other.deleteBucket(await link('cali1'), 1)
  await turns()
  await bandwidth.put()
  t.deepEqual(
    bandwidth.conditions([]).map(({ object }) => object?.name),
    ['db'],
    'limited once it is gone',
  )
})

test('where the plugin bandwidth may come it comes first, and a pod that it did not limit is limited after that', async t => {
  const { start, shown, other, clock, link } = await aHost()
  const { bandwidth } = start()
  bandwidth.setLocal('shop/web', local('cali1', { ingress: RATE, yields: true }))
  bandwidth.setLocal('shop/db', local('cali2', { ingress: RATE, yields: true }))
  await bandwidth.put()
  t.deepEqual([await shown(), bandwidth.waitMs], [[], YIELD_MS])
  await other.setBucket(await link('cali1'), 1, BUCKET)
  clock.nowMs += YIELD_MS
  await bandwidth.put()
  t.deepEqual(await shown(), ['cali1 125000 of another', 'cali2 125000'])
  t.deepEqual([bandwidth.conditions([]), bandwidth.waitMs], [[], undefined], 'what was asked for is done')
  // an agent that starts again finds its own, and does not take it away to wait
  const again = start().bandwidth
  again.setLocal('shop/db', local('cali2', { ingress: RATE, yields: true }))
  await again.put()
  t.deepEqual(await shown(), ['cali1 125000 of another', 'cali2 125000'])
})

test('of two pods that wait, one whose time ends while a pass looks at the other is limited too', async t => {
  const clock = { nowMs: 0 }
  const { start, shown } = await aHost(kernel => {
    const setBucket: Kernel['setBucket'] = async (...words) => {
      await kernel.setBucket(...words)
      clock.nowMs += 100
    }
    return new Proxy(kernel, {
      get: (target, name) => (name === 'setBucket' ? setBucket : Reflect.get(target, name).bind(target)),
    })
  }, clock)
  const { bandwidth } = start()
  bandwidth.setLocal('shop/db', local('cali2', { ingress: RATE, yields: true }))
  clock.nowMs += 50
  bandwidth.setLocal('shop/web', local('cali1', { ingress: RATE, yields: true }))
  await bandwidth.put()
  // the pass looks at cali1 before its time, and is not at its end before that
  for (let left = 3; left > 0 && bandwidth.waitMs !== undefined; left--) {
    clock.nowMs += bandwidth.waitMs
    await bandwidth.put()
  }
  t.deepEqual(await shown(), ['cali1 125000', 'cali2 125000'])
})

test('a kernel without traffic control has its pods, and those that asked are named', async t => {
  const lacks = async () => {
    throw new KernelError(ERRNO.EOPNOTSUPP, 'ask', 'qdiscs')
  }
  const { start } = await aHost(
    kernel =>
      new Proxy(kernel, {
        get: (target, name) =>
          ['qdiscs', 'setBucket', 'addIngress'].includes(String(name)) ? lacks : Reflect.get(target, name).bind(target),
      }),
  )
  const { bandwidth } = start()
  t.deepEqual((await bandwidth.put()).refused, [], 'nobody asks')
  bandwidth.setLocal('shop/web', local('cali1', BOTH))
  const { refused } = await bandwidth.put()
  t.deepEqual(
    refused.map(({ key }) => key),
    ['cali1 ingress', 'cali1 egress'],
  )
  t.like(bandwidth.conditions(refused), [
    { reason: 'Refused', object: { kind: 'Pod', namespace: 'shop', name: 'web' } },
  ])
})

test('a kernel without token buckets has its pods, and those that asked are named with what to load', async t => {
  const { start, other, link } = await aHost(kernel => {
    const setBucket: Kernel['setBucket'] = async () => {
      throw new KernelError(ERRNO.ENOENT, 'set qdisc', 'tbf', 'Specified qdisc kind is unknown')
    }
    return new Proxy(kernel, {
      get: (target, name) => (name === 'setBucket' ? setBucket : Reflect.get(target, name).bind(target)),
    })
  })
  const { bandwidth } = start()
  bandwidth.setLocal('shop/web', local('cali1', { ingress: RATE }))
  await other.addIngress(await link('cali2'))
  await other.addRedirect(await link('cali2'), { preference: 1, to: await link('cali1') })
  bandwidth.setLocal('shop/db', local('cali2', { egress: RATE }))
  const { refused } = await bandwidth.put()
  t.deepEqual(
    refused.map(({ interfaceName }) => interfaceName),
    [undefined],
    'it holds no ADD up',
  )
  const [condition, theirs] = bandwidth.conditions(refused)
  t.like(theirs, { reason: 'ForeignOwner', object: { name: 'db' } })
  t.regex(theirs!.remedy, /^tc qdisc show/)
  t.like(condition, { reason: 'Refused', object: { kind: 'Pod', namespace: 'shop', name: 'web' } })
  t.regex(condition!.message, /cali1: bandwidth is not limited: .*kind is unknown/)
  t.regex(condition!.remedy, /sch_tbf/)
})

test('a bucket has room for a packet of its interface, and for two of the largest to wait', async t => {
  const { start, other, link } = await aHost()
  await other.setLink('cali2', { mtu: 9000 })
  const { bandwidth } = start()
  const bucketOf = async (name: string, rate: Rate) => {
    bandwidth.setLocal(name, local(name, { ingress: rate }))
    await bandwidth.put()
    const index = await link(name)
    return (await other.qdiscs()).find(({ ifindex, at }) => ifindex === index && at === 'root')?.bucket
  }
  t.deepEqual(await bucketOf('cali1', { rate: 125, burst: 1, peak: { rate: 250 } }), {
    ...{ rate: 125, burst: 1514, limit: 131_072, peak: { rate: 250, burst: 1514 } },
  })
  t.is((await bucketOf('cali2', { rate: 125, burst: 1 }))?.burst, 9014)
  t.is((await bucketOf('cali1', { rate: 125e6, burst: 2 ** 29 }))?.limit, 3_125_000, '25 ms of a gigabit')
  t.deepEqual(await bucketOf('cali2', { rate: 1.25e14, burst: 2 ** 40 }), {
    ...{ rate: 1.25e14, burst: 2 ** 32 - 1, limit: 2 ** 32 - 1 },
  })
})

test('an interface whose MTU grows has room for its packets at once', async t => {
  const { start, other } = await aHost()
  const it = start()
  it.bandwidth.setLocal('shop/web', local('cali1', { ingress: { rate: 125, burst: 1 } }))
  await it.bandwidth.put()
  await turns()
  await it.bandwidth.put()
  await other.setLink('cali1', { mtu: 9000 })
  await turns()
  await it.bandwidth.put()
  t.deepEqual(
    (await other.qdiscs()).flatMap(({ bucket }) => bucket?.burst ?? []),
    [9014],
  )
})
