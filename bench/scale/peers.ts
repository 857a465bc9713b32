// The simulated nodes' BGP speakers, all in one process: `node peers.ts NODES`, told by IPC messages. Most answer, come up
// and announce their block; of a hundred nodes five hold the connection and never answer, five refuse it, and one ends
// its session each minute. A router that is no node announces 1,000 routes, of which one changes with each message.
import { createServer, type Socket } from 'node:net'
import { AFI, CEASE, MESSAGE, SAFI } from '../../bgp/wire/iana.ts'
import { emitKeepalive, MAX_MESSAGE, MessageSplitter } from '../../bgp/wire/message.ts'
import { cease, emitNotification } from '../../bgp/wire/notification.ts'
import { emitOpen } from '../../bgp/wire/open.ts'
import { emitUpdate } from '../../bgp/wire/update.ts'
import { Writer } from '../../lib/bytes.ts'
import { ipv4Number } from '../../lib/ip.ts'
import { CLUSTER_ASN, ROUTER } from './ground.ts'
import { blockCidr, nodeAddress } from './objects.ts'

/** Moves one route of the router, by number, to its other next hop. */
export type PeersOrder = { change: number }
/** Told once all listen, and each second: how many sessions with nodes are up, of how many that answer. */
export type PeersReport = { up: number; answering: number }

/** `flaps`: as one that answers, but ends each session after about a minute. */
type Behaviour = 'answers' | 'flaps' | 'silent' | 'refuses'

const PORT = 179
const HOLD_SECONDS = 90
const KEEPALIVE_MS = 30_000
const FLAP_MS = 60_000
const SESSION = {
  as4: true,
  peerType: 'ibgp' as const,
  addPath: { ipv4: false, ipv6: false },
  extendedNextHop: false,
  extendedMessage: false,
}
const KEEPALIVE = encode(emitKeepalive)
const GOODBYE = encode(w => emitNotification(w, cease(CEASE.shutdown)))
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

function open(address: string): Uint8Array {
  const capabilities = [
    { type: 'multiprotocol', afi: AFI.ipv4, safi: SAFI.unicast },
    { type: 'fourOctetAs', asn: CLUSTER_ASN },
  ] as const
  const routerId = ipv4Number(address)
  return encode(w => emitOpen(w, { asn: CLUSTER_ASN, holdTime: HOLD_SECONDS, routerId, capabilities }))
}

function announcement(prefixes: readonly string[], nextHop: string): Uint8Array {
  const attributes = { origin: 0, asPath: [], nextHop: ipv4Number(nextHop), localPref: 100 }
  const nlri = prefixes.map(prefix => ({ prefix }))
  return encode(w => emitUpdate(w, { withdrawn: [], attributes, nlri }, SESSION))
}

function encode(emit: (w: Writer) => void): Uint8Array {
  const w = new Writer(MAX_MESSAGE)
  emit(w)
  return w.done()
}

await main(Number(process.argv[2]))
