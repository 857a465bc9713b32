import { createServer, type ServerResponse } from 'node:http'
import test from 'ava'
import { startApiServer } from '../../apiserver/server.ts'
import { openStore } from '../../datastore/kube.ts'
import { Unreachable } from '../../datastore/port.ts'
import { ManualClock } from '../../lib/clock.ts'
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

test('a watch of a server that says something every 90 seconds stays open, and one of a silent server is opened again', async t => {
  const asked: string[] = []
  const streams: ServerResponse[] = []
  const server = createServer((request, response) => {
    asked.push(request.url ?? '')
    response.writeHead(200, { 'content-type': 'application/json' })
    if (request.url?.includes('watch=') === true) {
      response.flushHeaders()
      streams.push(response)
    } else response.end(JSON.stringify({ kind: 'IPPoolList', metadata: { resourceVersion: '7' }, items: [] }))
  }).listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  const clock = new ManualClock()
  const store = openStore({ server: `http://127.0.0.1:${(server.address() as { port: number }).port}`, clock })
  const versions: string[] = []
  store.watch('IPPool', { event: () => {}, version: version => void versions.push(version) })
  const watches = () => asked.filter(url => url.includes('watch=')).length
  const until = async (holds: () => boolean) => {
    while (!holds()) await new Promise(resolve => setTimeout(resolve, 2))
  }
  await until(() => streams.length === 1 && versions.length === 1)
  for (let i = 1; i <= 3; i++) {
    clock.advance(90_000)
    streams[0]!.write(
      `${JSON.stringify({ type: 'BOOKMARK', object: { metadata: { resourceVersion: `${7 + i}` } } })}\n`,
    )
    await until(() => versions.length === 1 + i)
  }
  t.is(watches(), 1)
  clock.advance(151_000)
  await new Promise(resolve => setTimeout(resolve, 20))
  clock.advance(10_000)
  await until(() => watches() === 2)
  t.regex(asked.at(-1)!, /resourceVersion=10/)
  await store.close()
  server.closeAllConnections()
  server.close()
})

test('every request says which program asks and in which version', async t => {
  const agents = new Set<string | undefined>()
  const server = createServer((request, response) => {
    agents.add(request.headers['user-agent'])
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ kind: 'NodeList', metadata: { resourceVersion: '7', name: 'n1' }, items: [] }))
  }).listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  const address = `http://127.0.0.1:${(server.address() as { port: number }).port}`
  const store = openStore({ server: address, program: 'margay-node/1.2.3' })
  const told = Promise.withResolvers<void>()
  store.watch('IPPool', { event: () => {}, version: () => told.resolve() })
  await Promise.all([told.promise, store.list('Node'), store.get('Node', 'n1'), store.patch('Node', 'n1', {})])
  t.deepEqual([...agents], ['margay-node/1.2.3'])
  await store.close()
  server.closeAllConnections()
  server.close()
})

test('a store that is closed ends the calls that a silent server does not answer, and makes no new ones', async t => {
  let asked = 0
  const server = createServer(() => void asked++).listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  const store = openStore({ server: `http://127.0.0.1:${(server.address() as { port: number }).port}` })
  const calls = [store.get('Node', 'n1'), store.delete('Node', 'n1')]
  while (asked < 2) await new Promise(resolve => setTimeout(resolve, 2))
  await store.close()
  for (const call of calls) await t.throwsAsync(call, { instanceOf: Unreachable })
  await t.throwsAsync(store.get('Node', 'n1'), { instanceOf: Unreachable, message: /is closed/ })
  t.is(asked, 2)
  server.close()
})
