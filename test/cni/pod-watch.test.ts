// What goes missing in pods is heard of and put back, over the kernel in memory.
import test from 'ava'
import type { Condition } from '../../api/status.ts'
import { PodRepair } from '../../cni/pod-repair.ts'
import { PodWatch } from '../../cni/pod-watch.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import type { Author, Kernel } from '../../kernel/port/kernel.ts'
import { openDatabase } from '../../lib/database.ts'
import { added, aHost, call, type Host, POD } from './host.ts'

const GATEWAY = '169.254.1.1'

type Watched = {
  host: Host
  watch: PodWatch
  repair: PodRepair
  pod: Kernel
  healed: string[]
  told: () => string[]
  addressesChanged: () => number
  /** Lets time pass, and what it brings about. */
  settle(ms: number): Promise<void>
  lose(what: 'address' | 'default' | 'neighbour' | 'link'): Promise<void>
  close(): Promise<void>
}

/** A host with a pod that is watched, as an agent does that starts beside it. */
async function watched({
  hearsPods = true,
  start = true,
  by,
}: {
  hearsPods?: boolean
  start?: boolean
  by?: Author
} = {}): Promise<Watched> {
  const world = new FakeWorld({ hearsPods })
  const host = await aHost(openDatabase(':memory:'), world)
  await added(host)
  const { deps, clock } = host
  const kernel = world.kernel()
  const { monitorPods } = kernel
  // the fake tells nothing of who did it
  kernel.monitorPods = listen =>
    monitorPods.call(kernel, news => listen(news && { ...news, event: { ...news.event, ...(by && { by }) } }))
  const healed: string[] = []
  let conditions: readonly Condition[] = []
  let changes = 0
  const repair = new PodRepair({ ...deps, healed: (_endpoint, what) => healed.push(what) })
  const watch = new PodWatch({
    ...{ ...deps, kernel, repair },
    report: now => (conditions = now),
    addressesChanged: () => changes++,
  })
  const turns = async () => {
    for (let i = 0; i < 60; i++) await new Promise(setImmediate)
  }
  const settle = async (ms: number) => {
    // what the kernel tells is told a turn later
    await turns()
    clock.advance(ms)
    await turns()
  }
  if (start) {
    await watch.start()
    for (let i = 0; i < 3; i++) await settle(100)
  }
  const pod = kernel.inside(POD)
  return {
    ...{ host, watch, repair, pod, healed, settle },
    told: () => conditions.map(({ type, reason, message }) => `${type} ${reason}: ${message}`),
    addressesChanged: () => changes,
    async lose(what) {
      const { index: ifindex } = (await pod.link('eth0'))!
      if (what === 'link') await pod.setLink('eth0', { up: false })
      if (what === 'neighbour') await pod.deleteNeighbour({ ifindex, address: GATEWAY, permanent: true })
      if (what === 'address') for (const address of await pod.addresses(ifindex)) await pod.deleteAddress(address)
      if (what !== 'default') return
      const [route] = (await pod.routes({ ifindex })).filter(({ dst }) => dst === '0.0.0.0/0')
      await pod.changeRoutes([{ verb: 'delete', route: route! }])
    },
    async close() {
      watch.close()
      repair.close()
      pod.close()
      await host.close()
    },
  }
}

/** What of the interface is in the pod. */
async function stateOf(pod: Kernel): Promise<object> {
  const { index, up, mtu } = (await pod.link('eth0'))!
  const routes = (await pod.routes({ table: 254 })).map(({ dst, gateway }) => `${dst} ${gateway}`)
  const addresses = (await pod.addresses(index)).map(({ address, length }) => `${address}/${length}`)
  const neighbours = (await pod.neighbours(index)).map(({ address, mac, permanent }) => [address, mac, permanent])
  return { up, mtu, routes: routes.toSorted(), addresses, neighbours }
}

