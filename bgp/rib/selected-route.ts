// A selected route as the route sink gets it.
import { familyOf, isLinkLocal } from '../../lib/ip.ts'
import type { SelectedPath, SelectedRoute } from '../port.ts'
import { tunnelType } from '../wire/communities.ts'
import { formatNextHop, octetsOf } from './next-hop.ts'
import { parseSet, type RouteAttributes } from './store/attribute-set.ts'
import type { AttributeStore } from './store/attribute-store.ts'
import type { PathGroups } from './store/path-groups.ts'
import type { RibPeer } from './types.ts'

/** Sets, and groups of them, whose routes are remembered. */
const MOST_MADE = 64

/** Selected routes by their stored sets. Prefixes with one set are often decided together, and a large set takes long to parse. */
export class SelectedRoutes {
  readonly #store: Pick<AttributeStore, 'view'>
  readonly #groups: Pick<PathGroups, 'members'>
  readonly #peerOf: (set: number) => RibPeer
  readonly #made = new Map<number, { peer: RibPeer; route: SelectedRoute }>()
  readonly #shared = new Map<number, { peers: readonly RibPeer[]; paths: readonly SelectedPath[] }>()

  /** `peerOf`: the one that a set came from. */
  constructor(
    store: Pick<AttributeStore, 'view'>,
    groups: Pick<PathGroups, 'members'>,
    peerOf: (set: number) => RibPeer,
  ) {
    this.#store = store
    this.#groups = groups
    this.#peerOf = peerOf
  }

  /** `group`: all paths that are used; 0: the one of `set` alone. */
  routeOf(prefix: string, set: number, group: number): SelectedRoute {
    const route = { ...this.#routeOf(prefix, set), prefix, family: familyOf(prefix) }
    return group === 0 ? route : { ...route, paths: this.#pathsOf(prefix, group) }
  }

  /** Called when a set is about to be freed. */
  forget(set: number): void {
    this.#made.delete(set)
  }

  /** Called when a group is about to be freed. */
  forgetGroup(group: number): void {
    this.#shared.delete(group)
  }

  #routeOf(prefix: string, set: number): SelectedRoute {
    const peer = this.#peerOf(set)
    const made = this.#made.get(set)
    if (made?.peer === peer) return made.route
    const route = selectedRoute(prefix, parseSet(this.#store.view(set)), peer)
    if (this.#made.size >= MOST_MADE) this.#made.clear()
    this.#made.set(set, { peer, route })
    return route
  }

  #pathsOf(prefix: string, group: number): readonly SelectedPath[] {
    const members = this.#groups.members(group)
    const peers = members.map(({ set }) => this.#peerOf(set))
    const known = this.#shared.get(group)
    if (known?.peers.every((peer, i) => peer === peers[i])) return known.paths
    const paths = members.map(({ set, weight }) => {
      const { nextHop, interface: link, encapsulations, peer } = this.#routeOf(prefix, set)
      return { nextHop, interface: link, encapsulations, peer, ...(weight > 0 && { weight }) }
    })
    if (this.#shared.size >= MOST_MADE) this.#shared.clear()
    this.#shared.set(group, { peers, paths })
    return paths
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
