// No block is free, and a block of another node has free addresses: single ones are lent by its owner, who alone writes the block.
// Over 400 lines: one small world of two nodes, and a test for each promise about it.
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { ADDRESSES_WANTED_ANNOTATION, wishesOf, withWish } from '../../api/address-wishes.ts'
import { kinds, type Resource } from '../../api/kinds.ts'
import { splitPool } from '../../ctl/ipam-split.ts'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import { guardedStore } from '../../datastore/guarded.ts'
import { type Store, Unreachable } from '../../datastore/port.ts'
import { parseBlock } from '../../ipam/block.ts'
import { claimedBlock, forecast } from '../../ipam/forecast.ts'
import { inputsOf } from '../../ipam/inputs.ts'
import { Journal } from '../../ipam/journal.ts'
import { lentOf } from '../../ipam/lending.ts'
import type { AssignRequest } from '../../ipam/port.ts'
import { type Database, openDatabase } from '../../lib/database.ts'
import { twoOwners } from './agreement.ts'
import {
  aNode,
  aPod,
  aPool,
  assigned,
  breaksByHand,
  converge,
  convergeAll,
  lendNothing,
  pass,
  type TestNode,
} from './world.ts'

test.after('calicoctl ipam check would find nothing in what the tests left', convergeAll)

type Hooks = { here?: Store; there?: Store; steps?: string[]; db?: Database; mayWrite?: () => boolean }

/** Two blocks of four addresses: n1 has used its own up, n2 has one pod. */
async function twoNodes(over: (fake: FakeStore) => Hooks = () => ({})) {
  const fake = createFakeStore()
  await fake.create('IPPool', aPool('p', '10.0.0.0/29', 30))
  const { here = fake, there = fake, steps = [], db, mayWrite } = over(fake)
  const guarded = (store: Store) => guardedStore(store, () => (mayWrite?.() === false ? 'not believed' : undefined))
  const noting = (what: string) => async (cidr: string) => {
    steps.push(`${what} ${cidr}`)
  }
  const nodes: [TestNode, TestNode] = [
    aNode(guarded(here), 'n1', db, mayWrite, undefined, noting('reached'), noting('withdrawn')),
    aNode(guarded(there), 'n2', undefined, mayWrite),
  ]
  for (const node of nodes) {
    node.start()
    await converge(fake, node)
  }
  for (const name of ['a', 'b', 'c', 'd']) await nodes[0].allocator.assign(aPod(name))
  await nodes[1].allocator.assign(aPod('theirs'))
  await converge(fake, ...nodes)
  steps.length = 0
  return { fake, nodes, here: nodes[0], there: nodes[1], steps }
}

const blockOf = async (fake: FakeStore, { allocator }: TestNode) =>
  (await fake.list('IPAMBlock')).find(({ spec }) => spec.cidr === allocator.blocks()[0]!.cidr)!
const lent = (item: Resource<'IPAMBlock'>, owner: string) =>
  [...lentOf(parseBlock(item), owner)].map(([cidr, { handle, secondary }]) => [cidr, handle, secondary['node']])
/** From now on no node claims a block more. */
const oneBlock = async (fake: FakeStore) => {
  const input = { metadata: { name: 'default' }, spec: { strictAffinity: false, maxBlocksPerHost: 1 } }
  await fake.create('IPAMConfiguration', kinds.IPAMConfiguration.schema.parse(input))
}
const closeAll = async (nodes: readonly TestNode[]) => {
  for (const { close } of nodes) await close()
}
const addressOf = (answer: unknown) => (answer as { address: string }[])[0]!.address

