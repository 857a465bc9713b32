// What a speaker selected, on its way to felix. Routes of Services are kept back: kube-proxy of this node answers for them, and what
// others announce of them is no way for packets of this node. A closed speaker withdraws nothing: what it had selected stays until
// the next one had time to select it again.
import type { RouteSink, SelectedPath, SelectedRoute } from '../bgp/port.ts'
import type { LearnedPath, LearnedRoute } from '../felix/input.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { longestMatch, mappedIpv4 } from '../lib/ip.ts'

export type LearnedRoutesDeps = {
  clock: Clock
  /** A route was learned or changed; undefined: nobody announces the prefix any more. */
  learned: (prefix: string, route: LearnedRoute | undefined) => void
  /** The interface here and the address of the pod that a peer is, by its key; undefined: it is none. */
  podOf: (peer: string) => { interfaceName: string; address: string } | undefined
}

/** How long routes of a speaker with another AS number stay while the new one brings its sessions up. */
export const HANDOVER_MS = 10_000

export class LearnedRoutes implements RouteSink {
  readonly #deps: LearnedRoutesDeps
  readonly #learned = new Map<string, LearnedRoute>()
  readonly #keptBack = new Map<string, LearnedRoute>()
  #isKeptBack: (prefix: string) => boolean = () => false
  /** Prefixes of the last speaker that this one has not selected yet. */
  readonly #handedOver = new Set<string>()
  #cancelHandover: Cancel = () => undefined

  constructor(deps: LearnedRoutesDeps) {
    this.#deps = deps
  }

  all(): LearnedRoute[] {
    return [...this.#learned.values()]
  }

  /** The one with the longest prefix that holds an address. */
  for(address: string): LearnedRoute | undefined {
    return longestMatch(this.#learned, address)
  }

  /** The paths of what is selected for a prefix and a way for packets; undefined: there is none. */
  selectedPaths(prefix: string): readonly LearnedPath[] | undefined {
    const route = this.#learned.get(prefix)
    return route && (route.paths ?? [route])
  }

  selected({ prefix, paths, ...best }: SelectedRoute): void {
    this.#handedOver.delete(prefix)
    const path = (each: SelectedPath) => learnedPath(each, this.#deps.podOf(each.peer))
    const route: LearnedRoute = { prefix, ...path(best), ...(paths && { paths: paths.map(path) }) }
    if (this.#isKeptBack(prefix)) this.#keptBack.set(prefix, route)
    else this.#learn(prefix, route)
  }

  withdrawn(prefix: string): void {
    this.#keptBack.delete(prefix)
    if (this.#learned.delete(prefix)) this.#deps.learned(prefix, undefined)
  }

  /** Sets which routes are no ways, of those that are there too. */
  keepBack(isKeptBack: (prefix: string) => boolean): void {
    this.#isKeptBack = isKeptBack
    const [learned, keptBack] = [[...this.#learned], [...this.#keptBack]]
    for (const [prefix, route] of learned) {
      if (!isKeptBack(prefix)) continue
      this.withdrawn(prefix)
      this.#keptBack.set(prefix, route)
    }
    for (const [prefix, route] of keptBack) {
      if (isKeptBack(prefix)) continue
      this.#keptBack.delete(prefix)
      this.#learn(prefix, route)
    }
  }

  /** The speaker was closed, and another one follows. */
  handOver(): void {
    this.#keptBack.clear()
    for (const prefix of this.#learned.keys()) this.#handedOver.add(prefix)
    this.#cancelHandover()
    if (this.#handedOver.size === 0) return
    this.#cancelHandover = this.#deps.clock.after(HANDOVER_MS, () => {
      for (const prefix of this.#handedOver) this.withdrawn(prefix)
      this.#handedOver.clear()
    })
  }

  close(): void {
    this.#cancelHandover()
  }

  #learn(prefix: string, route: LearnedRoute): void {
    this.#learned.set(prefix, route)
    this.#deps.learned(prefix, route)
  }
}

/**
 * An IPv4 next hop inside of IPv6 is how a node announces IPv6 blocks over IPv4 (RFC 4798). What a pod announces leads to the pod,
 * whatever next hop it names.
 */
function learnedPath(
  { nextHop, interface: name, encapsulations, weight }: SelectedPath,
  pod: ReturnType<LearnedRoutesDeps['podOf']>,
): LearnedPath {
  if (pod !== undefined) return { nextHop: pod.address, pod: pod.interfaceName, encapsulations: [] }
  const path: LearnedPath = { nextHop: mappedIpv4(nextHop) ?? nextHop, encapsulations }
  if (name !== undefined) path.interface = name
  if (weight !== undefined) path.weight = weight
  return path
}
