// What one node's routing part tells felix, over TCP in memory and with a clock set by hand.
import test from 'ava'
import { nodeFacts } from '../../agent/cluster/nodes.ts'
import { Peers } from '../../agent/cluster/peers.ts'
import { bgpSettings } from '../../agent/cluster/settings.ts'
import { Routing, type RoutingDeps } from '../../agent/routing.ts'
import { SessionLog } from '../../agent/status/session-log.ts'
import { NODE_ANNOTATION } from '../../api/core.ts'
import { broken } from '../../api/status.ts'
import { MemoryNetwork } from '../../bgp/simulation/memory-transport.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { SaidBfd } from '../bgp/said-bfd.ts'
import { aNode } from '../datastore/objects.ts'

const ADDRESS = { n1: '192.0.2.11', n2: '192.0.2.12', n3: '192.0.2.13' } as const
type Name = keyof typeof ADDRESS

function aRouting(
  name: Name,
  network: MemoryNetwork,
  clock: ManualClock,
  {
    restarting = false,
    nodes = ['n1', 'n2'],
    bfd,
  }: { restarting?: boolean; nodes?: readonly Name[]; bfd?: RoutingDeps['bfd'] } = {},
) {
  const learned = new Set<string>()
  const lost: string[] = []
  let converged = 0
  const address = ADDRESS[name]
  const routing = new Routing({
    ...{ transport: network.host(address), bfd, clock, log: silentLog, nodeName: name },
    ...{ capabilities: { ipip: false, vxlan: true }, restarting, sessions: new SessionLog({ clock, log: silentLog }) },
    learned: (prefix, route) => {
      if (route !== undefined) learned.add(prefix)
      else if (learned.delete(prefix)) lost.push(prefix)
    },
    settled: async () => {},
    converged: () => converged++,
  })
  const peers = new Peers({ nodeName: name, address, config: bgpSettings(undefined) })
  for (const node of nodes) {
    const annotations = { [NODE_ANNOTATION.ipv4Address]: `${ADDRESS[node]}/24` }
    peers.node(node, nodeFacts(aNode(node, { annotations })).facts)
  }
  const identify = async (asNumber: number, port = 179, routerId: string = address) => {
    peers.configure({ config: { ...bgpSettings(undefined), asNumber, listenPort: port } })
    await routing.identify({ asn: asNumber, port, routerId, address })
    routing.change(peers.take())
  }
  return { routing, peers, identify, prefixes: () => [...learned], lost, converged: () => converged }
}

const blocks = (...prefixes: string[]) => prefixes.map(prefix => ({ prefix, communities: [], localPref: 2147482623 }))

/** Lets `seconds` pass in small steps, with turns for what runs between timers. */
async function pass(clock: ManualClock, seconds: number): Promise<void> {
  for (let step = 0; step < seconds * 10; step++) {
    clock.advance(100)
    for (let turn = 0; turn < 4; turn++) await new Promise(resolve => setImmediate(resolve))
  }
}

test('routes outlive a change of the AS number, and those that nobody sends again are dropped', async t => {
  const [network, clock] = [new MemoryNetwork(), new ManualClock()]
  const [one, two] = [aRouting('n1', network, clock), aRouting('n2', network, clock)]
  t.teardown(() => one.routing.close())
  two.routing.announce(blocks('10.244.2.0/26'))
  await Promise.all([one.identify(64512), two.identify(64512)])
  await pass(clock, 15)
  t.deepEqual(one.prefixes(), ['10.244.2.0/26'])

  await Promise.all([one.identify(64600), two.identify(64600)])
  t.deepEqual(one.prefixes(), ['10.244.2.0/26'], 'kept while the sessions come up')
  await pass(clock, 15)
  t.deepEqual(one.prefixes(), ['10.244.2.0/26'], 'sent again')

  await two.routing.close()
  await one.identify(64700)
  t.deepEqual(one.prefixes(), ['10.244.2.0/26'])
  await pass(clock, 15)
  t.deepEqual(one.prefixes(), [])
})

