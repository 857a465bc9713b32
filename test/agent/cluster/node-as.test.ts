// AS numbers of nodes from labels that they have anyway, such as that of their rack.
import test from 'ava'
import { meshOf } from '../../../agent/cluster/bgp-objects.ts'
import { asNumberOf, badAsLabel } from '../../../agent/cluster/node-as.ts'
import { nodeFacts } from '../../../agent/cluster/nodes.ts'
import { Peers } from '../../../agent/cluster/peers.ts'
import { BGP_ANNOTATION } from '../../../api/core.ts'
import { aResource } from '../../datastore/objects.ts'
import { aNode } from './peer-world.ts'

const LABEL = 'topology.example.org/rack-as'
const AS_ANNOTATION = 'projectcalico.org/ASNumber'
const configuration = (label = LABEL) =>
  meshOf(
    aResource('BGPConfiguration', {
      metadata: { name: 'default', annotations: { [BGP_ANNOTATION.asNumberLabel]: label } },
      spec: { asNumber: 64600 },
    }),
  )
const facts = (labels: Record<string, string>, annotations: Record<string, string> = {}) =>
  nodeFacts(aNode('n2', '192.168.10.10', annotations, labels)).facts

test('the annotation of a node comes before its label, which comes before the number of the cluster', t => {
  const of = configuration()
  t.is(asNumberOf(facts({ [LABEL]: '65001' }, { [AS_ANNOTATION]: '65009' }), of), 65009)
  t.is(asNumberOf(facts({ [LABEL]: '65001' }), of), 65001)
  t.is(asNumberOf(facts({ [LABEL]: '1.10' }), of), 65546)
  t.is(asNumberOf(facts({ rack: '65001' }), of), 64600)
  t.is(asNumberOf(undefined, of), 64600)
  t.is(asNumberOf(facts({ [LABEL]: '65001' }), configuration('')), 64600)
  t.is(asNumberOf(facts({ [LABEL]: '65001' }), meshOf(undefined)), 64512)
})

test('a label that is no AS number is told, and the node has that of the cluster', t => {
  const of = configuration()
  for (const text of ['', 'rack-a', '0', '4294967296']) {
    t.is(asNumberOf(facts({ [LABEL]: text }), of), 64600)
    t.like(badAsLabel(facts({ [LABEL]: text }), of), {
      ...{ type: 'PeersConfigured', reason: 'BadASNumber', object: { kind: 'Node', name: 'n2' } },
    })
  }
  t.is(badAsLabel(facts({ [LABEL]: '65001' }), of), undefined)
  t.is(badAsLabel(facts({}), of), undefined)
  t.is(badAsLabel(facts({ [LABEL]: 'rack-a' }, { [AS_ANNOTATION]: '65009' }), of), undefined)
})

test('both ends of a session know the number of the other by its label, and follow a change of label or annotation', t => {
  const peers = new Peers({ nodeName: 'n1', address: '192.168.10.9', ...configuration() })
  const node = (name: string, address: string, labels: Record<string, string>) =>
    peers.node(name, nodeFacts(aNode(name, address, {}, labels)).facts)
  node('n1', '192.168.10.9', { [LABEL]: '65001' })
  node('n2', '192.168.10.10', { [LABEL]: '65002' })
  const sessions = () => peers.take().map(({ peer }) => peer?.asn)
  t.is(peers.asn, 65001)
  t.deepEqual(sessions(), [65002])
  node('n2', '192.168.10.10', { [LABEL]: '65003' })
  t.deepEqual(sessions(), [65003])
  node('n1', '192.168.10.9', { [LABEL]: '65004' })
  t.is(peers.asn, 65004)
  peers.configure(meshOf(undefined))
  t.is(peers.asn, 64512)
  t.deepEqual(sessions(), [64512])
})