for (const [what, says] of [
  ['address', /^address 10\.0\.0\.\d+\/32 dev eth0 was gone; route .*; put back$/],
  ['default', /^route 0\.0\.0\.0\/0 dev eth0 was gone; put back$/],
  ['neighbour', /^neighbour 169\.254\.1\.1 dev eth0 was gone; put back$/],
  ['link', /^link eth0 state was changed from up to down by somebody; .*; put back$/],
] as const)
  test(`the ${what} of a pod that is lost is put back within 300 ms, with all that went with it`, async t => {
    const it = await watched()
    const before = await stateOf(it.pod)
    await it.lose(what)
    t.notDeepEqual(await stateOf(it.pod), before)
    await it.settle(300)
    t.deepEqual(await stateOf(it.pod), before)
    t.is(it.healed.length, 1)
    t.regex(it.healed[0]!, says)
    t.deepEqual(it.told(), [])
    await it.close()
  })

test('an MTU that the host’s end drops packets of is set back, and a smaller one is left', async t => {
  const it = await watched()
  await it.pod.setLink('eth0', { mtu: 9000 })
  await it.settle(300)
  t.is((await it.pod.link('eth0'))?.mtu, 1500)
  t.deepEqual(it.healed, ['link eth0 mtu was changed from 1500 to 9000 by somebody; put back'])
  await it.pod.setLink('eth0', { mtu: 1300 })
  await it.lose('neighbour')
  await it.settle(300)
  t.is(it.healed.length, 2)
  t.is((await it.pod.link('eth0'))?.mtu, 1300)
  await it.close()
})

test('a default route that leads out another interface of the pod is left, and the way to our gateway with it', async t => {
  const it = await watched()
  const { pod } = it
  const { index } = await pod.createLink({ kind: 'bridge', name: 'vpn0' })
  await pod.setLink('vpn0', { up: true })
  await it.lose('default')
  const route = { dst: '0.0.0.0/0', table: 254, type: 'unicast', protocol: 3, scope: 253, ifindex: index } as const
  await pod.changeRoutes([{ verb: 'add', route }])
  const [toGateway] = (await pod.routes({ table: 254 })).filter(({ dst }) => dst === `${GATEWAY}/32`)
  await pod.changeRoutes([{ verb: 'delete', route: toGateway! }])
  await it.settle(300)
  t.deepEqual(it.healed, [])
  await it.lose('neighbour')
  await it.settle(300)
  t.deepEqual(it.healed, [`neighbour ${GATEWAY} dev eth0 was gone; put back`])
  await it.close()
})

test('a default route of a further interface, behind ours by its metric, keeps none of ours from being put back', async t => {
  const it = await watched()
  const { pod } = it
  const { index } = await pod.createLink({ kind: 'bridge', name: 'net1' })
  await pod.setLink('net1', { up: true })
  const route = { dst: '0.0.0.0/0', table: 254, type: 'unicast', protocol: 3, scope: 253, ifindex: index } as const
  await pod.changeRoutes([{ verb: 'add', route: { ...route, metric: 1 } }])
  await it.lose('default')
  await it.settle(300)
  t.deepEqual(it.healed, ['route 0.0.0.0/0 dev eth0 was gone; put back'])
  await it.close()
})

test('what was not as described before it was first looked at is left so, and kept once it was right', async t => {
  const it = await watched({ start: false })
  await it.lose('default')
  const [address] = (await it.pod.routes({ table: 254 })).map(({ ifindex }) => ifindex)
  await it.watch.start()
  for (let i = 0; i < 3; i++) await it.settle(100)
  await it.lose('neighbour')
  await it.settle(300)
  t.deepEqual(it.healed, [`neighbour ${GATEWAY} dev eth0 was gone; put back`])
  const route = { dst: '0.0.0.0/0', table: 254, type: 'unicast', protocol: 3, scope: 0, gateway: GATEWAY } as const
  await it.pod.changeRoutes([{ verb: 'add', route: { ...route, ifindex: address! } }])
  await it.lose('neighbour')
  await it.settle(300)
  await it.lose('default')
  await it.settle(300)
  t.is(it.healed.at(-1), 'route 0.0.0.0/0 dev eth0 was gone; put back')
  await it.close()
})

