// Which kernel objects are ours. Every object that Margay writes carries a mark that a restarted process knows again:
// a route its protocol number, everything on a pod's interface the prefix of that interface's name, everything on a
// tunnel device the device's name. What carries no mark of ours is another owner's and is left alone.
import { addressBits, familyOf, isLinkLocal } from '../../lib/ip.ts'
import { PrefixIndex, parsePrefix } from '../../lib/prefix-index.ts'
import { GATEWAY } from '../pod-interface.ts'
import { ROUTE_PROTOCOL, ROUTE_SCOPE } from '../port/routes.ts'
import type { NamedAddress, NamedRoute, RouteWay } from './objects.ts'

/** The marks of one program in one network namespace. Two programs must not share any of them. */
export type Marks = {
  /** The routing table that is written. */
  table: number
  /** The rtm_protocol that no other program of this namespace writes (linux/rtnetlink.h; `ip route`: `proto`). */
  protocol: number
  /** Interfaces whose names begin so are ours alone, with every neighbour of theirs and every route without a gateway. */
  interfacePrefix?: string
  /** The names of the VXLAN devices that are ours alone, with everything on them. */
  vxlanDevices?: readonly string[]
  /** The name of the IP-in-IP device: the kernel's own, which others may use too. */
  ipipDevice?: string
  /** The name of the tables of nftables that are ours alone, one for each family in use. */
  nftTable?: string
}

/** Why a route is ours: it is to a pod, it stands for a block of this node, or it was learned. */
export type RouteOrigin = 'pod' | 'block' | 'learned'

/** What is ours by the marks, and what we may write over although it is not. */
export class Ownership {
  readonly marks: Marks
  #destinations = new PrefixIndex<true>()

  constructor(marks: Marks) {
    this.marks = marks
  }

  /** The CIDRs that only we may give routes and addresses to: those of the address pools. */
  setDestinations(cidrs: Iterable<string>): void {
    this.#destinations = new PrefixIndex<true>()
    for (const cidr of cidrs) {
      const prefix = parsePrefix(cidr)
      if (prefix !== undefined) this.#destinations.set(prefix, true)
    }
  }

  /** Whether an address or a CIDR lies within our destinations. */
  isDestination(text: string): boolean {
    const prefix = parsePrefix(text)
    return prefix !== undefined && this.#destinations.match(prefix) === true
  }

  /** Whether an interface is the host side of one of our pods. */
  ownsInterface(name: string): boolean {
    const { interfacePrefix } = this.marks
    return interfacePrefix !== undefined && name.startsWith(interfacePrefix)
  }

  /** Whether a name is that of one of our VXLAN devices. */
  ownsVxlan(name: string): boolean {
    return this.marks.vxlanDevices?.includes(name) === true
  }

  /** Whether every neighbour on an interface is ours. */
  ownsNeighboursOf(interfaceName: string): boolean {
    return this.ownsVxlan(interfaceName) || this.ownsInterface(interfaceName)
  }

  /**
   * Whether a single address on an interface is ours: all on a VXLAN device of ours but link-local ones; of IPv4 also those within our destinations on the
   * IP-in-IP device, where IPVS may keep others; on `lo` only the pods' gateway that an earlier version put there.
   */
  ownsAddress({ interfaceName, address, length, scope }: NamedAddress): boolean {
    const family = familyOf(address)
    if (length !== addressBits(family)) return false
    if (family === 'ipv6') return this.ownsVxlan(interfaceName) && !isLinkLocal(address)
    if (interfaceName === 'lo') return address === GATEWAY.ipv4 && scope === ROUTE_SCOPE.link
    if (interfaceName === this.marks.ipipDevice) return this.isDestination(address)
    return this.ownsVxlan(interfaceName)
  }

  /** Why a route is ours; undefined when it is another owner's. */
  originOf(route: RouteWay): RouteOrigin | undefined {
    const { table, protocol, type, interfaceName, gateway } = route
    if (table !== this.marks.table) return undefined
    // the kernel's own routes on a pod's interface (fe80::/64, multicast) come and go with the link
    const onPod = interfaceName !== undefined && gateway === undefined && this.ownsInterface(interfaceName)
    if (onPod && protocol !== ROUTE_PROTOCOL.kernel) return 'pod'
    if (protocol !== this.marks.protocol) return undefined
    return type === 'blackhole' ? 'block' : 'learned'
  }

  ownsRoute(route: RouteWay): boolean {
    return this.originOf(route) !== undefined
  }

  /**
   * Whether a wanted route may be written over one of another owner: only where nobody else has a say about the
   * destination (a pod, a block, anything in a pool). A learned route never displaces a default route or a subnet that
   * this host is connected to, whatever the pools say.
   */
  mayTakeRoute(seen: RouteWay, wanted: NamedRoute): boolean {
    if (this.originOf(wanted) !== 'learned') return true
    return seen.protocol !== ROUTE_PROTOCOL.kernel && !wanted.dst.endsWith('/0') && this.isDestination(wanted.dst)
  }
}
