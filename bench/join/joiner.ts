// A thread of simulated nodes that join one agent: each dials it once, announces its block, and says its KEEPALIVEs. What is
// told are times of the wall clock, in milliseconds.
import { connect } from 'node:net'
import { parentPort, workerData } from 'node:worker_threads'
import { MESSAGE } from '../../bgp/wire/iana.ts'
import { MessageSplitter } from '../../bgp/wire/message.ts'
import { announcement, KEEPALIVE, KEEPALIVE_MS, open, PORT } from '../scale/messages.ts'
import { blockCidr, nodeAddress } from '../scale/objects.ts'

/** `nodes`: their numbers. `own`: the octets of the agent's prefix in an UPDATE. */
export type JoinerData = { nodes: readonly number[]; agent: string; own: Uint8Array }
/** Dials with all nodes, at times spread over `withinMs`; `report` asks for a `JoinerReport`. */
export type JoinerOrder = { joinWithinMs: number } | 'report'
export type Joined = {
  dialedAt: number
  /** The agent's KEEPALIVE: the session is Established at both ends. */
  establishedAt?: number
  /** The first UPDATE that holds the agent's own prefix. */
  ownAt?: number
  /** The longest time between two messages of the agent in an Established session, or since the last. */
  gapMs: number
  /** Why it has no session any more, or has none yet. */
  lost?: string
}
export type JoinerReport = readonly Joined[]

const port = parentPort!
const { nodes, agent, own } = workerData as JoinerData
const joined: (Joined & { heardAt: number })[] = []

const nowMs = (): number => performance.timeOrigin + performance.now()

function join(n: number): void {
  const address = nodeAddress(n)
  const state: Joined & { heardAt: number } = { dialedAt: nowMs(), gapMs: 0, heardAt: 0 }
  joined.push(state)
  const socket = connect({ host: agent, port: PORT, localAddress: address, noDelay: true })
  const splitter = new MessageSplitter()
  socket.once('connect', () => socket.write(open(address)))
  socket.on('error', error => {
    state.lost = error.message
  })
  socket.once('close', () => {
    state.lost ??= 'the agent closed it'
  })
  socket.on('data', chunk => {
    const at = nowMs()
    splitter.push(chunk, (type, bytes, start, end) => {
      if (type === MESSAGE.open) socket.write(KEEPALIVE)
      if (state.establishedAt !== undefined) state.gapMs = Math.max(state.gapMs, at - state.heardAt)
      state.heardAt = at
      if (type === MESSAGE.keepalive && state.establishedAt === undefined) {
        state.establishedAt = at
        socket.write(announcement([blockCidr(n)], address))
        const timer = setInterval(() => socket.write(KEEPALIVE), KEEPALIVE_MS)
        socket.once('close', () => clearInterval(timer))
      }
      if (type === MESSAGE.update && state.ownAt === undefined && holds(bytes.subarray(start, end))) state.ownAt = at
      if (type === MESSAGE.notification) state.lost = `NOTIFICATION ${bytes[start]}/${bytes[start + 1]}`
    })
  })
}

function holds(body: Uint8Array): boolean {
  return Buffer.from(body).includes(Buffer.from(own))
}

function report(): JoinerReport {
  const at = nowMs()
  return joined.map(({ heardAt, ...state }) => ({
    ...state,
    gapMs: state.establishedAt === undefined ? 0 : Math.max(state.gapMs, at - heardAt),
  }))
}

port.on('message', (order: JoinerOrder) => {
  if (order === 'report') port.postMessage(report())
  else for (const n of nodes) setTimeout(join, Math.random() * order.joinWithinMs, n)
})
