// The addresses of all nodes, this one's too. Several nodes may claim one address: it is known while one of them does.
import { type Prefix, PrefixIndex, parsePrefix } from '../../lib/prefix-index.ts'

/** An address of another node, or a next hop. */
export type KnownAddress = { readonly address: string; readonly prefix: Prefix }

export class NodeAddresses {
  readonly #byNode = new Map<string, readonly string[]>()
  /** How many nodes have each address. */
  readonly #claims = new Map<string, number>()
  /** Of those that can be read. */
  readonly #index = new PrefixIndex<KnownAddress>()
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

  /** Those in a subnet. */
  within(subnet: Prefix): readonly KnownAddress[] {
    return this.#index.within(subnet)
  }

  #count(address: string, change: 1 | -1): number {
    const before = this.#claims.get(address) ?? 0
    const now = before + change
    if (now === 0) this.#claims.delete(address)
    else this.#claims.set(address, now)
    const prefix = (before === 0) === (now === 0) ? undefined : parsePrefix(address)
    if (prefix !== undefined && now === 0) this.#index.delete(prefix)
    else if (prefix !== undefined) this.#index.set(prefix, { address, prefix })
    return now
  }
}
