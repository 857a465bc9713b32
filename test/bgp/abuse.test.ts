// Peers and unknown hosts that misbehave: the process goes on, other sessions stay up, memory and time are limited.
import { connect } from 'node:net'
import test from 'ava'
import type { BgpConnection } from '../../bgp/port.ts'
import { MemoryNetwork } from '../../bgp/simulation/memory-transport.ts'
import { Speaker } from '../../bgp/speaker.ts'
import { TcpTransport } from '../../bgp/tcp-transport.ts'
import { emitKeepalive, emitMessage, MAX_MESSAGE } from '../../bgp/wire/message.ts'
import { emitOpen, type Open } from '../../bgp/wire/open.ts'
import { Writer } from '../../lib/bytes.ts'
import { ManualClock } from '../../lib/clock.ts'
import { until } from './interop.ts'
import { settle } from './settle.ts'

const bytesOf = (emit: (w: Writer) => void): Uint8Array => {
  const w = new Writer(MAX_MESSAGE)
  emit(w)
  return w.done().slice()
}
const open: Open = {
  asn: 65002,
  holdTime: 90,
  routerId: 0x0a000002,
  capabilities: [
    { type: 'multiprotocol', afi: 1, safi: 1 },
    { type: 'fourOctetAs', asn: 65002 },
  ],
}
const OPEN = bytesOf(w => emitOpen(w, open))
const KEEPALIVE = bytesOf(emitKeepalive)

/** An UPDATE that announces `count` /24s from number `first` on, four per message as in a real table. */
function table(first: number, count: number): Uint8Array[] {
  const messages: Uint8Array[] = []
  for (let at = first; at < first + count; at += 4)
    messages.push(
      bytesOf(w =>
        emitMessage(w, 2, () => {
          w.u16(0)
          w.prefixed(2, () => {
            w.u8(0x40).u8(1).u8(1).u8(0)
            w.u8(0x40)
              .u8(2)
              .u8(10)
              .u8(2)
              .u8(2)
              .u32(65002)
              .u32(100_000 + at / 4)
            w.u8(0x40).u8(3).u8(4).u32(0x0a000002)
          })
          for (let i = at; i < at + 4; i++) w.u8(24).u24(0x0b0000 + i)
        }),
      ),
    )
  return messages
}

/** A speaker in AS 65001 at 10.0.0.1 and, at 10.0.0.2, a connection whose bytes the test writes itself. */
async function raw() {
  const network = new MemoryNetwork()
  const clock = new ManualClock()
  const speaker = new Speaker(
    { asn: 65001, routerId: '10.0.0.1' },
    { transport: network.host('10.0.0.1'), clock, random: () => 1 },
  )
  await speaker.listen({ address: '10.0.0.1', port: 179 })
  const policy = { import: 'accept', export: 'accept', passive: true } as const
  speaker.setPeer({ name: 'raw', address: '10.0.0.2', asn: 65002, ...policy })
  speaker.setPeer({ name: 'reader', address: '10.0.0.3', asn: 65002, ...policy })
  const from = async (address: string) => {
    const options = { address: '10.0.0.1', port: 179, timeoutMs: 1000 }
    const connection = await network.host(address).dial(options, new AbortController().signal)
    let closed = false
    let octets = 0
    connection.handlers = {
      data: chunk => {
        octets += chunk.length
      },
      drain: () => undefined,
      closed: () => {
        closed = true
      },
    }
    return { connection, isClosed: () => closed, octets: () => octets }
  }
  const establish = async (connection: BgpConnection) => {
    connection.write(OPEN)
    connection.write(KEEPALIVE)
    await settle()
  }
  const state = (name: string) => speaker.peers().find(peer => peer.name === name)?.state
  return { speaker, clock, from, establish, state }
}

test('a peer that sends one octet a second is gone when its time for an OPEN is over', async t => {
  const { speaker, clock, from, state } = await raw()
  const { connection, isClosed } = await from('10.0.0.2')
  let sent = 0
  while (!isClosed() && sent < 300) {
    connection.write(OPEN.subarray(sent % 16, (sent % 16) + 1))
    sent++
    clock.advance(1000)
    await settle(3)
  }
  t.true(sent <= 242, `${sent} s`)
  t.is(state('raw'), 'Idle')
  await speaker.close()
})

