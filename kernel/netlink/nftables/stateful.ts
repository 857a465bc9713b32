// Counters, limits of rates and of connections: the three that rules, elements, sets and objects all may have.
import type { NftExpression, NftStateful } from '../../port/nftables.ts'
import { CLOSED, type ExpressionRow } from './expression-row.ts'
import { absentIf, oneIsTrue, optional, record, required, u32, u64, upTo53Bits, word } from './fields.ts'
import { LIMIT_PER, LIMIT_UNIT } from './numbers.ts'

type Limit = Extract<NftStateful, { type: 'limit' }>

export const statefulRows: { readonly [N in NftStateful['type']]: ExpressionRow<N> } = {
  counter: {
    attributes: record({ bytes: optional(1, absentIf(0n, u64)), packets: optional(2, absentIf(0n, u64)) }, CLOSED),
    text: (counter, state) => state.say(statefulText({ type: 'counter', ...counter })),
  },
  limit: {
    attributes: record(
      {
        rate: required(1, upTo53Bits),
        per: required(2, word(LIMIT_PER, upTo53Bits)),
        burst: required(3, u32),
        unit: required(4, word(LIMIT_UNIT)),
        over: optional(5, oneIsTrue),
      },
      CLOSED,
    ),
    text: (limit, state) => state.say(statefulText({ type: 'limit', ...limit })),
  },
  connlimit: {
    attributes: record({ count: required(1, u32), over: optional(2, oneIsTrue) }, CLOSED),
    text: (limit, state) => state.say(statefulText({ type: 'connlimit', ...limit })),
  },
}

/** Whether an expression is one of these. */
export function isStateful(of: NftExpression): of is NftStateful {
  return Object.hasOwn(statefulRows, of.type)
}

/** What nft prints; with `bare` without what was counted, as where an element is only described. */
export function statefulText(of: NftStateful, { bare = false }: { bare?: boolean } = {}): string {
  switch (of.type) {
    case 'counter':
      return bare ? 'counter' : `counter ${countedText(of)}`
    case 'limit':
      return `limit ${rateText(of)}`
    case 'connlimit':
      return `ct count ${over(of)}${of.count}`
  }
}

/** A counter where it stands now. */
export function countedText({ packets = 0n, bytes = 0n }: { packets?: bigint; bytes?: bigint }): string {
  return `packets ${packets} bytes ${bytes}`
}

const over = (of: { over?: true }) => (of.over === true ? 'over ' : '')
/** What nft takes where nobody says. */
const PACKET_BURST = 5

/** `rate over 10/second burst 7 packets`. */
export function rateText(limit: Limit): string {
  const { unit, rate, per, burst } = limit
  if (unit === 'packets') {
    const more = burst === PACKET_BURST || burst === 0 ? '' : ` burst ${burst} packets`
    return `rate ${over(limit)}${rate}/${per}${more}`
  }
  return `rate ${over(limit)}${octetsText(rate)}/${per}${burst === 0 ? '' : ` burst ${octetsText(burst)}`}`
}

function octetsText(octets: number): string {
  const isWhole = (unit: number) => octets % unit === 0
  if (isWhole(1024 ** 2)) return `${octets / 1024 ** 2} mbytes`
  return isWhole(1024) ? `${octets / 1024} kbytes` : `${octets} bytes`
}
