// What changes of a cluster's objects no session ends for: agents' routing parts with real sessions over TCP in memory.
import test, { type ExecutionContext } from 'ava'
import { nodeFacts } from '../../agent/cluster/nodes.ts'
import { Peers } from '../../agent/cluster/peers.ts'
import { type ClusterObjects, nodeBgp, nodesOf, previewOf } from '../../agent/cluster/preview.ts'
import { bgpSettings } from '../../agent/cluster/settings.ts'
import { Routing } from '../../agent/routing.ts'
import { SessionLog } from '../../agent/status/session-log.ts'
import { NODE_ANNOTATION } from '../../api/core.ts'
import type { Resource } from '../../api/kinds.ts'
import { MemoryNetwork } from '../../bgp/simulation/memory-transport.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { settle } from '../bgp/settle.ts'
import { aNode, aResource } from '../datastore/objects.ts'

const NODES = ['n1', 'n2', 'n3'] as const
type Name = (typeof NODES)[number]
const addressOf = (name: Name) => `192.0.2.1${name[1]}`

/** Objects as a server holds them: each change is told to all nodes. Every node announces one block. */
async function aCluster(t: ExecutionContext) {
  const [network, clock] = [new MemoryNetwork(), new ManualClock()]
  let config = bgpSettings(undefined)
  const ports = new Map<string, number>()
  const lost: string[] = []
  const nodes = NODES.map(name => {
    const address = addressOf(name)
    const routing = new Routing({
      ...{ transport: network.host(address), clock, log: silentLog, nodeName: name },
      ...{ capabilities: { ipip: false, vxlan: true }, sessions: new SessionLog({ clock, log: silentLog }) },
      ...{ restarting: false, settled: async () => {}, converged: () => undefined },
      learned: (prefix, route) => {
        if (route === undefined) lost.push(`${name} ${prefix}`)
      },
    })
    routing.announce([{ prefix: `10.244.${name[1]}.0/26`, communities: [], localPref: 2147482623 }])
    t.teardown(() => routing.close())
    return { name, address, routing, peers: new Peers({ nodeName: name, address, config }) }
  })
  const flush = async () => {
    for (const { name, address, routing, peers } of nodes) {
      peers.configure({ config })
      const port = ports.get(name) ?? config.listenPort
      await routing.identify({ asn: peers.asn, clusterId: peers.clusterId, port, routerId: address, address })
      routing.change(peers.take())
    }
    for (let step = 0; step < 150; step++) {
      clock.advance(100)
      await settle(4)
    }
  }
  const node = (name: Name, labels: Record<string, string> = {}, clusterId?: string) => {
    const reflects = clusterId !== undefined && { [NODE_ANNOTATION.routeReflectorClusterId]: clusterId }
    const annotations = { [NODE_ANNOTATION.ipv4Address]: `${addressOf(name)}/24`, ...reflects }
    for (const { peers } of nodes) peers.node(name, nodeFacts(aNode(name, { labels, annotations })).facts)
  }
  const bgpPeer = (name: string, spec?: object) => {
    const object = spec && aResource('BGPPeer', { metadata: { name }, spec })
    for (const { peers } of nodes) peers.bgpPeer(name, object)
  }
  const configure = (spec: object) => {
    config = bgpSettings(aResource('BGPConfiguration', { metadata: { name: 'default' }, spec }))
  }
  const listenPort = (name: Name, port: Resource<'BGPConfiguration'>['spec']['listenPort']) => {
    if (port === undefined) ports.delete(name)
    else ports.set(name, port)
    for (const { peers } of nodes) peers.listenPort(name, port)
  }
  for (const name of NODES) node(name)
  await flush()
  const routingOf = (name: Name) => nodes.find(each => each.name === name)!.routing
  const names = (name: Name) =>
    routingOf(name)
      .peers()
      .map(peer => peer.name)
      .sort()
  /** What stands: sessions, ends of sessions, prefixes that a node lost. */
  const ends = () => {
    const all = nodes.flatMap(({ routing }) => routing.peers())
    const flaps = all.reduce((sum, each) => sum + each.flaps, 0)
    return { up: all.filter(({ state }) => state === 'Established').length, flaps, lost: lost.length }
  }
  return { node, bgpPeer, configure, listenPort, flush, names, ends, routingOf, network }
}

