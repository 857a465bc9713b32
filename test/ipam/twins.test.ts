// Two agents under one node name, and journals that were lost: no address is ever given twice.
import test from 'ava'
import { createFakeStore } from '../../datastore/fake.ts'
import type { Assigned, AssignRefusal } from '../../ipam/port.ts'
import { aNode, aPod, aPool, converge, convergeAll, type TestNode } from './world.ts'

test.after('calicoctl ipam check would find nothing in what the tests left', convergeAll)

async function aStore() {
  const store = createFakeStore()
  await store.create('IPPool', aPool('p', '10.0.0.0/24', 28))
  return store
}

const addressOf = (answer: readonly Assigned[] | AssignRefusal) =>
  'refused' in answer ? answer.message : answer[0]!.address

const lost = ({ allocator }: TestNode) =>
  allocator.conditions().flatMap(({ type, message }) => (type === 'BlocksOwned' ? [message] : []))

test('when a second agent takes over the blocks of a node name, the first gives no more of their addresses and says so', async t => {
  const store = await aStore()
  const first = aNode(store, 'n1')
  first.start()
  await converge(store, first)
  const given = [addressOf(await first.allocator.assign(aPod('a')))]
  await converge(store, first)
  const second = aNode(store, 'n1')
  second.start()
  await converge(store, first, second)
  t.regex(lost(first).join(), /^10\.0\.0\.\d+\/28 belongs to another agent of the name n1 now$/)
  t.deepEqual(lost(second), [])
  for (const [i, node] of [first, second, first, second].entries()) {
    given.push(addressOf(await node.allocator.assign(aPod(`p${i}`))))
    await converge(store, first, second)
  }
  t.is(new Set(given).size, given.length, given.join())
  // an address that goes back does not bring the block back to the first
  await first.allocator.release(aPod('a').handle)
  await converge(store, first, second)
  t.is(addressOf(await second.allocator.assign(aPod('b'))).split('.').length, 4)
  const own = ({ allocator }: TestNode) => allocator.blocks().map(({ cidr }) => cidr)
  t.deepEqual(
    own(first).filter(cidr => own(second).includes(cidr)),
    [],
  )
})

test('a journal that is new knows its blocks only when it has those of the API server', async t => {
  const store = await aStore()
  const first = aNode(store, 'n1')
  t.false(first.allocator.blocksKnown)
  first.start()
  await converge(store, first)
  const address = addressOf(await first.allocator.assign(aPod('a')))
  await converge(store, first)
  await first.close()

  const again = aNode(store, 'n1')
  again.allocator.hold({ handle: 'adopted', attributes: { node: 'n1' } }, ['10.0.0.5', address])
  store.disconnect()
  again.start()
  await converge(store, again)
  t.false(again.allocator.blocksKnown)
  store.reconnect()
  await converge(store, again)
  t.true(again.allocator.blocksKnown)
  t.is(addressOf(again.allocator.held().get(aPod('a').handle)!), address, 'the holder at the API server stays')
  const restarted = await again.restart()
  t.true(restarted.allocator.blocksKnown)
})
