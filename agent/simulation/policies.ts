// The policies of a cluster on paper: what they say of one packet, by the code that agents have, from objects alone. Of names of
// domains nothing is known here: what pods were told of them is known by their nodes. Host endpoints are not asked.
import type { PolicyDecision } from '../../api/explain.ts'
import type { Resource } from '../../api/kinds.ts'
import type { Condition } from '../../api/status.ts'
import { PolicyCalculator } from '../../felix/policy/calculator.ts'
import type { JudgedPacket } from '../../felix/policy/verdict.ts'
import { podProfiles } from '../cluster/policies/endpoints.ts'
import { type PolicyKind, PolicyObjects } from '../cluster/policies/objects.ts'
import { namesDomains } from '../cluster/policies/services.ts'

/** The pod of an address, and what it decides: egress where it sends, ingress where it receives. */
export type PodDecision = { pod: string; direction: 'egress' | 'ingress'; decision: PolicyDecision }

/** An object under its name, in a namespace `namespace/name`. */
export type PolicyObject = readonly [kind: PolicyKind, name: string, object: Resource<PolicyKind>]

export class PaperPolicies {
  readonly #calculator = new PolicyCalculator({ family: 'inet', table: 'on-paper' })
  readonly #pods = new Map<string, string>()
  /** Whether some policy asks for names of domains. */
  readonly namesDomains: boolean
  /** What makes no sense in the objects, and what is closed because of it. */
  readonly refused: readonly Condition[]

  /** Objects of all kinds that policies are made of, in any order. */
  constructor(all: Iterable<PolicyObject>) {
    let isNamed = false
    const objects = new PolicyObjects(({ kind, key, value }) => {
      if (kind === 'policy' && value !== undefined && namesDomains(value)) isNamed = true
      this.#calculator.set(kind, key, value as never)
      if (kind === 'endpoint' && value !== undefined && value.kind === 'pod')
        for (const address of value.addresses) this.#pods.set(address, key)
    })
    for (const [kind, name, object] of all) {
      objects.change(kind, name, object)
      if (kind === 'Pod')
        this.#calculator.setLocal(name, { interfaceName: name, profiles: podProfiles(object as Resource<'Pod'>) })
    }
    this.#calculator.step()
    this.namesDomains = isNamed
    this.refused = objects.refused
  }

  /** What the pods at both ends say of the first packet of a connection; ends that are no pods say nothing. */
  decisions(packet: JudgedPacket): PodDecision[] {
    return (['egress', 'ingress'] as const).flatMap(direction => {
      const pod = this.#pods.get(direction === 'egress' ? packet.source : packet.destination)
      if (pod === undefined) return []
      return [{ pod, direction, decision: this.#calculator.verdicts.decision(pod, direction, packet).decision }]
    })
  }

  /** Every address of a pod, with the pod as `namespace/name`. */
  pods(): Iterable<[address: string, pod: string]> {
    return this.#pods
  }

  /** The pod that has an address, as `namespace/name`. */
  podAt(address: string): string | undefined {
    return this.#pods.get(address)
  }
}
