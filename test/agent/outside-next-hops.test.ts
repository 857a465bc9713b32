// Next hops of peers outside the cluster at an agent's routing part: over TCP in memory, with a kernel in memory.
import test from 'ava'
import { meshSession, namedSession } from '../../agent/cluster/sessions.ts'
import { Routing } from '../../agent/routing.ts'
import { SessionLog } from '../../agent/status/session-log.ts'
import type { PolicyRule } from '../../bgp/policy.ts'
import { MemoryNetwork } from '../../bgp/simulation/memory-transport.ts'
import { Speaker } from '../../bgp/speaker.ts'
import type { LearnedRoute, NextHopWay, Pool } from '../../felix/input.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import { ROUTE_PROTOCOL, ROUTE_SCOPE, ROUTE_TABLE } from '../../kernel/port/routes.ts'
import type { NamedNextHop } from '../../kernel/reconcile/objects.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { settle } from '../bgp/settle.ts'
import { aResource } from '../datastore/objects.ts'

const [NODE, OTHER_NODE, FAR_NODE] = ['192.0.2.11', '192.0.2.12', '203.0.113.12'] as const
/** Top-of-rack routers, each on a link of its own. */
const [TOR1, TOR2] = ['192.0.2.1', '198.51.100.1'] as const
const POOL = '10.244.0.0/16'
const BLOCK = '10.244.9.0/26'

const pool = (ipip: Pool['ipip']): Pool => ({ cidr: POOL, ipip, vxlan: 'Never', isExchanged: true })

/** A node with 192.0.2.11/24 on eth0 and 198.51.100.11/24 on eth1, its peers, and what it learned. */
async function aNode() {
  const [network, clock, world] = [new MemoryNetwork(), new ManualClock(), new FakeWorld()]
  const kernel = world.kernel()
  for (const [name, address] of [
    ['eth0', NODE],
    ['eth1', '198.51.100.11'],
  ] as const) {
    const { index } = await kernel.createLink({ kind: 'dummy', name })
    await kernel.setLink(name, { up: true })
    await kernel.addAddress({ ifindex: index, address, length: 24, scope: ROUTE_SCOPE.universe })
  }
  const learned = new Map<string, LearnedRoute>()
  const told: string[] = []
  const nodes = new Map<string, string>([[OTHER_NODE, 'n2']])
  const ways = new Map<string, NextHopWay>()
  const leads = (nextHop: string, way: NextHopWay | undefined) => {
    if (way === undefined) ways.delete(nextHop)
    else ways.set(nextHop, way)
  }
  const routing = new Routing({
    ...{ transport: network.host(NODE), clock, log: silentLog, nodeName: 'n1', restarting: false },
    ...{ capabilities: { ipip: true, vxlan: true }, settled: async () => {}, converged: () => undefined },
    ...{ sessions: new SessionLog({ clock, log: silentLog }) },
    learned: (prefix, route) => {
      told.push(`${prefix} ${(route?.paths ?? (route ? [route] : [])).map(({ nextHop }) => nextHop).join()}`)
      if (route === undefined) learned.delete(prefix)
      else learned.set(prefix, route)
    },
    nextHops: { kernel: world.kernel(), protocol: 80, nodeWith: address => nodes.get(address), leads },
  })
  routing.trust({ own: [], pools: [POOL], services: { ranges: [], pods: [] }, nodes: [] })
  await routing.identify({ asn: 64512, port: 179, routerId: NODE, address: NODE })
  const pass = async (ms: number) => {
    for (let i = 0; i < 10; i++) {
      clock.advance(ms / 10)
      await settle(20)
    }
  }
  /** Has the kernel's route to an address lead so; by nothing: there is none. */
  const lead = async (to: string, hops: readonly NamedNextHop[], protocol: number = ROUTE_PROTOCOL.static) => {
    const common = { dst: `${to}/32`, table: ROUTE_TABLE.main, protocol, scope: ROUTE_SCOPE.universe } as const
    const [first, second] = await Promise.all(
      hops.map(async ({ interfaceName, ...hop }) => ({ ...hop, ifindex: (await kernel.link(interfaceName))!.index })),
    )
    const way = second === undefined ? first : { nextHops: [first!, second] }
    const route = { ...common, type: 'unicast', ...way } as const
    await kernel.changeRoutes([{ verb: first === undefined ? 'delete' : 'replace', route }])
  }
  const speakers: Speaker[] = []
  const own = { asn: 64512, ipv4: NODE }
  const join = async (
    address: string,
    asn: number,
    announced: readonly (readonly [prefix: string, nextHop?: string])[],
    importFilters?: PolicyRule[],
  ) => {
    const speaker = new Speaker({ asn, routerId: address }, { transport: network.host(address), clock })
    speakers.push(speaker)
    await speaker.listen({ address, port: 179 })
    speaker.setPeer({ address: NODE, asn: 64512, passive: true, export: 'accept', nextHop: 'keep', multihop: 2 })
    for (const [prefix, nextHop = address] of announced) speaker.announce({ prefix, nextHop })
    const named = aResource('BGPPeer', { metadata: { name: address }, spec: { peerIP: address, asNumber: asn } })
    const far = { address, port: 179, asn, isNode: asn === 64512, comesBack: false }
    const peer =
      asn === 64512
        ? { ...meshSession(own, { address, asn, port: 179 }), passive: false }
        : { ...namedSession('global', own, far, named), multihop: 2, ...(importFilters && { importFilters }) }
    routing.change([{ key: address, peer, origin: asn === 64512 ? 'mesh' : 'global' }])
    await pass(5000)
  }
  const hops = (prefix: string) => {
    const route = learned.get(prefix)
    return (route?.paths ?? (route ? [route] : [])).map(({ nextHop }) => nextHop).join() || 'none'
  }
  const conditions = () =>
    routing
      .refused()
      .filter(({ type }) => type === 'NextHopsReachable')
      .map(({ object, reason }) => `${object?.name} ${reason}`)
  const close = () => Promise.all([routing.close(), ...speakers.map(speaker => speaker.close())])
  return { kernel, lead, routing, nodes, ways, told, join, pass, hops, conditions, close }
}

