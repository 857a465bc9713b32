// JSON as it goes over the wire, without loss: an integer that a double cannot hold (IPAMBlock's sequenceNumber is near
// 1.8e18) is a bigint inside and the same digits outside. JSON.parse alone would round it silently. Hazard: a text may be nested
// so deep that whatever calls itself runs out of stack, JSON.stringify too: JSON.parse does not, and so must `parseJson` not.
import { randomUUID } from 'node:crypto'

/** What Node 24 has and the compiler's library does not know yet (TC39 "JSON.parse source text access"). */
const json: { rawJSON(text: string): unknown } = JSON as never

/**
 * A number of sixteen to twenty digits in the place of a value: a double may not hold it. Inside text it may match too. A
 * longer one is no integer of 64 bits: it stays a double, since millions of digits would take seconds as a bigint.
 */
const LONG_INTEGER = /(?:^|[:,[])\s*(-?[1-9]\d{15,19})(?![\d.eE])/g
/** Begins a text that stands for an integer while the rest is parsed. JSON can only write it as this escape. */
const MARK = '\u0000'
const MARK_ESCAPE = '\\u0000'

/**
 * Parses JSON text; integers above 2^53 become bigint. Throws SyntaxError on what is not JSON. Text without long integers
 * costs JSON.parse alone. Otherwise they are parsed as marked texts and put back: a reviver costs several times that.
 */
export function parseJson(text: string): unknown {
  if (text.search(LONG_INTEGER) < 0) return JSON.parse(text)
  // a text that may hold the mark itself gets one that nobody can guess
  const suffix = text.includes(MARK_ESCAPE) ? randomUUID() : ''
  const marked = markIntegers(text, suffix)
  return marked === text ? JSON.parse(text) : withIntegers(JSON.parse(marked), MARK + suffix)
}

/** The text with each long integer outside of a string written as a string that begins with the mark. */
function markIntegers(text: string, suffix: string): string {
  let marked = ''
  let copied = 0
  let scanned = 0
  let inString = false
  for (const match of text.matchAll(LONG_INTEGER)) {
    for (let quote = text.indexOf('"', scanned); quote !== -1 && quote < match.index; ) {
      if (!isEscaped(text, quote)) inString = !inString
      scanned = quote + 1
      quote = text.indexOf('"', scanned)
    }
    scanned = Math.max(scanned, match.index)
    if (inString) continue
    const digits = match[1]!
    const start = match.index + match[0].length - digits.length
    marked += `${text.slice(copied, start)}"${MARK_ESCAPE}${suffix}${digits}"`
    copied = start + digits.length
  }
  return marked + text.slice(copied)
}

/** Whether an odd number of backslashes stands before the place. */
function isEscaped(text: string, at: number): boolean {
  let first = at
  while (first > 0 && text[first - 1] === '\\') first--
  return (at - first) % 2 === 1
}

/** Puts the integers back, in place, however deep the value is nested. */
function withIntegers(parsed: unknown, mark: string): unknown {
  const whole = [parsed]
  const waiting: unknown[][] = [whole]
  const read = (container: unknown[], key: number): void => {
    const value = container[key]
    if (typeof value === 'object' && value !== null) waiting.push(value as unknown[])
    else if (typeof value === 'string' && value.startsWith(mark)) container[key] = integerOf(value.slice(mark.length))
  }
  for (let at = waiting.pop(); at !== undefined; at = waiting.pop())
    if (Array.isArray(at)) for (let i = 0; i < at.length; i++) read(at, i)
    else for (const key of Object.keys(at)) read(at, key as never)
  return whole[0]
}

function integerOf(digits: string): number | bigint {
  const number = Number(digits)
  return Number.isSafeInteger(number) ? number : BigInt(digits)
}

/** JSON text of a value; a bigint comes out as a raw integer. `indent` is the number of spaces for people. */
export function emitJson(value: unknown, indent?: number): string {
  try {
    // a replacer function costs several times the whole, and few objects hold a bigint
    return JSON.stringify(value, undefined, indent)
  } catch (error) {
    if (!(error instanceof TypeError)) throw error
    return JSON.stringify(value, (_key, v) => (typeof v === 'bigint' ? json.rawJSON(String(v)) : v), indent)
  }
}

/** Whether two JSON values say the same, whatever the order of their keys; a key that is undefined counts as absent. */
export function sameJson(a: unknown, b: unknown): boolean {
  if (a === b) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false
  if (Array.isArray(a) || Array.isArray(b))
    return Array.isArray(a) && Array.isArray(b) && a.length === b.length && a.every((v, i) => sameJson(v, b[i]))
  const left = a as Record<string, unknown>
  const right = b as Record<string, unknown>
  // this is most of what a Node's heartbeat costs an agent: nothing is allocated
  for (const key in left) if (!sameJson(left[key], right[key])) return false
  for (const key in right) if (right[key] !== undefined && !Object.hasOwn(left, key)) return false
  return true
}

/** A value whose integers all came as bigint (as a YAML parser can give them), with bigint left only where needed. */
export function smallIntegers(value: unknown): unknown {
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : value
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(smallIntegers)
  return Object.fromEntries(Object.entries(value).map(([key, v]) => [key, smallIntegers(v)]))
}