test('an established peer that sends one octet a second is gone when the hold time is over', async t => {
  const { speaker, clock, from, establish, state } = await raw()
  const { connection, isClosed } = await from('10.0.0.2')
  await establish(connection)
  t.is(state('raw'), 'Established')
  // the beginning of an UPDATE of 4096 octets
  connection.write(Uint8Array.of(...new Uint8Array(16).fill(0xff), 0x10, 0, 2))
  for (let sent = 0; !isClosed() && sent < 200; sent++) {
    connection.write(Uint8Array.of(0))
    clock.advance(1000)
    await settle(3)
  }
  t.not(state('raw'), 'Established')
  t.is(speaker.peers()[0]?.reason?.code, 'hold-timer')
  await speaker.close()
})

test('a peer that reads nothing uses a limited buffer and does not slow the peer that sends', async t => {
  const { speaker, from, establish, state } = await raw()
  const sender = await from('10.0.0.2')
  const reader = await from('10.0.0.3')
  await establish(sender.connection)
  await establish(reader.connection)
  reader.connection.pause()
  const before = reader.octets()
  for (const message of table(0, 100_000)) sender.connection.write(message)
  await until('all routes are in', () => speaker.peers()[0]?.prefixes.received === 100_000)
  await settle()
  t.is(state('reader'), 'Established')
  t.is(reader.octets(), before)
  reader.connection.resume()
  await until('the slow reader has everything', () => reader.octets() - before > 900_000)
  await speaker.close()
})

test('while two hundred thousand routes arrive at once no turn of the event loop takes half a second of processor time', async t => {
  const { speaker, from, establish } = await raw()
  const { connection } = await from('10.0.0.2')
  await establish(connection)
  for (const message of table(0, 200_000)) connection.write(message)
  // time of this thread only: on a busy machine the clock on the wall runs while it waits for a processor
  const cpuMs = () => {
    const { user, system } = process.threadCpuUsage()
    return (user + system) / 1000
  }
  let worstMs = 0
  let lastMs = cpuMs()
  const beat = setInterval(() => {
    const nowMs = cpuMs()
    worstMs = Math.max(worstMs, nowMs - lastMs)
    lastMs = nowMs
  }, 10)
  await until('all routes are in', () => speaker.peers()[0]?.prefixes.received === 200_000)
  clearInterval(beat)
  t.log(`worst pause ${Math.round(worstMs)} ms`)
  t.true(worstMs < 500)
  await speaker.close()
})

test('ten thousand connections of unknown hosts are rejected, few of them with an answer, and a session stays up', async t => {
  const clientId = '192.0.2.2'
  const server = new Speaker({ asn: 65001, routerId: '192.0.2.1' }, { transport: new TcpTransport() })
  const client = new Speaker({ asn: 65002, routerId: clientId }, { transport: new TcpTransport() })
  const { port } = await server.listen({ address: '127.0.0.1', port: 0 })
  server.setPeer({ name: 'known', address: '127.0.0.2', asn: 65002, passive: true })
  client.setPeer({ address: '127.0.0.1', port, source: '127.0.0.2', asn: 65001 })
  await until('the session is up', () => server.peers()[0]?.state === 'Established')
  let left = 10_000
  let answers = 0
  const startMs = performance.now()
  const one = (): Promise<void> =>
    new Promise(resolve => {
      const socket = connect({ host: '127.0.0.1', port, localAddress: '127.0.0.9' })
      socket.on('data', () => answers++)
      socket.on('error', () => undefined)
      socket.on('close', () => resolve())
    })
  const worker = async () => {
    while (left-- > 0) await one()
  }
  await Promise.all(Array.from({ length: 100 }, worker))
  const seconds = (performance.now() - startMs) / 1000
  t.log(`${seconds.toFixed(1)} s, ${answers} answers`)
  t.is(server.listenerCounts.unknown, 10_000)
  t.true(server.listenerCounts.rejected <= 10 * seconds + 11)
  t.is(server.peers()[0]?.state, 'Established')
  t.is(server.peers()[0]?.flaps, 0)
  await Promise.all([server.close(), client.close()])
})
