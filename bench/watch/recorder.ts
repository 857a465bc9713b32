// What the datastore part of one agent asks of an API server: its caches, its view of the cluster and its blocks, in this process and
// over a relay that reads the requests. The simulated agents ask the same.
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { ClusterView } from '../../agent/cluster-view.ts'
import { openCaches } from '../../datastore/cache.ts'
import { openStore } from '../../datastore/kube.ts'
import { NodeAllocator } from '../../ipam/allocator.ts'
import { Journal } from '../../ipam/journal.ts'
import { systemClock } from '../../lib/clock.ts'
import { openDatabase } from '../../lib/database.ts'
import { silentLog } from '../../lib/log.ts'

export type Recording = {
  /** The path of each watch. */
  watches: readonly string[]
  /** Requests until all is known, and what the server sent for them. */
  requests: number
  bytes: number
}

const REQUEST = /^(?:GET|POST|PUT|PATCH|DELETE) (\S+) HTTP\/1\.1\r\n/gm
const SETTLED_MS = 3_000

/** Runs the agent of `node` until it has what it needs. */
export async function recordAgent(url: string, token: string, node: string): Promise<Recording> {
  const target = new URL(url)
  const sockets = new Set<Socket>()
  const asked: string[] = []
  let bytes = 0
  const server = createServer(client => {
    const upstream = connect(Number(target.port), target.hostname)
    for (const socket of [client, upstream]) sockets.add(socket.on('error', () => socket.destroy()))
    client.on('data', chunk => asked.push(...[...chunk.toString('latin1').matchAll(REQUEST)].map(([, path]) => path!)))
    upstream.on('data', chunk => {
      bytes += chunk.length
    })
    client.pipe(upstream).pipe(client)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  const base = { clock: systemClock, log: silentLog }
  const store = openStore({ server: `http://127.0.0.1:${port}`, token, ...base })
  const db = openDatabase(':memory:')
  const caches = openCaches(store, { ...base, database: db, self: node })
  const view = new ClusterView(caches, node)
  const selects = { node: () => true }
  const allocator = new NodeAllocator({ ...base, node, store, caches, journal: new Journal(db), selects })
  const known = new Promise<void>(resolve => allocator.onBlocks(() => resolve()))
  caches.start()
  allocator.start()
  await known
  while (!view.synced || !view.connected) await sleep(50)
  await sleep(SETTLED_MS)
  const recording = { watches: asked.filter(path => path.includes('watch=true')), requests: asked.length, bytes }
  await allocator.close()
  caches.close()
  await store.close()
  server.close()
  for (const socket of sockets) socket.destroy()
  return recording
}
