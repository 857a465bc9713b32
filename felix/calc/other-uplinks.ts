// Uplinks beside those of the Node's addresses: interfaces in whose subnets other nodes or next hops are. The other nodes know this
// node by the addresses of the Node alone, so what goes out by one of these comes back by another interface.
import { broken, type Condition } from '../../api/status.ts'
import { familyOf } from '../../lib/ip.ts'
import { type Prefix, PrefixIndex, parsePrefix } from '../../lib/prefix-index.ts'
import type { ConnectedSubnet, ThisNode } from '../input.ts'
import { addressesOf } from './filter-group.ts'
import type { KnownAddress } from './node-addresses.ts'

/** A subnet and the interfaces in it, those that are up first. */
export type Shared = {
  readonly length: number
  readonly prefix: Prefix
  interfaces: readonly ConnectedSubnet[]
}

export type Connected = {
  subnets: PrefixIndex<Shared>
  /** The same in a row. */
  all: readonly Shared[]
  /** Of this node. */
  addresses: ReadonlySet<string>
}

export function connectedIndex(connected: readonly ConnectedSubnet[]): Connected {
  const subnets = new PrefixIndex<Shared>()
  const all: Shared[] = []
  for (const subnet of connected) {
    const prefix = parsePrefix(subnet.cidr)
    if (prefix === undefined) continue
    let shared = subnets.get(prefix)
    if (shared === undefined) {
      shared = { length: prefix.length, prefix, interfaces: [] }
      subnets.set(prefix, shared)
      all.push(shared)
    }
    shared.interfaces = [...shared.interfaces, subnet].toSorted((a, b) => Number(b.isUp) - Number(a.isUp))
  }
  return { subnets, all, addresses: new Set(connected.map(({ cidr }) => cidr.split('/')[0]!)) }
}

/** The subnets with something that is in one of the two alone; whether an interface is up does not count in those of `always`. */
export function changedSubnets(
  before: readonly ConnectedSubnet[],
  now: readonly ConnectedSubnet[],
  always: PrefixIndex<unknown>,
): Prefix[] {
  const byKey = (subnets: readonly ConnectedSubnet[]) =>
    new Map(
      subnets.flatMap(({ cidr, interfaceName, isUp }) => {
        const prefix = parsePrefix(cidr)
        if (prefix === undefined) return []
        return [[`${cidr} ${interfaceName} ${always.get(prefix) !== undefined || isUp}`, prefix] as const]
      }),
    )
  const [was, is] = [byKey(before), byKey(now)]
  return [...[...was].filter(([key]) => !is.has(key)), ...[...is].filter(([key]) => !was.has(key))].map(
    ([, prefix]) => prefix,
  )
}

/**
 * The subnets by which some known addresses are reached, the longest for each, but those of the node's uplink of their family. Its
 * own addresses do not count. `known` answers those in a subnet; those of the uplink, which are most, are not asked for.
 */
export function besideUplinks(
  { subnets, all, addresses }: Connected,
  node: ThisNode,
  known: (subnet: Prefix) => readonly KnownAddress[],
): ConnectedSubnet[] {
  const { uplink, ipv6Uplink = uplink } = node
  const own = new Set([...addresses, ...addressesOf(node)])
  return all.flatMap(shared => {
    const beside = shared.interfaces.filter(
      ({ cidr, interfaceName }) => interfaceName !== (familyOf(cidr) === 'ipv4' ? uplink : ipv6Uplink),
    )
    const leadsThere = ({ address, prefix }: KnownAddress) => !own.has(address) && subnets.match(prefix) === shared
    return beside.length > 0 && known(shared.prefix).some(leadsThere) ? beside : []
  })
}

/** For each interface that is down. */
export function downConditions(subnets: readonly ConnectedSubnet[]): Condition[] {
  const down = new Set(subnets.filter(({ isUp }) => !isUp).map(({ interfaceName }) => interfaceName))
  return [...down].map(name =>
    broken('UplinksUp', {
      object: { kind: 'Link', name },
      reason: 'LinkDown',
      message: `${name}, in whose subnet other nodes or next hops are, is down or has no carrier: they are reached by another route, or not at all`,
      remedy: `take it up (ip link set ${name} up), and look at the cable and at the port of the switch`,
    }),
  )
}
