// JSON text read only as far as some fields: the text of the others is skipped, not parsed, since a Node's heartbeat has
// 10 kB of which 0.5 kB are used. Hazards: a bracket or a quote inside of a string; keys written with escapes.
import { parseJson } from '../api/json.ts'
import type { Fields } from './port.ts'

const QUOTE = 34
const COMMA = 44
const COLON = 58
const OPEN_LIST = 91
const BACKSLASH = 92
const CLOSE_LIST = 93
const OPEN = 123
const CLOSE = 125

/**
 * As `parseJson`, with the named fields at least; the others are left out where that is easy. An object may be there
 * that lost all its fields. Throws SyntaxError as `parseJson` does, but for faults inside of what is left out.
 */
export function parseFields(text: string, fields: Fields): unknown {
  if (fields === true) return parseJson(text)
  const cut = new Cut(text)
  const end = cut.value(0, fields)
  const isWhole = end !== NOT_FOUND && cut.blanks(end) === text.length
  return parseJson(isWhole ? cut.kept : text)
}

/** Instead of a position: the text is cut off, or is something that is left to the parser. */
const NOT_FOUND = -1

/** Methods take the position where something begins and return the one behind it, or NOT_FOUND. */
class Cut {
  /** The text of the fields so far. */
  kept = ''
  readonly #text: string

  constructor(text: string) {
    this.#text = text
  }

  /** Keeps a value, of an object only the named fields, and of a list only those of its items. */
  value(from: number, fields: Fields): number {
    const start = this.blanks(from)
    if (fields !== true && this.#text.charCodeAt(start) === OPEN) return this.#object(start, fields)
    if (fields !== true && this.#text.charCodeAt(start) === OPEN_LIST) return this.#list(start, fields)
    const end = this.#skip(start)
    if (end !== NOT_FOUND) this.kept += this.#text.slice(start, end)
    return end
  }

  blanks(from: number): number {
    let at = from
    while (at < this.#text.length && this.#text.charCodeAt(at) <= 32) at++
    return at
  }

  #object(start: number, fields: Exclude<Fields, true>): number {
    this.kept += '{'
    let comma = ''
    let at = this.blanks(start + 1)
    if (this.#text.charCodeAt(at) === CLOSE) return this.#close(at)
    for (;;) {
      const keyEnd = this.#text.charCodeAt(at) === QUOTE ? this.#string(at) : NOT_FOUND
      if (keyEnd === NOT_FOUND) return NOT_FOUND
      const key = this.#text.slice(at + 1, keyEnd - 1)
      if (key.includes('\\')) return NOT_FOUND
      const colon = this.blanks(keyEnd)
      if (this.#text.charCodeAt(colon) !== COLON) return NOT_FOUND
      const wanted = Object.hasOwn(fields, key) ? fields[key] : undefined
      let end: number
      if (wanted === undefined) end = this.#skip(this.blanks(colon + 1))
      else {
        this.kept += `${comma}"${key}":`
        comma = ','
        end = this.value(colon + 1, wanted)
      }
      if (end === NOT_FOUND) return NOT_FOUND
      at = this.blanks(end)
      if (this.#text.charCodeAt(at) === CLOSE) return this.#close(at)
      if (this.#text.charCodeAt(at) !== COMMA) return NOT_FOUND
      at = this.blanks(at + 1)
    }
  }

  /** A list in a list is kept as it is: only what is named is walked by calling itself, so depth costs no stack. */
  #list(start: number, fields: Exclude<Fields, true>): number {
    this.kept += '['
    let at = this.blanks(start + 1)
    if (this.#text.charCodeAt(at) === CLOSE_LIST) return this.#closeList(at)
    for (;;) {
      const end = this.value(at, this.#text.charCodeAt(at) === OPEN_LIST ? true : fields)
      if (end === NOT_FOUND) return NOT_FOUND
      at = this.blanks(end)
      if (this.#text.charCodeAt(at) === CLOSE_LIST) return this.#closeList(at)
      if (this.#text.charCodeAt(at) !== COMMA) return NOT_FOUND
      this.kept += ','
      at = this.blanks(at + 1)
    }
  }

  #closeList(at: number): number {
    this.kept += ']'
    return at + 1
  }

  #close(at: number): number {
    this.kept += '}'
    return at + 1
  }

  /** Passes over a value. */
  #skip(start: number): number {
    const text = this.#text
    const first = text.charCodeAt(start)
    if (first === QUOTE) return this.#string(start)
    if (first !== OPEN && first !== OPEN_LIST) return this.#word(start)
    let depth = 0
    for (let at = start; at < text.length; at++) {
      const code = text.charCodeAt(at)
      if (code === QUOTE) {
        const end = this.#string(at)
        if (end === NOT_FOUND) return NOT_FOUND
        at = end - 1
      } else if (code === OPEN || code === OPEN_LIST) depth++
      else if ((code === CLOSE || code === CLOSE_LIST) && --depth === 0) return at + 1
    }
    return NOT_FOUND
  }

  #string(start: number): number {
    const text = this.#text
    for (let quote = text.indexOf('"', start + 1); quote !== -1; quote = text.indexOf('"', quote + 1)) {
      let first = quote
      while (text.charCodeAt(first - 1) === BACKSLASH) first--
      if ((quote - first) % 2 === 0) return quote + 1
    }
    return NOT_FOUND
  }

  /** Passes over a number, true, false or null: whatever stands before the next mark or blank. */
  #word(start: number): number {
    const text = this.#text
    let at = start
    for (; at < text.length; at++) {
      const code = text.charCodeAt(at)
      if (code <= 32 || code === COMMA || code === CLOSE || code === CLOSE_LIST) break
    }
    return at === start ? NOT_FOUND : at
  }
}