/** The sessions that stand, as both ends see them, and since when. */
function standing(routingOf: (name: Name) => Routing): Map<string, number> {
  return new Map(
    NODES.flatMap(name =>
      routingOf(name)
        .peers()
        .filter(({ state }) => state === 'Established')
        .map(({ address, sinceMs }) => [`${addressOf(name)} ${address}`, sinceMs] as const),
    ),
  )
}

const ALL_UP = { up: 6, flaps: 0, lost: 0 }

test('from the mesh to BGPPeers and back, and whatever else asks for a session, no session ends and no route goes', async t => {
  const { bgpPeer, configure, flush, names, ends } = await aCluster(t)
  t.deepEqual(names('n1'), ['Mesh_192_0_2_12', 'Mesh_192_0_2_13'])
  t.deepEqual(ends(), ALL_UP)
  const after = async (what: string, wanted: readonly string[], change: () => void) => {
    change()
    await flush()
    t.deepEqual(ends(), ALL_UP, what)
    t.deepEqual(names('n1'), wanted, what)
  }
  const everywhere = { nodeSelector: 'all()', peerSelector: 'all()' }
  const selected = ['Node_192_0_2_12', 'Node_192_0_2_13']
  await after('a BGPPeer beside the mesh', selected, () => bgpPeer('all', everywhere))
  await after('without the mesh', selected, () => configure({ nodeToNodeMeshEnabled: false }))
  await after('what the OPEN does not say', selected, () =>
    bgpPeer('all', { ...everywhere, keepaliveTime: '20s', nextHopMode: 'Self', numAllowedLocalASNumbers: 2 }),
  )
  await after('under another name', selected, () => {
    bgpPeer('renamed', everywhere)
    bgpPeer('all')
  })
  await after('for all nodes', ['Global_192_0_2_12', 'Global_192_0_2_13'], () => {
    bgpPeer('renamed', { peerSelector: 'all()' })
  })
  await after('by their addresses', ['Global_192_0_2_13', 'Node_192_0_2_12'], () => {
    bgpPeer('n3', { peerIP: '192.0.2.13' })
    bgpPeer('n1', { node: 'n2', peerIP: '192.0.2.11', asNumber: 64512 })
    bgpPeer('n2', { node: 'n3', peerIP: '192.0.2.12:179' })
    bgpPeer('renamed')
  })
  await after('and back', ['Mesh_192_0_2_12', 'Mesh_192_0_2_13'], () => {
    configure({})
    for (const name of ['n1', 'n2', 'n3']) bgpPeer(name)
  })
})

test('another listenPort of the cluster or of a node ends no session, and the next ones find it', async t => {
  const { configure, listenPort, bgpPeer, flush, ends, names, routingOf, network } = await aCluster(t)
  configure({ listenPort: 1179 })
  listenPort('n2', 1180)
  bgpPeer('n2', { node: 'n1', peerIP: '192.0.2.12' })
  await flush()
  t.deepEqual(ends(), ALL_UP)
  t.deepEqual([...network.listeners.keys()].sort(), ['192.0.2.11 1179', '192.0.2.12 1180', '192.0.2.13 1179'])
  t.deepEqual(names('n1'), ['Mesh_192_0_2_13', 'Node_192_0_2_12_port_1180'])
  // the last connections over the old ports end
  await routingOf('n2').identify({ asn: 64513, port: 1180, routerId: '192.0.2.12', address: '192.0.2.12' })
  await routingOf('n2').identify({ asn: 64512, port: 1180, routerId: '192.0.2.12', address: '192.0.2.12' })
  await flush()
  t.is(ends().up, 6)
})

