// What this process has of the machine, tried at its start. Where a container was not given something, it says what it lacks
// and what for (manifests/node.ts), and not what failed first for want of it.
import { accessSync } from 'node:fs'
import { join } from 'node:path'
import { broken, type Condition } from '../api/status.ts'
import { GIVE_SYS_ADMIN } from '../cni/error.ts'
import { ERRNO, KernelError } from '../kernel/port/error.ts'
import type { Kernel } from '../kernel/port/kernel.ts'

/** Without this the program is of no use. The message says what is lacking and what to do. */
export class AccessMissing extends Error {
  override readonly name = 'AccessMissing'
}

/** For what the kernel said of a change: throws `AccessMissing` where it was EPERM, and the error itself otherwise. */
export function explainForbidden(error: unknown): never {
  if (!(error instanceof KernelError) || error.errno !== ERRNO.EPERM) throw error
  throw new AccessMissing(
    `the network of this machine may not be changed (${error.message}): run margay-node as root, or give it CAP_NET_ADMIN`,
    { cause: error },
  )
}

/** Throws `AccessMissing` where the folder has no settings of a network: then every interface would seem to be gone. */
export function checkSysctlFolder(folder: string): void {
  try {
    accessSync(join(folder, 'ipv4/ip_forward'))
  } catch (cause) {
    const { message } = cause as Error
    throw new AccessMissing(
      `the settings of interfaces are not there (${message}): mount the machine’s /proc/sys/net at ${folder}, or correct --sysctl-dir`,
      { cause },
    )
  }
}

/** Nothing where the namespaces of pods can be entered: entering its own one takes the same right of setns(2). */
export function podAccessConditions(kernel: Pick<Kernel, 'inside'>): Condition[] {
  try {
    kernel.inside('/proc/self/ns/net').close()
    return []
  } catch (error) {
    if (!(error instanceof KernelError) || error.errno !== ERRNO.EPERM) return [] // each pod that fails says why
    return [
      broken('PodsEntered', {
        reason: 'Forbidden',
        message: `no network namespace can be entered (${error.message}): no pod can be added`,
        remedy: GIVE_SYS_ADMIN,
      }),
    ]
  }
}
