// Fields of a configuration. Runtimes are written in Go, whose JSON decoder ignores the case of keys, and they rely on it
// (containerd sends `Servers`), so all keys are looked up without regard to case.
import type { CapabilityName } from './capabilities.ts'
import { CNI_CODE, CniError } from './error.ts'
import type { KeyName } from './keys.ts'

type Typed = { text: string; object: Record<string, unknown> }

/** The value under a key where it has that type; undefined where it is absent or null. Throws `CniError`. */
export function typed<T extends keyof Typed>(
  json: Record<string, unknown>,
  name: KeyName,
  type: T,
): Typed[T] | undefined {
  const value = field(json, name)
  if (value === undefined || value === null) return undefined
  const fits = type === 'text' ? typeof value === 'string' : isObject(value)
  if (fits) return value as Typed[T]
  throw badField(name, value, type === 'text' ? 'a text' : 'an object')
}

/** The value under a key, exactly as spelled or else in any case. */
export function field(json: unknown, name: KeyName | CapabilityName): unknown {
  if (!isObject(json)) return undefined
  if (Object.hasOwn(json, name)) return json[name]
  const key = Object.keys(json).find(other => other.toLowerCase() === name.toLowerCase())
  return key === undefined ? undefined : json[key]
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Code 2: `expected` says what the value of a key must be. */
export function badField(key: string, value: unknown, expected: string): CniError {
  return new CniError(CNI_CODE.field, `invalid value of ${key}: ${JSON.stringify(value)}`, `${key} must be ${expected}`)
}