test('a pod on a node without a free address has one within a second, of the block of another node, which says whose it is', async t => {
  const { fake, nodes, here, there } = await twoNodes()
  const { answer, ms } = await assigned(here, aPod('e'), [there])
  t.false('refused' in answer, JSON.stringify(answer))
  const address = addressOf(answer)
  t.true(ms <= 1_000, `${ms} ms`)
  const item = await blockOf(fake, there)
  t.deepEqual(lent(item, 'n2'), [[`${address}/32`, aPod('e').handle, 'n1']])
  const held = parseBlock(item).slots.find(slot => slot?.handle === aPod('e').handle)!
  t.like(
    held.secondary,
    { pod: 'e', namespace: 'default', node: 'n1' },
    'what calicoctl ipam show --show-borrowed tells',
  )
  t.deepEqual([here.allocator.borrowed(), there.allocator.lent()], [[`${address}/32`], [`${address}/32`]])
  t.is(item.metadata.annotations?.[ADDRESSES_WANTED_ANNOTATION], undefined)
  t.is(here.allocator.blocks().length, 1)
  t.is(twoOwners(nodes), undefined)
  await closeAll(nodes)
})

test('no pod has a borrowed address before other nodes know the way to it, and its owner hears that it is free after they have lost it', async t => {
  const { fake, nodes, here, there, steps } = await twoNodes(fake => {
    const steps: string[] = []
    const update: Store['update'] = async (kind, object) => {
      const free = wishesOf(object).get('n1')?.free ?? []
      if (free.length > 0) steps.push(`free ${free}`)
      return fake.update(kind, object)
    }
    return { here: { ...fake, update }, steps }
  })
  const { answer } = await assigned(here, aPod('e'), [there])
  const address = addressOf(answer)
  t.deepEqual(steps, [`reached ${address}/32`])
  await here.allocator.release(aPod('e').handle)
  t.deepEqual(here.allocator.borrowed(), [], 'it is announced no more')
  await converge(fake, ...nodes)
  t.deepEqual(steps.slice(1), [`withdrawn ${address}/32`, `free ${address}`])
  t.deepEqual(lent(await blockOf(fake, there), 'n2'), [])
  for (let time = 0; time < 3; time++) await converge(fake, ...nodes)
  t.deepEqual([there.allocator.lent(), new Journal(here.db).lenders()], [[], []])
  t.deepEqual(new Journal(here.db).blocks().length, 1)
  await closeAll(nodes)
})

test('many pods at once have an address each, and those for which none is left are told who was asked', async t => {
  const { nodes, here } = await twoNodes()
  const answers = Promise.all(['e', 'f', 'g', 'h'].map(name => here.allocator.assign(aPod(name))))
  await pass(nodes, 12_000)
  const given = await answers
  t.is(given.filter(answer => !('refused' in answer)).length, 3)
  t.regex(JSON.stringify(given), /n2 was asked for an address of 10\.0\.0\.\d\/30 and lends none/)
  t.is(twoOwners(nodes), undefined)
  await closeAll(nodes)
})

test('a pod of the owner with the handle of a borrower’s pod has an address of its own, and its end frees no other', async t => {
  const { fake, nodes, here, there } = await twoNodes()
  const theirs = addressOf((await assigned(here, aPod('e'), [there])).answer)
  const own = addressOf((await assigned(there, aPod('e'), [here])).answer)
  t.not(own, theirs)
  t.is(twoOwners(nodes), undefined)
  t.deepEqual(await there.allocator.release(aPod('e').handle), [own])
  await converge(fake, ...nodes)
  t.deepEqual(
    lent(await blockOf(fake, there), 'n2').map(([cidr]) => cidr),
    [`${theirs}/32`],
  )
  await closeAll(nodes)
})

test('an address that its owner lent as the wish was taken back is found, and goes back', async t => {
  const { fake, here, there } = await twoNodes()
  await there.close()
  t.like((await assigned(here, aPod('e'))).answer, { refused: 'exhausted' })
  await converge(fake, here)
  // the owner had it in its journal before, and publishes that when it is back
  const item = await blockOf(fake, there)
  const ordinal = item.spec.unallocated[0]!
  const slot = { handle_id: 'net.e.eth0', secondary: { node: 'n1', pod: 'e', namespace: 'default' } }
  const allocations = item.spec.allocations.with(ordinal, item.spec.attributes.length)
  const attributes = [...item.spec.attributes, slot]
  const spec = { ...item.spec, allocations, attributes, unallocated: item.spec.unallocated.slice(1) }
  await fake.update('IPAMBlock', { ...item, spec })
  await converge(fake, here)
  t.deepEqual(here.allocator.borrowed().length, 1, 'whoever looks whether a pod has it frees it')
  await here.allocator.release('net.e.eth0')
  const again = await there.restart()
  await converge(fake, here, again)
  t.deepEqual(lent(await blockOf(fake, again), 'n2'), [])
  await closeAll([here, again])
})

