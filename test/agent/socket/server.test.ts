import { chmodSync, existsSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { FileInUse } from '../../../agent/file-lock.ts'
import { reserveSocket, serveSocket } from '../../../agent/socket/server.ts'
import { ManualClock } from '../../../lib/clock.ts'
import { asJson } from '../../../lib/http-routes.ts'
import { silentLog } from '../../../lib/log.ts'

test('a second agent is refused before it has begun, and the first goes on answering', async t => {
  const dir = mkdtempSync(join(tmpdir(), 'margay-socket-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  const path = join(dir, 'agent.sock')
  const routes = { 'GET /healthz': asJson(() => ({ ok: true })) }
  const lock = await reserveSocket(path)
  await t.throwsAsync(
    reserveSocket(path),
    { message: /another agent has this socket; stop it first/ },
    'not yet served',
  )
  const first = await serveSocket(path, routes, silentLog, { lock })
  await t.throwsAsync(reserveSocket(path), { message: /another agent has this socket; stop it first/ })
  await t.throwsAsync(serveSocket(path, routes, silentLog), { message: /stop it first/ })
  await t.throwsAsync(reserveSocket(path), undefined, 'the first still answers')
  await first.close()
  const next = await reserveSocket(path)
  next.release()
})

test('of agents that serve one socket in the same moment one does, and it is reached', async t => {
  const dir = mkdtempSync(join(tmpdir(), 'margay-socket-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  const path = join(dir, 'agent.sock')
  const routes = { 'GET /healthz': asJson(() => ({ ok: true })) }
  const tries = await Promise.allSettled([1, 2, 3].map(() => serveSocket(path, routes, silentLog)))
  const served = tries.flatMap(each => (each.status === 'fulfilled' ? [each.value] : []))
  t.is(served.length, 1)
  for (const each of tries) if (each.status === 'rejected') t.true(each.reason instanceof FileInUse)
  await t.throwsAsync(reserveSocket(path), { instanceOf: FileInUse })
  await served[0]!.close()
  const next = await serveSocket(path, routes, silentLog)
  await next.close()
})

test('a client that never finishes its request does not keep a stopping agent', async t => {
  const dir = mkdtempSync(join(tmpdir(), 'margay-socket-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  const path = join(dir, 'agent.sock')
  const begun = Promise.withResolvers<void>()
  const never = { 'POST /cni': () => begun.resolve() }
  const clock = new ManualClock()
  const server = await serveSocket(path, never, silentLog, { clock })
  const client = connect(path, () => client.write('POST /cni HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{'))
  const cut = new Promise<void>(resolve => client.on('close', () => resolve()))
  client.on('error', () => undefined)
  await begun.promise
  const closed = server.close()
  t.is(await Promise.race([closed, new Promise(resolve => setImmediate(() => resolve('waits')))]), 'waits')
  clock.advance(10_000)
  await closed
  await cut
  t.pass()
})

test('only its own user may connect to the socket in a folder that is open to others, and a path that is too long is refused', async t => {
  const dir = mkdtempSync(join(tmpdir(), 'margay-socket-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  chmodSync(dir, 0o755)
  // 107 octets and a zero are what sockaddr_un holds
  const longest = 'x'.repeat(107 - dir.length - 1)
  for (const name of ['new', longest]) {
    const path = join(dir, name)
    const server = await serveSocket(path, {}, silentLog)
    const { mode } = statSync(path)
    t.is((mode & 0o777).toString(8), '600', name)
    t.true(statSync(path).isSocket(), name)
    await server.close()
  }
  const tooLong = join(dir, `${longest}xx`)
  await t.throwsAsync(serveSocket(tooLong, {}, silentLog))
  t.false(existsSync(tooLong.slice(0, -1)))
})
