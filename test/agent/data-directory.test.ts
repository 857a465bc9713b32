import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { openDataDirectory } from '../../agent/data-directory.ts'
import { FileInUse } from '../../agent/file-lock.ts'
import { DatabaseError } from '../../lib/database.ts'

function aDirectory(t: ExecutionContext): string {
  const path = mkdtempSync(join(tmpdir(), 'margay-data-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  return path
}

/** Opens `path` in a process of its own: what it said, and how to kill it. */
async function elsewhere(t: ExecutionContext, path: string) {
  const child = fork(new URL('data-directory-child.ts', import.meta.url), [path])
  t.teardown(() => child.kill('SIGKILL'))
  const [said] = (await once(child, 'message')) as [string]
  const kill = async () => {
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  return { said, kill }
}

test('of agents that start in the same moment one gets the directory, and the others are told what to do', async t => {
  const path = aDirectory(t)
  const said = await Promise.all(Array.from({ length: 4 }, () => elsewhere(t, path)))
  const words = said.map(each => each.said).sort()
  t.is(words.filter(word => word === 'opened').length, 1, words.join('; '))
  t.is(words.filter(word => /^FileInUse: .*: another agent uses this directory; stop it first$/.test(word)).length, 3)
})

test('an agent that was killed leaves the directory free', async t => {
  const path = aDirectory(t)
  const first = await elsewhere(t, path)
  t.is(first.said, 'opened')
  t.throws(() => openDataDirectory(path), { instanceOf: FileInUse })
  await first.kill()
  openDataDirectory(path).close()
})

test('closed, the directory can be opened again, with what was written', t => {
  const path = aDirectory(t)
  const first = openDataDirectory(path)
  first.node.exec("CREATE TABLE note (text TEXT); INSERT INTO note VALUES ('kept')")
  first.close()
  const second = openDataDirectory(path)
  t.teardown(() => second.close())
  t.is(second.node.prepare('SELECT text FROM note').all()[0]?.['text'], 'kept')
})

test('a directory whose database is damaged is not kept locked', t => {
  const path = aDirectory(t)
  writeFileSync(join(path, 'node.db'), 'this is no database, and long enough to be read as one'.repeat(20))
  for (let i = 0; i < 2; i++) t.throws(() => openDataDirectory(path), { instanceOf: DatabaseError })
})
