// Which blocks there are, which node owns each, and which are empty, as far as this node knows. Those of this node are watched;
// the others are listed once before the first claim, and again when that list proves to be out of date.
import type { Resource } from '../api/kinds.ts'
import type { Store } from '../datastore/port.ts'
import type { Clock } from '../lib/clock.ts'
import { affinityOf } from './block.ts'
import { isSubnet } from './subnet.ts'

type BlockObject = Resource<'IPAMBlock'>

export type TakenBlocksDeps = { node: string; store: Pick<Store, 'pages'>; clock: Clock }

export class TakenBlocks {
  readonly #deps: TakenBlocksDeps
  readonly #affinities = new Map<string, string | undefined>()
  /** Blocks in which nobody had an address when they were listed, or seen since. */
  #empty = new Set<string>()
  /** The same with a free address. */
  #withRoom = new Set<string>()
  #lenders: readonly string[] = []
  #synced = false
  /** When all blocks were listed last, on the monotonic clock. */
  #listedMs: number | undefined

  constructor(deps: TakenBlocksDeps) {
    this.#deps = deps
  }

  /** Blocks that are known to exist, with their affinity. Those of other nodes may be out of date. */
  get all(): ReadonlyMap<string, string | undefined> {
    return this.#affinities
  }

  /** Whether the watch has brought all blocks of this node. */
  get synced(): boolean {
    return this.#synced
  }

  /** The CIDRs of this node's blocks. */
  own(): string[] {
    const own = affinityOf(this.#deps.node)
    return [...this.#affinities].flatMap(([cidr, affinity]) => (affinity === own ? [cidr] : []))
  }

  /** Blocks of other nodes in which nobody had an address when all were listed, or they were seen, with the affinity. */
  empty(): [cidr: string, affinity: string][] {
    return this.#ofOthers(this.#empty)
  }

  /** The same of those in which an address was free. */
  withRoom(): [cidr: string, affinity: string][] {
    return this.#ofOthers(this.#withRoom)
  }

  /** Blocks of other nodes in which this node had an address when all were listed. */
  get lenders(): readonly string[] {
    return this.#lenders
  }

  #ofOthers(cidrs: ReadonlySet<string>): [cidr: string, affinity: string][] {
    const own = affinityOf(this.#deps.node)
    return [...cidrs].flatMap(cidr => {
      const affinity = this.#affinities.get(cidr)
      return affinity === undefined || affinity === own ? [] : [[cidr, affinity]]
    })
  }

  note({ spec }: BlockObject): void {
    this.#affinities.set(spec.cidr, spec.affinity)
    for (const [known, isOne] of [
      [this.#empty, isUnused(spec)],
      [this.#withRoom, hasRoom(spec)],
    ] as const)
      if (isOne) known.add(spec.cidr)
      else known.delete(spec.cidr)
  }

  gone(cidr: string): void {
    this.#affinities.delete(cidr)
  }

  /** All blocks of this node, as the watch has them. */
  sync(items: readonly BlockObject[]): void {
    this.#synced = true
    for (const cidr of this.own()) this.#affinities.delete(cidr)
    for (const item of items) this.note(item)
  }

  /** Lists all blocks where that was not done within `maxAgeMs` (never done, or less than 0: always). Returns whether it did. Rejects as the store. */
  async list(maxAgeMs: number): Promise<boolean> {
    const { store, clock, node } = this.#deps
    if (this.#listedMs !== undefined && clock.monotonicMs() - this.#listedMs <= maxAgeMs) return false
    const found = new Map<string, string | undefined>()
    // page by page, so that the allocations of 5,000 blocks are never in memory together
    const empty = new Set<string>()
    const withRoom = new Set<string>()
    const lenders: string[] = []
    for await (const page of store.pages('IPAMBlock'))
      for (const { spec } of page) {
        found.set(spec.cidr, spec.affinity)
        if (isUnused(spec)) empty.add(spec.cidr)
        if (hasRoom(spec)) withRoom.add(spec.cidr)
        const isOther = spec.affinity !== affinityOf(node)
        if (isOther && spec.attributes.some(({ secondary }) => secondary?.['node'] === node)) lenders.push(spec.cidr)
      }
    this.#empty = empty
    this.#withRoom = withRoom
    this.#lenders = lenders
    this.#listedMs = clock.monotonicMs()
    const own = affinityOf(node)
    // of this node's blocks the watch is newer than the list
    const fromList = (affinity: string | undefined): boolean => affinity !== own || !this.#synced
    for (const [cidr, affinity] of this.#affinities)
      if (fromList(affinity) && !found.has(cidr)) this.#affinities.delete(cidr)
    for (const [cidr, affinity] of found) if (fromList(affinity)) this.#affinities.set(cidr, affinity)
    return true
  }
}

function isUnused({ allocations }: BlockObject['spec']): boolean {
  return allocations.every(index => index === null)
}

function hasRoom(spec: BlockObject['spec']): boolean {
  return spec.allocations.includes(null) && !isSubnet(spec)
}
