// The words of statements, as nft prints them: comparisons, look-ups, assignments and elements. Registers hold octets
// only, so that every word depends on what was loaded before (text-state.ts).
import { toHex } from '../../../lib/bytes.ts'
import type { NftComparison, NftElement, NftElements, NftExpression, NftFibFlag } from '../../port/nftables.ts'
import { verdictText } from './data.ts'
import { type DataType, dataType, formatWord, integerType, parseWord, presence, printWord } from './datatypes.ts'
import { type HeaderPart, headerField, maskedField, shifted } from './headers.ts'
import { type KeyType, keyType, parseKeyRange, prefixLength, setTypes } from './keys.ts'
import { isStateful, statefulText } from './stateful.ts'
import type { Operand, TextState } from './text-state.ts'

const OPERATORS: Readonly<Record<NftComparison, string>> = {
  eq: '==',
  neq: '!=',
  lt: '<',
  lte: '<=',
  gt: '>',
  gte: '>=',
}
const NOTHING: Operand = { text: '[ an empty register ]', type: integerType(4, 'host'), length: 4 }

const isZero = (octets: Uint8Array) => octets.every(octet => octet === 0)
const inverse = (octets: Uint8Array) => octets.map(octet => ~octet)

/** A comparison of an operand with octets, given as hex. */
export function compared(state: TextState, operand: Operand = NOTHING, op: NftComparison, value: string): void {
  const octets = valueWithin(operand, value)
  const { text, type, mask, tells, joined } = operand
  const shown = word(operand, octets)
  if (mask !== undefined) state.say(maskedComparison(operand, mask, op, octets))
  else if (op === 'eq' && joined !== undefined && octets.length === operand.length) {
    let at = 0
    for (const each of joined) {
      compared(state, each, op, toHex(octets.subarray(at, at + each.length)))
      at += each.length
    }
  } else if (op === 'gte') state.sayLower(`${text} >= ${shown}`, operand, endWord(operand, octets))
  else if (op === 'lte' && state.sayUpper(operand, endWord(operand, octets))) return
  else if (op !== 'eq') state.say(`${text} ${OPERATORS[op]} ${shown}`)
  else if (type.bitmask) state.say(`${text} == ${shown}`)
  else {
    // only the statement that nft adds by itself goes away again
    state.say(`${text} ${shown}`, tells !== undefined && text.startsWith('meta') ? tells : undefined)
    if (tells === 'network') state.known.network = shown === 'ipv4' ? 'ip' : 'ip6'
    else if (tells === 'transport') state.known.transport = shown === 'ipv6-icmp' ? 'icmpv6' : shown
  }
}

/** `80-90`, `!= 80-90`: a comparison with a range. */
export function compareRange(
  state: TextState,
  operand: Operand = NOTHING,
  { op, first, last }: { op: 'eq' | 'neq'; first: string; last: string },
): void {
  const [from, to] = [first, last].map(end => endWord(operand, valueWithin(operand, end)))
  state.say(`${operand.text} ${op === 'eq' ? '' : '!= '}${from}-${to}`)
}

/** The octets that an operand is compared with; of a field of a few bits those of its value. */
function valueWithin({ shift, length, turned }: Operand, hex: string): Uint8Array {
  const octets = new Uint8Array(Buffer.from(hex, 'hex'))
  if (turned) octets.reverse()
  return shift === undefined ? octets : shifted(octets, shift, length)
}

/** The operand with its octets the other way round. nft has no words for it: it follows from the type and what is asked. */
export function turned(operand: Operand = NOTHING): Operand {
  return { ...operand, turned: operand.turned !== true }
}

/** A value of an operand; fewer octets than its type has are the beginning of one. */
function word({ type }: Operand, octets: Uint8Array): string {
  if (type.length === undefined || octets.length >= type.length) return printWord(type, octets)
  if (type.name === 'ifname') return `"${Buffer.from(octets).toString()}*"`
  if (!type.prefixes) return `0x${toHex(octets)}`
  const whole = new Uint8Array(type.length)
  whole.set(octets)
  return `${type.format(whole)}/${8 * octets.length}`
}

function endWord(operand: Operand, octets: Uint8Array): string {
  const { type } = operand
  return octets.length === type.length && type.formatNumber !== undefined
    ? type.formatNumber(octets)
    : word(operand, octets)
}

