// The blocks that this node owns. Packets to a free address of one end here instead of following a default route.
import { ROUTE_SCOPE, ROUTE_TABLE } from '../../kernel/port/routes.ts'
import type { NamedRoute } from '../../kernel/reconcile/objects.ts'
import { familyOf } from '../../lib/ip.ts'
import { parsePrefix } from '../../lib/prefix-index.ts'
import type { LearnedGroup } from './learned.ts'
import type { RouteClaims } from './route-claims.ts'

export class BlockGroup {
  readonly #claims: RouteClaims
  readonly #learned: LearnedGroup
  readonly #routeProtocol: number
  readonly #owned = new Set<string>()
  #ipv6 = 0

  constructor(claims: RouteClaims, learned: LearnedGroup, routeProtocol: number) {
    this.#claims = claims
    this.#learned = learned
    this.#routeProtocol = routeProtocol
  }

  /** Whether some block is IPv6. */
  get hasIpv6(): boolean {
    return this.#ipv6 > 0
  }

  update(cidr: string, owned: boolean): void {
    const prefix = parsePrefix(cidr)
    if (prefix === undefined || owned === this.#owned.has(cidr)) return
    if (owned) this.#owned.add(cidr)
    else this.#owned.delete(cidr)
    if (familyOf(cidr) === 'ipv6') this.#ipv6 += owned ? 1 : -1
    this.#learned.ownBlockChanged(prefix, owned)
    this.#claims.set('block', cidr, owned ? blackhole(cidr, this.#routeProtocol) : undefined)
  }
}

/** `blackhole BLOCK proto 80`. */
function blackhole(dst: string, protocol: number): NamedRoute {
  return {
    dst,
    table: ROUTE_TABLE.main,
    type: 'blackhole',
    protocol,
    scope: ROUTE_SCOPE.universe,
  }
}
