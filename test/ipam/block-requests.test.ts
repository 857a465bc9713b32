// No block is free, and another node has an empty one: it is asked for, and given back by its owner alone.
import test from 'ava'
import type { Resource } from '../../api/kinds.ts'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import { Refused, type Store } from '../../datastore/port.ts'
import { askBlock, isBlockWanted } from '../../ipam/block.ts'
import { type Database, DatabaseError, openDatabase } from '../../lib/database.ts'
import { aNode, aPod, aPool, assigned, converge, convergeAll, lendNothing, pass, type TestNode } from './world.ts'

test.after('calicoctl ipam check would find nothing in what the tests left', convergeAll)

/** Two blocks of two addresses, of two nodes that have one each. */
async function twoNodes(over: (fake: FakeStore) => { here?: Store; there?: Store } = () => ({})) {
  const fake = createFakeStore()
  await fake.create('IPPool', aPool('p', '10.0.0.0/30', 31))
  await lendNothing(fake)
  const { here = fake, there = fake } = over(fake)
  const nodes = [aNode(here, 'n1'), aNode(there, 'n2')] as const
  for (const node of nodes) {
    node.start()
    await converge(fake, node)
  }
  for (const name of ['a', 'b']) await nodes[0].allocator.assign(aPod(name))
  await converge(fake, ...nodes)
  return { fake, nodes, here: nodes[0], there: nodes[1] }
}

const asks = (object: unknown) => isBlockWanted(object as Resource<'IPAMBlock'>)
const cidrs = ({ allocator }: TestNode) => allocator.blocks().map(({ cidr }) => cidr)
const told = ({ allocator }: TestNode) => allocator.conditions().map(({ type, reason }) => `${type} ${reason}`)

test('a pod on a node without a free address has one within a second, of the empty block that another node gives back', async t => {
  const { nodes, here, there } = await twoNodes()
  const [theirs] = cidrs(there)
  const { answer, ms } = await assigned(here, aPod('c'), [there])
  t.like(answer, [{ block: theirs }])
  t.true(ms <= 1_000, `${ms} ms`)
  t.deepEqual(cidrs(there), [])
  for (const { close } of nodes) await close()
})

test('a block with a pod that nobody heard of yet stays, its owner takes the wish out, and the refusal names it', async t => {
  const { fake, nodes, here, there } = await twoNodes()
  await there.allocator.assign(aPod('x'))
  const { answer } = await assigned(here, aPod('c'), [there])
  t.like(answer, { refused: 'exhausted' })
  t.false((await fake.list('IPAMBlock')).some(isBlockWanted))
  t.is(there.allocator.held().size, 1)
  for (const { close } of nodes) await close()
})

test('an owner that is away is waited for 2.5 s, named in the refusal, and not asked again for half a minute', async t => {
  const { fake, nodes, here, there } = await twoNodes()
  await there.close()
  const { answer, ms } = await assigned(here, aPod('c'))
  t.true('refused' in answer && answer.refused === 'exhausted')
  t.regex(
    JSON.stringify(answer),
    /n2 did not answer within 2.5 s whether it gives its empty block 10\.0\.0\.\d\/31 back/,
  )
  t.true(ms >= 2_500 && ms <= 3_500, `${ms} ms`)
  const wanted = async () =>
    (await fake.list('IPAMBlock')).filter(isBlockWanted).map(({ metadata }) => metadata.resourceVersion)
  const before = await wanted()
  t.is(before.length, 1)
  const { ms: againMs } = await assigned(here, aPod('c'))
  t.true(againMs <= 200, `${againMs} ms`)
  t.deepEqual(await wanted(), before)
  // who comes back finds the wish
  const again = await there.restart()
  await pass([here, again], 10_000)
  t.deepEqual(cidrs(again), [])
  t.like((await assigned(here, aPod('c'), [again])).answer, [{ family: 'ipv4' }])
  for (const { close } of [nodes[0], again]) await close()
})

test('a block that went to another node does not come back before its first owner needs it, or 20 minutes later', async t => {
  const { fake, nodes, here, there } = await twoNodes()
  t.like((await assigned(here, aPod('c'), [there])).answer, [{ family: 'ipv4' }])
  t.deepEqual(told(there), ['AddressesLeft AllInUse', 'BlocksLeft Scarce'])
  await here.allocator.release(aPod('c').handle)
  // n1 has an empty block now, and keeps it as its spare one
  await pass(nodes, 60_000)
  t.is(cidrs(here).length, 2)
  const version = async () =>
    (await fake.list('IPAMBlock'))
      .map(({ metadata }) => metadata.uid)
      .toSorted()
      .join()
  const before = await version()
  for (let minute = 0; minute < 10; minute++) await pass(nodes, 60_000)
  t.is(await version(), before, 'no block went to and fro')
  t.like((await assigned(there, aPod('x'), [here])).answer, [{ family: 'ipv4' }])
  t.is(cidrs(here).length, 1)
  for (const { close } of nodes) await close()
})

