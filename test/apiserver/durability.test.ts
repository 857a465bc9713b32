import { spawnSync } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { openStore } from '../../datastore/kube.ts'
import { NotFound, type Store } from '../../datastore/port.ts'
import { aPoolAt } from '../datastore/objects.ts'
import { programUnderTest } from '../program-file.ts'
import { loopbackTls } from './loopback-tls.ts'
import { startProgram } from './program.ts'

async function tempDir(t: ExecutionContext): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'margay-api-'))
  t.teardown(() => rm(dir, { recursive: true, force: true }))
  return dir
}

const KILLS = 6
const WRITERS = 4

type Acknowledged = { counts: Map<string, number>; deleted: Set<string>; heard(): void }

/** Writes the numbers from `from` on into one pool, and makes and deletes another after each, until the server dies. */
async function writeOn(
  store: Store,
  name: string,
  from: number,
  { counts, deleted, heard }: Acknowledged,
): Promise<void> {
  const writer = Number(name.slice(1))
  for (let n = from; ; n++)
    try {
      const metadata = { annotations: { count: String(n) } }
      await (n === 1
        ? store.create('IPPool', aPoolAt(60_000 + writer, name, metadata))
        : store.patch('IPPool', name, { metadata }))
      counts.set(name, n)
      heard()
      const passing = `${name}-${n}`
      await store.create('IPPool', aPoolAt(10_000 * writer + n, passing))
      await store.delete('IPPool', passing)
      deleted.add(passing)
      heard()
    } catch {
      return
    }
}

test('what was acknowledged before kill -9 is there afterwards, and what was deleted is not', async t => {
  t.timeout(110_000)
  const dir = await tempDir(t)
  const [counts, deleted] = [new Map<string, number>(), new Set<string>()]
  let version = 0
  for (let kill = 0; kill <= KILLS; kill++) {
    const program = await startProgram(['--data-dir', dir, '--listen', '127.0.0.1:0'])
    t.teardown(() => program.stop('SIGKILL'))
    const store = openStore({ server: program.url, token: program.token })
    const found = new Map((await store.list('IPPool')).map(pool => [pool.metadata.name, pool]))
    const countOf = (name: string): number => Number(found.get(name)?.metadata.annotations?.['count'] ?? 0)
    for (const [name, n] of counts) t.true(countOf(name) >= n, `${name} lost ${n}`)
    for (const name of deleted) t.false(found.has(name), `${name} came back`)
    for (const { metadata } of found.values()) version = Math.max(version, Number(metadata.resourceVersion))
    if (kill === KILLS) {
      const fresh = await store.create('IPPool', aPoolAt(65_000, 'fresh'))
      t.true(Number(fresh.metadata.resourceVersion) > version, 'versions went back')
      await store.close()
      t.is(await program.stop('SIGTERM'), 0)
      break
    }
    const enough = Promise.withResolvers<void>()
    let writes = 0
    const heard = (): void => {
      // another moment in the life of a batch every time
      if (++writes === 60 + 7 * kill) enough.resolve()
    }
    const writers = Array.from({ length: WRITERS }, (_, w) =>
      writeOn(store, `w${w}`, countOf(`w${w}`) + 1, { counts, deleted, heard }),
    )
    await enough.promise
    await program.stop('SIGKILL')
    await Promise.all(writers)
    await store.close()
  }
  t.log(
    `${[...counts.values()].reduce((sum, n) => sum + n, 0)} writes and ${deleted.size} deletions over ${KILLS} kills`,
  )
})

test('a data directory that cannot be made ends the program with 3', async t => {
  const start = startProgram(['--data-dir', '/dev/null/api', '--listen', '127.0.0.1:0'])
  await t.throwsAsync(start, { message: /exit code 3: .*\/dev\/null\/api/ })
})

test('SIGTERM ends an open watch in order and exits 0', async t => {
  const program = await startProgram(['--data-dir', await tempDir(t), '--listen', '127.0.0.1:0'])
  const watch = await fetch(`${program.url}/apis/projectcalico.org/v3/ippools?watch=true`, {
    headers: { authorization: `Bearer ${program.token}` },
  })
  const body = watch.text()
  t.is(await program.stop('SIGTERM'), 0)
  t.is(await body, '')
})

test('wrong usage exits 2 and names the remedy, before the data directory is touched', t => {
  const main = programUnderTest('apiserver/main')
  const run = (...args: string[]): { status: number | null; stderr: string } =>
    spawnSync(process.execPath, [main, '--data-dir', '/dev/null/api', ...args], { encoding: 'utf8' })
  for (const [args, message] of [
    [['--listen', '0.0.0.0:6480'], /--tls-cert and --tls-key/],
    [['--tls-cert', '/dev/null'], /give both/],
    [['--token-file', '/nowhere'], /\/nowhere/],
    [['--nonsense'], /--nonsense/],
  ] as const) {
    const { status, stderr } = run(...args)
    t.is(status, 2)
    t.regex(stderr, message)
  }
})

test('over TLS a client with the CA and the token gets in, and others do not', async t => {
  const tls = loopbackTls()
  if (tls === undefined) {
    t.log('skipped: no openssl here to make a certificate')
    t.pass()
    return
  }
  const dir = await tempDir(t)
  const files = { cert: join(dir, 'cert'), key: join(dir, 'key'), token: join(dir, 'token') }
  await Promise.all([
    writeFile(files.cert, tls.cert),
    writeFile(files.key, tls.key),
    writeFile(files.token, 'secret\n'),
  ])
  const flags = ['--tls-cert', files.cert, '--tls-key', files.key, '--token-file', files.token]
  const program = await startProgram(['--data-dir', join(dir, 'data'), '--listen', '127.0.0.1:0', ...flags])
  t.teardown(() => program.stop('SIGKILL'))
  const attempt = async (options: { token?: string; caData?: string }): Promise<unknown> => {
    const store = openStore({ server: program.url, ...options })
    try {
      return await store.get('IPPool', 'none')
    } catch (error) {
      return error
    } finally {
      await store.close()
    }
  }
  t.true((await attempt({ token: 'secret', caData: tls.cert })) instanceof NotFound)
  t.like(await attempt({ token: 'wrong', caData: tls.cert }), { name: 'Refused', status: 401 })
  t.like(await attempt({ token: 'secret' }), { name: 'Unreachable' })
})
