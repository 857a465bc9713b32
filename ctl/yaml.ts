// YAML as people write it, with the same care for integers as api/json.ts.
import { Document, parseAllDocuments, visit } from 'yaml'
import { MOST_DEPTH, placeTooDeep } from '../api/depth.ts'
import { smallIntegers } from '../api/json.ts'
import { escapedControls } from './visible.ts'

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

/** YAML text of a value, bigint as plain digits, control characters escaped. */
export function emitYaml(value: unknown): string {
  const document = new Document(value, { aliasDuplicateObjects: false })
  const text = document.toString()
  if (escapedControls(text) === text) return text
  // DEL and C1 stand as they are where there are no double quotes
  visit(document, {
    Scalar: (_key, scalar) => {
      if (typeof scalar.value === 'string' && escapedControls(scalar.value) !== scalar.value)
        scalar.type = 'QUOTE_DOUBLE'
    },
  })
  return escapedControls(document.toString())
}
