// What a column of the table of kinds shows of an object, for the server's tables and the command line's.
import type { Column } from './kinds.ts'

/** One cell as text: lists with commas, absent as kubectl's `<none>`. */
export function cellOf(object: object, { path }: Column): string {
  const value = path.reduce<unknown>(
    (at, key) =>
      typeof at === 'object' && at !== null && Object.hasOwn(at, key)
        ? (at as Record<string, unknown>)[key]
        : undefined,
    object,
  )
  if (value === undefined || value === null || value === '') return '<none>'
  if (Array.isArray(value)) return value.length === 0 ? '<none>' : value.map(String).join(',')
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}
