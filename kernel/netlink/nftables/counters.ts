// What the counters of rules have counted, read without the rules: the kernel tells those of one table or of one chain, and
// of each only the name and the numbers are looked at. A table can have ten thousand rules, so this reads octets where
// other codecs read records.
import type { NftRuleCounter } from '../../port/nftables.ts'
import type { Message, NlWriter } from '../message.ts'
import { NLA_F } from '../numbers.ts'
import { type Codec, count, Malformed, octets, optional, type Parsed, record, required, text } from './fields.ts'
import { parseBody } from './objects.ts'
import { parseNotes } from './userdata.ts'

type Counted = Pick<NftRuleCounter, 'packets' | 'bytes'>

const EXPRESSION_NAME = 1
const EXPRESSION_DATA = 2
const COUNTER_BYTES = 1
const COUNTER_PACKETS = 2
const COUNTER = Buffer.from('counter\0')

/** Calls `take` with the type of each attribute from `at` to `end` and where its value lies. */
function eachAttribute(bytes: Buffer, at: number, end: number, take: (type: number, from: number, to: number) => void) {
  for (let next = at; next < end; ) {
    const length = next + 4 <= end ? bytes.readUInt16LE(next) : 0
    if (length < 4 || next + length > end) throw new Malformed(`an attribute is cut short at octet ${next}`)
    take(bytes.readUInt16LE(next + 2) & ~(NLA_F.nested | NLA_F.netByteOrder), next + 4, next + length)
    next += (length + 3) & ~3
  }
}

/** Adds what a counter's attributes say to `sum`. */
function addCounter(bytes: Buffer, at: number, end: number, sum: Counted): void {
  eachAttribute(bytes, at, end, (type, from, to) => {
    if (type !== COUNTER_BYTES && type !== COUNTER_PACKETS) return
    if (to - from !== 8) throw new Malformed(`${to - from} octets of a counter`)
    const value = bytes.readBigUInt64BE(from)
    if (type === COUNTER_BYTES) sum.bytes += value
    else sum.packets += value
  })
}

const unwritable = () => {
  throw new Error('counters are only read')
}

/** The sum of the counters in a list of expressions; undefined when there is none. */
const ofExpressions: Codec<Counted> = {
  nested: true,
  emit: unwritable,
  parse(bytes) {
    const sum = { packets: 0n, bytes: 0n }
    let counters = 0
    eachAttribute(bytes, 0, bytes.length, (_, from, to) => {
      let isCounter = false
      eachAttribute(bytes, from, to, (type, at, end) => {
        if (type === EXPRESSION_NAME) isCounter = COUNTER.compare(bytes, at, end) === 0
        else if (type === EXPRESSION_DATA && isCounter) {
          addCounter(bytes, at, end, sum)
          counters++
        }
      })
    })
    return counters === 0 ? undefined : sum
  },
}

type WireRule = { chain: string; handle: number; counted?: Counted; userdata?: string }

const rule = record<WireRule>({
  chain: required(2, text),
  handle: required(3, count),
  counted: optional(4, ofExpressions),
  userdata: optional(7, octets),
})

const ruleFilter = record<{ table: string; chain?: string }>({ table: required(1, text), chain: optional(2, text) })

/** What a dump of rules is asked to keep to. */
export function emitRuleFilter(w: NlWriter, of: { table: string; chain?: string }): void {
  ruleFilter.emit(w, of)
}

/** The counters of one rule of a dump; undefined for a rule without any. */
export function parseRuleCounter(message: Message): Parsed<NftRuleCounter> | undefined {
  return parseBody(message, (_, attributes) => {
    const { chain, handle, counted, userdata } = rule.parse(attributes)!
    if (counted === undefined) return undefined
    const { comment } = userdata === undefined ? {} : parseNotes(userdata)
    return { chain, handle, ...(comment !== undefined && { comment }), ...counted }
  })
}