test('a node of IPv6 alone that gets an IPv4 address, and by it another identifier, loses no route at the others', async t => {
  const [network, clock] = [new MemoryNetwork(), new ManualClock()]
  const [one, two] = [aRouting('n1', network, clock), aRouting('n2', network, clock)]
  t.teardown(() => Promise.all([one.routing.close(), two.routing.close()]))
  two.routing.announce(blocks('10.244.2.0/26', '10.244.2.64/26'))
  await Promise.all([one.identify(64512), two.identify(64512, 179, '203.0.113.2')])
  await pass(clock, 15)
  await two.identify(64512)
  await pass(clock, 15)
  t.deepEqual(one.lost, [])
  t.deepEqual(
    one.routing.peers().map(({ state }) => state),
    ['Established'],
  )
  two.routing.announce(blocks('10.244.2.64/26'))
  await pass(clock, 5)
  t.deepEqual(one.prefixes(), ['10.244.2.64/26'])
})

test('another listenPort makes the node listen there, and the sessions stay', async t => {
  const [network, clock] = [new MemoryNetwork(), new ManualClock()]
  const [one, two] = [aRouting('n1', network, clock), aRouting('n2', network, clock)]
  t.teardown(() => Promise.all([one.routing.close(), two.routing.close()]))
  await Promise.all([one.identify(64512), two.identify(64512)])
  await pass(clock, 15)
  await Promise.all([one.identify(64512, 1179), two.identify(64512, 1179)])
  await pass(clock, 15)
  t.deepEqual(
    one.routing.peers().map(({ state }) => state),
    ['Established'],
  )
})

test('a block that is given back is withdrawn, and the others stay announced', async t => {
  const [network, clock] = [new MemoryNetwork(), new ManualClock()]
  const [one, two] = [aRouting('n1', network, clock), aRouting('n2', network, clock)]
  t.teardown(() => Promise.all([one.routing.close(), two.routing.close()]))
  two.routing.announce(blocks('10.244.2.0/26', '10.244.2.64/26'))
  await Promise.all([one.identify(64512), two.identify(64512)])
  await pass(clock, 15)
  t.deepEqual(one.prefixes().sort(), ['10.244.2.0/26', '10.244.2.64/26'])
  two.routing.announce(blocks('10.244.2.64/26'))
  await pass(clock, 5)
  t.deepEqual(one.prefixes(), ['10.244.2.64/26'])
})

test('without routes of an earlier run there is nothing to wait for; with them the restart must be over', async t => {
  const [network, clock] = [new MemoryNetwork(), new ManualClock()]
  const fresh = aRouting('n1', network, clock)
  const again = aRouting('n2', network, clock, { restarting: true })
  t.teardown(() => Promise.all([fresh.routing.close(), again.routing.close()]))
  await Promise.all([fresh.identify(64512), again.identify(64512)])
  t.is(fresh.converged(), 1)
  t.is(again.converged(), 0)
  await pass(clock, 30)
  t.is(again.converged(), 1)
})

test('a block that gets other communities is announced again with them', async t => {
  const [network, clock] = [new MemoryNetwork(), new ManualClock()]
  const [one, two] = [aRouting('n1', network, clock), aRouting('n2', network, clock)]
  t.teardown(() => Promise.all([one.routing.close(), two.routing.close()]))
  two.routing.announce(blocks('10.244.2.0/26'))
  await Promise.all([one.identify(64512), two.identify(64512)])
  await pass(clock, 15)
  two.routing.announce([{ prefix: '10.244.2.0/26', communities: ['65001:100', '65001:1:2'], localPref: 2147482623 }])
  await pass(clock, 5)
  const [{ attributes } = { attributes: undefined }] = one.routing.explain('10.244.2.0/26').candidates
  t.like(attributes, { communities: ['65001:100'], largeCommunities: ['65001:1:2'], localPref: 2147482623 })
})

