import test from 'ava'
import { routeAnswer } from '../../../agent/socket/route-answer.ts'
import type { ExplainedPath } from '../../../bgp/rib/explain.ts'
import { encapsulation } from '../../../bgp/wire/communities.ts'
import { ORIGIN, SEGMENT } from '../../../bgp/wire/iana.ts'

function aCandidate(attributes: ExplainedPath['attributes']): ExplainedPath {
  const verdict = { accepted: true, reason: 'accepted', detail: '' } as const
  return { peer: 'a', pathId: 0, best: true, used: true, step: 'only', import: verdict, attributes }
}

test('every attribute is text that JSON can carry, and an absent one is absent', t => {
  const attributes = {
    origin: ORIGIN.igp,
    asPath: [{ type: SEGMENT.sequence, asns: [65001, 4200000000] }],
    nextHop: 0xc0000202,
    med: 0,
    communities: [(65001 << 16) >>> 0],
    extendedCommunities: [encapsulation(8)],
    largeCommunities: [{ global: 1, local1: 2, local2: 3 }],
    atomicAggregate: true as const,
    aggregator: { asn: 65001, address: 0xc0000203 },
    originatorId: 0xc0000204,
    clusterList: [0xc0000205],
    unknown: [{ code: 200, flags: 0xc0, value: Uint8Array.of(1) }],
  }
  const answer = routeAnswer('::/0', {
    prefix: '203.0.113.0/24',
    candidates: [aCandidate({ attributes })],
    withheld: [],
  })
  t.deepEqual(JSON.parse(JSON.stringify(answer)).candidates[0].attributes, {
    origin: 'igp',
    asPath: '65001 4200000000',
    nextHop: '192.0.2.2',
    med: 0,
    communities: ['65001:0'],
    extendedCommunities: ['encap:8'],
    largeCommunities: ['1:2:3'],
    atomicAggregate: true,
    aggregator: '65001 192.0.2.3',
    originatorId: '192.0.2.4',
    clusterList: ['192.0.2.5'],
    unknown: [200],
  })
})

test('the next hop of MP_REACH_NLRI comes before the attribute of RFC 4271', t => {
  const mpNextHop = Uint8Array.from([0x20, 1, 0xd, 0xb8, ...Array(11).fill(0), 1])
  const candidate = aCandidate({ attributes: { nextHop: 0xc0000202 }, mpNextHop })
  const { candidates } = routeAnswer('', { prefix: '::/0', candidates: [candidate], withheld: [] })
  t.is(candidates[0]!.attributes.nextHop, '2001:db8::1')
})

test('a prefix that nobody announces has no candidates', t => {
  t.deepEqual(routeAnswer('203.0.113.0/24', undefined), { prefix: '203.0.113.0/24', candidates: [], withheld: [] })
})
