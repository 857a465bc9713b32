// A node of the lab's Kubernetes as a machine of its own: its files, its processes, and what is left when its power goes.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import test from 'ava'
import { addNetns, removeNetns } from '../../kernel/netns.ts'
import { Machine } from '../../lab/kubernetes/machine.ts'
import { isAlive, type ProcessId } from '../../lab/program.ts'
import { systemProgram } from '../../lib/system-program.ts'

const netns = `mgmach-${process.pid}`
const dir = `/run/${netns}`
const started: ProcessId[] = []

test.after.always(() => {
  for (const each of started.filter(isAlive)) process.kill(each.pid, 'SIGKILL')
  removeNetns(netns)
  spawnSync(systemProgram('umount'), ['--lazy', dir])
  rmSync(dir, { recursive: true, force: true })
})

test('a machine keeps its files over a reboot, loses its /run, and ends with every process when its power goes', async t => {
  if (process.geteuid?.() !== 0) {
    t.log('skipped: needs root, for mounts')
    t.pass()
    return
  }
  mkdirSync(dir)
  // the file system of the machine may be a layer itself
  spawnSync(systemProgram('mount'), ['-t', 'tmpfs', 'tmpfs', dir])
  mkdirSync(`${dir}/shared`)
  addNetns(netns)
  const machine = new Machine({
    name: 'n1',
    netns,
    dir: `${dir}/n1`,
    shared: `${dir}/shared`,
    started: p => started.push(p),
  })
  await machine.boot()
  await machine.run(['mkdir', '-p', '/etc/margay-test', '/opt/margay-test', '/var/lib/margay-test', '/run/margay-test'])
  t.false(existsSync('/etc/margay-test') || existsSync('/opt/margay-test') || existsSync('/var/lib/margay-test'))
  t.true(existsSync(machine.path('/run/margay-test')))
  await machine.start('sleep', ['sleep', '1000'])
  await machine.start('other', ['sleep', '1000'])
  await machine.stop('sleep')
  t.is(
    (await machine.run(['ps', '-C', 'sleep', '-o', 'args='])).stdout,
    '/usr/bin/sleep infinity\n/usr/bin/sleep 1000\n',
  )
  t.is(machine.ended(), undefined)
  await machine.powerOff()
  t.deepEqual(started.filter(isAlive), [])
  await machine.boot()
  t.deepEqual(readdirSync(machine.path('/run')), [])
  for (const path of ['/etc', '/opt', '/var/lib']) t.true(existsSync(machine.path(`${path}/margay-test`)), path)
  await machine.powerOff()
})
