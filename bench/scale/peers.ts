// The simulated nodes' BGP speakers, all in one process: `node peers.ts NODES`, told by IPC messages. Most answer, come up
// and announce their block; of a hundred nodes five hold the connection and never answer, five refuse it, and one ends
// its session each minute. A router that is no node announces 1,000 routes, of which one changes with each message.
import { createServer, type Socket } from 'node:net'
import { MESSAGE } from '../../bgp/wire/iana.ts'
import { MessageSplitter } from '../../bgp/wire/message.ts'
import { ROUTER } from './ground.ts'
import { announcement, GOODBYE, KEEPALIVE, KEEPALIVE_MS, open, PORT } from './messages.ts'
import { blockCidr, nodeAddress } from './objects.ts'

/** Moves one route of the router, by number, to its other next hop. */
export type PeersOrder = { change: number }
/** Told once all listen, and each second: how many sessions with nodes are up, of how many that answer. */
export type PeersReport = { up: number; answering: number }

/** `flaps`: as one that answers, but ends each session after about a minute. */
type Behaviour = 'answers' | 'flaps' | 'silent' | 'refuses'

const FLAP_MS = 60_000
const ROUTES_PER_UPDATE = 200
const REPORT_MS = 1000

/** Sessions that are up, and those of them that are with nodes. */
const sessions = new Set<Socket>()
const nodeSessions = new Set<Socket>()
let router: Socket | undefined
/** Which of its next hops each route of the router has. */
const hops = new Uint8Array(ROUTER.routes)

async function main(nodes: number): Promise<void> {
  const numbers = Array.from({ length: nodes - 1 }, (_, i) => i + 1)
  await Promise.all(numbers.map(listenAsNode))
  await listen(ROUTER.address, 'answers', announceAll)
  const answering = numbers.filter(n => behaviourOf(n) === 'answers' || behaviourOf(n) === 'flaps').length
  const report = (): void => void process.send!({ up: nodeSessions.size, answering } satisfies PeersReport)
  report()
  setInterval(report, REPORT_MS)
  process.on('message', ({ change }: PeersOrder) => changeRoute(change % ROUTER.routes))
  process.on('disconnect', () => process.exit(0))
}

function behaviourOf(n: number): Behaviour {
  const place = n % 100
  if (place % 20 === 1) return 'refuses'
  if (place % 20 === 2) return 'silent'
  return place === 3 ? 'flaps' : 'answers'
}

async function listenAsNode(n: number): Promise<void> {
  const [address, behaviour] = [nodeAddress(n), behaviourOf(n)]
  if (behaviour === 'refuses') return
  await listen(address, behaviour, socket => {
    nodeSessions.add(socket)
    socket.write(announcement([blockCidr(n)], address))
    if (behaviour === 'flaps') setTimeout(() => socket.end(GOODBYE), FLAP_MS * (0.5 + Math.random()))
  })
}

/** Waits for the agent at `address`; `up` is called with each session that came up. */
function listen(address: string, behaviour: Behaviour, up: (socket: Socket) => void): Promise<void> {
  const server = createServer({ noDelay: true }, socket => {
    socket.on('error', () => socket.destroy())
    socket.on('close', () => {
      sessions.delete(socket)
      nodeSessions.delete(socket)
    })
    if (behaviour === 'silent') socket.resume()
    else answer(socket, address, up)
  })
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  server.once('error', reject)
  server.listen(PORT, address, resolve)
  return promise
}

function answer(socket: Socket, address: string, up: (socket: Socket) => void): void {
  const splitter = new MessageSplitter()
  socket.on('data', chunk => {
    splitter.push(chunk, type => {
      if (type === MESSAGE.open) socket.write(Buffer.concat([open(address), KEEPALIVE]))
      if (type !== MESSAGE.keepalive || sessions.has(socket)) return
      sessions.add(socket)
      const timer = setInterval(() => socket.write(KEEPALIVE), KEEPALIVE_MS)
      socket.once('close', () => clearInterval(timer))
      up(socket)
    })
  })
}

function announceAll(socket: Socket): void {
  router = socket
  const routes = Array.from(hops, (_, i) => i)
  for (const [hop, nextHop] of ROUTER.nextHops.entries()) {
    const mine = routes.filter(i => hops[i] === hop)
    for (let at = 0; at < mine.length; at += ROUTES_PER_UPDATE)
      socket.write(announcement(mine.slice(at, at + ROUTES_PER_UPDATE).map(routePrefix), nextHop))
  }
}

function changeRoute(i: number): void {
  hops[i] = 1 - hops[i]!
  router?.write(announcement([routePrefix(i)], ROUTER.nextHops[hops[i]!]!))
}

/** A /26 of the router's pool. */
function routePrefix(i: number): string {
  return `10.64.${i >> 2}.${(i & 3) * 64}/26`
}

await main(Number(process.argv[2]))
