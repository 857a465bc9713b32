// How a speaker ends when its peers do not help, over TCP on loopback.
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import test, { type ExecutionContext } from 'ava'
import type { PeerConfig } from '../../bgp/config.ts'
import type { BgpConnection } from '../../bgp/port.ts'
import { Speaker } from '../../bgp/speaker.ts'
import { TcpTransport } from '../../bgp/tcp-transport.ts'
import { CEASE, ERROR, MESSAGE } from '../../bgp/wire/iana.ts'
import { HEADER } from '../../bgp/wire/message.ts'

/** A speaker with a peer that connected and got its OPEN, and never closes. Answers how long the close took. */
async function closed(t: ExecutionContext, config: Partial<PeerConfig>, graceful: boolean) {
  const speaker = new Speaker({ asn: 65001, routerId: '192.0.2.1' }, { transport: new TcpTransport() })
  const { port } = await speaker.listen({ address: '127.0.0.1', port: 0 })
  speaker.setPeer({ address: '127.0.0.1', asn: 65002, passive: true, ...config })
  const peer: Socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true })
  const chunks: Buffer[] = []
  peer.on('data', chunk => chunks.push(chunk))
  peer.on('error', () => undefined)
  t.teardown(() => peer.destroy())
  await once(peer, 'data')
  const startMs = performance.now()
  const ended = once(peer, 'end')
  await speaker.close({ graceful })
  const tookMs = performance.now() - startMs
  await ended
  t.log(`${Math.round(tookMs)} ms`)
  return { tookMs, octets: Buffer.concat(chunks) }
}

test('a peer that does not close gets its NOTIFICATION and holds up the end for a moment only', async t => {
  const { tookMs, octets } = await closed(t, {}, false)
  t.true(tookMs < 10_000)
  t.deepEqual([...octets.subarray(-3)], [MESSAGE.notification, ERROR.cease, CEASE.shutdown])
})

test('a peer that keeps our routes gets no NOTIFICATION, and nothing is waited for', async t => {
  const { tookMs, octets } = await closed(t, { gracefulRestart: { restartSeconds: 60 } }, true)
  t.true(tookMs < 10_000)
  t.is(octets[HEADER - 1], MESSAGE.open)
  t.is(octets.readUInt16BE(16), octets.length, 'one OPEN and nothing else')
})

test('a listener is closed at once: the connections that came over it stay, and the port can be had again', async t => {
  const transport = new TcpTransport()
  const accepted = Promise.withResolvers<BgpConnection>()
  const listener = await transport.listen({ address: '127.0.0.1', port: 0 }, accepted.resolve)
  const peer = connect({ host: '127.0.0.1', port: listener.port })
  t.teardown(() => peer.destroy())
  const connection = await accepted.promise
  await listener.close()
  const again = await transport.listen({ address: '127.0.0.1', port: listener.port }, () => undefined)
  connection.write(Uint8Array.of(7))
  t.deepEqual(await once(peer, 'data'), [Buffer.of(7)])
  connection.destroy()
  await again.close()
})
