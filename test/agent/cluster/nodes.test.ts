import test from 'ava'
import { nodeFacts, remoteNode } from '../../../agent/cluster/nodes.ts'
import { NODE_ANNOTATION } from '../../../api/core.ts'
import { aNode } from '../../datastore/objects.ts'

const of = (annotations: Record<string, string>, labels: Record<string, string> = {}) =>
  nodeFacts(aNode('n2', { annotations, labels }))

test('a node without annotations has no address and stays without a session', t => {
  const { facts, refused } = of({})
  t.like(facts, { name: 'n2', address: undefined, asn: undefined, reflector: false })
  t.is(remoteNode(facts), undefined)
  t.deepEqual(refused, [])
})

test('addresses are read in canonical text, the BGP address without its mask', t => {
  const { facts } = of({
    [NODE_ANNOTATION.ipv4Address]: '192.0.2.12/24',
    [NODE_ANNOTATION.asNumber]: '1.10',
    [NODE_ANNOTATION.vxlanTunnelAddress]: '10.244.2.1',
    [NODE_ANNOTATION.vxlanTunnelMac]: '66:AA:BB:CC:DD:EE',
  })
  t.is(facts.asn, 65546)
  t.deepEqual(remoteNode(facts), {
    name: 'n2',
    address: '192.0.2.12',
    ipipTunnelAddress: undefined,
    vxlanTunnelAddress: '10.244.2.1',
    vxlanTunnelMac: '66:aa:bb:cc:dd:ee',
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
  t.deepEqual(
    refused.map(({ type, reason, object }) => `${type} ${reason} ${object?.name}`),
    Array(3).fill('NodesReadable BadAnnotation n2'),
  )
  t.regex(refused[0]!.message, /ASNumber of Node n2 is "many", which is not an AS number/)
})

test('an address that no host can have, or a mask that is none, is not an address', t => {
  for (const text of ['192.0.2.12/33', '192.0.2/24', '', 'auto', '0.0.0.0', '224.0.0.1', '255.255.255.255'])
    t.is(of({ [NODE_ANNOTATION.ipv4Address]: text }).facts.address, undefined, text)
})
