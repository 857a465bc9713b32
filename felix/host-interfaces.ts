// Which interfaces the host endpoints of this node are for, as the kernel has links and addresses. It is asked only while there
// are host endpoints, and again when it tells of what could matter.
import { isDeepStrictEqual } from 'node:util'
import { broken, type Condition } from '../api/status.ts'
import type { Kernel, KernelEvent } from '../kernel/port/kernel.ts'
import { type Gap, hostInterfaces, isOfHost } from './policy/host-interfaces.ts'
import { ALL_INTERFACES, type HostEndpointHere, type LocalHost } from './policy/model.ts'

export class HostInterfaces {
  readonly #kernel: Pick<Kernel, 'links' | 'addresses'>
  readonly #interfacePrefix: string
  readonly #hosts = new Map<string, HostEndpointHere>()
  #told: ReadonlyMap<string, LocalHost> = new Map()
  /** The names of the host's own interfaces, by index. */
  #names: ReadonlyMap<number, string> = new Map()
  #gaps: ReadonlyMap<string, Gap> = new Map()
  #stale = false

  constructor(kernel: Pick<Kernel, 'links' | 'addresses'>, interfacePrefix: string) {
    this.#kernel = kernel
    this.#interfacePrefix = interfacePrefix
  }

  /** A host endpoint of this node, by its name. Memory only. */
  set(key: string, host: HostEndpointHere | undefined): void {
    if (host === undefined) this.#hosts.delete(key)
    else this.#hosts.set(key, host)
    this.#stale = true
  }

  /** The kernel may have changed unseen. */
  invalidate(): void {
    this.#stale = true
  }

  /** Takes in what the kernel told; returns whether a pass is needed. */
  observe(event: KernelEvent): boolean {
    if (this.#hosts.size === 0 || !this.#concerns(event)) return false
    this.#stale = true
    return true
  }

  /** The host endpoints that are for other interfaces than before. Rejects with `KernelError`. */
  async look(): Promise<ReadonlyMap<string, LocalHost | undefined>> {
    if (!this.#stale) return new Map()
    // first: what is told while the kernel is asked counts in the next pass
    this.#stale = false
    try {
      return this.#take(this.#hosts.size === 0 ? new Map() : await this.#read())
    } catch (error) {
      this.#stale = true
      throw error
    }
  }

  /** The host endpoint that an interface is of, by the index of the kernel, as of the last look. */
  ownerOf(index: number): string | undefined {
    const name = this.#names.get(index)
    if (name === undefined) return undefined
    const owner = (of: string) => [...this.#told].find(([, { interfaces }]) => interfaces.includes(of))?.[0]
    return owner(name) ?? owner(ALL_INTERFACES)
  }

  /** The host endpoints that protect nothing, or nothing that is there, as of the last look. */
  conditions(): Condition[] {
    return [...this.#gaps].map(([name, { why, remedy }]) =>
      broken('PoliciesEnforced', {
        reason: 'NoInterface',
        message: `the host endpoint protects nothing now: ${why}`,
        remedy,
        object: { kind: 'HostEndpoint', name },
      }),
    )
  }

  #concerns(event: KernelEvent): boolean {
    if (event.type === 'link' || event.type === 'link-gone') return !event.link.name.startsWith(this.#interfacePrefix)
    if (event.type !== 'address' && event.type !== 'address-gone') return false
    const { address } = event.address
    return [...this.#hosts.values()].some(host => host.addresses.includes(address))
  }

  async #read(): Promise<ReadonlyMap<string, readonly string[]>> {
    const [links, addresses] = [await this.#kernel.links(), await this.#kernel.addresses()]
    this.#names = new Map(
      links.filter(({ name }) => isOfHost(name, this.#interfacePrefix)).map(({ index, name }) => [index, name]),
    )
    const byIndex = Map.groupBy(addresses, ({ ifindex }) => ifindex)
    return new Map(links.map(({ name, index }) => [name, (byIndex.get(index) ?? []).map(({ address }) => address)]))
  }

  #take(there: ReadonlyMap<string, readonly string[]>): Map<string, LocalHost | undefined> {
    const { interfaces, gaps } = hostInterfaces(this.#hosts, there, this.#interfacePrefix)
    this.#gaps = gaps
    const now = new Map<string, LocalHost>()
    for (const [key, { profiles }] of this.#hosts) now.set(key, { interfaces: interfaces.get(key) ?? [], profiles })
    const changed = new Map<string, LocalHost | undefined>()
    for (const key of this.#told.keys()) if (!now.has(key)) changed.set(key, undefined)
    for (const [key, host] of now) if (!isDeepStrictEqual(host, this.#told.get(key))) changed.set(key, host)
    this.#told = now
    return changed
  }
}
