import test from 'ava'
import { startApiServer } from '../../apiserver/server.ts'
import { openStore } from '../../datastore/kube.ts'
import { Unreachable } from '../../datastore/port.ts'
import { storeContract } from './contract.ts'

storeContract(test, async () => {
  const server = await startApiServer()
  const store = openStore({ server: server.url, token: server.token })
  return {
    store,
    close: async () => {
      await store.close()
      await server.close()
    },
  }
})

test('a server that is not there is Unreachable, and the message says where it was sought', async t => {
  const store = openStore({ server: 'http://127.0.0.1:1' })
  await t.throwsAsync(store.list('IPPool'), { instanceOf: Unreachable, message: /127\.0\.0\.1:1/ })
  await store.close()
})
