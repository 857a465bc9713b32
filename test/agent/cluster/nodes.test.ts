import test from 'ava'
import { nodeFacts, remoteNode, rivalOf, routerIdOf } from '../../../agent/cluster/nodes.ts'
import { NODE_ANNOTATION } from '../../../api/core.ts'
import { aNode } from '../../datastore/objects.ts'

const of = (annotations: Record<string, string>, labels: Record<string, string> = {}) =>
  nodeFacts(aNode('n2', { annotations, labels }))

test('a node without annotations has no address and stays without a session', t => {
  const { facts, refused } = of({})
  t.like(facts, { name: 'n2', address: undefined, asn: undefined, clusterId: undefined })
  t.is(remoteNode(facts), undefined)
  t.deepEqual(refused, [])
})

test('a node of IPv6 alone is a remote node, and its BGP identifier is made of its name as in Calico', t => {
  const { facts } = of({ [NODE_ANNOTATION.ipv6Address]: '2001:DB8::12/64' })
  t.like(remoteNode(facts), { name: 'n2', address: undefined, ipv6Address: '2001:db8::12' })
  // of the tests of Calico's confd
  t.is(routerIdOf({ name: 'nodeTest' }), '109.174.215.226')
  t.is(routerIdOf({ name: 'Testrobin123' }), '207.94.5.27', 'and not 239.94.5.27')
  t.is(routerIdOf({ name: 'n2', address: '192.0.2.12' }), '192.0.2.12')
})

test('addresses are read in canonical text, the BGP address without its mask', t => {
  const { facts } = of({
    [NODE_ANNOTATION.ipv4Address]: '192.0.2.12/24',
    [NODE_ANNOTATION.asNumber]: '1.10',
    [NODE_ANNOTATION.vxlanTunnelAddress]: '10.244.2.1',
    [NODE_ANNOTATION.vxlanTunnelAddressV6]: 'FD00:10:2:0::1',
    [NODE_ANNOTATION.vxlanTunnelMac]: '66:AA:BB:CC:DD:EE',
  })
  t.is(facts.asn, 65546)
  t.deepEqual(remoteNode(facts), {
    name: 'n2',
    address: '192.0.2.12',
    ipv6Address: undefined,
    ipipTunnelAddress: undefined,
    vxlanTunnelAddress: '10.244.2.1',
    vxlanTunnelAddressV6: 'fd00:10:2::1',
    vxlanTunnelMac: '66:aa:bb:cc:dd:ee',
    precedence: '9000000000000000 9000000000000000',
  })
})

test('an AS number that nobody can have is refused', t => {
  const asn = (text: string) => of({ [NODE_ANNOTATION.asNumber]: text }).facts.asn
  t.is(asn('65001'), 65001)
  for (const text of ['0', '4294967296', '1e3', '-1', 'x']) t.is(asn(text), undefined, text)
})

test('an annotation that cannot be read is refused by name and treated as absent; the others count', t => {
  const { facts, refused } = of({
    [NODE_ANNOTATION.ipv4Address]: '192.0.2.12/24',
    [NODE_ANNOTATION.asNumber]: 'many',
    [NODE_ANNOTATION.vxlanTunnelMac]: 'none',
    [NODE_ANNOTATION.ipipTunnelAddress]: '10.244.2',
  })
  t.like(facts, { address: '192.0.2.12', asn: undefined, vxlanTunnelMac: undefined, ipipTunnelAddress: undefined })
  t.is(refused.length, 1, 'one condition for each Node, since a condition is about one object')
  t.like(refused[0], { type: 'ObjectsReadable', reason: 'BadAnnotation', object: { kind: 'Node', name: 'n2' } })
  t.regex(refused[0]!.message, /ASNumber is "many", which is not an AS number.*Addr is "10\.244\.2".*MACAddr is "none"/)
  t.regex(
    refused[0]!.remedy,
    /correct or remove projectcalico.org\/ASNumber, .*IPv4IPIPTunnelAddr, .*VXLANTunnelMACAddr/,
  )
})

const OTHERS = [
  '127.0.0.1/8',
  '0.1.2.3',
  '2001:db8::1',
  '2001:db8::1/64',
  '::ffff:192.0.2.1',
  '192.0.2.1/99',
  '192.0.2.1/24/24',
]

test('an annotation that becomes unreadable keeps what it said; one that is removed is gone', t => {
  const before = of({ [NODE_ANNOTATION.ipv4Address]: '192.0.2.12/24', [NODE_ANNOTATION.asNumber]: '65001' }).facts
  const wrong = aNode('n2', { annotations: { [NODE_ANNOTATION.ipv4Address]: 'none' } })
  const { facts, refused } = nodeFacts(wrong, before)
  t.like(facts, { address: '192.0.2.12', asn: undefined })
  t.is(refused.length, 1)
})

