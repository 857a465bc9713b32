// What a node tells of the way of a packet while something is wrong there that was put into its kernel by hand: two nodes with felix
// (test/felix/two-nodes.ts), which is closed then, so that nothing is put right. One world serves all tests.
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import test from 'ava'
import { FactsOfNode } from '../../../agent/facts/node-facts.ts'
import { type NodeFacts, nodeFacts, type Question, type WayFacts } from '../../../api/explain.ts'
import type { PodEndpoint } from '../../../cni/endpoints.ts'
import { netnsPath } from '../../../kernel/netns.ts'
import { GATEWAY, HOST_MAC } from '../../../kernel/pod-interface.ts'
import type { Kernel } from '../../../kernel/port/kernel.ts'
import { systemClock } from '../../../lib/clock.ts'
import { systemProgram } from '../../../lib/system-program.ts'
import { isRoot, sweep } from '../../felix/netns.ts'
import { spy } from '../../felix/node-kernel.ts'
import { give, type Net, type Node, route, twoNodes } from '../../felix/two-nodes.ts'

const asRoot = isRoot ? test.serial : test.serial.skip
const run = promisify(execFile)
let net: Net

test.before(async () => {
  if (!isRoot) return
  sweep()
  net = await twoNodes({ podMacs: true })
  for (const { pod, n, host } of net.nodes) {
    await pod.kernel.setLink('eth0', { mtu: 1450 })
    await setGateway(pod.kernel)
    await host.kernel.setLink(`calipod${n}`, { mtu: 1450 })
  }
  for (const { felix } of net.nodes) {
    await felix.inSync()
    await felix.close()
  }
})
test.after.always(() => net?.[Symbol.asyncDispose]())

const packet = { family: 'ipv4', source: '10.244.1.5', destination: '10.244.2.5', protocol: 'icmp' } as const
const QUESTION: Question = {
  packet,
  back: { ...packet, source: packet.destination, destination: packet.source },
  from: { address: packet.source, role: 'pod', node: 'n1', pod: { namespace: 'default', name: 'n1-p1' } },
  to: { address: packet.destination, role: 'pod', node: 'n2', pod: { namespace: 'default', name: 'n2-p1' } },
}

async function setGateway(pod: Kernel): Promise<void> {
  const { index: ifindex } = (await pod.link('eth0'))!
  await pod.setNeighbour({ ifindex, address: GATEWAY.ipv4, mac: HOST_MAC, permanent: true })
}

/** What a node tells, as an asker reads it; it must not write meanwhile. */
async function tell({ n, host, pod, felix, ipv6 }: Node, question = QUESTION): Promise<NodeFacts> {
  const watched = spy(host.kernel)
  const { writes, kernel } = watched
  const endpoint = {
    ...{ id: 'pod', interfaceName: `calipod${n}`, ifname: 'eth0', netns: netnsPath(pod.name), mtu: 1450 },
    ...{
      addresses: [ipv6 ? `fd00:10:${n}::5` : `10.244.${n}.5`],
      mac: `02:00:00:00:0${n}:05`,
      pod: { namespace: 'default', name: `n${n}-p1` },
    },
  } as unknown as PodEndpoint
  const facts = new FactsOfNode({
    ...{ node: `n${n}`, version: '1', startedMs: 0, clock: systemClock, kernel, felix },
    cni: () => ({
      kernel,
      endpoints: { all: () => [endpoint], live: () => [endpoint], isExpected: () => false },
      hostSide: {
        routeProtocol: () => felix.podRouteProtocol,
        podsFiltered: () => felix.podsFiltered,
        filterDifferences: async () => [],
      },
    }),
    network: { peers: () => [], learnedFor: () => undefined, nodeWith: () => undefined },
    explain: prefix => ({ prefix, candidates: [], withheld: [] }),
    view: { all: () => [] },
    floating: { targetOf: () => undefined },
    allocator: { blocks: () => [], borrowed: () => [], lentTo: () => new Map() },
    isOwnTable: name => name.startsWith('margay'),
    conditions: () => [],
    events: { last: () => [] },
  })
  const answer = (await facts.answer(question))!
  if (writes.length > 0) throw new Error(`it wrote: ${writes.join(' ')}`)
  return nodeFacts.parse(JSON.parse(JSON.stringify(answer)))
}

function way(facts: NodeFacts, direction: WayFacts['direction']): WayFacts {
  const found = facts.ways.find(each => each.direction === direction)
  if (found === undefined) throw new Error(`no way ${direction}`)
  return found
}