test('of two top-of-rack routers the other one is chosen at once when the link to the first is lost, and shares again when it is back', async t => {
  const { kernel, routing, join, pass, hops, conditions, close } = await aNode()
  await join(TOR1, 65001, [[BLOCK]])
  await join(TOR2, 65001, [[BLOCK]])
  t.is(hops(BLOCK).split(',').toSorted().join(), `${TOR1},${TOR2}`)
  await kernel.setLink('eth0', { up: false })
  await pass(100)
  t.is(hops(BLOCK), TOR2)
  t.deepEqual(conditions(), [`${TOR1} Unreachable`])
  const lost = routing.explain(BLOCK).candidates.find(({ peer }) => peer.includes(TOR1.replaceAll('.', '_')))
  t.like(lost, { step: 'reachable', reached: { reachable: false } })
  await kernel.setLink('eth0', { up: true })
  await pass(100)
  t.is(hops(BLOCK).split(',').toSorted().join(), `${TOR1},${TOR2}`)
  t.deepEqual(conditions(), [])
  await close()
})

test('a link that flaps stops to move routes after three losses, is told as damped, and counts again once it stayed', async t => {
  const { kernel, told, join, pass, hops, conditions, close } = await aNode()
  await join(TOR1, 65001, [[BLOCK]])
  await join(TOR2, 65001, [[BLOCK]])
  const before = told.length
  for (let i = 0; i < 20; i++) {
    await kernel.setLink('eth0', { up: false })
    await pass(500)
    await kernel.setLink('eth0', { up: true })
    await pass(500)
  }
  t.is(told.length - before, 5, told.slice(before).join('; '))
  t.is(hops(BLOCK), TOR2)
  t.deepEqual(conditions(), [`${TOR1} Damped`])
  await pass(9000)
  t.is(hops(BLOCK), TOR2)
  await pass(1500)
  t.is(hops(BLOCK).split(',').toSorted().join(), `${TOR1},${TOR2}`)
  t.deepEqual(conditions(), [])
  await close()
})

