// Network namespaces for one test: named after the test's process, so that those of a killed run are known and swept.
import { existsSync } from 'node:fs'
import { addNetns, listNetns, netnsPath, removeNetns } from '../../kernel/netns.ts'

const NAME = /^mgt-(\d+)-\d+$/
let count = 0
let swept = false

export type ScratchNetns = { name: string; path: string; [Symbol.dispose](): void }

/** Whether this process may make network namespaces here. */
export const isRoot: boolean = process.getuid?.() === 0

/** A new, empty namespace with its loopback down. */
export function scratchNetns(): ScratchNetns {
  sweep()
  const name = `mgt-${process.pid}-${count++}`
  addNetns(name)
  return { name, path: netnsPath(name), [Symbol.dispose]: () => removeNetns(name) }
}

function sweep(): void {
  if (swept) return
  swept = true
  for (const name of listNetns()) {
    const pid = NAME.exec(name)?.[1]
    if (pid !== undefined && (Number(pid) === process.pid || !existsSync(`/proc/${pid}`))) removeNetns(name)
  }
}