function maskedComparison(
  { text, type }: Operand,
  { mask, xor }: NonNullable<Operand['mask']>,
  op: NftComparison,
  octets: Uint8Array,
): string {
  const shown = printWord(type, octets)
  if (isZero(xor)) {
    if (type.name === 'tcp_flag' && (op === 'eq' || (op === 'neq' && !isZero(octets))))
      return `${text} ${op === 'eq' ? '' : '!= '}${shown} / ${type.format(mask)}`
    if (type.bitmask && isZero(octets)) {
      if (op === 'neq') return `${text} ${type.format(mask)}`
      if (op === 'eq') return `${text} ! ${type.format(mask)}`
    }
    const bits =
      type.prefixes && type.order === 'big'
        ? prefixLength(
            octets,
            octets.map((o, i) => o | ~mask[i]!),
          )
        : undefined
    if (bits !== undefined && (op === 'eq' || op === 'neq'))
      return `${text} ${op === 'eq' ? '' : '!= '}${shown}/${bits}`
  }
  return `${text} ${maskText(type, { mask, xor })} ${OPERATORS[op]} ${shown}`
}

/** `& mask`, `| bits`, `^ bits` or two of them: what makes `(it & mask) ^ xor`. */
function maskText(type: DataType, { mask, xor }: NonNullable<Operand['mask']>): string {
  const kept = inverse(mask)
  if (isZero(xor)) return `& ${printWord(type, mask)}`
  if (isZero(kept)) return `^ ${printWord(type, xor)}`
  // bits that are cleared first and then turned over are set
  if (Buffer.compare(kept, xor) === 0) return `| ${printWord(type, xor)}`
  const sets = xor.every((octet, i) => (octet & mask[i]!) === 0)
  return `& ${printWord(type, sets ? inverse(kept.map((octet, i) => octet & ~xor[i]!)) : mask)} ${sets ? '|' : '^'} ${printWord(type, xor)}`
}

/** The operand of `it & mask ^ xor`, both as hex. */
export function masked(state: TextState, operand: Operand = NOTHING, mask: string, xor: string): Operand {
  const octets = (hex: string) => new Uint8Array(Buffer.from(hex, 'hex'))
  const { header, ...rest } = operand
  const field = header === undefined || !isZero(octets(xor)) ? undefined : maskedField(header, octets(mask))
  if (field === undefined) return { ...operand, mask: { mask: octets(mask), xor: octets(xor) } }
  state.imply(header!.base)
  return { ...rest, ...field }
}

/** What is assigned to something of `type`. */
export function assigned(operand: Operand = NOTHING, type: DataType): string {
  if (operand.literal !== undefined) return printWord(type, operand.literal)
  return operand.mask === undefined ? operand.text : `${operand.text} ${maskText(type, operand.mask)}`
}

/** `ip dscp set cs1`: what is written over octets of the packet, or over the bits of them that were not kept. */
export function assignedField(state: TextState, part: HeaderPart, operand: Operand = NOTHING): string {
  const { header, mask } = operand
  const isSame = header?.base === part.base && header.offset === part.offset && header.length === part.length
  const within = mask !== undefined && isSame ? maskedField(part, inverse(mask.mask)) : undefined
  const field = within ?? headerField(part)
  if (field.protocol !== undefined && field.protocol !== 'th') state.imply(part.base)
  if (within === undefined) return `${field.text} set ${assigned(operand, field.type)}`
  return `${field.text} set ${printWord(within.type, shifted(mask!.xor, within.shift, within.length))}`
}

/** What the routing table says of a packet. */
export function fibOperand(result: 'oif' | 'oifname' | 'type', flags: readonly NftFibFlag[]): Operand {
  const asked = flags.filter(flag => flag !== 'present').join(' . ')
  const types = { oif: 'iface_index', oifname: 'ifname', type: 'fib_addrtype' } as const
  const type = flags.includes('present') ? presence : dataType(types[result])
  return { text: `fib ${asked} ${result}`, type, length: type.length ?? 4 }
}

/** A look-up in a set or a map. */
export function lookedUp(
  state: TextState,
  { set, setId, from, load, inverted }: Omit<Extract<NftExpression, { type: 'lookup' }>, 'type'>,
): void {
  const elements = state.elementsOf({ set, setId })
  const operands = state.operands(from)
  const target = elements === undefined ? `@${set}` : elementsText(asShown(elements, operands))
  const what = keyText(operands)
  if (load === undefined) state.say(`${what} ${inverted ? '!= ' : ''}${target}`)
  else if (load === 0) state.say(`${what} vmap ${target}`)
  else state.load(load, { text: `${what} map ${target}`, type: integerType(4, 'host'), length: 4 })
}

/** The operands of a joined key. */
function keyText(operands: readonly Operand[]): string {
  return operands.map(operand => assigned(operand, operand.type)).join(' . ')
}

