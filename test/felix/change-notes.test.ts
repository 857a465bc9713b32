// What the recorder is told of the kernel: own writes with their reason, what others did with who did it, and no echo of an own write.
import test from 'ava'
import { ChangeNotes, type NoteChange } from '../../felix/change-notes.ts'
import type { DesiredState } from '../../felix/desired.ts'
import { Felix } from '../../felix/loop.ts'
import { nodeMarks } from '../../felix/marks.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import type { Author, KernelEvent } from '../../kernel/port/kernel.ts'
import type { Route } from '../../kernel/port/routes.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { addLink, setUpNode } from './node-kernel.ts'
import { endpoint, FULL, learned, tell } from './worlds.ts'

function listen() {
  const told: string[] = []
  const note: NoteChange = (type, kind, cause, about) => {
    const { name, text = '' } = about()
    told.push(`${type} ${kind} ${name} (${cause})${text === '' ? '' : `: ${text}`}`)
  }
  return { told, note, take: () => told.splice(0) }
}

test('what felix writes is told once, with what made it so and how it is now; a second pass and a restart tell nothing', async t => {
  const kernel = new FakeWorld().kernel()
  await setUpNode(kernel)
  await addLink(kernel, 'calia')
  const { note, take } = listen()
  const start = async () => {
    const marks = nodeMarks({ routeProtocol: 80, interfacePrefix: 'cali' })
    const felix = new Felix(kernel, {
      ...{ clock: new ManualClock(), log: silentLog, marks, onConditions: () => undefined, onChange: note },
    })
    felix.start()
    tell(felix, { ...FULL, endpoints: [endpoint('a', '10.244.1.5')] })
    for (const source of ['datastore', 'endpoints', 'bgp'] as const) felix.complete(source)
    await felix.inSync()
    return felix
  }
  const felix = await start()
  const first = take()
  for (const expected of [
    'Came Route 10.244.1.5/32 (pod): dev calia proto 3',
    'Came Route 10.244.1.0/26 (block): blackhole proto 80',
    'Came Route 169.254.1.1/32 metric 1024 (cluster): dev lo metric 1024 proto 80',
    'Came FdbEntry vxlan.calico 66:00:00:00:00:02 (learned): 192.168.10.12',
    'Changed Sysctl net.ipv4 conf/calia/proxy_arp (pod): 1',
    'Changed NftTable inet margay (cluster)',
    'Came NftElement inet margay pod_ipv4 calia . 10.244.1.5 (pod)',
  ])
    t.true(first.includes(expected), `${expected}\n${first.join('\n')}`)
  felix.set('learned', '10.99.0.0/26', learned('10.99.0.0/26', '192.168.10.12'))
  await felix.inSync()
  t.deepEqual(take(), ['Came Route 10.99.0.0/26 (learned): via 192.168.10.12 dev eth0 proto 80'])
  felix.set('learned', '10.99.0.0/26', learned('10.99.0.0/26', '192.168.10.13'))
  await felix.inSync()
  t.deepEqual(take(), ['Changed Route 10.99.0.0/26 (learned): via 192.168.10.13 dev eth0 proto 80'])
  felix.set('learned', '10.99.0.0/26', undefined)
  await felix.inSync()
  t.deepEqual(take(), ['Went Route 10.99.0.0/26 (learned)'])
  await felix.applied()
  t.deepEqual(take(), [])
  await felix.close()
  const again = await start()
  t.deepEqual(take(), [])
  await again.close()
})

const NONE = new Map()
const STATIC: Route = { dst: '10.244.1.5/32', table: 254, type: 'unicast', protocol: 4, scope: 0, ifindex: 2 }
const IP: Author = { port: 812 }

function notes(wanted: Partial<Record<keyof DesiredState, ReadonlyMap<string, unknown>>> = {}) {
  const { note, take } = listen()
  const names: Record<number, string> = { 2: 'eth0', 7: 'calia' }
  const clock = new ManualClock()
  let asked = 0
  const changes = new ChangeNotes({
    ...{ clock, note, routeProtocol: 80 },
    kernel: {
      authorText: author => {
        asked++
        return 'pid' in author ? `${author.name} (process ${author.pid})` : `process ${author.port}`
      },
    },
    ownsInterface: name => name.startsWith('cali'),
    nameOf: index => names[index],
    wanted: () => ({ address: NONE, route: NONE, sysctl: NONE, link: NONE, ...wanted }) as unknown as DesiredState,
  })
  const after = (...events: KernelEvent[]) => {
    for (const event of events) changes.observe(event)
    return take()
  }
  return { changes, after, take, clock, asked: () => asked }
}

