// Whether the thread of BFD comes before others of the machine, with CAP_SYS_NICE and without.
import { execFileSync } from 'node:child_process'
import test from 'ava'
import { packageFile, programFile } from '../../lib/package-files.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { isRoot } from '../kernel/scratch-netns.ts'

const SAY = `
import { BfdThread } from ${JSON.stringify(packageFile('bgp/bfd/thread.ts').href)}
const bfd = new BfdThread(new URL(${JSON.stringify(programFile('agent/bfd-worker').href)}))
console.log((await bfd.status()).scheduling)
await bfd.close()
`
const when = isRoot ? test : test.skip

function said(...before: string[]): string {
  const [program = process.execPath, ...more] = [...before, process.execPath]
  return execFileSync(program, [...more, '--input-type=module', '--eval', SAY], { encoding: 'utf8' }).trim()
}

when('with CAP_SYS_NICE the thread of BFD comes before others, and without it says that it does not', t => {
  t.true(['real-time', 'raised'].includes(said()))
  t.is(said(systemProgram('setpriv'), '--bounding-set=-sys_nice', '--inh-caps=-sys_nice'), 'usual')
})
