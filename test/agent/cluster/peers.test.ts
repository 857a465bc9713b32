import test from 'ava'
import fc from 'fast-check'
import { nodeFacts, routerIdOf } from '../../../agent/cluster/nodes.ts'
import { Peers } from '../../../agent/cluster/peers.ts'
import { bgpSettings } from '../../../agent/cluster/settings.ts'
import { validate } from '../../../api/validate.ts'
import { MemoryNetwork } from '../../../bgp/simulation/memory-transport.ts'
import { Speaker } from '../../../bgp/speaker.ts'
import { settle } from '../../bgp/settle.ts'
import { all, aNode, aNode6, aPeer, settings, type World, world } from './peer-world.ts'

const names = (change: Partial<World> = {}) =>
  all(change)
    .wanted.map(p => p.name)
    .sort()

test('every other node with an address is a mesh peer, and nobody peers with itself', t => {
  t.deepEqual(names(), ['Mesh_192_168_10_10', 'Mesh_192_168_20_11'])
})

test('a node of IPv6 alone has sessions over IPv6 with whoever has such an address', t => {
  const nodes = [
    aNode6('n1', '2001:db8::9'),
    aNode6('n2', '2001:db8::10'),
    aNode6('n3', '2001:db8::11', '192.168.20.11'),
  ]
  const { wanted, refused } = all({ nodes, address: undefined, ipv6Address: '2001:db8::9' })
  t.deepEqual(
    wanted.map(({ address, source, families }) => ({ address, source, families })),
    ['2001:db8::10', '2001:db8::11'].map(address => {
      return { address, source: '2001:db8::9', families: ['ipv6-unicast'] as const }
    }),
  )
  t.deepEqual(refused, [])
})

test('a node with which this one has no family in common is named, and nothing else is', t => {
  const nodes = [aNode6('n1', '2001:db8::9'), aNode('n2', '192.168.10.10')]
  const { wanted, refused } = all({ nodes, address: undefined, ipv6Address: '2001:db8::9' })
  t.deepEqual(wanted, [])
  t.is(refused.length, 1)
  t.like(refused[0], { type: 'FamiliesReachable', reason: 'NoCommonFamily', object: { kind: 'Node', name: 'n2' } })
  t.regex(refused[0]!.message, /n2 has an IPv4 address alone and this node an IPv6 address alone/)
  const seenFromThere = all({ nodes, nodeName: 'n2', address: '192.168.10.10' }).refused
  t.regex(seenFromThere[0]!.message, /n1 has an IPv6 address alone and this node an IPv4 address alone/)
})

test('another node with the BGP identifier of this one is told, once', t => {
  const identifier = routerIdOf({ name: 'n1' })
  const nodes = [aNode6('n1', '2001:db8::9'), aNode6('n2', '2001:db8::10', identifier)]
  const { refused } = all({ nodes, address: undefined, ipv6Address: '2001:db8::9' })
  t.is(refused.length, 1)
  t.like(refused[0], { type: 'AddressesUnique', reason: 'IdentifierClash', object: { kind: 'Node', name: 'n2' } })
  t.true(refused[0]!.message.includes(identifier))
  const twins = [aNode('n1', '192.168.10.9'), aNode('n2', '192.168.10.9'), aNode('n3', '192.168.20.11')]
  t.deepEqual(
    all({ nodes: twins }).refused.map(({ reason }) => reason),
    ['AddressClash'],
  )
})

test('who dials is decided on the text of the addresses, as in a mixed cluster', t => {
  const passive = Object.fromEntries(all().wanted.map(p => [p.address, p.passive]))
  t.deepEqual(passive, { '192.168.10.10': false, '192.168.20.11': true })
})

test('a reflector meshes with nobody, and nobody meshes with it', t => {
  const reflector = aNode('n2', '192.168.10.10', { 'projectcalico.org/RouteReflectorClusterID': '1.0.0.1' })
  const nodes = [aNode('n1', '192.168.10.9'), reflector, aNode('n3', '192.168.20.11')]
  t.deepEqual(names({ nodes }), ['Mesh_192_168_20_11'])
  t.deepEqual(names({ nodes, nodeName: 'n2', address: '192.168.10.10' }), [])
})

