// A data directory on a small disk of its own that is really full.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { systemProgram } from '../../lib/system-program.ts'

const asRoot = process.getuid?.() === 0 ? test : test.skip

/** What a program says of a disk of its own, of `size`: in a mount namespace, so that nothing is left mounted, whatever happens. */
function onDisk(t: ExecutionContext, size: string, program: string): unknown {
  const path = mkdtempSync(join(tmpdir(), 'margay-full-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  const script = `mount -t tmpfs -o size=${size} tmpfs "$0" && exec "$1" "$2" "$0"`
  const child = new URL(program, import.meta.url).pathname
  const words = ['-m', 'sh', '-c', script, path, process.execPath, child]
  return JSON.parse(execFileSync(systemProgram('unshare'), words, { encoding: 'utf8' }))
}

asRoot('on a full disk ADD is refused with code 5, DEL works, and ADD works again when there is room', t => {
  t.deepEqual(onDisk(t, '512k', 'full-disk-child.ts'), {
    refused: true,
    answers: [
      ['DEL', 'a', 0],
      ['DEL', 'b', 0],
      ['ADD', 'later', 0],
    ],
    reasons: ['DiskFull'],
  })
})

asRoot(
  'on a full disk the recorder gives way to the journal, drops what has no room, and tells how much that was when there is room',
  t => {
    t.deepEqual(onDisk(t, '8m', 'recorder/full-disk-child.ts'), {
      ...{ kept: true, gaveWay: true, dropped: 50, isLost: true },
      ...{
        told: ['Node n1: 50 records were not kept before this: the disk was full or failed'],
        last: 'later',
        lines: 1,
      },
    })
  },
)
