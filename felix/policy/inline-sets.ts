// The sets of single rules of one chain: ports, CIDRs and protocols that stand in a rule. The kernel lets no two rules have
// one, so each rule makes its own.
import type { NftExpression, NftSet } from '../../kernel/port/nftables.ts'
import { INLINE_SET, type NftInlineSet } from '../../kernel/reconcile/nft-state.ts'

export class InlineSets {
  readonly #sets: NftInlineSet[] = []

  /** `@set`, or `!=`, of what register 1 holds. `words` are nft's, one for each element; `interval` where some are ranges. */
  lookup(
    type: NftSet['type'],
    words: readonly string[],
    { is, interval }: { is: 'in' | 'not in'; interval: boolean },
  ): NftExpression {
    const id = this.#sets.length + 1
    const elements = words.map(word => ({ key: [word] }))
    this.#sets.push({ id, type, flags: interval ? ['interval'] : [], elements })
    return { type: 'lookup', set: INLINE_SET, setId: id, from: 1, ...(is === 'not in' && { inverted: true }) }
  }

  get all(): readonly NftInlineSet[] {
    return this.#sets
  }
}
