// What this process may do on the machine, tried at its start. Without a capability (capabilities(7)) it says which one it
// lacks and what for, and not what the kernel refused first.
import { broken, type Condition } from '../api/status.ts'
import { ERRNO, KernelError } from '../kernel/port/error.ts'
import type { Kernel } from '../kernel/port/kernel.ts'

/** The kernel lets this process change nothing of the network: an agent is of no use here. */
export class NetworkForbidden extends Error {
  override readonly name = 'NetworkForbidden'
}

/** For what the kernel said of the first change: throws `NetworkForbidden` where it was EPERM, and the error itself otherwise. */
export function explainFirstChange(error: unknown): never {
  if (!(error instanceof KernelError) || error.errno !== ERRNO.EPERM) throw error
  throw new NetworkForbidden(
    `the network of this machine may not be changed (${error.message}): run margay-node as root, or give it CAP_NET_ADMIN; pods that run keep their network`,
    { cause: error },
  )
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
        remedy: 'run margay-node as root, or give it CAP_SYS_ADMIN, which setns(2) asks for',
      }),
    ]
  }
}
