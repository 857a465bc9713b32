// A program in the namespace of a pod: sends and receives datagrams of UDP, and says when and how many. Its parent asks by
// messages, one at a time. Times are of the clock that all processes share (CLOCK_MONOTONIC, ms).
import { createSocket, type Socket } from 'node:dgram'
import { readFileSync } from 'node:fs'
import { setPriority } from 'node:os'
import koffi from 'koffi'
import { addressBytes } from '../../lib/ip.ts'

/**
 * `send`: a datagram each ms until `stop`. `gap`: the longest time without one since the last asking. `open`: one datagram of the
 * connection that `blast` then sends as fast as one thread can, in datagrams; known as such once the other side has answered by `reply`.
 */
export type Ask =
  | { ask: 'listen'; port: number }
  | { ask: 'first'; port: number }
  | { ask: 'gap'; port: number }
  | { ask: 'send'; to: string; port: number }
  | { ask: 'stop' }
  | { ask: 'trips'; to: string; port: number; count: number }
  | { ask: 'open'; to: string; port: number }
  | { ask: 'reply'; to: string; port: number }
  | { ask: 'blast'; ms: number }
  | { ask: 'received' }

/** Datagrams of one call, of as many octets. */
const BURST = 64
/** The port that `blast` sends from. */
const BLAST_FROM = 5_000
const AF_INET = 2
const SOCK_DGRAM = 2

const libc = koffi.load('libc.so.6')
const socket = libc.func('int socket(int, int, int)')
const bind = libc.func('int bind(int, const uint8_t *, uint32_t)')
const connect = libc.func('int connect(int, const uint8_t *, uint32_t)')
const sendmmsg = libc.func('int sendmmsg(int, void *, uint32_t, int)')
// struct mmsghdr is 64 octets: the pointer to struct iovec at 16, their number at 24
const data = koffi.alloc('uint8_t', BURST)
const vector = koffi.alloc('uint64_t', 2)
koffi.encode(vector, 'uint64_t', koffi.address(data))
koffi.encode(vector, 8, 'uint64_t', BURST)
const messages = koffi.alloc('uint64_t', BURST * 8)
for (let i = 0; i < BURST * 8; i++) koffi.encode(messages, 8 * i, 'uint64_t', 0)
for (let i = 0; i < BURST; i++) {
  koffi.encode(messages, 64 * i + 16, 'uint64_t', koffi.address(vector))
  koffi.encode(messages, 64 * i + 24, 'uint64_t', 1)
}
let fd = -1

const nowMs = () => Number(process.hrtime.bigint()) / 1e6
const firstMs = new Map<number, number>()
const waiting = new Map<number, (atMs: number) => void>()
const gaps = new Map<number, { lastMs: number; longestMs: number }>()
let sending: { timer: NodeJS.Timeout; socket: Socket } | undefined

const answers: { [A in Ask['ask']]: (ask: Extract<Ask, { ask: A }>) => unknown } = {
  listen: ({ port }) =>
    new Promise(done => {
      const socket = createSocket('udp4')
      socket.on('message', (data, from) => {
        const atMs = nowMs()
        const gap = gaps.get(port)
        if (gap !== undefined) gaps.set(port, { lastMs: atMs, longestMs: Math.max(gap.longestMs, atMs - gap.lastMs) })
        if (!firstMs.has(port)) {
          firstMs.set(port, atMs)
          waiting.get(port)?.(atMs)
        }
        socket.send(data, from.port, from.address)
      })
      socket.bind(port, () => done(undefined))
    }),
  first: ({ port }) => firstMs.get(port) ?? new Promise(done => waiting.set(port, done)),
  gap: ({ port }) => {
    const { longestMs, lastMs } = gaps.get(port) ?? { longestMs: 0, lastMs: nowMs() }
    const found = Math.max(longestMs, nowMs() - lastMs)
    gaps.set(port, { lastMs: nowMs(), longestMs: 0 })
    return found
  },
  send: ({ to, port }) => {
    const socket = createSocket('udp4')
    socket.on('error', () => {})
    sending = { socket, timer: setInterval(() => socket.send('x', port, to), 1) }
  },
  stop: () => {
    clearInterval(sending?.timer)
    sending?.socket.close()
    sending = undefined
  },
  trips,
  open: ({ to, port }) => open(to, port),
  reply: ({ to, port }) =>
    new Promise(done => {
      const socket = createSocket('udp4')
      socket.bind(port, () => socket.send('x', BLAST_FROM, to, () => socket.close(() => done(undefined))))
    }),
  blast: ({ ms }) => blast(ms),
  received: () => Number(/eth0:\s*\d+\s+(\d+)/.exec(readFileSync('/proc/self/net/dev', 'utf8'))?.[1]),
}

/** The times of round trips, one after the other. One that is lost counts as long as it was waited for. */
function trips({ to, port, count }: { to: string; port: number; count: number }): Promise<number[]> {
  return new Promise(done => {
    const socket = createSocket('udp4')
    const timesMs: number[] = []
    let sentMs = 0
    let lost: NodeJS.Timeout | undefined
    const next = () => {
      clearTimeout(lost)
      if (sentMs > 0) timesMs.push(nowMs() - sentMs)
      if (timesMs.length === count) {
        socket.close()
        done(timesMs)
        return
      }
      lost = setTimeout(next, 1000)
      sentMs = nowMs()
      socket.send('x', port, to)
    }
    socket.on('message', next)
    next()
  })
}

function sockaddr(address: string, port: number): Buffer {
  return Buffer.from([AF_INET, 0, port >> 8, port & 255, ...addressBytes(address), 0, 0, 0, 0, 0, 0, 0, 0])
}

function open(to: string, port: number): void {
  fd = socket(AF_INET, SOCK_DGRAM, 0)
  const [from, there] = [sockaddr('0.0.0.0', BLAST_FROM), sockaddr(to, port)]
  if (bind(fd, from, from.length) !== 0 || connect(fd, there, there.length) !== 0) throw new Error(`no way to ${to}`)
  send(1)
}

/** Returns how many were sent, and in how long. */
function blast(ms: number): { sent: number; tookMs: number } {
  const startMs = nowMs()
  let sent = 0
  while (nowMs() - startMs < ms) sent += send(BURST)
  return { sent, tookMs: nowMs() - startMs }
}

function send(count: number): number {
  return Math.max(0, sendmmsg(fd, messages, count, 0))
}

// others of the machine are not what is measured
setPriority(-20)
process.on('message', async (ask: Ask) => {
  process.send!({ answer: await (answers[ask.ask] as (ask: Ask) => unknown)(ask) })
})
