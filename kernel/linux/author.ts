// Who a change came from, in words. Hazards: a process may have any port and name; netlink numbers a process as its own process
// namespace does, so that 1 is some container's, and its name is told only where the process of that number here has the socket.
import { closeSync, opendirSync, openSync, readFileSync, readlinkSync, readSync } from 'node:fs'
import type { Author } from '../port/kernel.ts'

/** Ports that the kernel chooses when that of the process id is taken are negative (netlink_autobind). */
const CHOSEN = 0x80000000
/** Of the sockets of a namespace, and of the open files of a process: a pod may have as many as it likes. */
const MOST_OCTETS = 256 << 10
const MOST_FILES = 1000
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
  const lines = readOr(() => readStart(`${proc}/self/net/netlink`))?.split('\n') ?? []
  const row = lines.find(line => {
    const [, family, of] = line.split(/\s+/, 3)
    return family === '0' && of === `${port}`
  })
  const inode = row?.trim().split(/\s+/).at(-1)
  return inode !== undefined && readOr(() => hasOpen(`${proc}/${pid}/fd`, `socket:[${inode}]`)) === true
}

function hasOpen(folder: string, file: string): boolean {
  using entries = opendirSync(folder)
  for (let left = MOST_FILES; left > 0; left--) {
    const entry = entries.readSync()
    if (entry === null) return false
    if (readOr(() => readlinkSync(`${folder}/${entry.name}`)) === file) return true
  }
  return false
}

/** The first lines of a file. */
function readStart(path: string): string {
  const fd = openSync(path, 'r')
  try {
    const data = Buffer.allocUnsafe(MOST_OCTETS)
    let end = 0
    for (let size = -1; size !== 0; end += size) size = readSync(fd, data, end, data.length - end, null)
    return data.toString('latin1', 0, data.subarray(0, end).lastIndexOf('\n') + 1)
  } finally {
    closeSync(fd)
  }
}

/** Undefined where the process has ended, is in another process namespace, or is not to be looked at. */
function readOr<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}
