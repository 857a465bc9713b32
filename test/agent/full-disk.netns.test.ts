// A data directory on a disk of its own, 512 KiB large, that is really full.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { systemProgram } from '../../lib/system-program.ts'

const asRoot = process.getuid?.() === 0 ? test : test.skip

asRoot('on a full disk ADD is refused with code 5, DEL works, and ADD works again when there is room', t => {
  const path = mkdtempSync(join(tmpdir(), 'margay-full-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  const script = 'mount -t tmpfs -o size=512k tmpfs "$0" && exec "$1" "$2" "$0"'
  const child = new URL('full-disk-child.ts', import.meta.url).pathname
  // a mount namespace of its own: nothing is left mounted, whatever happens
  const answer = execFileSync(systemProgram('unshare'), ['-m', 'sh', '-c', script, path, process.execPath, child], {
    encoding: 'utf8',
  })
  t.deepEqual(JSON.parse(answer), {
    refused: true,
    answers: [
      ['DEL', 'a', 0],
      ['DEL', 'b', 0],
      ['ADD', 'later', 0],
    ],
    reasons: ['DiskFull'],
  })
})
