// How many pods still get an address: by hand for small worlds, and against allocators that are asked until they refuse.
import test from 'ava'
import { createFakeStore } from '../../datastore/fake.ts'
import { claimedBlock, forecast } from '../../ipam/forecast.ts'
import { type Inputs, inputsOf } from '../../ipam/inputs.ts'
import { aBlock, aResource } from '../datastore/objects.ts'
import { aNode, aPod, aPool, assigned, converge, convergeAll, type TestNode } from './world.ts'

test.after('calicoctl ipam check would find nothing in what the tests left', convergeAll)

const config = { strictAffinity: true, autoAllocateBlocks: true, maxBlocksPerHost: 0, ipCooldownSeconds: 0 }
const inputs = (part: Partial<Inputs>): Inputs => ({ pools: [], reserved: [], config, ...part })
const nodes = (...names: string[]) => names.map(name => ({ name, labels: { name } }))
const block = (cidr: string, node: string, used: number, size: number) =>
  claimedBlock(
    aBlock(cidr, {
      ...{ affinity: `host:${node}`, attributes: [{ handle_id: 'h' }] },
      allocations: Array.from({ length: size }, (_, i) => (i < used ? 0 : null)),
      unallocated: Array.from({ length: size - used }, (_, i) => used + i),
    }),
  )

test('of a node: free addresses down to a quarter of a block, then a block more; of its pools: all that no other node has', t => {
  const found = forecast(
    inputs({ pools: [aPool('p', '10.0.0.0/24', 28)] }),
    [block('10.0.0.0/28', 'n1', 10, 16), block('10.0.0.16/28', 'n2', 16, 16)],
    nodes('n1', 'n2', 'n3'),
  )
  t.deepEqual(found.nodes, [
    { node: 'n1', family: 'ipv4', untilBlock: 2, left: 230n },
    { node: 'n2', family: 'ipv4', untilBlock: 0, left: 224n },
    { node: 'n3', family: 'ipv4', untilBlock: 0, left: 224n },
  ])
  t.deepEqual(found.pools, [{ pool: 'p', gives: true, left: 230n, blocks: 14n, next: { node: 'n2', pods: 0 } }])
})

test('what is reserved, in a block or in none, is nobody’s; a block that is wholly reserved is not claimed', t => {
  const reserved = ['10.0.0.16/28', '10.0.0.32/30', '10.0.0.12/30', '10.0.0.14', '10.9.0.0/16', 'fd00::/64']
  const found = forecast(
    inputs({ pools: [aPool('p', '10.0.0.0/26', 28)], reserved }),
    [block('10.0.0.0/28', 'n1', 2, 16)],
    nodes('n1'),
  )
  // of the first block 14 less 4 are left, of the third 12, of the fourth all
  t.like(found.pools[0], { left: 38n, blocks: 2n, next: { node: 'n1', pods: 6 } })
})

test('maxBlocksPerHost and autoAllocateBlocks bound what nodes get, and who gets no block more has no forecast of one', t => {
  const pools = [aPool('p', '10.0.0.0/24', 28)]
  const blocks = [block('10.0.0.0/28', 'n1', 10, 16)]
  const of = (part: Partial<Inputs['config']>) =>
    forecast(inputs({ pools, config: { ...config, ...part } }), blocks, nodes('n1', 'n2'))
  t.deepEqual(of({ maxBlocksPerHost: 1 }).pools, [
    { pool: 'p', gives: true, left: 22n, blocks: 1n, next: { node: 'n2', pods: 0 } },
  ])
  t.deepEqual(of({ maxBlocksPerHost: 1 }).nodes, [
    { node: 'n1', family: 'ipv4', untilBlock: undefined, left: 6n },
    { node: 'n2', family: 'ipv4', untilBlock: 0, left: 16n },
  ])
  t.deepEqual(of({ autoAllocateBlocks: false }).pools, [
    { pool: 'p', gives: true, left: 6n, blocks: 0n, next: undefined },
  ])
})

