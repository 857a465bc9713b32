// YAML as people write it, with the same care for integers as api/json.ts.
import { parseAllDocuments, stringify } from 'yaml'

/** Every document of a text that is not empty; integers above 2^53 are bigint. Throws Error with line and column. */
export function parseYaml(text: string): unknown[] {
  const documents = parseAllDocuments(text, { intAsBigInt: true })
  if (!Array.isArray(documents)) return []
  return documents
    .map(document => {
      const [error] = document.errors
      if (error !== undefined) throw error
      return smallIntegers(document.toJS())
    })
    .filter(value => value !== null && value !== undefined)
}

/** YAML text of a value, bigint as plain digits. */
export function emitYaml(value: unknown): string {
  return stringify(value, { aliasDuplicateObjects: false })
}

/** The parser gave every integer as bigint; only those that a double would round stay so. */
function smallIntegers(value: unknown): unknown {
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : value
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(smallIntegers)
  return Object.fromEntries(Object.entries(value).map(([key, v]) => [key, smallIntegers(v)]))
}
