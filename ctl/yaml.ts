// YAML as people write it, with the same care for integers as api/json.ts.
import { parseAllDocuments, stringify } from 'yaml'
import { MOST_DEPTH, placeTooDeep } from '../api/depth.ts'
import { smallIntegers } from '../api/json.ts'

/** Every document of a text that is not empty; integers above 2^53 are bigint. Throws Error, with line and column of what is no YAML. */
export function parseYaml(text: string): unknown[] {
  try {
    return documentsOf(text)
  } catch (error) {
    // the value was made, and is nested so deep that the parser cannot hand it out
    throw error instanceof RangeError ? new Error(TOO_DEEP, { cause: error }) : error
  }
}

const TOO_DEEP = `is nested deeper than ${MOST_DEPTH} levels`

function documentsOf(text: string): unknown[] {
  const documents = parseAllDocuments(text, { intAsBigInt: true })
  if (!Array.isArray(documents)) return []
  return documents
    .map(document => {
      const [error] = document.errors
      if (error !== undefined)
        throw error.code === 'RESOURCE_EXHAUSTION' ? new Error(TOO_DEEP, { cause: error }) : error
      const value: unknown = document.toJS()
      const place = placeTooDeep(value, MOST_DEPTH)
      if (place !== undefined) throw new Error(`${place}: ${TOO_DEEP}`)
      return smallIntegers(value)
    })
    .filter(value => value !== null && value !== undefined)
}

/** YAML text of a value, bigint as plain digits. */
export function emitYaml(value: unknown): string {
  return stringify(value, { aliasDuplicateObjects: false })
}
