// The state file of a lab: what a later run removes after a crash. It is written before the first namespace is made,
// so that nothing is missing in it.
import { mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { isMissing, type ProcessId } from './program.ts'

export type LabState = {
  prefix: string
  /** The process that runs the lab; of a kept lab it is gone while the programs live. */
  owner: ProcessId
  kept: boolean
  namespaces: string[]
  processes: ProcessId[]
}

export function writeState(dir: string, state: LabState): void {
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  if (statSync(dir).uid !== process.geteuid?.()) throw new Error(`${dir} belongs to somebody else: remove it first`)
  const file = join(dir, 'state.json')
  writeFileSync(`${file}.new`, `${JSON.stringify(state, null, 1)}\n`)
  renameSync(`${file}.new`, file)
}

/** Undefined when there is none. The file is never half written: it is renamed into place. */
export function readState(dir: string): LabState | undefined {
  try {
    return JSON.parse(readFileSync(join(dir, 'state.json'), 'utf8')) as LabState
  } catch (error) {
    if (isMissing(error)) return undefined
    throw error
  }
}

export function removeState(dir: string): void {
  rmSync(dir, { recursive: true, force: true })
}
