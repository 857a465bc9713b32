// What the policies of this node say of one packet: of a connection that is open, where each of a hundred thousand is asked about,
// and of a new one, with who decides it. Both ask the same lists, in the order of the same walk.
import type { PolicyDecision } from '../../api/explain.ts'
import { type Direction, type EndpointLists, type PolicyList, policiesOf, type Slot } from './active.ts'
import type { CutPlace } from './cut-connections.ts'
import { closedDecision, decisionOf } from './decision.ts'
import type { HostGroup } from './host-group.ts'
import { hostDenial, type SeenPacket, type Way } from './host-verdict.ts'
import type { Members } from './members.ts'
import { type HasMember, type JudgedPacket, someMatches, verdictOf } from './verdict.ts'

/** Who decides about a packet, and all policies that the list has which was asked, by their keys. */
export type Decision = { decision: PolicyDecision; policies: readonly string[] }
/** Where a host endpoint decides. */
export type HostDecision = Decision & { slot: Slot; interfaceName: string }

type Asked = {
  members: Pick<Members, 'has'>
  hosts: Pick<HostGroup, 'rules' | 'listAt' | 'openAt'>
  /** By the key of the list. */
  list: (key: string) => PolicyList | undefined
  /** By the key of the endpoint. */
  endpoint: (key: string) => EndpointLists | undefined
  /** The endpoint whose packets an interface of a pod has; undefined: it is closed. */
  endpointOn: (interfaceName: string) => EndpointLists | undefined
}

export class Verdicts {
  readonly #asked: Asked

  constructor(asked: Asked) {
    this.#asked = asked
  }

  /** What the policies of an endpoint say of an established connection, as told so far; undefined where it has none. */
  verdict(key: string, direction: Direction, packet: JudgedPacket): 'allow' | 'deny' | undefined {
    return this.#verdictOf(this.#asked.endpoint(key)?.[direction], packet)
  }

  /** Where the host endpoints of this node deny an established connection, as told so far; undefined where none does. */
  hostDenial(way: Way, packet: SeenPacket): CutPlace | undefined {
    return this.#hostDenial(way, packet, this.#hasStill, (slot, name, seen) =>
      this.#verdictOf(this.#asked.hosts.listAt(slot, name), seen),
    )
  }

  /** Who decides about the first packet of a connection of the pod that has an interface. */
  decision(interfaceName: string, direction: Direction, packet: JudgedPacket): Decision {
    const list = this.#asked.list(this.#asked.endpointOn(interfaceName)?.[direction] ?? '')
    if (list === undefined) return { decision: closedDecision(direction), policies: [] }
    return { decision: decisionOf(list, packet, this.#has), policies: policiesOf(list) }
  }

  /** Every host endpoint that is asked about the first packet of a connection, in order; the one that denies it is the last. */
  hostDecisions(way: Way, packet: SeenPacket): HostDecision[] {
    const decisions: HostDecision[] = []
    this.#hostDenial(way, packet, this.#has, (slot, interfaceName, seen) => {
      const list = this.#asked.list(this.#asked.hosts.listAt(slot, interfaceName) ?? '')
      if (list === undefined) return undefined
      const decision = decisionOf(list, seen, this.#has)
      decisions.push({ slot, interfaceName, decision, policies: policiesOf(list) })
      return decision.by.of === 'no policy' ? undefined : decision.action
    })
    return decisions
  }

  #hostDenial(
    way: Way,
    packet: SeenPacket,
    has: HasMember,
    ask: Parameters<typeof hostDenial>[2]['ask'],
  ): CutPlace | undefined {
    const { hosts } = this.#asked
    const { rules } = hosts
    if (rules === undefined) return undefined
    return hostDenial(way, packet, {
      isOfPod: name => name.startsWith(rules.interfacePrefix),
      ask,
      isOpen: (direction, seen) => someMatches(hosts.openAt(direction), seen, has),
    })
  }

  #verdictOf(key: string | undefined, packet: JudgedPacket): 'allow' | 'deny' | undefined {
    const list = key === undefined ? undefined : this.#asked.list(key)
    return list && verdictOf(list, packet, this.#hasStill)
  }

  readonly #has: HasMember = (source, element, family) => this.#asked.members.has(source, element, family, 'now')
  readonly #hasStill: HasMember = (source, element, family) =>
    this.#asked.members.has(source, element, family, 'or before')
}
