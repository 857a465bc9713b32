// What felix promises to do with a kernel; the same tests run on the fake and on the real one.
// Over 400 lines: one list of promises that two test files run.
import { setImmediate as nextTurn } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import type { ExecutionContext } from 'ava'
import { type Condition, conditionKey } from '../../api/status.ts'
import { Felix, type FelixDeps } from '../../felix/loop.ts'
import { nodeMarks } from '../../felix/marks.ts'
import { removeFromKernel } from '../../felix/removal.ts'
import type { Repair } from '../../felix/repairs.ts'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import type { NextHopChange } from '../../kernel/port/next-hops.ts'
import type { NftChange, NftElements } from '../../kernel/port/nftables.ts'
import type { Route, RouteFilter } from '../../kernel/port/routes.ts'
import { ApplyError } from '../../kernel/reconcile/outcome.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { addLink, eventually, kernelState, routeTo, type Spy, setUpLink, setUpNode, spy, table } from './node-kernel.ts'
import { EMPTY, IPIP_POOL, learned, N4, steps, tell, variants, WITHOUT_IPIP, type World } from './worlds.ts'

export type TestKernels = {
  /** A kernel with nothing in it but lo; `otherProgram` is what another program has of the same one. */
  open(): Promise<{ kernel: Kernel; otherProgram: Kernel; close(): Promise<void> }>
  /** The richest world this kernel can hold. */
  full: World
}

type NodeUnderTest = {
  spy: Spy
  otherProgram: Kernel
  healed: string[]
  /** What was told of all repairs. */
  told: string[]
  clock: ManualClock
  /** `kernel`: another than that of `spy`. */
  start(from?: Partial<FelixDeps>, kernel?: Kernel): Felix
}

const MARKS = nodeMarks({ routeProtocol: 80, interfacePrefix: 'cali' })

const INET = { family: 'inet', table: 'margay' } as const
const element = (address: string): NftElements => {
  const elements = [{ key: ['calia', address] }]
  return { kind: 'elements', ...INET, set: 'pod_ipv4', type: 'ifname . ipv4_addr', elements }
}
/** What another program does to the pod filter, and what is healed then. */
const filterDamages: readonly (readonly [what: string, change: NftChange, healed: string])[] = [
  [
    'a pod filter that was deleted',
    { verb: 'delete', object: { kind: 'table', family: 'inet', name: 'margay' } },
    'NftTable inet margay',
  ],
  [
    'a pod filter for ARP that was deleted',
    { verb: 'delete', object: { kind: 'table', family: 'arp', name: 'margay' } },
    'NftTable arp margay',
  ],
  [
    'a chain of the pod filter that was emptied',
    { verb: 'flush', object: { kind: 'chain', ...INET, name: 'from_pod' } },
    'NftTable inet margay',
  ],
  [
    'a pod filter with a chain of another program',
    { verb: 'add', object: { kind: 'chain', ...INET, name: 'foreign' } },
    'NftTable inet margay',
  ],
  [
    'the address of a pod that was taken out of the pod filter',
    { verb: 'delete', object: element('10.244.1.5') },
    'NftElement inet margay pod_ipv4 calia . 10.244.1.5',
  ],
  [
    'an address that another program added to the pod filter',
    { verb: 'add', object: element('192.0.2.9') },
    'NftElement inet margay pod_ipv4 calia . 192.0.2.9',
  ],
]

/** The kernel has told of every write by the time of its answer; what it told is taken in within two turns of the event loop. */
async function toldOfOwnWrites(): Promise<void> {
  for (let turn = 0; turn < 2; turn++) await nextTurn()
}

/** `test` or `test.serial`. */
type Declare = (title: string, run: (t: ExecutionContext) => Promise<void>) => void

