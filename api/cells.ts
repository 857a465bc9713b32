// What a column of the table of kinds shows of an object, for the server's tables and the command line's.
import { fieldAt } from './field-path.ts'
import type { Column } from './kinds.ts'

/** One cell as text: lists with commas, absent as kubectl's `<none>`. */
export function cellOf(object: object, { path }: Column): string {
  const value = fieldAt(object, path)
  if (value === undefined || value === null || value === '') return '<none>'
  if (Array.isArray(value)) return value.length === 0 ? '<none>' : value.map(String).join(',')
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}