test('pools that are disabled, deleted, for tunnels alone or for no node give nothing; a node is served by those that select it', t => {
  const gone = aPool('gone', '10.3.0.0/24', 28)
  const found = forecast(
    inputs({
      pools: [
        aPool('off', '10.0.0.0/24', 28, { disabled: true }),
        aPool('tunnels', '10.1.0.0/24', 28, { allowedUses: ['Tunnel'] }),
        aPool('n1', '10.2.0.0/24', 28, { nodeSelector: "name == 'n1'" }),
        { ...gone, metadata: { ...gone.metadata, deletionTimestamp: '2026-01-01T00:00:00Z' } },
        aPool('nobody', '10.4.0.0/24', 28, { nodeSelector: "name == 'n9'" }),
        aPool('asked', '10.5.0.0/24', 28, { assignmentMode: 'Manual' }),
      ],
    }),
    // what lies in a disabled pool is free and serves nobody; a node that is gone gives nothing either
    [block('10.0.0.0/28', 'n1', 1, 16), block('10.2.0.0/28', 'n1', 1, 16), block('10.2.0.16/28', 'n8', 1, 16)],
    nodes('n1', 'n2'),
  )
  t.deepEqual(
    found.pools.map(({ pool, gives, left, blocks }) => [pool, gives, left, blocks]),
    [
      ['off', false, 0n, 0n],
      ['tunnels', false, 0n, 0n],
      ['n1', true, 239n, 14n],
      ['gone', false, 0n, 0n],
      ['nobody', false, 0n, 0n],
      ['asked', true, 256n, 16n],
    ],
  )
  t.deepEqual(
    found.nodes.map(({ node, left }) => [node, left]),
    [['n1', 239n]],
  )
})

test('IPv6 is counted exactly, with blocks of another size that make those of the pool useless', t => {
  const pools = [aPool('six', 'fd00::/64', 122)]
  const found = forecast(inputs({ pools }), [block('fd00::10/127', 'n1', 1, 2)], nodes('n1'))
  t.deepEqual(found.pools[0], {
    ...{ pool: 'six', gives: true, left: 2n ** 64n - 64n + 1n, blocks: 2n ** 58n - 1n },
    next: { node: 'n1', pods: 1 },
  })
})

/** Asks nodes in turn for addresses until none gets one; how many did. */
async function fill(all: readonly TestNode[]): Promise<number> {
  for (let [given, refused] = [0, new Set<TestNode>()]; ; )
    for (const node of all) {
      if (refused.size === all.length) return given
      if (refused.has(node)) continue
      const others = all.filter(each => each !== node)
      const { answer } = await assigned(node, aPod(`${node.name}-${given}`), others)
      if ('refused' in answer) refused.add(node)
      else given++
    }
}

for (const maxBlocksPerHost of [0, 2])
  test(`allocators give as many addresses as the forecast of their pool says, maxBlocksPerHost ${maxBlocksPerHost}`, async t => {
    const store = createFakeStore()
    await store.create('IPPool', aPool('p', '10.0.0.0/25', 28))
    await store.create(
      'IPReservation',
      aResource('IPReservation', {
        metadata: { name: 'r' },
        spec: { reservedCIDRs: ['10.0.0.0/30', '10.0.0.64/28', '10.0.0.70'] },
      }),
    )
    const settings = { autoAllocateBlocks: true, maxBlocksPerHost, strictAffinity: true }
    await store.create(
      'IPAMConfiguration',
      aResource('IPAMConfiguration', { metadata: { name: 'default' }, spec: settings }),
    )
    const all = [aNode(store, 'n1'), aNode(store, 'n2')]
    for (const node of all) node.start()
    await converge(store, ...all)
    for (let i = 0; i < 5; i++) await all[0]!.allocator.assign(aPod(`early-${i}`))
    await converge(store, ...all)
    const told = forecast(
      inputsOf(await store.list('IPPool'), await store.list('IPReservation'), await store.list('IPAMConfiguration')),
      (await store.list('IPAMBlock')).map(claimedBlock),
      nodes('n1', 'n2'),
    )
    const [room] = all[0]!.allocator.room()
    t.is(told.nodes[0]!.untilBlock, room!.untilBlock, 'the node says the same of itself')
    t.is(BigInt(await fill(all)), told.pools[0]!.left)
    for (const node of all) await node.close()
  })

test('a node claims a block more with the pod that its forecast names, and resting addresses count for nothing', async t => {
  const store = createFakeStore()
  await store.create('IPPool', aPool('p', '10.0.0.0/24', 28))
  await store.create(
    'IPAMConfiguration',
    aResource('IPAMConfiguration', {
      metadata: { name: 'default' },
      spec: { autoAllocateBlocks: true, maxBlocksPerHost: 0, ipCooldownSeconds: 1200 },
    }),
  )
  const node = aNode(store, 'n1')
  node.start()
  await converge(store, node)
  t.deepEqual(node.allocator.room(), [{ family: 'ipv4', free: 16, untilBlock: 12 }])
  await node.allocator.assign(aPod('short'))
  await node.allocator.release(aPod('short').handle)
  t.deepEqual(node.allocator.room(), [{ family: 'ipv4', free: 15, untilBlock: 11 }])
  for (let i = 0; i < 10; i++) await node.allocator.assign(aPod(`p${i}`))
  await converge(store, node)
  t.is(node.allocator.blocks().length, 1)
  await node.allocator.assign(aPod('p10'))
  await converge(store, node)
  t.is(node.allocator.blocks().length, 2)
  await node.close()
})
