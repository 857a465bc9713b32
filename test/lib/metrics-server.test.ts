// The port of the metrics, over real sockets of this machine: what it answers, and what it does not let others do to it.
import { once } from 'node:events'
import { request } from 'node:http'
import { connect, createServer, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import test, { type ExecutionContext } from 'ava'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { MetricsServer } from '../../lib/metrics-server.ts'

const HOST = '127.0.0.1'

async function served(t: ExecutionContext, part: { text?: () => string; port?: number } = {}) {
  const clock = new ManualClock()
  const problems: (string | undefined)[] = []
  const server = new MetricsServer({
    ...{ clock, log: silentLog, text: part.text ?? (() => 'up 1\n') },
    problem: error => problems.push(error?.code),
  })
  t.teardown(() => server.close())
  await server.want({ host: HOST, port: part.port ?? 0 })
  return { server, clock, problems, port: server.port ?? 0 }
}

function ask(port: number, path = '/metrics', method = 'GET') {
  return new Promise<{ code: number; body: string }>((resolve, reject) => {
    request({ host: HOST, port, path, method, agent: false }, response =>
      text(response).then(body => resolve({ code: response.statusCode!, body }), reject),
    )
      .on('error', reject)
      .end()
  })
}

async function open(port: number): Promise<Socket> {
  const socket = connect(port, HOST)
  socket.on('error', () => undefined) // it is cut
  await once(socket, 'connect')
  return socket
}

const isCut = (socket: Socket) =>
  new Promise<void>(resolve => (socket.resume().closed ? resolve() : socket.once('close', () => resolve())))

test('it answers GET /metrics, and nothing else', async t => {
  const { port } = await served(t)
  t.deepEqual(await ask(port), { code: 200, body: 'up 1\n' })
  t.is((await ask(port, '/metrics?x=1')).code, 200)
  for (const [path, method] of [
    ['/', 'GET'],
    ['/metrics/', 'GET'],
    ['/status', 'GET'],
    ['/metrics', 'POST'],
  ] as const)
    t.deepEqual(await ask(port, path, method), { code: 404, body: '' }, `${method} ${path}`)
})

test('the body of a request is not read: the connection ends with the answer', async t => {
  const { port } = await served(t)
  const socket = await open(port)
  socket.write('GET /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n')
  const [answer] = (await once(socket, 'data')) as [Buffer]
  t.regex(answer.toString(), /^HTTP\/1\.1 200 OK\r\n(.+\r\n)*connection: close\r\n/i)
  const flood = Buffer.alloc(1 << 20)
  while (!socket.closed && socket.write(flood));
  await isCut(socket)
  t.pass()
})

test('a fifth connection of one address takes the place of its oldest, so that silent clients keep nobody out', async t => {
  const { port } = await served(t)
  const silent = [await open(port), await open(port), await open(port), await open(port)]
  t.is((await ask(port)).code, 200)
  await isCut(silent[0]!)
  t.deepEqual(
    silent.map(socket => socket.closed),
    [true, false, false, false],
  )
})

test('a connection ends after twenty seconds, whatever it does', async t => {
  const { port, clock } = await served(t)
  const socket = await open(port)
  await ask(port) // the server has taken the connection before this one
  clock.advance(20_000)
  await isCut(socket)
  t.is(clock.pending, 0)
})

test('the text is made once a second at most, however often it is asked for', async t => {
  let made = 0
  const { port, clock } = await served(t, { text: () => `made ${++made}\n` })
  for (let i = 0; i < 3; i++) t.is((await ask(port)).body, 'made 1\n')
  clock.advance(1000)
  t.is((await ask(port)).body, 'made 2\n')
})

test('a text that cannot be made is a 500, and the next one is made anew', async t => {
  let fails = true
  const { port, clock } = await served(t, {
    text: () => {
      if (fails) throw new Error('no')
      return 'up 1\n'
    },
  })
  t.is((await ask(port)).code, 500)
  fails = false
  clock.advance(1000)
  t.is((await ask(port)).code, 200)
})

test('a port that another program has is told and tried again, and another port is taken at once', async t => {
  const other = createServer().listen(0, HOST)
  await once(other, 'listening')
  const { port } = other.address() as { port: number }
  const { server, clock, problems } = await served(t, { port })
  t.deepEqual([problems.at(-1), server.port], ['EADDRINUSE', undefined])
  await server.want({ host: HOST, port: 0 })
  t.is(problems.at(-1), undefined)
  t.is((await ask(server.port!)).code, 200)
  await server.want({ host: HOST, port })
  t.is(problems.at(-1), 'EADDRINUSE')
  other.close()
  await once(other, 'close')
  clock.advance(5000)
  while (server.port === undefined) await new Promise(setImmediate)
  t.deepEqual([problems.at(-1), server.port], [undefined, port])
})

test('an address that is not wanted any more answers no one', async t => {
  const { server, port } = await served(t)
  await server.want(undefined)
  await t.throwsAsync(ask(port), { code: 'ECONNREFUSED' })
})
