// The next hops of peers outside the cluster at an agent: which of them count, and what is told of them.
// Only paths of those peers need a next hop that the kernel can reach. Nodes are reached as felix chooses, by tunnels too, and a path to
// one goes with its session, its node or BFD; so an address of a node counts as reachable whoever announces it. A pool that asks
// for IP-in-IP spares its prefixes, as that needs nothing of the far end but an address, which may be of another cluster's node.
import { isDeepStrictEqual } from 'node:util'
import { broken, type Condition } from '../api/status.ts'
import type { TrackedPaths } from '../bgp/config.ts'
import type { NextHops, RouteSink } from '../bgp/port.ts'
import type { Explanation } from '../bgp/rib/explain.ts'
import { poolEncapsulation } from '../felix/calc/encapsulation.ts'
import type { NextHopWay, Pool } from '../felix/input.ts'
import type { Kernel } from '../kernel/port/kernel.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import type { Log } from '../lib/log.ts'
import { PrefixIndex, parsePrefix } from '../lib/prefix-index.ts'
import { PEER_GROUP } from './cluster/trust.ts'
import { HANDOVER_MS, type LearnedRoutes } from './learned-routes.ts'
import { STABLE_MS } from './next-hop-damping.ts'
import { announcedNextHops, heardBy } from './next-hop-feed.ts'
import { type NextHopStatus, NextHopTracker } from './next-hop-tracker.ts'

/** A peer may announce each of its prefixes with another next hop. */
const MOST_NAMED = 20

export type OutsideNextHopsDeps = {
  /**
   * Absent: all next hops can be reached. `protocol`: of the routes that felix writes. `nodeWith`: the node that has an address. `leads`:
   * how packets get to a next hop, where that can be reached; undefined: nobody looks any more.
   */
  nextHops?: {
    kernel: Kernel
    protocol: number
    nodeWith(address: string): string | undefined
    leads(nextHop: string, way: NextHopWay | undefined): void
  }
  learned: LearnedRoutes
  clock: Clock
  log: Log
}

export class OutsideNextHops {
  readonly #deps: OutsideNextHopsDeps
  #tracker: NextHopTracker | undefined
  /** CIDRs to which packets may go by a tunnel whose end is no node. */
  #spared: readonly string[] = []
  #pools: readonly string[] = []
  #inPools = new PrefixIndex<string>()
  /** Peers to which a BGPPeer says the way, as CIDRs: what is announced of those is none. */
  readonly #peerWays = new Set<string>()
  /** Next hops of which felix was told. */
  readonly #told = new Set<string>()
  #cancelHandover: Cancel = () => undefined

  constructor(deps: OutsideNextHopsDeps) {
    this.#deps = deps
  }

  get rule(): TrackedPaths {
    return { group: PEER_GROUP.outside, spared: this.#spared }
  }

  /** Follows the next hops of a speaker, and those of the last one only as long as its routes stay. `sink`: what it tells of its routes goes there. */
  follow(explain: (prefix: string) => Explanation | undefined): { sink: RouteSink; nextHops?: NextHops } {
    const { nextHops, learned, clock, log } = this.#deps
    this.close()
    if (nextHops === undefined) return { sink: learned }
    const { kernel, protocol, nodeWith } = nextHops
    const tracker = new NextHopTracker({
      ...{ kernel, protocol, clock, log, defaultRoute: false, trusts: true },
      selectedPaths: prefix => (this.#peerWays.has(prefix) ? undefined : learned.selectedPaths(prefix)),
      announced: prefix => (this.#peerWays.has(prefix) ? [] : announcedNextHops(explain(prefix))),
      known: address => {
        const node = nodeWith(address)
        return node && `node ${node}`
      },
      barred: address => {
        const pool = this.#inPools.match(parsePrefix(address)!)
        return pool && `it lies in the IPPool ${pool}, in which only pods and blocks are`
      },
      leads: (address, way) => {
        if (way === undefined) this.#told.delete(address)
        else this.#told.add(address)
        nextHops.leads(address, way)
      },
    })
    this.#tracker = tracker
    // until the paths of this speaker have them
    const held = new Set(this.#told)
    for (const address of held) tracker.want(address, undefined)
    this.#cancelHandover = clock.after(HANDOVER_MS, () => {
      for (const address of held) tracker.release(address, undefined)
    })
    const followed: NextHops = {
      want: (nextHop, link) => {
        if (link === undefined) held.delete(nextHop)
        return tracker.want(nextHop, link)
      },
      release: (nextHop, link) => tracker.release(nextHop, link),
      onChange: listen => tracker.onChange(listen),
    }
    return { sink: heardBy(tracker, learned), nextHops: followed }
  }

  /** Sets the pools: no route leads to next hops in them, and packets to those with IP-in-IP find their way without one. */
  setPools(pools: Iterable<Pool>): void {
    const all = [...pools]
    const cidrs = all.map(({ cidr }) => cidr)
    this.#spared = all.filter(pool => poolEncapsulation(pool) === 'ipip').map(({ cidr }) => cidr)
    if (isDeepStrictEqual(cidrs, this.#pools)) return
    this.#pools = cidrs
    this.#inPools = new PrefixIndex()
    for (const cidr of cidrs) this.#inPools.set(parsePrefix(cidr)!, cidr)
    this.#tracker?.written('unknown')
  }

  /** Whether a BGPPeer says the way to a peer, a CIDR. */
  setPeerWay(cidr: string, isSaid: boolean): void {
    if (isSaid) this.#peerWays.add(cidr)
    else this.#peerWays.delete(cidr)
    this.#tracker?.selected(cidr)
  }

  /** These addresses are of a node, or of none any more. */
  recheck(addresses: Iterable<string>): void {
    for (const address of addresses) this.#tracker?.recheck(address)
  }

  /** For the first `MOST_NAMED` next hops that cannot be reached, or are damped, and one for all others. */
  conditions(): Condition[] {
    const broken = (this.#tracker?.status() ?? []).filter(({ state, damped }) => damped || state?.reachable === false)
    const more = broken.length - MOST_NAMED
    return [...broken.slice(0, MOST_NAMED).map(nextHopCondition), ...(more > 0 ? [moreNextHops(more)] : [])]
  }

  close(): void {
    this.#cancelHandover()
    this.#tracker?.close()
  }
}

function moreNextHops(count: number): Condition {
  return broken('NextHopsReachable', {
    object: { kind: 'NextHop', name: '*' },
    reason: 'Unreachable',
    message: `${count} more next hops cannot be reached, or come and go; those that were announced first are named`,
    remedy: 'begin with those that are named; margayctl bgp route PREFIX tells of any other',
  })
}

function nextHopCondition({ nextHop, interface: link, state, losses, damped }: NextHopStatus): Condition {
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
