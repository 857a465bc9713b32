// Which machines reach which addresses on paper, whatever BGP says: machines with addresses in one subnet are on one link, and routers
// join their links. What is behind a link without a router of the topology, and behind one of a router where nobody else is, is the
// world outside of it, which joins all of these and never fails.
import { addressBits, familyOf, parseAddress, parseCidr } from '../../lib/ip.ts'
import { PrefixIndex, parsePrefix } from '../../lib/prefix-index.ts'
import type { Gone } from './topology.ts'

/** `forwards`: a router. `addresses`: with their masks. */
export type Host = { name: string; forwards: boolean; addresses: readonly string[] }

/** The area of what is outside. */
const WORLD = 'the world outside'

export class Underlay {
  readonly #owners = new Map<string, string>()
  /** The links of each machine that it is on. */
  readonly #links = new Map<string, Set<string>>()
  readonly #linkOf = new PrefixIndex<string>()
  readonly #areas = new Areas()

  constructor(hosts: readonly Host[], gone: Gone) {
    const there = hosts.filter(({ name }) => !gone.machines.has(name))
    const on = new Map<string, { name: string; forwards: boolean }[]>()
    for (const { name, forwards, addresses } of hosts)
      for (const text of addresses) {
        const { address, link } = placeOf(text)
        if (!this.#owners.has(address)) this.#owners.set(address, name)
        if (gone.machines.has(name)) continue
        this.#linkOf.set(parsePrefix(link)!, link)
        if (gone.links.has(link) || gone.ends.some(end => end.machine === name && end.link === link)) continue
        this.#links.set(name, (this.#links.get(name) ?? new Set()).add(link))
        on.set(link, [...(on.get(link) ?? []), { name, forwards }])
      }
    // who has its addresses on a link is part of the plan, also where one of them is gone
    const planned = plannedOn(hosts)
    for (const [link, [only, ...others]] of planned) {
      const isRouted = [only, ...others].some(host => host?.forwards)
      if (!gone.links.has(link) && (!isRouted || (others.length === 0 && !isHost(link)))) this.#areas.join(link, WORLD)
    }
    for (const { name, forwards } of there)
      if (forwards) for (const link of this.#links.get(name) ?? []) this.#areas.join(link, `router ${name}`)
  }

  /** The machine with an address, also one that is gone. */
  ownerOf(address: string): string | undefined {
    return this.#owners.get(address)
  }

  /** Whether a machine has a link on which this address is. */
  isOnLink(name: string, address: string): boolean {
    const link = this.#linkOf.match(parsePrefix(address)!)
    return link !== undefined && this.#links.get(name)?.has(link) === true && this.#isThere(address, link)
  }

  /** Whether packets of a machine reach an address: over a link, or over routers and what is outside. */
  reaches(name: string, address: string): boolean {
    const link = this.#linkOf.match(parsePrefix(address)!)
    const owner = this.#owners.get(address)
    if (owner !== undefined && link !== undefined && !this.#isThere(address, link)) return false
    const area = link === undefined ? WORLD : link
    return [...(this.#links.get(name) ?? [])].some(own => this.#areas.areJoined(own, area))
  }

  #isThere(address: string, link: string): boolean {
    const owner = this.#owners.get(address)
    return owner === undefined || this.#links.get(owner)?.has(link) === true
  }
}

/** The address and the link of an address with a mask, both as they are written canonically. */
export function placeOf(text: string): { address: string; link: string } {
  const { address: first, length } = parseCidr(text)!
  return { address: parseAddress(text.split('/')[0]!)!, link: `${first}/${length}` }
}

/** Whether a link is an address without a subnet, so that nobody else is on it. */
export function isHost(link: string): boolean {
  return parseCidr(link)!.length === addressBits(familyOf(link))
}

function plannedOn(hosts: readonly Host[]): Map<string, Host[]> {
  const on = new Map<string, Host[]>()
  for (const host of hosts)
    for (const { link } of host.addresses.map(placeOf)) on.set(link, [...(on.get(link) ?? []), host])
  return on
}

/** What is joined with what. */
class Areas {
  readonly #joined = new Map<string, string>()

  join(a: string, b: string): void {
    const [first, second] = [this.#root(a), this.#root(b)]
    if (first !== second) this.#joined.set(first, second)
  }

  areJoined(a: string, b: string): boolean {
    return this.#root(a) === this.#root(b)
  }

  #root(of: string): string {
    let root = of
    for (let next = this.#joined.get(root); next !== undefined; next = this.#joined.get(root)) root = next
    if (root !== of) this.#joined.set(of, root)
    return root
  }
}
