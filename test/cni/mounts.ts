// Mounts of namespaces, for tests that run beside others of this machine: a number of a namespace that is gone is given again,
// so a name alone may be another test's by now.
import { readFileSync } from 'node:fs'

/** The number of the mount at a path; undefined where nothing is mounted. */
export function mountAt(path: string): string | undefined {
  const lines = readFileSync('/proc/self/mountinfo', 'utf8').split('\n')
  return lines.map(line => line.split(' ')).findLast(fields => fields[4] === path)?.[0]
}