test('what a plugin behind ours takes away in the ten seconds after an ADD stays away', async t => {
  const it = await watched()
  const other = '/run/netns/other'
  await added(it.host, 'c2', other)
  using pod = it.host.world.kernel().inside(other)
  const ours = (await pod.routes({ table: 254 })).filter(({ dst }) => dst === '0.0.0.0/0')
  await pod.changeRoutes(ours.map(route => ({ verb: 'delete', route })))
  for (const ms of [300, 5000, 5000, 300]) await it.settle(ms)
  t.deepEqual(await pod.routes({ table: 254, dst: '0.0.0.0/0' }), [])
  const { index: ifindex } = (await pod.link('eth0'))!
  await pod.deleteNeighbour({ ifindex, address: GATEWAY, permanent: true })
  await it.settle(300)
  t.deepEqual(it.healed, [`neighbour ${GATEWAY} dev eth0 was gone; put back`])
  await it.close()
})

test('a repair that is undone twice is left for its pod to undo, and is told until it is right again', async t => {
  const it = await watched()
  for (let i = 0; i < 2; i++) {
    await it.lose('default')
    await it.settle(300)
  }
  t.is(it.healed.length, 2)
  const ours = (await it.pod.routes({ table: 254, dst: '0.0.0.0/0' }))[0]!
  await it.lose('default')
  await it.settle(300)
  t.is(it.healed.length, 2)
  t.regex(
    it.told().join(),
    /^PodsIntact UndoneInPod: in the pod route 0\.0\.0\.0\/0 dev eth0 was gone: it was put back twice/,
  )
  for (let i = 0; i < 4; i++) await it.settle(10_000)
  t.is(it.told().length, 1, 'it goes on as long as it is so')
  await it.pod.changeRoutes([{ verb: 'add', route: ours }])
  await it.settle(10_000)
  t.deepEqual(it.told(), [])
  await it.lose('default')
  await it.settle(300)
  t.is(it.healed.length, 3)
  await it.close()
})

test('a repair that is undone twice is tried again after a minute, then after longer, up to ten minutes, and is told meanwhile', async t => {
  const it = await watched({ by: { pid: 7, name: 'vpn' } })
  for (let i = 0; i < 3; i++) {
    await it.lose('default')
    await it.settle(300)
  }
  const message = it.told().join()
  t.regex(message, /route 0\.0\.0\.0\/0 dev eth0 was deleted by vpn \(process 7\): it was put back twice/)
  const triedAfterS: number[] = []
  for (let s = 0; triedAfterS.length < 6; s += 10) {
    const { length } = it.healed
    await it.settle(10_000)
    t.is(it.told().join(), message)
    if (it.healed.length === length) continue
    triedAfterS.push(s + 10)
    s = -10
    if (triedAfterS.length < 6) await it.lose('default')
  }
  t.deepEqual(triedAfterS, [60, 120, 240, 480, 600, 600])
  await it.settle(10_000)
  t.deepEqual(it.told(), [], 'it stayed')
  await it.lose('default')
  await it.settle(300)
  t.is(it.healed.length, 9, 'as if nothing had been')
  await it.close()
})

test('a pod that changes its interface without end is looked at five times in a second', async t => {
  const it = await watched()
  const { inside } = it.host.deps.kernel
  let looks = 0
  it.host.deps.kernel.inside = (...of) => {
    looks++
    return inside.apply(it.host.deps.kernel, of)
  }
  const { index: ifindex } = (await it.pod.link('eth0'))!
  const gateway = (await it.pod.neighbours(ifindex)).find(({ address }) => address === GATEWAY)!
  for (let ms = 0; ms < 2000; ms += 20) {
    await it.pod.setNeighbour({ ...gateway, mac: '02:00:00:00:00:09' })
    await it.pod.setNeighbour(gateway)
    await it.settle(20)
  }
  t.true(looks >= 5 && looks <= 11, `${looks} looks`)
  t.deepEqual([it.healed, it.told()], [[], []])
  await it.close()
})

test('a pod that sets its link down and up without end is put right once in a second', async t => {
  const it = await watched({ start: false })
  const { interfaceName } = it.host.deps.endpoints.live()[0]!
  const before = await stateOf(it.pod)
  for (let ms = 0; ms < 1900; ms += 50) {
    for (const up of [false, true]) await it.pod.setLink('eth0', { up })
    it.repair.linkChanged((await it.host.deps.kernel.link(interfaceName))!)
    await it.settle(50)
    if (ms === 0) t.deepEqual(await stateOf(it.pod), before)
  }
  t.is(it.healed.length, 2)
  await it.settle(1000)
  t.is(it.healed.length, 3)
  t.deepEqual(await stateOf(it.pod), before, 'nothing of the last time is forgotten')
  await it.close()
})

