// A TCP relay between the agent and the API server that counts what the server sends, and what the agent writes. It runs in
// the bench's process, so that its work is not the agent's.
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'

const WRITE = /^(POST|PUT|PATCH|DELETE) /
const WRITE_OCTETS = 7

export type Relay = {
  url: string
  /** Bytes from the server to the agent so far. */
  bytes(): number
  /** Requests of the agent that change something so far. */
  writes(): number
  close(): void
}

/** Opens a relay to `target` on a free port of loopback. */
export async function openRelay(target: URL): Promise<Relay> {
  let bytes = 0
  let writes = 0
  const sockets = new Set<Socket>()
  const server = createServer(client => {
    const upstream = connect(Number(target.port), target.hostname)
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', () => socket.destroy())
      socket.once('close', () => sockets.delete(socket))
    }
    upstream.on('data', chunk => {
      bytes += chunk.length
    })
    // a request of HTTP 1.1 begins after the answer to the one before, and so with a chunk of its own
    client.on('data', chunk => {
      if (WRITE.test(chunk.toString('latin1', 0, WRITE_OCTETS))) writes++
    })
    client.pipe(upstream).pipe(client)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  return {
    url: `http://127.0.0.1:${port}`,
    bytes: () => bytes,
    writes: () => writes,
    close: () => {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}
