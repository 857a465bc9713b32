// Peers that a BGPPeer names by an interface of the node.
import test from 'ava'
import { BGP_ANNOTATION } from '../../../api/core.ts'
import { all, aPeer, type World } from './peer-world.ts'

const on = (name: string, link: string, spec: Record<string, unknown> = {}) => ({
  name,
  peer: { ...aPeer(name, spec), metadata: { name, annotations: { [BGP_ANNOTATION.interface]: link } } },
})
const told = (change: Partial<World>) => {
  const { wanted, refused } = all({ nodes: [], ...change })
  return { wanted, reasons: refused.map(({ reason }) => reason) }
}

test('a BGPPeer with margay.io/Interface is a session outside the cluster over the addresses of that link', t => {
  const { wanted, reasons } = told({ peers: [on('tor', 'eth1', {}).peer] })
  t.deepEqual(reasons, [])
  t.is(wanted.length, 1)
  t.like(wanted[0], {
    name: 'Global_eth1',
    interface: 'eth1',
    address: undefined,
    source: undefined,
    asn: 'external',
    extendedNextHop: true,
    families: ['ipv4-unicast', 'ipv6-unicast'],
    group: 'outside',
    import: 'reject',
    reflectorClient: false,
  })
})

test('node, AS number, AS of its own, TTL security, restart time and timers count as for an address', t => {
  const spec = {
    node: 'n1',
    asNumber: 65001,
    localASNumber: 65009,
    ttlSecurity: 1,
    keepaliveTime: '5s',
    maxRestartTime: '7s',
  }
  const { wanted } = told({ peers: [on('tor', 'eth1', spec).peer] })
  t.like(wanted[0], { name: 'Node_eth1', asn: 65001, localAs: 65009, ttlSecurity: 1, multihop: undefined })
  t.like(wanted[0]!.gracefulRestart, { restartSeconds: 7 })
  t.deepEqual(wanted[0]!.timers, { keepaliveSeconds: 5 })
  t.deepEqual(told({ peers: [on('tor', 'eth1', { node: 'n2' }).peer] }).wanted, [])
})

test('of two BGPPeers for one interface the narrower one has it, and the other one is told', t => {
  const { wanted, reasons } = told({
    peers: [on('all', 'eth1').peer, on('one', 'eth1', { node: 'n1', asNumber: 65001 }).peer, on('else', 'eth2').peer],
  })
  t.deepEqual(wanted.map(({ name }) => name).sort(), ['Global_eth2', 'Node_eth1'])
  t.deepEqual(reasons, ['AddressClash'])
})

test('what is no name of one interface, or stands beside another peer, is refused with what to write, and has no session', t => {
  const rows = [
    ['eth*', {}, 'BadInterface', /patterns are not taken/],
    ['a/b', {}, 'BadInterface', /no interface can be called/],
    ['interface-too-long', {}, 'BadInterface', /no interface can be called/],
    ['eth1', { peerIP: '192.0.2.1', asNumber: 65001 }, 'TwoPlaces', /peerIP is set too/],
    ['eth1', { peerSelector: 'all()' }, 'TwoPlaces', /peerSelector is set too/],
  ] as const
  for (const [link, spec, reason, text] of rows) {
    const { wanted, refused } = all({ peers: [on('tor', link, spec).peer] })
    t.deepEqual(
      wanted.filter(({ group }) => group === 'outside'),
      [],
      link,
    )
    const found = refused.find(each => each.object?.name === 'tor')
    t.is(found?.reason, reason, link)
    t.regex(found!.message, text)
  }
  t.deepEqual(told({ peers: [on('tor', ' ', { peerIP: '192.0.2.1', asNumber: 65001 }).peer] }).wanted.length, 1)
})
