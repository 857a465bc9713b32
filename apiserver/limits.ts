// How large a body may be, by kind, and how complex: a small text can hold many values, and each costs work in every step
// from validation to storage. Kubernetes allows 256 KiB of annotations and about 1.5 MiB an object.
import { MOST_WRITTEN_DEPTH } from '../api/depth.ts'
import type { Kind } from '../api/kinds.ts'
import { ApiError } from './status.ts'

const KIB = 1024

export type BodyLimit = { octets: number; values: number }

/** A block of 4096 addresses with what is noted of each; Node and Pod with the longest status a kubelet writes; a receipt of 16,384 policies. */
const LIMITS: Partial<Record<Kind, BodyLimit>> = {
  IPAMBlock: { octets: 3072 * KIB, values: 60_000 },
  Node: { octets: 1536 * KIB, values: 10_000 },
  Pod: { octets: 1536 * KIB, values: 10_000 },
  PolicyReceipt: { octets: 1024 * KIB, values: 20_000 },
}
const OTHER: BodyLimit = { octets: 512 * KIB, values: 10_000 }
/** A stored object may be larger than a body, by its defaults and by what is noted of its writers. */
const STORED_FACTOR = 2

/** The limits of a body about this kind. */
export function bodyLimit(kind: Kind): BodyLimit {
  return LIMITS[kind] ?? OTHER
}

/** The characters of a stored object of this kind. */
export function storedLimit(kind: Kind): number {
  return STORED_FACTOR * bodyLimit(kind).octets
}

/**
 * Throws BadRequest when a JSON text is nested deeper, or RequestEntityTooLarge when it holds more values, than it may. The text is not parsed: what is no JSON is for the parser to say.
 */
export function checkShape(text: string, mostValues: number): void {
  let depth = 0
  let values = 0
  for (let i = 0; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case QUOTE:
        i = endOfString(text, i)
        break
      case OPEN_LIST:
      case OPEN_OBJECT:
        values++
        if (++depth > MOST_WRITTEN_DEPTH)
          throw new ApiError('BadRequest', `the body is nested deeper than ${MOST_WRITTEN_DEPTH} levels`)
        break
      case CLOSE_LIST:
      case CLOSE_OBJECT:
        depth--
        break
      case COMMA:
        values++
    }
    if (values > mostValues)
      throw new ApiError('RequestEntityTooLarge', `the body holds more than ${mostValues} values`)
  }
}

const QUOTE = 0x22
const COMMA = 0x2c
const OPEN_LIST = 0x5b
const CLOSE_LIST = 0x5d
const OPEN_OBJECT = 0x7b
const CLOSE_OBJECT = 0x7d
const BACKSLASH = 0x5c

/** Where the string that begins at `start` ends; the text's end when it does not. */
function endOfString(text: string, start: number): number {
  for (let at = text.indexOf('"', start + 1); at !== -1; at = text.indexOf('"', at + 1)) {
    let first = at
    while (text.charCodeAt(first - 1) === BACKSLASH) first--
    if ((at - first) % 2 === 0) return at
  }
  return text.length
}
