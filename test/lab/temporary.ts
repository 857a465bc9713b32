// Labs of tests: named after the process that made them, so that they stand beside a person's lab and beside each
// other, and so that those of a killed test are known and removed by the next.
import { readdirSync } from 'node:fs'
import type { LabOptions } from '../../lab/lab.ts'
import { readStartTicks } from '../../lab/program.ts'
import { removeLab } from '../../lab/remains.ts'
import { readState } from '../../lab/state.ts'

const PREFIX = 'mglab'
const DIR = '/run/margay-lab-test-'

export function testLabOptions({ patience }: { patience: number }): LabOptions {
  const prefix = `${PREFIX}${process.pid}-`
  return { prefix, dir: DIR + process.pid, nodes: [2, 1], patience, say: () => {} }
}

/** Removes the labs of test processes that are gone. What follows the pid in a name is the test's own. */
export async function sweepTestLabs(): Promise<void> {
  for (const entry of readdirSync('/run')) {
    const pid = /^margay-lab-test-(\d+)/.exec(entry)?.[1]
    if (pid === undefined || readStartTicks(Number(pid)) !== undefined) continue
    const dir = `/run/${entry}`
    await removeLab(dir, readState(dir)?.prefix ?? `${PREFIX}${pid}-`)
  }
}
