// What a lab is to those who did not start it: whether one runs, was kept or crashed, by its state file, and its removal.
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { netnsPath } from '../kernel/netns.ts'
import { enterIsolated, labDir, mayMakeNamespaces } from './isolate.ts'
import { LabFailure, NO_LAB } from './lab-programs.ts'
import { isAlive, type ProcessId, readStartTicks, stopAll } from './program.ts'
import { type LabState, readState, removeState } from './state.ts'
import { leftNamespaces, removeNamespaces } from './topology.ts'

/** What runs or was left at `dir`: nothing, a lab whose owner lives, a kept one, or the remains of a crash. */
export function findLab(dir: string): { state: LabState; status: 'running' | 'kept' | 'crashed' } | undefined {
  const state = readState(dir)
  if (state === undefined) return undefined
  if (state.kept) return { state, status: state.processes.some(isAlive) ? 'kept' : 'crashed' }
  return { state, status: isAlive(state.owner) ? 'running' : 'crashed' }
}

/**
 * Runs this program again inside of the kept lab of a plain user, which is in namespaces of its own, and resolves with its exit
 * code; undefined where they need not be entered. Rejects with LabFailure when there is no such lab.
 */
export async function enterKept(): Promise<number | undefined> {
  if (mayMakeNamespaces()) return undefined
  const found = findLab(labDir())
  const inside = found?.state.processes.find(isAlive)
  if (found?.status !== 'kept' || inside === undefined) throw new LabFailure(NO_LAB)
  return enterIsolated(inside.pid)
}

/** Removes a lab, whatever state it is in: programs, namespaces, files. False when there was nothing. */
export async function removeLab(dir: string, prefix: string): Promise<boolean> {
  const state = readState(dir)
  // A plain user's namespaces end with its programs; those of this name belong to root.
  const namespaces = mayMakeNamespaces() ? leftNamespaces(prefix) : []
  if (state === undefined && namespaces.length === 0 && !existsSync(dir)) return false
  await stopAll([...(state?.processes ?? []), ...strayAgents(dir, namespaces)], 3000)
  removeNamespaces(namespaces)
  removeState(dir)
  return state !== undefined || namespaces.length > 0
}

/** Programs started by hand for this lab: they run in one of its namespaces and name its directory. */
function strayAgents(dir: string, namespaces: readonly string[]): ProcessId[] {
  const inodes = new Set(namespaces.map(name => statSync(netnsPath(name)).ino))
  return processes((words, netns) => inodes.has(netns()) && words.some(word => word.includes(`${dir}/`)))
}

/** The program in a namespace that has `word` among the words it was started with, whoever started it. */
export function programIn(netns: string, word: string): ProcessId | undefined {
  const { ino } = statSync(netnsPath(netns))
  return processes((words, inode) => words.includes(word) && inode() === ino)[0]
}

function processes(isOne: (words: readonly string[], netns: () => number) => boolean): ProcessId[] {
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .flatMap(name => {
      try {
        const words = readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0')
        if (!isOne(words, () => statSync(`/proc/${name}/ns/net`).ino)) return []
      } catch {
        return [] // it ended while we looked, or is not ours to see
      }
      const startTicks = readStartTicks(Number(name))
      return startTicks === undefined ? [] : [{ name: 'stray', pid: Number(name), startTicks }]
    })
}
