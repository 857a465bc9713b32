// The rows of expressions that do something: elements that packets make (dynset), objects with names (objref), logs,
// refusals, connections that are not tracked, flows past the hooks, and NAT.
import type { NftExpression, NftStateful } from '../../port/nftables.ts'
import { dataType, printWord } from './datatypes.ts'
import { CLOSED, type ExpressionRow } from './expression-row.ts'
import {
  absentIf,
  bits,
  type Codec,
  listOf,
  mapped,
  optional,
  record,
  required,
  text,
  Unknown,
  u8,
  u16,
  u32,
  upTo53Bits,
  word,
} from './fields.ts'
import {
  DYNSET_F,
  DYNSET_OP,
  LOG_F,
  LOG_LEVEL,
  MASQ_F,
  NAT_F,
  NAT_FAMILY,
  NAT_TYPE,
  OBJECT_TYPE,
  REJECT_WITH,
} from './numbers.ts'
import { isStateful } from './stateful.ts'
import { natText, setUpdateText } from './statement-text.ts'
import type { TextState } from './text-state.ts'

type StatementName = 'dynset' | 'objref' | 'log' | 'reject' | 'notrack' | 'flow_offload' | 'masq' | 'nat'
type Dynset = Omit<Extract<NftExpression, { type: 'dynset' }>, 'type'>
type Log = Omit<Extract<NftExpression, { type: 'log' }>, 'type'>

/** `expression` is that of the whole registry, which these rows are part of. */
export function statementRows(expression: Codec<NftExpression>): { readonly [N in StatementName]: ExpressionRow<N> } {
  return {
    dynset: {
      attributes: dynset(expression),
      text: (update, state) => setUpdateText(state, update),
    },
    objref: {
      attributes: record({ of: required(1, word(OBJECT_TYPE)), name: required(2, text) }, CLOSED),
      text: ({ of, name }, state) => state.say(`${of === 'connlimit' ? 'ct count' : of} name "${name}"`),
    },
    log: {
      attributes: record(
        {
          prefix: optional(2, absentIf('', text)),
          group: optional(1, u16),
          snapLength: optional(3, absentIf(0, u32)),
          queueThreshold: optional(4, absentIf(0, u16)),
          level: optional(5, absentIf('warn', word(LOG_LEVEL))),
          flags: optional(6, bits(LOG_F)),
        },
        CLOSED,
      ),
      text: (log, state) => state.say(logText(log)),
    },
    reject: {
      attributes: record({ with: required(1, word(REJECT_WITH)), code: optional(2, u8) }, CLOSED),
      text: ({ with: how, code }, state) => state.say(rejectText(state, how, code)),
    },
    notrack: { text: (_, state) => state.say('notrack') },
    flow_offload: {
      attributes: record({ flowtable: required(1, text) }, CLOSED),
      text: ({ flowtable }, state) => state.say(`flow add @${flowtable}`),
    },
    masq: {
      attributes: record(
        { flags: optional(1, bits(MASQ_F)), minPort: optional(2, u32), maxPort: optional(3, u32) },
        CLOSED,
      ),
      text: (range, state) => natText(state, 'masquerade', range),
    },
    nat: {
      attributes: record(
        {
          of: required(1, word(NAT_TYPE)),
          family: required(2, word(NAT_FAMILY)),
          minAddress: optional(3, u32),
          maxAddress: optional(4, u32),
          minPort: optional(5, u32),
          maxPort: optional(6, u32),
          flags: optional(7, bits(NAT_F)),
        },
        CLOSED,
      ),
      text({ of, family, ...range }, state) {
        const action = of === 'source' ? 'snat' : 'dnat'
        // a table of one family need not say which
        const isKnown = state.known.network === family && state.isOfOneFamily
        natText(state, isKnown ? action : `${action} ${family}`, { ...range, family })
      },
    },
  }
}

type WireDynset = {
  set: string
  setId?: number
  op: Dynset['op']
  key: number
  data?: number
  timeout?: number
  expression?: NftStateful
  flags?: readonly (keyof typeof DYNSET_F)[]
  expressions?: readonly NftStateful[]
}

