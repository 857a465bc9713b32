// Connections that the kernel had taken before a listening socket got the key of their peer: nothing on them was signed.
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { text } from 'node:stream/consumers'
import test from 'ava'
import type { BgpConnection } from '../../bgp/port.ts'
import { TcpTransport } from '../../bgp/tcp-transport.ts'
import * as sockets from '../../kernel/sockopt.ts'
import { ANSWER_MS } from '../slowness.ts'

/** Connects, sends at once, and says how it ends. */
const CLIENT = `
const socket = require('node:net').connect(Number(process.argv[1]), '127.0.0.1', () => socket.write('unsigned'))
socket.on('error', error => console.log(error.code))
`

/** Waits without a turn of the event loop, so that nothing is accepted, until the kernel has a connection with data in it. */
function awaitInKernel(port: number): void {
  const ours = new RegExp(
    `^ *\\d+: 0100007F:${port.toString(16).toUpperCase().padStart(4, '0')} \\w+:\\w+ 01 0+:0*8 `,
    'm',
  )
  const endMs = performance.now() + ANSWER_MS
  while (!ours.test(readFileSync('/proc/net/tcp', 'utf8'))) {
    if (performance.now() > endMs) throw new Error('no connection in the kernel')
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10)
  }
}

test('a connection that came before the listening socket had the key of its peer is reset, and one of a peer without a key is taken', async t => {
  const taken: BgpConnection[] = []
  const accepted = Promise.withResolvers<void>()
  const listener = await new TcpTransport(sockets).listen({ address: '127.0.0.1', port: 0 }, connection => {
    taken.push(connection)
    accepted.resolve()
  })
  for (const password of ['key', undefined]) {
    listener.setPeerOptions('127.0.0.1', undefined)
    const client = spawn(process.execPath, ['-e', CLIENT, String(listener.port)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    t.teardown(() => client.kill('SIGKILL'))
    const end = text(client.stdout!)
    awaitInKernel(listener.port)
    listener.setPeerOptions('127.0.0.1', { ttl: 64, ...(password !== undefined && { password }) })
    if (password !== undefined) {
      t.is(await Promise.race([end, accepted.promise.then(() => 'it was taken')]), 'ECONNRESET\n')
      t.deepEqual(taken, [])
    } else {
      await accepted.promise
      t.is(taken.length, 1)
    }
  }
  for (const connection of taken) connection.destroy()
  await listener.close()
})
