// What the pod filter wants of nftables, and what felix does where it does not stand.
import test from 'ava'
import type { Condition } from '../../api/status.ts'
import { Calculator } from '../../felix/calc/calculator.ts'
import { Felix } from '../../felix/loop.ts'
import { nodeMarks } from '../../felix/marks.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import type { NftRefusal } from '../../kernel/port/nftables.ts'
import { ApplyError } from '../../kernel/reconcile/outcome.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { setUpNode } from './node-kernel.ts'
import {
  BARE_POOL,
  CALCULATOR,
  calculated,
  EMPTY,
  endpoint,
  FULL,
  IPIP_POOL,
  N2,
  N3,
  tell,
  VXLAN_POOL,
  type World,
} from './worlds.ts'

const elementsOf = (world: World) => [...calculated(world).wanted().nftElement.keys()]
const rulesOf = (world: World) =>
  [...calculated(world).wanted().nftTable.values()].flatMap(({ rules }) => rules.map(({ comment = '' }) => comment))

test('a pod may send under its own addresses and under the link-local address of its MAC, over its interface alone', t => {
  const pod = { ...endpoint('a', '10.244.1.5', 'fd00:1::6'), mac: 'aa:bb:cc:00:00:01' }
  t.deepEqual(
    elementsOf({ ...EMPTY, endpoints: [pod] }).filter(key => key.includes('calia')),
    [
      'inet margay pod_ipv4 calia . 10.244.1.5',
      'arp margay pod_ipv4 calia . 10.244.1.5',
      'inet margay pod_ipv6 calia . fd00:1::6',
      'inet margay pod_ipv6 calia . fe80::a8bb:ccff:fe00:1',
    ],
  )
})

const GW = { pod: { namespace: 'net', name: 'gw' }, cidrs: ['198.51.100.0/24', '2001:db8::/64'] }

test('a pod may send under other sources where it asks for them and the setting allows it; else a condition names it, once settings are known', t => {
  const calculator = new Calculator(CALCULATOR)
  const world = { ...EMPTY, endpoints: [endpoint('a', '10.244.1.5'), endpoint('b', '10.244.1.6')] }
  tell(calculator, world)
  calculator.set('sources', 'a', GW)
  const allowed = () => {
    calculator.step()
    const { nftElement, sysctl, condition } = calculator.wanted()
    return {
      elements: [...nftElement.keys()].filter(key => key.includes(' allowed_')),
      filters: [...sysctl.values()].filter(({ path }) => path[2] === 'rp_filter' && path[1]!.startsWith('cali')),
      told: [...condition.values()].filter(({ type }) => type === 'SourcesAllowed').map(({ reason }) => reason),
    }
  }
  const NONE = { elements: [], filters: [] }
  t.deepEqual(allowed(), { ...NONE, told: [] })
  calculator.useLearned()
  t.deepEqual(allowed(), { ...NONE, told: ['Disabled'] })
  calculator.configure({ config: { ...EMPTY.config, allowSources: true } })
  const filter = {
    family: 'ipv4',
    path: ['conf', 'calia', 'rp_filter'],
    value: '0',
    needs: 'pod filter',
    withoutFilter: '1',
  }
  const elements = [
    'inet margay allowed_ipv4 calia . 198.51.100.0/24',
    'inet margay allowed_ipv6 calia . 2001:db8::/64',
  ]
  t.deepEqual(allowed(), { elements, filters: [filter], told: [] } as never)
  // the filter of the reverse path is one of IPv4
  calculator.set('sources', 'a', { ...GW, cidrs: ['2001:db8::/64'] })
  t.deepEqual(allowed(), { elements: elements.slice(1), filters: [], told: [] })
  calculator.set('sources', 'a', undefined)
  t.deepEqual(allowed(), { ...NONE, told: [] })
})