test('without the mesh only explicit peers are left', t => {
  const peers = [aPeer('tor', { peerIP: '192.168.10.1:1179', asNumber: 65001 })]
  t.deepEqual(names({ config: settings({ nodeToNodeMeshEnabled: false }), peers }), ['Global_192_168_10_1_port_1179'])
})

test('an explicit peer replaces the mesh session to the same address, and that is no clash', t => {
  const peers = [aPeer('n2', { node: 'n1', peerIP: '192.168.10.10', asNumber: 64512 })]
  t.deepEqual(names({ peers }), ['Mesh_192_168_20_11', 'Node_192_168_10_10'])
  t.deepEqual(all({ peers }).refused, [])
})

test('a peer for another node or another rack is not ours', t => {
  const nodes = [aNode('n1', '192.168.10.9', {}, { rack: 'a' }), aNode('n2', '192.168.10.10')]
  const peers = [
    aPeer('other-node', { node: 'n2', peerIP: '10.0.0.1', asNumber: 1 }),
    aPeer('other-rack', { nodeSelector: "rack == 'b'", peerIP: '10.0.0.2', asNumber: 1 }),
    aPeer('our-rack', { nodeSelector: "rack == 'a'", peerIP: '[fd00::1]:1179', asNumber: 1 }),
  ]
  t.deepEqual(
    all({ nodes, peers })
      .wanted.map(p => [p.name, p.address, p.port, p.families])
      .sort(),
    [
      ['Mesh_192_168_10_10', '192.168.10.10', 179, ['ipv4-unicast', 'ipv6-unicast']],
      ['Node_fd00__1_port_1179', 'fd00::1', 1179, ['ipv6-unicast']],
    ],
  )
})

test('peerSelector peers with every selected node, by its own AS', t => {
  const nodes = [
    aNode('n1', '192.168.10.9'),
    aNode('n2', '192.168.10.10', { 'projectcalico.org/ASNumber': '65010' }, { reflector: 'yes' }),
  ]
  const { wanted } = all({ nodes, peers: [aPeer('rr', { peerSelector: 'has(reflector)' })] })
  t.deepEqual(
    wanted.map(p => [p.name, p.asn]),
    [['Global_192_168_10_10', 65010]],
  )
})

test('a BGPPeer that cannot be followed is named with its remedy and stops no other', t => {
  const peers = [aPeer('bad', { asNumber: 1 }), aPeer('no-as', { peerIP: '10.0.0.1' })]
  const { wanted, refused } = all({ peers })
  t.is(wanted.length, 2)
  t.deepEqual(
    refused.map(({ type, object }) => `${type} ${object?.name}`),
    ['PeersConfigured bad', 'PeersConfigured no-as'],
  )
  t.regex(refused[0]!.remedy, /write IP, IP:port or \[IPv6\]:port/)
})

test('two BGPPeers with one address and port are one session, and a condition names both', t => {
  const peers = [
    aPeer('b', { peerIP: '10.0.0.1', asNumber: 65001 }),
    aPeer('a', { peerIP: '10.0.0.1:179', asNumber: 65002 }),
  ]
  const { wanted, refused } = all({ peers, config: settings({ nodeToNodeMeshEnabled: false }) })
  t.deepEqual(
    wanted.map(p => p.asn),
    [65002],
  )
  t.is(refused.length, 1)
  t.like(refused[0], { type: 'PeersConfigured', reason: 'AddressClash', object: { kind: 'BGPPeer', name: 'b' } })
  t.is(refused[0]!.message, 'BGPPeer a and BGPPeer b name the same peer 10.0.0.1; BGPPeer a is used')
  t.is(refused[0]!.remedy, 'change or delete BGPPeer b or BGPPeer a')
})

test('a BGPPeer for this node has an address before one for all nodes, and the other one returns when it goes', t => {
  const peers = [
    aPeer('all', { peerIP: '10.0.0.1', asNumber: 65001 }),
    aPeer('special', { node: 'n1', peerIP: '10.0.0.1', asNumber: 65002 }),
  ]
  const { peers: it, wanted, refused } = all({ peers, config: settings({ nodeToNodeMeshEnabled: false }) })
  t.deepEqual(
    wanted.map(p => p.name),
    ['Node_10_0_0_1'],
  )
  t.is(refused.length, 1)
  it.bgpPeer('special', undefined)
  t.deepEqual(
    it.take().map(({ key, peer }) => [key, peer?.name, peer?.asn]),
    [['10.0.0.1', 'Global_10_0_0_1', 65001]],
  )
  t.deepEqual(it.refused(), [])
})

