// Which uplinks take addresses and routes from router advertisements. The kernel ends that when a machine begins to forward
// IPv6, unless `accept_ra` is 2 (ip-sysctl.rst), so it is asked before, and remembered.
import { readOrAbsent, type SysctlPort } from '../kernel/port/sysctls.ts'

export class RouterAdvertisements {
  readonly #kernel: Pick<SysctlPort, 'readSysctl'>
  /** Uplinks that took them when they were first seen. */
  readonly #taken = new Set<string>()

  constructor(kernel: Pick<SysctlPort, 'readSysctl'>) {
    this.#kernel = kernel
  }

  /** A host that forwarded before, or whose network manager reads them itself, takes none. */
  areTaken(uplink: string): boolean {
    const setting = (name: string) => readOrAbsent(this.#kernel, 'ipv6', ['conf', uplink, name])
    const accepts = setting('accept_ra')
    if (accepts === '2' || (accepts === '1' && setting('forwarding') === '0')) this.#taken.add(uplink)
    return this.#taken.has(uplink)
  }
}
