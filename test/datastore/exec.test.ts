// Pod exec against a server that speaks WebSocket frames as an API server does, and some that none would.
import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import test, { type ExecutionContext } from 'ava'
import { openPodExec } from '../../datastore/exec.ts'

const PROGRAM = { namespace: 'kube-system', pod: 'agent-1', container: 'agent', command: ['/bin/x', '--a=b c'] }

/** A frame of octets as a server sends it: not masked, short. */
function frame(...octets: number[]): Buffer {
  return Buffer.from([0x82, octets.length, ...octets])
}
const text = (stream: number, words: string) => frame(stream, ...Buffer.from(words))

async function serve(t: ExecutionContext, upgraded: (socket: Socket) => void) {
  const server = createServer()
  const urls: string[] = []
  server.on('upgrade', (request, socket: Socket) => {
    urls.push(`${request.headers.authorization} ${request.url}`)
    const key = `${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`
    const accept = createHash('sha1').update(key).digest('base64')
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n`,
    )
    socket.on('end', () => socket.end()).resume()
    upgraded(socket)
  })
  server.on('request', (_request, response) => response.writeHead(403).end())
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  return {
    urls,
    exec: openPodExec({ server: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, token: 'x' }),
  }
}

test('a program is started with its words and the token, and what it writes and how it ended is told', async t => {
  const { exec, urls } = await serve(t, socket => {
    for (const each of [text(1, 'out'), text(2, 'err'), text(3, '{"status":"Success"}')]) socket.write(each)
  })
  const said: string[] = []
  const run = await exec(PROGRAM, (from, piece) => said.push(`${from}:${piece}`))
  t.is(await run.ended, undefined)
  run.close()
  t.deepEqual(said, ['out:out', 'err:err'])
  t.deepEqual(urls, [
    'Bearer x /api/v1/namespaces/kube-system/pods/agent-1/exec?container=agent&stdin=true&stdout=true&stderr=true&command=%2Fbin%2Fx&command=--a%3Db+c',
  ])
})

test('messages without an octet, of unknown streams, or that end our own streams are nothing, and a status that is no JSON is the reason', async t => {
  const { exec } = await serve(t, socket => {
    for (const each of [frame(), frame(9, 9), frame(255, 1), text(3, 'gone')]) socket.write(each)
  })
  const run = await exec(PROGRAM, () => t.fail())
  t.is(await run.ended, 'gone')
  t.true(process.stdout.writable)
  run.close()
})

test('a failure has the reason that the server gives, and so has a connection that ends', async t => {
  const message = 'command terminated with exit code 3'
  const { exec } = await serve(t, socket => socket.write(text(3, JSON.stringify({ status: 'Failure', message }))))
  const run = await exec(PROGRAM, () => {})
  t.is(await run.ended, message)
  run.close()
  const cut = await serve(t, socket => socket.end())
  t.is(await (await cut.exec(PROGRAM, () => {})).ended, 'the connection to it ended')
})

test('to close ends the connection, and so the standard input of the program', async t => {
  const closed = Promise.withResolvers<void>()
  const { exec } = await serve(t, socket => socket.on('end', () => closed.resolve()))
  const run = await exec(PROGRAM, () => {})
  run.close()
  await closed.promise
  t.is(await run.ended, 'the connection to it ended')
})
