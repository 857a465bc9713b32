// By which routers peers of this node are reached: `reachableBy` of BGPPeers.
import test from 'ava'
import { PeerWays } from '../../../agent/cluster/peer-ways.ts'
import { all, aNode, aPeer, settings } from './peer-world.ts'

const config = settings({ nodeToNodeMeshEnabled: false })
const way = (gateway: string, bgpPeer: string) => ({ gateway, bgpPeer })

test('a BGPPeer with reachableBy has its session and says by which router, until it says so no more', t => {
  const object = aPeer('tor', { peerIP: '10.0.0.1', asNumber: 65001, reachableBy: '192.168.10.1' })
  const { peers, wanted } = all({ config })
  const ways = new PeerWays()
  t.deepEqual(wanted, [])
  peers.bgpPeer('tor', object)
  const [change, ...others] = peers.take()
  t.deepEqual(others, [])
  t.like(change, { peer: { address: '10.0.0.1', asn: 65001 }, way: way('192.168.10.1', 'tor') })
  t.deepEqual(ways.take([change!]), [['10.0.0.1/32', way('192.168.10.1', 'tor')]])
  t.deepEqual(ways.take([change!]), [], 'the same again')
  peers.bgpPeer('tor', aPeer('tor', { ...object.spec, reachableBy: '' }))
  t.deepEqual(ways.take(peers.take()), [['10.0.0.1/32', undefined]])
  peers.bgpPeer('tor', object)
  t.is(ways.take(peers.take()).length, 1)
  peers.bgpPeer('tor', undefined)
  t.deepEqual(ways.take(peers.take()), [['10.0.0.1/32', undefined]])
})

test('of two sessions with one address the first by key says the way, whichever came first, and the other one when that is gone', t => {
  const tor = aPeer('tor', { peerIP: '2001:db8::1', asNumber: 65001, reachableBy: 'fd01::1' })
  const other = aPeer('other', { peerIP: '[2001:db8::1]:1179', asNumber: 65001, reachableBy: 'fd01::2' })
  const of = { config, ipv6Address: 'fd01::9', nodes: [aNode('n1', '192.168.10.9')] }
  for (const order of [
    [tor, other],
    [other, tor],
  ]) {
    const { peers } = all(of)
    const told = new Map<string, unknown>()
    const ways = new PeerWays()
    const take = () => {
      for (const [cidr, now] of ways.take(peers.take())) told.set(cidr, now)
      return told.get('2001:db8::1/128')
    }
    for (const object of order) {
      peers.bgpPeer(object.metadata.name, object)
      take()
    }
    t.deepEqual(take(), way('fd01::1', 'tor'))
    peers.bgpPeer('tor', undefined)
    t.deepEqual(take(), way('fd01::2', 'other'))
  }
})

test('a node that a BGPPeer is not for gets no way', t => {
  const object = aPeer('tor', { node: 'n2', peerIP: '10.0.0.1', asNumber: 65001, reachableBy: '192.168.10.1' })
  const { peers } = all({ config, peers: [object] })
  t.deepEqual(peers.take(), [])
})
