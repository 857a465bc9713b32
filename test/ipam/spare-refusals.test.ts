// A node that gets no block: what is told, and when it asks again.
import test from 'ava'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import { Refused } from '../../datastore/port.ts'
import type { AssignRefusal } from '../../ipam/port.ts'
import { SpareRefusals } from '../../ipam/spare-refusals.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { aNode, aPod, aPool, converge, convergeAll } from './world.ts'

test.after('calicoctl ipam check would find nothing in what the tests left', convergeAll)

async function aRefusedNode() {
  const store = createFakeStore()
  let refusal: Error | undefined = new Refused(403, 'forbidden: create ipamblocks: no rule')
  let asked = 0
  const create: FakeStore['create'] = async (kind, object) => {
    if (kind === 'IPAMBlock') asked++
    if (kind === 'IPAMBlock' && refusal !== undefined) throw refusal
    return store.create(kind, object)
  }
  const node = aNode({ ...store, create } as FakeStore, 'n1')
  await store.create('IPPool', aPool('a', '10.0.0.0/30', 30))
  node.start()
  await converge(store, node)
  return {
    ...{ store, node },
    allow: () => {
      refusal = undefined
    },
    asked: () => asked,
    told: () => node.allocator.conditions().map(({ type, reason }) => `${type} ${reason}`),
    pass: async (ms: number) => {
      for (let i = 0; i < ms; i += 1000) {
        node.clock.advance(1000)
        for (let turn = 0; turn < 10; turn++) await new Promise(setImmediate)
      }
    },
  }
}

test('a node that may create no block is not ready, says which right it lacks, asks seldom, and is cured by the right', async t => {
  const { node, told, pass, asked, allow } = await aRefusedNode()
  t.deepEqual(told(), ['PoolsUsable NoBlock'])
  const [condition] = node.allocator.conditions()
  t.regex(condition!.message, /no ipv4 block for this node: forbidden: create ipamblocks/)
  t.regex(condition!.remedy, /may create IPAMBlocks/)
  await pass(600_000)
  t.true(asked() > 5 && asked() < 30, `${asked()} in ten minutes`)
  allow()
  await pass(60_000)
  t.deepEqual(told(), [])
  await node.close()
  t.is(node.clock.pending, 0)
})

test('a pod that needs a block which the API server never answers about is refused after 10 s, and has an address when it comes again', async t => {
  const fake = createFakeStore()
  await fake.create('IPPool', aPool('a', '10.0.0.0/30', 30))
  const silent = Promise.withResolvers<void>()
  const create: FakeStore['create'] = async (kind, object) => {
    if (kind === 'IPAMBlock') await silent.promise
    return fake.create(kind, object)
  }
  const node = aNode({ ...fake, create } as FakeStore, 'n1')
  node.start()
  await converge(fake, node)
  let answer: unknown
  const asked = node.allocator.assign(aPod('a')).then(given => {
    answer = given
  })
  const pass = async (ms: number) => {
    node.clock.advance(ms)
    for (let turn = 0; turn < 10; turn++) await new Promise(setImmediate)
  }
  await pass(9_900)
  t.is(answer, undefined)
  await pass(200)
  await asked
  t.like(answer, { refused: 'unreachable', message: 'no answer to the claim of a block in time' })
  silent.resolve()
  await converge(fake, node)
  t.false('refused' in (await node.allocator.assign(aPod('a'))))
  await node.close()
})

test('a pool that is added gives a node without addresses a block at once', async t => {
  const { store, node, told, pass, allow } = await aRefusedNode()
  allow()
  await pass(60_000)
  for (let i = 0; i < 4; i++) t.false('refused' in (await node.allocator.assign(aPod(`p${i}`))))
  await pass(1000)
  const full = ['AddressesLeft AllInUse', 'BlocksLeft PoolsFull']
  t.deepEqual(told(), full, 'the pods that run are served: the node stays ready')
  await store.create('IPPool', aPool('b', '10.1.0.0/24'))
  await pass(1000)
  t.deepEqual(told(), [])
  t.is(node.allocator.blocks().length, 2)
  await node.close()
})

