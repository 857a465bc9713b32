// Which program listens on a TCP port of this network namespace, from /proc: the socket's inode by /proc/net/tcp(6)
// (proc_net_tcp in the kernel's documentation), then whose descriptor it is. A hint for people: it may be out of date at once.
import { readdir, readFile, readlink } from 'node:fs/promises'

const LISTEN = '0A'

/** Name and number of the process, such as `bird (process 812)`; undefined where none is found, or /proc may not be read. */
export async function portHolder(port: number): Promise<string | undefined> {
  const sockets = new Set<string>()
  const atPort = `:${port.toString(16).toUpperCase().padStart(4, '0')} `
  for (const table of ['/proc/net/tcp', '/proc/net/tcp6'])
    for (const line of (await textOf(table)).split('\n')) {
      if (!line.includes(atPort)) continue
      const [, local = '', , state, , , , , , inode] = line.trim().split(/\s+/)
      if (state === LISTEN && `${local} `.endsWith(atPort)) sockets.add(`socket:[${inode}]`)
    }
  if (sockets.size === 0) return undefined
  for (const pid of await namesIn('/proc')) {
    if (!/^\d+$/.test(pid)) continue
    for (const fd of await namesIn(`/proc/${pid}/fd`))
      if (sockets.has(await readlink(`/proc/${pid}/fd/${fd}`).catch(gone)))
        return `${(await textOf(`/proc/${pid}/comm`)).trim()} (process ${pid})`
  }
  return undefined
}

// processes end while they are looked at, and those of other users may not be read

function textOf(path: string): Promise<string> {
  return readFile(path, 'utf8').catch(gone)
}

function namesIn(path: string): Promise<string[]> {
  return readdir(path).catch(() => [])
}

const gone = (): string => ''
