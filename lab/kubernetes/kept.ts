// A kept Kubernetes of the lab as a file beside the lab's state: what a later process needs to go on with it, so that tests
// are played on it again and again without a new cluster for each.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { isMissing, type KeptProgram } from '../program.ts'
import type { KubernetesCredentials } from './credentials.ts'
import type { KeptMachine } from './machine.ts'
import type { ProxyMode } from './programs.ts'

export type KeptCluster = {
  nodes: readonly [number, number]
  proxy: ProxyMode
  ipv6: boolean
  /** The part of the control groups' names that is this lab's own. */
  word: string
  credentials: KubernetesCredentials
  control: Readonly<Record<string, KeptProgram>>
  machines: Readonly<Record<string, KeptMachine>>
}

const fileIn = (dir: string) => join(dir, 'cluster.json')

/** The file holds the nodes' tokens: it is for its owner alone. */
export function writeKept(dir: string, kept: KeptCluster): void {
  writeFileSync(fileIn(dir), `${JSON.stringify(kept, null, 1)}\n`, { mode: 0o600 })
}

/** Undefined when there is none. */
export function readKept(dir: string): KeptCluster | undefined {
  try {
    return JSON.parse(readFileSync(fileIn(dir), 'utf8')) as KeptCluster
  } catch (error) {
    if (isMissing(error)) return undefined
    throw error
  }
}
