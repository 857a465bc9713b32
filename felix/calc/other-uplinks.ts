// Uplinks beside those of the Node's addresses: interfaces in whose subnets other nodes or next hops are. The other nodes know this
// node by the addresses of the Node alone, so what goes out by one of these comes back by another interface.
import { broken, type Condition } from '../../api/status.ts'
import { familyOf } from '../../lib/ip.ts'
import { type Prefix, PrefixIndex, parsePrefix } from '../../lib/prefix-index.ts'
import type { ConnectedSubnet, ThisNode } from '../input.ts'
import { addressesOf } from './filter-group.ts'

/** A subnet and the interfaces in it, those that are up first. */
export type Shared = { readonly length: number; interfaces: readonly ConnectedSubnet[] }

export type Connected = {
  subnets: PrefixIndex<Shared>
  /** Of this node. */
  addresses: ReadonlySet<string>
}

export function connectedIndex(connected: readonly ConnectedSubnet[]): Connected {
  const subnets = new PrefixIndex<Shared>()
  for (const subnet of connected) {
    const prefix = parsePrefix(subnet.cidr)
    if (prefix === undefined) continue
    const { interfaces } = subnets.get(prefix) ?? { interfaces: [] }
    const all = [...interfaces, subnet].toSorted((a, b) => Number(b.isUp) - Number(a.isUp))
    subnets.set(prefix, { length: prefix.length, interfaces: all })
  }
  return { subnets, addresses: new Set(connected.map(({ cidr }) => cidr.split('/')[0]!)) }
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
 * The subnets by which some of these addresses are reached, the longest for each, but those of the node's uplink of their family.
 * Its own addresses do not count.
 */
export function besideUplinks(
  { subnets, addresses }: Connected,
  node: ThisNode,
  known: Iterable<readonly [address: string, { readonly prefix: Prefix | undefined }]>,
): ConnectedSubnet[] {
  const { uplink, ipv6Uplink = uplink } = node
  const own = new Set([...addresses, ...addressesOf(node)])
  const found = new Set<Shared>()
  for (const [address, { prefix }] of known) {
    const shared = prefix === undefined || own.has(address) ? undefined : subnets.match(prefix)
    if (shared !== undefined) found.add(shared)
  }
  return [...found]
    .flatMap(({ interfaces }) => interfaces)
    .filter(({ cidr, interfaceName }) => interfaceName !== (familyOf(cidr) === 'ipv4' ? uplink : ipv6Uplink))
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
