// What the IPAMConfiguration and IPReservations do when they change while pods run.
import test from 'ava'
import { Cluster } from './calico-play.ts'
import { aPod, aPool, convergeAll } from './world.ts'

test.after('calicoctl ipam check would find nothing in what the tests left', convergeAll)

const POOL = aPool('p', '10.0.0.0/28', 30)
const configure = (cluster: Cluster, spec: object) => cluster.store.patch('IPAMConfiguration', 'default', { spec })
const count = async (cluster: Cluster) => (await cluster.store.list('IPAMBlock')).length

test('with autoAllocateBlocks off a node claims no block, also no spare one, and does when it is on again', async t => {
  const cluster = await Cluster.of([POOL], { autoAllocateBlocks: false })
  t.deepEqual(await cluster.assign('n1', 'ipv4', 1), { got: 0, refused: 'block-limit' })
  await cluster.settle()
  t.is(await count(cluster), 0)
  await configure(cluster, { autoAllocateBlocks: true })
  await cluster.settle()
  t.is(await count(cluster), 1)
  t.deepEqual(await cluster.assign('n1', 'ipv4', 4), { got: 4 })
  await configure(cluster, { autoAllocateBlocks: false })
  await cluster.settle()
  const blocks = await count(cluster)
  t.deepEqual(await cluster.assign('n1', 'ipv4', 8 * blocks), { got: 4 * blocks - 4, refused: 'block-limit' })
  t.is(await count(cluster), blocks)
})

test('maxBlocksPerHost is for each family alone, and takes no block away that a node has', async t => {
  const cluster = await Cluster.of([POOL, aPool('six', 'fd00::/124', 126)], { maxBlocksPerHost: 2 })
  for (const family of ['ipv4', 'ipv6'] as const)
    t.deepEqual(await cluster.assign('n1', family, 9), { got: 8, refused: 'block-limit' })
  await configure(cluster, { maxBlocksPerHost: 1 })
  await cluster.settle()
  t.is(await count(cluster), 4)
  const node = await cluster.node('n1')
  await node.allocator.release([...node.allocator.held().keys()][0]!)
  t.deepEqual(await cluster.assign('n1', 'ipv4', 2), { got: 1, refused: 'block-limit' })
  await configure(cluster, { maxBlocksPerHost: 0 })
  await cluster.settle()
  t.deepEqual(await cluster.assign('n1', 'ipv4', 9), { got: 8, refused: 'exhausted' })
})

test('pods keep addresses that are reserved later; these are nobody’s next ones until the reservation goes', async t => {
  const cluster = await Cluster.of([aPool('p', '10.0.0.0/30', 30)])
  t.deepEqual(await cluster.assign('n1', 'ipv4', 4), { got: 4 })
  const { allocator } = await cluster.node('n1')
  const [handle, held] = [...allocator.held()][0]!
  const reservation = { metadata: { name: 'r' }, spec: { reservedCIDRs: [held[0]!.address] } }
  await cluster.store.create('IPReservation', reservation)
  await cluster.settle()
  t.is(allocator.held().size, 4)
  await allocator.release(handle)
  t.deepEqual(await cluster.assign('n1', 'ipv4', 1), { got: 0, refused: 'exhausted' })
  await cluster.store.delete('IPReservation', 'r')
  await cluster.settle()
  const answer = await allocator.assign(aPod('next'))
  t.is('refused' in answer ? answer.refused : answer[0]!.address, held[0]!.address)
})

test('a node whose pool is wholly reserved claims nothing, and says that it has no address', async t => {
  const cluster = await Cluster.of([POOL])
  await cluster.store.create('IPReservation', { metadata: { name: 'r' }, spec: { reservedCIDRs: ['10.0.0.0/8'] } })
  t.deepEqual(await cluster.assign('n1', 'ipv4', 1), { got: 0, refused: 'exhausted' })
  await cluster.settle()
  t.is(await count(cluster), 0)
  const { allocator } = await cluster.node('n1')
  const answer = await allocator.assign(aPod('a'))
  t.is('refused' in answer && answer.message, 'no free block is left in p (10.0.0.0/28, 16 addresses of it reserved)')
})
