// What lies in the way of a socket is refused by name, and neither followed nor removed; what a killed agent left is taken
// over.
import {
  chownSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { serveSocket } from '../../../agent/socket/server.ts'
import { asJson } from '../../../lib/http-routes.ts'
import { silentLog } from '../../../lib/log.ts'

const ROUTES = { 'GET /healthz': asJson(() => ({ ok: true })) }
const mode = (path: string) => (lstatSync(path).mode & 0o777).toString(8)

function folder(t: ExecutionContext): string {
  const path = mkdtempSync(join(tmpdir(), 'mp-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  return path
}

test('the socket and its folder are for their owner alone from the moment they exist', async t => {
  const path = join(folder(t), 'run', 'agent.sock')
  const socket = await serveSocket(path, ROUTES, silentLog)
  t.is(mode(path), '600')
  t.is(mode(join(path, '..')), '700')
  await socket.close()
})

test('a path of 107 octets is served, and one of 108 is refused with its length before anything is made', async t => {
  const base = folder(t)
  const path = (length: number) => join(base, 'x'.repeat(length - Buffer.byteLength(base) - 1))
  const socket = await serveSocket(path(107), ROUTES, silentLog)
  t.is(mode(path(107)), '600')
  await socket.close()
  await t.throwsAsync(serveSocket(path(108), ROUTES, silentLog), { message: /108 octets are too long .* at most 107/ })
  t.false(existsSync(`${path(108)}.lock`))
})

test('a socket that a killed agent left is taken over', async t => {
  const path = join(folder(t), 'agent.sock')
  const killed = createServer().listen(path)
  await new Promise(resolve => killed.once('listening', resolve))
  // close() would remove it: a process that is killed does not
  const left = `${path}.left`
  linkSync(path, left)
  await new Promise(resolve => killed.close(resolve))
  renameSync(left, path)
  t.true(lstatSync(path).isSocket())
  const socket = await serveSocket(path, ROUTES, silentLog)
  t.is(mode(path), '600')
  await socket.close()
})

test('a file, a folder or a symbolic link in the place of the socket is refused by name and stays as it is', async t => {
  const base = folder(t)
  const precious = join(base, 'precious')
  writeFileSync(precious, 'content')
  const link = join(base, 'link')
  symlinkSync(precious, link)
  mkdirSync(join(base, 'folder'))
  for (const [name, message] of [
    ['precious', /precious is a file and no socket; remove it, or choose another path/],
    ['link', /link is a symbolic link and no socket/],
    ['folder', /folder is a folder and no socket/],
  ] as const)
    await t.throwsAsync(serveSocket(join(base, name), ROUTES, silentLog), { message })
  t.is(readFileSync(precious, 'utf8'), 'content')
  t.true(lstatSync(link).isSymbolicLink())
})

const asRoot = process.geteuid?.() === 0 ? test : test.skip

asRoot('a socket of another user is refused with the number of that user, and stays', async t => {
  const path = join(folder(t), 'agent.sock')
  const theirs = createServer().listen(path)
  await new Promise(resolve => theirs.once('listening', resolve))
  chownSync(path, 12345, 12345)
  await t.throwsAsync(serveSocket(path, ROUTES, silentLog), { message: /sock belongs to user 12345.* runs as user 0/ })
  t.true(existsSync(path))
  await new Promise(resolve => theirs.close(resolve))
})
