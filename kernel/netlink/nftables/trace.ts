// NFT_MSG_TRACE: one step of one packet that is traced (nf_tables_trace.c). The headers of the packet were written by whoever sent
// it; everything is checked as if it came from outside.
import type { TraceStep, TraceVerdict } from '../../port/trace.ts'
import type { Message } from '../message.ts'
import { type Codec, count, Malformed, optional, type Parsed, record, required, text, u32, word } from './fields.ts'
import { NFTA_TRACE, TRACE_TYPE, VERDICT } from './numbers.ts'
import { parseBody } from './objects.ts'

const onlyRead = () => {
  throw new Error('steps are only read')
}

/** NF_DROP to NF_REPEAT (linux/netfilter.h), whose upper bits are a queue or an errno; below 0 those of nftables. */
const NF_VERDICTS: readonly TraceVerdict[] = ['drop', 'accept', 'stolen', 'queue', 'repeat']
const NFT_VERDICTS = new Map<number, TraceVerdict>(
  Object.entries(VERDICT).flatMap(([name, code]) => (code < 0 ? [[code, name as TraceVerdict]] : [])),
)

const code: Codec<TraceVerdict> = {
  emit: onlyRead,
  parse(bytes) {
    const number = u32.parse(bytes)! | 0
    const verdict = NFT_VERDICTS.get(number) ?? NF_VERDICTS[number & 0xff]
    if (verdict === undefined) throw new Malformed(`verdict ${number}`)
    return verdict
  },
}

const verdict = record<{ code: TraceVerdict; chain?: string }>({ code: required(1, code), chain: optional(2, text) })

const octets: Codec<Buffer> = { emit: onlyRead, parse: bytes => bytes }

type Wire = Omit<TraceStep, 'family' | 'verdict' | 'to'> & {
  verdict?: { code: TraceVerdict; chain?: string }
  policy?: TraceVerdict
}

const step = record<Wire>({
  packet: required(NFTA_TRACE.id, u32),
  table: required(NFTA_TRACE.table, text),
  chain: required(NFTA_TRACE.chain, text),
  of: required(NFTA_TRACE.type, word(TRACE_TYPE)),
  handle: optional(NFTA_TRACE.ruleHandle, count),
  verdict: optional(NFTA_TRACE.verdict, verdict),
  policy: optional(NFTA_TRACE.policy, code),
  inputIndex: optional(NFTA_TRACE.iif, u32),
  outputIndex: optional(NFTA_TRACE.oif, u32),
  network: optional(NFTA_TRACE.networkHeader, octets),
  transport: optional(NFTA_TRACE.transportHeader, octets),
})

/** The step; its headers are views of the message. */
export function parseTrace(message: Message): Parsed<TraceStep> {
  return parseBody(message, (family, attributes) => {
    const { verdict, policy, ...rest } = step.parse(attributes)!
    const decided = verdict?.code ?? policy
    if (decided === undefined) throw new Malformed('no verdict')
    return { ...rest, family, verdict: decided, ...(verdict?.chain !== undefined && { to: verdict.chain }) }
  })
}
