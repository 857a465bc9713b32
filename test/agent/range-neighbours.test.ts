// Routers that connect to a node from the range of a BGPPeer, over TCP in memory and with a clock set by hand.
import test, { type ExecutionContext } from 'ava'
import { nodeFacts } from '../../agent/cluster/nodes.ts'
import { Peers } from '../../agent/cluster/peers.ts'
import { bgpSettings } from '../../agent/cluster/settings.ts'
import { NO_TRUST } from '../../agent/cluster/trust.ts'
import { Routing } from '../../agent/routing.ts'
import { SessionLog } from '../../agent/status/session-log.ts'
import { BGP_ANNOTATION, NODE_ANNOTATION } from '../../api/core.ts'
import type { EventRecord } from '../../api/status.ts'
import { MemoryNetwork } from '../../bgp/simulation/memory-transport.ts'
import { Speaker } from '../../bgp/speaker.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { aNode, aResource } from '../datastore/objects.ts'

const NODE = '192.0.2.11'
const OPEN = { import: 'accept', export: 'accept', gracefulRestart: { restartSeconds: 30 } } as const

async function aNodeWithRange(t: ExecutionContext, text = '192.0.2.0/24', { restarting = false } = {}) {
  const [network, clock] = [new MemoryNetwork(), new ManualClock()]
  const learned = new Set<string>()
  const events: EventRecord[] = []
  let converged = 0
  const sessionLog = new SessionLog({ clock, log: silentLog, record: event => void events.push(event) })
  const forgotten: string[] = []
  sessionLog.forget = key => void forgotten.push(key)
  const routing = new Routing({
    ...{ transport: network.host(NODE), clock, log: silentLog, nodeName: 'n1', restarting },
    sessions: sessionLog,
    capabilities: { ipip: false, vxlan: true },
    learned: (prefix, route) => void (route === undefined ? learned.delete(prefix) : learned.add(prefix)),
    settled: async () => {},
    converged: () => converged++,
  })
  const peers = new Peers({ nodeName: 'n1', address: NODE, config: bgpSettings(undefined) })
  const annotations = { [NODE_ANNOTATION.ipv4Address]: `${NODE}/24` }
  peers.node('n1', nodeFacts(aNode('n1', { annotations })).facts)
  const put = (range: string | undefined, spec: object = { asNumber: 65010 }) => {
    const metadata = { name: 'vms', annotations: { [BGP_ANNOTATION.range]: range ?? '' } }
    peers.bgpPeer('vms', range === undefined ? undefined : aResource('BGPPeer', { metadata, spec }))
    routing.change(peers.take())
  }
  const routers: Speaker[] = []
  /** A router that dials the node. */
  const aRouter = (address: string, asn = 65010, to = NODE) => {
    const router = new Speaker(
      { asn, routerId: to === NODE ? address : '192.0.2.77' },
      { transport: network.host(address), clock },
    )
    router.setPeer({ name: 'node', address: to, asn: 64512, ...OPEN })
    routers.push(router)
    return router
  }
  const pass = async (seconds: number) => {
    for (let step = 0; step < seconds * 5; step++) {
      clock.advance(200)
      for (let turn = 0; turn < 6; turn++) await new Promise(resolve => setImmediate(resolve))
    }
  }
  routing.trust({ ...NO_TRUST, own: ['10.244.1.0/26'], pools: ['10.244.0.0/16'] })
  routing.admit(address => address !== '192.0.2.12')
  await routing.identify({ asn: 64512, port: 179, routerId: NODE, address: NODE })
  put(text)
  t.teardown(() => Promise.all([routing.close(), ...routers.map(router => router.close())]))
  const sessions = () => routing.peers().map(({ name, state, origin }) => `${name} ${state} ${origin}`)
  const conditions = () => routing.refused().map(({ reason, object }) => `${object?.name} ${reason}`)
  const close = (router: Speaker) => router.close()
  return {
    routing,
    peers,
    put,
    aRouter,
    pass,
    learned,
    events,
    forgotten,
    sessions,
    conditions,
    close,
    converged: () => converged,
  }
}

