// The label of a file that SELinux decides by (xattr(7), `ls -Z`). A file that is made anew has the label of its folder's
// rule, which may be another one than that of the file in whose place it comes.
import { readXattr, writeXattr } from './libc.ts'
import { ERRNO, KernelError } from './port/error.ts'

const LABEL = 'security.selinux'
/** The file has none; the file system, or the kernel, knows none; the file is not there. */
const NONE: readonly number[] = [ERRNO.ENODATA, ERRNO.EOPNOTSUPP, ERRNO.ENOENT, ERRNO.ENOTDIR]

/** The label of a file; undefined when it has none, or is not there. Throws `KernelError`. */
export function readLabel(path: string): Uint8Array | undefined {
  try {
    return readXattr(path, LABEL)
  } catch (error) {
    if (error instanceof KernelError && NONE.includes(error.errno)) return undefined
    throw error
  }
}

/** Gives a file a label. Throws `KernelError`, EPERM where this program may not. */
export function writeLabel(path: string, label: Uint8Array): void {
  writeXattr(path, LABEL, label)
}
