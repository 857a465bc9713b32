import test from 'ava'
import { type MeshInput, wantedPeers } from '../../../agent/cluster/peers.ts'
import type { Kind, Resource } from '../../../api/kinds.ts'
import { validate } from '../../../api/validate.ts'

function object<K extends Kind>(kind: K, value: unknown): Resource<K> {
  const result = validate(kind, value)
  if (Array.isArray(result)) throw new Error(JSON.stringify(result))
  return result as Resource<K>
}

const aNode = (
  name: string,
  address: string,
  extra: Record<string, string> = {},
  labels: Record<string, string> = {},
) =>
  object('Node', {
    metadata: { name, labels, annotations: { 'projectcalico.org/IPv4Address': `${address}/24`, ...extra } },
  })

const aPeer = (name: string, spec: Record<string, unknown>) => object('BGPPeer', { metadata: { name }, spec })

const input = (change: Partial<MeshInput> = {}): MeshInput => ({
  nodeName: 'n1',
  address: '192.168.10.9',
  asn: 64512,
  nodes: [aNode('n1', '192.168.10.9'), aNode('n2', '192.168.10.10'), aNode('n3', '192.168.20.11')],
  peers: [],
  config: object('BGPConfiguration', { metadata: { name: 'default' }, spec: {} }).spec,
  ...change,
})

const names = (change: Partial<MeshInput> = {}) => wantedPeers(input(change)).peers.map(p => p.name)

test('every other node with an address is a mesh peer, and nobody peers with itself', t => {
  t.deepEqual(names(), ['Mesh_192_168_10_10', 'Mesh_192_168_20_11'])
})

test('who dials is decided on the text of the addresses, as in a mixed cluster', t => {
  const passive = Object.fromEntries(wantedPeers(input()).peers.map(p => [p.address, p.passive]))
  t.deepEqual(passive, { '192.168.10.10': false, '192.168.20.11': true })
})

test('a reflector meshes with nobody, and nobody meshes with it', t => {
  const reflector = aNode('n2', '192.168.10.10', { 'projectcalico.org/RouteReflectorClusterID': '1.0.0.1' })
  const nodes = [aNode('n1', '192.168.10.9'), reflector, aNode('n3', '192.168.20.11')]
  t.deepEqual(names({ nodes }), ['Mesh_192_168_20_11'])
  t.deepEqual(names({ nodes, nodeName: 'n2', address: '192.168.10.10' }), [])
})

test('without the mesh only explicit peers are left', t => {
  const config = object('BGPConfiguration', {
    metadata: { name: 'default' },
    spec: { nodeToNodeMeshEnabled: false },
  }).spec
  const peers = [aPeer('tor', { peerIP: '192.168.10.1:1179', asNumber: 65001 })]
  t.deepEqual(names({ config, peers }), ['Global_192_168_10_1'])
})

test('an explicit peer replaces the mesh session to the same address', t => {
  const peers = [aPeer('n2', { node: 'n1', peerIP: '192.168.10.10', asNumber: 64512 })]
  t.deepEqual(names({ peers }), ['Node_192_168_10_10', 'Mesh_192_168_20_11'])
})

test('a peer for another node or another rack is not ours', t => {
  const nodes = [aNode('n1', '192.168.10.9', {}, { rack: 'a' }), aNode('n2', '192.168.10.10')]
  const peers = [
    aPeer('other-node', { node: 'n2', peerIP: '10.0.0.1', asNumber: 1 }),
    aPeer('other-rack', { nodeSelector: "rack == 'b'", peerIP: '10.0.0.2', asNumber: 1 }),
    aPeer('our-rack', { nodeSelector: "rack == 'a'", peerIP: '[fd00::1]:1179', asNumber: 1 }),
  ]
  const wanted = wantedPeers(input({ nodes, peers })).peers
  t.deepEqual(
    wanted.map(p => [p.name, p.address, p.port, p.families]),
    [
      ['Node_fd00__1', 'fd00::1', 1179, ['ipv6-unicast']],
      ['Mesh_192_168_10_10', '192.168.10.10', 179, ['ipv4-unicast']],
    ],
  )
})

test('peerSelector peers with every selected node, by its own AS', t => {
  const nodes = [
    aNode('n1', '192.168.10.9'),
    aNode('n2', '192.168.10.10', { 'projectcalico.org/ASNumber': '65010' }, { reflector: 'yes' }),
  ]
  const { peers } = wantedPeers(input({ nodes, peers: [aPeer('rr', { peerSelector: 'has(reflector)' })] }))
  t.deepEqual(
    peers.map(p => [p.name, p.asn]),
    [['Global_192_168_10_10', 65010]],
  )
})

test('a peer that cannot be made is named with its remedy and stops no other', t => {
  const peers = [aPeer('bad', { asNumber: 1 }), aPeer('no-as', { peerIP: '10.0.0.1' })]
  const { peers: wanted, problems } = wantedPeers(input({ peers }))
  t.is(wanted.length, 2)
  t.deepEqual(
    problems.map(p => p.object),
    ['BGPPeer bad', 'BGPPeer no-as'],
  )
  t.regex(problems[0]!.message, /use IP, IP:port or \[IPv6\]:port/)
})
