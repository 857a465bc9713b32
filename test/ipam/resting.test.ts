// When a released address may go to another pod: other nodes have it in sets of their policies until they hear that its pod is gone.
import test from 'ava'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import { assign, emitBlock, epochOf, parseBlock } from '../../ipam/block.ts'
import type { Assigned, AssignRefusal, AssignRequest } from '../../ipam/port.ts'
import { REST_MS } from '../../ipam/resting.ts'
import { aNode, aPod, aPool, converge, convergeAll, type TestNode } from './world.ts'

test.after('calicoctl ipam check would find nothing in what the tests left', convergeAll)

/** What a node knows of the sets of others, as a test wants it. */
function someSets() {
  return {
    hasPolicies: true,
    /** `namespace/name address`. */
    told: new Set<string>(),
    lateOnes: [] as string[],
    holders: new Map<string, { namespace: string; name: string }>(),
    holder(address: string) {
      return this.holders.get(address)
    },
    now: '1' as string | undefined,
    settled: 0,
    version() {
      return this.now
    },
    areThrough(version: string) {
      return Number(version) <= this.settled
    },
    mayHold() {
      return this.hasPolicies
    },
    heard({ namespace, name }: { namespace: string; name: string }, address: string): 'has' | 'gone' | 'unclear' {
      return this.told.has(`${namespace}/${name} ${address}`) ? 'has' : 'gone'
    },
    late(address: string) {
      this.lateOnes.push(address)
    },
  }
}

type World = { node: TestNode; store: FakeStore; sets: ReturnType<typeof someSets> }

async function aWorld(...pools: Parameters<typeof aPool>[]): Promise<World> {
  const store = createFakeStore()
  for (const args of pools) await store.create('IPPool', aPool(...args))
  const sets = someSets()
  const node = aNode(store, 'n1', undefined, undefined, sets)
  node.start()
  await converge(store, node)
  return { node, store, sets }
}

async function given({ node }: Pick<World, 'node'>, request: AssignRequest): Promise<string[]> {
  const answer = await node.allocator.assign(request)
  if ('refused' in answer) throw new Error(`${answer.refused}: ${answer.message}`)
  return answer.map(({ address }) => address)
}

async function refused({ node }: Pick<World, 'node'>, request: AssignRequest): Promise<AssignRefusal> {
  const answer: readonly Assigned[] | AssignRefusal = await node.allocator.assign(request)
  if ('refused' in answer) return answer
  throw new Error(`got ${answer.map(({ address }) => address).join()}`)
}

const BOTH = { families: ['ipv4', 'ipv6'] as const }

test('where there are policies an address rests for 30 s, of either family, and a refusal says how many rest and why', async t => {
  const world = await aWorld(['p', '10.0.0.0/32', 32], ['q', 'fd00:10::/128', 128])
  const { node, sets } = world
  const first = await given(world, { ...aPod('a'), ...BOTH })
  await node.allocator.release(aPod('a').handle)
  for (const families of [['ipv4'], ['ipv6']] as const) {
    const { message } = await refused(world, { ...aPod('b'), families })
    t.regex(
      message,
      /; 2 released addresses rest for 30 s, or until the API server tells of the end of their pods \(other nodes may have them in sets of policies until then\)$/,
    )
  }
  node.clock.advance(REST_MS - 1)
  await refused(world, { ...aPod('b'), ...BOTH })
  node.clock.advance(1)
  t.deepEqual(await given(world, { ...aPod('b'), ...BOTH }), first)
  t.deepEqual(sets.lateOnes, first, 'nobody has said yet that no set holds them')
})

test('where there is no policy no set holds an address, and another pod has it at once', async t => {
  const world = await aWorld(['p', '10.0.0.0/32', 32])
  world.sets.hasPolicies = false
  const first = await given(world, aPod('a'))
  await world.node.allocator.release(aPod('a').handle)
  t.deepEqual(await given(world, aPod('b')), first)
  t.deepEqual(world.sets.lateOnes, [])
})

