import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { isAlive, type ProcessId, readStartTicks, stopAll } from '../../lab/program.ts'
import { findLab } from '../../lab/remains.ts'
import { readState, writeState } from '../../lab/state.ts'
import { systemProgram } from '../../lib/system-program.ts'

const me: ProcessId = { name: 'me', pid: process.pid, startTicks: readStartTicks(process.pid)! }
const nobody: ProcessId = { name: 'gone', pid: process.pid, startTicks: me.startTicks - 1 }

function aDir(t: { teardown(undo: () => void): void }): string {
  const dir = mkdtempSync(join(tmpdir(), 'margay-state-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

const aState = { prefix: 'x-', owner: me, kept: false, namespaces: [], processes: [] }

test('a process is known by its pid and its start time, so a reused pid is another process', t => {
  t.true(isAlive(me))
  t.false(isAlive(nobody))
})

test('stopping kills what does not end by itself and spares another process with the same pid', async t => {
  const child = spawn(systemProgram('sh'), ['-c', 'trap "" TERM; while :; do sleep 1; done'], { stdio: 'ignore' })
  const stubborn: ProcessId = { name: 'stubborn', pid: child.pid!, startTicks: readStartTicks(child.pid!)! }
  await stopAll([stubborn, nobody], 100)
  t.false(isAlive(stubborn))
  t.true(isAlive(me))
})

test('a lab whose owner lives is running, one whose owner is gone has crashed', t => {
  const dir = aDir(t)
  t.is(findLab(dir), undefined)
  writeState(dir, aState)
  t.is(findLab(dir)?.status, 'running')
  writeState(dir, { ...aState, owner: nobody })
  t.is(findLab(dir)?.status, 'crashed')
})

test('a kept lab is there as long as one of its programs is', t => {
  const dir = aDir(t)
  writeState(dir, { ...aState, owner: nobody, kept: true, processes: [nobody, me] })
  t.is(findLab(dir)?.status, 'kept')
  writeState(dir, { ...aState, owner: nobody, kept: true, processes: [nobody] })
  t.is(findLab(dir)?.status, 'crashed')
})

test('the state file holds what was written last', t => {
  const dir = aDir(t)
  writeState(dir, aState)
  writeState(dir, { ...aState, namespaces: ['x-n1'], processes: [me] })
  t.deepEqual(readState(dir), { ...aState, namespaces: ['x-n1'], processes: [me] })
})
