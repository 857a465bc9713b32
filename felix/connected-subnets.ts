// The subnets that interfaces of this node are in, as the kernel has addresses and links; those of pods and tunnels apart. The kernel
// is asked only after it told of what could matter.
import type { Address } from '../kernel/port/addresses.ts'
import type { Kernel, KernelEvent } from '../kernel/port/kernel.ts'
import type { Link } from '../kernel/port/links.ts'
import { ROUTE_SCOPE } from '../kernel/port/routes.ts'
import { addressBits, familyOf } from '../lib/ip.ts'
import { TUNNEL_DEVICES } from './calc/tunnels.ts'
import type { ConnectedSubnet } from './input.ts'

export class ConnectedSubnets {
  readonly #kernel: Pick<Kernel, 'links' | 'addresses'>
  readonly #isOfPod: (interfaceName: string) => boolean
  /** As last seen: the interfaces that are in a subnet, by index, and their addresses. */
  #links: ReadonlyMap<number, string> = new Map()
  #addresses: ReadonlySet<string> = new Set()
  #stale = true
  /** The kernel is asked: what it tells meanwhile may be newer than its answer. */
  #isAsked = false

  constructor(kernel: Pick<Kernel, 'links' | 'addresses'>, isOfPod: (interfaceName: string) => boolean) {
    this.#kernel = kernel
    this.#isOfPod = isOfPod
  }

  /** The kernel may have changed unseen. */
  invalidate(): void {
    this.#stale = true
  }

  /** Takes in what the kernel told; returns whether a pass is needed. */
  observe(event: KernelEvent): boolean {
    if (!this.#isNews(event)) return false
    this.#stale = true
    return true
  }

  /** What is there now; undefined where nothing was told since the last look. Rejects with `KernelError`. */
  async look(): Promise<readonly ConnectedSubnet[] | undefined> {
    if (!this.#stale) return undefined
    this.#stale = false
    this.#isAsked = true
    try {
      const [links, addresses] = [await this.#kernel.links(), await this.#kernel.addresses()]
      return this.#take(new Map(links.map(link => [link.index, link])), addresses.filter(isOfSubnet))
    } catch (error) {
      this.#stale = true
      throw error
    } finally {
      this.#isAsked = false
    }
  }

  #take(links: ReadonlyMap<number, Link>, addresses: readonly Address[]): ConnectedSubnet[] {
    const found = addresses.flatMap(address => {
      const link = links.get(address.ifindex)
      return link === undefined || this.#isApart(link) ? [] : [{ address, link }]
    })
    this.#links = new Map(found.map(({ link }) => [link.index, stateOf(link)]))
    // one whose link came in between counts once it is told
    this.#addresses = new Set(addresses.filter(({ ifindex }) => links.has(ifindex)).map(keyOf))
    const connected = found.map(({ address: { address, length }, link: { name: interfaceName, up, running } }) => {
      return { cidr: `${address}/${length}`, interfaceName, isUp: up && running }
    })
    // the kernel lists in the order in which they came
    return connected.toSorted((a, b) => (textOf(a) < textOf(b) ? -1 : 1))
  }

  #isApart({ name }: Link): boolean {
    return name === 'lo' || TUNNEL_DEVICES.has(name) || this.#isOfPod(name)
  }

  #isNews(event: KernelEvent): boolean {
    switch (event.type) {
      case 'overrun':
        return true
      case 'link':
      case 'link-gone': {
        if (this.#isAsked) return true
        const before = this.#links.get(event.link.index)
        return before !== undefined && (event.type === 'link-gone' || before !== stateOf(event.link))
      }
      case 'address':
      case 'address-gone':
        if (!isOfSubnet(event.address)) return false
        return this.#isAsked || this.#addresses.has(keyOf(event.address)) !== (event.type === 'address')
      default:
        return false
    }
  }
}

function isOfSubnet({ address, length, scope }: Address): boolean {
  return scope === ROUTE_SCOPE.universe && length < addressBits(familyOf(address))
}

function keyOf({ ifindex, address, length }: Address): string {
  return `${ifindex} ${address}/${length}`
}

function stateOf({ name, up, running }: Link): string {
  return `${name} ${up && running}`
}

function textOf({ cidr, interfaceName }: ConnectedSubnet): string {
  return `${cidr} ${interfaceName}`
}