function told<T>(fact: { value?: T } | { absent: string } | undefined): T {
  if (fact === undefined || !('value' in fact)) throw new Error(JSON.stringify(fact))
  return fact.value as T
}

const settings = (of: WayFacts) => Object.fromEntries(told(of.settings).map(({ name, is }) => [name, is]))

asRoot('nodes on which nothing is wrong tell the whole way, write nothing, and tell nothing that differs', async t => {
  const [near, far] = [await tell(net.nodes[0]), await tell(net.nodes[1])]
  t.deepEqual(
    [near, far].map(({ endpoints }) => endpoints.map(({ mismatches }) => told(mismatches))),
    [[[]], [[]]],
  )
  t.deepEqual(told(near.endpoints[0]!.mtu), { pod: 1450, host: 1450, wanted: 1450 })
  const there = way(near, 'there')
  t.like(there, { from: 'pod', wanted: { origin: { of: 'learned', nextHop: '10.244.2.1' } } })
  t.is(there.wanted?.divergence, undefined)
  t.like(told(there.lookup), { route: { prefix: '10.244.2.0/26', device: 'vxlan.calico', protocol: 'margay' } })
  t.like(told(there.leavesBy), { kind: 'vxlan', up: true, mtu: 1450, wanted: { mtu: 1450, up: true } })
  const inner = told(there.neighbour)
  t.like(inner, { address: '10.244.2.1', state: 'permanent', ours: true })
  t.like(there.outer, { encapsulation: 'vxlan', remote: '192.168.20.12' })
  t.deepEqual(told(there.outer?.entry), { mac: inner?.mac, remote: '192.168.20.12' })
  t.like(told(there.outer?.leavesBy), { name: 'eth0', up: true })
  t.like(told(there.outer!.lookup), { route: { gateway: '192.168.10.1', device: 'eth0' } })
  t.is(settings(there)['net.ipv4.conf.calipod1.forwarding'], '1')
  const back = way(near, 'back')
  t.like(back, { from: 'tunnel', wanted: { origin: { of: 'pod' } } })
  t.like(told(back.leavesBy), { name: 'calipod1' })
  t.like(told(back.neighbour), { address: '10.244.1.5', mac: '02:00:00:00:01:05', ours: true })
  t.like(way(far, 'there'), { from: 'tunnel' })
  t.like(way(far, 'back'), { from: 'pod' })
  t.true(
    near.policies.every(({ decision }) => decision.action === 'deny'),
    'felix was told of no policies',
  )
})

asRoot('a neighbour that somebody else wrote is told as none of ours (09)', async t => {
  const [near] = net.nodes
  const { index: ifindex } = (await near.host.kernel.link('eth0'))!
  const wrong = { ifindex, address: '192.168.10.1', mac: '02:00:00:00:0b:ad', permanent: true }
  await near.host.kernel.setNeighbour(wrong)
  const neighbour = told(way(await tell(near), 'there').outer?.neighbour)
  await near.host.kernel.deleteNeighbour(wrong)
  t.like(neighbour, { address: '192.168.10.1', mac: '02:00:00:00:0b:ad', state: 'permanent', ours: false })
})

asRoot('a neighbour that answers nobody is told as such', async t => {
  const [near] = net.nodes
  const { name } = near.host
  await run(systemProgram('ip'), ['netns', 'exec', name, 'ping', '-c1', '-W1', '192.168.10.77']).catch(() => undefined)
  const to = { ...packet, destination: '192.168.10.77' }
  const back = { ...packet, source: '192.168.10.77', destination: packet.source }
  const question = { ...QUESTION, packet: to, back, to: { address: '192.168.10.77', role: 'outside' } as const }
  const there = way(await tell(near, question), 'there')
  t.true(['failed', 'incomplete'].includes(told(there.neighbour)?.state ?? ''), JSON.stringify(there.neighbour))
  t.deepEqual(there.wanted?.origin, { of: 'connected' })
})

