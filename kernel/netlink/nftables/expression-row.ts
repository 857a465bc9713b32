// What the registry of expressions (expressions.ts) holds of each kind: its attributes, from which emit and parse follow,
// and the words that nft has for it. Source of the attributes: linux/netfilter/nf_tables.h.
import type { NftExpression } from '../../port/nftables.ts'
import type { Codec } from './fields.ts'
import type { TextState } from './text-state.ts'

export type ExpressionName = Exclude<NftExpression['type'], 'opaque'>
export type Named<N extends ExpressionName> = Extract<NftExpression, { type: N }>
type Content<N extends ExpressionName> = Omit<Named<N>, 'type'>

/** Without `attributes` the expression is its name alone. */
export type ExpressionRow<N extends ExpressionName> = {
  attributes?: Codec<Content<N>>
  text(expression: Content<N>, state: TextState): void
}

/** Attributes and values that a row does not have make the expression one that is kept as it is. */
export const CLOSED = { closed: true }