test('with strictAffinity nothing is asked for or lent, and what was lent before goes back', async t => {
  const { fake, nodes, here, there } = await twoNodes()
  await assigned(here, aPod('e'), [there])
  await lendNothing(fake)
  await converge(fake, ...nodes)
  t.like((await assigned(here, aPod('f'), [there])).answer, { refused: 'exhausted' })
  // one that has not heard of it asks all the same
  const borrower = { handle: 'net.x.eth0', attributes: {} }
  const wish = { at: 'now', want: [borrower], hold: [], free: [] }
  await fake.update('IPAMBlock', withWish(await blockOf(fake, there), 'n9', wish))
  await converge(fake, ...nodes)
  t.deepEqual(
    lent(await blockOf(fake, there), 'n2').map(([, handle]) => handle),
    [aPod('e').handle],
  )
  await here.allocator.release(aPod('e').handle)
  await converge(fake, ...nodes)
  t.deepEqual(lent(await blockOf(fake, there), 'n2'), [])
  t.is((await blockOf(fake, there)).metadata.annotations?.[ADDRESSES_WANTED_ANNOTATION], undefined)
  await closeAll(nodes)
})

test('no address is asked for of a pool that nodes do not exchange: nobody else would have a way to its pod', async t => {
  const { fake, nodes, here, there } = await twoNodes()
  const change = async (spec: object) => {
    const pool = await fake.get('IPPool', 'p')
    await fake.update('IPPool', { ...pool, spec: { ...pool.spec, ...spec } })
    await converge(fake, ...nodes)
  }
  await change({ disableBGPExport: true })
  t.true('refused' in (await assigned(here, aPod('e'), [there])).answer)
  t.deepEqual(wishesOf(await blockOf(fake, there)), new Map())
  await change({ vxlanMode: 'Always' })
  t.false('refused' in (await assigned(here, aPod('e'), [there])).answer)
  await closeAll(nodes)
})

test('an address whose pod ends while the API server is away goes back later, also by the next agent', async t => {
  let isAway = false
  const { fake, nodes, here, there } = await twoNodes(fake => {
    const away = <A extends unknown[], R>(call: (...args: A) => Promise<R>) => {
      return (...args: A) => (isAway ? Promise.reject(new Unreachable('no answer')) : call(...args))
    }
    return { here: { ...fake, get: away(fake.get), update: away(fake.update) } as Store }
  })
  await assigned(here, aPod('e'), [there])
  isAway = true
  t.is((await here.allocator.release(aPod('e').handle)).length, 1, 'DEL waits for nobody')
  await pass(nodes, 5_000)
  t.is(lent(await blockOf(fake, there), 'n2').length, 1)
  const again = await here.restart()
  await pass([again, there], 5_000)
  t.deepEqual(again.allocator.held().get(aPod('e').handle), undefined)
  t.deepEqual(again.allocator.borrowed(), [])
  isAway = false
  await converge(fake, again, there)
  t.deepEqual(lent(await blockOf(fake, there), 'n2'), [])
  await closeAll([again, nodes[1]])
})