test('a node that gets no block more says how many pods get an address, and an address that comes back is one more', async t => {
  const { node, told, pass, allow } = await aRefusedNode()
  allow()
  await pass(60_000)
  for (let i = 0; i < 2; i++) await node.allocator.assign(aPod(`p${i}`))
  await pass(1000)
  t.deepEqual(told(), [])
  await node.allocator.assign(aPod('p2'))
  await pass(1000)
  t.deepEqual(told(), ['BlocksLeft PoolsFull'], 'before the last address is in use')
  t.regex(
    node.allocator.conditions()[0]!.message,
    /^1 pod more gets an ipv4 address on this node, and none after that: no free block/,
  )
  await node.allocator.assign(aPod('p3'))
  await pass(1000)
  t.deepEqual(told(), ['AddressesLeft AllInUse', 'BlocksLeft PoolsFull'])
  await node.allocator.release(aPod('p0').handle)
  await pass(1000)
  t.deepEqual(told(), ['BlocksLeft PoolsFull'])
  await node.allocator.release(aPod('p1').handle)
  await pass(1000)
  t.deepEqual(told(), [])
  await node.close()
})

const UNREACHABLE: AssignRefusal = { refused: 'unreachable', message: 'away', remedy: '' }
const FULL: AssignRefusal = { refused: 'exhausted', message: 'full', remedy: '' }

test('each family waits for itself: the full pool of one neither delays the other nor is asked about because of it', t => {
  const answers = { ipv4: UNREACHABLE, ipv6: FULL }
  for (const order of [['ipv4', 'ipv6'] as const, ['ipv6', 'ipv4'] as const]) {
    const clock = new ManualClock()
    const asked = { ipv4: 0, ipv6: 0 }
    const refusals: SpareRefusals = new SpareRefusals({
      ...{ clock, log: silentLog },
      again: family => {
        asked[family]++
        refusals.answered(family, answers[family])
      },
    })
    for (const family of order) refusals.answered(family, answers[family])
    clock.advance(1000)
    t.deepEqual(asked, { ipv4: 1, ipv6: 0 })
    for (let i = 0; i < 599; i++) clock.advance(1000)
    t.true(asked.ipv4 > 10 && asked.ipv4 < 30, `${asked.ipv4} in ten minutes`)
    t.is(asked.ipv6, 0)
    for (let i = 0; i < 600; i++) clock.advance(1000)
    t.is(asked.ipv6, 1, 'in twenty minutes')
    refusals.answered('ipv4', undefined)
    refusals.answered('ipv4', UNREACHABLE)
    const before = asked.ipv4
    clock.advance(1000)
    t.is(asked.ipv4, before + 1, 'the pause after an old refusal of this family is over, whatever the other one has')
    refusals.answered('ipv4', undefined)
    clock.advance(60_000)
    t.is(asked.ipv4, before + 1)
    refusals.close()
    t.is(clock.pending, 0)
  }
})

test('a node asks again for the family that the API server refused while the pool of the other one is full', async t => {
  const store = createFakeStore()
  let refused = true
  let looks = 0
  const create: FakeStore['create'] = async (kind, object) => {
    const ofIpv4 = kind === 'IPAMBlock' && !object.metadata.name.includes('fd00')
    if (refused && ofIpv4) throw new Refused(403, 'forbidden: create ipamblocks: no rule')
    return store.create(kind, object)
  }
  const pages: FakeStore['pages'] = (kind, options) => {
    looks++
    return store.pages(kind, options)
  }
  const other = aNode(store, 'n2')
  await store.create('IPPool', aPool('six', 'fd00::/122', 122))
  other.start()
  await converge(store, other)
  await store.create('IPPool', aPool('four', '10.0.0.0/24', 26))
  await other.close()
  const node = aNode({ ...store, create, pages } as FakeStore, 'n1')
  node.start()
  await converge(store, node)
  const told = () => node.allocator.conditions().map(({ message }) => /ipv[46]/.exec(message)?.[0])
  t.deepEqual(told(), ['ipv4', 'ipv6'])
  refused = false
  await converge(store, node)
  t.deepEqual(told(), ['ipv6'])
  const before = looks
  await converge(store, node)
  t.is(looks, before, 'a full pool is not asked about in two minutes')
  await node.close()
})
