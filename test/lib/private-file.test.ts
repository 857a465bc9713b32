import { chmodSync, existsSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { lockFile } from '../../agent/file-lock.ts'
import { openDatabase } from '../../lib/database.ts'

/** A folder that others may look into, as systemd makes those of services. */
function openFolder(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'margay-private-'))
  chmodSync(folder, 0o755)
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

const modeOf = (path: string) => (statSync(path).mode & 0o777).toString(8)

test('other users can neither read nor lock the databases and lock files, in a folder that is open to them too', t => {
  const folder = openFolder(t)
  const files = ['node.db', 'node.db-wal', 'node.db-shm', 'agent.lock'].map(name => join(folder, name))
  for (let run = 0; run < 2; run++) {
    const database = openDatabase(files[0]!)
    database.exec('CREATE TABLE IF NOT EXISTS t (x)')
    const lock = lockFile(files[3]!, 'in use')
    t.deepEqual(files.map(modeOf), ['600', '600', '600', '600'])
    lock.release()
    // as an earlier version left them
    for (const file of files) chmodSync(file, 0o644)
    database.close()
  }
})

test('a file that is locked stays locked when somebody in the same process tries', t => {
  const path = join(openFolder(t), 'agent.lock')
  const lock = lockFile(path, 'in use')
  for (let tries = 0; tries < 2; tries++) t.throws(() => lockFile(path, 'in use'), { message: 'in use' })
  t.true(lock.isHeld())
  lock.release()
})

test('a symbolic link in the place of a database or a lock file is refused with what to do, and its target is not touched', t => {
  const folder = openFolder(t)
  for (const [name, target] of [
    ['dangling', 'made'],
    ['pointing', 'there'],
  ] as const) {
    const [link, file] = [join(folder, name), join(folder, target)]
    if (target === 'there') writeFileSync(file, 'precious')
    symlinkSync(file, link)
    t.throws(() => lockFile(link, 'in use'), { message: /symbolic link: remove it/ })
    t.throws(() => openDatabase(link), { message: /symbolic link: remove it/ })
  }
  t.false(existsSync(join(folder, 'made')))
  t.is(statSync(join(folder, 'there')).size, 'precious'.length)
})
