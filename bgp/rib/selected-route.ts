// A selected route as the route sink gets it.
import { familyOf, isLinkLocal } from '../../lib/ip.ts'
import type { SelectedRoute } from '../port.ts'
import { tunnelType } from '../wire/communities.ts'
import { formatNextHop, octetsOf } from './next-hop.ts'
import { parseSet, type RouteAttributes } from './store/attribute-set.ts'
import type { AttributeStore } from './store/attribute-store.ts'
import type { RibPeer } from './types.ts'

/** Sets whose routes are remembered. */
const MOST_MADE = 64

/** Selected routes by their stored sets. Prefixes with one set are often decided together, and a large set takes long to parse. */
export class SelectedRoutes {
  readonly #store: Pick<AttributeStore, 'view'>
  readonly #made = new Map<number, { peer: RibPeer; route: SelectedRoute }>()

  constructor(store: Pick<AttributeStore, 'view'>) {
    this.#store = store
  }

  /** `peer` is the one that the set came from. */
  routeOf(prefix: string, set: number, peer: RibPeer): SelectedRoute {
    const made = this.#made.get(set)
    if (made?.peer === peer) return { ...made.route, prefix, family: familyOf(prefix) }
    const route = selectedRoute(prefix, parseSet(this.#store.view(set)), peer)
    if (this.#made.size >= MOST_MADE) this.#made.clear()
    this.#made.set(set, { peer, route })
    return route
  }

  /** Called when a set is about to be freed. */
  forget(set: number): void {
    this.#made.delete(set)
  }
}

/** Encapsulations come from extended communities and from the Tunnel Encapsulation attribute (RFC 9012 §3.2, §4.1). */
function selectedRoute(prefix: string, { attributes, mpNextHop }: RouteAttributes, peer: RibPeer): SelectedRoute {
  const nextHop = formatNextHop(mpNextHop ?? octetsOf(attributes.nextHop ?? 0))
  const announced = (attributes.extendedCommunities ?? []).map(tunnelType).filter(type => type !== undefined)
  return {
    prefix,
    family: familyOf(prefix),
    nextHop,
    interface: isLinkLocal(nextHop) ? peer.interface : undefined,
    encapsulations: [...new Set([...announced, ...tunnelsIn(attributes.tunnelEncap)])],
    peer: peer.key,
    med: attributes.med,
    localPref: attributes.localPref,
  }
}

/** Tunnel types of the TLVs: type u16 | length u16 | value. */
function tunnelsIn(value: Uint8Array = new Uint8Array(0)): number[] {
  const types: number[] = []
  for (let at = 0; at + 4 <= value.length; at += 4 + ((value[at + 2]! << 8) | value[at + 3]!))
    types.push((value[at]! << 8) | value[at + 1]!)
  return types
}
