// YAML as people write it, with the same care for integers as api/json.ts.
import { parseAllDocuments, stringify } from 'yaml'
import { smallIntegers } from '../api/json.ts'

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
