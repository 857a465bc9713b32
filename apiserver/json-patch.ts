// JSON Patch (RFC 6902) over JSON Pointer (RFC 6901). Pure; the document is not changed.
import { MOST_DEPTH } from '../api/depth.ts'

/** An operation that cannot be applied; the message names it by its index. */
export class JsonPatchError extends Error {
  override readonly name = 'JsonPatchError'
}

type Container = Record<string, unknown> | unknown[]

/** More operations than a real client sends, fewer than would keep the server busy (Kubernetes has the same limit). */
const MAX_OPERATIONS = 10_000
/** Values that all operations together may copy, compare or move: `copy` of the whole into itself doubles a document. */
const MAX_WORK = 200_000
/** Moving the rest of a list costs much less than copying values. */
const MOVED_FOR_ONE = 64

/** What is left of the work; throws JsonPatchError at the end of it. */
class Work {
  #left = MAX_WORK

  spend(values: number): void {
    this.#left -= values
    if (this.#left < 0) throw new JsonPatchError(`more than ${MAX_WORK} values copied or compared`)
  }

  /** A copy, counted. */
  copy(value: unknown): unknown {
    this.count(value)
    return structuredClone(value)
  }

  count(value: unknown, most = MOST_DEPTH): void {
    this.spend(1)
    if (typeof value !== 'object' || value === null) return
    if (most === 0) throw new JsonPatchError(`a value is nested deeper than ${MOST_DEPTH} levels`)
    for (const inner of Object.values(value)) this.count(inner, most - 1)
  }
}

/** `document` after all operations, or a JsonPatchError and nothing done. `same` compares for `test`. */
export function jsonPatch(document: unknown, patch: unknown, same: (a: unknown, b: unknown) => boolean): unknown {
  if (!Array.isArray(patch)) throw new JsonPatchError('a JSON patch is a list of operations')
  if (patch.length > MAX_OPERATIONS) throw new JsonPatchError(`more than ${MAX_OPERATIONS} operations`)
  const work = new Work()
  let result = structuredClone(document)
  for (const [i, operation] of patch.entries())
    try {
      result = step(result, operation, same, work)
    } catch (error) {
      if (!(error instanceof JsonPatchError)) throw error
      throw new JsonPatchError(`operation ${i}: ${error.message}`)
    }
  return result
}

type Operation = { op: string; path: string; from?: unknown; value?: unknown }

function step(document: unknown, operation: unknown, same: (a: unknown, b: unknown) => boolean, work: Work): unknown {
  const { op, path, from, value } = (operation ?? {}) as Operation
  const pointer = parsePointer(path)
  switch (op) {
    case 'add':
    case 'replace':
    case 'test':
      if (!Object.hasOwn(operation as object, 'value')) throw new JsonPatchError(`${op} needs a value`)
      if (op === 'add') return add(document, pointer, work.copy(value), work)
      if (op === 'replace')
        return pointer.length === 0 ? value : add(remove(document, pointer, work), pointer, value, work)
      work.count(value)
      if (!same(read(document, pointer), value)) throw new JsonPatchError(`test of ${path} failed`)
      return document
    case 'remove':
      return remove(document, pointer, work)
    case 'copy':
      return add(document, pointer, work.copy(read(document, parsePointer(from))), work)
    case 'move': {
      const source = parsePointer(from)
      if (source.length < pointer.length && source.every((part, i) => part === pointer[i]))
        throw new JsonPatchError('a value cannot move into itself')
      const moved = read(document, source)
      return add(remove(document, source, work), pointer, moved, work)
    }
  }
  throw new JsonPatchError(`unknown op ${JSON.stringify(op)}`)
}

function parsePointer(pointer: unknown): string[] {
  if (typeof pointer !== 'string') throw new JsonPatchError('a path is text')
  if (pointer === '') return []
  if (!pointer.startsWith('/')) throw new JsonPatchError(`path ${pointer} does not start with /`)
  return pointer
    .slice(1)
    .split('/')
    .map(part => part.replaceAll('~1', '/').replaceAll('~0', '~'))
}

function read(document: unknown, pointer: readonly string[]): unknown {
  return pointer.reduce((at, part) => {
    const container = containerAt(at, pointer)
    const key = Array.isArray(container) ? String(indexIn(container, part, container.length - 1)) : part
    if (!Object.hasOwn(container, key)) throw new JsonPatchError(`/${pointer.join('/')} is not there`)
    return (container as Record<string, unknown>)[key]
  }, document)
}

function add(document: unknown, pointer: readonly string[], value: unknown, work: Work): unknown {
  const last = pointer.at(-1)
  if (last === undefined) return value
  const container = containerAt(read(document, pointer.slice(0, -1)), pointer)
  if (Array.isArray(container)) work.spend(1 + container.length / MOVED_FOR_ONE)
  if (Array.isArray(container))
    container.splice(last === '-' ? container.length : indexIn(container, last, container.length), 0, value)
  // defined, not assigned: the key __proto__ is a key like any other
  else Object.defineProperty(container, last, { value, enumerable: true, configurable: true, writable: true })
  return document
}

function remove(document: unknown, pointer: readonly string[], work: Work): unknown {
  const last = pointer.at(-1)
  if (last === undefined) throw new JsonPatchError('the whole object cannot be removed')
  read(document, pointer)
  const container = containerAt(read(document, pointer.slice(0, -1)), pointer)
  if (Array.isArray(container)) work.spend(1 + container.length / MOVED_FOR_ONE)
  if (Array.isArray(container)) container.splice(Number(last), 1)
  else delete container[last]
  return document
}

function containerAt(value: unknown, pointer: readonly string[]): Container {
  if (typeof value !== 'object' || value === null)
    throw new JsonPatchError(`/${pointer.join('/')} leads through a value that holds nothing`)
  return value as Container
}

function indexIn(list: readonly unknown[], part: string, most: number): number {
  if (!/^(0|[1-9]\d*)$/.test(part) || Number(part) > most)
    throw new JsonPatchError(`${part} is no index of a list of ${list.length}`)
  return Number(part)
}
