// Who a change came from, in words. Hazards: a process may have any port and name; netlink numbers a process as its own process
// namespace does, so that 1 is some container's, and its name is told only where the process of that number here has the socket.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import type { Author } from '../port/kernel.ts'

/** Ports that the kernel chooses when that of the process id is taken are negative (netlink_autobind). */
const CHOSEN = 0x80000000
/** libnl counts sockets of one process above these bits. */
const PID_MASK = 0x3fffff

/** As `Kernel.authorText`. `proc`: another place of /proc. */
export function authorText(author: Author, proc = '/proc'): string | undefined {
  if ('pid' in author) return words(author.pid, author.name)
  const { port } = author
  if (port >= CHOSEN) return undefined
  const pid = port & PID_MASK
  if (pid === 0) return undefined
  return words(pid, holds(pid, port, proc) ? readOr(() => readFileSync(`${proc}/${pid}/comm`, 'utf8')) : undefined)
}

/** A name is whatever the process says, and lands in logs and events. */
function words(pid: number, name = ''): string {
  const told = name.trim().replace(/[^ -~]/g, '?')
  return told === '' ? `process ${pid}` : `${told} (process ${pid})`
}

/** Whether the process of this number has the rtnetlink socket of this port; most that change one thing have ended. */
function holds(pid: number, port: number, proc: string): boolean {
  // sk | family | port | groups | ... | inode, of the namespace of whoever reads it
  const lines = readOr(() => readFileSync(`${proc}/self/net/netlink`, 'utf8'))?.split('\n') ?? []
  const row = lines.map(line => line.trim().split(/\s+/)).find(([, family, of]) => family === '0' && of === `${port}`)
  const inode = row?.at(-1)
  if (inode === undefined) return false
  const folder = `${proc}/${pid}/fd`
  const links = readOr(() => readdirSync(folder)) ?? []
  return links.some(fd => readOr(() => readlinkSync(`${folder}/${fd}`)) === `socket:[${inode}]`)
}

/** Undefined where the process has ended, is in another process namespace, or is not to be looked at. */
function readOr<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}
