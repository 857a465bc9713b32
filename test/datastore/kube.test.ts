import { createServer, get, type ServerResponse } from 'node:http'
import test from 'ava'
import { startApiServer } from '../../apiserver/server.ts'
import { openStore } from '../../datastore/kube.ts'
import { Refused, Unreachable } from '../../datastore/port.ts'
import { ManualClock } from '../../lib/clock.ts'
import { storeContract } from './contract.ts'
import { aBlock } from './objects.ts'

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
  const store = openStore({
    apiGroup: 'v3',
    server: `http://127.0.0.1:${(server.address() as { port: number }).port}`,
    clock,
  })
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
  const store = openStore({ apiGroup: 'v3', server: address, program: 'margay-node/1.2.3' })
  const told = Promise.withResolvers<void>()
  store.watch('IPPool', { event: () => {}, version: () => told.resolve() })
  await Promise.all([told.promise, store.list('Node'), store.get('Node', 'n1'), store.patch('Node', 'n1', {})])
  t.deepEqual([...agents], ['margay-node/1.2.3'])
  await store.close()
  server.closeAllConnections()
  server.close()
})

test('where only metadata is used no more is asked of the server, and one that sends whole objects is read as well', async t => {
  const server = await startApiServer()
  const store = openStore({ server: server.url, token: server.token })
  const labels = { rack: '1' }
  await store.create('Node', { metadata: { name: 'n1', labels }, spec: {}, status: { addresses: [] } })
  const asked: string[] = []
  const relay = createServer((request, response) => {
    const accept = request.headers.accept ?? ''
    asked.push(accept)
    const isOld = request.headers['user-agent'] === 'old'
    const headers = { authorization: `Bearer ${server.token}`, accept: isOld ? 'application/json' : accept }
    get(server.url + request.url, { headers }, answer => {
      response.writeHead(answer.statusCode!, answer.headers)
      answer.pipe(response)
      request.once('close', () => answer.destroy())
    })
  }).listen(0, '127.0.0.1')
  await new Promise(resolve => relay.once('listening', resolve))
  const url = `http://127.0.0.1:${(relay.address() as { port: number }).port}`
  for (const program of ['new', 'old']) {
    const seen = openStore({ apiGroup: 'v3', server: url, program })
    const items: unknown[] = []
    const event = Promise.withResolvers<unknown>()
    const watch = seen.watch(
      'Node',
      {
        event: each => {
          if (each.type === 'sync') items.push(...each.items)
          else event.resolve(each)
        },
        connection: ({ connected }) =>
          connected && items.length > 0 && void store.patch('Node', 'n1', { metadata: { labels: { rack: program } } }),
      },
      { fields: { metadata: { name: true, labels: true } } },
    )
    t.like(await event.promise, { type: 'set', item: { metadata: { name: 'n1', labels: { rack: program } } } })
    t.like(items, [{ metadata: { name: 'n1', labels } }])
    labels.rack = program
    watch.close()
    await seen.close()
  }
  t.regex(asked[0]!, /^application\/json;as=PartialObjectMetadataList;/)
  t.regex(asked[1]!, /^application\/json;as=PartialObjectMetadata;/)
  await store.close()
  relay.closeAllConnections()
  relay.close()
  await server.close()
})

test('a right that is missing is told by verb and resource, whatever the server says', async t => {
  const server = createServer((_request, response) => {
    response.writeHead(403, { 'content-type': 'text/plain' })
    response.end('no')
  }).listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  const store = openStore({ apiGroup: 'v3', server: `http://127.0.0.1:${(server.address() as { port: number }).port}` })
  const watched = Promise.withResolvers<Error | undefined>()
  store.watch('IPPool', { event: () => {}, connection: ({ cause }) => watched.resolve(cause) }, { since: '7' })
  const block = aBlock('10.0.0.0/26')
  for (const [call, told] of [
    [store.list('Node'), 'list nodes'],
    [store.get('Pod', 'p', 'default'), 'get pods'],
    [store.list('Pod', { namespace: 'default' }), 'list pods'],
    [store.get('Namespace', 'default'), 'get namespaces'],
    [store.create('IPAMBlock', block), 'create ipamblocks'],
    [
      store.update('IPAMBlock', { ...block, metadata: { ...block.metadata, resourceVersion: '1' } }),
      'update ipamblocks',
    ],
    [store.delete('IPAMBlock', 'b'), 'delete ipamblocks'],
    [store.patch('Node', 'n1', {}, { subresource: 'status', strategic: true }), 'patch nodes/status'],
    [watched.promise.then(cause => Promise.reject(cause)), 'watch ippools'],
  ] as const) {
    const error = await t.throwsAsync<Refused>(() => call, { instanceOf: Refused })
    t.is(error?.status, 403)
    t.true(error!.message.startsWith(`forbidden: ${told}: HTTP 403 (`), error?.message)
  }
  await store.close()
  server.closeAllConnections()
  server.close()
})

test('a store that is closed ends the calls that a silent server does not answer, and makes no new ones', async t => {
  let asked = 0
  const server = createServer(() => void asked++).listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  const store = openStore({ apiGroup: 'v3', server: `http://127.0.0.1:${(server.address() as { port: number }).port}` })
  const calls = [store.get('Node', 'n1'), store.delete('Node', 'n1')]
  while (asked < 2) await new Promise(resolve => setTimeout(resolve, 2))
  await store.close()
  for (const call of calls) await t.throwsAsync(call, { instanceOf: Unreachable })
  await t.throwsAsync(store.get('Node', 'n1'), { instanceOf: Unreachable, message: /is closed/ })
  t.is(asked, 2)
  server.close()
})