test('an owner that is away is waited for 2.5 s and named, not asked again for half a minute, and answers when it is back', async t => {
  const { fake, nodes, here, there } = await twoNodes()
  await there.close()
  const { answer, ms } = await assigned(here, aPod('e'))
  t.regex(JSON.stringify(answer), /n2 did not answer within 2\.5 s whether it lends an address of 10\.0\.0\.\d\/30/)
  t.true(ms >= 2_500 && ms <= 3_500, `${ms} ms`)
  const { ms: againMs } = await assigned(here, aPod('e'))
  t.true(againMs <= 200, `${againMs} ms`)
  // the agent of n1 dies before it can take its wish back
  await converge(fake, here)
  const item = await blockOf(fake, there)
  const { handle, attributes } = aPod('e')
  const { pod, namespace, containerID } = attributes
  const want = [{ handle, attributes: { pod, namespace, containerID } }]
  t.is(wishesOf(item).size, 0, 'nobody waits any more')
  await fake.update('IPAMBlock', withWish(item, 'n1', { at: 'before', want, hold: [], free: [] }))
  const again = await there.restart()
  await converge(fake, again)
  t.is(lent(await blockOf(fake, again), 'n2').length, 1)
  await pass([here, again], 40_000)
  await closeAll([nodes[0], again])
})

test('an address that was lent after its asker had given up is for the next pod of that node, or goes back a minute later', async t => {
  for (const isUsed of [true, false]) {
    const gate = Promise.withResolvers<void>()
    const { fake, nodes, here, there } = await twoNodes(fake => ({
      there: {
        ...fake,
        // its answers take longer than anybody waits
        update: async (kind, object) => {
          const isAnswer = kind === 'IPAMBlock' && lent(object as Resource<'IPAMBlock'>, 'n2').length > 0
          if (isAnswer) await gate.promise
          return fake.update(kind, object)
        },
      },
    }))
    const { answer } = await assigned(here, aPod('e'), [there])
    t.regex(JSON.stringify(answer), /n2 did not answer/)
    gate.resolve()
    await pass(nodes, 1_000)
    if (isUsed) {
      const { answer: next, ms } = await assigned(here, aPod('f'), [there])
      t.false('refused' in next, JSON.stringify(next))
      t.true(ms <= 200, `${ms} ms`)
      await converge(fake, ...nodes)
      t.deepEqual(
        lent(await blockOf(fake, there), 'n2').map(([, handle]) => handle),
        [aPod('f').handle],
      )
    } else {
      await converge(fake, ...nodes)
      t.deepEqual(lent(await blockOf(fake, there), 'n2'), [])
    }
    for (let time = 0; time < 3; time++) await converge(fake, ...nodes)
    t.deepEqual(new Journal(here.db).lenders().length, isUsed ? 1 : 0)
    await closeAll(nodes)
  }
})

test('a pod of both families on a node without a free address has one of each, also where one node lends both', async t => {
  const fake = createFakeStore()
  await fake.create('IPPool', aPool('p', '10.0.0.0/29', 30))
  await fake.create('IPPool', aPool('q', 'fd00::/125', 126))
  const nodes = [aNode(fake, 'n1'), aNode(fake, 'n2')] as const
  const [here, there] = nodes
  const both = (name: string): AssignRequest => ({ ...aPod(name), families: ['ipv4', 'ipv6'] })
  for (const node of nodes) {
    node.start()
    await converge(fake, node)
  }
  for (const name of ['a', 'b', 'c', 'd']) await here.allocator.assign(both(name))
  await there.allocator.assign(both('theirs'))
  await converge(fake, ...nodes)
  const { answer, ms } = await assigned(here, both('e'), [there])
  t.false('refused' in answer, JSON.stringify(answer))
  t.true(ms <= 2_000, `${ms} ms`)
  t.is(there.allocator.lent().length, 2)
  await here.allocator.release(both('e').handle)
  await converge(fake, ...nodes)
  t.deepEqual(there.allocator.lent(), [])
  await closeAll(nodes)
})

test('a wish that names no address changes nothing and stops no agent', async t => {
  const { fake, nodes, here, there } = await twoNodes()
  await assigned(here, aPod('e'), [there])
  const before = parseBlock(await blockOf(fake, there)).slots
  for (const each of ['no address', '', '10.0.0.300', '10.0.0.1/32', 'fe80::1%eth0', 'fd00::1']) {
    const hold = [{ handle: 'net.x.eth0', attributes: {}, address: each }]
    for (const wish of [
      { want: [], hold: [], free: [each] },
      { want: [], hold, free: [] },
    ]) {
      await fake.update('IPAMBlock', withWish(await blockOf(fake, there), 'n1', { at: 'now', ...wish }))
      await pass([there], 300)
    }
  }
  const after = await blockOf(fake, there)
  t.deepEqual(parseBlock(after).slots, before)
  t.is(wishesOf(after).size, 0)
  t.like((await assigned(there, aPod('f'))).answer, [{ family: 'ipv4' }])
  await closeAll(nodes)
})