test('what is repaired seldom is repaired each time', async t => {
  const it = await watched()
  for (let i = 1; i <= 5; i++) {
    await it.lose('neighbour')
    await it.settle(6000)
    t.is(it.healed.length, i)
  }
  t.deepEqual(it.told(), [])
  await it.close()
})

test('a pod whose lists are too long to be looked through is told when it loses something', async t => {
  const it = await watched()
  const { index: ifindex } = (await it.pod.link('eth0'))!
  for (let i = 0; i < 20_001; i++) {
    const address = `172.${16 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}`
    await it.pod.addAddress({ ifindex, address, length: 32, scope: 254 })
  }
  await it.settle(300)
  t.deepEqual(it.told(), [])
  await it.lose('neighbour')
  await it.settle(300)
  t.regex(it.told().join(), /^PodsIntact Refused: what the pod lost cannot be put back: .*E2BIG/)
  await call(it.host, 'DEL')
  await it.settle(300)
  t.deepEqual(it.told(), [], 'it goes with its pod')
  await it.close()
})

test('a pod that is taken away is not put back, and nothing is told of it', async t => {
  const it = await watched()
  await it.lose('default')
  await call(it.host, 'DEL')
  await it.settle(300)
  t.deepEqual([it.healed, it.told()], [[], []])
  const other = await watched()
  await other.lose('default')
  other.host.world.removeNetns(POD)
  await other.settle(300)
  t.deepEqual([other.healed, other.told()], [[], []])
  await other.close()
  await it.close()
})

test('where nothing is told of pods, and after lost events, all are looked at in turns', async t => {
  const it = await watched({ hearsPods: false })
  await it.lose('neighbour')
  await it.settle(1000)
  await it.settle(100)
  t.deepEqual(it.healed, [`neighbour ${GATEWAY} dev eth0 was gone; put back`])
  await it.close()
  const other = await watched()
  const netns = other.host.world.netns(POD)
  netns.neighbours = []
  await other.settle(1000)
  t.deepEqual(other.healed, [], 'nothing was told')
  other.host.world.overrun(POD)
  await other.settle(300)
  await other.settle(100)
  t.deepEqual(other.healed, [`neighbour ${GATEWAY} dev eth0 was gone; put back`])
  await other.close()
})

test('addresses that a pod has beside its own are known, until they or the pod are gone', async t => {
  const it = await watched()
  const { index: ifindex } = (await it.pod.link('eth0'))!
  const foreign = () => [...it.watch.foreignAddresses()].map(({ endpoint, address }) => [endpoint.containerID, address])
  const address = { ifindex, address: '10.0.0.77', length: 32, scope: 0 }
  t.deepEqual(foreign(), [])
  await it.pod.addAddress(address)
  await it.settle(0)
  t.deepEqual([foreign(), it.addressesChanged()], [[['c1', '10.0.0.77']], 1])
  await it.pod.deleteAddress(address)
  await it.settle(0)
  t.deepEqual([foreign(), it.addressesChanged()], [[], 2])
  // on whichever interface
  await it.pod.addAddress({ ...address, ifindex: 1 })
  await it.settle(0)
  t.deepEqual(foreign(), [['c1', '10.0.0.77']])
  // and what was there before
  it.watch.close()
  const later = new PodWatch({
    ...{ ...it.host.deps, kernel: it.host.world.kernel(), report: () => undefined, addressesChanged: () => undefined },
    repair: new PodRepair({ ...it.host.deps, healed: () => undefined }),
  })
  await later.start()
  for (let i = 0; i < 2; i++) await it.settle(100)
  t.deepEqual(
    [...later.foreignAddresses()].map(each => each.address),
    ['10.0.0.77'],
  )
  await call(it.host, 'DEL')
  t.deepEqual([...later.foreignAddresses()], [])
  later.close()
  await it.close()
})
