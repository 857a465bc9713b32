// A lab that was kept as a file beside its state: what a later process needs to go on with it.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { isMissing } from './program.ts'

export type KeptLab = {
  /** The checkout whose programs run in it. */
  root: string
  options: { nodes: readonly [number, number]; podsPerNode?: number; ipv6?: boolean }
  /** The addresses of each pod that has a network, by its name. */
  pods: Readonly<Record<string, readonly string[]>>
}

const fileIn = (dir: string) => join(dir, 'kept.json')

export function writeKept(dir: string, kept: KeptLab): void {
  writeFileSync(fileIn(dir), `${JSON.stringify(kept, null, 1)}\n`, { mode: 0o600 })
}

/** Undefined when there is none. */
export function readKept(dir: string): KeptLab | undefined {
  try {
    return JSON.parse(readFileSync(fileIn(dir), 'utf8')) as KeptLab
  } catch (error) {
    if (isMissing(error)) return undefined
    throw error
  }
}