test('an address that no host can have, or a mask that is none, is not an address', t => {
  for (const text of ['192.0.2.12/33', '192.0.2/24', '', 'auto', '0.0.0.0', '224.0.0.1', '255.255.255.255', ...OTHERS])
    t.is(of({ [NODE_ANNOTATION.ipv4Address]: text }).facts.address, undefined, text)
})

test('an IPv6 address has its own annotation; link-local, loopback and IPv4 are refused in it', t => {
  const at = (text: string) => of({ [NODE_ANNOTATION.ipv6Address]: text }).facts.ipv6Address
  t.is(at('2001:DB8::1/64'), '2001:db8::1')
  for (const text of ['192.0.2.1/24', 'fe80::1', '::1', '::', 'ff02::1', '::ffff:192.0.2.1', '2001:db8::1/129'])
    t.is(at(text), undefined, text)
})

test('a tunnel address is one address of its family, and a tunnel MAC that of one interface', t => {
  const tunnel = (text: string) => of({ [NODE_ANNOTATION.vxlanTunnelAddress]: text }).facts.vxlanTunnelAddress
  t.is(tunnel('10.244.2.1'), '10.244.2.1')
  for (const text of ['not-an-address', '10.244.2.1/32', '2001:db8::1', '224.0.0.1'])
    t.is(tunnel(text), undefined, text)
  const ipv6 = (text: string) => of({ [NODE_ANNOTATION.vxlanTunnelAddressV6]: text }).facts.vxlanTunnelAddressV6
  t.is(ipv6('FD00::1'), 'fd00::1')
  for (const text of ['not-an-address', 'fd00::1/128', '10.244.2.1', 'fe80::1', 'ff02::1'])
    t.is(ipv6(text), undefined, text)
  const mac = (text: string) => of({ [NODE_ANNOTATION.vxlanTunnelMac]: text }).facts.vxlanTunnelMac
  t.is(mac('66:aa:bb:cc:dd:ee'), '66:aa:bb:cc:dd:ee')
  for (const text of ['zz', '66:aa:bb:cc:dd', '00:00:00:00:00:00', 'ff:ff:ff:ff:ff:ff', '01:00:5e:00:00:01'])
    t.is(mac(text), undefined, text)
})

test('a route reflector is a Node with a cluster id; one that cannot be read makes none', t => {
  const cluster = (text: string) => of({ [NODE_ANNOTATION.routeReflectorClusterId]: text })
  t.is(cluster('224.0.0.1').facts.clusterId, '224.0.0.1')
  t.is(cluster('').facts.clusterId, undefined)
  t.deepEqual(cluster('').refused, [])
  for (const text of ['yes', '0.0.0.0', '2001:db8::1', '7']) {
    t.is(cluster(text).facts.clusterId, undefined, text)
    t.is(cluster(text).refused.length, 1, text)
  }
})

const claiming = (name: string, { created = '', confirmed = '' } = {}, address = '192.0.2.12/24') =>
  nodeFacts(
    aNode(name, {
      ...(created !== '' && { creationTimestamp: created }),
      annotations: {
        [NODE_ANNOTATION.ipv4Address]: address,
        ...(confirmed !== '' && { [NODE_ANNOTATION.addressConfirmed]: confirmed }),
      },
    }),
  ).facts

test('of nodes with one address the one whose agent confirmed it last comes first, then the older object', t => {
  const order = [
    claiming('late', { created: '2026-05-01T00:00:00Z', confirmed: '2026-06-02T00:00:00Z' }),
    claiming('early', { created: '2026-01-01T00:00:00Z', confirmed: '2026-06-01T00:00:00Z' }),
    claiming('old', { created: '2026-01-01T00:00:00Z' }),
    claiming('new', { created: '2026-02-01T00:00:00Z' }),
    claiming('unknown'),
  ]
  t.deepEqual(
    order.toSorted((a, b) => (a.precedence < b.precedence ? -1 : 1)).map(({ name }) => name),
    ['late', 'early', 'old', 'new', 'unknown'],
  )
})

test('a node has to confirm its address only where another Node claims it and comes before', t => {
  const n2 = claiming('n2', { created: '2026-02-01T00:00:00Z' })
  const leftOver = claiming('a-old', { created: '2026-01-01T00:00:00Z' })
  const younger = claiming('b-new', { created: '2026-03-01T00:00:00Z' })
  const other = claiming('n3', { created: '2026-01-01T00:00:00Z' }, '192.0.2.13/24')
  t.is(rivalOf(n2, [n2, other, younger, leftOver])?.name, 'a-old')
  t.is(rivalOf(n2, [n2, other, younger]), undefined)
  const confirmed = claiming('n2', { created: '2026-02-01T00:00:00Z', confirmed: '2026-03-01T00:00:00Z' })
  t.is(rivalOf(confirmed, [leftOver]), undefined)
})
