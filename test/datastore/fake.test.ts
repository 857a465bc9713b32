import test from 'ava'
import { createFakeStore } from '../../datastore/fake.ts'
import { Unreachable } from '../../datastore/port.ts'
import { storeContract } from './contract.ts'
import { aPool, Recorded } from './objects.ts'

storeContract(test, async () => {
  const store = createFakeStore()
  return { store, close: () => store.close() }
})

test('a disconnected fake refuses everything, and its watches sync when it is back', async t => {
  const store = createFakeStore()
  await store.create('IPPool', aPool('p1'))
  const seen = new Recorded(store, 'IPPool')
  await store.settled()
  store.disconnect()
  await t.throwsAsync(store.list('IPPool'), { instanceOf: Unreachable })
  await store.settled()
  store.reconnect()
  await store.settled()
  t.deepEqual(seen.lines(), ['sync p1', 'sync p1'])
  t.deepEqual(seen.connections, [true, false, true])
})