test('what an earlier run allowed stays until Pods and settings are known, and goes then; what is known sooner counts at once', async t => {
  const kernel = new FakeWorld().kernel()
  await setUpNode(kernel)
  for (const name of ['calia', 'calib']) await kernel.createLink({ kind: 'veth', name, peer: { name: `p-${name}` } })
  const run = () => {
    const felix = new Felix(kernel, {
      ...{ clock: new ManualClock(), log: silentLog, onConditions: () => {} },
      marks: nodeMarks({ routeProtocol: 80, interfacePrefix: 'cali' }),
    })
    tell(felix, { ...EMPTY, endpoints: [endpoint('a', '10.244.1.5'), endpoint('b', '10.244.1.6')] })
    felix.complete('endpoints')
    felix.start()
    return felix
  }
  const settle = async (felix: Felix) => {
    await felix.applied()
    const ruleset = (await kernel.nftables({ family: 'inet', name: 'margay' }))!
    const allowed = ruleset.elements.filter(({ set }) => set.startsWith('allowed_'))
    return allowed.flatMap(({ elements }) => elements.map(({ key }) => key.join(' '))).sort()
  }
  const config = { ...EMPTY.config, allowSources: true } as const
  const both = ['calia 198.51.100.0/24', 'calib 198.51.100.0/24']
  const first = run()
  first.configure({ config })
  for (const id of ['a', 'b']) first.set('sources', id, { ...GW, cidrs: ['198.51.100.0/24'] })
  t.deepEqual(await settle(first), both)
  await first.close()
  for (const order of [
    ['policy', 'datastore'],
    ['datastore', 'policy'],
  ] as const) {
    const felix = run()
    t.deepEqual(await settle(felix), both)
    felix.configure({ config })
    felix.set('sources', 'a', { ...GW, cidrs: ['198.51.100.0/25'] })
    t.deepEqual(await settle(felix), ['calia 198.51.100.0/25', 'calib 198.51.100.0/24'])
    felix.set('sources', 'a', { ...GW, cidrs: ['198.51.100.0/24'] })
    felix.complete(order[0])
    t.deepEqual(await settle(felix), both)
    felix.complete(order[1])
    t.deepEqual(await settle(felix), ['calia 198.51.100.0/24'])
    felix.set('sources', 'b', { ...GW, cidrs: ['198.51.100.0/24'] })
    t.deepEqual(await settle(felix), both)
    await felix.close()
  }
})

test('without the pod filter the filter of the reverse path is strict on the interface of a pod that asks for sources', async t => {
  const kernel = new FakeWorld({ nftables: false }).kernel()
  const { felix } = await withPod(kernel)
  felix.configure({ config: { ...EMPTY.config, allowSources: true } })
  felix.set('sources', 'a', GW)
  await felix.applied('a')
  t.is(kernel.readSysctl('ipv4', ['conf', 'calia', 'rp_filter']), '1')
  await felix.close()
})

test('tunnel packets are taken from nodes alone, each address known while some node has it', t => {
  const nodes = (calculator: ReturnType<typeof calculated>) =>
    [...calculator.wanted().nftElement.keys()].filter(key => key.startsWith('inet margay nodes '))
  const twin = { ...N2, name: 'n9' }
  const ipv6 = { ...N3, address: 'fd01::13' }
  const calculator = calculated({ ...EMPTY, remotes: [N2, twin, ipv6] })
  const both = ['inet margay nodes 192.168.10.12', 'inet margay nodes 192.168.10.11']
  t.deepEqual(new Set(nodes(calculator)), new Set(both))
  for (const [name, left] of [
    ['n2', both],
    ['n9', both.slice(1)],
  ] as const) {
    calculator.set('remote', name, undefined)
    calculator.step()
    t.deepEqual(new Set(nodes(calculator)), new Set(left))
  }
})

test('the tunnel addresses of other nodes are those of nodes too, each while some node has it', t => {
  const tunnels = () => {
    calculator.step()
    const { nftElement } = calculator.wanted()
    return [...nftElement.keys()].filter(key => key.startsWith('inet margay node_tunnels')).sort()
  }
  const ends = { ipipTunnelAddress: '10.245.2.2', vxlanTunnelAddress: '10.245.2.1', vxlanTunnelAddressV6: 'fd00:2::1' }
  const calculator = calculated({ ...EMPTY, remotes: [{ ...N2, ...ends }] })
  t.deepEqual(tunnels(), [
    'inet margay node_tunnels 10.245.2.1',
    'inet margay node_tunnels 10.245.2.2',
    'inet margay node_tunnels_ipv6 fd00:2::1',
  ])
  calculator.set('remote', 'n9', { name: 'n9', address: '192.168.10.19', vxlanTunnelAddress: '10.245.2.1' })
  calculator.set('remote', 'n2', undefined)
  t.deepEqual(tunnels(), ['inet margay node_tunnels 10.245.2.1'])
  calculator.set('remote', 'n9', undefined)
  t.deepEqual(tunnels(), [])
})

