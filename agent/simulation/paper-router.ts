// A router outside the cluster on paper: a speaker that accepts and passes on what it hears.
import type { RouteAnswer } from '../../api/answers.ts'
import type { Condition } from '../../api/status.ts'
import { BGP_PORT, type PeerConfig, type PeerStatus } from '../../bgp/config.ts'
import type { SelectedRoute, Transport } from '../../bgp/port.ts'
import { Speaker } from '../../bgp/speaker.ts'
import type { Clock } from '../../lib/clock.ts'
import { familyOf } from '../../lib/ip.ts'
import { standIn } from '../cluster/preview.ts'
import { routeAnswer } from '../socket/route-answer.ts'
import type { Machine, SimulatedHop } from './machine.ts'
import type { Router, RouterNeighbor } from './topology.ts'
import { placeOf } from './underlay.ts'

/** As nodes do, where a router of a fabric has several ways. */
const PATHS = 16

export class PaperRouter implements Machine {
  readonly isNode = false
  readonly name: string
  readonly own: readonly string[]
  readonly #router: Router
  readonly #speaker: Speaker
  readonly #routes = new Map<string, SelectedRoute>()

  constructor(router: Router, { transport, clock }: { transport: Transport; clock: Clock }) {
    const { name, asNumber: asn, routerId, clusterId, networks } = router
    this.name = name
    this.own = networks
    this.#router = router
    const sink = {
      selected: (route: SelectedRoute) => void this.#routes.set(route.prefix, route),
      withdrawn: (prefix: string) => void this.#routes.delete(prefix),
    }
    this.#speaker = new Speaker(
      { asn, routerId, clusterId, multipath: { paths: PATHS, of: 'either' } },
      { transport, clock, sink },
    )
  }

  async open(): Promise<void> {
    const { addresses, listenPort: port = BGP_PORT, neighbors, networks } = this.#router
    for (const { address } of addresses.map(placeOf)) await this.#speaker.listen({ address, port })
    for (const each of neighbors) this.#speaker.setPeer(this.#peer(each))
    for (const prefix of networks) this.#speaker.announce({ prefix })
  }

  #peer({ asNumber: asn, password, nextHopSelf, ...of }: RouterNeighbor): PeerConfig {
    const { address, range, port, passive, reflectorClient, multihop } = of
    return {
      ...{ name: address ?? range, address, range, asn, port, passive, reflectorClient, multihop },
      ...(address !== undefined && { source: this.#source(address) }),
      ...(password !== undefined && { password: standIn(password).text }),
      ...{ nextHop: nextHopSelf ? 'self' : 'auto', import: 'accept', export: 'accept' },
    }
  }

  /** Its address on the link of a neighbour, else its first one of the family. */
  #source(neighbor: string): string | undefined {
    const places = this.#router.addresses.filter(each => familyOf(each) === familyOf(neighbor))
    const near = places.find(each => placeOf(each).link === placeOf(`${neighbor}/${each.split('/')[1]}`).link)
    const place = near ?? places[0]
    return place && placeOf(place).address
  }

  get idle(): boolean {
    return this.#speaker.idle
  }

  sessions(): PeerStatus[] {
    return this.#speaker.peers()
  }

  refused(): readonly Condition[] {
    return []
  }

  prefixes(): string[] {
    return [...this.#routes.keys()]
  }

  hops(prefix: string): readonly SimulatedHop[] {
    const route = this.#routes.get(prefix)
    if (route === undefined) return []
    return (route.paths ?? [route]).map(({ nextHop }) => ({ nextHop, way: 'direct' }))
  }

  noWay(): undefined {
    return undefined
  }

  explain(prefix: string): RouteAnswer {
    return routeAnswer(prefix, this.#speaker.explain(prefix))
  }

  async close(): Promise<void> {
    await this.#speaker.close()
  }
}
