import test from 'ava'
import { implausible } from '../../datastore/plausible.ts'
import { aNode, aPool, aResource } from './objects.ts'

const nodes = (...names: string[]) => names.map(name => aNode(name))
const peers = (...names: string[]) =>
  names.map(name => aResource('BGPPeer', { metadata: { name }, spec: { peerIP: '192.0.2.1', asNumber: 1 } }))

test('a list that lacks this node, all pools, or most nodes or peers is not believed', t => {
  const self = 'n1'
  t.regex(implausible('Node', { before: nodes('n1', 'n2'), after: nodes('n2'), self })!, /lacks this node, n1/)
  t.regex(implausible('IPPool', { before: [aPool('a')], after: [], self })!, /IPPools is empty, and there were 1/)
  t.regex(implausible('Node', { before: nodes('n1', 'n2', 'n3', 'n4'), after: nodes('n1'), self })!, /lacks 3 of 4/)
  t.regex(implausible('BGPPeer', { before: peers('a', 'b'), after: [], self })!, /BGPPeers lacks 2 of 2/)
})

test('what a person may have removed is believed: one node, one peer, a pool of several, a node that was never there', t => {
  const self = 'n1'
  t.is(implausible('Node', { before: nodes('n1', 'n2'), after: nodes('n1'), self }), undefined)
  t.is(implausible('Node', { before: nodes('n2', 'n3'), after: nodes('n2', 'n3', 'n4'), self }), undefined)
  t.is(implausible('Node', { before: [], after: [], self }), undefined)
  t.is(implausible('BGPPeer', { before: peers('a'), after: [], self }), undefined)
  t.is(implausible('IPPool', { before: [aPool('a'), aPool('b')], after: [aPool('b')], self }), undefined)
})