asRoot('an address that a pod lost is told (15)', async t => {
  const [near] = net.nodes
  const { index: ifindex } = (await near.pod.kernel.link('eth0'))!
  const address = { ifindex, address: '10.244.1.5', length: 32, scope: 0 }
  await near.pod.kernel.deleteAddress(address)
  const { endpoints } = await tell(near)
  await near.pod.kernel.addAddress(address)
  // the kernel takes them away with the last address
  for (const [dst, gateway] of [['169.254.1.1/32'], ['0.0.0.0/0', '169.254.1.1']] as const)
    await route(near.pod, dst, gateway, 'eth0')
  await setGateway(near.pod.kernel)
  const [first, ...others] = told(endpoints[0]!.mismatches)
  t.deepEqual(first, { side: 'pod', kind: 'address', object: '10.244.1.5/32 dev eth0' })
  t.deepEqual([...new Set(others.map(({ kind }) => kind))], ['neighbour', 'route'])
})

asRoot('an MTU in a pod that is larger than that of its other end is told (17)', async t => {
  const [near] = net.nodes
  await near.pod.kernel.setLink('eth0', { mtu: 1500 })
  const { endpoints } = await tell(near)
  await near.pod.kernel.setLink('eth0', { mtu: 1450 })
  t.deepEqual(told(endpoints[0]!.mtu), { pod: 1500, host: 1450, wanted: 1450 })
  const wrong = { side: 'pod', kind: 'link', object: 'eth0 mtu', is: '1500', should: '1450' }
  t.deepEqual(told(endpoints[0]!.mismatches), [wrong as never])
})

asRoot('a host that forwards nothing is told by the kernel’s own answer and the setting (19)', async t => {
  const [near] = net.nodes
  near.host.kernel.writeSysctl('ipv4', ['ip_forward'], '0')
  const there = way(await tell(near), 'there')
  near.host.kernel.writeSysctl('ipv4', ['ip_forward'], '1')
  t.like(told(there.lookup), { errno: 'EHOSTUNREACH' })
  t.like(told(there.plain), { route: { device: 'vxlan.calico' } })
  const setting = told(there.settings).find(({ name }) => name === 'net.ipv4.ip_forward')
  t.deepEqual(setting, { name: 'net.ipv4.ip_forward', is: '0', wanted: '1' })
})

asRoot('an interface of a pod that forwards nothing is told (21)', async t => {
  const [near] = net.nodes
  const path = ['conf', 'calipod1', 'forwarding']
  near.host.kernel.writeSysctl('ipv4', path, '0')
  const facts = await tell(near)
  near.host.kernel.writeSysctl('ipv4', path, '1')
  const there = way(facts, 'there')
  t.like(told(there.lookup), { errno: 'EHOSTUNREACH' })
  t.is(settings(there)['net.ipv4.ip_forward'], '1')
  t.is(settings(there)['net.ipv4.conf.calipod1.forwarding'], '0')
  t.true(told(facts.endpoints[0]!.mismatches).some(({ object }) => object.endsWith('calipod1.forwarding')))
})

asRoot('a packet that the filter of the reverse path drops is told with the way to its source', async t => {
  const [, far] = net.nodes
  const ip = (...args: string[]) => run(systemProgram('ip'), ['-n', far.host.name, ...args])
  await ip('route', 'add', '10.244.1.5/32', 'via', '192.168.20.1')
  const path = ['conf', 'vxlan.calico', 'rp_filter']
  const before = far.host.kernel.readSysctl('ipv4', path)
  far.host.kernel.writeSysctl('ipv4', path, '1')
  const there = way(await tell(far), 'there')
  far.host.kernel.writeSysctl('ipv4', path, before)
  await ip('route', 'del', '10.244.1.5/32')
  t.like(there, { from: 'tunnel' })
  t.like(told(there.entersBy), { name: 'vxlan.calico' })
  const { lookup } = there
  t.true(['EINVAL', 'EXDEV'].includes((told(lookup) as { errno?: string }).errno ?? ''), JSON.stringify(lookup))
  t.like(told(there.plain), { route: { device: 'calipod2' } })
  t.like(told(there.ofSource), { route: { device: 'eth0' } })
  t.is(settings(there)['net.ipv4.conf.vxlan.calico.rp_filter'], '1')
})

asRoot('a forwarding entry that is gone is told (25)', async t => {
  const [near] = net.nodes
  const { index } = (await near.host.kernel.link('vxlan.calico'))!
  const [entry] = await near.host.kernel.fdb(index)
  await near.host.kernel.deleteFdb(entry!)
  const there = way(await tell(near), 'there')
  await near.host.kernel.setFdb(entry!)
  t.deepEqual(told(there.outer?.entry), { mac: entry!.mac })
  t.is(there.outer?.remote, '192.168.20.12', 'where frames should go')
})

