import test from 'ava'
import fc from 'fast-check'
import { type MeshInput, wantedPeers } from '../../../agent/cluster/peers.ts'
import type { Kind, Resource } from '../../../api/kinds.ts'
import { validate } from '../../../api/validate.ts'
import { Speaker } from '../../../bgp/speaker.ts'
import { MemoryNetwork, settle } from '../../bgp/memory-transport.ts'

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

test('an AS number or address in annotations that nobody can have counts as absent', t => {
  const asns = (text: string) => {
    const nodes = [aNode('n1', '192.168.10.9'), aNode('n2', '192.168.10.10', { 'projectcalico.org/ASNumber': text })]
    return wantedPeers(input({ nodes })).peers.map(({ asn }) => asn)
  }
  t.deepEqual(asns('65001'), [65001])
  t.deepEqual(asns('1.1'), [65537])
  for (const text of ['0', '4294967296', '1e3', '-1', 'x']) t.deepEqual(asns(text), [64512], text)
  for (const address of ['0.0.0.0', '224.0.0.1', '255.255.255.255'])
    t.deepEqual(names({ nodes: [aNode('n1', '192.168.10.9'), aNode('n2', address)] }), [], address)
})

test('a session over IPv6 is not bound to the IPv4 address of the node', t => {
  const { peers } = wantedPeers(input({ peers: [aPeer('tor', { peerIP: '2001:db8::1', asNumber: 65001 })] }))
  t.is(peers.find(({ address }) => address === '2001:db8::1')?.source, undefined)
})

test('any BGPPeer and BGPConfiguration that validation lets pass gives sessions that a speaker can hold', async t => {
  const odd = fc.constantFrom<unknown>(
    ...[
      undefined,
      0,
      1,
      255,
      256,
      65535,
      65536,
      4294967295,
      4294967296,
      -1,
      1.5,
      true,
      'x',
      '',
      '1.1',
      '65536.0',
      'all()',
    ],
    ...['192.0.2.1', '192.0.2.1:1', '192.0.2.1:0', '[2001:db8::1]:179', 'fe80::1', '0.0.0.0', '224.0.0.1', '::'],
    ...['Self', 'Keep', 'None', '90s', '1h', []],
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
      const { asNumber: asn } = settings.spec
      const { peers } = wantedPeers(input({ peers: [peer], config: settings.spec, asn }))
      const speaker = new Speaker(
        { asn, routerId: '192.168.10.9' },
        { transport: new MemoryNetwork().host('192.168.10.9') },
      )
      for (const each of peers) speaker.setPeer(each)
      held += peers.length
      await settle(3)
      await speaker.close()
    }),
  )
  t.true(held > 20, `${held} sessions`)
})
