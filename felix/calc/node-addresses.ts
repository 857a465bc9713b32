// The addresses of all nodes, this one's too. Several nodes may claim one address: it is known while one of them does.
import { type Prefix, PrefixIndex, parsePrefix } from '../../lib/prefix-index.ts'

export class NodeAddresses {
  readonly #byNode = new Map<string, readonly string[]>()
  /** How many nodes have each address. */
  readonly #claims = new Map<string, number>()
  readonly #index = new PrefixIndex<true>()

  /** Takes in the addresses of a node. Returns those that are known from now on, and those that are not any more. */
  update(name: string, addresses: readonly string[]): string[] {
    const before = this.#byNode.get(name) ?? []
    if (addresses.length === 0) this.#byNode.delete(name)
    else this.#byNode.set(name, addresses)
    const gone = before.filter(address => this.#count(address, -1) === 0)
    const come = addresses.filter(address => this.#count(address, 1) === 1)
    return [...gone.filter(address => !this.has(address)), ...come.filter(address => !gone.includes(address))]
  }

  has(address: string): boolean {
    return this.#claims.has(address)
  }

  /** One value for each address in a subnet. */
  within(subnet: Prefix): readonly true[] {
    return this.#index.within(subnet)
  }

  all(): Iterable<string> {
    return this.#claims.keys()
  }

  #count(address: string, change: 1 | -1): number {
    const claims = (this.#claims.get(address) ?? 0) + change
    if (claims === 0) this.#claims.delete(address)
    else this.#claims.set(address, claims)
    const prefix = claims < 2 ? parsePrefix(address) : undefined
    if (prefix !== undefined && claims === 0) this.#index.delete(prefix)
    else if (prefix !== undefined) this.#index.set(prefix, true)
    return claims
  }
}
