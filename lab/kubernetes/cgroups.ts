// Control groups of the lab's nodes: one per node and hierarchy (cgroup v1 has several, v2 one), below which kubelet makes
// those of pods. Hazard: the tree is the machine's, whatever namespaces a lab has, so names carry a random part.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const ROOT = '/sys/fs/cgroup'
const PREFIX = 'margay-k8s-'

/** The name of a node's group. `lab` is a word of one lab's own. */
export function cgroupName(lab: string, node: string): string {
  return `${PREFIX}${lab}-${node}`
}

/**
 * Makes the group in every hierarchy, with nothing below it, as a machine has none when it boots: for each group of a
 * container that is gone a kubelet waits three seconds before it registers its node.
 */
export function makeCgroup(name: string): void {
  for (const hierarchy of hierarchies()) {
    const group = join(hierarchy, name)
    if (existsSync(group)) removeTree(group)
    mkdirSync(group, { recursive: true })
    // v1: a group without processors takes no process
    for (const file of ['cpuset.cpus', 'cpuset.mems'])
      if (existsSync(join(group, file)) && existsSync(join(hierarchy, file)))
        writeFileSync(join(group, file), readFileSync(join(hierarchy, file)))
    // a node counts as several processes of this machine's, not as one
    for (const [file, weight] of [
      ['cpu.shares', '10240'],
      ['cpu.weight', '1000'],
    ] as const)
      if (existsSync(join(group, file))) attempt(() => writeFileSync(join(group, file), weight))
    // v2: what the groups below may limit
    const controllers = join(hierarchy, 'cgroup.controllers')
    if (!existsSync(controllers)) continue
    const words = readFileSync(controllers, 'utf8').trim().split(' ').filter(Boolean)
    for (const at of [hierarchy, group])
      for (const word of words) attempt(() => writeFileSync(join(at, 'cgroup.subtree_control'), `+${word}`))
  }
}

/** Removes the groups of all labs that have no process left, with those below; a group in use stays. */
export function removeIdleCgroups(): void {
  for (const hierarchy of hierarchies())
    for (const name of readdirSync(hierarchy)) if (name.startsWith(PREFIX)) removeTree(join(hierarchy, name))
}

function removeTree(group: string): void {
  attempt(() => {
    for (const each of readdirSync(group, { withFileTypes: true }))
      if (each.isDirectory()) removeTree(join(group, each.name))
    rmdirSync(group)
  })
}

function hierarchies(): string[] {
  return [ROOT, ...readdirSync(ROOT).map(name => join(ROOT, name))]
    .filter(path => {
      return statSync(path).isDirectory() && existsSync(join(path, 'cgroup.procs'))
    })
    .filter(path => path === ROOT || !existsSync(join(ROOT, 'cgroup.procs')))
}

/** Another process may have made, used or removed it: what does not succeed shows later, or does not matter. */
function attempt(step: () => void): void {
  try {
    step()
  } catch {}
}