test('what others do is told with who did it, where the kernel tells', t => {
  const { after, changes, take } = notes()
  const by = IP
  t.deepEqual(after({ type: 'route', route: STATIC, by }, { type: 'route-gone', route: STATIC }), [
    'Came Route 10.244.1.5/32 (foreign): dev eth0 proto 4; by process 812',
    'Went Route 10.244.1.5/32 (kernel): dev eth0 proto 4',
  ])
  const rule = { family: 'ipv4', priority: 100, action: 'lookup', table: 201 } as const
  t.deepEqual(after({ type: 'rule', rule, by }), ['Came Rule 100 (foreign): from all lookup 201; by process 812'])
  const neighbour = { ifindex: 2, address: '192.168.10.12', mac: '02:00:00:00:00:01', permanent: true }
  t.deepEqual(
    after({ type: 'neighbour', neighbour, by }, { type: 'neighbour', neighbour: { ...neighbour, permanent: false } }),
    ['Came Neighbour eth0 192.168.10.12 (foreign): 02:00:00:00:00:01; by process 812'],
  )
  const address = { ifindex: 2, address: '10.244.1.9', length: 32, scope: 0 }
  t.deepEqual(after({ type: 'address', address, by }, { type: 'address', address }), [
    'Came Address eth0 10.244.1.9 (foreign): by process 812',
  ])
  const setting = { type: 'sysctl', family: 'ipv4', of: 'all', name: 'forwarding', value: '0' } as const
  t.deepEqual(after(setting), ['Changed Sysctl net.ipv4 conf/all/forwarding (kernel): 0'])
  const link = { index: 2, name: 'eth0', mtu: 1500, up: true, running: true }
  t.deepEqual(
    after({ type: 'link', link }, { type: 'link', link }, { type: 'link', link: { ...link, mtu: 1400 }, by }),
    ['Changed Link eth0 (kernel): up, mtu 1500', 'Changed Link eth0 (foreign): up, mtu 1400; by process 812'],
  )
  const chains = ['a', 'b', 'c', 'd', 'e', 'f', 'g']
  changes.observeNftables({
    generation: 1,
    tables: [{ family: 'inet', name: 'firewall', parts: { chains, sets: [], elements: [] } }],
    by: { pid: 9, name: 'nft' },
  })
  t.deepEqual(take(), ['Changed NftTable inet firewall (foreign): a, b, c, d, e and 2 more; by nft (process 9)'])
  t.deepEqual(after({ type: 'overrun' }), [
    'Lost Route * (kernel): the kernel had more to tell than there was room for',
  ])
})

test('the echo of an own write is told by the write alone; what the kernel takes of it is told', t => {
  const ours: Route = { ...STATIC, protocol: 80 }
  const value = '1'
  const sysctl = new Map([['net.ipv4 conf/calia/proxy_arp', { family: 'ipv4', path: [], value }]])
  const route = new Map([['10.244.1.5/32', ours]])
  const { after } = notes({ route, sysctl })
  const setting = { type: 'sysctl', family: 'ipv4', of: 7, name: 'proxy_arp' } as const
  t.deepEqual(after({ type: 'route', route: ours }, { ...setting, value }), [])
  t.deepEqual(after({ type: 'route-gone', route: ours }, { ...setting, value: '0' }), [
    'Went Route 10.244.1.5/32 (kernel): dev eth0 proto 80',
    'Changed Sysctl net.ipv4 conf/calia/proxy_arp (kernel): 0',
  ])
  t.deepEqual(notes().after({ type: 'route-gone', route: ours }), [], 'nobody wanted it any more')
})

test('of one process that does much, who it is is looked for once a second', t => {
  const { after, clock, asked } = notes()
  const some = (from: number) =>
    Array.from(
      { length: 1000 },
      (_, i): KernelEvent => ({ type: 'route', route: { ...STATIC, dst: `10.${from}.0.${i}/32` }, by: IP }),
    )
  after(...some(0))
  t.is(asked(), 1)
  clock.advance(1000)
  after(...some(1))
  t.is(asked(), 2)
})
