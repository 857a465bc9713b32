// The sets that many sources share: one for each kind of members and family, there while some source has its members in it,
// or would have.
import type { NftSet } from '../../kernel/port/nftables.ts'
import type { Family } from '../../lib/ip.ts'
import type { ElementChanges, HeldSet } from './held-set.ts'
import { type SetContent, sharedPrefix, sharedSet, type TableName } from './sources.ts'

type Shared = { readonly set: NftSet; uses: number; isTold: boolean; added: string[]; removed: string[] }

export class SharedSets {
  readonly #table: TableName
  /** By name. */
  readonly #sets = new Map<string, Shared>()

  constructor(table: TableName) {
    this.#table = table
  }

  /** The source of these digits has its members here from now on. */
  enter(held: HeldSet, digits: string): void {
    this.#of(held).uses++
    this.change(held, digits, { added: held.elements(), removed: [] })
  }

  /** It has no more; `told`: what it had. */
  leave(held: HeldSet, digits: string, told: Iterable<string>): void {
    this.#of(held).uses--
    this.change(held, digits, { added: [], removed: told })
  }

  /** What a source has here changes. */
  change(held: HeldSet, digits: string, changes: { added: Iterable<string>; removed: Iterable<string> }): void {
    const { added, removed } = this.#of(held)
    const prefix = sharedPrefix(digits)
    for (const element of changes.added) added.push(prefix + element)
    for (const element of changes.removed) removed.push(prefix + element)
  }

  /** Adds what changed since the last call. */
  take({ sets, elements }: { sets: Map<string, NftSet | undefined>; elements: Map<string, ElementChanges> }): void {
    for (const [name, shared] of this.#sets) {
      const { set, added, removed } = shared
      if (shared.uses === 0) {
        this.#sets.delete(name)
        if (shared.isTold) sets.set(name, undefined)
        continue
      }
      if (!shared.isTold) sets.set(name, set)
      if (added.length + removed.length > 0) elements.set(name, { added, removed })
      Object.assign(shared, { isTold: true, added: [], removed: [] })
    }
  }

  #of({ content, family }: { content: SetContent; family: Family }): Shared {
    if (content === 'nets') throw new Error('CIDRs of many sources cannot stand in one set')
    const set = sharedSet(this.#table, content, family)
    const known = this.#sets.get(set.name) ?? { set, uses: 0, isTold: false, added: [], removed: [] }
    this.#sets.set(set.name, known)
    return known
  }
}