test('sessions are told as openconfig-bgp has them, by the names that people know', async t => {
  const [network, clock] = [new MemoryNetwork(), new ManualClock()]
  const [one, two] = [aRouting('n1', network, clock), aRouting('n2', network, clock)]
  t.teardown(() => Promise.all([one.routing.close(), two.routing.close()]))
  t.deepEqual(one.routing.openconfig(), { 'openconfig-bgp:neighbors': { neighbor: [] } })
  two.routing.announce(blocks('10.244.2.0/26'))
  await Promise.all([one.identify(64512), two.identify(64512)])
  await pass(clock, 15)
  const { neighbor } = one.routing.openconfig()['openconfig-bgp:neighbors']
  const [{ name, address } = { name: '', address: '' }] = one.routing.peers()
  t.is(neighbor.length, 1)
  t.like(neighbor[0], { 'neighbor-address': address, state: { description: name, 'session-state': 'ESTABLISHED' } })
  const [ipv4] = (neighbor[0]!['afi-safis'] as { 'afi-safi': { state: object }[] })['afi-safi']
  t.like(ipv4?.state, { prefixes: { 'received-pre-policy': 1, received: 1 } })
})

test('a node that drains asks its peers for other paths, also after its identity changed, tells who knows and what only it announces, and takes it back', async t => {
  const [network, clock] = [new MemoryNetwork(), new ManualClock()]
  const [one, two] = [aRouting('n1', network, clock), aRouting('n2', network, clock)]
  t.teardown(() => Promise.all([one.routing.close(), two.routing.close()]))
  const [own, shared] = ['10.244.2.0/26', '198.51.100.7/32']
  one.routing.announce(blocks(shared))
  two.routing.announce(blocks(own, shared))
  await Promise.all([one.identify(64512), two.identify(64512)])
  await pass(clock, 15)
  const told = (prefix: string) => one.routing.explain(prefix).candidates.find(({ peer }) => peer !== '')?.attributes
  const usual = { communities: undefined, localPref: 2147482623 }
  const drained = { communities: ['graceful-shutdown'], localPref: 0 }
  t.like(told(own), usual)
  two.routing.drain(true)
  const asked = two.routing.drained()
  await pass(clock, 5)
  t.like(told(own), drained)
  t.like(told(shared), drained)
  t.deepEqual(await asked, {
    drains: true,
    peers: [{ name: 'Mesh_192_0_2_11', address: '192.0.2.11', told: 'yes' }],
    alone: [own],
  })
  t.deepEqual(one.prefixes(), [own], 'its pods are reached as before')
  await Promise.all([one.identify(64600), two.identify(64600)])
  await pass(clock, 30)
  t.like(told(own), drained)
  const flaps = one.routing.peers()[0]?.flaps
  two.routing.drain(false)
  await pass(clock, 5)
  t.like(told(own), usual)
  t.is(one.routing.peers()[0]?.flaps, flaps)
})

test('a peer that does not answer does not hold up whoever asks how far a drain is', async t => {
  const [network, clock] = [new MemoryNetwork(), new ManualClock()]
  const [one, two] = [aRouting('n1', network, clock), aRouting('n2', network, clock)]
  t.teardown(() => Promise.all([one.routing.close(), two.routing.close()]))
  await Promise.all([one.identify(64512), two.identify(64512)])
  await pass(clock, 15)
  network.silent = true
  two.routing.drain(true)
  const asked = two.routing.drained()
  await pass(clock, 9)
  t.deepEqual(
    (await asked).peers.map(({ told }) => told),
    ['no'],
  )
})

test('an agent that restarts while a peer cannot be reached keeps what it adopted for the restart time', async t => {
  const [network, clock] = [new MemoryNetwork(), new ManualClock()]
  const again = aRouting('n1', network, clock, { restarting: true })
  t.teardown(() => again.routing.close())
  await again.identify(64512)
  await pass(clock, 110)
  t.is(again.converged(), 0, 'n2 does not listen')
  await pass(clock, 15)
  t.is(again.converged(), 1)
})