export function felixSuite(test: Declare, { open, full }: TestKernels): void {
  /** A node with its uplink and the interfaces of the pods; everything is closed after `run`. */
  const onNode = async (run: (node: NodeUnderTest) => Promise<void>) => {
    const { kernel, otherProgram, close } = await open()
    const felixes: Felix[] = []
    const clock = new ManualClock()
    const healed: string[] = []
    const told: string[] = []
    try {
      await setUpNode(otherProgram)
      for (const { interfaceName } of full.endpoints) await addLink(otherProgram, interfaceName)
      const watched = spy(kernel)
      const onRepair = ({ type, object: { kind, name }, message }: Repair) => {
        told.push(`${type}: ${message}`)
        if (type !== 'LetPass') healed.push(`${kind} ${name}`)
      }
      const start = (deps: Partial<FelixDeps> = {}, of = watched.kernel) => {
        const felix = new Felix(of, {
          clock,
          log: silentLog,
          marks: MARKS,
          onConditions: () => {},
          onRepair,
          usedMs: () => 0,
          ...deps,
        })
        felixes.push(felix)
        felix.start()
        return felix
      }
      await run({ spy: watched, otherProgram, healed, told, clock, start })
    } finally {
      for (const felix of felixes) await felix.close()
      await close()
    }
  }

  /** A felix that has brought the full world about. */
  const startInSync = async ({ start }: NodeUnderTest, world: World = full): Promise<Felix> => {
    const felix = start()
    tell(felix, world)
    for (const source of ['datastore', 'endpoints', 'bgp'] as const) felix.complete(source)
    await felix.inSync()
    await toldOfOwnWrites()
    await felix.inSync()
    return felix
  }

  test('every order of the same changes, from nothing to a full node, ends with the same kernel state', async t => {
    const ends = new Map<string, unknown>()
    for (const [variant, walk] of Object.entries(variants(steps(EMPTY, full))))
      await onNode(async ({ start, otherProgram }) => {
        const felix = start()
        tell(felix, EMPTY)
        for (const source of ['datastore', 'endpoints', 'bgp'] as const) felix.complete(source)
        for (const step of walk) {
          tell(felix, step)
          await felix.applied().catch(() => undefined)
        }
        await felix.inSync()
        ends.set(variant, await kernelState(otherProgram))
      })
    const [first, ...others] = ends.values()
    t.true((first as { routes: string[] }).routes.length > 5)
    for (const other of others) t.deepEqual(other, first)
  })

  test('a second apply sends nothing', t =>
    onNode(async it => {
      const felix = await startInSync(it)
      await felix.applied()
      it.spy.writes.length = 0
      tell(felix, { ...full })
      await felix.applied()
      await felix.applied()
      t.deepEqual(it.spy.writes, [])
    }))

  test('groups of learned paths keep their flows where that is asked for, and a kernel that has none is told', t =>
    onNode(async it => {
      const told = new Map<string, Condition | undefined>()
      let isOld = false
      const kernel = new Proxy(it.spy.kernel, {
        get(target, name: keyof Kernel) {
          if (name !== 'changeNextHopObjects') return Reflect.get(target, name)
          return async (changes: readonly NextHopChange[]) => {
            const answers: (KernelError | undefined)[] = []
            for (const change of changes)
              if (isOld && change.object.resilient !== undefined)
                answers.push(new KernelError(ERRNO.EINVAL, 'add next hop object', '1', 'Invalid group type'))
              else answers.push(...(await target.changeNextHopObjects([change])))
            return answers
          }
        },
      })
      const felix = await startInSync({
        ...it,
        start: () =>
          it.start(
            { onConditions: changes => changes.forEach((condition, key) => void told.set(key, condition)) },
            kernel,
          ),
      })
      const paths = ['192.168.10.1', '192.168.10.2'].map(nextHop => ({ nextHop, encapsulations: [] }))
      felix.set('learned', '198.51.101.0/24', { prefix: '198.51.101.0/24', ...paths[0]!, paths })
      const type = async (resilient?: { buckets: number; idleSeconds: number }) => {
        tell(felix, { config: { ...full.config, ...(resilient && { resilient }) } })
        await felix.inSync()
        const groups = ((await it.otherProgram.nextHopObjects()) ?? []).filter(({ group }) => group !== undefined)
        t.is(groups.length, 1)
        return groups[0]?.resilient
      }
      t.is(await type(), undefined)
      const resilient = { buckets: 512, idleSeconds: 120 }
      t.deepEqual(await type(resilient), resilient)
      t.is(await type(), undefined)
      t.deepEqual(told.get('KernelInSync BGPConfiguration default'), undefined)
      isOld = true
      t.is(await type(resilient), undefined)
      t.like(told.get('KernelInSync BGPConfiguration default'), { reason: 'NoResilientGroups' })
      t.is(await type(), undefined)
      t.is(told.get('KernelInSync BGPConfiguration default'), undefined)
      t.false(it.spy.lost.includes('198.51.101.0/24'))
    }))

  test('what felix made is removed from the kernel, what others made stays, and the second time nothing is found', t =>
    onNode(async it => {
      const felix = await startInSync(it)
      for (const [address, to] of [
        ['10.244.9.7', '10.244.1.5'],
        ['fd00:9::7', 'fd00:1::6'],
      ] as const)
        felix.set('floating', address, { at: 'here', endpoint: to === '10.244.1.5' ? 'a' : 'b', to })
      felix.completeFloating()
      const paths = ['192.168.10.1', '192.168.10.2'].map(nextHop => ({ nextHop, encapsulations: [] }))
      felix.set('learned', '198.51.101.0/24', { prefix: '198.51.101.0/24', ...paths[0]!, paths })
      await felix.inSync()
      t.is((await it.otherProgram.nextHopObjects())?.length, 3, 'two next hops and their group')
      await felix.close()
      const { index: ifindex } = (await it.otherProgram.link('eth0'))!
      const hop = { id: 7, protocol: 80, hop: { gateway: '192.168.10.9', ifindex } }
      t.deepEqual(await it.otherProgram.changeNextHopObjects([{ verb: 'add', object: hop }]), [undefined])
      const foreign = { dst: '198.51.100.0/24', table: 254, type: 'unicast', protocol: 4, scope: 253, ifindex } as const
      t.deepEqual(await it.otherProgram.changeRoutes([{ verb: 'add', route: foreign }]), [undefined])
      for (const name of ['mgbwa', 'ifb-of-another']) await it.otherProgram.createLink({ kind: 'ifb', name })
      // of a probe, left by an agent that was killed on a kernel where tables have no owner
      const trace = { kind: 'table', family: 'inet', name: 'margay-trace' } as const
      t.deepEqual(await it.otherProgram.changeNftables([{ verb: 'add', object: trace }]), [])
      const destinations = full.pools.map(({ cidr }) => cidr)
      const removed = await removeFromKernel(it.spy.kernel, { marks: MARKS, pools: destinations })
      const tables = [
        ...['table inet margay', 'table inet margay-services', 'table inet margay-trace'],
        ...['table ip margay-floating', 'table ip6 margay-floating'],
      ]
      t.true(['link calia', 'link mgbwa', ...tables].every(each => removed.includes(each)))
      await it.otherProgram.deleteLink('ifb-of-another')
      const { routes, neighbours, links, addresses, nftables } = await kernelState(it.otherProgram)
      const names = (await it.otherProgram.links()).map(({ name }) => name)
      t.true(routes.some(route => route.includes('198.51.100.0/24')))
      t.deepEqual({ neighbours, addresses, nftables }, { neighbours: [], addresses: [], nftables: [] })
      t.deepEqual(
        links.filter(link => !/^tunl0 \d+ false/.test(link)),
        [],
      )
      t.deepEqual(
        names.filter(name => name.startsWith('cali') || name === 'vxlan.calico'),
        [],
      )
      t.deepEqual(await it.otherProgram.routes({ protocol: 80 }), [])
      t.deepEqual(await it.otherProgram.nextHopObjects(), [hop], 'that of another program stays')
      t.deepEqual(await removeFromKernel(it.spy.kernel, { marks: MARKS, pools: destinations }), [])
      // a kernel without nftables: with netfilter's sockets, and without
      for (const errno of [ERRNO.EINVAL, ERRNO.EPROTONOSUPPORT]) {
        const nftables = { value: () => Promise.reject(new KernelError(errno, 'list', 'table')) }
        const without: typeof it.spy.kernel = Object.create(it.spy.kernel, { nftables })
        t.deepEqual(await removeFromKernel(without, { marks: MARKS, pools: destinations }), [])
      }
    }))

  test('when everything is gone, felix removes all it made except the route to the pods’ gateway', t =>
    onNode(async it => {
      const felix = await startInSync(it)
      tell(felix, EMPTY)
      await felix.inSync()
      const { routes, neighbours, links, addresses } = await kernelState(it.otherProgram)
      t.deepEqual(routes, ['unicast 169.254.1.1/32 dev lo proto 80'])
      t.deepEqual(neighbours, [])
      t.false(links.some(line => line.startsWith('vxlan.calico')))
      t.deepEqual(addresses, [])
    }))

  const damages: Record<string, { damage(otherProgram: Kernel): Promise<void>; names: string; says?: RegExp }> = {
    'a learned route that was deleted': {
      damage: otherProgram => removeRoute(otherProgram, '10.244.2.0/26'),
      names: 'Route 10.244.2.0/26',
      says: /^route 10\.244\.2\.0\/26 was (gone|deleted by .*); put back: via 192\.168\.10\.12 dev eth0 proto 80$/,
    },
    'a learned route that was pointed elsewhere': {
      async damage(otherProgram) {
        const route = (await routeTo(otherProgram, '10.244.2.0/26'))!
        await otherProgram.changeRoutes([
          { verb: 'replace', route: { ...route, gateway: '192.168.10.99', protocol: 3 } },
        ])
      },
      names: 'Route 10.244.2.0/26',
      says: /^route 10\.244\.2\.0\/26 was changed from via 192\.168\.10\.12 dev eth0 proto 80 to via 192\.168\.10\.99 dev eth0 proto 3 by .*; put back$/,
    },
    'a workload route that was deleted': {
      damage: otherProgram => removeRoute(otherProgram, '10.244.1.5/32'),
      names: 'Route 10.244.1.5/32',
    },
    'a blackhole that was deleted': {
      damage: otherProgram => removeRoute(otherProgram, '10.244.1.0/26'),
      names: 'Route 10.244.1.0/26',
    },
    'the route to the gateway of the pods that was deleted': {
      damage: otherProgram => removeRoute(otherProgram, '169.254.1.1/32'),
      names: 'Route 169.254.1.1/32 metric 1024',
    },
    'vxlan.calico that was deleted': {
      damage: otherProgram => otherProgram.deleteLink('vxlan.calico'),
      names: 'Link vxlan.calico',
    },
    'vxlan.calico that was taken down': {
      damage: otherProgram => otherProgram.setLink('vxlan.calico', { up: false }),
      names: 'Link vxlan.calico',
      says: /^interface vxlan\.calico was changed from up to down by .*; put back$/,
    },
    'a tunnel address that was deleted': {
      damage: otherProgram => removeAddress(otherProgram, 'vxlan.calico', '10.245.1.1'),
      names: 'Address vxlan.calico 10.245.1.1',
      says: /^address 10\.245\.1\.1 on vxlan\.calico was (gone|deleted by .*); put back$/,
    },
    'a neighbour that was deleted': {
      async damage(otherProgram) {
        const { index } = (await otherProgram.link('calia'))!
        await otherProgram.deleteNeighbour({ ifindex: index, address: '10.244.1.5', permanent: true })
      },
      names: 'Neighbour calia 10.244.1.5',
    },
    'a VTEP neighbour with another MAC': {
      async damage(otherProgram) {
        const { index } = (await otherProgram.link('vxlan.calico'))!
        await otherProgram.setNeighbour({
          ifindex: index,
          address: '10.245.3.1',
          mac: '02:00:00:00:00:99',
          permanent: true,
        })
      },
      names: 'Neighbour vxlan.calico 10.245.3.1',
      says: /^neighbour 10\.245\.3\.1 on vxlan\.calico was changed from lladdr \S+ permanent to lladdr 02:00:00:00:00:99 permanent by .*; put back$/,
    },
    'a forwarding entry that was deleted': {
      async damage(otherProgram) {
        const { index } = (await otherProgram.link('vxlan.calico'))!
        const entries = await otherProgram.fdb(index)
        await otherProgram.deleteFdb(entries.find(({ mac }) => mac === '66:00:00:00:00:03')!)
      },
      names: 'FdbEntry vxlan.calico 66:00:00:00:00:03',
      says: /^forwarding entry 66:00:00:00:00:03 on vxlan\.calico was (gone|deleted by .*); put back: dst 192\.168\.\S+$/,
    },
    'the routes of an interface that flapped': {
      async damage(otherProgram) {
        await otherProgram.setLink('calia', { up: false })
        await otherProgram.setLink('calia', { up: true })
      },
      names: 'Route 10.244.1.5/32',
    },
    'a pod interface that was taken down': {
      damage: otherProgram => otherProgram.setLink('calia', { up: false }),
      names: 'Link calia',
    },
    'the MTU of a pod interface that was changed': {
      damage: otherProgram => otherProgram.setLink('calia', { mtu: 1280 }),
      names: 'Link calia',
      says: /^interface calia was changed from mtu \d+ to mtu 1280 by .*; put back$/,
    },
    'the routes of an uplink that flapped': {
      async damage(otherProgram) {
        await otherProgram.setLink('eth0', { up: false })
        await otherProgram.setLink('eth0', { up: true })
      },
      names: 'Route 10.244.2.0/26',
    },
  }
  for (const [what, change, names] of filterDamages)
    damages[what] = {
      async damage(otherProgram) {
        const refused = await otherProgram.changeNftables([change])
        if (refused.length > 0) throw refused[0]!.error
      },
      names,
    }
  if (full.capabilities.ipip) {
    damages['tunl0 that was taken down'] = {
      damage: otherProgram => otherProgram.setLink('tunl0', { up: false }),
      names: 'Link tunl0',
    }
    damages['the address of tunl0 that was deleted'] = {
      damage: otherProgram => removeAddress(otherProgram, 'tunl0', '10.244.1.1'),
      names: 'Address tunl0 10.244.1.1',
    }
  }
  for (const [what, { damage, names, says = /./ }] of Object.entries(damages))
    test(`heals and names ${what}`, t =>
      onNode(async it => {
        await startInSync(it)
        const before = await kernelState(it.otherProgram)
        it.healed.length = 0
        it.told.length = 0
        const startMs = performance.now()
        await damage(it.otherProgram)
        await eventually(`${names} healed`, () => {
          it.clock.advance(50)
          return it.healed.includes(names)
        })
        t.log(`${Math.round(performance.now() - startMs)} ms`)
        t.deepEqual(await kernelState(it.otherProgram), before)
        const told = it.told.map(text => text.replace(/^Healed: /, ''))
        t.true(
          told.some(text => says.test(text)),
          told.join('\n'),
        )
      }))

  const settings: readonly (readonly [path: readonly string[], alsoHealed?: readonly string[]])[] = [
    [['ip_forward'], ['conf/eth0/forwarding', 'conf/calia/forwarding', 'conf/vxlan.calico/forwarding']],
    [['conf', 'calia', 'proxy_arp']],
    [['conf', 'calia', 'forwarding']],
    [['conf', 'eth0', 'forwarding']],
    [['conf', 'vxlan.calico', 'forwarding']],
  ]
  for (const [path, alsoHealed = []] of settings)
    test(`${path.join('/')} that another program switched off is on again before any timer fires`, t =>
      onNode(async it => {
        await startInSync(it)
        t.is(it.otherProgram.readSysctl('ipv4', path).trim(), '1')
        it.healed.length = 0
        it.otherProgram.writeSysctl('ipv4', path, '0')
        await eventually('it is healed', () => it.healed.includes(`Sysctl net.ipv4 ${path.join('/')}`))
        for (const each of [path, ...alsoHealed.map(name => name.split('/'))])
          t.is(it.otherProgram.readSysctl('ipv4', each).trim(), '1')
        const setting = `Healed: setting net.ipv4/${path.join('/')} was changed from 1 to 0 by somebody else; put back`
        t.true(it.told.includes(setting), it.told.join('\n'))
      }))

  test('a setting of whose changes the kernel says nothing is healed within ten seconds', t =>
    onNode(async it => {
      const felix = await startInSync(it)
      for (const path of [
        ['conf', 'calia', 'route_localnet'],
        ['neigh', 'calia', 'proxy_delay'],
      ]) {
        const right = it.otherProgram.readSysctl('ipv4', path).trim()
        it.otherProgram.writeSysctl('ipv4', path, right === '1' ? '0' : '1')
        it.clock.advance(10_000)
        await felix.applied()
        t.is(it.otherProgram.readSysctl('ipv4', path).trim(), right)
      }
    }))

  test('settings that are as wanted cause no pass when the kernel tells of them', t =>
    onNode(async it => {
      await startInSync(it)
      const { index } = (await it.otherProgram.link('calia'))!
      await eventually('the echo of its own writes is read', async () => {
        it.spy.reads.length = 0
        for (let i = 0; i < 50; i++) await new Promise(setImmediate)
        return it.spy.reads.length === 0
      })
      for (const name of ['forwarding', 'proxy_arp'])
        it.spy.tell({ type: 'sysctl', family: 'ipv4', of: index, name, value: '1' })
      for (let i = 0; i < 5; i++) await new Promise(setImmediate)
      t.deepEqual(it.spy.reads, [])
    }))

  test('a link and settings as they were made, told after they are as wanted, cause no pass', t =>
    onNode(async it => {
      await startInSync(it)
      const made = (await it.otherProgram.link('calia'))!
      const isQuiet = async () => {
        it.spy.reads.length = 0
        for (let i = 0; i < 50; i++) await new Promise(setImmediate)
        return it.spy.reads.length === 0
      }
      await eventually('the echo of its own writes is read', isQuiet)
      it.spy.tell({ type: 'link', link: { ...made, mtu: 1500, up: false, running: false }, isNew: true })
      for (const name of ['forwarding', 'proxy_arp', 'rp_filter'])
        it.spy.tell({ type: 'sysctl', family: 'ipv4', of: made.index, name, value: '0', isNew: true })
      it.spy.tell({ type: 'sysctl', family: 'ipv4', of: made.index, name: 'proxy_arp', value: '0' })
      for (let i = 0; i < 5; i++) await new Promise(setImmediate)
      t.deepEqual(it.spy.reads, [])
      // the same of a change: what was on the link went with it, whatever it is now
      it.spy.tell({ type: 'link', link: { ...made, up: false, running: false } })
      await eventually('it is looked at', () => it.spy.reads.length > 0)
    }))

  test('an uplink that is down stops pods after two seconds, and is no news once it is up again', t =>
    onNode(async it => {
      const stops = new Map<string, string | undefined>()
      const onConditions: FelixDeps['onConditions'] = changes => {
        for (const [key, condition] of changes) if (key.startsWith('PodTraffic')) stops.set(key, condition?.reason)
      }
      const felix = it.start({ onConditions })
      tell(felix, full)
      for (const source of ['datastore', 'endpoints', 'bgp'] as const) felix.complete(source)
      await felix.inSync()
      await it.otherProgram.setLink('eth0', { up: false })
      await eventually('felix saw it', () => refused(felix.applied()))
      t.deepEqual([...stops], [])
      it.clock.advance(2000)
      await eventually('it is told', () => stops.size > 0)
      t.deepEqual([...stops], [['PodTrafficPasses Link eth0', 'LinkDown']])
      await it.otherProgram.setLink('eth0', { up: true })
      await eventually('it is over', () => {
        it.clock.advance(50)
        return stops.get('PodTrafficPasses Link eth0') === undefined
      })
    }))

  test('a restart removes no route, not even before the speaker has learned it again', t =>
    onNode(async it => {
      await (await startInSync(it)).close()
      const before = await kernelState(it.otherProgram)
      it.spy.lost.length = 0
      const felix = it.start()
      tell(felix, { ...full, learned: [], endpoints: [] })
      await felix.applied()
      tell(felix, { endpoints: full.endpoints })
      felix.complete('endpoints')
      await felix.applied()
      felix.complete('datastore')
      await felix.applied()
      t.deepEqual(await kernelState(it.otherProgram), before)
      it.spy.writes.length = 0
      tell(felix, { learned: full.learned })
      await felix.applied()
      felix.complete('bgp')
      await felix.inSync()
      t.deepEqual(await kernelState(it.otherProgram), before)
      t.deepEqual(it.spy.lost, [])
      t.deepEqual(it.spy.writes, [])
    }))

  test('a restart keeps a VXLAN device that only a learned block needs, with its entries, until BGP has converged', t =>
    onNode(async it => {
      // n4 lacks IP-in-IP: without its block nobody asks for VXLAN
      const world = { ...full, pools: [IPIP_POOL], learned: [learned('10.244.4.0/26', N4.address, [8])] }
      await (await startInSync(it, world)).close()
      const before = await kernelState(it.otherProgram)
      t.true(before.links.some(line => line.startsWith('vxlan.calico')))
      const felix = it.start()
      tell(felix, { ...world, learned: [] })
      felix.complete('endpoints')
      felix.complete('datastore')
      await felix.applied()
      t.deepEqual(await kernelState(it.otherProgram), before)
      tell(felix, { learned: world.learned })
      felix.complete('bgp')
      await felix.inSync()
      t.deepEqual(await kernelState(it.otherProgram), before)
      t.deepEqual(it.spy.lost, [])
    }))

  test('a refusal that lasts does not delay the next try after a new one', t =>
    onNode(async it => {
      it.spy.refused.add('10.244.2.0/26')
      const felix = it.start()
      tell(felix, full)
      for (const source of ['datastore', 'endpoints', 'bgp'] as const) felix.complete(source)
      for (let i = 0; i < 20; i++) {
        await t.throwsAsync(felix.applied())
        it.clock.advance(10_000)
      }
      it.spy.refused.add('10.244.4.0/26')
      await it.otherProgram.changeRoutes([
        { verb: 'delete', route: (await routeTo(it.otherProgram, '10.244.4.0/26'))! },
      ])
      await t.throwsAsync(felix.applied())
      it.spy.refused.delete('10.244.4.0/26')
      it.clock.advance(50)
      await eventually('the route is back', async () => (await routeTo(it.otherProgram, '10.244.4.0/26')) !== undefined)
    }))

  test('another MTU of the uplink becomes the MTU of the tunnel devices, and is told for the pods', t =>
    onNode(async it => {
      const told: number[] = []
      const felix = it.start({ onPodMtu: mtu => told.push(mtu) })
      tell(felix, full)
      for (const source of ['datastore', 'endpoints', 'bgp'] as const) felix.complete(source)
      await felix.inSync()
      await it.otherProgram.setLink('eth0', { mtu: 1400 })
      await eventually('vxlan.calico has 1350', async () => (await it.otherProgram.link('vxlan.calico'))?.mtu === 1350)
      t.deepEqual(told, [1450, 1350])
      t.is(felix.podMtu(), 1350)
    }))

  test('with an uplink for each family, blocks are reached over that of their next hop, and pods’ packets fit both', t =>
    onNode(async it => {
      await addLink(it.otherProgram, 'eth1')
      const { index: ifindex } = (await it.otherProgram.link('eth1'))!
      await it.otherProgram.addAddress({ ifindex, address: '2001:db8::11', length: 64, scope: 0 })
      await it.otherProgram.setLink('eth1', { mtu: 1400 })
      const felix = await startInSync(it, {
        ...full,
        node: { ...full.node!, ipv6: '2001:db8::11/64', ipv6Uplink: 'eth1' },
        pools: [...full.pools, { cidr: 'fd00::/16', ipip: 'Never', vxlan: 'Never', isExchanged: true }],
        learned: [...full.learned, learned('fd00:2::/122', '2001:db8::12')],
      })
      const lines = await table(it.otherProgram)
      t.true(lines.includes('unicast fd00:2::/122 via 2001:db8::12 dev eth1 proto 80'), lines.join('\n'))
      t.true(lines.includes('unicast 10.244.2.0/26 via 192.168.10.12 dev eth0 proto 80'))
      t.is(felix.podMtu(), 1350)
      await it.otherProgram.setLink('eth1', { mtu: 1300 })
      await eventually('vxlan.calico has 1250', async () => (await it.otherProgram.link('vxlan.calico'))?.mtu === 1250)
      await it.otherProgram.deleteLink('eth1')
      // over eth0 too
      await removeRoute(it.otherProgram, '10.244.2.0/26')
      await eventually('a pass knows that it is gone', () => it.healed.includes('Route 10.244.2.0/26'))
      await felix.applied().catch(() => undefined)
      t.is(felix.podMtu(), 1250, 'of an uplink that comes again pods keep the MTU')
    }))

  test('a route that no peer announces after a restart is removed once BGP has converged', t =>
    onNode(async it => {
      await (await startInSync(it)).close()
      const felix = it.start()
      tell(felix, { ...full, learned: full.learned.slice(1) })
      felix.complete('datastore')
      felix.complete('endpoints')
      await felix.applied()
      t.truthy(await routeTo(it.otherProgram, '10.244.2.0/26'))
      felix.complete('bgp')
      await felix.inSync()
      t.is(await routeTo(it.otherProgram, '10.244.2.0/26'), undefined)
      t.truthy(await routeTo(it.otherProgram, '10.244.4.0/26'))
    }))

  test('the gateway address that an earlier version put on lo is removed, another address of lo is kept', t =>
    onNode(async it => {
      const lo = (await it.otherProgram.link('lo'))!.index
      for (const address of ['169.254.1.1', '192.0.2.7'])
        await it.otherProgram.addAddress({ ifindex: lo, address, length: 32, scope: 253 })
      await startInSync(it)
      const left = (await it.otherProgram.addresses(lo)).map(({ address }) => address)
      t.false(left.includes('169.254.1.1'))
      t.true(left.includes('192.0.2.7'))
    }))

  test('when BGP never converges, routes of an earlier run are removed after the grace time', t =>
    onNode(async it => {
      await (await startInSync(it)).close()
      const felix = it.start({ bgpGraceMs: 5000 })
      tell(felix, { ...full, learned: [] })
      felix.complete('datastore')
      await felix.applied()
      t.truthy(await routeTo(it.otherProgram, '10.244.2.0/26'))
      it.clock.advance(5000)
      await felix.inSync()
      t.is(await routeTo(it.otherProgram, '10.244.2.0/26'), undefined)
    }))

  test('learned routes are not used before the pools are known', t =>
    onNode(async it => {
      const felix = it.start()
      tell(felix, { ...EMPTY, learned: full.learned })
      await felix.applied()
      t.deepEqual(
        (await table(it.otherProgram)).filter(line => / via .* proto 80/.test(line)),
        [],
      )
    }))

  test('another address of this node, for which vxlan.calico is made anew, leaves the device complete in one pass', t =>
    onNode(async it => {
      const felix = await startInSync(it)
      const { addresses, neighbours, fdb } = await kernelState(it.otherProgram)
      const { index } = (await it.otherProgram.link('eth0'))!
      await it.otherProgram.addAddress({ ifindex: index, address: '192.168.10.21', length: 24, scope: 0 })
      tell(felix, { node: { ...full.node!, ipv4: '192.168.10.21/24' } })
      await felix.applied()
      t.is((await it.otherProgram.link('vxlan.calico'))?.vxlan?.local, '192.168.10.21')
      const after = await kernelState(it.otherProgram)
      t.deepEqual(
        { addresses: after.addresses, neighbours: after.neighbours, fdb: after.fdb },
        { addresses, neighbours, fdb },
      )
    }))

  test('an endpoint whose interface is missing is refused alone, and done when the interface comes', t =>
    onNode(async it => {
      const felix = await startInSync(it)
      const late = { ...full.endpoints[0]!, id: 'late', interfaceName: 'calilate', addresses: ['10.244.1.9'] }
      tell(felix, { endpoints: [...full.endpoints, late], learned: full.learned.slice(1) })
      const error = await t.throwsAsync(felix.applied('late'))
      t.regex(error!.message, /calilate is not there/)
      await felix.applied('a')
      t.is(await routeTo(it.otherProgram, '10.244.2.0/26'), undefined)
      await addLink(it.otherProgram, 'calilate')
      await felix.inSync()
      t.truthy(await routeTo(it.otherProgram, '10.244.1.9/32'))
    }))

  test('a route that the kernel refuses is tried again and does not stop other routes', t =>
    onNode(async it => {
      const felix = await startInSync(it)
      it.spy.refused.add('10.244.1.5/32')
      await removeRoute(it.otherProgram, '10.244.1.5/32')
      tell(felix, { learned: [...full.learned, learned('198.51.100.0/24', '192.168.10.1')] })
      await felix.applied().catch(() => undefined)
      t.truthy(await routeTo(it.otherProgram, '198.51.100.0/24'))
      await eventually('the endpoint is refused', () => refused(felix.applied('a')))
      it.spy.refused.clear()
      it.clock.advance(10_000)
      await felix.inSync()
      t.truthy(await routeTo(it.otherProgram, '10.244.1.5/32'))
    }))

  test("another program's routes of protocol bird are left alone, those that nobody wants and those in the way", t =>
    onNode(async it => {
      const { index } = (await it.otherProgram.link('eth0'))!
      const birds = {
        table: 254,
        type: 'unicast',
        protocol: 12,
        scope: 0,
        gateway: '192.168.10.7',
        ifindex: index,
      } as const
      const add = (dst: string) => it.otherProgram.changeRoutes([{ verb: 'add', route: { ...birds, dst } }])
      await add('172.30.0.0/16')
      const felix = await startInSync(it)
      await add('172.31.0.0/16')
      // not even an event tells of this one before it is wanted
      it.spy.holdsEvents = true
      await add('198.51.100.0/24')
      tell(felix, { learned: [...full.learned, learned('198.51.100.0/24', '192.168.10.1')] })
      const error = await t.throwsAsync<ApplyError>(felix.applied(), { instanceOf: ApplyError })
      t.deepEqual(
        error?.refusals.map(({ kind, key, interfaceName, reason }) => ({ kind, key, interfaceName, reason })),
        [{ kind: 'route', key: '198.51.100.0/24', interfaceName: 'eth0', reason: 'ForeignOwner' }],
      )
      await felix.close()
      const again = await startInSync(it)
      await again.applied()
      for (const dst of ['172.30.0.0/16', '172.31.0.0/16', '198.51.100.0/24'])
        t.like(await routeTo(it.otherProgram, dst), { protocol: 12, gateway: '192.168.10.7' })
    }))

  test('routes that an earlier version wrote as protocol bird are replaced in place where a pool holds them', t =>
    onNode(async it => {
      const { index } = (await it.otherProgram.link('eth0'))!
      const old = {
        table: 254,
        type: 'unicast',
        protocol: 12,
        scope: 0,
        gateway: '192.168.10.12',
        ifindex: index,
      } as const
      const answers = await it.otherProgram.changeRoutes([{ verb: 'add', route: { ...old, dst: '10.244.2.0/26' } }])
      t.deepEqual(answers, [undefined])
      await startInSync(it)
      t.like(await routeTo(it.otherProgram, '10.244.2.0/26'), { protocol: 80, gateway: '192.168.10.12' })
      t.deepEqual(it.spy.lost, [])
    }))

  test('routes carry the protocol number that is configured', t =>
    onNode(async it => {
      const marks = nodeMarks({ routeProtocol: 99, interfacePrefix: 'cali' })
      const felix = it.start({ marks })
      tell(felix, full)
      for (const source of ['datastore', 'endpoints', 'bgp'] as const) felix.complete(source)
      await felix.inSync()
      for (const dst of ['10.244.1.0/26', '10.244.2.0/26', '169.254.1.1/32'])
        t.is((await routeTo(it.otherProgram, dst))?.protocol, 99)
    }))

  test('another VXLAN port makes the device anew with all that is on it, and nobody else is blamed', t =>
    onNode(async it => {
      const felix = await startInSync(it)
      const before = await kernelState(it.otherProgram)
      it.healed.length = 0
      tell(felix, { config: { ...full.config, vxlanPort: 8472 } })
      await felix.inSync()
      t.is((await it.otherProgram.link('vxlan.calico'))?.vxlan?.port, 8472)
      for (let i = 0; i < 3; i++) {
        await new Promise(resolve => setTimeout(resolve, 5))
        await felix.applied()
      }
      const { neighbours, fdb, routes, addresses } = await kernelState(it.otherProgram)
      t.deepEqual({ neighbours, fdb, routes, addresses }, pick(before))
      t.deepEqual(it.healed, [])
    }))

  test('a refused route names its interface, not its index', t =>
    onNode(async it => {
      const felix = await startInSync(it)
      await it.otherProgram.setLink('eth0', { up: false })
      await eventually('felix saw it', () => refused(felix.applied()))
      const error = await t.throwsAsync<ApplyError>(felix.applied(), { instanceOf: ApplyError })
      const { message } = error!.refusals.find(({ key }) => key === '10.244.2.0/26')!
      t.regex(message, /10\.244\.2\.0\/26 via 192\.168\.10\.12 dev eth0: E/)
      for (const refusal of error!.refusals) t.notRegex(refusal.message, /\b(dev|on) \d+/)
    }))

  test('another MAC of a far VTEP: the new entries are there before the old one goes', t =>
    onNode(async it => {
      const felix = await startInSync(it)
      it.spy.writes.length = 0
      const [far] = full.remotes.filter(({ name }) => name === 'n3')
      felix.set('remote', 'n3', { ...far!, vxlanTunnelMac: '66:00:00:00:00:33' })
      await felix.inSync()
      t.deepEqual(it.spy.writes, ['setNeighbour', 'setFdb', 'deleteFdb'])
    }))

  test('another VTEP address of a far node: route, neighbour and forwarding entry never lack one', t =>
    onNode(async it => {
      const felix = await startInSync(it)
      it.spy.writes.length = 0
      const [far] = full.remotes.filter(({ name }) => name === 'n3')
      felix.set('remote', 'n3', { ...far!, vxlanTunnelAddress: '10.245.3.2' })
      await felix.inSync()
      // the new neighbour, then the old one goes; routes are changed in place
      const writes = it.spy.writes.filter(write => write !== 'changeNftables')
      t.is(writes.indexOf('setNeighbour'), 0)
      t.true(writes.indexOf('deleteNeighbour') > 0)
      t.deepEqual(it.spy.lost, [])
    }))

  test('what the kernel tells late of own writes is not taken for the doing of another program, and nothing is written again', t =>
    onNode(async it => {
      const felix = it.start()
      tell(felix, full)
      for (const source of ['datastore', 'endpoints', 'bgp'] as const) felix.complete(source)
      await felix.inSync()
      it.spy.writes.length = 0
      await toldOfOwnWrites()
      await felix.inSync()
      t.deepEqual(it.spy.writes, [])
      t.deepEqual(it.healed, [])
    }))

  test('a new pod makes nothing be read but what is on its interface', t =>
    onNode(async it => {
      const felix = await startInSync(it)
      it.spy.reads.length = 0
      await addLink(it.otherProgram, 'calinew')
      const made = { ...full.endpoints[0]!, id: 'new', interfaceName: 'calinew', addresses: ['10.244.1.9'] }
      felix.set('endpoint', 'new', made)
      await felix.applied('new')
      const { index } = (await it.otherProgram.link('calinew'))!
      for (const { method, of } of it.spy.reads) {
        t.false(['links', 'fdb', 'fdbEntry'].includes(method), `${method} is read`)
        if (method === 'neighbours' || method === 'neighbour' || method === 'addresses') t.is(of, index, method)
        if (method === 'routes') t.is((of as RouteFilter | undefined)?.ifindex, index)
      }
      t.truthy(await routeTo(it.otherProgram, '10.244.1.9/32'))
    }))

  test('routes and neighbours of other programs are left alone, also a default route that a router announces too', t =>
    onNode(async it => {
      const { index } = (await it.otherProgram.link('eth0'))!
      const theirs = {
        table: 254,
        type: 'unicast',
        protocol: 4,
        scope: 0,
        gateway: '192.168.10.7',
        ifindex: index,
      } as const
      const routes = ['0.0.0.0/0', '172.30.0.0/16'].map(dst => ({ verb: 'add' as const, route: { ...theirs, dst } }))
      t.deepEqual(await it.otherProgram.changeRoutes(routes), [undefined, undefined])
      await it.otherProgram.setNeighbour({
        ifindex: index,
        address: '192.168.10.7',
        mac: '02:00:00:00:00:77',
        permanent: true,
      })
      const reasons = new Map<string, string | undefined>()
      const felix = it.start({
        onConditions: changes => {
          for (const [key, condition] of changes) reasons.set(key, condition?.reason)
        },
      })
      tell(felix, { ...full, learned: [...full.learned, learned('0.0.0.0/0', '192.168.10.1')] })
      for (const source of ['datastore', 'endpoints', 'bgp'] as const) felix.complete(source)
      await t.throwsAsync(felix.applied())
      const key = conditionKey({ type: 'KernelInSync', object: { kind: 'Route', name: '0.0.0.0/0' } })
      t.is(reasons.get(key), 'ForeignOwner')
      t.is((await routeTo(it.otherProgram, '0.0.0.0/0'))?.gateway, '192.168.10.7')
      tell(felix, EMPTY)
      await felix.inSync()
      t.is((await routeTo(it.otherProgram, '172.30.0.0/16'))?.protocol, 4)
      t.true(reasons.has(key))
      t.is(reasons.get(key), undefined)
      t.true((await it.otherProgram.neighbours(index)).some(({ address }) => address === '192.168.10.7'))
    }))

  test('a route of another program that is more specific than one of ours is told with its remedy, and left, until it goes', t =>
    onNode(async it => {
      const told = new Map<string, Condition | undefined>()
      const { index: ifindex } = (await it.otherProgram.link('eth0'))!
      const common = { table: 254, type: 'unicast', protocol: 4, scope: 0, gateway: '192.168.10.1', ifindex } as const
      const earlier = { ...common, dst: '10.244.3.0/28' }
      const harmless = ['198.51.100.0/24', '10.244.128.0/24', '10.244.1.32/28'].map(dst => ({ ...common, dst }))
      const write = async (verb: 'add' | 'delete', routes: readonly Route[]) =>
        t.deepEqual(
          (await it.otherProgram.changeRoutes(routes.map(route => ({ verb, route })))).filter(
            each => each !== undefined,
          ),
          [],
        )
      await write('add', [earlier, ...harmless])
      const felix = it.start({
        onConditions: changes => {
          for (const [key, condition] of changes) if (key.startsWith('ForeignRoutes')) told.set(key, condition)
        },
      })
      tell(felix, full)
      for (const source of ['datastore', 'endpoints', 'bgp'] as const) felix.complete(source)
      await felix.inSync()
      const later = { ...common, dst: '10.244.2.7/32' }
      await write('add', [later])
      const keys = [earlier, later].map(({ dst }) => `ForeignRoutesPass Route ${dst}`)
      await eventually('both are told', () => {
        it.clock.advance(500)
        return keys.every(key => told.has(key))
      })
      t.deepEqual([...told.keys()].toSorted(), keys.toSorted())
      const condition = told.get(keys[1]!)
      t.true(condition?.message.includes('10.244.2.7/32 via 192.168.10.1 dev eth0 proto 4 of another program'))
      t.true(condition?.message.includes('is more specific than 10.244.2.0/26'), condition?.message)
      t.true(condition?.remedy.includes('ip route del 10.244.2.7/32 via 192.168.10.1 dev eth0 proto 4'))
      t.truthy(await routeTo(it.otherProgram, later.dst))
      await write('delete', [earlier, later])
      await eventually('nothing is left', () => {
        it.clock.advance(500)
        return keys.every(key => told.get(key) === undefined)
      })
    }))

  test('an uplink that is deleted and made again under its name, with another index, has all that was over it', t =>
    onNode(async it => {
      await startInSync(it)
      const before = await kernelState(it.otherProgram)
      const { index } = (await it.otherProgram.link('eth0'))!
      await it.otherProgram.deleteLink('eth0')
      await setUpLink(it.otherProgram, 'eth0')
      t.not((await it.otherProgram.link('eth0'))!.index, index)
      await eventually('all is as before', async () => {
        it.clock.advance(50)
        return isDeepStrictEqual(await kernelState(it.otherProgram), before)
      })
      t.is(it.otherProgram.readSysctl('ipv4', ['conf', 'eth0', 'forwarding']).trim(), '1')
    }))

  test('a bridge that takes the address of the uplink over takes its routes too, and gives them back', t =>
    onNode(async it => {
      const felix = await startInSync(it)
      const before = await kernelState(it.otherProgram)
      await it.otherProgram.createLink({ kind: 'bridge', name: 'br0' })
      await it.otherProgram.setLink('br0', { up: true })
      const { index: ifindex } = (await it.otherProgram.link('eth0'))!
      const { index: bridge } = (await it.otherProgram.link('br0'))!
      await it.otherProgram.setLink('eth0', { master: bridge })
      const address = { address: '192.168.10.11', length: 24, scope: 0 }
      await it.otherProgram.deleteAddress({ ...address, ifindex })
      await it.otherProgram.addAddress({ ...address, ifindex: bridge })
      tell(felix, { node: { ...full.node!, uplink: 'br0' } })
      const onBridge = before.routes.map(line => line.replace(' dev eth0', ' dev br0'))
      const isThere = async (routes: readonly string[]) => {
        it.clock.advance(50)
        return isDeepStrictEqual((await kernelState(it.otherProgram)).routes, routes)
      }
      await eventually('its routes are over the bridge', () => isThere(onBridge.toSorted()))
      t.is(it.otherProgram.readSysctl('ipv4', ['conf', 'br0', 'forwarding']).trim(), '1')
      await it.otherProgram.deleteLink('br0')
      await it.otherProgram.addAddress({ ...address, ifindex })
      tell(felix, { node: full.node! })
      await eventually('they are over the uplink again', () => isThere(before.routes))
    }))

  test('an unknown route on a pod interface is removed only after ten seconds', t =>
    onNode(async it => {
      const felix = await startInSync(it)
      const { index } = (await it.otherProgram.link('calib'))!
      const route = {
        dst: '10.244.1.30/32',
        table: 254,
        type: 'unicast',
        protocol: 3,
        scope: 253,
        ifindex: index,
      } as const
      const timers = it.clock.pending
      await it.otherProgram.changeRoutes([{ verb: 'add', route }])
      await eventually('felix has seen it', async () => {
        await felix.applied()
        return it.clock.pending > timers
      })
      it.clock.advance(9_000)
      await felix.applied()
      t.truthy(await routeTo(it.otherProgram, route.dst))
      it.clock.advance(2_000)
      await felix.applied()
      t.is(await routeTo(it.otherProgram, route.dst), undefined)
    }))

  test('changes whose events were lost are repaired: at once after an overrun, else at the next refresh', t =>
    onNode(async it => {
      const felix = await startInSync(it)
      it.spy.holdsEvents = true
      await removeRoute(it.otherProgram, '10.244.2.0/26')
      await felix.applied()
      t.is(await routeTo(it.otherProgram, '10.244.2.0/26'), undefined)
      it.spy.tell({ type: 'overrun' })
      await felix.applied()
      t.truthy(await routeTo(it.otherProgram, '10.244.2.0/26'))
      await removeRoute(it.otherProgram, '10.244.2.0/26')
      it.clock.advance(90_000)
      await felix.applied()
      t.truthy(await routeTo(it.otherProgram, '10.244.2.0/26'))
      t.deepEqual(it.healed, ['Route 10.244.2.0/26', 'Route 10.244.2.0/26'])
    }))

  test('an endpoint counts as applied when its interface is in the pod filter, has sysctls, is up, and has neighbour and route, in this order', t =>
    onNode(async it => {
      const felix = await startInSync(it)
      await it.otherProgram.createLink({ kind: 'veth', name: 'calinew', peer: { name: 'p-calinew' } })
      const made = { ...full.endpoints[0]!, id: 'new', interfaceName: 'calinew', addresses: ['10.244.1.9'], mtu: 1300 }
      it.spy.writes.length = 0
      felix.set('endpoint', 'new', made)
      await felix.applied('new')
      const order = it.spy.writes.filter((name, i, all) => name !== all[i - 1])
      t.deepEqual(order, ['changeNftables', 'writeSysctl', 'setLink', 'setNeighbour', 'changeRoutes'])
      t.like(await it.otherProgram.link('calinew'), { up: true, mtu: 1300 })
      t.is((await routeTo(it.otherProgram, '10.244.1.9/32'))?.protocol, full.config.workloadRouteProtocol)
    }))

  test('an interface that was made again under its old name has everything when its endpoint counts as applied', t =>
    onNode(async it => {
      const felix = await startInSync(it)
      it.spy.holdsEvents = true // no event tells of the new interface
      await it.otherProgram.deleteLink('calia')
      await it.otherProgram.createLink({ kind: 'veth', name: 'calia', peer: { name: 'p-calia' } })
      await felix.applied('a')
      t.is(it.otherProgram.readSysctl('ipv4', ['conf', 'calia', 'proxy_arp']).trim(), '1')
      t.true((await it.otherProgram.link('calia'))?.up)
      const { index } = (await it.otherProgram.link('calia'))!
      t.is((await routeTo(it.otherProgram, '10.244.1.5/32'))?.ifindex, index)
      t.true(
        (await it.otherProgram.neighbours(index)).some(
          ({ address, permanent }) => address === '10.244.1.5' && permanent,
        ),
      )
    }))

  test('sysctls of a pod interface are set, and set again after another program changed them', t =>
    onNode(async it => {
      const felix = await startInSync(it)
      const path = ['conf', 'calia', 'proxy_arp']
      t.is(it.otherProgram.readSysctl('ipv4', path).trim(), '1')
      t.is(it.otherProgram.readSysctl('ipv4', ['ip_forward']).trim(), '1')
      it.otherProgram.writeSysctl('ipv4', path, '0')
      it.clock.advance(90_000)
      await felix.applied()
      t.is(it.otherProgram.readSysctl('ipv4', path).trim(), '1')
      t.true(it.healed.includes('Sysctl net.ipv4 conf/calia/proxy_arp'))
    }))

  test('a kernel that loses IP-in-IP gets VXLAN routes in place of the others, with none missing meanwhile', t =>
    onNode(async it => {
      const felix = await startInSync(it)
      it.spy.lost.length = 0
      tell(felix, { capabilities: WITHOUT_IPIP.capabilities })
      await felix.inSync()
      t.true(
        (await table(it.otherProgram)).some(line =>
          line.startsWith('unicast 10.244.3.0/26 via 10.245.3.1 dev vxlan.calico'),
        ),
      )
      t.false(it.spy.lost.includes('10.244.3.0/26'))
    }))

  test('repairs that another program undoes each time are repeated more and more slowly', t =>
    onNode(async it => {
      await startInSync(it)
      const timers = it.clock.pending
      const undo = () => removeRoute(it.otherProgram, '10.244.2.0/26').catch(() => undefined)
      let seen = 0
      await undo()
      await eventually('the repairs stop', async () => {
        if (it.healed.length > seen) {
          seen = it.healed.length
          await undo()
        }
        return seen > 20
      })
      await eventually('the next repair waits', () => it.clock.pending > timers)
      t.is(await routeTo(it.otherProgram, '10.244.2.0/26'), undefined)
      t.is(it.healed.length, seen)
      it.clock.advance(200)
      await eventually('it is repaired then', () => it.healed.length > seen)
    }))

  test('a route that another program fights over delays the repair of no other', t =>
    onNode(async it => {
      await startInSync(it)
      let seen = 0
      await removeRoute(it.otherProgram, '10.244.2.0/26')
      await eventually('the repairs of one wait', async () => {
        if (it.healed.length > seen) {
          seen = it.healed.length
          await removeRoute(it.otherProgram, '10.244.2.0/26').catch(() => undefined)
        }
        return seen > 20
      })
      it.healed.length = 0
      await removeRoute(it.otherProgram, '10.244.3.0/26')
      await eventually('the other is repaired before any timer fires', () => it.healed.includes('Route 10.244.3.0/26'))
      t.pass()
    }))

  test('while a route is repaired and after lost events nobody reads the routes of other programs', t =>
    onNode(async it => {
      await startInSync(it)
      it.spy.reads.length = 0
      for (const dst of ['10.244.2.0/26', '10.244.1.5/32', '10.244.1.0/26']) {
        await removeRoute(it.otherProgram, dst)
        await eventually('it is healed', () => it.healed.includes(`Route ${dst}`))
      }
      it.spy.holdsEvents = true
      await removeRoute(it.otherProgram, '10.244.2.0/26')
      it.healed.length = 0
      it.spy.tell({ type: 'overrun' })
      await eventually('it is healed', () => it.healed.includes('Route 10.244.2.0/26'))
      const reads = it.spy.reads.filter(({ method }) => method === 'routes').map(({ of }) => of as RouteFilter)
      t.true(reads.length > 0)
      for (const { protocol, type, dst, ifindex } of reads) t.truthy(protocol ?? type ?? dst ?? ifindex)
    }))

  test('events that are lost all the time are worked off with a quarter of a processor, and then all is right', t =>
    onNode(async it => {
      let used = 0
      const usedMs = () => {
        used += 50 // it is asked before and after a pass
        return used
      }
      const felix = it.start({ usedMs })
      tell(felix, full)
      for (const source of ['datastore', 'endpoints', 'bgp'] as const) felix.complete(source)
      await felix.inSync()
      it.spy.holdsEvents = true
      await removeRoute(it.otherProgram, '10.244.2.0/26')
      it.spy.reads.length = 0
      const before = felix.passes.now.count
      for (let second = 0; second < 40; second++) {
        for (let i = 0; i < 50; i++) {
          it.spy.tell({ type: 'overrun' })
          await nextTurn()
        }
        it.clock.advance(100)
        for (let i = 0; i < 20; i++) await nextTurn()
      }
      // 4 s: a second of the processor, and the credit of a quarter of a second
      const passes = felix.passes.now.count - before
      t.true(passes >= 10 && passes <= 30, `${passes} passes`)
      t.truthy(await routeTo(it.otherProgram, '10.244.2.0/26'))
    }))

  test('closing ends every timer and every waiting promise', t =>
    onNode(async it => {
      const felix = it.start()
      const waiting = felix.inSync()
      await felix.close()
      await t.throwsAsync(waiting, { message: 'felix is closed' })
      await t.throwsAsync(felix.applied(), { message: 'felix is closed' })
      t.is(it.clock.pending, 0)
    }))
}

async function removeAddress(otherProgram: Kernel, name: string, address: string): Promise<void> {
  const { index } = (await otherProgram.link(name))!
  const found = (await otherProgram.addresses(index)).find(held => held.address === address)
  await otherProgram.deleteAddress(found!)
}

async function removeRoute(otherProgram: Kernel, dst: string): Promise<void> {
  const route = (await routeTo(otherProgram, dst))!
  const [refusal] = await otherProgram.changeRoutes([{ verb: 'delete', route }])
  if (refusal !== undefined) throw refusal
}

function pick({ neighbours, fdb, routes, addresses }: Awaited<ReturnType<typeof kernelState>>) {
  return { neighbours, fdb, routes, addresses }
}

/** Whether a promise rejects. */
function refused(promise: Promise<unknown>): Promise<boolean> {
  return promise.then(
    () => false,
    () => true,
  )
}