test('what nodes announce is used whatever leads to them, and so is an address of a node that somebody outside announces', async t => {
  const { kernel, routing, nodes, join, pass, hops, conditions, close } = await aNode()
  await join(OTHER_NODE, 64512, [[BLOCK], ['10.244.10.0/26', FAR_NODE]])
  await join(TOR2, 65001, [['10.244.11.0/26', FAR_NODE]])
  t.deepEqual([hops(BLOCK), hops('10.244.10.0/26')], [OTHER_NODE, FAR_NODE])
  t.is(hops('10.244.11.0/26'), 'none')
  t.deepEqual(conditions(), [`${FAR_NODE} Unreachable`])
  nodes.set(FAR_NODE, 'n3')
  routing.nextHops.recheck([FAR_NODE])
  await pass(100)
  t.is(hops('10.244.11.0/26'), FAR_NODE)
  await kernel.setLink('eth0', { up: false })
  await pass(100)
  t.deepEqual([hops(BLOCK), hops('10.244.10.0/26'), hops('10.244.11.0/26')], [OTHER_NODE, FAR_NODE, FAR_NODE])
  await close()
})

test('where packets may go by IP-in-IP to whoever has the address, a path needs no route to it; elsewhere it does', async t => {
  const { routing, join, pass, hops, close } = await aNode()
  await join(TOR2, 65001, [[BLOCK, FAR_NODE]])
  t.is(hops(BLOCK), 'none')
  routing.setPools([pool('CrossSubnet')])
  await pass(100)
  t.is(hops(BLOCK), FAR_NODE)
  routing.setPools([pool('Never')])
  await pass(100)
  t.is(hops(BLOCK), 'none')
  await close()
})

test('another AS number begins anew with what is known of next hops by then', async t => {
  const { kernel, routing, join, pass, hops, conditions, close } = await aNode()
  await join(TOR1, 65001, [[BLOCK]])
  await kernel.setLink('eth0', { up: false })
  await pass(100)
  t.deepEqual(conditions(), [`${TOR1} Unreachable`])
  await routing.identify({ asn: 64600, port: 179, routerId: NODE, address: NODE })
  await pass(11_000)
  t.is(hops(BLOCK), 'none')
  t.deepEqual(conditions(), [])
  await close()
})

const LOOPBACK = '10.255.0.1'

test('felix is told how routes lead to a next hop while one does, and decides nothing itself when none does', async t => {
  const { lead, ways, join, pass, hops, conditions, close } = await aNode()
  const [over0, over1] = [
    { gateway: TOR1, interfaceName: 'eth0' },
    { gateway: TOR2, interfaceName: 'eth1' },
  ]
  await lead(LOOPBACK, [over0, over1])
  await join(TOR2, 65001, [[BLOCK, LOOPBACK]])
  t.is(hops(BLOCK), LOOPBACK)
  t.deepEqual(ways.get(LOOPBACK), { hops: [over0, over1], over: `${LOOPBACK}/32` })
  await lead(LOOPBACK, [{ ...over1, onlink: true }])
  await pass(100)
  t.deepEqual(ways.get(LOOPBACK), { hops: [{ ...over1, onlink: true }], over: `${LOOPBACK}/32` })
  await lead(LOOPBACK, [])
  await pass(100)
  t.is(hops(BLOCK), 'none')
  t.deepEqual(conditions(), [`${LOOPBACK} Unreachable`])
  t.deepEqual(ways.get(LOOPBACK)?.hops, [{ ...over1, onlink: true }], 'the paths go by the decision')
  await lead(LOOPBACK, [over0])
  await pass(100)
  t.is(hops(BLOCK), LOOPBACK)
  t.deepEqual(ways.get(LOOPBACK)?.hops, [over0])
  await close()
})

test('what is known of ways outlives a change of the AS number, which the routes outlive too', async t => {
  const { lead, ways, routing, join, pass, close } = await aNode()
  await lead(LOOPBACK, [{ gateway: TOR2, interfaceName: 'eth1' }])
  await join(TOR2, 65001, [[BLOCK, LOOPBACK]])
  await routing.identify({ asn: 64600, port: 179, routerId: NODE, address: NODE })
  await lead(LOOPBACK, [{ gateway: TOR1, interfaceName: 'eth0' }])
  await pass(100)
  t.deepEqual(ways.get(LOOPBACK)?.hops, [{ gateway: TOR1, interfaceName: 'eth0' }])
  await pass(11_000)
  await close()
})