test('after half a minute of an AS number that only one end saw, the session is back within seconds of the cure', async t => {
  const [network, clock] = [new MemoryNetwork(), new ManualClock()]
  const [one, two] = [aRouting('n1', network, clock), aRouting('n2', network, clock)]
  t.teardown(() => Promise.all([one.routing.close(), two.routing.close()]))
  const state = () => one.routing.peers()[0]?.state
  for (const [wrong, right] of [
    [one, two],
    [two, one],
  ] as const) {
    await Promise.all([wrong.identify(64512), right.identify(64512)])
    await pass(clock, 10)
    t.is(state(), 'Established')
    await wrong.identify(64999)
    await pass(clock, 30)
    t.not(state(), 'Established')
    await wrong.identify(64512)
    await pass(clock, 8)
    t.is(state(), 'Established')
  }
})

test('of two nodes that announce one prefix the packets go to both, and to the one that is left', async t => {
  const [network, clock] = [new MemoryNetwork(), new ManualClock()]
  const all = (['n1', 'n2', 'n3'] as const).map(name => aRouting(name, network, clock, { nodes: ['n1', 'n2', 'n3'] }))
  const [one, two, three] = all as [(typeof all)[0], (typeof all)[0], (typeof all)[0]]
  t.teardown(() => Promise.all(all.map(each => each.routing.close())))
  for (const each of [two, three]) each.routing.announce(blocks('203.0.113.7/32'))
  await Promise.all(all.map(each => each.identify(64512)))
  await pass(clock, 15)
  const [shared] = one.routing.learned()
  const path = (nextHop: string) => ({ nextHop, encapsulations: [8] })
  const both = { prefix: '203.0.113.7/32', ...path(ADDRESS.n2), paths: [path(ADDRESS.n2), path(ADDRESS.n3)] }
  t.deepEqual(shared, both)
  one.routing.share(undefined)
  await pass(clock, 1)
  t.deepEqual(one.routing.learned(), [{ prefix: '203.0.113.7/32', ...path(ADDRESS.n2) }])
  one.routing.share({ paths: 2, of: 'ibgp' })
  await pass(clock, 1)
  t.deepEqual(one.routing.learned(), [both])
  two.routing.announce([])
  await pass(clock, 1)
  t.deepEqual(one.routing.learned(), [{ prefix: '203.0.113.7/32', ...path(ADDRESS.n3) }])
})

test('a session that is up while BFD is not is told after some seconds, and no longer once it is watched or BFD is not asked for', async t => {
  const [network, clock] = [new MemoryNetwork(), new ManualClock()]
  const said = new SaidBfd()
  const late = broken('BfdOnTime', { reason: 'NoPriority', message: 'm', remedy: 'r' })
  const one = aRouting('n1', network, clock, { bfd: Object.assign(said, { condition: () => late }) })
  const two = aRouting('n2', network, clock)
  t.teardown(() => Promise.all([one.routing.close(), two.routing.close()]))
  await Promise.all([one.identify(64512), two.identify(64512)])
  await pass(clock, 5)
  // asked for while the session is up
  one.peers.configure({ bfd: { bfd: {} } })
  one.routing.change(one.peers.take())
  const told = () => one.routing.refused().map(({ type, reason, object }) => `${type} ${reason} ${object?.name}`)
  t.deepEqual(told(), ['BfdOnTime NoPriority undefined'])
  await pass(clock, 11)
  t.deepEqual(told().slice(1), ['PathsWatched BfdDown Mesh_192_0_2_12'])
  t.regex(one.routing.refused()[1]!.remedy, /at 192\.0\.2\.12, and let UDP port 4784 through/)
  said.say('Init', 'Up', {}, 'multi 192.0.2.11 192.0.2.12')
  t.deepEqual(told().slice(1), [])
  said.say('Up', 'Down', { state: 'AdminDown' }, 'multi 192.0.2.11 192.0.2.12')
  await pass(clock, 11)
  t.is(told().length, 2)
  one.peers.configure({ bfd: {} })
  one.routing.change(one.peers.take())
  t.is(told().length, 1)
  t.is(said.sessions.size, 0)
})