for (const [hasPolicies, isTold, most] of [
  [true, true, 1],
  [false, true, 1],
  [false, false, 16],
] as const)
  test(`an address that a hundred pods have in turn has ${most} of them in memory and in the journal, ${hasPolicies ? 'with' : 'without'} policies, ${isTold ? 'and' : 'also where nothing is'} told of their ends`, async t => {
    const world = await aWorld(['p', '10.0.0.0/32', 32])
    const { node, sets } = world
    sets.hasPolicies = hasPolicies
    if (!isTold) sets.heard = () => 'unclear'
    for (let i = 0; i < 100; i++) {
      await given(world, aPod(`job-${i}`))
      await node.allocator.release(aPod(`job-${i}`).handle)
      node.clock.advance(REST_MS)
    }
    const [row] = node.db.prepare('SELECT pods FROM ipam_resting').all()
    const pods: { name: string }[] = JSON.parse(String(row?.['pods']))
    t.is(pods.length, most)
    t.is(pods.at(-1)?.name, 'job-99')
  })

test('a refusal says how long addresses rest by ipCooldownSeconds where there are no policies, or where that is longer', async t => {
  for (const [hasPolicies, ipCooldownSeconds, because] of [
    [false, 10, '10 s (ipCooldownSeconds)'],
    [true, 40, '40 s (ipCooldownSeconds)'],
    [true, 10, '30 s, or until the API server tells of'],
  ] as const) {
    const world = await aWorld(['p', '10.0.0.0/32', 32])
    const spec = { strictAffinity: false, autoAllocateBlocks: true, maxBlocksPerHost: 0, ipCooldownSeconds }
    await world.store.create('IPAMConfiguration', { metadata: { name: 'default' }, spec })
    await converge(world.store, world.node)
    world.sets.hasPolicies = hasPolicies
    await given(world, aPod('a'))
    await world.node.allocator.release(aPod('a').handle)
    const { message } = await refused(world, aPod('b'))
    t.true(message.includes(`; 1 released addresses rest for ${because}`), message)
  }
})

test('while the API server still tells that the pod has it, an address goes to no other one, however long that is', async t => {
  const world = await aWorld(['p', '10.0.0.0/32', 32])
  const { node, sets } = world
  const [address] = await given(world, aPod('a'))
  sets.told.add(`default/a ${address}`)
  await node.allocator.release(aPod('a').handle)
  node.clock.advance(20 * REST_MS)
  await refused(world, aPod('b'))
  sets.told.clear()
  t.deepEqual(await given(world, aPod('b')), [address])
})

test('an address that is told to be the pod of another node goes to no other one, also where its block has just come here', async t => {
  const world = await aWorld(['p', '10.0.0.0/31', 31])
  const { sets } = world
  sets.holders.set('10.0.0.0', { namespace: 'default', name: 'far' })
  t.deepEqual(await given(world, aPod('a')), ['10.0.0.1'])
  await refused(world, aPod('b'))
  t.regex((await refused(world, { ...aPod('b'), addresses: ['10.0.0.0'] })).message, /or is so by the API server/)
  t.deepEqual(await given(world, aPod('far')), ['10.0.0.0'])
  await world.node.allocator.release(aPod('far').handle)
  sets.hasPolicies = false
  t.deepEqual(await given(world, aPod('b')), ['10.0.0.0'])
})