test('a node that becomes a route reflector, leaves that, or gets another cluster id ends no session, and what it reflects says so', async t => {
  const { node, bgpPeer, configure, flush, ends, routingOf } = await aCluster(t)
  node('n1', { rr: 'yes' })
  bgpPeer('reflected', { nodeSelector: 'all()', peerSelector: "rr == 'yes'" })
  await flush()
  t.deepEqual(ends(), ALL_UP)
  node('n1', { rr: 'yes' }, '224.0.0.1')
  await flush()
  t.deepEqual(ends(), ALL_UP, 'the mesh of the others goes on')
  const pathOver = (prefix: string) => {
    const { candidates } = routingOf('n3').explain(prefix)
    const path = candidates.find(({ peer }) => peer === 'Node_192_0_2_11')
    return path && { clusterList: path.attributes.clusterList, import: path.import.reason }
  }
  t.deepEqual(pathOver('10.244.2.0/26'), { clusterList: ['224.0.0.1'], import: 'accepted' })
  node('n1', { rr: 'yes' }, '224.0.0.2')
  await flush()
  t.deepEqual(pathOver('10.244.2.0/26'), { clusterList: ['224.0.0.2'], import: 'accepted' })
  // one that has the same cluster id takes what the other reflected for its own, and takes it again with another one
  node('n3', {}, '224.0.0.2')
  await flush()
  t.deepEqual(pathOver('10.244.2.0/26'), { clusterList: ['224.0.0.2'], import: 'cluster-loop' })
  t.is(ends().flaps, 0)
  node('n3', {}, '224.0.0.3')
  await flush()
  t.deepEqual(pathOver('10.244.2.0/26'), { clusterList: ['224.0.0.2'], import: 'accepted' })
  node('n1', { rr: 'yes' })
  node('n3')
  configure({})
  await flush()
  t.is(pathOver('10.244.2.0/26'), undefined)
  t.is(ends().flaps, 0)
})

test('what a preview says of sessions is what becomes of them', async t => {
  const { flush, node, bgpPeer, configure, routingOf } = await aCluster(t)
  const objects = { Node: new Map<string, Resource<'Node'>>(), BGPPeer: new Map<string, Resource<'BGPPeer'>>() }
  let configuration: object = {}
  const annotated = (name: Name, annotations: Record<string, string> = {}) =>
    aNode(name, { annotations: { [NODE_ANNOTATION.ipv4Address]: `${addressOf(name)}/24`, ...annotations } })
  for (const name of NODES) objects.Node.set(name, annotated(name))
  /** What each node would do with the objects as they are. */
  const now = () => {
    const all: Record<string, readonly unknown[]> = {
      ...{ Node: [...objects.Node.values()], BGPPeer: [...objects.BGPPeer.values()] },
      BGPConfiguration: [aResource('BGPConfiguration', { metadata: { name: 'default' }, spec: configuration })],
    }
    const view: ClusterObjects = { all: kind => (all[kind] ?? []) as never }
    const nodes = nodesOf(view)
    return new Map(NODES.map(name => [name, nodeBgp(name, nodes, view, { blocks: [], pods: [] })]))
  }
  const say = (name: string, spec?: object) => {
    if (spec === undefined) objects.BGPPeer.delete(name)
    else objects.BGPPeer.set(name, aResource('BGPPeer', { metadata: { name }, spec }))
    bgpPeer(name, spec)
  }
  const set = (spec: object) => {
    configuration = spec
    configure(spec)
  }
  const everywhere = { nodeSelector: 'all()', peerSelector: 'all()' }
  const steps: [what: string, change: () => void, ended: number][] = [
    ['BGPPeers for all', () => say('all', everywhere), 0],
    ['no mesh', () => set({ nodeToNodeMeshEnabled: false }), 0],
    ['another next hop', () => say('all', { ...everywhere, nextHopMode: 'Self' }), 0],
    ['another restart time', () => say('all', { ...everywhere, maxRestartTime: '60s' }), 6],
    ['one node with a name alone', () => say('n2', { node: 'n1', peerIP: '192.0.2.12' }), 2],
    ['another AS number', () => set({ nodeToNodeMeshEnabled: false, asNumber: 64600 }), 6],
    ['nothing for all', () => say('all'), 4],
    ['the mesh again', () => set({ asNumber: 64600 }), 0],
    [
      'a reflector',
      () => {
        const reflector = { [NODE_ANNOTATION.routeReflectorClusterId]: '224.0.0.1' }
        objects.Node.set('n3', annotated('n3', reflector))
        node('n3', {}, '224.0.0.1')
      },
      4,
    ],
  ]
  for (const [what, change, ended] of steps) {
    const [before, stood] = [now(), standing(routingOf)]
    change()
    const after = now()
    await flush()
    const told = new Set(
      NODES.flatMap(name =>
        previewOf(before.get(name), after.get(name))
          .sessions.filter(session => ['ends', 'resets'].includes(session.change))
          .flatMap(({ address }) => [`${addressOf(name)} ${address}`, `${address} ${addressOf(name)}`]),
      ),
    )
    const stand = standing(routingOf)
    const ends = [...stood].filter(([key, since]) => stand.get(key) !== since).map(([key]) => key)
    t.deepEqual(ends.sort(), [...stood.keys()].filter(key => told.has(key)).sort(), what)
    t.is(ends.length, ended, what)
  }
})
