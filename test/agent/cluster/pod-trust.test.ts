// What a node takes from its own pods by BGP, and whom it tells of it.
import test from 'ava'
import {
  OWN_OF_NODES,
  outsideExport,
  outsideImport,
  podImport,
  type Trust,
  withPods,
} from '../../../agent/cluster/trust.ts'
import { Policy, type PolicyRule, type PolicySubject } from '../../../bgp/policy.ts'
import { addressBytes, cidr } from '../../../lib/ip.ts'

const TRUST: Trust = {
  own: ['10.244.1.0/26', '192.168.10.0/24', '10.9.9.9/32'],
  pools: ['10.244.0.0/16', 'fd00::/48'],
  services: { ranges: ['10.96.0.0/12'], pods: [] },
  nodes: ['192.168.10.9', '192.168.20.11', '2001:db8::20'],
}
const FILTERS: PolicyRule[] = [
  { action: 'reject', match: { operator: 'In', cidr: '203.0.113.0/24' } },
  { action: 'accept' },
]

function subject(prefix: string, more: Partial<PolicySubject> = {}): PolicySubject {
  const { address, length } = cidr(prefix)
  return {
    octets: addressBytes(address),
    length,
    attributes: {},
    learned: true,
    peerType: 'ebgp',
    group: 'workload',
    ...more,
  }
}

function taken(prefix: string, filters: readonly PolicyRule[] = [], rules = podImport(TRUST, filters)) {
  const policy = new Policy(rules, { external: true })
  const verdict = policy.evaluate(subject(prefix))
  return verdict.action === 'reject' ? verdict.reason : policy.apply(verdict, {})
}

test('a pod may announce what lies inside the IPPools, and what a filter lets in; never what is of nodes, other pods or Services', t => {
  for (const prefix of ['10.244.64.0/26', 'fd00::/64']) t.is(typeof taken(prefix), 'object', prefix)
  t.is(taken('198.51.100.0/24'), 'inside no IPPool that is exchanged with peers outside')
  t.is(typeof taken('198.51.100.0/24', FILTERS), 'object')
  t.is(taken('203.0.113.0/25', FILTERS), 'rule 8 rejects')
  for (const [prefix, why] of [
    ['10.244.1.0/26', '10.244.1.0/26 belongs to this node'],
    ['10.244.1.5/32', '10.244.1.0/26 belongs to this node'],
    ['10.9.9.9/32', '10.9.9.9/32 belongs to this node'],
    ['192.168.10.77/32', '192.168.10.0/24 belongs to this node'],
    ['10.100.0.0/16', 'inside 10.96.0.0/12, where the cluster has its Services'],
    ['192.168.20.11/32', "it holds 192.168.20.11, which is a node's"],
    ['192.168.20.0/24', "it holds 192.168.20.11, which is a node's"],
    ['128.0.0.0/1', "it holds 192.168.10.9, which is a node's"],
    ['2001:db8::/32', "it holds 2001:db8::20, which is a node's"],
  ] as const)
    t.is(String(taken(prefix, FILTERS)), why, prefix)
  t.is(taken('0.0.0.0/0'), 'a default route')
})

test('what came from a pod belongs to no node, and nodes of a mesh hear of it', t => {
  const own = new Policy(OWN_OF_NODES, { external: false })
  const attributes = taken('10.244.64.0/26') as PolicySubject['attributes']
  t.is(own.evaluate(subject('10.244.64.0/26', { attributes, group: 'cluster' })).action, 'reject')
  t.is(own.evaluate(subject('10.244.2.0/26', { group: 'cluster' })).action, 'accept')
})

test('peers outside are told of routes of pods inside the IPPools, of others where a filter accepts them, and of nobody else’s', t => {
  const told = (prefix: string, rules: readonly PolicyRule[], more: Partial<PolicySubject> = {}) => {
    const attributes = taken(prefix, FILTERS) as PolicySubject['attributes']
    const policy = new Policy(withPods(rules, TRUST.pools), { external: true })
    return policy.evaluate(subject(prefix, { attributes, ...more })).action
  }
  const [plain, filtered, forCluster] = [
    outsideExport({ forCluster: false, filters: [] }),
    outsideExport({
      forCluster: false,
      filters: [{ action: 'accept', match: { operator: 'In', cidr: '198.51.100.0/24' } }],
    }),
    outsideExport({ forCluster: true, filters: [] }),
  ]
  t.is(told('10.244.64.0/26', plain), 'accept')
  t.is(told('198.51.100.0/24', plain), 'reject')
  t.is(told('198.51.100.0/24', filtered), 'accept')
  // of a pod of another node only who passes on what nodes originate
  t.is(told('10.244.64.0/26', plain, { group: 'cluster' }), 'reject')
  t.is(told('10.244.64.0/26', forCluster, { group: 'cluster' }), 'accept')
  t.is(told('198.51.100.0/24', forCluster, { group: 'cluster' }), 'reject')
  // what a router outside announced is not let through by a pod's rule
  const fromOutside = taken('10.244.64.0/26', [], outsideImport(TRUST)) as PolicySubject['attributes']
  t.is(told('10.244.64.0/26', plain, { attributes: fromOutside, group: 'outside' }), 'reject')
})
