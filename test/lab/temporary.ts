// Labs of tests: named after the process that made them, so that they stand beside a person's lab and beside each
// other, and so that those of a killed test are known and removed by the next.
import { readdirSync } from 'node:fs'
import { listNetns } from '../../kernel/netns.ts'
import { type LabOptions, removeLab } from '../../lab/lab.ts'
import { readStartTicks } from '../../lab/program.ts'

const PREFIX = 'mglab'
const DIR = '/run/margay-lab-test-'

export function testLabOptions({ patience }: { patience: number }): LabOptions {
  const prefix = `${PREFIX}${process.pid}-`
  return { prefix, dir: DIR + process.pid, nodes: [2, 1], patience, say: () => {} }
}

/** Removes the labs of test processes that are gone. */
export async function sweepTestLabs(): Promise<void> {
  const names = [
    ...readdirSync('/run')
      .map(name => `/run/${name}`)
      .filter(name => name.startsWith(DIR)),
    ...listNetns(),
  ]
  const pids = names.map(name => (name.startsWith(DIR) ? name.slice(DIR.length) : /^mglab(\d+)-/.exec(name)?.[1]))
  for (const pid of new Set(pids))
    if (pid !== undefined && /^\d+$/.test(pid) && readStartTicks(Number(pid)) === undefined)
      await removeLab(DIR + pid, `${PREFIX}${pid}-`)
}
