// The next hops of peers outside the cluster at an agent: which of them count, and what is told of them.
// Only paths of those peers need a next hop that the kernel can reach. Nodes are reached as felix chooses, by tunnels too, and a path to
// one goes with its session, its node or BFD; so an address of a node counts as reachable whoever announces it. A pool that asks
// for IP-in-IP spares its prefixes, as that needs nothing of the far end but an address, which may be of another cluster's node.
import { broken, type Condition } from '../api/status.ts'
import type { TrackedPaths } from '../bgp/config.ts'
import type { NextHops, RouteSink } from '../bgp/port.ts'
import type { Explanation } from '../bgp/rib/explain.ts'
import { poolEncapsulation } from '../felix/calc/encapsulation.ts'
import type { Pool } from '../felix/input.ts'
import type { Kernel } from '../kernel/port/kernel.ts'
import type { Clock } from '../lib/clock.ts'
import type { Log } from '../lib/log.ts'
import { PEER_GROUP } from './cluster/trust.ts'
import type { LearnedRoutes } from './learned-routes.ts'
import { STABLE_MS } from './next-hop-damping.ts'
import { announcedNextHops, heardBy } from './next-hop-feed.ts'
import { type NextHopStatus, NextHopTracker } from './next-hop-tracker.ts'

export type OutsideNextHopsDeps = {
  /** Absent: all next hops can be reached. `protocol`: of the routes that felix writes. `nodeWith`: the node that has an address. */
  nextHops?: { kernel: Kernel; protocol: number; nodeWith(address: string): string | undefined }
  learned: LearnedRoutes
  clock: Clock
  log: Log
}

/** The CIDRs of pools whose packets may take a tunnel to an address that no Node has. */
export function sparedPools(pools: Iterable<Pool>): string[] {
  return [...pools].filter(pool => poolEncapsulation(pool) === 'ipip').map(({ cidr }) => cidr)
}

export class OutsideNextHops {
  readonly #deps: OutsideNextHopsDeps
  #tracker: NextHopTracker | undefined
  /** CIDRs to which packets may go by a tunnel whose end is no node. */
  spared: readonly string[] = []

  constructor(deps: OutsideNextHopsDeps) {
    this.#deps = deps
  }

  get rule(): TrackedPaths {
    return { group: PEER_GROUP.outside, spared: this.spared }
  }

  /** Follows the next hops of a speaker, and those of the last one no more. `sink`: what it tells of its routes goes there. */
  follow(explain: (prefix: string) => Explanation | undefined): { sink: RouteSink; nextHops?: NextHops } {
    const { nextHops, learned, clock, log } = this.#deps
    this.close()
    if (nextHops === undefined) return { sink: learned }
    const { kernel, protocol, nodeWith } = nextHops
    const tracker = new NextHopTracker({
      ...{ kernel, protocol, clock, log, defaultRoute: false, trusts: true },
      selectedPaths: prefix => learned.selectedPaths(prefix),
      announced: prefix => announcedNextHops(explain(prefix)),
      known: address => {
        const node = nodeWith(address)
        return node && `node ${node}`
      },
    })
    this.#tracker = tracker
    return { sink: heardBy(tracker, learned), nextHops: tracker }
  }

  /** These addresses are of a node, or of none any more. */
  recheck(addresses: Iterable<string>): void {
    for (const address of addresses) this.#tracker?.recheck(address)
  }

  conditions(): (Condition | undefined)[] {
    return (this.#tracker?.status() ?? []).map(nextHopCondition)
  }

  close(): void {
    this.#tracker?.close()
  }
}

/** For a next hop that cannot be reached, or is damped. */
function nextHopCondition({ nextHop, interface: link, state, losses, damped }: NextHopStatus): Condition | undefined {
  if (!damped && state?.reachable !== false) return undefined
  const name = link === undefined ? nextHop : `${nextHop}%${link}`
  const object = { kind: 'NextHop' as const, name }
  if (damped)
    return broken('NextHopsReachable', {
      ...{ object, reason: 'Damped' },
      message: `next hop ${name} came and went ${losses} times; ${state?.reachable === false ? 'its paths are not used' : 'its higher cost counts'} until it stayed as it is now for ${STABLE_MS / 1000} s`,
      remedy: 'look at the cable, at the port of the switch, and at what adds and removes the route to it',
    })
  return broken('NextHopsReachable', {
    ...{ object, reason: 'Unreachable' },
    message: `paths by next hop ${name} are not used: ${state?.reachable === false ? state.why : ''}`,
    remedy: 'add a route to it, or let its router announce an address in a subnet of this node (next-hop-self)',
  })
}
