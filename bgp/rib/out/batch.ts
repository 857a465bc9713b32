// A batch of changes that will be made into messages. They are grouped, first by the peer that must not get them, then by
// attribute set, in linked lists over typed arrays: no comparisons and no allocation per change.
import { widened } from '../store/prefix-table.ts'

/** What `each` calls: a set (0: withdraw), then its prefixes. */
type BatchVisitor = { set(set: number): void; prefix(prefix: number, pathId: number): void }

/** First and last entry of one peer. */
type Chain = { readonly except: number; readonly first: number; last: number }

export class Batch {
  #count = 0
  #prefix = new Uint32Array(1024)
  #pathId = new Uint32Array(1024)
  #set = new Uint32Array(1024)
  /** Next entry of the same peer, and of the same set, plus one. */
  #nextOfPeer = new Uint32Array(1024)
  #nextOfSet = new Uint32Array(1024)
  /** First entry per set plus one; all 0 between calls. */
  #firstOfSet = new Uint32Array(1024)
  readonly #chains = new Map<number, Chain>()
  /** The chain of the last change: most changes come in runs. */
  #chain: Chain | undefined
  #only = new Map<number, number[]>()
  #sets: number[] = []

  reset(): void {
    this.#count = 0
    this.#chains.clear()
    this.#chain = undefined
    this.#only.clear()
  }

  /** All but `except` (0: all) get the prefix with a set, or its withdrawal (set 0). */
  announce(prefix: number, pathId: number, set: number, except: number): void {
    if (this.#count === this.#prefix.length) this.#grow()
    const at = this.#count++
    this.#prefix[at] = prefix
    this.#pathId[at] = pathId
    this.#set[at] = set
    this.#nextOfPeer[at] = 0
    const chain = this.#chain?.except === except ? this.#chain : this.#chains.get(except)
    if (chain === undefined) {
      this.#chain = { except, first: at, last: at }
      this.#chains.set(except, this.#chain)
      return
    }
    this.#nextOfPeer[chain.last] = at + 1
    chain.last = at
    this.#chain = chain
  }

  /** Only `peer` gets the withdrawal. */
  withdrawOnly(prefix: number, peer: number): void {
    const prefixes = this.#only.get(peer)
    if (prefixes === undefined) this.#only.set(peer, [prefix])
    else prefixes.push(prefix)
  }

  /** Peers with withdrawals of their own, and their prefixes. */
  get only(): ReadonlyMap<number, readonly number[]> {
    return this.#only
  }

  /** The peers given as `except`. */
  exceptions(): number[] {
    return [...this.#chains.keys()]
  }

  /** Visits what was announced with `except`, set by set. `capacity` is above every set. */
  each(except: number, capacity: number, { set, prefix }: BatchVisitor): void {
    const chain = this.#chains.get(except)
    if (chain === undefined) return
    if (this.#firstOfSet.length < capacity) this.#firstOfSet = new Uint32Array(capacity)
    const firstOfSet = this.#firstOfSet
    const nextOfSet = this.#nextOfSet
    const sets = this.#sets
    for (let link = chain.first + 1; link !== 0; link = this.#nextOfPeer[link - 1]!) {
      const own = this.#set[link - 1]!
      if (firstOfSet[own] === 0) sets.push(own)
      nextOfSet[link - 1] = firstOfSet[own]!
      firstOfSet[own] = link
    }
    for (const own of sets) {
      set(own)
      for (let link = firstOfSet[own]!; link !== 0; link = nextOfSet[link - 1]!)
        prefix(this.#prefix[link - 1]!, this.#pathId[link - 1]!)
      firstOfSet[own] = 0
    }
    sets.length = 0
  }

  #grow(): void {
    const capacity = this.#prefix.length * 2
    this.#prefix = widened(this.#prefix, new Uint32Array(capacity))
    this.#pathId = widened(this.#pathId, new Uint32Array(capacity))
    this.#set = widened(this.#set, new Uint32Array(capacity))
    this.#nextOfPeer = widened(this.#nextOfPeer, new Uint32Array(capacity))
    this.#nextOfSet = new Uint32Array(capacity)
  }
}
