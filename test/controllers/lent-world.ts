// Two nodes of which one lent the other an address, with their agents.
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import { aNode, aPool } from '../datastore/objects.ts'
import { startAgent } from './agents.ts'
import { pass } from './leader.ts'

/** Blocks of four: n1 has four pods and one more with an address of n2, which has a pod of its own. A third Node is there. */
export async function lent(shared: FakeStore = createFakeStore()) {
  for (const name of ['n1', 'n2', 'n3']) await shared.create('Node', aNode(name))
  await shared.create('IPPool', aPool('p', { cidr: '10.9.0.0/29', blockSize: 30 }))
  const n1 = startAgent(shared, 'n1')
  await pass(30, n1)
  const n2 = startAgent(shared, 'n2')
  await pass(30, n1, n2)
  n2.addPod('own')
  for (let i = 0; i < 4; i++) n1.addPod(`p${i}`)
  for (let i = 0; i < 10 && !n1.addPod('more'); i++) await pass(5, n1, n2)
  await pass(150, n1, n2)
  const [address] = n2.allocator.lent()
  if (address === undefined || n1.allocator.borrowed().join() !== address) throw new Error('nothing was lent')
  return { shared, n1, n2, address, block: n2.allocator.blocks()[0]!.cidr }
}