test('a spare block is never asked for', async t => {
  let asked = 0
  const { nodes, here } = await twoNodes(fake => ({
    here: {
      ...fake,
      update: (kind, object) => {
        if (asks(object)) asked++
        return fake.update(kind, object)
      },
    },
  }))
  await pass(nodes, 30 * 60_000)
  t.is(asked, 0)
  t.deepEqual(told(here), ['AddressesLeft AllInUse', 'BlocksLeft PoolsFull'])
  for (const { close } of nodes) await close()
})

test('a node that may not ask says so in the refusal', async t => {
  const { nodes, here, there } = await twoNodes(fake => ({
    here: {
      ...fake,
      update: (kind, object) =>
        asks(object) ? Promise.reject(new Refused(403, 'a node writes its own blocks')) : fake.update(kind, object),
    },
  }))
  const { answer } = await assigned(here, aPod('c'), [there])
  t.like(answer, { refused: 'exhausted' })
  t.regex(JSON.stringify(answer), /does not let this node ask n2 for its empty block/)
  for (const { close } of nodes) await close()
})

/** A node whose new blocks are reached when `arrive` says so. */
function reachedLate(fake: FakeStore, name: string) {
  const arrivals = new Map<string, () => void>()
  const reached = (cidr: string) => new Promise<void>(resolve => arrivals.set(cidr, resolve))
  const node = aNode(fake, name, undefined, undefined, undefined, reached)
  node.start()
  const arrive = async () => {
    for (const resolve of arrivals.values()) resolve()
    await new Promise(setImmediate)
  }
  return { node, arrive }
}

test('a block that a pod of its owner waits for, since other nodes have no route to it yet, stays: else it goes to and fro, and no pod has it', async t => {
  const fake = createFakeStore()
  await fake.create('IPPool', aPool('p', '10.0.0.0/31', 31))
  const { node: there, arrive } = reachedLate(fake, 'n2')
  await converge(fake, there)
  const here = aNode(fake, 'n1')
  here.start()
  await converge(fake, there, here)
  const waiting = there.allocator.assign(aPod('x'))
  const { answer } = await assigned(here, aPod('c'), [there])
  t.like(answer, { refused: 'exhausted' })
  await arrive()
  t.like(await waiting, [{ block: '10.0.0.0/31' }])
  for (const { close } of [here, there]) await close()
})

test('a block that no pod waits for any more is given', async t => {
  const fake = createFakeStore()
  await fake.create('IPPool', aPool('p', '10.0.0.0/31', 31))
  const { node: there } = reachedLate(fake, 'n2')
  await converge(fake, there)
  const here = aNode(fake, 'n1')
  here.start()
  await converge(fake, there, here)
  t.like((await assigned(there, aPod('x'), [here])).answer, { refused: 'unreachable' })
  t.like((await assigned(here, aPod('c'), [there])).answer, [{ block: '10.0.0.0/31' }])
  for (const { close } of [here, there]) await close()
})

test('a node whose disk takes no write keeps the block that it is asked for, and answers', async t => {
  const fake = createFakeStore()
  await fake.create('IPPool', aPool('p', '10.0.0.0/31', 31))
  let isFull = false
  const db: Database = openDatabase(':memory:', () => {
    if (isFull) throw new DatabaseError('database or disk is full', 13)
  })
  const there = aNode(fake, 'n2', db)
  there.start()
  await converge(fake, there)
  isFull = true
  const here = aNode(fake, 'n1')
  here.start()
  await converge(fake, here)
  const { answer } = await assigned(here, aPod('c'), [there])
  t.regex(JSON.stringify(answer), /n2 was asked for its block 10\.0\.0\.0\/31 and keeps it/)
  t.is(cidrs(there).length, 1)
  isFull = false
  for (const { close } of [here, there]) await close()
})

test('a block that is newer or has more in it than the journal of its owner knows is not given', async t => {
  for (const change of ['pods', 'newer'] as const) {
    const { fake, nodes, here, there } = await twoNodes()
    const [cidr] = cidrs(there)
    await here.close()
    await there.close()
    const item = (await fake.list('IPAMBlock')).find(({ spec }) => spec.cidr === cidr)!
    const later = { ...item.spec, sequenceNumber: BigInt(item.spec.sequenceNumber ?? 0) + 7n }
    const pods = {
      allocations: [0, null],
      unallocated: [1],
      attributes: [{ handle_id: 'net.old.eth0', secondary: {} }],
    }
    await fake.update(
      'IPAMBlock',
      askBlock({ ...item, spec: change === 'pods' ? { ...item.spec, ...pods } : later }, 'a test'),
    )
    const again = await nodes[1].restart()
    await converge(fake, again)
    t.deepEqual(cidrs(again), [cidr!], change)
    t.false((await fake.list('IPAMBlock')).some(isBlockWanted))
    await again.close()
  }
})

test('an agent that stops asks nobody any more, and its pods hear at once', async t => {
  const { here, there } = await twoNodes()
  await there.close()
  const waiting = here.allocator.assign(aPod('c'))
  await pass([here], 500)
  await here.close()
  t.like(await waiting, { refused: 'unreachable' })
  t.is(here.clock.pending, 0)
})