test('a server that may not be written says nothing of borrowed addresses: they stay announced, and go back to one that is believed', async t => {
  let isOpen = true
  const { fake, nodes, here, there } = await twoNodes(() => ({ mayWrite: () => isOpen }))
  for (const name of ['e', 'f']) t.false('refused' in (await assigned(here, aPod(name), [there])).answer)
  await converge(fake, ...nodes)
  breaksByHand(fake, /^in use and not allocated/)
  await oneBlock(fake)
  const borrowed = here.allocator.borrowed()
  const item = await blockOf(fake, there)
  // an API server that was restored from a backup of before
  isOpen = false
  await fake.delete('IPAMBlock', item.metadata.name)
  await here.allocator.release(aPod('f').handle)
  await pass(nodes, 70_000)
  t.deepEqual(here.allocator.borrowed(), [`${addressOf(here.allocator.held().get(aPod('e').handle))}/32`])
  t.is(new Journal(here.db).blocks().length, 1 + borrowed.length, 'both are known')
  isOpen = true
  for (const node of [there, here]) {
    node.allocator.retryNow()
    await pass([node], 1_000)
  }
  await converge(fake, ...nodes)
  t.deepEqual(
    lent(await blockOf(fake, there), 'n2').map(([, handle]) => handle),
    [aPod('e').handle],
  )
  await closeAll(nodes)
})

test('a borrowed address of a block that was deleted by hand is announced again soon after its owner has made it again', async t => {
  const { fake, nodes, here, there } = await twoNodes()
  await assigned(here, aPod('e'), [there])
  await converge(fake, ...nodes)
  breaksByHand(fake, /./)
  await oneBlock(fake)
  await fake.delete('IPAMBlock', (await blockOf(fake, there)).metadata.name)
  // only the borrower looks, as it does once a minute
  for (let ms = 0; ms <= 61_000 && here.allocator.borrowed().length > 0; ms += 500) await pass([here], 500)
  t.deepEqual(here.allocator.borrowed(), [])
  await pass(nodes, 4_000)
  t.is(here.allocator.borrowed().length, 1)
  await closeAll(nodes)
})

test('what nodes ask for while its owner may not write is done once it may', async t => {
  let isOpen = true
  const { fake, nodes, here, there } = await twoNodes(() => ({ mayWrite: () => isOpen }))
  await assigned(here, aPod('e'), [there])
  await converge(fake, ...nodes)
  const item = await blockOf(fake, there)
  const [[cidr]] = lent(item, 'n2') as [[string]]
  isOpen = false
  const free = [cidr.slice(0, cidr.indexOf('/'))]
  await fake.update('IPAMBlock', withWish(item, 'n1', { at: 'now', want: [], hold: [], free }))
  await pass([there], 20_000)
  t.is(lent(await blockOf(fake, there), 'n2').length, 1)
  isOpen = true
  there.allocator.retryNow()
  await pass([there], 20_000)
  t.deepEqual(lent(await blockOf(fake, there), 'n2'), [])
  await closeAll(nodes)
})

