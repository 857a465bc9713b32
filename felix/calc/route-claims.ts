// Who has a destination that several want. A pod comes before a block, then the pods' gateway, then a learned route; of
// several pods the first by interface name has it, so that the order in which things were told never decides.
// Decided at each change: what lasts shorter than a step is not seen in its differences.
import { broken, type Condition } from '../../api/status.ts'
import type { NamedRoute } from '../../kernel/reconcile/objects.ts'
import type { ConditionCounts } from './conditions.ts'
import type { Output } from './output.ts'

/** Where a route comes from that is the only one of its source for a destination. */
type Source = 'block' | 'gateway' | 'learned'

const NO_PODS: readonly NamedRoute[] = []

export class RouteClaims {
  readonly #output: Output<NamedRoute>
  readonly #conditions: ConditionCounts
  readonly #pods = new Map<string, readonly NamedRoute[]>()
  readonly #single = {
    block: new Map<string, NamedRoute>(),
    gateway: new Map<string, NamedRoute>(),
    learned: new Map<string, NamedRoute>(),
  }
  readonly #conflicts = new Map<string, Condition>()

  constructor(output: Output<NamedRoute>, conditions: ConditionCounts) {
    this.#output = output
    this.#conditions = conditions
  }

  /** The route that a source has for a destination, or undefined when it has none. */
  set(source: Source, dst: string, route: NamedRoute | undefined): void {
    const routes = this.#single[source]
    if (routes.get(dst) === route) return
    if (route === undefined) routes.delete(dst)
    else routes.set(dst, route)
    this.#decide(dst)
  }

  addPod(route: NamedRoute): void {
    this.#setPods(route.dst, [...this.#podsAt(route.dst), route].sort(byInterface))
  }

  /** Takes away exactly the object that was added. */
  removePod(route: NamedRoute): void {
    this.#setPods(
      route.dst,
      this.#podsAt(route.dst).filter(each => each !== route),
    )
  }

  #decide(dst: string): void {
    const { block, gateway, learned } = this.#single
    const pods = this.#podsAt(dst)
    const [first] = pods
    const byBgp = learned.get(dst)
    this.#output.want(dst, first ?? block.get(dst) ?? gateway.get(dst) ?? byBgp)
    const rival =
      first === undefined ? undefined : (pods.find(other => other.interfaceName !== first.interfaceName) ?? byBgp)
    const conflict = first === undefined || rival === undefined ? undefined : addressConflict(first, rival)
    this.#conditions.replace(this.#conflicts.get(dst), conflict)
    if (conflict === undefined) this.#conflicts.delete(dst)
    else this.#conflicts.set(dst, conflict)
  }

  #podsAt(dst: string): readonly NamedRoute[] {
    return this.#pods.get(dst) ?? NO_PODS
  }

  #setPods(dst: string, routes: readonly NamedRoute[]): void {
    if (routes.length === 0) this.#pods.delete(dst)
    else this.#pods.set(dst, routes)
    this.#decide(dst)
  }
}

function byInterface(a: NamedRoute, b: NamedRoute): number {
  return (a.interfaceName ?? '') < (b.interfaceName ?? '') ? -1 : 1
}

function addressConflict({ dst, interfaceName }: NamedRoute, rival: NamedRoute): Condition {
  return broken('AddressesUnique', {
    object: { kind: 'Route', name: dst },
    reason: 'AddressConflict',
    message: `${interfaceName} and ${rival.interfaceName} both claim ${dst}; ${interfaceName} has it`,
    remedy: 'delete one of the two pods, or find out who else announces its address',
  })
}
