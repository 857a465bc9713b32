// Real network namespaces to test in: named with this process's id, swept when their maker is dead.
import { existsSync } from 'node:fs'
import { openKernel } from '../../kernel/linux/kernel.ts'
import { addNetns, listNetns, netnsPath, removeNetns } from '../../kernel/netns.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'

const PREFIX = 'mgfelix'
let count = 0

/** Removes what tests that were killed left behind. */
export function sweep(): void {
  for (const name of listNetns()) {
    const pid = new RegExp(`^${PREFIX}-(\\d+)-`).exec(name)?.[1]
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) removeNetns(name)
  }
}

export type TestNetns = { name: string; kernel: Kernel; otherProgram: Kernel; close(): Promise<void> }

/** A fresh namespace with two independent ways into its kernel. */
export async function openNetns(): Promise<TestNetns> {
  const name = `${PREFIX}-${process.pid}-${++count}`
  addNetns(name)
  const home = openKernel()
  const kernel = home.inside(netnsPath(name))
  const otherProgram = home.inside(netnsPath(name))
  return {
    name,
    kernel,
    otherProgram,
    async close() {
      otherProgram.close()
      kernel.close()
      home.close()
      removeNetns(name)
    },
  }
}

/** Whether this process may make namespaces at all. */
export const isRoot = process.getuid?.() === 0
