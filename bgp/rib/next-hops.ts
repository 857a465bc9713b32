// Which next hops can be reached, and at what interior cost (RFC 4271 §9.1.2.1, §9.1.2.2 e), by their numbers (hop-facts.ts). Asked of
// the port `NextHops`; what it does not know yet cannot be reached.
import { formatAddress } from '../../lib/ip.ts'
import type { NextHopState, NextHops } from '../port.ts'
import type { HopFacts } from './hop-facts.ts'

/** Of a next hop that nobody has looked up yet. */
const UNKNOWN: NextHopState = { reachable: false, why: 'it is being looked up' }
/** While this speaker restarts: what peers announce again is what the kernel still forwards to. */
const TRUSTED: NextHopState = { reachable: true, cost: 0, over: '' }

type NextHopStatesDeps = {
  port: NextHops
  hops: HopFacts
  /** Whether learned routes wait for the end of this speaker's own restart (RFC 4724 §4.1). */
  restarting: () => boolean
  /** What is known of a next hop changed. */
  changed: (hop: number) => void
}

export class NextHopStates {
  readonly #deps: NextHopStatesDeps
  /** By number; infinite: it cannot be reached. */
  #costs = new Float64Array(64)
  readonly #states: NextHopState[] = []
  readonly #numbers = new Map<string, number>()

  constructor(deps: NextHopStatesDeps) {
    this.#deps = deps
    deps.hops.watch({
      added: (hop, octets, link) => this.#add(hop, formatAddress(octets), link),
      removed: (octets, link) => this.#remove(formatAddress(octets), link),
    })
    deps.port.onChange((nextHop, link, state) => {
      const hop = this.#numbers.get(keyOf(nextHop, link))
      if (hop !== undefined && this.#set(hop, state)) deps.changed(hop)
    })
  }

  /** Number of the next hop of a set, which is looked up from now on. */
  hop(set: number): number {
    return this.#deps.hops.nextHop(set)
  }

  /** Interior cost of the next hop of a set; infinite: it cannot be reached. */
  cost(set: number): number {
    return this.#costs[this.#deps.hops.nextHop(set)]!
  }

  state(hop: number): NextHopState {
    return this.#states[hop]!
  }

  #add(hop: number, nextHop: string, link: string | undefined): void {
    if (hop >= this.#costs.length) {
      const costs = new Float64Array(hop * 2)
      costs.set(this.#costs)
      this.#costs = costs
    }
    this.#numbers.set(keyOf(nextHop, link), hop)
    const known = this.#deps.port.want(nextHop, link)
    this.#set(hop, known ?? (this.#deps.restarting() ? TRUSTED : UNKNOWN))
  }

  #remove(nextHop: string, link: string | undefined): void {
    this.#numbers.delete(keyOf(nextHop, link))
    this.#deps.port.release(nextHop, link)
  }

  /** True when a decision may come out otherwise. */
  #set(hop: number, state: NextHopState): boolean {
    const cost = state.reachable ? state.cost : Number.POSITIVE_INFINITY
    const before = this.#costs[hop]
    this.#costs[hop] = cost
    this.#states[hop] = state
    return cost !== before
  }
}

function keyOf(nextHop: string, link: string | undefined): string {
  return link === undefined ? nextHop : `${nextHop}%${link}`
}
