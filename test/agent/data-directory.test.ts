import { fork } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { type DataDirectory, openDataDirectory } from '../../agent/data-directory.ts'
import { FileInUse } from '../../agent/file-lock.ts'
import { ForeignJournal, readMachineId } from '../../agent/journal-owner.ts'
import { openDatabase, transaction } from '../../lib/database.ts'

const N1 = {
  owner: { node: 'n1' },
  lost: (message: string): never => {
    throw new Error(message)
  },
}

function aDirectory(t: ExecutionContext): string {
  const path = mkdtempSync(join(tmpdir(), 'margay-data-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  return path
}

/** Opens `path` in a process of its own: what it said, and how to kill it. */
async function elsewhere(t: ExecutionContext, path: string, ...writes: 'writes'[]) {
  const child = fork(new URL('data-directory-child.ts', import.meta.url), [path, ...writes])
  t.teardown(() => child.kill('SIGKILL'))
  const [said] = (await once(child, 'message')) as [string]
  const kill = async () => {
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  return { said, kill, child }
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
  t.throws(() => openDataDirectory(path, N1), { instanceOf: FileInUse })
  await first.kill()
  openDataDirectory(path, N1).close()
})

test('closed, the directory can be opened again, with what was written', t => {
  const path = aDirectory(t)
  const first = openDataDirectory(path, N1)
  first.node.exec("CREATE TABLE note (text TEXT); INSERT INTO note VALUES ('kept')")
  first.close()
  const second = openDataDirectory(path, N1)
  t.teardown(() => second.close())
  t.is(second.node.prepare('SELECT text FROM note').all()[0]?.['text'], 'kept')
})

const reasons = (data: DataDirectory) => data.conditions().map(({ reason }) => reason)
const damage = (file: string) =>
  writeFileSync(file, 'this is no database, and long enough to be read as one'.repeat(200))

test('a damaged database is set aside and made anew, which a condition tells until the file is removed', t => {
  for (const name of ['node.db', 'events.db']) {
    const path = aDirectory(t)
    const first = openDataDirectory(path, N1)
    t.deepEqual(reasons(first), [])
    first.close()
    damage(join(path, name))
    const second = openDataDirectory(path, N1)
    t.deepEqual(reasons(second), ['Damaged'])
    t.regex(second.conditions()[0]!.message, new RegExp(`${name.replace('.', '\\.')}\\.damaged-`))
    second.node.exec('CREATE TABLE works (text TEXT)')
    second.events.exec('CREATE TABLE works (text TEXT)')
    second.close()
    for (const file of readdirSync(path)) if (file.includes('.damaged-')) rmSync(join(path, file))
    const third = openDataDirectory(path, N1)
    t.deepEqual(reasons(third), [])
    third.close()
  }
})

test('a database that is damaged beyond its first page is found at the start too', t => {
  const path = aDirectory(t)
  const first = openDataDirectory(path, N1)
  first.node.exec('CREATE TABLE note (text TEXT)')
  const insert = first.node.prepare('INSERT INTO note VALUES (?)')
  for (let i = 0; i < 200; i++) insert.run('x'.repeat(200))
  first.close()
  const file = join(path, 'node.db')
  const octets = readFileSync(file)
  writeFileSync(file, octets.fill(0xa5, 8192, 20_000))
  const second = openDataDirectory(path, N1)
  t.teardown(() => second.close())
  t.deepEqual(reasons(second), ['Damaged'])
})

test('a directory that cannot be made has its databases in the fallback, with what could be read, until it can', t => {
  const folder = aDirectory(t)
  const [path, fallback] = [join(folder, 'data'), join(folder, 'fallback')]
  const first = openDataDirectory(path, { ...N1, fallback })
  first.node.exec("CREATE TABLE note (text TEXT); INSERT INTO note VALUES ('kept')")
  first.close()
  rmSync(join(path, 'lock'))
  mkdirSync(join(path, 'lock')) // no lock can be taken, as on a read-only disk, where root may write all the same
  const second = openDataDirectory(path, { ...N1, fallback })
  t.deepEqual(reasons(second), ['NotWritable'])
  t.is(second.node.prepare('SELECT text FROM note').get()?.['text'], 'kept')
  second.node.exec("INSERT INTO note VALUES ('in the fallback')")
  t.throws(() => openDataDirectory(path, { ...N1, fallback }), { instanceOf: FileInUse })
  second.close()
  const again = openDataDirectory(path, { ...N1, fallback })
  t.is(again.node.prepare('SELECT text FROM note').all().length, 2, 'the newer of the two')
  again.close()
  rmSync(join(path, 'lock'), { recursive: true })
  const back = openDataDirectory(path, { ...N1, fallback })
  t.teardown(() => back.close())
  t.deepEqual(reasons(back), [])
  t.is(back.node.prepare('SELECT text FROM note').all().length, 2, 'what was journaled in the fallback counts')
  t.false(existsSync(fallback))
})

test('a directory of another node or machine is refused with what to do, and not changed', t => {
  const path = aDirectory(t)
  const machineId = 'a'.repeat(32)
  openDataDirectory(path, { ...N1, owner: { node: 'n1', machineId } }).close()
  for (const owner of [
    { node: 'n2', machineId },
    { node: 'n1', machineId: 'b'.repeat(32) },
  ]) {
    const error = t.throws(() => openDataDirectory(path, { ...N1, owner }), { instanceOf: ForeignJournal })
    t.regex(error!.message, /belongs to (node n1|the machine a+), and this is .*: remove or rename /)
  }
  openDataDirectory(path, { ...N1, owner: { node: 'n1', machineId } }).close()
  openDataDirectory(path, N1).close()
})

test('a directory that was removed or replaced is not written any more', t => {
  for (const lose of [
    (path: string) => rmSync(path, { recursive: true }),
    (path: string) => rmSync(join(path, 'lock')),
  ]) {
    const path = aDirectory(t)
    const data = openDataDirectory(path, N1)
    data.node.exec('CREATE TABLE note (text TEXT)')
    const insert = data.node.prepare('INSERT INTO note VALUES (?)')
    insert.run('mine')
    lose(path)
    const message = /was removed or replaced while this agent had it/
    t.throws(() => insert.run('no more'), { message })
    t.throws(() => transaction(data.node, () => undefined), { message })
    t.throws(() => data.check(), { message })
  }
})

test('an agent that was stopped and goes on when another one has the node ends without writing', async t => {
  const path = aDirectory(t)
  const stopped = await elsewhere(t, path, 'writes')
  stopped.child.kill('SIGSTOP')
  // a stopped agent keeps its lock, so nobody gets in beside it
  t.throws(() => openDataDirectory(path, N1), { instanceOf: FileInUse })
  renameSync(path, `${path}.old`)
  t.teardown(() => rmSync(`${path}.old`, { recursive: true, force: true }))
  const next = openDataDirectory(path, N1)
  t.teardown(() => next.close())
  const notes = () => {
    const db = openDatabase(join(`${path}.old`, 'node.db'))
    const { count } = db.prepare('SELECT count(*) AS count FROM note').get()!
    db.close()
    return Number(count)
  }
  const before = notes()
  const ended = once(stopped.child, 'exit')
  stopped.child.kill('SIGCONT')
  t.is((await ended)[0], 3)
  t.true(notes() - before <= 1, 'the write under way when it was stopped may end')
})

test('a machine id is 32 hex digits; anything else is none', t => {
  const path = join(aDirectory(t), 'machine-id')
  t.is(readMachineId(path), undefined)
  for (const [text, id] of [
    ['uninitialized\n', undefined],
    ['', undefined],
    [`${'0a'.repeat(16)}\n`, '0a'.repeat(16)],
  ] as const) {
    writeFileSync(path, text)
    t.is(readMachineId(path), id)
  }
})
