import test from 'ava'
import type { CacheChange } from '../../datastore/kind-cache.ts'
import { aNode } from './objects.ts'
import { aWorld } from './world.ts'

test('of one Node the addresses are kept too: a restart has them, and a change of another Node is none of it', async t => {
  const { fake, asked, open } = aWorld()
  const addresses = [{ type: 'InternalIP', address: '192.0.2.1' }]
  for (const name of ['a', 'b']) await fake.create('Node', { ...aNode(name), status: { addresses } })
  const caches = open()
  const changes: string[] = []
  caches
    .ownNode('a')
    .onChange(({ key, before }: CacheChange<'Node'>) => changes.push(`${before === undefined ? '+' : '~'}${key}`))
  caches.of('Node')
  caches.start()
  await fake.settled()
  t.is(caches.of('Node').get('a')?.status, undefined)
  t.deepEqual(caches.ownNode('a').get('a')?.status?.addresses, addresses)
  t.is(caches.ownNode('a').get('b'), undefined)
  const other = [{ type: 'InternalIP', address: '192.0.2.2' }]
  for (const name of ['b', 'a'])
    await fake.patch('Node', name, { status: { addresses: other } }, { subresource: 'status' })
  await fake.settled()
  t.deepEqual(changes, ['+a', '~a'])
  caches.close()
  const again = open()
  const own = again.ownNode('a')
  again.start()
  t.deepEqual(own.get('a')?.status?.addresses, other)
  t.true(own.known)
  await fake.settled()
  t.true(own.synced)
  t.regex(asked.at(-1)!, /^Node from \d+$/)
  again.close()
})
