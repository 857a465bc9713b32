// Which connections the kernel may carry past the hooks, and what becomes of a kernel or a device that does not go along.
import test from 'ava'
import { FlowOffload } from '../../felix/flow-offload.ts'
import { Felix } from '../../felix/loop.ts'
import { nodeMarks } from '../../felix/marks.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import { commandText } from '../../kernel/netlink/nftables/command-text.ts'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import type { NftChange, NftRefusal } from '../../kernel/port/nftables.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { setUpNode } from './node-kernel.ts'
import { EMPTY, endpoint, tell } from './worlds.ts'

const NAME = { family: 'inet', name: 'margay-offload' } as const
const ON = { devicePattern: '^eth' }

async function bench(...links: string[]) {
  const kernel = new FakeWorld().kernel()
  for (const name of links) await kernel.createLink({ kind: 'veth', name, peer: { name: `p${name}` } })
  const it = { refuse: (_: NftChange): boolean => false, acct: '1', sent: [] as (readonly NftChange[])[] }
  const offload = new FlowOffload(
    {
      links: () => kernel.links(),
      nftables: of => kernel.nftables(of),
      readSysctl: () => it.acct,
      async changeNftables(changes): Promise<NftRefusal[]> {
        it.sent.push(changes)
        const index = changes.findIndex(it.refuse)
        if (index >= 0) return [{ index, error: new KernelError(ERRNO.ENOENT, 'nft', changes[index]!.verb) }]
        return kernel.changeNftables(changes)
      },
    },
    { table: NAME.name, podPrefix: 'cali', tunnels: ['tunl0', 'vxlan.calico'] },
  )
  const held = () => kernel.nftables(NAME)
  const devices = async () => [...((await held())?.flowtables[0]?.devices ?? [])].sort()
  return Object.assign(it, { kernel, offload, held, devices })
}

const isDevice = (wanted: string) => (change: NftChange) =>
  change.object.kind === 'flowtable' && 'devices' in change.object && change.object.devices.includes(wanted)
const reasons = ({ conditions }: FlowOffload) => conditions.map(({ reason }) => reason)

test('nothing is there by default, and what an earlier run left goes', async t => {
  const { offload, held, kernel, sent } = await bench('cali1')
  await kernel.changeNftables([{ verb: 'add', object: { kind: 'table', ...NAME } }])
  await offload.put()
  t.is(await held(), undefined)
  offload.invalidate()
  await offload.put()
  t.is(sent.length, 1)
})

test('a table that the kernel does not let go is tried again with the next pass', async t => {
  const it = await bench('cali1')
  it.offload.configure(ON)
  await it.offload.put()
  it.offload.configure(undefined)
  it.refuse = ({ verb }) => verb === 'delete'
  await it.offload.put()
  t.not(await it.held(), undefined)
  it.refuse = () => false
  await it.offload.put()
  t.is(await it.held(), undefined)
})

test('connections that last come in, between pods, tunnels and what the pattern names, and a second pass writes nothing', async t => {
  const { offload, held, devices, sent } = await bench('cali1', 'cali2', 'eth0', 'docker0', 'tunl0')
  t.true(offload.configure(ON))
  t.false(offload.configure({ ...ON }))
  await offload.put()
  t.deepEqual(reasons(offload), [])
  t.deepEqual(await devices(), ['cali1', 'cali2', 'eth0', 'tunl0'])
  t.deepEqual(
    (await held())!.rules.map(({ handle: _, ...object }) => commandText({ verb: 'add', object }, () => undefined)),
    [
      'iifname @not_offloaded return',
      'oifname @not_offloaded return',
      'ct state established ct packets > 20 flow add @pods',
    ].map(rule => `add rule inet margay-offload forward ${rule}`),
  )
  offload.invalidate()
  await offload.put()
  t.is(sent.length, 1)
  offload.configure(undefined)
  await offload.put()
  t.is(await held(), undefined)
})

test('devices follow the links: one change for each that comes, and none for links of others', async t => {
  const { offload, kernel, devices, sent } = await bench('cali1')
  offload.configure(ON)
  await offload.put()
  const [link] = (await kernel.links()).filter(({ name }) => name === 'cali1')
  t.false(offload.observeLink({ type: 'link', link: link! }), 'it is known')
  t.false(offload.observeLink({ type: 'link', link: { ...link!, name: 'docker0' } }))
  await kernel.createLink({ kind: 'veth', name: 'cali2', peer: { name: 'p2' } })
  t.true(offload.observeLink({ type: 'link', link: { ...link!, name: 'cali2' } }))
  await offload.put()
  t.deepEqual(await devices(), ['cali1', 'cali2'])
  t.is(sent.at(-1)?.length, 1)
  await kernel.deleteLink((await kernel.link('cali1'))!.index)
  t.true(offload.observeLink({ type: 'link-gone', link: link! }))
  await offload.put()
  t.deepEqual(await devices(), ['cali2'])
})

test('a device that went meanwhile keeps no other one out', async t => {
  const it = await bench('cali1', 'cali2', 'cali3')
  it.offload.configure(ON)
  it.refuse = isDevice('cali2')
  await it.offload.put()
  t.deepEqual(reasons(it.offload), ['DeviceRefused'])
  t.regex(it.offload.conditions[0]!.message, /not offloaded: cali2: nft add: ENOENT/)
  t.deepEqual(await it.devices(), ['cali1', 'cali3'])
  it.refuse = () => false
  it.offload.invalidate()
  await it.offload.put()
  t.deepEqual([reasons(it.offload), await it.devices()], [[], ['cali1', 'cali2', 'cali3']])
})

