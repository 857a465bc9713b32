// The client against a real server that goes away in every way a server can.
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { type ApiServer, startApiServer } from '../../apiserver/server.ts'
import { openStore } from '../../datastore/kube.ts'
import type { Store } from '../../datastore/port.ts'
import { aPool, aPoolAt, Recorded } from './objects.ts'

/** A TCP relay that can cut its connections, or let them stand and carry nothing more. */
class Relay {
  readonly #server: Server
  readonly #pairs = new Set<[Socket, Socket]>()
  accepted = 0

  constructor(target: URL) {
    this.#server = createServer(client => {
      this.accepted++
      const upstream = connect(Number(target.port), target.hostname)
      const pair: [Socket, Socket] = [client, upstream]
      this.#pairs.add(pair)
      for (const socket of pair) socket.on('error', () => {})
      client.pipe(upstream).pipe(client)
      client.once('close', () => upstream.destroy())
    })
  }

  async start(): Promise<string> {
    await new Promise<void>(resolve => this.#server.listen(0, '127.0.0.1', resolve))
    const { port } = this.#server.address() as { port: number }
    return `http://127.0.0.1:${port}`
  }

  cut(): void {
    for (const pair of this.#pairs) for (const socket of pair) socket.resetAndDestroy()
    this.#pairs.clear()
  }

  /** What stands now carries nothing more, in either direction, and nobody is told. */
  freeze(): void {
    for (const [client, upstream] of this.#pairs) {
      client.unpipe(upstream)
      upstream.unpipe(client)
      client.pause()
      upstream.resume()
    }
  }

  stop(): void {
    this.cut()
    this.#server.close()
  }
}

async function relayed(t: ExecutionContext, idleMs?: number): Promise<{ direct: Store; store: Store; relay: Relay }> {
  const server = await startApiServer({ watchLimits: { bookmarkMs: 100, bufferBytes: 1e6 } })
  const relay = new Relay(new URL(server.url))
  const store = openStore({ server: await relay.start(), token: server.token, idleMs })
  const direct = openStore({ server: server.url, token: server.token })
  t.teardown(async () => {
    await store.close()
    await direct.close()
    relay.stop()
    await server.close()
  })
  return { direct, store, relay }
}

test('a deletion during a disconnect is seen after it', async t => {
  const { direct, store, relay } = await relayed(t)
  await direct.create('IPPool', aPool('a'))
  await direct.create('IPPool', aPoolAt(1, 'b'))
  const seen = new Recorded(store, 'IPPool')
  await seen.until(s => s.state().size === 2)
  relay.cut()
  await direct.delete('IPPool', 'a')
  await seen.until(s => !s.state().has('a'))
  t.deepEqual([...seen.state().keys()], ['b'])
})

test('a half-open connection is noticed by its silence, and the watch goes on', async t => {
  const { direct, store, relay } = await relayed(t, 1000)
  const seen = new Recorded(store, 'IPPool')
  await seen.until(s => s.events.length === 1)
  await direct.create('IPPool', aPool('a'))
  await seen.until(s => s.state().has('a'))
  relay.freeze()
  await direct.create('IPPool', aPoolAt(1, 'b'))
  await seen.until(s => s.state().has('b'))
  t.pass()
})

test('after the address of this machine changed, calls are answered and the watch goes on at once, over new connections', async t => {
  const { direct, store, relay } = await relayed(t)
  await direct.create('IPPool', aPool('a'))
  const recorded = new Recorded(store, 'IPPool')
  t.teardown(() => recorded.watch.close())
  await recorded.until(seen => seen.lines().includes('sync a'))
  await store.get('IPPool', 'a')
  relay.freeze()
  const lost = t.throwsAsync(store.patch('IPPool', 'a', { metadata: { labels: { x: '1' } } }), { name: 'Unreachable' })
  await new Promise(setImmediate)
  store.dropConnections()
  await lost
  await store.patch('IPPool', 'a', { metadata: { labels: { x: '2' } } })
  await recorded.until(seen => seen.lines().includes('set a'))
  t.false(
    recorded
      .lines()
      .slice(1)
      .some(line => line.startsWith('sync')),
    'without a list',
  )
})

test('bookmarks keep a quiet watch open', async t => {
  const { store, relay } = await relayed(t, 1000)
  const seen = new Recorded(store, 'IPPool')
  await seen.until(s => s.events.length === 1 && s.versions.length > 1) // the stream is open
  const before = relay.accepted
  await new Promise(resolve => setTimeout(resolve, 2500))
  t.is(relay.accepted, before)
})

test('a watch outlives a restart of the server and sees what happened meanwhile', async t => {
  const dataDir = await mkdtemp(join(tmpdir(), 'margay-api-'))
  t.teardown(() => rm(dataDir, { recursive: true }))
  const token = 'stays'
  let server: ApiServer = await startApiServer({ dataDir, token })
  const { url } = server
  const store = openStore({ server: url, token })
  t.teardown(() => store.close())
  await store.create('IPPool', aPool('old'))
  const seen = new Recorded(store, 'IPPool')
  await seen.until(s => s.events.length === 1 && s.connections.length === 1)
  await server.close()
  await seen.until(s => s.connections.includes(false))

  const elsewhere = await startApiServer({ dataDir, token })
  const direct = openStore({ server: elsewhere.url, token })
  await direct.delete('IPPool', 'old')
  await direct.create('IPPool', aPoolAt(1, 'new'))
  await direct.close()
  await elsewhere.close()

  server = await startApiServer({ dataDir, token, listen: new URL(url).host })
  t.teardown(() => server.close())
  await seen.until(s => s.state().has('new') && s.connections.length === 3)
  t.false(seen.state().has('old'))
  t.deepEqual(seen.connections, [true, false, true])
})

test('a list of more than a page holds everything once', async t => {
  const { direct, store } = await relayed(t)
  const names = Array.from({ length: 253 }, (_, i) => `p${i}`)
  await Promise.all(names.map((name, i) => direct.create('IPPool', aPoolAt(i, name))))
  const listed = (await store.list('IPPool')).map(({ metadata }) => metadata.name)
  t.deepEqual(listed.sort(), names.sort())
})
