// Which interfaces take addresses and routes from router advertisements. The kernel ends that when a machine begins to forward
// IPv6, unless `accept_ra` is 2 (ip-sysctl.rst), so it is asked before, and remembered. It tells that to all interfaces and to
// those that come later, and any of them may be an uplink some day.
import type { Kernel } from '../kernel/port/kernel.ts'
import { readOrAbsent } from '../kernel/port/sysctls.ts'

type Asked = Pick<Kernel, 'links' | 'readSysctl'>

/** What an interface is made with. */
const DEFAULT = 'default'

export class RouterAdvertisements {
  readonly #kernel: Asked
  readonly #taken = new Map<string, boolean>()
  readonly #takenByDefault: boolean
  #names: readonly string[] = []

  private constructor(kernel: Asked, interfaces: readonly string[]) {
    this.#kernel = kernel
    this.#takenByDefault = this.#areTaken(DEFAULT, false) === true
    for (const name of interfaces) this.#judge(name, false)
    this.#list()
  }

  /** As it is before anything here is written. Rejects with `KernelError`. */
  static async now(kernel: Asked): Promise<RouterAdvertisements> {
    const links = await kernel.links()
    return new RouterAdvertisements(
      kernel,
      links.map(({ name }) => name),
    )
  }

  /**
   * All interfaces that took them when they were first seen, those of `interfaces` that are new among them; the same array until there is
   * another one. One that forwarded before, or whose network manager reads them itself, takes none. One that came since takes
   * them where the machine did by default: that it forwards says nothing of it.
   */
  takenBy(interfaces: readonly string[]): readonly string[] {
    const unknown = interfaces.filter(name => !this.#taken.has(name))
    for (const name of unknown) this.#judge(name, this.#takenByDefault)
    if (unknown.some(name => this.#taken.get(name) === true)) this.#list()
    return this.#names
  }

  #judge(name: string, whileForwarding: boolean): void {
    const taken = this.#areTaken(name, whileForwarding)
    if (taken !== undefined) this.#taken.set(name, taken)
  }

  /** Undefined of an interface that is not there, or has no IPv6. */
  #areTaken(name: string, whileForwarding: boolean): boolean | undefined {
    const setting = (key: string) => readOrAbsent(this.#kernel, 'ipv6', ['conf', name, key])
    const accepts = setting('accept_ra')
    if (accepts === undefined) return undefined
    return accepts === '2' || (accepts === '1' && (whileForwarding || setting('forwarding') === '0'))
  }

  #list(): void {
    this.#names = [...this.#taken].flatMap(([name, taken]) => (taken ? [name] : [])).sort()
  }
}
