// Every block size that a pool may have, from the claim to the journal and back: the first and the last address, and what is published.
import test from 'ava'
import { createFakeStore } from '../../datastore/fake.ts'
import { blockSize, parseBlock } from '../../ipam/block.ts'
import { Journal } from '../../ipam/journal.ts'
import { addressAt } from '../../lib/ip.ts'
import { aNode, aPod, aPool, converge, convergeAll } from './world.ts'

test.after('calicoctl ipam check would find nothing in what the tests left', convergeAll)

for (const [family, from, to, range] of [
  ['ipv4', 20, 32, '10.0.0.0/19'],
  ['ipv6', 116, 128, 'fd00::/115'],
] as const)
  test(`blocks of /${from} to /${to} give their first and last address, and come back from the journal and from the API server`, async t => {
    for (let length = from; length <= to; length++) {
      const store = createFakeStore()
      await store.create('IPPool', aPool('p', range, length))
      const node = aNode(store, 'n1')
      node.start()
      await converge(store, node)
      const [block] = node.allocator.blocks()
      const size = blockSize(block!.cidr)
      t.is(block?.size, 2 ** (to - length))
      const ends = [...new Set([addressAt(block!.cidr, 0), addressAt(block!.cidr, size - 1)])]
      for (const address of ends) {
        const answer = await node.allocator.assign({ ...aPod(address), families: [family], addresses: [address] })
        t.false('refused' in answer, `${address} of ${block!.cidr}: ${JSON.stringify(answer)}`)
      }
      await converge(store, node)
      const held = node.allocator.held()
      t.deepEqual(
        [...held.values()].flat().map(({ address }) => address),
        ends,
      )
      const [object] = await store.list('IPAMBlock', { fieldSelector: 'spec.affinity=host:n1' })
      t.deepEqual(parseBlock(object!), new Journal(node.db).blocks()[0]!.block)
      const again = await node.restart()
      t.deepEqual(again.allocator.held(), held, `/${length} from the journal`)
      await again.close()
      const fresh = aNode(store, 'n1')
      fresh.start()
      await converge(store, fresh)
      t.deepEqual(fresh.allocator.held(), held, `/${length} from the API server`)
      for (const handle of held.keys()) await fresh.allocator.release(handle)
      await converge(store, fresh)
      t.is(fresh.allocator.held().size, 0)
      await fresh.close()
    }
  })
