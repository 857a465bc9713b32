// Paths of network namespaces: those that a runtime gives, and those that the plugin mounts (`pins.ts` says why).
import { statSync } from 'node:fs'

/** Where the plugin mounts namespaces, before the number of each; `PIN` in plugin.c. */
export const PIN = '/run/netns/margay-'

export function pinPath(netns: number): string {
  return `${PIN}${netns}`
}

/** Whether two paths lead to one namespace. Of a path that leads nowhere the text counts. */
export function isSameNetns(a: string, b: string): boolean {
  const inode = inodeOf(a)
  return a === b || (inode !== undefined && inode === inodeOf(b))
}

/** What `stat` calls the file behind a path; undefined where there is none. */
export function inodeOf(path: string): bigint | undefined {
  try {
    return statSync(path, { bigint: true, throwIfNoEntry: false })?.ino
  } catch {
    return undefined // no right to look, or a loop of links: nothing can be said of it
  }
}