test('a pod keeps its borrowed address when its node claims the block of it, and no other pod gets it', async t => {
  const { fake, nodes, here, there } = await twoNodes()
  const address = addressOf((await assigned(here, aPod('e'), [there])).answer)
  await converge(fake, ...nodes)
  const item = await blockOf(fake, there)
  // its owner is gone for good, and somebody deletes what it had
  await there.close()
  await fake.delete('IPAMBlock', item.metadata.name)
  const others = []
  for (const name of ['f', 'g', 'h']) others.push(addressOf((await assigned(here, aPod(name))).answer))
  t.false(others.includes(address), `${others}`)
  await converge(fake, here)
  const handles = parseBlock(await fake.get('IPAMBlock', item.metadata.name)).slots.map(slot => slot?.handle)
  t.deepEqual(
    handles.toSorted(),
    ['e', 'f', 'g', 'h'].map(name => aPod(name).handle),
  )
  t.deepEqual(here.allocator.borrowed(), [])
  t.false(here.allocator.conditions().some(({ type }) => type === 'BlocksOwned'))
  const again = await here.restart()
  t.deepEqual(
    again.allocator
      .held()
      .get(aPod('e').handle)
      ?.map(held => held.address),
    [address],
  )
  await again.allocator.release(aPod('e').handle)
  await closeAll([again])
})

test('an address that is lent again to the node which just gave it back is not a pod’s before other nodes know the way to it once more', async t => {
  const { nodes, here, there, steps } = await twoNodes()
  await there.allocator.assign(aPod('x'))
  const address = addressOf((await assigned(here, aPod('e'), [there])).answer)
  await there.allocator.assign(aPod('y'))
  await here.allocator.release(aPod('e').handle)
  const again = await assigned(here, aPod('f'), [there])
  t.is(addressOf(again.answer), address)
  t.deepEqual(there.allocator.lent(), [`${address}/32`])
  t.deepEqual(steps, [`reached ${address}/32`, `withdrawn ${address}/32`, `reached ${address}/32`])
  await closeAll(nodes)
})

test('a node that lost its journal takes back as many addresses of one block as it had, and writes no more then', async t => {
  const fake = createFakeStore()
  await fake.create('IPPool', aPool('p', '10.0.0.0/24', 24))
  let writes = 0
  const update: Store['update'] = (kind, object) => {
    writes++
    return fake.update(kind, object)
  }
  const there = aNode(fake, 'n2')
  there.start()
  await converge(fake, there)
  await there.allocator.assign(aPod('theirs'))
  const names = Array.from({ length: 80 }, (_, i) => `p${i}`)
  const want = names.map(name => ({ handle: aPod(name).handle, attributes: {} }))
  for (const part of [want.slice(0, 40), want.slice(40)]) {
    await fake.update(
      'IPAMBlock',
      withWish(await blockOf(fake, there), 'n1', { at: 'now', want: part, hold: [], free: [] }),
    )
    await converge(fake, there)
  }
  t.is(there.allocator.lent().length, 80)
  const here = aNode({ ...fake, update }, 'n1')
  here.start()
  await pass([here, there], 20_000)
  t.is(here.allocator.borrowed().length, 80)
  const item = await blockOf(fake, there)
  t.is(item.metadata.annotations?.[ADDRESSES_WANTED_ANNOTATION], undefined)
  const written = writes
  await pass([here, there], 20_000)
  t.is(writes, written)
  await closeAll([here, there])
})

/** The disk as it is now. */
const imageOf = (db: Database): Database => {
  const path = join(mkdtempSync(join(tmpdir(), 'margay-image-')), 'db')
  db.exec(`VACUUM INTO '${path}'`)
  return openDatabase(path)
}

test('an owner that starts from a disk image of before keeps what it lent since, to whom, and lends what came back since to nobody', async t => {
  const { fake, nodes, here, there } = await twoNodes()
  const addresses: string[] = []
  for (const name of ['e', 'f']) addresses.push(addressOf((await assigned(here, aPod(name), [there])).answer))
  await converge(fake, ...nodes)
  const image = imageOf(there.db)
  // one of them comes back, and goes to another pod of n1 beside the one that it still has; another is lent
  await here.allocator.release(aPod('f').handle)
  await converge(fake, ...nodes)
  await pass(nodes, 60_000)
  const last = addressOf((await assigned(here, aPod('g'), [there])).answer)
  await converge(fake, ...nodes)
  await there.close()
  const again = aNode(fake, 'n2', image)
  again.start()
  await converge(fake, again, here)
  const expected = [...new Set([addresses[0]!, last])].map(address => `${address}/32`).toSorted()
  t.deepEqual(again.allocator.lent().toSorted(), expected)
  t.deepEqual(
    lent(await blockOf(fake, again), 'n2')
      .map(([, handle]) => handle)
      .toSorted(),
    ['e', 'g'].map(name => aPod(name).handle),
  )
  t.is(twoOwners([here, again]), undefined)
  // and where all of them came back meanwhile
  const later = imageOf(image)
  for (const name of ['e', 'g']) await here.allocator.release(aPod(name).handle)
  await converge(fake, again, here)
  t.deepEqual(again.allocator.lent(), [])
  await again.close()
  const third = aNode(fake, 'n2', later)
  third.start()
  await converge(fake, third, here)
  t.deepEqual([third.allocator.lent(), lent(await blockOf(fake, third), 'n2')], [[], []])
  await closeAll([here, third])
})

