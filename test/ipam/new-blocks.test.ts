// No pod gets an address of a block that other nodes may have no route to: what they answer to it would be lost.
import test from 'ava'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import { NewBlocks } from '../../ipam/new-blocks.ts'
import type { Assigned, AssignRefusal, AwaitsBlock } from '../../ipam/port.ts'
import { tunnelRequest } from '../../ipam/tunnel.ts'
import { aNode, aPod, aPool, converge, convergeAll, pass, type TestNode } from './world.ts'

test.after('calicoctl ipam check would find nothing in what the tests left', convergeAll)

const SIZE = 4

/** A node whose blocks of four addresses are reached when `arrive` says so. */
async function aNodeWithPeers(): Promise<{
  node: TestNode
  store: FakeStore
  asked: string[]
  arrive: (cidr: string) => Promise<void>
}> {
  const store = createFakeStore()
  await store.create('IPPool', aPool('p', '10.0.0.0/24', 30))
  const asked: string[] = []
  const arrivals = new Map<string, () => void>()
  const reached = (cidr: string) => {
    asked.push(cidr)
    return new Promise<void>(resolve => arrivals.set(cidr, resolve))
  }
  const node = aNode(store, 'n1', undefined, undefined, undefined, reached)
  node.start()
  await converge(store, node)
  const arrive = async (cidr: string) => {
    arrivals.get(cidr)?.()
    await new Promise(setImmediate)
  }
  return { node, store, asked, arrive }
}

type Answer = readonly Assigned[] | AssignRefusal | AwaitsBlock

const blockOf = (answer: Answer) => ('awaits' in answer || 'refused' in answer ? undefined : answer[0]?.block)

test('a pod waits until the block is reached, which is asked as soon as the block is claimed, and then has its address', async t => {
  const { node, asked, arrive } = await aNodeWithPeers()
  const [block] = node.allocator.blocks()
  t.deepEqual(asked, [block!.cidr])
  t.true('awaits' in node.allocator.assignNow(aPod('a')))
  const assigned = node.allocator.assign(aPod('a'))
  await arrive(block!.cidr)
  t.is(blockOf(await assigned), block!.cidr)
  t.is(blockOf(node.allocator.assignNow(aPod('b'))), block!.cidr)
  t.deepEqual([...new Set(asked)], asked, 'each block is asked for once')
})

test('the addresses of a block that is reached are used up before a pod waits for the next one', async t => {
  const { node, store, arrive } = await aNodeWithPeers()
  const [first] = node.allocator.blocks()
  await arrive(first!.cidr)
  const names = Array.from({ length: SIZE }, (_, i) => `pod-${i}`)
  for (const name of names.slice(0, -1)) t.is(blockOf(await node.allocator.assign(aPod(name))), first!.cidr)
  await converge(store, node)
  t.is(node.allocator.blocks().length, 2, 'the next block is here already')
  t.is(blockOf(await node.allocator.assign(aPod(names.at(-1)!))), first!.cidr)
  const late = node.allocator.assignNow(aPod('late'))
  t.true('awaits' in late)
  await arrive(node.allocator.blocks()[1]!.cidr)
  t.is(blockOf(node.allocator.assignNow(aPod('late'))), node.allocator.blocks()[1]!.cidr)
})

test('an ADD that has waited long enough is told to come again, and why', async t => {
  const { node } = await aNodeWithPeers()
  const answer = node.allocator.assignNow(aPod('a'))
  if (!('awaits' in answer)) return t.fail()
  const waiting = answer.awaits(node.clock.monotonicMs() + 1000)
  node.clock.advance(1000)
  const refusal = await waiting
  t.is(refusal?.refused, 'unreachable')
  t.regex(refusal?.message ?? '', /not every node that is up has said that it has a route to the new block/)
})

test('the address of a tunnel waits for nobody, and no address that is asked for by name is given early', async t => {
  const { node, arrive } = await aNodeWithPeers()
  const [block] = node.allocator.blocks()
  t.is(blockOf(node.allocator.assignNow(tunnelRequest('vxlan', 'n1'))), block!.cidr)
  const address = block!.cidr.replace(/\d+\/30$/, end => String(Number.parseInt(end, 10) + 2))
  const asked = { ...aPod('a'), addresses: [address] }
  t.true('awaits' in node.allocator.assignNow(asked))
  await arrive(block!.cidr)
  t.is(blockOf(node.allocator.assignNow(asked)), block!.cidr)
})

test('after a restart blocks with pods are known to other nodes, and one without waits again', async t => {
  const { node, store, arrive } = await aNodeWithPeers()
  await arrive(node.allocator.blocks()[0]!.cidr)
  for (const name of ['a', 'b', 'c']) await node.allocator.assign(aPod(name))
  await converge(store, node)
  const [withPods, without] = node.allocator.blocks().map(({ cidr }) => cidr)
  const again = await node.restart()
  await converge(store, again)
  t.is(blockOf(again.allocator.assignNow(aPod('d'))), withPods)
  t.true('awaits' in again.allocator.assignNow(aPod('e')))
  await arrive(without!)
  t.is(blockOf(again.allocator.assignNow(aPod('e'))), without)
})

test('an empty block that a pod waits for is not given back beside blocks of another pool that have room', async t => {
  const store = createFakeStore()
  await store.create('IPPool', aPool('p', '10.0.0.0/24', 28))
  await store.create('IPPool', aPool('q', '10.1.0.0/24', 30, { assignmentMode: 'Manual' } as never))
  const arrivals = new Map<string, () => void>()
  const reached = (cidr: string) => new Promise<void>(resolve => arrivals.set(cidr, resolve))
  const node = aNode(store, 'n1', undefined, undefined, undefined, reached)
  node.start()
  await converge(store, node)
  for (const resolve of arrivals.values()) resolve()
  await new Promise(setImmediate)
  const asked = { ...aPod('a'), pools: { ipv4: ['q'] } }
  const waiting = node.allocator.assign(asked)
  await pass([node], 300)
  const uid = async () =>
    (await store.list('IPAMBlock')).find(({ spec }) => spec.cidr.startsWith('10.1.'))?.metadata.uid
  const before = await uid()
  t.truthy(before)
  for (const name of ['b', 'c', 'd']) {
    await node.allocator.assign(aPod(name))
    await pass([node], 300)
  }
  t.is(await uid(), before, 'it is the same block')
  for (const resolve of arrivals.values()) resolve()
  t.is(blockOf(await waiting)?.slice(0, 5), '10.1.')
})

test('a block that left and came back is not reached by what its first time was waiting for', async t => {
  const resolves: (() => void)[] = []
  const blocks = new NewBlocks([], () => new Promise<void>(resolve => resolves.push(resolve)))
  blocks.waitsFor('10.0.0.0/30')
  blocks.forget('10.0.0.0/30')
  const again = blocks.waitsFor('10.0.0.0/30')
  resolves[0]!()
  await new Promise(setImmediate)
  t.is(blocks.waitsFor('10.0.0.0/30'), again)
  resolves[1]!()
  await again
  t.is(blocks.waitsFor('10.0.0.0/30'), undefined)
})
