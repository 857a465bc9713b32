// How the kernel says no: the errnos that callers tell apart and the one error class of this room.

/** Errnos that callers tell apart (asm-generic/errno-base.h, errno.h). */
export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  ESRCH: 3,
  EINTR: 4,
  ENXIO: 6,
  EAGAIN: 11,
  ENOMEM: 12,
  E2BIG: 7,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  EXDEV: 18,
  ENFILE: 23,
  EMFILE: 24,
  ENODEV: 19,
  ENOTDIR: 20,
  EINVAL: 22,
  ENOSPC: 28,
  EROFS: 30,
  ENODATA: 61,
  EBADMSG: 74,
  ERESTART: 85,
  ENOPROTOOPT: 92,
  EPROTONOSUPPORT: 93,
  EOPNOTSUPP: 95,
  EAFNOSUPPORT: 97,
  EADDRINUSE: 98,
  EADDRNOTAVAIL: 99,
  ENETDOWN: 100,
  ENETUNREACH: 101,
  ENOBUFS: 105,
  ETIMEDOUT: 110,
  EHOSTUNREACH: 113,
  ECANCELED: 125,
} as const

/** The kernel said no. `errno` is positive; `detail` is the extended-ack text where the kernel gave one. */
export class KernelError extends Error {
  override readonly name = 'KernelError'
  readonly errno: number
  /** Name of the errno, as in the errors of Node: EEXIST, or ERRNO_71 for one that has no name here. */
  readonly code: string
  readonly operation: string
  readonly object: string
  readonly detail?: string
  constructor(errno: number, operation: string, object: string, detail?: string) {
    const code = Object.entries(ERRNO).find(([, value]) => value === errno)?.[0]
    super(`${operation} ${object}: ${code ?? `errno ${errno}`}${detail === undefined ? '' : ` (${detail})`}`)
    this.errno = errno
    this.code = code ?? `ERRNO_${errno}`
    this.operation = operation
    this.object = object
    this.detail = detail
  }
}
