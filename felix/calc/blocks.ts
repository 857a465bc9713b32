// The blocks that this node owns. Packets to a free address of one end here instead of following a default route.
import { ROUTE_SCOPE, ROUTE_TABLE } from '../../kernel/port/routes.ts'
import type { NamedRoute } from '../../kernel/reconcile/objects.ts'
import { familyOf } from '../../lib/ip.ts'
import { parsePrefix } from '../../lib/prefix-index.ts'
import type { OwnBlock } from '../input.ts'
import type { LearnedGroup } from './learned.ts'
import type { RouteClaims } from './route-claims.ts'

export class BlockGroup {
  readonly #claims: RouteClaims
  readonly #learned: LearnedGroup
  readonly #routeProtocol: number
  readonly #owned = new Map<string, OwnBlock>()
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

  update(cidr: string, block: OwnBlock | undefined): void {
    const prefix = parsePrefix(cidr)
    const before = this.#owned.get(cidr)
    if (prefix === undefined || block === before) return
    if (block === undefined) this.#owned.delete(cidr)
    else this.#owned.set(cidr, block)
    this.#claims.set('block', cidr, block && blackhole(cidr, block, this.#routeProtocol))
    if ((block === undefined) === (before === undefined)) return
    if (familyOf(cidr) === 'ipv6') this.#ipv6 += block === undefined ? -1 : 1
    this.#learned.ownBlockChanged(prefix, block !== undefined)
  }
}

/** Behind the kernel's own route to a subnet, which has 0 in IPv4 and 256 in IPv6. */
const BEHIND_SUBNET = 1024

/** `blackhole BLOCK proto 80`; of a subnet with a metric. */
function blackhole(dst: string, block: OwnBlock, protocol: number): NamedRoute {
  return {
    dst,
    table: ROUTE_TABLE.main,
    type: 'blackhole',
    protocol,
    scope: ROUTE_SCOPE.universe,
    ...(block === 'subnet' && { metric: BEHIND_SUBNET }),
  }
}
