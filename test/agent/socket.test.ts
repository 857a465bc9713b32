import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { asJson, refuseSecond, serveSocket } from '../../agent/socket.ts'
import { silentLog } from '../../lib/log.ts'

test('a second agent is refused before it has begun, and the first goes on answering', async t => {
  const dir = mkdtempSync(join(tmpdir(), 'margay-socket-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  const path = join(dir, 'agent.sock')
  const routes = { 'GET /healthz': asJson(() => ({ ok: true })) }
  await t.notThrowsAsync(refuseSecond(path))
  const first = await serveSocket(path, routes, silentLog)
  await t.throwsAsync(refuseSecond(path), { message: /another agent answers on this socket; stop it first/ })
  await t.throwsAsync(serveSocket(path, routes, silentLog), { message: /stop it first/ })
  await t.throwsAsync(refuseSecond(path), undefined, 'the first still answers')
  await first.close()
  await t.notThrowsAsync(refuseSecond(path))
})
