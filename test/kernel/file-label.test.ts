// Labels of real files: attributes of security.* are kept by tmpfs also where no SELinux is, and root may write them.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { readLabel, writeLabel } from '../../kernel/file-label.ts'
import { KernelError } from '../../kernel/port/error.ts'

test('a label that was written is read, and a file without one, or that is not there, has none', t => {
  const folder = mkdtempSync(join(tmpdir(), 'margay-label-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'file')
  t.is(readLabel(file), undefined)
  writeFileSync(file, '')
  t.is(readLabel(file), undefined)
  const label = Buffer.from('system_u:object_r:bin_t:s0\0')
  try {
    writeLabel(file, label)
  } catch (error) {
    if (!(error instanceof KernelError) || !['EPERM', 'EOPNOTSUPP'].includes(error.code)) throw error
    t.log(`skipped: ${error.message}`)
    return t.pass()
  }
  t.deepEqual(Buffer.from(readLabel(file)!), label)
})