/** One expression lies in an attribute of its own, more of them in a list, which a flag announces (not in dumps). */
function dynset(expression: Codec<NftExpression>): Codec<Dynset> {
  const stateful = mapped<NftStateful, NftExpression>(
    expression,
    value => value,
    value => {
      if (!isStateful(value)) throw new Unknown(`${value.type} for an element`)
      return value
    },
  )
  const wire = record<WireDynset>(
    {
      key: required(4, u32),
      data: optional(5, u32),
      op: required(3, word(DYNSET_OP)),
      timeout: optional(6, absentIf(0, upTo53Bits)),
      expression: optional(7, stateful),
      set: required(1, text),
      setId: optional(2, u32),
      flags: optional(9, bits(DYNSET_F)),
      expressions: optional(10, listOf(1, stateful)),
    },
    CLOSED,
  )
  return mapped<Dynset, WireDynset>(
    wire,
    ({ set, setId, op, from, data, timeoutMs, inverted, expressions = [] }) => {
      const flags: (keyof typeof DYNSET_F)[] = []
      if (inverted === true) flags.push('inverted')
      if (expressions.length > 1) flags.push('several')
      const many = expressions.length > 1 ? { expressions } : { expression: expressions[0] }
      return { set, setId, op, key: from, data, timeout: timeoutMs, ...many, ...(flags.length > 0 && { flags }) }
    },
    ({ set, setId, op, key, data, timeout, expression: one, flags = [], expressions: many }) => {
      const expressions = many ?? (one === undefined ? [] : [one])
      return {
        op,
        set,
        from: key,
        ...(data !== undefined && { data }),
        ...(timeout !== undefined && { timeoutMs: timeout }),
        ...(flags.includes('inverted') && { inverted: true }),
        ...(expressions.length > 0 && { expressions }),
        ...(setId !== undefined && { setId }),
      }
    },
  )
}

function logText({ prefix, group, snapLength, queueThreshold, level, flags = [] }: Log): string {
  const words = ['log']
  if (prefix !== undefined) words.push(`prefix "${prefix}"`)
  if (group !== undefined) words.push(`group ${group}`)
  if (snapLength !== undefined) words.push(`snaplen ${snapLength}`)
  if (queueThreshold !== undefined) words.push(`queue-threshold ${queueThreshold}`)
  if (level !== undefined) words.push(`level ${level}`)
  if (flags.length === Object.keys(LOG_F).length) return [...words, 'flags all'].join(' ')
  const tcp = flags.flatMap(flag => (flag.startsWith('tcp-') ? [flag.slice('tcp-'.length)] : []))
  if (tcp.length > 0) words.push(`flags tcp ${tcp.join(',')}`)
  if (flags.includes('ip-options')) words.push('flags ip options')
  for (const flag of ['skuid', 'ether'] as const) if (flags.includes(flag)) words.push(`flags ${flag}`)
  return words.join(' ')
}

/** The codes that nft takes where nobody says. */
const PORT_UNREACHABLE = { ip: 3, ip6: 4, icmpx: 1 } as const

function rejectText(state: TextState, how: keyof typeof REJECT_WITH, code = 0): string {
  const codeWord = (type: string) => printWord(dataType(type), Uint8Array.of(code))
  if (how === 'tcp reset') {
    // elsewhere nft does not take the protocol's statement for one of its own
    if (state.isOfOneFamily) state.imply('transport')
    return 'reject with tcp reset'
  }
  if (how === 'icmpx') return code === PORT_UNREACHABLE.icmpx ? 'reject' : `reject with icmpx ${codeWord('icmpx_code')}`
  const family = state.known.network === 'ip6' ? 'ip6' : 'ip'
  state.imply('network')
  if (state.isOfOneFamily && code === PORT_UNREACHABLE[family]) return 'reject'
  return family === 'ip' ? `reject with icmp ${codeWord('icmp_code')}` : `reject with icmpv6 ${codeWord('icmpv6_code')}`
}
