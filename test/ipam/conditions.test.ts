import test from 'ava'
import { Unreachable } from '../../datastore/port.ts'
import { emptyBlock } from '../../ipam/block.ts'
import { ipamConditions } from '../../ipam/conditions.ts'
import { aPool } from './world.ts'

const selects = { node: (selector: string) => selector === 'all()' }
const fine = { pools: [aPool('a', '10.0.0.0/16')], selects, blocks: [], unpublished: { blocks: [] } }

test('nothing is told when all is well', t => {
  t.deepEqual(ipamConditions(fine), [])
})

test('a node that never saw a pool cannot tell whether it is ready', t => {
  t.like(ipamConditions({ ...fine, pools: undefined })[0], { type: 'PoolsKnown', status: 'Unknown', reason: 'NotSeen' })
})

test('each pool that overlaps an older one is told with both names', t => {
  const pools = [aPool('a', '10.0.0.0/16'), aPool('b', '10.0.1.0/24'), aPool('c', '10.0.2.0/24')]
  t.deepEqual(
    ipamConditions({ ...fine, pools }).map(({ type, object, message }) => `${type} ${object?.name}: ${message}`),
    [
      'PoolsDisjoint b: IPPool b overlaps the older IPPool a and is not used',
      'PoolsDisjoint c: IPPool c overlaps the older IPPool a and is not used',
    ],
  )
})

test('a block that another node owns is told with what to restart, one of our own is not', t => {
  const blocks = [
    { block: emptyBlock('10.0.0.0/26', 0n), lostTo: 'host:n2' },
    { block: emptyBlock('10.0.0.64/26', 0n) },
  ]
  const conditions = ipamConditions({ ...fine, blocks })
  t.is(conditions.length, 1)
  t.like(conditions[0], { type: 'BlocksOwned', object: { kind: 'Block', name: '10.0.0.0/26' } })
})

test('blocks that cannot be published are told with the reason', t => {
  const unpublished = { blocks: ['10.0.0.0/26'], cause: new Unreachable('connection refused') }
  const [condition] = ipamConditions({ ...fine, unpublished })
  t.like(condition, { type: 'BlocksPublished', reason: 'Unreachable' })
  t.is(condition?.message, '1 block waits to be published: connection refused')
  t.regex(condition!.remedy, /ApiServerConnected and NodeObjectKnown/, 'without its Node object nothing is written')
})

for (const [title, pools, reason, remedy] of [
  ['there is none', [], 'NoPool', /create an IPPool/],
  ['the only one is disabled', [aPool('a', '10.0.0.0/16', 26, { disabled: true })], 'AllDisabled', /patch ippool a/],
  [
    'the only one is for other nodes',
    [aPool('a', '10.0.0.0/16', 26, { nodeSelector: "rack == 'x'" })],
    'NoPoolForNode',
    /nodeSelector/,
  ],
  [
    'the only one is for tunnels',
    [aPool('a', '10.0.0.0/16', 26, { allowedUses: ['Tunnel'] })],
    'NoPoolForNode',
    /allowedUses/,
  ],
] as const)
  test(`no pool serves the pods of this node: ${title}`, t => {
    const [condition, ...others] = ipamConditions({ ...fine, pools })
    t.deepEqual(others, [])
    t.like(condition, { type: 'PoolsUsable', status: 'False', reason })
    t.regex(condition!.remedy, remedy)
  })

for (const [title, spec] of [
  ['of some namespaces', { namespaceSelector: "team == 'shop'" }],
  ['that are asked for by name', { assignmentMode: 'Manual' }],
] as const)
  test(`a node whose pools are for pods ${title} alone serves pods`, t => {
    t.deepEqual(ipamConditions({ ...fine, pools: [aPool('a', '10.0.0.0/16', 26, spec)] }), [])
  })

test('a disabled pool beside an enabled one is no news', t => {
  const pools = [aPool('a', '10.0.0.0/16', 26, { disabled: true }), aPool('b', '10.1.0.0/16')]
  t.deepEqual(ipamConditions({ ...fine, pools }), [])
})
