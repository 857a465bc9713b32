// BGPPeers that name an address: at which port, by which AS number, and who has the session.
import test from 'ava'
import { all, aNode, aPeer, settings, type World } from './peer-world.ts'

const names = (change: Partial<World>) =>
  all(change)
    .wanted.map(p => p.name)
    .sort()

test('two BGPPeers with two ports of one address are two sessions, and connections from there are of one of them', t => {
  const config = settings({ nodeToNodeMeshEnabled: false })
  const at = (port: string, more: object = {}) =>
    aPeer(`at${port.replace(':', '-')}`, { peerIP: `10.0.0.1${port}`, asNumber: 1, ...more })
  const { peers: it, wanted, refused } = all({ config, peers: [at(':1180'), at(''), at(':1179')] })
  const seen = (sessions: typeof wanted) => sessions.map(({ port, dialOnly = false }) => [port, dialOnly])
  t.deepEqual(seen(wanted), [
    [179, false],
    [1179, true],
    [1180, true],
  ])
  t.deepEqual(refused, [])
  const next = () => it.take().map(({ key, peer }) => [key, peer?.port, peer?.dialOnly ?? false])
  // one that must not come up keeps the others from taking its connections
  it.bgpPeer('at', at('', { filters: ['f'] }))
  t.deepEqual(next(), [['10.0.0.1', undefined, false]])
  it.bgpPeer('at', undefined)
  t.deepEqual(next(), [['10.0.0.1 port 1179', 1179, false]])
  it.bgpPeer('at-1180', undefined)
  t.deepEqual(next(), [['10.0.0.1 port 1180', undefined, false]])
})

test('a peerIP that is a node’s is reached at the port of that node, whatever says which; another port is another program there', t => {
  const peers = [
    aPeer('n2', { peerIP: '192.168.10.10', asNumber: 64512 }),
    aPeer('n3', { peerIP: '192.168.20.11:179', asNumber: 64512 }),
    aPeer('tor', { peerIP: '10.0.0.1', asNumber: 64512 }),
  ]
  const it = all({ config: settings({ listenPort: 1179 }), ports: new Map([['n2', 1180]]), peers })
  const seen = (sessions: readonly { name?: string; port?: number }[]) =>
    sessions.map(({ name, port }) => `${name} ${port}`)
  t.deepEqual(seen(it.wanted).sort(), [
    'Global_10_0_0_1 179',
    'Global_192_168_10_10_port_1180 1180',
    'Global_192_168_20_11 179',
    'Mesh_192_168_20_11 1179',
  ])
  const next = () => seen(it.peers.take().map(({ peer }) => peer!)).sort()
  it.peers.listenPort('n2', undefined)
  t.deepEqual(next(), ['Global_192_168_10_10_port_1179 1179'])
  it.peers.configure({ config: settings() })
  // now it is the same program, and the session of the mesh with it goes
  t.deepEqual(
    it.peers
      .take()
      .map(({ key, peer }) => `${key}: ${peer?.name}`)
      .sort(),
    ['192.168.10.10: Global_192_168_10_10', '192.168.20.11 port 179: undefined', '192.168.20.11: Global_192_168_20_11'],
  )
})

test('a BGPPeer that names a node by its address joins both ends, with the AS numbers of both, and both dial but one that all others name', t => {
  const nodes = [
    aNode('n1', '192.168.10.9', { 'projectcalico.org/ASNumber': '65001' }),
    aNode('n2', '192.168.10.10', { 'projectcalico.org/ASNumber': '65002' }),
    aNode('n3', '192.168.20.11'),
  ]
  const config = settings({ nodeToNodeMeshEnabled: false })
  const at = (nodeName: string, spec: Record<string, unknown>) => {
    const address = nodes.find(({ metadata }) => metadata.name === nodeName)!.metadata.annotations![
      'projectcalico.org/IPv4Address'
    ]!
    const { wanted, refused } = all({
      config,
      nodes,
      nodeName,
      address: address.split('/')[0]!,
      peers: [aPeer('p', spec)],
    })
    t.deepEqual(
      refused.filter(({ reason }) => reason !== 'NoPeers'),
      [],
    )
    return wanted.map(({ name, asn, localAs, passive, ttlSecurity }) => [name, asn, localAs, passive, ttlSecurity])
  }
  const one = { node: 'n2', peerIP: '192.168.10.9', localASNumber: 65009, ttlSecurity: 1 }
  t.deepEqual(at('n2', one), [['Node_192_168_10_9', 65001, 65009, false, 1]])
  t.deepEqual(at('n1', one), [['Node_192_168_10_10', 65009, undefined, false, 1]])
  t.deepEqual(at('n3', one), [])
  const everyone = { peerIP: '192.168.20.11' }
  t.deepEqual(at('n1', everyone), [['Global_192_168_20_11', 64512, undefined, true, undefined]])
  t.deepEqual(
    at('n3', everyone).map(([name, asn]) => [name, asn]),
    [
      ['Node_192_168_10_9', 65001],
      ['Node_192_168_10_10', 65002],
    ],
  )
  // not where the other end is to have an object of its own, or is another program of the machine
  for (const spec of [{ reversePeering: 'Manual' }, { asNumber: 65099 }, { peerIP: '192.168.20.11:1179' }]) {
    t.deepEqual(at('n3', { ...everyone, ...spec }), [])
    t.deepEqual(
      at('n1', { ...everyone, ...spec }).map(([, , , passive]) => passive),
      [false],
    )
  }
})

test('with reversePeering Manual the nodes that a peerSelector chooses have no session of the same object', t => {
  const nodes = [aNode('n1', '192.168.10.9'), aNode('n2', '192.168.10.10', {}, { rr: 'yes' })]
  const config = settings({ nodeToNodeMeshEnabled: false })
  const peers = (reversePeering: string) => [aPeer('p', { node: 'n1', peerSelector: "rr == 'yes'", reversePeering })]
  const seen = (how: string) => [
    names({ config, nodes, peers: peers(how) }),
    names({ config, nodes, nodeName: 'n2', address: '192.168.10.10', peers: peers(how) }),
  ]
  t.deepEqual(seen('Auto'), [['Node_192_168_10_10'], ['Node_192_168_10_9']])
  t.deepEqual(seen('Manual'), [['Node_192_168_10_10'], []])
})

test('the same session asked for from both ends by two BGPPeers is no clash, and each end follows its own', t => {
  const peers = [
    aPeer('a-from-n2', { node: 'n2', peerIP: '192.168.10.9', keepaliveTime: '10s' }),
    aPeer('b-from-n1', { node: 'n1', peerIP: '192.168.10.10', keepaliveTime: '20s' }),
  ]
  const { wanted, refused } = all({ config: settings({ nodeToNodeMeshEnabled: false }), peers })
  t.deepEqual(
    wanted.map(({ timers }) => timers),
    [{ keepaliveSeconds: 20 }],
  )
  t.deepEqual(refused, [])
})

test('keepOriginalNextHop is about external peers alone, nextHopMode Keep about all', t => {
  const nextHop = (spec: object) => all({ peers: [aPeer('p', { peerIP: '10.0.0.1', ...spec })] }).wanted.at(-1)?.nextHop
  t.is(nextHop({ asNumber: 65001, keepOriginalNextHop: true }), 'keep')
  t.is(nextHop({ asNumber: 64512, keepOriginalNextHop: true }), 'auto')
  t.is(nextHop({ asNumber: 64512, localASNumber: 65009, keepOriginalNextHop: true }), 'keep')
  t.is(nextHop({ asNumber: 64512, nextHopMode: 'Keep' }), 'keep')
})