test('another address of this node takes the place of the old one in the pod filter', t => {
  const calculator = calculated(EMPTY)
  calculator.configure({ node: { ...EMPTY.node, ipv4: '192.168.10.99/24' } })
  calculator.step()
  t.deepEqual(
    [...calculator.wanted().nftElement.keys()],
    ['inet margay nodes 192.168.10.99', 'inet margay this_node 192.168.10.99'],
  )
})

test('packets of a tunnel are guarded where a pool may need it, before the first block does', t => {
  const guards = (world: World) =>
    rulesOf(world).filter(comment => /^(IP-in-IP|VXLAN) that no node sent$/.test(comment))
  t.deepEqual(guards({ ...EMPTY, pools: [BARE_POOL] }), [])
  t.deepEqual(guards({ ...EMPTY, pools: [VXLAN_POOL] }), ['VXLAN that no node sent'])
  t.deepEqual(guards({ ...EMPTY, pools: [IPIP_POOL] }), ['IP-in-IP that no node sent', 'VXLAN that no node sent'])
})

test('the tables have the same rules for one pod and for five hundred', t => {
  const endpoints = Array.from({ length: 500 }, (_, i) => endpoint(`p${i}`, `10.244.${i >> 8}.${i & 255}`))
  t.deepEqual(rulesOf({ ...FULL, endpoints }), rulesOf({ ...FULL, endpoints: endpoints.slice(0, 1) }))
})

/** A felix on a fake kernel, in which one pod's interface was made and is down. */
async function withPod(
  kernel: Kernel,
): Promise<{ felix: Felix; conditions: Map<string, Condition | undefined>; localnet(): string; clock: ManualClock }> {
  await setUpNode(kernel)
  await kernel.createLink({ kind: 'veth', name: 'calia', peer: { name: 'p-calia' } })
  const conditions = new Map<string, Condition | undefined>()
  const clock = new ManualClock()
  const felix = new Felix(kernel, {
    ...{ clock, log: silentLog, marks: nodeMarks({ routeProtocol: 80, interfacePrefix: 'cali' }) },
    onConditions: changes => {
      for (const [key, condition] of changes) conditions.set(key, condition)
    },
  })
  tell(felix, { ...EMPTY, endpoints: [endpoint('a', '10.244.1.5')] })
  for (const source of ['datastore', 'endpoints', 'bgp'] as const) felix.complete(source)
  felix.start()
  return { felix, conditions, localnet: () => kernel.readSysctl('ipv4', ['conf', 'calia', 'route_localnet']), clock }
}

test('without nftables pods have their network, route_localnet stays 0, and a condition says what is not filtered', async t => {
  const kernel = new FakeWorld({ nftables: false }).kernel()
  const { felix, conditions, localnet } = await withPod(kernel)
  await felix.applied('a')
  await felix.inSync()
  t.true((await kernel.link('calia'))?.up)
  t.is(localnet(), '0')
  t.false(felix.podsFiltered)
  t.like(conditions.get('PodsFiltered NftTable inet margay'), { status: 'False', reason: 'NoNftables' })
  t.regex(conditions.get('PodsFiltered NftTable inet margay')!.message, /route_localnet stays 0/)
  await felix.close()
})

test('while the kernel refuses the pod filter a new pod stays down and is refused, and all is well once it takes it', async t => {
  const real = new FakeWorld().kernel()
  let refuses = true
  const refuse = (): NftRefusal[] => [{ index: 0, error: new KernelError(ERRNO.ENOMEM, 'nft', 'add table') }]
  const kernel: Kernel = new Proxy(real, {
    get(target, name: keyof Kernel) {
      const value = target[name]
      if (name === 'changeNftables' && refuses) return async () => refuse()
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
  const { felix, conditions, localnet, clock } = await withPod(kernel)
  const error = await t.throwsAsync<ApplyError>(felix.applied('a'), { instanceOf: ApplyError })
  t.regex(error!.message, /nftElement inet margay pod_ipv4 calia \. 10\.244\.1\.5: .*ENOMEM/)
  t.false((await real.link('calia'))?.up)
  t.is(localnet(), '0')
  t.like(conditions.get('PodsFiltered NftTable inet margay'), { status: 'False', reason: 'Refused' })
  refuses = false
  clock.advance(100)
  await felix.inSync()
  t.true((await real.link('calia'))?.up)
  t.is(localnet(), '1')
  t.true(felix.podsFiltered)
  t.is(conditions.get('PodsFiltered NftTable inet margay'), undefined)
  await felix.close()
})
