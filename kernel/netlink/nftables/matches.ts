// The rows of expressions that test what a register holds or look it up, and of those that prepare it for that: cmp,
// range, lookup, bitwise, byteorder.
import { valueOctets } from './data.ts'
import { CLOSED, type ExpressionRow } from './expression-row.ts'
import { oneIsTrue, optional, record, required, text, u32, word } from './fields.ts'
import { BYTEORDER_OP, CMP_OP, RANGE_OP } from './numbers.ts'
import { compared, compareRange, lookedUp, masked, turned } from './statement-text.ts'

type MatchName = 'cmp' | 'range' | 'lookup' | 'bitwise' | 'byteorder'

export const matchRows: { readonly [N in MatchName]: ExpressionRow<N> } = {
  cmp: {
    attributes: record(
      { from: required(1, u32), op: required(2, word(CMP_OP)), value: required(3, valueOctets) },
      CLOSED,
    ),
    text: ({ from, op, value }, state) => compared(state, state.operand(from), op, value),
  },
  range: {
    attributes: record(
      {
        from: required(1, u32),
        op: required(2, word(RANGE_OP)),
        first: required(3, valueOctets),
        last: required(4, valueOctets),
      },
      CLOSED,
    ),
    text: ({ from, ...range }, state) => compareRange(state, state.operand(from), range),
  },
  lookup: {
    attributes: record(
      {
        from: required(2, u32),
        load: optional(3, u32),
        set: required(1, text),
        setId: optional(4, u32),
        inverted: optional(5, oneIsTrue),
      },
      CLOSED,
    ),
    text: (expression, state) => lookedUp(state, expression),
  },
  bitwise: {
    attributes: record(
      {
        from: required(1, u32),
        load: required(2, u32),
        length: required(3, u32),
        mask: required(4, valueOctets),
        xor: required(5, valueOctets),
      },
      // the operation: mask and xor
      { ...CLOSED, constant: { 6: '00000000' } },
    ),
    text: ({ from, load, mask, xor }, state) => state.load(load, masked(state, state.operand(from), mask, xor)),
  },
  byteorder: {
    attributes: record(
      {
        from: required(1, u32),
        load: required(2, u32),
        op: required(3, word(BYTEORDER_OP)),
        length: required(4, u32),
        size: required(5, u32),
      },
      CLOSED,
    ),
    text: ({ from, load }, state) => state.load(load, turned(state.operand(from))),
  },
}
