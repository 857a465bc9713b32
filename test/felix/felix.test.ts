// Felix on the fake kernel, which has every tunnel kind.
import test from 'ava'
import { Felix } from '../../felix/loop.ts'
import { nodeMarks } from '../../felix/marks.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import type { Kernel, KernelEvent } from '../../kernel/port/kernel.ts'
import { ROUTE_TABLE } from '../../kernel/port/routes.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { addLink, routeTo, setUpNode } from './node-kernel.ts'
import { felixSuite } from './suite.ts'
import { endpoint, FULL, learned, tell, VXLAN_POOL } from './worlds.ts'

felixSuite(test, {
  full: FULL,
  open: async () => {
    const world = new FakeWorld()
    return { kernel: world.kernel(), otherProgram: world.kernel(), close: async () => {} }
  },
})

/** Felix in sync with pod `a` on a kernel that tells no events but those given to `tell`; `hooks` are called in place of its methods. */
async function withPod(hooks: Partial<Kernel> = {}) {
  const real = new FakeWorld().kernel()
  await setUpNode(real)
  await addLink(real, 'calia')
  let listener: (event: KernelEvent) => void = () => {}
  const kernel = new Proxy(real, {
    get(target, name: keyof Kernel) {
      if (name === 'monitor')
        return (listen: typeof listener) => {
          listener = listen
          return { close: () => undefined }
        }
      const method = hooks[name] ?? target[name]
      return typeof method === 'function' ? method.bind(target) : method
    },
  })
  const marks = nodeMarks({ routeProtocol: 80, interfacePrefix: 'cali' })
  const clock = new ManualClock()
  const felix = new Felix(kernel, { clock, log: silentLog, marks, onConditions: () => {} })
  felix.start()
  tell(felix, { ...FULL, endpoints: [endpoint('a', '10.244.1.5')] })
  for (const source of ['datastore', 'endpoints', 'bgp'] as const) felix.complete(source)
  await felix.inSync()
  const makeAgain = async () => {
    await real.deleteLink('calia')
    await real.createLink({ kind: 'veth', name: 'calia', peer: { name: 'p-calia' } })
  }
  return { real, felix, clock, makeAgain, tell: (event: KernelEvent) => listener(event) }
}

test('an interface that is made again during a pass has everything when its endpoint counts as applied', async t => {
  const held = Promise.withResolvers<void>()
  const reached = Promise.withResolvers<void>()
  const hooks: Partial<Kernel> = {}
  const { real, felix, makeAgain } = await withPod(hooks)
  hooks.changeRoutes = async changes => {
    reached.resolve()
    await held.promise
    return real.changeRoutes(changes)
  }
  felix.set('learned', '10.99.0.0/26', learned('10.99.0.0/26', '192.168.10.12'))
  await reached.promise
  await makeAgain()
  const applied = felix.applied('a')
  delete hooks.changeRoutes
  held.resolve()
  await applied
  t.is(real.readSysctl('ipv4', ['conf', 'calia', 'proxy_arp']).trim(), '1')
  t.truthy(await routeTo(real, '10.244.1.5/32'))
  await felix.close()
})

test('an interface that is made again has everything, though a late event tells of the one before it', async t => {
  const hooks: Partial<Kernel> = {}
  const { real, felix, makeAgain, tell } = await withPod(hooks)
  const before = (await real.link('calia'))!
  await makeAgain()
  hooks.setNeighbour = neighbour => {
    delete hooks.setNeighbour
    tell({ type: 'link', link: { ...before, up: false } })
    return real.setNeighbour(neighbour)
  }
  await t.notThrowsAsync(felix.applied('a'))
  t.is((await routeTo(real, '10.244.1.5/32'))?.ifindex, (await real.link('calia'))!.index)
  await felix.close()
})

test('an interface that is made again while the one before it is looked up has everything when it counts as applied', async t => {
  const hooks: Partial<Kernel> = {}
  const { real, felix, makeAgain } = await withPod(hooks)
  const second = Promise.withResolvers<void>()
  hooks.link = async of => {
    delete hooks.link
    const found = await real.link(of)
    await makeAgain()
    second.resolve(felix.applied('a'))
    return found
  }
  await felix.applied('a')
  await t.notThrowsAsync(second.promise)
  t.is((await routeTo(real, '10.244.1.5/32'))?.ifindex, (await real.link('calia'))!.index)
  await felix.close()
})

