import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { FileInUse, lockFile } from '../../agent/file-lock.ts'

function aFolder(t: ExecutionContext): string {
  const path = mkdtempSync(join(tmpdir(), 'margay-lock-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  return path
}

test('a file is locked for one at a time, and free again when it is let go', t => {
  const path = join(aFolder(t), 'lock')
  const lock = lockFile(path, 'first come')
  t.throws(() => lockFile(path, 'stop the other one'), { instanceOf: FileInUse, message: 'stop the other one' })
  t.true(lock.isHeld())
  lock.release()
  lockFile(path, 'free by now').release()
})

test('the holder of a lock finds out that its file was removed, replaced or moved with its folder', t => {
  for (const lose of [
    (path: string) => rmSync(path),
    (path: string) => {
      rmSync(path)
      t.teardown(lockFile(path, 'a new file is a new lock').release)
    },
    (path: string) => renameSync(dirname(path), `${dirname(path)}.old`),
    (path: string) => {
      rmSync(dirname(path), { recursive: true })
      writeFileSync(dirname(path), 'a file in the way')
    },
  ]) {
    const folder = join(aFolder(t), 'data')
    mkdirSync(folder)
    const path = join(folder, 'lock')
    const lock = lockFile(path, 'first come')
    t.true(lock.isHeld())
    lose(path)
    t.false(lock.isHeld())
    lock.release()
  }
})

test('a lock that cannot be made is no lock of somebody else', t => {
  const error = t.throws(() => lockFile(join(aFolder(t), 'missing', 'lock'), 'somebody has it'))
  t.false(error instanceof FileInUse)
  t.notRegex(error?.message ?? '', /somebody has it/)
})
