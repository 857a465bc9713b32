// The addresses of all nodes, this one's too. Several nodes may claim one address: it is known while one of them does.
import { type Prefix, parsePrefix } from '../../lib/prefix-index.ts'

export class NodeAddresses {
  readonly #byNode = new Map<string, readonly string[]>()
  /** How many nodes have each address, and the address as a number where it can be read. */
  readonly #claims = new Map<string, { count: number; readonly prefix: Prefix | undefined }>()
  /** Grows with each address that is known from then on, or no more. */
  changes = 0

  /** Takes in the addresses of a node. Returns those that are known from now on, and those that are not any more. */
  update(name: string, addresses: readonly string[]): string[] {
    const before = this.#byNode.get(name) ?? []
    if (addresses.length === 0) this.#byNode.delete(name)
    else this.#byNode.set(name, addresses)
    const gone = before.filter(address => this.#count(address, -1) === 0)
    const come = addresses.filter(address => this.#count(address, 1) === 1)
    const news = [...gone.filter(address => !this.has(address)), ...come.filter(address => !gone.includes(address))]
    this.changes += news.length
    return news
  }

  has(address: string): boolean {
    return this.#claims.has(address)
  }

  all(): Iterable<string> {
    return this.#claims.keys()
  }

  prefixes(): Iterable<readonly [address: string, { readonly prefix: Prefix | undefined }]> {
    return this.#claims
  }

  #count(address: string, change: 1 | -1): number {
    const claims = this.#claims.get(address) ?? { count: 0, prefix: parsePrefix(address) }
    claims.count += change
    if (claims.count === 0) this.#claims.delete(address)
    else this.#claims.set(address, claims)
    return claims.count
  }
}
