// A lab is removed completely: at the end of its scope, and after a crash. One that is kept: faults.netns.test.ts.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { listNetns } from '../../kernel/netns.ts'
import { Lab, root } from '../../lab/lab.ts'
import { isAlive, type ProcessId } from '../../lab/program.ts'
import { findLab, removeLab } from '../../lab/remains.ts'
import { readState } from '../../lab/state.ts'
import { sweepTestLabs, testLabOptions } from './temporary.ts'

const isRoot = process.geteuid?.() === 0
const usual = testLabOptions({ patience: 2 })
/** Labs of this file stand beside each other. */
const named = (word: string) => ({
  ...{ ...usual, nodes: [1, 0] as const },
  prefix: `${usual.prefix}${word}-`,
  dir: `${usual.dir}-${word}`,
})
const namespaces = (prefix: string) => listNetns().filter(name => name.startsWith(prefix))

const rootTest = (title: string, check: (t: import('ava').ExecutionContext) => Promise<void>) =>
  test.serial(title, async t => {
    if (isRoot) return check(t)
    t.log('skipped: needs root, for network namespaces')
    t.pass()
  })

test.before(async () => {
  if (isRoot) await sweepTestLabs()
})

rootTest('a lab leaves no namespace, no program and no file when its scope ends', async t => {
  const options = named('scope')
  let processes: ProcessId[]
  {
    await using lab = new Lab(options)
    await lab.start()
    t.is(namespaces(options.prefix).length, 5)
    processes = readState(options.dir)!.processes
    t.true(processes.every(isAlive))
  }
  t.deepEqual(namespaces(options.prefix), [])
  t.false(processes.some(isAlive))
  t.false(existsSync(options.dir))
})

rootTest('what a lab that was killed left behind is removed by the next', async t => {
  const options = named('crash')
  const program = `
    import { Lab } from '${join(root, 'lab/lab.ts')}'
    await new Lab({ ...${JSON.stringify(options)}, say: () => {} }).start()
    process.stdout.write('started')
    setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await new Promise(resolve => child.stdout.once('data', resolve))
  t.is(findLab(options.dir)?.status, 'running')
  const ended = new Promise(resolve => child.once('exit', resolve))
  child.kill('SIGKILL')
  await ended
  t.is(findLab(options.dir)?.status, 'crashed')
  const { processes } = readState(options.dir)!
  t.true(processes.some(isAlive))
  t.true(await removeLab(options.dir, options.prefix))
  t.deepEqual(namespaces(options.prefix), [])
  t.false(processes.some(isAlive))
  t.false(existsSync(options.dir))
  t.false(await removeLab(options.dir, options.prefix), 'a second time there is nothing to remove')
})
