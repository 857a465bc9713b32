import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { FileInUse, lockFile } from '../../agent/file-lock.ts'

function aFolder(t: ExecutionContext): string {
  const path = mkdtempSync(join(tmpdir(), 'margay-lock-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  return path
}

test('a file is locked for one at a time, and free again when it is let go', t => {
  const path = join(aFolder(t), 'lock')
  const release = lockFile(path, 'first come')
  t.throws(() => lockFile(path, 'stop the other one'), { instanceOf: FileInUse, message: 'stop the other one' })
  release()
  lockFile(path, 'free by now')()
})

test('a lock that cannot be made is no lock of somebody else', t => {
  const error = t.throws(() => lockFile(join(aFolder(t), 'missing', 'lock'), 'somebody has it'))
  t.false(error instanceof FileInUse)
  t.notRegex(error?.message ?? '', /somebody has it/)
})
