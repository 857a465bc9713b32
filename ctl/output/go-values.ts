// Values as Go prints them: what kubectl's templates show. Pure.
import { emitJson } from '../../api/json.ts'
import { isObject } from '../../api/merge-patch.ts'

/** A value of JSON as kubectl has it in Go: integers are int64, here bigint, and all other numbers float64. */
export function goData(value: unknown): unknown {
  if (typeof value === 'number') return Number.isSafeInteger(value) ? BigInt(value) : value
  if (Array.isArray(value)) return value.map(goData)
  if (!isObject(value)) return value
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, goData(inner)]))
}

/** As Go's `%v`: `map[a:1 b:2]`, `[1 2]`, `<no value>` for what is absent, `<nil>` inside of a list or map. */
export function goText(value: unknown): string {
  return value === undefined || value === null ? '<no value>' : innerText(value)
}

function innerText(value: unknown): string {
  if (value === undefined || value === null) return '<nil>'
  if (Array.isArray(value)) return `[${value.map(innerText).join(' ')}]`
  if (isObject(value))
    return `map[${keysOf(value)
      .map(key => `${key}:${innerText(value[key])}`)
      .join(' ')}]`
  return typeof value === 'number' ? goFloat(value) : String(value)
}

/** A float64 as Go's `%v`: with an exponent from a million on, and below 0.0001. */
function goFloat(value: number): string {
  const [, exponent] = value.toExponential().split('e')
  if (Number(exponent) >= -4 && Number(exponent) < 6) return String(value)
  return value.toExponential().replace(/e([+-])(\d)$/, 'e$10$2')
}

/** The keys in Go's order: by their octets. */
export function keysOf(value: Record<string, unknown>): string[] {
  return Object.keys(value).toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
}

const HTML: Readonly<Record<string, string>> = { '<': '\\u003c', '>': '\\u003e', '&': '\\u0026' }

/** As Go's encoding/json: keys in order, and `<`, `>` and `&` escaped. */
export function goJson(value: unknown, indent?: number): string {
  return emitJson(sorted(value), indent).replace(/[<>&]/g, letter => HTML[letter]!)
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (!isObject(value)) return value
  return Object.fromEntries(
    keysOf(value)
      .filter(key => value[key] !== undefined)
      .map(key => [key, sorted(value[key])]),
  )
}
