// Uplinks beside those of the Node's addresses: interfaces in whose subnets other nodes or next hops are. The other nodes know this
// node by the addresses of the Node alone, so what goes out by one of these comes back by another interface.
import { type Prefix, PrefixIndex, parsePrefix } from '../../lib/prefix-index.ts'
import type { ConnectedSubnet } from '../input.ts'

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

/** The names of interfaces in whose subnets some of these addresses are, but for `uplinks`; in order. */
export function otherUplinks(
  connected: readonly ConnectedSubnet[],
  uplinks: readonly string[],
  addresses: readonly Addresses[],
): string[] {
  const names = connected
    .filter(({ cidr, interfaceName }) => {
      const subnet = uplinks.includes(interfaceName) ? undefined : parsePrefix(cidr)
      return subnet !== undefined && addresses.some(each => each.within(subnet).length > 0)
    })
    .map(({ interfaceName }) => interfaceName)
  return [...new Set(names)].sort()
}
