import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { archive } from '../../lab/cpio.ts'
import { findSystemProgram } from '../../lib/system-program.ts'

test('every header starts at a multiple of four bytes and the trailer ends the archive', t => {
  for (let size = 0; size < 9; size++) {
    const bytes = Buffer.from(archive([{ name: 'abc', content: new Uint8Array(size) }]))
    const trailer = bytes.lastIndexOf('070701')
    t.is(trailer % 4, 0)
    t.true(bytes.subarray(trailer).includes('TRAILER!!!'))
    t.is(bytes.length % 4, 0)
  }
})

test('busybox unpacks what was archived: directories, contents and the right to execute', t => {
  const busybox = findSystemProgram('busybox')
  if (busybox === undefined) {
    t.log('skipped: no busybox here (Debian: busybox-static)')
    return t.pass()
  }
  const dir = mkdtempSync(join(tmpdir(), 'margay-cpio-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  const content = Buffer.from('seven b')
  const input = archive([{ name: 'bin' }, { name: 'bin/run', content, executable: true }, { name: 'plain', content }])
  execFileSync(busybox, ['cpio', '-i'], { cwd: dir, input, stdio: ['pipe', 'ignore', 'ignore'] })
  t.deepEqual(readFileSync(join(dir, 'bin/run')), content)
  t.is(statSync(join(dir, 'bin/run')).mode & 0o777, 0o755)
  t.is(statSync(join(dir, 'plain')).mode & 0o777, 0o644)
})
