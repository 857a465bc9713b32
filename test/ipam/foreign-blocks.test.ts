// What a node asks the API server about blocks of other nodes: a list before its first claim, and nothing after it.
import test from 'ava'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import type { Store, WatchEvent } from '../../datastore/port.ts'
import { aNode, aPod, aPool, assigned, breaksByHand, converge, convergeAll, lendNothing } from './world.ts'

test.after('calicoctl ipam check would find nothing in what the tests left', convergeAll)

/** A store that writes down the block events a node is told, and its lists of all blocks. */
function watched(fake: FakeStore): { store: Store; told: string[]; lists(): number } {
  const told: string[] = []
  let lists = 0
  const store: Store = {
    ...fake,
    pages: (kind, options) => {
      lists++
      return fake.pages(kind, options)
    },
    watch: (kind, handlers, options) =>
      fake.watch(
        kind,
        {
          ...handlers,
          event: (event: WatchEvent<typeof kind>) => {
            if (kind === 'IPAMBlock' && event.type !== 'sync') told.push(event.item.metadata.name)
            handlers.event(event)
          },
        },
        options,
      ),
  }
  return { store, told, lists: () => lists }
}

async function aStore(cidr: string, blockSize: number): Promise<FakeStore> {
  const store = createFakeStore()
  await store.create('IPPool', aPool('p', cidr, blockSize))
  return store
}

test('changes of other nodes’ blocks are not told to a node, and all blocks are listed once', async t => {
  const fake = await aStore('10.0.0.0/24', 28)
  const { store, told, lists } = watched(fake)
  const [here, there] = [aNode(store, 'n1'), aNode(fake, 'n2')]
  here.start()
  await converge(fake, here)
  const before = told.length
  there.start()
  await converge(fake, there)
  for (let i = 0; i < 5; i++) await there.allocator.assign(aPod(`p${i}`))
  await converge(fake, here, there)
  t.is(told.length, before)
  t.is(lists(), 1)
  const again = await here.restart()
  await converge(fake, again)
  t.is(lists(), 1)
})

test('a block that another node gave back is found when no other is free', async t => {
  const fake = await aStore('10.0.0.0/30', 31)
  await lendNothing(fake)
  const [here, there] = [aNode(fake, 'n1'), aNode(fake, 'n2')]
  for (const node of [here, there]) node.start()
  await converge(fake, here, there)
  for (const name of ['a', 'b']) t.false('refused' in (await here.allocator.assign(aPod(name))))
  await there.allocator.assign(aPod('theirs'))
  await converge(fake, here, there)
  t.like(await here.allocator.assign(aPod('c')), { refused: 'exhausted' })
  await there.close()
  const [theirs] = there.allocator.blocks()
  await fake.delete('IPAMBlock', theirs!.cidr.replace(/[./]/g, '-'))
  await converge(fake, here)
  t.false('refused' in (await here.allocator.assign(aPod('c'))))
})

test('a list that is out of date costs three lost claims at most, then it is made anew', async t => {
  const fake = await aStore('10.0.0.0/24', 28)
  const { store, lists } = watched(fake)
  const here = aNode(store, 'n1')
  here.start()
  await converge(fake, here)
  for (let block = 0; block < 15; block++) {
    const cidr = `10.0.0.${block * 16}/28`
    const free = Array.from({ length: 16 }, (_, ordinal) => ordinal)
    const spec = { cidr, affinity: 'host:n2', allocations: free.map(() => null), unallocated: free, attributes: [] }
    const metadata = { name: cidr.replace(/[./]/g, '-') }
    await fake
      .create('IPAMBlock', { metadata, spec: { ...spec, strictAffinity: true, deleted: false } })
      .catch(() => {})
  }
  here.clock.advance(60_000)
  for (let i = 0; i < 20; i++) t.false('refused' in (await here.allocator.assign(aPod(`p${i}`))), `pod ${i}`)
  t.is(here.allocator.blocks().length, 2)
  t.true(lists() <= 3, `${lists()} lists`)
})

test('a node whose database was lost takes its blocks back before it claims more', async t => {
  const fake = await aStore('10.0.0.0/24', 28)
  const first = aNode(fake, 'n1')
  first.start()
  await converge(fake, first)
  await first.allocator.assign(aPod('a'))
  await converge(fake, first)
  await first.close()
  const second = aNode(fake, 'n1')
  second.start()
  await converge(fake, second)
  t.deepEqual(
    second.allocator.blocks().map(({ cidr }) => cidr),
    first.allocator.blocks().map(({ cidr }) => cidr),
  )
  t.is(second.allocator.held().size, 1)
})

test('an IPAMBlock larger than a block can be does not stop the node that it names, nor its claims', async t => {
  for (const cidr of ['10.0.0.0/8', '10.0.0.0/19', 'fd00::/64']) {
    const fake = await aStore('10.0.0.0/24', 28)
    const here = aNode(fake, 'n1')
    here.start()
    await converge(fake, here)
    const spec = { cidr, affinity: 'host:n1', allocations: [], unallocated: [], attributes: [] }
    breaksByHand(fake, new RegExp(cidr.replace(/[.:/]/g, '-')))
    fake.inject('IPAMBlock', { metadata: { name: cidr.replace(/[.:/]/g, '-') }, spec })
    await converge(fake, here)
    t.false('refused' in (await here.allocator.assign(aPod('a'))))
    t.deepEqual(
      here.allocator.blocks().map(block => block.cidr),
      ['10.0.0.0/28'],
    )
  }
})

test('a block that was deleted by hand does not come back over one of another size that was claimed at that moment', async t => {
  const fake = await aStore('10.0.0.0/29', 29)
  const free = [0, 1]
  const theirs = {
    cidr: '10.0.0.4/31',
    affinity: 'host:n2',
    allocations: [null, null],
    unallocated: free,
    attributes: [],
  }
  let isLate = false
  const store: Store = {
    ...fake,
    create: async (kind, object) => {
      // n2 had listed all blocks before this one came back
      if (isLate) fake.inject('IPAMBlock', { metadata: { name: '10-0-0-4-31' }, spec: theirs })
      return fake.create(kind, object)
    },
  }
  const here = aNode(store, 'n1')
  here.start()
  await converge(fake, here)
  await here.allocator.assign(aPod('a'))
  await converge(fake, here)
  breaksByHand(fake, /./)
  isLate = true
  await fake.delete('IPAMBlock', '10-0-0-0-29')
  await converge(fake, here)
  t.deepEqual(
    (await fake.list('IPAMBlock')).map(({ metadata }) => metadata.name),
    ['10-0-0-4-31'],
  )
  t.like((await assigned(here, aPod('b'))).answer, { refused: 'exhausted' })
  t.regex(JSON.stringify(here.allocator.conditions()), /10\.0\.0\.0\/29 belongs to host:n2 now/)
})
