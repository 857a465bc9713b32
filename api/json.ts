// JSON as it goes over the wire, without loss: an integer that a double cannot hold (IPAMBlock's sequenceNumber is near
// 1.8e18) is a bigint inside and the same digits outside. JSON.parse alone would round it silently.

type Reviver = (key: string, value: unknown, context: { source?: string }) => unknown

/** What Node 24 has and the compiler's library does not know yet (TC39 "JSON.parse source text access"). */
const json: { parse(text: string, reviver: Reviver): unknown; rawJSON(text: string): unknown } = JSON as never

/** Only text with a number of sixteen digits or more can hold what a double would round: the rest takes the fast way. */
const LONG_NUMBER = /\d{16}/

/** Parses JSON text; integers above 2^53 become bigint. Throws SyntaxError on what is not JSON. */
export function parseJson(text: string): unknown {
  if (!LONG_NUMBER.test(text)) return JSON.parse(text)
  return json.parse(text, (_key, value, { source }) =>
    typeof value === 'number' && !Number.isSafeInteger(value) && source !== undefined && /^-?\d+$/.test(source)
      ? BigInt(source)
      : value,
  )
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
  for (const key of new Set([...Object.keys(left), ...Object.keys(right)]))
    if (!sameJson(left[key], right[key])) return false
  return true
}

/** A value whose integers all came as bigint (as a YAML parser can give them), with bigint left only where needed. */
export function smallIntegers(value: unknown): unknown {
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : value
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(smallIntegers)
  return Object.fromEntries(Object.entries(value).map(([key, v]) => [key, smallIntegers(v)]))
}
