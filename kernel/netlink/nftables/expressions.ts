// The registry of expressions: one row each (stateful.ts, loads.ts, matches.ts, statements.ts) with its attributes, from
// which emit and parse follow, and with the words that nft has for it. An expression without a row, or with attributes
// or values that its row does not have, is kept as `opaque` with its octets.
import { fromHex, toHex } from '../../../lib/bytes.ts'
import type { NftExpression } from '../../port/nftables.ts'
import { NLA_F } from '../numbers.ts'
import type { ExpressionName, ExpressionRow } from './expression-row.ts'
import { type Codec, listOf, optional, record, required, text, Unknown } from './fields.ts'
import { loadRows } from './loads.ts'
import { matchRows } from './matches.ts'
import { statefulRows } from './stateful.ts'
import { statementRows } from './statements.ts'
import type { TextState } from './text-state.ts'

/** NFTA_EXPR_DATA. */
const EXPR_DATA = 2

type WireExpression = { name: string; attributes?: Buffer }
const wire = record<WireExpression>({
  name: required(1, text),
  attributes: optional(EXPR_DATA, { nested: true, emit: (w, value) => w.put(value), parse: bytes => bytes }),
})

/** One expression that `rowOf` may have a row for. */
function expressionOf(rowOf: (name: string) => ExpressionRow<ExpressionName> | undefined): Codec<NftExpression> {
  return {
    nested: true,
    emit(w, value) {
      if (value.type === 'opaque') {
        const attributes = value.octets === undefined ? undefined : Buffer.from(fromHex(value.octets))
        return wire.emit(w, { name: value.name, attributes })
      }
      wire.emit(w, { name: value.type })
      const codec = rowOf(value.type)!.attributes
      if (codec !== undefined) w.nest(EXPR_DATA | NLA_F.nested, () => codec.emit(w, value))
    },
    parse(bytes) {
      const { name, attributes } = wire.parse(bytes)!
      const row = rowOf(name)
      if (attributes === undefined)
        return row !== undefined && row.attributes === undefined
          ? ({ type: name } as NftExpression)
          : { type: 'opaque', name }
      try {
        const content = row?.attributes?.parse(attributes)
        if (content !== undefined) return { type: name, ...content } as NftExpression
      } catch (error) {
        if (!(error instanceof Unknown)) throw error
      }
      return { type: 'opaque', name, octets: toHex(attributes) }
    },
  }
}

type Rows = { readonly [N in ExpressionName]?: ExpressionRow<N> }

function finder(rows: Rows): (name: string) => ExpressionRow<ExpressionName> | undefined {
  return name =>
    Object.hasOwn(rows, name) ? (rows[name as ExpressionName] as unknown as ExpressionRow<ExpressionName>) : undefined
}

const rows = {
  ...statefulRows,
  ...loadRows,
  ...matchRows,
  // an element holds nothing that could hold elements again
  ...statementRows(expressionOf(finder(statefulRows))),
} as const satisfies { readonly [N in ExpressionName]: ExpressionRow<N> }

/** One expression, in a list or wherever there is only one. */
export const expression: Codec<NftExpression> = expressionOf(finder(rows))

/** Sets and elements have one attribute for a single expression and another for a list of them. */
export function oneOrMore(steps: readonly NftExpression[] = []): {
  expression?: NftExpression
  expressions?: readonly NftExpression[]
} {
  if (steps.length === 0) return {}
  return steps.length === 1 ? { expression: steps[0] } : { expressions: steps }
}

export const expressions: Codec<readonly NftExpression[]> = listOf(1, expression)

/** Adds what the expression says to the words of its rule. */
export function addText(of: NftExpression, state: TextState): void {
  // nft has no words for these either: this is how its debugging output would have it
  if (of.type === 'opaque') state.say(`[ ${of.name} ${of.octets ?? ''} ]`)
  else finder(rows)(of.type)!.text(of, state)
}