asRoot('an address of a pod that another node has is told as its own (43)', async t => {
  const [, far] = net.nodes
  await give(far.host, 'eth0', '10.244.1.5', 32)
  const back = way(await tell(far), 'back')
  const { index: ifindex } = (await far.host.kernel.link('eth0'))!
  await far.host.kernel.deleteAddress({ ifindex, address: '10.244.1.5', length: 32, scope: 0 })
  t.like(told(back.lookup), { route: { type: 'local', device: 'eth0' } })
  t.is(back.wanted?.divergence, 'elsewhere')
})

asRoot('a rule of another program that takes packets of a pod is told, and whether it is about this one', async t => {
  const [near] = net.nodes
  const ip = (...args: string[]) => run(systemProgram('ip'), ['-n', near.host.name, ...args])
  await ip('route', 'add', 'unreachable', 'default', 'table', '201')
  await ip('rule', 'add', 'priority', '100', 'from', '10.244.1.0/26', 'lookup', '201')
  await ip('rule', 'add', 'priority', '101', 'from', '10.98.0.0/26', 'lookup', '201')
  const there = way(await tell(near), 'there')
  await ip('rule', 'del', 'priority', '100')
  await ip('rule', 'del', 'priority', '101')
  t.like(told(there.lookup), { errno: 'EHOSTUNREACH' })
  t.like(told(there.plain), { route: { device: 'vxlan.calico' } })
  t.deepEqual(
    told(there.rules).map(({ text, matches }) => [text, matches]),
    [
      ['from 10.244.1.0/26 lookup 201', true],
      ['from 10.98.0.0/26 lookup 201', false],
    ],
  )
})

asRoot('a more specific route of another program is told as one that comes before ours', async t => {
  const [near] = net.nodes
  const ip = (...args: string[]) => run(systemProgram('ip'), ['-n', near.host.name, ...args])
  await ip('route', 'add', '10.244.2.5/32', 'via', '192.168.10.1')
  const there = way(await tell(near), 'there')
  await ip('route', 'del', '10.244.2.5/32')
  t.is(there.wanted?.divergence, 'shadowed')
  t.like(told(there.plain), { route: { prefix: '10.244.2.5/32', device: 'eth0' } })
})

asRoot('a tunnel that is down is told, with the route that went with it (23)', async t => {
  const [near] = net.nodes
  await near.host.kernel.setLink('vxlan.calico', { up: false })
  const there = way(await tell(near), 'there')
  t.is(there.wanted?.divergence, 'missing')
  t.like(told(there.plain), { route: { device: 'eth0' } })
  t.like(told(there.leavesBy), { name: 'vxlan.calico', up: false, wanted: { up: true } })
})

asRoot('of IPv6 pods over a tunnel the same is told', async t => {
  await using six = await twoNodes({ podMacs: true, ipv6: true })
  const [near, far] = six.nodes
  for (const { felix } of six.nodes) await felix.close()
  const [source, destination] = ['fd00:10:1::5', 'fd00:10:2::5']
  const packet6 = { family: 'ipv6', source, destination, protocol: 'icmpv6' } as const
  const question: Question = {
    ...{ packet: packet6, back: { ...packet6, source: destination, destination: source } },
    from: { address: source, role: 'pod', node: 'n1' },
    to: { address: destination, role: 'pod', node: 'n2' },
  }
  const facts = await tell(near, question)
  const there = way(facts, 'there')
  t.like(told(there.lookup), { route: { prefix: 'fd00:10:2::/122', device: 'vxlan.calico' } })
  t.like(told(there.neighbour), { state: 'permanent', ours: true })
  t.like(there.outer, { encapsulation: 'vxlan', remote: '192.168.20.12' })
  t.like(told(there.outer!.lookup), { route: { gateway: '192.168.10.1', device: 'eth0' } })
  t.like(
    told(there.settings).find(({ name }) => name === 'net.ipv6.conf.all.forwarding'),
    { is: '1', wanted: '1' },
  )
  t.like(way(await tell(far, question), 'there'), { from: 'tunnel', wanted: { origin: { of: 'pod' } } })
  near.host.kernel.writeSysctl('ipv6', ['conf', 'all', 'forwarding'], '0')
  const off = way(await tell(near, question), 'there')
  t.is(settings(off)['net.ipv6.conf.all.forwarding'], '0')
  t.deepEqual(
    told(facts.endpoints[0]!.mismatches).filter(({ side }) => side === 'host'),
    [],
  )
})
