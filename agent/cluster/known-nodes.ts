// The nodes of the cluster, by name and by address. Pure.
import { addressesOf, type NodeFacts } from './nodes.ts'

export class KnownNodes {
  readonly #byName = new Map<string, NodeFacts>()
  /** The names of the nodes that have each address. */
  readonly #byAddress = new Map<string, Set<string>>()

  get(name: string): NodeFacts | undefined {
    return this.#byName.get(name)
  }

  /** A node with its labels: one that is not known has none. */
  named(name: string): Pick<NodeFacts, 'name' | 'labels'> {
    return this.#byName.get(name) ?? { name, labels: {} }
  }

  names(): MapIterator<string> {
    return this.#byName.keys()
  }

  all(): MapIterator<NodeFacts> {
    return this.#byName.values()
  }

  /** A Node changed, appeared, or went; the addresses that it had or has. */
  set(name: string, facts: NodeFacts | undefined): string[] {
    const [were, are] = [addressesOf(this.#byName.get(name)), addressesOf(facts)]
    for (const address of were) {
      const there = this.#byAddress.get(address)
      there?.delete(name)
      if (there?.size === 0) this.#byAddress.delete(address)
    }
    for (const address of are) this.#byAddress.set(address, (this.#byAddress.get(address) ?? new Set()).add(name))
    if (facts === undefined) this.#byName.delete(name)
    else this.#byName.set(name, facts)
    return [...were, ...are]
  }

  /** The node that has an address; of several the one that has it first. */
  at(address: string): NodeFacts | undefined {
    const all = [...(this.#byAddress.get(address) ?? [])].map(name => this.#byName.get(name)!)
    return all.sort((a, b) => (`${a.precedence} ${a.name}` < `${b.precedence} ${b.name}` ? -1 : 1))[0]
  }
}
