// Addresses that pods have by the kernel while their block has them for an earlier pod, or for nobody.
import test from 'ava'
import { createFakeStore } from '../../datastore/fake.ts'
import { aNode, aPod, aPool, converge, convergeAll } from './world.ts'

test.after('calicoctl ipam check would find nothing in what the tests left', convergeAll)

/** A node whose block has an address for the pod `earlier`, while the adopted interface `later` uses it. */
async function aNodeWithTwoHolders() {
  const store = createFakeStore()
  await store.create('IPPool', aPool('p', '10.0.0.0/24'))
  const node = aNode(store, 'n1')
  node.start()
  await converge(store, node)
  const answer = await node.allocator.assign(aPod('earlier'))
  if ('refused' in answer) throw new Error(answer.message)
  const { address } = answer[0]!
  const later = { handle: 'adopted.later.eth0', attributes: { node: 'n1' } }
  node.allocator.hold(later, [address])
  const holders = (): string[] =>
    [...node.allocator.held()].flatMap(([handle, held]) => (held.some(has => has.address === address) ? [handle] : []))
  return { store, node, address, later, holders }
}

test('an address that another pod uses is that pod’s when the one that the block names is released', async t => {
  const { store, node, address, later, holders } = await aNodeWithTwoHolders()
  t.deepEqual(holders(), [aPod('earlier').handle])
  await node.allocator.release(aPod('earlier').handle)
  t.deepEqual(holders(), [later.handle])
  const asked = node.allocator.assignNow({ ...aPod('thief'), addresses: [address] })
  t.like(asked, { refused: 'address-taken' })
  await converge(store, node)
  const published = (await store.list('IPAMBlock')).flatMap(({ spec }) => spec.attributes.map(each => each.handle_id))
  t.deepEqual(published, [later.handle])
  await node.allocator.release(later.handle)
  t.deepEqual(holders(), [])
})

test('an address that another pod uses is that pod’s also when the journal cannot be told of the release', async t => {
  const { node, later, holders } = await aNodeWithTwoHolders()
  node.allocator.releaseUnwritten(aPod('earlier').handle)
  t.deepEqual(holders(), [later.handle])
})

test('an address in use stays with the handle that the block names when its pod goes first', async t => {
  const { node, later, holders } = await aNodeWithTwoHolders()
  await node.allocator.release(later.handle)
  t.deepEqual(holders(), [aPod('earlier').handle])
  await node.allocator.release(aPod('earlier').handle)
  t.deepEqual(holders(), [])
})

test('an adopted pod that gets its name has all its addresses under the new handle, and leaves none behind', async t => {
  const { node, address, later, holders } = await aNodeWithTwoHolders()
  await node.allocator.release(aPod('earlier').handle)
  const named = aPod('later')
  node.allocator.hold(named, [address])
  t.deepEqual(holders(), [named.handle])
  t.deepEqual([...node.allocator.held().keys()], [named.handle])
  t.is(node.allocator.holder(named.handle)?.containerID, 'later')
  await node.allocator.release(later.handle)
  t.deepEqual(holders(), [named.handle], 'the earlier handle has no say any more')
  await node.allocator.release(named.handle)
  t.is(node.allocator.held().size, 0)
})