test('a node with a new journal and room in its own block finds soon what was lent to it, without a claim', async t => {
  const { fake, nodes, here, there } = await twoNodes()
  const address = addressOf((await assigned(here, aPod('e'), [there])).answer)
  for (const name of ['a', 'b', 'c']) await here.allocator.release(aPod(name).handle)
  await converge(fake, ...nodes)
  await here.close()
  // it has its block again before it hears of the pool, so it needs no other one
  const late: (() => void)[] = []
  const watch: Store['watch'] = (kind, handlers, options) => {
    if (kind !== 'IPPool') return fake.watch(kind, handlers, options)
    late.push(() => fake.watch(kind, handlers, options))
    return { close: () => undefined, hurry: () => undefined }
  }
  const again = aNode({ ...fake, watch }, 'n1')
  again.start()
  await pass([again, there], 2_000)
  t.is(again.allocator.blocks().length, 1)
  for (const hear of late) hear()
  await pass([again, there], 15_000)
  t.deepEqual(again.allocator.borrowed(), [`${address}/32`])
  await again.allocator.release(aPod('e').handle)
  await converge(fake, again, there)
  t.deepEqual(there.allocator.lent(), [])
  await closeAll([again, there])
})

test('a lent address counts as given in the forecast of its owner and of the pool, and as none of the borrower', async t => {
  const { fake, nodes, here, there } = await twoNodes()
  const found = async () => {
    const [pools, blocks] = [await fake.list('IPPool'), await fake.list('IPAMBlock')]
    const claimants = ['n1', 'n2'].map(name => ({ name, labels: {} }))
    const { nodes: ofNodes, pools: ofPools } = forecast(inputsOf(pools, [], []), blocks.map(claimedBlock), claimants)
    return [...ofNodes.map(({ left }) => left), ofPools[0]!.left]
  }
  await converge(fake, ...nodes)
  t.deepEqual(await found(), [0n, 3n, 3n])
  await assigned(here, aPod('e'), [there])
  await converge(fake, ...nodes)
  t.deepEqual(await found(), [0n, 2n, 2n])
  t.deepEqual(
    [here, there].map(({ allocator }) => allocator.room()[0]!.free),
    [0, 2],
  )
  await closeAll(nodes)
})

test('a split of the pool leaves a borrowed address with its pod, also where it lies in another part than the other pods of its node', async t => {
  const { fake, nodes, here, there } = await twoNodes()
  const address = addressOf((await assigned(here, aPod('e'), [there])).answer)
  await converge(fake, ...nodes)
  const info = { metadata: { name: 'default' }, spec: { datastoreReady: false } }
  await fake.create('ClusterInformation', kinds.ClusterInformation.schema.parse(info))
  await splitPool(fake, { name: 'p' }, 2)
  await converge(fake, ...nodes)
  t.deepEqual([here.allocator.borrowed(), there.allocator.lent()], [[`${address}/32`], [`${address}/32`]])
  const next = addressOf((await assigned(here, aPod('f'), [there])).answer)
  t.not(next, address)
  for (const name of ['e', 'f']) await here.allocator.release(aPod(name).handle)
  await converge(fake, ...nodes)
  t.deepEqual(there.allocator.lent(), [])
  await closeAll(nodes)
})