/** The elements with the values of a field of a few bits, which lie in the set as they do in the packet. */
function asShown(of: NftElements, operands: readonly Operand[]): NftElements {
  const [{ type, shift } = NOTHING] = operands
  if (shift === undefined || operands.length !== 1) return of
  const shown = (each: string) =>
    formatWord(type, shifted(parseWord(type, each, of.keyLength ?? type.length), shift, type.length ?? 1))
  return {
    ...of,
    keyLength: undefined,
    elements: of.elements.map(element => ({ ...element, key: element.key.map(shown) })),
  }
}

/** `update @seen { ip saddr timeout 10s limit rate over 5/second }`: an element that the packet makes or removes. */
export function setUpdateText(
  state: TextState,
  {
    op,
    set,
    from,
    data,
    timeoutMs,
    inverted,
    expressions = [],
  }: Omit<Extract<NftExpression, { type: 'dynset' }>, 'type'>,
): void {
  const value = data === undefined ? undefined : state.operand(data)
  const words = [keyText(state.operands(from).filter(operand => operand !== value))]
  if (timeoutMs !== undefined) words.push(`timeout ${durationText(timeoutMs)}`)
  for (const each of expressions) words.push(statefulText(each, { bare: true }))
  if (value !== undefined) words.push(`: ${assigned(value, value.type)}`)
  state.say(`${inverted ? '! ' : ''}${op} @${set} { ${words.join(' ')} }`)
}

type NatRange = {
  family?: 'ip' | 'ip6'
  minAddress?: number
  maxAddress?: number
  minPort?: number
  maxPort?: number
  flags?: readonly string[]
}

/** `masquerade to :1024-2048 fully-random`, `snat to 192.0.2.1`: an action of NAT with what it takes from. */
export function natText(state: TextState, action: string, { family = 'ip', flags = [], ...range }: NatRange): void {
  const between = (type: string, min?: number, max?: number) => {
    const word = (register: number) => assigned(state.operand(register), dataType(type))
    if (min === undefined) return ''
    return max === undefined || max === min ? word(min) : `${word(min)}-${word(max)}`
  }
  const addresses = between(family === 'ip' ? 'ipv4_addr' : 'ipv6_addr', range.minAddress, range.maxAddress)
  const ports = between('inet_service', range.minPort, range.maxPort)
  const hasBrackets = family === 'ip6' && addresses !== '' && ports !== ''
  const to = `${hasBrackets ? `[${addresses}]` : addresses}${ports === '' ? '' : `:${ports}`}`
  const words = flags.filter(flag => flag !== 'ports' && flag !== 'addresses')
  state.say([action, to === '' ? '' : `to ${to}`, words.join(',')].filter(part => part !== '').join(' '))
}

/** `{ 10.0.0.1, 10.0.0.2 }`. */
export function elementsText(of: NftElements): string {
  const types = setTypes(of)
  return `{ ${inOrder(of)
    .map(element => elementText(types, element))
    .join(', ')} }`
}

/** By the values of their keys, as nft has them; the one without a key is last. */
function inOrder({ type, keyLength, elements }: NftElements): NftElement[] {
  const key = keyType(type, { length: keyLength, interval: true })
  const sorted = elements.map(element => {
    const value = element.key[0] === '*' ? '~' : toHex(parseKeyRange(key, element.key).from)
    return { element, value }
  })
  return sorted.sort((a, b) => (a.value < b.value ? -1 : 1)).map(({ element }) => element)
}

function elementText({ key, data }: ReturnType<typeof setTypes>, element: NftElement): string {
  const parts = [wordsText(key, element.key)]
  for (const step of element.expressions ?? []) if (isStateful(step)) parts.push(statefulText(step))
  if (element.timeoutMs !== undefined) parts.push(`timeout ${durationText(element.timeoutMs)}`)
  if (element.comment !== undefined) parts.push(`comment "${element.comment}"`)
  if (element.data !== undefined) {
    const value = 'verdict' in element.data ? verdictText(element.data) : wordsText(data!, element.data)
    parts.push(`: ${value}`)
  }
  return parts.join(' ')
}

function wordsText(type: KeyType, words: readonly string[]): string {
  return words.map((each, i) => (type.parts[i]?.name === 'ifname' && each !== '*' ? `"${each}"` : each)).join(' . ')
}

/** Milliseconds as nft has them: `1h`, `1m30s`, `500ms`. */
export function durationText(ms: number): string {
  const units = [
    ['d', 86_400_000],
    ['h', 3_600_000],
    ['m', 60_000],
    ['s', 1000],
    ['ms', 1],
  ] as const
  let left = ms
  const parts: string[] = []
  for (const [unit, size] of units) {
    const amount = Math.floor(left / size)
    if (amount > 0) parts.push(`${amount}${unit}`)
    left -= amount * size
  }
  return parts.length === 0 ? '0s' : parts.join('')
}