test('a pod that asks for limits stays out, and when it begins to, all that is offloaded ends', async t => {
  const { offload, held, devices, sent } = await bench('cali1', 'cali2')
  offload.configure(ON)
  await offload.put()
  const members = async () => (await held())!.elements.flatMap(({ elements }) => elements.map(({ key }) => key[0]))
  const asking = { interfaceName: 'cali1', profiles: [], qos: { dscp: 46 } }
  offload.setLocal('shop/web', asking)
  await offload.put()
  t.is(sent.at(-1)![0]!.verb, 'delete', 'the table is made anew in one transaction')
  t.deepEqual([await members(), await devices()], [['cali1'], ['cali1', 'cali2']])
  offload.setLocal('shop/web', { ...asking, qos: { egress: { connections: 1 } } })
  offload.setLocal('shop/other', { interfaceName: 'cali2', profiles: [] })
  await offload.put()
  t.is(sent.length, 2)
  offload.setLocal('shop/web', undefined)
  await offload.put()
  t.deepEqual([await members(), sent.at(-1)!.length], [[], 1])
})

test('what is offloaded ends when something else keeps its packets from passing, and is tried again until the kernel does it', async t => {
  const it = await bench('cali1', 'cali2')
  t.false(it.offload.end(), 'nothing is offloaded')
  it.offload.configure(ON)
  await it.offload.put()
  t.true(it.offload.end())
  it.refuse = ({ verb }) => verb === 'delete'
  await it.offload.put()
  it.refuse = () => false
  it.sent.length = 0
  await it.offload.put()
  t.deepEqual(
    it.sent.map(([first]) => first!.verb),
    ['delete'],
  )
  t.deepEqual(await it.devices(), ['cali1', 'cali2'])
  await it.offload.put()
  t.is(it.sent.length, 1)
  t.true(it.offload.end())
  it.refuse = isDevice('cali2')
  await it.offload.put()
  t.deepEqual([await it.devices(), reasons(it.offload)], [['cali1'], ['DeviceRefused']])
  it.sent.length = 0
  await it.offload.put()
  t.is(it.sent.length, 0, 'a device that is refused makes it end no more than once')
})

test('a source that a pod may not have any more is offloaded no longer, whether its range goes or becomes narrower', async t => {
  const kernel = new FakeWorld().kernel()
  await setUpNode(kernel)
  await kernel.createLink({ kind: 'veth', name: 'calia', peer: { name: 'p-calia' } })
  let ended = 0
  const watched: Kernel = new Proxy(kernel, {
    get(target, name: keyof Kernel) {
      const value = target[name]
      if (name !== 'changeNftables') return typeof value === 'function' ? value.bind(target) : value
      return (changes: readonly NftChange[]) => {
        const [first] = changes
        if (first?.verb === 'delete' && first.object.kind === 'table' && first.object.name === NAME.name) ended++
        return target.changeNftables(changes)
      }
    },
  })
  const felix = new Felix(watched, {
    ...{ clock: new ManualClock(), log: silentLog, onConditions: () => undefined },
    marks: nodeMarks({ routeProtocol: 80, interfacePrefix: 'cali' }),
  })
  const config = { ...EMPTY.config, allowSources: true as const, offload: { devicePattern: '' } }
  tell(felix, { ...EMPTY, config, endpoints: [endpoint('a', '10.244.1.5')] })
  const allow = async (...cidrs: string[]) => {
    felix.set('sources', 'a', { pod: { namespace: 'net', name: 'gw' }, cidrs })
    await felix.inSync()
    const before = ended
    ended = 0
    return before
  }
  for (const source of ['datastore', 'endpoints', 'bgp', 'policy'] as const) felix.complete(source)
  felix.start()
  await allow('198.51.100.0/24')
  t.is(await allow('198.51.100.0/24'), 0)
  t.is(await allow('198.51.100.0/25'), 1)
  t.is(await allow(), 1)
  t.is((await kernel.nftables(NAME))?.flowtables.length, 1)
  await felix.close()
})

test('a kernel without flowtables, one that counts no packets and a pattern that is none are told, and nothing is refused', async t => {
  const it = await bench('cali1', 'eth0')
  it.refuse = ({ object }) => object.kind === 'flowtable'
  it.offload.configure(ON)
  t.deepEqual((await it.offload.put()).refused, [])
  t.deepEqual([reasons(it.offload), await it.held()], [['NoFlowtables'], undefined])
  it.refuse = () => false
  it.acct = '0'
  it.offload.invalidate()
  await it.offload.put()
  t.deepEqual(reasons(it.offload), ['NotCounted'])
  it.offload.configure({ devicePattern: '(' })
  await it.offload.put()
  t.deepEqual([reasons(it.offload), await it.devices()], [['InvalidPattern'], ['cali1']])
})

test('a pattern that would be tried in very many ways holds nobody up', async t => {
  const { offload, devices } = await bench('cali1', 'aaaaaaaaaaaaaab')
  offload.configure({ devicePattern: '((((((a+)+)+)+)+)+)+$' })
  await offload.put()
  t.deepEqual(await devices(), ['cali1'])
})