test('selectors of two BGPPeers that choose the same nodes are one condition, however many nodes', t => {
  const nodes = [aNode('n1', '192.168.10.9'), ...[2, 3, 4, 5, 6].map(i => aNode(`n${i}`, `10.0.0.${i}`))]
  const peers = [aPeer('a', { peerSelector: 'all()' }), aPeer('b', { peerSelector: 'all()' })]
  const { wanted, refused } = all({ nodes, peers })
  t.is(wanted.length, 5)
  t.deepEqual(
    refused.map(({ message }) => message),
    ['BGPPeer a and BGPPeer b name the same peer 10.0.0.2, 10.0.0.3, 10.0.0.4 and 2 more; BGPPeer a is used'],
  )
})

test('two nodes with one address are one session of the mesh, and a condition names both', t => {
  const nodes = [aNode('n1', '192.168.10.9'), aNode('n2', '192.168.10.10'), aNode('n3', '192.168.10.10')]
  const { wanted, refused } = all({ nodes })
  t.is(wanted.length, 1)
  t.like(refused[0], { type: 'AddressesUnique', object: { kind: 'Node', name: 'n3' } })
  t.regex(refused[0]!.message, /Node n2 and Node n3 name the same node 192\.168\.10\.10/)
})

test('a Node that changes in nothing that is used changes no session', t => {
  const { peers } = all()
  const n2 = aNode('n2', '192.168.10.10')
  const beat = { ...n2, status: { conditions: [{ type: 'Ready', lastHeartbeatTime: '2026-01-01T00:00:00Z' }] } }
  peers.node('n2', nodeFacts(beat).facts)
  t.deepEqual(peers.take(), [])
})

test('a session says where it comes from', t => {
  const peers = [
    aPeer('a', { peerIP: '10.0.0.1', asNumber: 1 }),
    aPeer('b', { node: 'n1', peerIP: '10.0.0.2', asNumber: 1 }),
  ]
  const { nodeName, address, config, nodes } = world()
  const it = new Peers({ nodeName, address, config })
  for (const node of nodes) it.node(node.metadata.name, nodeFacts(node).facts)
  for (const object of peers) it.bgpPeer(object.metadata.name, object)
  t.deepEqual(
    it
      .take()
      .map(({ peer, origin }) => `${peer?.name} ${origin}`)
      .sort(),
    ['Global_10_0_0_1 global', 'Mesh_192_168_10_10 mesh', 'Mesh_192_168_20_11 mesh', 'Node_10_0_0_2 node'],
  )
})

test('a change of one node changes its session alone', t => {
  const { peers } = all()
  peers.node('n2', nodeFacts(aNode('n2', '192.168.10.10', { 'projectcalico.org/ASNumber': '65010' })).facts)
  t.deepEqual(
    peers.take().map(({ key, peer }) => [key, peer?.asn]),
    [['192.168.10.10', 65010]],
  )
  peers.node('n3', undefined)
  t.deepEqual(peers.take(), [{ key: '192.168.20.11' }])
})

test('a session over IPv6 is not bound to the IPv4 address of the node', t => {
  const { wanted } = all({ peers: [aPeer('tor', { peerIP: '2001:db8::1', asNumber: 65001 })] })
  t.is(wanted.find(({ address }) => address === '2001:db8::1')?.source, undefined)
})