test('each router of a range has a session of its own, with a name, events and counts as any peer has', async t => {
  const node = await aNodeWithRange(t)
  const [one, two] = [node.aRouter('192.0.2.1'), node.aRouter('192.0.2.2')]
  one.announce({ prefix: '10.244.128.0/26' })
  two.announce({ prefix: '10.244.129.0/26' })
  await node.pass(10)
  t.deepEqual(node.sessions().sort(), ['Global_192_0_2_1 Established global', 'Global_192_0_2_2 Established global'])
  t.deepEqual([...node.learned].sort(), ['10.244.128.0/26', '10.244.129.0/26'])
  t.deepEqual(node.events.map(({ object }) => object?.name).sort(), ['Global_192_0_2_1', 'Global_192_0_2_2'])
  t.is(node.routing.prefixesOf('Global_192_0_2_2').get('ipv4-unicast')?.accepted, 1)
  node.put('192.0.2.0/24', { asNumber: 65010, node: 'n1' })
  t.deepEqual(node.sessions().sort(), ['Node_192_0_2_1 Established node', 'Node_192_0_2_2 Established node'])
  t.is(node.routing.prefixesOf('Node_192_0_2_2').get('ipv4-unicast')?.accepted, 1)
  t.is(node.routing.prefixesOf('Global_192_0_2_2').size, 0)
})

test('the rules for peers outside count for each of them: no prefix of the node, none outside the pools, no transit', async t => {
  const node = await aNodeWithRange(t)
  const [one, two] = [node.aRouter('192.0.2.1'), node.aRouter('192.0.2.2')]
  for (const prefix of ['10.244.128.0/26', '10.244.1.0/28', '203.0.113.0/24', '0.0.0.0/0']) one.announce({ prefix })
  node.routing.announce([{ prefix: '10.244.1.0/26', communities: [], localPref: 100 }])
  await node.pass(10)
  t.deepEqual([...node.learned], ['10.244.128.0/26'])
  t.deepEqual(node.conditions(), ['Global_192_0_2_1 OwnPrefix'])
  t.is(two.peers()[0]?.prefixes.received, 1, 'what the node originates, and nothing of the other router')
  node.routing.trust({ ...NO_TRUST, own: ['10.244.1.0/26'], pools: ['10.244.0.0/17'] })
  await node.pass(2)
  t.deepEqual([...node.learned], [], 'pools that change count for them at once')
})

test('another AS has no session, and neither has an address that is not admitted, or no more', async t => {
  const node = await aNodeWithRange(t)
  node.aRouter('192.0.2.1', 65011)
  node.aRouter('192.0.2.12')
  node.aRouter('198.51.100.1')
  node.aRouter('192.0.2.3')
  await node.pass(10)
  const up = () => node.sessions().filter(each => each.includes('Established'))
  t.deepEqual(up(), ['Global_192_0_2_3 Established global'])
  node.routing.admit(address => address !== '192.0.2.3')
  await node.pass(1)
  t.false(node.sessions().some(each => each.startsWith('Global_192_0_2_3')))
})

test('a BGPPeer for one of the addresses takes that router over, and a removed range ends the other sessions', async t => {
  const node = await aNodeWithRange(t)
  const one = node.aRouter('192.0.2.1')
  node.aRouter('192.0.2.2')
  await node.pass(10)
  const spec = { peerIP: '192.0.2.1', asNumber: 65010 }
  node.peers.bgpPeer('tor', aResource('BGPPeer', { metadata: { name: 'tor' }, spec }))
  node.routing.change(node.peers.take())
  node.routing.admit(address => !node.peers.asksFor(address))
  await node.pass(15)
  t.deepEqual(node.sessions().sort(), ['Global_192_0_2_1 Established global', 'Global_192_0_2_2 Established global'])
  node.put(undefined)
  await node.pass(2)
  t.deepEqual(node.sessions(), ['Global_192_0_2_1 Established global'])
  t.is(one.peers()[0]?.state, 'Established')
})

