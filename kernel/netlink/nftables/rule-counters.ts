// What the counters of rules have counted, read without the rules themselves: the kernel tells the rules of one table or
// of one chain, and of each only its name and its counters are looked at. A table can have ten thousand rules.
import type { NftRuleCounter } from '../../port/nftables.ts'
import type { Message, NlWriter } from '../message.ts'
import { attributesOf, type Codec, count, octets, optional, type Parsed, record, required, text } from './fields.ts'
import { parseBody } from './objects.ts'
import { statefulRows } from './stateful.ts'
import { parseNotes } from './userdata.ts'

const EXPRESSION_NAME = 1
const EXPRESSION_DATA = 2
const COUNTER = Buffer.from('counter\0')

/** The sum of the counters in a list of expressions; undefined when there is none. */
const counted: Codec<Pick<NftRuleCounter, 'packets' | 'bytes'>> = {
  nested: true,
  emit() {
    throw new Error('counters are only read')
  },
  parse(bytes) {
    let sum: { packets: bigint; bytes: bigint } | undefined
    for (const { value } of attributesOf(bytes)) {
      const [name, data] = attributesOf(value)
      if (name?.type !== EXPRESSION_NAME || !name.value.equals(COUNTER) || data?.type !== EXPRESSION_DATA) continue
      const { packets = 0n, bytes: octetsSeen = 0n } = statefulRows.counter.attributes!.parse(data.value)!
      sum = { packets: (sum?.packets ?? 0n) + packets, bytes: (sum?.bytes ?? 0n) + octetsSeen }
    }
    return sum
  },
}

type WireRule = { chain: string; handle: number; counted?: { packets: bigint; bytes: bigint }; userdata?: string }

const rule = record<WireRule>({
  chain: required(2, text),
  handle: required(3, count),
  counted: optional(4, counted),
  userdata: optional(7, octets),
})

const filter = record<{ table: string; chain?: string }>({ table: required(1, text), chain: optional(2, text) })

/** What a dump of rules is asked to keep to. */
export function emitRuleFilter(w: NlWriter, of: { table: string; chain?: string }): void {
  filter.emit(w, of)
}

/** The counters of one rule of a dump; undefined for a rule without any. */
export function parseRuleCounter(message: Message): Parsed<NftRuleCounter> | undefined {
  return parseBody(message, (_, attributes) => {
    const { chain, handle, counted: sum, userdata } = rule.parse(attributes)!
    if (sum === undefined) return undefined
    const { comment } = parseNotes(userdata)
    return { chain, handle, ...(comment !== undefined && { comment }), ...sum }
  })
}
