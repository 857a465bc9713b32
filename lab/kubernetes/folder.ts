// Where the lab's Kubernetes lies on this machine, and how all of it goes.
import { existsSync, mkdirSync, rmSync } from 'node:fs'
import { LabFailure } from '../lab-programs.ts'
import { runProgram, stopAll } from '../program.ts'
import { readState, removeState } from '../state.ts'
import { leftNamespaces, removeNamespaces } from '../topology.ts'
import { removeIdleCgroups } from './cgroups.ts'

export const KUBERNETES_DIR = '/run/margay-kubernetes'
/** Of every namespace's name. */
export const PREFIX = 'margay-k8s-'

/** A file system in memory: etcd and containerd write much, and containerd's layers need one that is no layer itself. */
export async function makeDir(dir: string): Promise<void> {
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  const run = await runProgram(['mount', '-t', 'tmpfs', '-o', 'mode=700,size=75%', 'tmpfs', dir])
  if (run.code !== 0) throw new LabFailure(`no file system in memory at ${dir}: ${run.stderr.trim()}`)
}

/** Removes the lab's Kubernetes, whatever state it is in. False when there was nothing. */
export async function removeKubernetesLab(): Promise<boolean> {
  const dir = KUBERNETES_DIR
  const state = readState(dir)
  const namespaces = leftNamespaces(PREFIX)
  // the nodes' first processes are among them: all others of a node end with that one
  await stopAll(state?.processes ?? [], 0)
  removeNamespaces(namespaces)
  removeIdleCgroups()
  if (!existsSync(dir)) return namespaces.length > 0
  while ((await runProgram(['umount', '--lazy', dir])).code === 0);
  removeState(dir)
  rmSync(dir, { recursive: true, force: true })
  return true
}