test('an interface that is made again while something else is refused has everything when its endpoint counts as applied', async t => {
  const { real, felix, makeAgain } = await withPod()
  // after what was refused, all links are read again, the new one among them
  felix.set('endpoint', 'nowhere', endpoint('nowhere', '10.244.1.77'))
  await t.throwsAsync(felix.applied('nowhere'))
  await makeAgain()
  await t.notThrowsAsync(felix.applied('a'))
  t.is(real.readSysctl('ipv4', ['conf', 'calia', 'proxy_arp']).trim(), '1')
  t.true((await real.link('calia'))!.up)
  t.is((await routeTo(real, '10.244.1.5/32'))?.ifindex, (await real.link('calia'))!.index)
  await felix.close()
})

test('a VXLAN device that no pool asks for any more goes after the routes over it have another way', async t => {
  const hooks: Partial<Kernel> = {}
  const { real, felix } = await withPod(hooks)
  const { index } = (await real.link('vxlan.calico'))!
  t.is((await routeTo(real, '10.245.3.0/26'))?.ifindex, index)
  const gone = Promise.withResolvers<string[]>()
  hooks.deleteLink = async of => {
    const routes = await real.routes({ table: ROUTE_TABLE.main })
    gone.resolve(routes.filter(({ ifindex, protocol }) => ifindex === index && protocol === 80).map(({ dst }) => dst))
    return real.deleteLink(of)
  }
  felix.set('learned', '10.244.4.0/26', undefined)
  felix.set('pool', VXLAN_POOL.cidr, { ...VXLAN_POOL, ipip: 'Always', vxlan: 'Never' })
  t.deepEqual(await gone.promise, [])
  await felix.inSync()
  t.is(await real.link('vxlan.calico'), undefined)
  t.is((await routeTo(real, '10.245.3.0/26'))?.ifindex, (await real.link('tunl0'))!.index)
  await felix.close()
})

test('a pod counts as applied only when the tables of NAT are there too, which need all pools', async t => {
  const kernel = new FakeWorld().kernel()
  await setUpNode(kernel)
  await addLink(kernel, 'calia')
  const marks = nodeMarks({ routeProtocol: 80, interfacePrefix: 'cali' })
  const felix = new Felix(kernel, { clock: new ManualClock(), log: silentLog, marks, onConditions: () => {} })
  felix.start()
  felix.complete('endpoints')
  tell(felix, { ...FULL, endpoints: [endpoint('a', '10.244.1.5')] })
  const stands = async (family: 'inet' | 'ip') => (await kernel.nftables({ family, name: 'margay' })) !== undefined
  let nat: Promise<boolean> | undefined
  const answered = felix.applied('a').then(() => {
    nat = stands('ip')
  })
  await felix.applied()
  t.true(await stands('inet'), 'the pod filter is there')
  t.is(nat, undefined)
  felix.complete('datastore')
  await answered
  t.true(await nat)
  await felix.close()
})

test('however often metrics are read, the kernel tells the counters of all rules once in ten seconds', async t => {
  const hooks: Partial<Kernel> = {}
  const { real, felix, clock } = await withPod(hooks)
  let reads = 0
  hooks.ruleCounters = async of => {
    if (of.name === 'margay-policy') reads++
    return real.ruleCounters(of)
  }
  for (let second = 0; second < 30; second++) {
    await felix.ruleCounts('late')
    clock.advance(1000)
  }
  t.is(reads, 3)
  await felix.ruleCounts('now')
  t.is(reads, 4, 'a person is told what is now')
  await felix.close()
})

test('chains of other programs are looked at once another uplink is known, not for each interface with a subnet', async t => {
  let looks = 0
  const hooks: Partial<Kernel> = {}
  const { real, felix, clock, tell: told } = await withPod(hooks)
  hooks.forwardChains = () => {
    looks++
    return real.forwardChains()
  }
  const looksAfter = async (change: () => Promise<void> | void) => {
    clock.advance(10_000)
    for (let turn = 0; turn < 10; turn++) await new Promise(setImmediate)
    looks = 0
    await change()
    await felix.inSync()
    clock.advance(10_000)
    for (let turn = 0; turn < 10; turn++) await new Promise(setImmediate)
    return looks > 0
  }
  const inSubnet = async (name: string, address: string) => {
    await addLink(real, name)
    const { index: ifindex } = (await real.link(name))!
    await real.addAddress({ ifindex, address, length: 24, scope: 0 })
    told({ type: 'address', address: { ifindex, address, length: 24, scope: 0 } })
  }
  t.false(await looksAfter(() => inSubnet('br-1', '172.18.0.1')))
  t.false(await looksAfter(() => inSubnet('eth1', '192.168.77.11')))
  t.true(await looksAfter(() => void felix.set('remote', 'n7', { name: 'n7', address: '192.168.77.12' })))
  await felix.close()
})