test('a full range says who was refused, until there is room', async t => {
  const node = await aNodeWithRange(t, '192.0.2.0/24 limit=1')
  node.aRouter('192.0.2.1')
  await node.pass(5)
  t.deepEqual(node.conditions(), [])
  node.aRouter('192.0.2.2')
  await node.pass(5)
  t.deepEqual(node.conditions(), ['vms RangeFull'])
  t.regex(node.routing.refused()[0]!.message, /^1 of at most 1 .*192\.0\.2\.2 was refused/)
  node.put('192.0.2.0/24 limit=2')
  await node.pass(10)
  t.deepEqual(node.conditions(), [])
  t.is(node.sessions().length, 2)
})

test('of a neighbour that goes nothing is left: no session, condition, event or route', async t => {
  const node = await aNodeWithRange(t)
  const router = node.aRouter('192.0.2.1')
  for (const prefix of ['10.244.128.0/26', '10.244.1.0/28']) router.announce({ prefix })
  await node.pass(10)
  t.deepEqual(node.conditions(), ['Global_192_0_2_1 OwnPrefix'])
  await node.close(router)
  await node.pass(200)
  t.deepEqual([node.sessions(), node.conditions(), [...node.learned]], [[], [], []])
  t.deepEqual(node.forgotten, ['range vms:192.0.2.1'])
  t.is(node.routing.prefixesOf('Global_192_0_2_1').size, 0)
  const before = node.events.length
  node.aRouter('192.0.2.1')
  await node.pass(10)
  t.deepEqual(
    node.events.slice(before).map(({ reason }) => reason),
    ['Established'],
  )
})

test('another AS number of the node leaves nothing of its neighbours behind, and they come back', async t => {
  const node = await aNodeWithRange(t)
  const router = node.aRouter('192.0.2.1')
  for (let i = 0; i < 3; i++) router.announce({ prefix: `10.244.1.${i * 16}/28` })
  await node.pass(10)
  t.deepEqual(node.conditions(), ['Global_192_0_2_1 OwnPrefix'])
  await router.close()
  await node.routing.identify({ asn: 64513, port: 179, routerId: NODE, address: NODE })
  t.deepEqual([node.sessions(), node.conditions(), node.forgotten], [[], [], ['range vms:192.0.2.1']])
  node.aRouter('192.0.2.2').setPeer({ name: 'node', address: NODE, asn: 64513, ...OPEN })
  await node.pass(10)
  t.deepEqual(node.sessions(), ['Global_192_0_2_2 Established global'])
})

test('after a restart the routes of an earlier run are judged only when routers of a range had the restart time to dial in', async t => {
  for (const dials of [true, false]) {
    const node = await aNodeWithRange(t, '192.0.2.0/24', { restarting: true })
    if (dials) node.aRouter('192.0.2.1').announce({ prefix: '10.244.128.0/26' })
    await node.pass(14)
    t.deepEqual([...node.learned], [])
    await node.pass(2)
    t.deepEqual([...node.learned], dials ? ['10.244.128.0/26'] : [])
    await node.pass(100)
    t.is(node.converged(), 0)
    await node.pass(8)
    t.is(node.converged(), 1)
  }
})

test('an IPv6 range takes routers over IPv6, each by its whole address', async t => {
  const node = await aNodeWithRange(t, '2001:db8::/64')
  await node.routing.identify({ asn: 64512, port: 179, routerId: NODE, address: NODE, ipv6Address: '2001:db8::11' })
  node.aRouter('2001:db8::1:7', 65010, '2001:db8::11').announce({ prefix: 'fd00:1::/64' })
  node.routing.trust({ ...NO_TRUST, pools: ['fd00::/16'] })
  await node.pass(10)
  t.deepEqual(node.sessions(), ['Global_2001_db8__1_7 Established global'])
  t.deepEqual([...node.learned], ['fd00:1::/64'])
})