test('the next hops of a speaker are followed for as long as its paths have them, also those of the last one', async t => {
  const { lead, ways, routing, join, pass, hops, conditions, close } = await aNode()
  await lead(LOOPBACK, [{ gateway: TOR2, interfaceName: 'eth1' }])
  await join(TOR2, 65001, [[BLOCK, LOOPBACK]])
  await routing.identify({ asn: 64512, port: 179, routerId: '192.0.2.99', address: NODE })
  await pass(20_000)
  t.is(hops(BLOCK), LOOPBACK)
  await lead(LOOPBACK, [])
  await pass(100)
  t.deepEqual([hops(BLOCK), conditions()], ['none', [`${LOOPBACK} Unreachable`]])
  await lead(LOOPBACK, [{ gateway: TOR1, interfaceName: 'eth0' }])
  await pass(100)
  t.deepEqual([hops(BLOCK), conditions()], [LOOPBACK, []])
  t.deepEqual(ways.get(LOOPBACK)?.hops, [{ gateway: TOR1, interfaceName: 'eth0' }])
  await close()
})

test('an address with a route that becomes that of a node is no longer reached as the route went, whether or not that is still there', async t => {
  for (const stays of [true, false]) {
    const { lead, ways, nodes, routing, join, pass, hops, close } = await aNode()
    await lead(FAR_NODE, [{ gateway: TOR2, interfaceName: 'eth1' }])
    await join(TOR2, 65001, [[BLOCK, FAR_NODE]])
    t.is(ways.size, 1)
    if (!stays) await lead(FAR_NODE, [])
    await pass(100)
    nodes.set(FAR_NODE, 'n3')
    routing.nextHops.recheck([FAR_NODE])
    await pass(100)
    t.deepEqual([hops(BLOCK), ways.size], [FAR_NODE, 0], `${stays}`)
    await close()
  }
})

test('no route leads to a next hop in a pool, where pods are, but that to a subnet of this node does', async t => {
  const { lead, ways, routing, join, pass, hops, conditions, close } = await aNode()
  await lead('10.244.77.1', [{ gateway: TOR1, interfaceName: 'eth0' }])
  await join(TOR2, 65001, [
    [BLOCK, '10.244.77.1'],
    ['10.244.10.0/26', TOR2],
  ])
  t.is(hops(BLOCK), '10.244.77.1')
  const lan = { ...pool('Never'), cidr: '198.51.100.0/24' }
  routing.setPools([pool('Never'), lan])
  await pass(100)
  t.deepEqual([hops(BLOCK), hops('10.244.10.0/26')], ['none', TOR2])
  t.deepEqual(conditions(), ['10.244.77.1 Unreachable'])
  t.deepEqual([...ways.keys()].toSorted(), ['10.244.77.1', TOR2])
  routing.setPools([lan])
  await pass(100)
  t.is(hops(BLOCK), '10.244.77.1')
  await close()
})

test('a peer that is reached by the router that its BGPPeer names may announce its own address', async t => {
  const { lead, ways, routing, join, pass, hops, conditions, close } = await aNode()
  // as felix writes it
  await lead(LOOPBACK, [{ gateway: TOR2, interfaceName: 'eth1' }], 80)
  routing.nextHops.setPeerWay(`${LOOPBACK}/32`, true)
  const announced = [[BLOCK], [`${LOOPBACK}/32`]] as const
  await join(LOOPBACK, 65001, announced, [{ action: 'accept' }])
  t.deepEqual([hops(BLOCK), conditions()], [LOOPBACK, []])
  const overOurs = `${LOOPBACK}/32`
  t.deepEqual(ways.get(LOOPBACK), { hops: [{ gateway: TOR2, interfaceName: 'eth1' }], overOurs })
  routing.nextHops.setPeerWay(`${LOOPBACK}/32`, false)
  await pass(100)
  t.deepEqual([hops(BLOCK), conditions()], ['none', [`${LOOPBACK} Unreachable`]], 'else that is a loop')
  await close()
})

test('of many next hops that cannot be reached the first are named, and the others counted', async t => {
  const { routing, join, close } = await aNode()
  const many = Array.from({ length: 50 }, (_, i) => [`10.244.${i + 20}.0/26`, `203.0.113.${i + 1}`] as const)
  await join(TOR2, 65001, many)
  const told = routing.refused().filter(({ type }) => type === 'NextHopsReachable')
  t.is(told.length, 21)
  t.deepEqual(told.at(-1)?.object, { kind: 'NextHop', name: '*' })
  t.regex(told.at(-1)!.message, /^30 more next hops cannot be reached/)
  await close()
})
