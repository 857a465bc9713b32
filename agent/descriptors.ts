// Whether this process can open one more file. Without a descriptor it takes no connection, opens no pod's namespace and finds
// no API server, and each of these looks like another fault.
import { closeSync, openSync } from 'node:fs'
import { broken, type Condition } from '../api/status.ts'

const REMEDY: Readonly<Record<string, string>> = {
  EMFILE: `raise the limit of open files of margay-node (LimitNOFILE of its unit, ulimit -n), and look for who fills it: ls -l /proc/${process.pid}/fd`,
  ENFILE: 'raise fs.file-max, and look for the program that has so many files open: sysctl fs.file-nr, lsof',
}

/** Nothing while there is one left. `open` is for tests. */
export function descriptorConditions(open: () => number = () => openSync('/dev/null', 'r')): Condition[] {
  try {
    closeSync(open())
    return []
  } catch (error) {
    const { code = '', message } = error as NodeJS.ErrnoException
    const remedy = REMEDY[code]
    if (remedy === undefined) return [] // a machine without /dev/null says nothing of descriptors
    const effect = 'no pod can be added, and new connections wait'
    return [
      broken('DescriptorsLeft', {
        reason: 'NoDescriptor',
        message: `no file can be opened (${message}): ${effect}`,
        remedy,
      }),
    ]
  }
}
