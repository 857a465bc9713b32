// Hears of writes to the settings of a network namespace, with the process that writes: one mark of fanotify on the whole of the /proc in
// which the settings are seen. Writes through another mount of /proc, as each container has one, are told by nothing.
// Hazards: every file of that /proc that is written is told, as many as anybody likes, also settings of other namespaces, which have the
// same names and other inodes; each comes as an open descriptor, which is ours to close; and the process may have ended by the time that
// its name is asked for.
import { closeSync, fstatSync, readFileSync, readlinkSync, readSync, statSync } from 'node:fs'
import { openWriteWatch, watchReadable } from '../libc.ts'
import type { SettingNews, SettingWatch, SysctlFamily } from '../port/sysctls.ts'

/** fanotify_event_metadata of linux/fanotify.h: length u32 | version u8 | pad u8 | its own length u16 | mask u64 | fd i32 | pid i32 */
const [MASK, FD, PID] = [8, 16, 20]
const LEAST_EVENT = 24
const OVERFLOW = 0x4000n
/** Each is a descriptor that is open until it was looked at. */
const AT_ONCE = 16
/** Reads in one turn of the event loop. */
const PER_TURN = 8
/** The kernel could not open a file for want of them, and the event is gone. */
const SHORT: readonly unknown[] = ['EMFILE', 'ENFILE', 'ENOMEM']
/** Between two `renew`, which are ten seconds apart: one costs 30 us. */
const MOST = 4000
/** A bind mount of a part of /proc shows it under another name. */
const SETTING = /\/sys\/net\/(ipv4|ipv6)\/(.+)$/

/**
 * As `SettingWatchPort.watchSettings`. `folder`: where the settings are, /proc/sys/net or another place of it. `within`: runs what it is given
 * in the network namespace whose settings are meant. Throws `KernelError`: EPERM without CAP_SYS_ADMIN.
 */
export function openSettingWatch(
  folder: string,
  listen: (news: SettingNews | undefined) => void,
  within: <T>(act: () => T) => T,
): SettingWatch {
  const events = Buffer.alloc(AT_ONCE * LEAST_EVENT)
  let fd = -1
  let left = 0
  let closed = false
  let unwatch = () => {}
  const shut = () => {
    if (fd < 0) return
    unwatch()
    closeSync(fd)
    fd = -1
  }
  /** Returns false when nothing more waits. */
  const read = (): boolean => {
    const size = fd < 0 ? 0 : readEvents(fd, events, () => listen(undefined))
    for (let at = 0; at + LEAST_EVENT <= size; at += events.readUInt32LE(at)) {
      left--
      if ((events.readBigUInt64LE(at + MASK) & OVERFLOW) !== 0n) listen(undefined)
      else take(events.readInt32LE(at + FD), events.readInt32LE(at + PID))
    }
    if (left > 0 || fd < 0) return size > 0
    // nothing more is told until it is renewed
    shut()
    listen(undefined)
    return false
  }
  const take = (file: number, pid: number) => {
    try {
      if (pid === process.pid) return
      const [, family, path] = SETTING.exec(readlinkSync(`/proc/self/fd/${file}`)) ?? []
      if (family === undefined || path === undefined || closed) return
      if (!isSame(file, `${folder}/${family}/${path}`)) return
      const by = authorOf(pid)
      listen({ family: family as SysctlFamily, path: path.split('/'), ...(by && { by }) })
    } finally {
      closeSync(file)
    }
  }
  const readSome = (most: number) => {
    for (let times = most; times > 0 && read(); times--);
  }
  const renew = () => {
    left = MOST
    if (fd >= 0 || closed) return
    fd = openWriteWatch(folder)
    unwatch = watchReadable(fd, () => within(() => readSome(PER_TURN)))
  }
  renew()
  return {
    renew,
    drain() {
      if (fd >= 0) within(() => readSome(2 * PER_TURN))
    },
    close() {
      closed = true
      shut()
    },
  }
}

/** What cannot be opened for us is left out by the kernel, with an error where it is the first one; `lost`: it may be a setting. */
function readEvents(fd: number, events: Buffer, lost: () => void): number {
  try {
    return readSync(fd, events)
  } catch (error) {
    if (SHORT.includes((error as NodeJS.ErrnoException).code)) lost()
    return 0
  }
}

/** Whether an open file is that of this path, as the calling thread sees it. */
function isSame(fd: number, path: string): boolean {
  try {
    const [a, b] = [fstatSync(fd), statSync(path)]
    return a.ino === b.ino && a.dev === b.dev
  } catch {
    return false // its interface has just gone
  }
}

/** 0 is a process that this one's process namespace does not have. */
function authorOf(pid: number): SettingNews['by'] {
  if (pid === 0) return undefined
  try {
    return { pid, name: readFileSync(`/proc/${pid}/comm`, 'utf8').trim() }
  } catch {
    return { pid, name: '' } // it has ended
  }
}
