// Uplinks beside those of the Node's addresses: interfaces in whose subnets other nodes or next hops are. The other nodes know this
// node by the addresses of the Node alone, so what goes out by one of these comes back by another interface.
import { broken, type Condition } from '../../api/status.ts'
import { type Prefix, PrefixIndex, parsePrefix } from '../../lib/prefix-index.ts'
import type { ConnectedSubnet, ThisNode } from '../input.ts'

type Addresses = { within(subnet: Prefix): readonly unknown[] }

export type Connected = {
  /** Of two interfaces in one subnet the first that is up counts. */
  subnets: PrefixIndex<ConnectedSubnet>
  /** Of this node. */
  addresses: ReadonlySet<string>
}

export function connectedIndex(connected: readonly ConnectedSubnet[]): Connected {
  const subnets = new PrefixIndex<ConnectedSubnet>()
  for (const subnet of connected) {
    const prefix = parsePrefix(subnet.cidr)
    const before = prefix && subnets.get(prefix)
    if (prefix !== undefined && (before === undefined || (subnet.isUp && !before.isUp))) subnets.set(prefix, subnet)
  }
  return { subnets, addresses: new Set(connected.map(({ cidr }) => cidr.split('/')[0]!)) }
}

/** Subnets in which some of these addresses are, but those of the node's uplink of their family. */
export function besideUplinks(
  connected: readonly ConnectedSubnet[],
  { uplink, ipv6Uplink = uplink }: ThisNode,
  addresses: readonly Addresses[],
): ConnectedSubnet[] {
  return connected.filter(({ cidr, interfaceName }) => {
    const subnet = parsePrefix(cidr)
    if (subnet === undefined || interfaceName === (subnet.family === 'ipv4' ? uplink : ipv6Uplink)) return false
    return addresses.some(each => each.within(subnet).length > 0)
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
