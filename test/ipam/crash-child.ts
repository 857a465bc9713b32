// A node that assigns and releases until it is killed, and says so on standard output: `asked` and `releasing` before,
// `assigned` after the answer. Arguments: the database file, and a word that makes this life's pods its own.
import { writeSync } from 'node:fs'
import { createFakeStore } from '../../datastore/fake.ts'
import { openDatabase } from '../../lib/database.ts'
import { aNode, aPod, aPool, converge } from './world.ts'

const [path = '', life = ''] = process.argv.slice(2)
const say = (line: string): void => void writeSync(1, `${line}\n`)

const store = createFakeStore()
await store.create('IPPool', aPool('p', '10.0.0.0/22', 28))
const node = aNode(store, 'n1', openDatabase(path))
node.start()
await converge(store, node)
for (let i = 0; ; i++) {
  const pod = aPod(`${life}-${i}`)
  say(`asked ${pod.handle}`)
  const answer = await node.allocator.assign(pod)
  if ('refused' in answer) throw new Error(answer.message)
  say(`assigned ${pod.handle} ${answer[0]?.address}`)
  if (i % 3 === 2) {
    const { handle } = aPod(`${life}-${i - 1}`)
    say(`releasing ${handle}`)
    await node.allocator.release(handle)
  }
}