test('a pod of the same name may have its address again at once, by name or not; another one that asks for it is refused until its time', async t => {
  const world = await aWorld(['p', '10.0.0.0/32', 32])
  const { node, sets } = world
  const [address] = await given(world, aPod('a'))
  await node.allocator.release(aPod('a').handle)
  const again = { ...aPod('a'), handle: 'net.a2.eth0' }
  t.deepEqual(await given(world, again), [address])
  t.notRegex((await refused(world, aPod('b'))).message, /rest/, 'it is in use')
  await node.allocator.release(again.handle)
  t.deepEqual(await given(world, { ...again, addresses: [address!] }), [address])
  await node.allocator.release(again.handle)
  const { refused: why, message } = await refused(world, { ...aPod('b'), addresses: [address!] })
  t.is(why, 'address-taken')
  t.regex(message, /^10\.0\.0\.0 was another pod's less than 30 s ago, or /)
  t.deepEqual(sets.lateOnes, [])
  node.clock.advance(REST_MS)
  t.deepEqual(await given(world, { ...aPod('b'), addresses: [address!] }), [address])
  t.deepEqual(sets.lateOnes, [address])
})

test('addresses rest on when the agent starts again, by the wall clock, also when that was set back', async t => {
  const world = await aWorld(['p', '10.0.0.0/31', 31])
  const { node } = world
  await given(world, aPod('a'))
  const [address] = await given(world, aPod('b'))
  node.clock.advance(3_600_000)
  await node.allocator.release(aPod('b').handle)
  // the clock of a new node begins an hour earlier
  const again = await node.restart()
  await converge(world.store)
  await refused({ node: again }, aPod('c'))
  again.clock.advance(REST_MS)
  t.deepEqual(await given({ node: again }, aPod('c')), [address])
  await again.allocator.release(aPod('c').handle)
  const third = await again.restart()
  await converge(world.store)
  third.clock.advance(REST_MS)
  t.deepEqual(await given({ node: third }, aPod('d')), [address])
})

test('a clock that was set forward by a year while no agent ran ends the 30 s, and never what the API server tells of the pod', async t => {
  const world = await aWorld(['p', '10.0.0.0/31', 31])
  const { node, store } = world
  await given(world, aPod('a'))
  const [address] = await given(world, aPod('b'))
  node.clock.setWall(node.clock.wallMs() - 365 * 86_400_000)
  await node.allocator.release(aPod('b').handle)
  world.sets.told.add(`default/b ${address}`)
  const again = await node.restart()
  await converge(store)
  await refused({ node: again }, aPod('c'))
  world.sets.told.clear()
  t.deepEqual(await given({ node: again }, aPod('c')), [address])
  t.deepEqual(world.sets.lateOnes, [address], 'nodes that have not heard of the end are named')
})

test('an address that a pod had of whom an old copy of the journal knows nothing rests as if it had just been released', async t => {
  const world = await aWorld(['p', '10.0.0.0/31', 31])
  const { node, store } = world
  await given(world, aPod('a'))
  await converge(store, node)
  await node.close()
  const [object] = await store.list('IPAMBlock')
  const known = parseBlock(object!)
  const later = { handle: 'net.later.eth0', secondary: { node: 'n1', namespace: 'default', pod: 'later' } }
  const newer = { ...assign(known, later, 1), sequence: known.sequence + 100n }
  await store.update('IPAMBlock', emitBlock(newer, { node: 'n1', epoch: epochOf(object!)! }, object))
  world.sets.told.add('default/later 10.0.0.1')
  const first = aNode(store, 'n1', node.db, undefined, world.sets)
  first.start()
  await converge(store, first)
  t.regex((await refused({ node: first }, aPod('c'))).message, /1 released addresses rest/)
  // the server has the block of the journal now: only the journal can tell
  const again = await first.restart()
  await converge(store, again)
  t.regex((await refused({ node: again }, aPod('c'))).message, /1 released addresses rest/)
  world.sets.told.clear()
  again.clock.advance(REST_MS)
  t.deepEqual(await given({ node: again }, aPod('c')), ['10.0.0.1'])
  t.deepEqual(world.sets.lateOnes, ['10.0.0.1'], 'nodes that have not heard of the end are named')
})

test('an address that no pod had comes before one whose deadline has passed, of any own block, and of those the one that rested longest', async t => {
  const world = await aWorld(['p', '10.0.0.0/30', 31])
  const { node, sets } = world
  const used: string[] = []
  for (const name of ['a', 'b', 'c']) used.push(...(await given(world, aPod(name))))
  t.is(node.allocator.blocks().length, 2)
  for (const name of ['b', 'a', 'c']) await node.allocator.release(aPod(name).handle)
  node.clock.advance(REST_MS)
  const [fresh] = await given(world, aPod('d'))
  t.false(used.includes(fresh!))
  t.deepEqual(sets.lateOnes, [])
  t.deepEqual(await given(world, aPod('e')), [used[1]])
  t.deepEqual(sets.lateOnes, [used[1]])
})

test('when all nodes have said that they have heard of the end of a pod, its address is as one that no pod had, after its 30 s', async t => {
  const world = await aWorld(['p', '10.0.0.0/31', 31])
  const { node, sets } = world
  const [first, second] = [await given(world, aPod('a')), await given(world, aPod('b'))]
  sets.now = '5'
  for (const name of ['a', 'b']) await node.allocator.release(aPod(name).handle)
  sets.settled = 5
  await refused(world, aPod('c'))
  node.clock.advance(REST_MS)
  t.deepEqual(await given(world, aPod('c')), first)
  sets.settled = 4
  t.deepEqual(await given(world, aPod('d')), second)
  t.deepEqual(sets.lateOnes, second)
})

test('what was given back, or is a pod’s again, is in the journal no more', async t => {
  const world = await aWorld(['p', '10.0.0.0/30', 31])
  const { node, store, sets } = world
  const rows = () => node.db.prepare('SELECT address FROM ipam_resting').all().length
  for (const name of ['a', 'b', 'c']) await given(world, aPod(name))
  for (const name of ['a', 'b', 'c']) await node.allocator.release(aPod(name).handle)
  t.is(rows(), 3)
  await given(world, { ...aPod('a'), handle: 'net.a2.eth0', addresses: ['10.0.0.0'] })
  sets.hasPolicies = false
  await store.delete('IPPool', 'p')
  await converge(store, node)
  await node.allocator.release('net.a2.eth0')
  await converge(store, node)
  t.is(node.allocator.blocks().length, 0)
  t.is(rows(), 0)
})

for (const [isDeleted, of, minutes] of [
  [true, 'of a deleted pool', 1],
  [false, 'that is not needed', 30],
] as const)
  test(`a block ${of} is given back when its addresses have rested, or ${minutes} minutes later with a notice, without anything else happening`, async t => {
    const world = await aWorld(['p', '10.0.0.0/28', 30])
    const { node, store, sets } = world
    const names = Array.from({ length: 12 }, (_, i) => `p${i}`)
    for (const name of names) {
      await given(world, aPod(name))
      await converge(store, node)
    }
    if (isDeleted) await store.delete('IPPool', 'p')
    await converge(store)
    for (const name of names) await node.allocator.release(aPod(name).handle)
    await converge(store)
    t.true(node.allocator.blocks().length >= 3, 'its next owner would know nothing of what rests')
    node.clock.advance(REST_MS)
    await converge(store)
    t.is(node.allocator.blocks().length >= 3, !isDeleted)
    if (!isDeleted) t.deepEqual(sets.lateOnes, [])
    node.clock.advance(minutes * 60_000)
    await converge(store)
    t.is(node.allocator.blocks().length, isDeleted ? 0 : 1)
    t.is(sets.lateOnes.length, isDeleted ? 12 : 8)
  })

test('a block that is not needed is given back without a notice when all nodes have heard of the end of its pods', async t => {
  const world = await aWorld(['p', '10.0.0.0/28', 30])
  const { node, store, sets } = world
  const names = Array.from({ length: 12 }, (_, i) => `p${i}`)
  for (const name of names) {
    await given(world, aPod(name))
    await converge(store, node)
  }
  for (const name of names) await node.allocator.release(aPod(name).handle)
  node.clock.advance(REST_MS)
  await converge(store)
  t.is(node.allocator.blocks().length, 3)
  sets.settled = 1
  node.clock.advance(REST_MS)
  await converge(store)
  t.is(node.allocator.blocks().length, 1)
  t.deepEqual(sets.lateOnes, [])
})
