// What stays closed because a field that guards it does not work yet, and settings that do work.
import test from 'ava'
import { all, aNode, aPeer, settings } from './peer-world.ts'

/** Of a later Calico: what nobody knows may be a guard. */
const CLOSED = [{ fromLater: 'all()' }] as const

test('a BGPPeer with a field that guards it and does not work yet gets no session, and says why', t => {
  for (const spec of CLOSED)
    for (const target of [{ peerIP: '10.0.0.1', asNumber: 65001 }, { peerSelector: 'all()' }]) {
      const config = settings({ nodeToNodeMeshEnabled: false })
      const { wanted, refused } = all({ config, peers: [aPeer('guarded', { ...target, ...spec })] })
      t.deepEqual(wanted, [])
      t.is(refused.length, 1)
      t.like(refused[0], { type: 'PeersConfigured', reason: 'Closed', object: { kind: 'BGPPeer', name: 'guarded' } })
      const [field] = Object.keys(spec)
      t.true(refused[0]!.message.startsWith(`${field} is not supported: `), refused[0]!.message)
      t.is(refused[0]!.remedy, `remove ${field} if the session may come up without it`)
    }
})

test('a guarded BGPPeer keeps its address: neither the mesh nor a wider BGPPeer opens a session in its place', t => {
  const peers = [
    aPeer('guarded', { node: 'n1', peerIP: '192.168.10.10', asNumber: 64512, filters: ['deny-all'] }),
    aPeer('wide', { peerIP: '192.168.10.10', asNumber: 64512 }),
  ]
  const { peers: it, wanted } = all({ peers })
  t.deepEqual(
    wanted.map(({ name }) => name),
    ['Mesh_192_168_20_11'],
  )
  it.bgpPeer('guarded', aPeer('guarded', { node: 'n1', peerIP: '192.168.10.10', asNumber: 64512 }))
  t.deepEqual(
    it.take().map(({ peer }) => peer?.name),
    ['Node_192_168_10_10'],
  )
})

test('a session that a guard takes away ends at once', t => {
  const { peers: it } = all({ peers: [aPeer('tor', { peerIP: '10.0.0.1', asNumber: 65001 })] })
  it.bgpPeer('tor', aPeer('tor', { peerIP: '10.0.0.1', asNumber: 65001, filters: ['deny-all'] }))
  t.deepEqual(it.take(), [{ key: '10.0.0.1' }])
})

test('a guarded BGPPeer for other nodes is no condition of this one', t => {
  const { refused } = all({ peers: [aPeer('far', { node: 'n2', peerIP: '10.0.0.1', asNumber: 1, filters: ['f'] })] })
  t.deepEqual(refused, [])
})

test('timers of BGPPeer and BGPConfiguration become those of the session, and routes of nodes alone stay over restarts one after the other', t => {
  const config = settings({ nodeMeshMaxRestartTime: '5m' })
  const { wanted } = all({
    config,
    peers: [aPeer('tor', { peerIP: '10.0.0.1', asNumber: 1, keepaliveTime: '20s', maxRestartTime: '1m30s' })],
  })
  t.like(
    wanted.find(({ name }) => name === 'Global_10_0_0_1'),
    {
      timers: { keepaliveSeconds: 20 },
      gracefulRestart: { restartSeconds: 90, notification: true, keepOverRestarts: false },
    },
  )
  t.like(
    wanted.find(({ name }) => name === 'Mesh_192_168_10_10'),
    { gracefulRestart: { restartSeconds: 300, notification: true, keepOverRestarts: true }, timers: undefined },
  )
})

test('a node without any session, though there are others, says so', t => {
  const off = all({ config: settings({ nodeToNodeMeshEnabled: false }) }).refused
  t.deepEqual(
    off.map(({ reason, object }) => `${reason} ${object?.name}`),
    ['NoPeers n1'],
  )
  t.deepEqual(
    all({ config: settings({ nodeToNodeMeshEnabled: false }), nodes: [aNode('n1', '192.168.10.9')] }).refused,
    [],
  )
})