test('any BGPPeer and BGPConfiguration that validation lets pass gives sessions that a speaker can hold', async t => {
  const odd = fc.constantFrom<unknown>(
    ...[undefined, 0, 1, 255, 256, 65535, 65536, 4294967295, 4294967296, -1, 1.5, true],
    ...['x', '', '1.1', '65536.0', 'all()', '192.0.2.1', '192.0.2.1:1', '192.0.2.1:0', '[2001:db8::1]:179'],
    ...['fe80::1', '0.0.0.0', '224.0.0.1', '::', 'Self', 'Keep', 'None', '90s', '1h', []],
  )
  const fields = ['peerIP', 'peerSelector', 'nodeSelector', 'asNumber', 'localASNumber', 'nextHopMode', 'sourceAddress']
  const more = ['numAllowedLocalASNumbers', 'ttlSecurity', 'keepOriginalNextHop', 'maxRestartTime', 'filters']
  const aSpec = fc.dictionary(fc.constantFrom(...fields, ...more), odd, { maxKeys: 2 })
  const aConfig = fc.dictionary(fc.constantFrom('asNumber', 'listenPort', 'nodeToNodeMeshEnabled'), odd, { maxKeys: 1 })
  let held = 0
  await fc.assert(
    fc.asyncProperty(aSpec, aConfig, async (spec, config) => {
      const base = { peerIP: '192.0.2.1', asNumber: 65001 }
      const peer = validate('BGPPeer', { metadata: { name: 'p' }, spec: { ...base, ...spec } })
      const settings = validate('BGPConfiguration', { metadata: { name: 'default' }, spec: config })
      if (Array.isArray(peer) || Array.isArray(settings)) return
      const { wanted } = all({ peers: [peer], config: bgpSettings(settings) })
      const transport = new MemoryNetwork().host('192.168.10.9')
      const speaker = new Speaker({ asn: settings.spec.asNumber, routerId: '192.168.10.9' }, { transport })
      for (const each of wanted) speaker.setPeer(each)
      held += wanted.length
      await settle(3)
      await speaker.close()
    }),
  )
  t.true(held > 20, `${held} sessions`)
})

const both = (name: string, ipv4: string, ipv6: string) =>
  aNode(name, ipv4, { 'projectcalico.org/IPv6Address': `${ipv6}/64` })

test('nodes with an address of each family have a session of each, from the address of that family', t => {
  const nodes = [
    both('n1', '192.168.10.9', '2001:db8::9'),
    both('n2', '192.168.10.10', '2001:db8::10'),
    aNode('n3', '192.168.20.11'),
  ]
  const of = { ...world({ nodes }), ipv6Address: '2001:db8::9' }
  const it = new Peers(of)
  for (const node of nodes) it.node(node.metadata.name, nodeFacts(node).facts)
  it.bgpPeer('tor', aPeer('tor', { peerIP: '2001:db8:1::1', asNumber: 65001 }))
  const wanted = it.take().map(({ peer }) => `${peer!.address} from ${peer!.source} ${peer!.families?.join()}`)
  t.deepEqual(
    wanted.sort(),
    [
      '192.168.10.10 from 192.168.10.9 ipv4-unicast,ipv6-unicast',
      '192.168.20.11 from 192.168.10.9 ipv4-unicast,ipv6-unicast',
      '2001:db8::10 from 2001:db8::9 ipv6-unicast',
      '2001:db8:1::1 from 2001:db8::9 ipv6-unicast',
    ].sort(),
  )
})

test('a Node object with an address of this node is told; this node keeps it', t => {
  const nodes = [aNode('n1', '192.168.10.9'), aNode('a-old', '192.168.10.9')]
  const { wanted, refused } = all({ nodes })
  t.deepEqual(wanted, [])
  t.like(refused[0], { type: 'AddressesUnique', object: { kind: 'Node', name: 'a-old' } })
  t.regex(refused[0]!.message, /Node n1 and Node a-old name the same node 192\.168\.10\.9; Node n1 is used/)
})

test('a peer that is named by the address of a node is of the cluster; every other one is outside', t => {
  const named = (peerIP: string) => aPeer('named', { peerIP, asNumber: 64512 })
  const groupOf = (peerIP: string) => all({ peers: [named(peerIP)] }).wanted.find(p => p.address === peerIP)?.group
  t.is(groupOf('192.168.10.10'), 'cluster')
  t.is(groupOf('192.168.10.1'), 'outside')
})

test('a peer that is named by its address follows when a Node with that address comes or goes', t => {
  const { peers } = all({ peers: [aPeer('named', { peerIP: '192.168.10.77', asNumber: 64512 })] })
  const next = () => peers.take().map(({ peer }) => [peer?.address, peer?.group])
  peers.node('n7', nodeFacts(aNode('n7', '192.168.10.77')).facts)
  t.deepEqual(next(), [['192.168.10.77', 'cluster']])
  peers.node('n7', undefined)
  t.deepEqual(next(), [['192.168.10.77', 'outside']])
})
