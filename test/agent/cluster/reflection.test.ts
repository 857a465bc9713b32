// Route reflection by Calico's usual objects: labels, cluster ids, and a BGPPeer with nodeSelector and peerSelector.
import test from 'ava'
import { all, aNode, aPeer, settings } from './peer-world.ts'

const reflector = (name: string, address: string, clusterId: string) =>
  aNode(name, address, { 'projectcalico.org/RouteReflectorClusterID': clusterId }, { rr: 'yes' })

/** Calico's usual objects: two reflectors of one cluster, two other nodes, no mesh. */
const reflected = (nodeName: string, address: string) =>
  all({
    ...{ nodeName, address, config: settings({ nodeToNodeMeshEnabled: false }) },
    nodes: [
      reflector('r1', '10.0.0.1', '224.0.0.1'),
      reflector('r2', '10.0.0.2', '224.0.0.1'),
      aNode('n3', '10.0.0.3'),
      aNode('n4', '10.0.0.4'),
    ],
    peers: [aPeer('peer-with-reflectors', { nodeSelector: 'all()', peerSelector: "rr == 'yes'" })],
  })

test('with nodeSelector and peerSelector the reflectors have sessions with all nodes, and each node with the reflectors', t => {
  const addresses = (nodeName: string, address: string) =>
    reflected(nodeName, address)
      .wanted.map(({ address: far }) => far)
      .sort()
  t.deepEqual(addresses('r1', '10.0.0.1'), ['10.0.0.2', '10.0.0.3', '10.0.0.4'])
  t.deepEqual(addresses('n3', '10.0.0.3'), ['10.0.0.1', '10.0.0.2'])
  for (const [name, address] of [
    ['r1', '10.0.0.1'],
    ['r2', '10.0.0.2'],
    ['n3', '10.0.0.3'],
  ] as const)
    t.deepEqual(reflected(name, address).refused, [], name)
})

test('a reflector has its nodes as clients, but not the other reflectors of its cluster', t => {
  const { wanted, peers } = reflected('r1', '10.0.0.1')
  t.deepEqual(Object.fromEntries(wanted.map(({ address, reflectorClient }) => [address, reflectorClient])), {
    '10.0.0.2': false,
    '10.0.0.3': true,
    '10.0.0.4': true,
  })
  t.is(peers.clusterId, '224.0.0.1')
  t.true(reflected('n3', '10.0.0.3').wanted.every(({ reflectorClient }) => reflectorClient === false))
})

test('both ends of a session by a peerSelector dial, so that one end that cannot does not matter', t => {
  const far = (nodeName: string, address: string, to: string) =>
    reflected(nodeName, address).wanted.find(each => each.address === to)?.passive
  t.false(far('r1', '10.0.0.1', '10.0.0.3')!)
  t.false(far('n3', '10.0.0.3', '10.0.0.1')!)
  t.false(far('r1', '10.0.0.1', '10.0.0.2')!)
})

test('a BGPPeer for some nodes with a peerSelector gives the selected nodes sessions with those alone', t => {
  const nodes = [
    aNode('n1', '10.0.0.1', {}, { rr: 'yes' }),
    aNode('n2', '10.0.0.2', {}, { rack: 'a' }),
    aNode('n3', '10.0.0.3'),
  ]
  const config = settings({ nodeToNodeMeshEnabled: false })
  const rack = { nodeSelector: "rack == 'a'", peerSelector: "rr == 'yes'" }
  const named = { node: 'n2', peerSelector: "rr == 'yes'" }
  for (const spec of [rack, named])
    t.deepEqual(
      all({ config, nodes, nodeName: 'n1', address: '10.0.0.1', peers: [aPeer('p', spec)] }).wanted.map(p => p.address),
      ['10.0.0.2'],
    )
})
