// What margay-controllers tells of addresses, under the names of Calico's kube-controllers.
import test from 'ava'
import { CONTROLLERS_METRICS, MOST } from '../../api/metrics.ts'
import { Census } from '../../controllers/census.ts'
import { metricsText, type Numbers } from '../../controllers/metrics.ts'
import { aBlock, aPool } from '../datastore/objects.ts'

const pools = [aPool('p', { cidr: '10.0.0.0/16' }), aPool('v6', { cidr: 'fd00::/112' })]

function numbers(part: Partial<Numbers> = {}): Numbers {
  return {
    leads: true,
    census: [],
    freed: { blocks: 0, addresses: 0 },
    waiting: 0,
    unclear: 0,
    pools: [],
    forecasts: [],
    ...part,
  }
}

const forecasts = [
  { pool: 'p', gives: true, left: 65_528n, blocks: 1021n, next: { node: 'n1', pods: 2 } },
  { pool: 'v6', gives: true, left: 2n ** 64n, blocks: 2n ** 58n, next: undefined },
]

function census(): Census {
  const all = new Census(pools)
  const attributes = [{ handle_id: 'h' }, { handle_id: 'b', secondary: { node: 'n2' } }]
  all.add(aBlock('10.0.0.0/30', { affinity: 'host:n1', allocations: [0, 1, null, null], attributes }), 'n1', false)
  all.add(aBlock('10.0.0.4/31', { affinity: 'host:n1' }), 'n1', false)
  all.add(aBlock('10.0.0.6/31', { affinity: 'host:n3', allocations: [0, null], attributes }), 'n3', true)
  all.add(aBlock('10.1.0.0/31', {}), undefined, false)
  return all
}

test('addresses and blocks are told by pool and node, with those that are borrowed and those of gone nodes', t => {
  const text = metricsText(
    '1.2.3',
    numbers({ census: census().rows, pools, forecasts, freed: { blocks: 2, addresses: 5 } }),
    [],
  )
  for (const line of [
    'ipam_blocks{ippool="p",node="n1"} 2',
    'ipam_allocations_in_use{ippool="p",node="n1"} 2',
    'ipam_allocations_borrowed{ippool="p",node="n1"} 1',
    'ipam_allocations_gc_candidates{ippool="p",node="n3"} 1',
    'ipam_allocations_gc_candidates{ippool="p",node="n1"} 0',
    'ipam_blocks{ippool="no_ippool",node="none"} 1',
    'ipam_ippool_size{ippool="p"} 65536',
    'ipam_ippool_size{ippool="v6"} 65536',
    'margay_ipam_pods_left{ippool="p"} 65528',
    'margay_ipam_blocks_left{ippool="p"} 1021',
    'margay_ipam_pods_left{ippool="v6"} 18446744073709552000',
    'ipam_allocations_per_node{node="n1"} 2',
    'ipam_blocks_per_node{node="n1"} 2',
    'ipam_allocations_gc_reclamations 5',
  ])
    t.true(text.includes(`${line}\n`), line)
  const missing = Object.keys(CONTROLLERS_METRICS).filter(name => !text.includes(`# TYPE ${name} `))
  t.deepEqual(
    missing.filter(name => !/^(process|nodejs)_/.test(name)),
    [],
  )
})

test('a program that does not lead tells nothing of addresses, so that a sum over all programs is right', t => {
  const text = metricsText('1.2.3', numbers({ leads: false, census: census().rows, pools }), [])
  t.regex(text, /^margay_controllers_leader 0$/m)
  t.notRegex(text, /^ipam_(blocks|allocations_(in_use|per_node|borrowed)|ippool_size)/m)
})

test('of more pairs of pool and node than the bound the others are one sum', t => {
  const row = { pool: 'p', blocks: 1, used: 2, borrowed: 0, candidates: 0 }
  const rows = Array.from({ length: MOST.poolNodes + 1000 }, (_, i) => ({ ...row, node: `n${10_000 + i}` }))
  const text = metricsText('1.2.3', numbers({ census: rows }), [])
  const series = text.split('\n').filter(line => line.startsWith('ipam_blocks{'))
  t.is(series.length, MOST.poolNodes)
  t.regex(text, /^ipam_blocks\{ippool="other",node="other"\} 1001$/m)
  t.regex(text, /^ipam_allocations_per_node\{node="other"\} 2002$/m)
})
