import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { bootClock, ServedFile } from '../../agent/served-file.ts'

function aFile(t: ExecutionContext) {
  const folder = mkdtempSync(join(tmpdir(), 'margay-served-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const path = join(folder, 'agent.sock.served')
  let nowMs = 1_000_000
  const clock = { bootId: 'boot-1', nowMs: () => nowMs }
  return {
    path,
    file: new ServedFile(path, clock),
    again: (bootId = 'boot-1') => new ServedFile(path, { ...clock, bootId }),
    advance: (ms: number) => {
      nowMs += ms
    },
  }
}

test('the next agent of the same boot knows how long ago pods were served, and one of another boot knows nothing', t => {
  const { file, again, advance } = aFile(t)
  t.is(file.agoMs(), undefined)
  file.touch(5000)
  advance(3000)
  file.touch(5000)
  t.is(again().agoMs(), 3000, 'not written again so soon')
  advance(2000)
  file.touch(5000)
  t.is(again().agoMs(), 0)
  advance(1)
  t.is(again('boot-2').agoMs(), undefined)
  t.is(again().agoMs(), 1)
})

test('a file with anything else in it, or of a time to come, says nothing', t => {
  const { path, file } = aFile(t)
  for (const text of ['', 'boot-1', 'boot-1 ', 'boot-1 x\n', 'boot-1 -5\n', 'boot-1 5', 'boot-1 2000000\n', '\0\xff']) {
    writeFileSync(path, text)
    t.is(file.agoMs(), undefined, JSON.stringify(text))
  }
})

test('a file that cannot be read or written is no fault of the agent', t => {
  const { path, file } = aFile(t)
  symlinkSync(path, path)
  t.is(file.agoMs(), undefined)
  t.notThrows(() => file.touch(0))
  t.notThrows(() => new ServedFile('/proc/none/x', bootClock()).touch(0))
})

test('the clock is the kernel’s monotonic one, in milliseconds', t => {
  const { bootId, nowMs } = bootClock()
  t.regex(bootId, /^[0-9a-f-]{36}$/)
  const before = nowMs()
  t.true(Number.isInteger(before) && nowMs() >= before)
})
