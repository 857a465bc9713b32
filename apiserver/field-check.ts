// What a write says that nobody reads: refused or told, as the query parameter fieldValidation asks (Kubernetes: Strict,
// Warn, Ignore). Fields of Calico's Node are refused always: they are meant to have an effect, and have none.
import { calicoNodeProblems } from '../api/calico-node.ts'
import { type Kind, kinds } from '../api/kinds.ts'
import { isObject } from '../api/merge-patch.ts'
import { formatUnknown, unknownFields } from '../api/unknown-fields.ts'
import { formatIneffective, ineffectiveFields, isWarnedOf } from '../api/unsupported.ts'
import { ApiError, invalid } from './status.ts'
import type { Stored } from './stored.ts'

/** Warnings for the fields of a body, or of a patch, that are unknown. Throws BadRequest when asked to, or Invalid. */
export function checkFields(kind: Kind, name: string, body: unknown, validation: string): string[] {
  const object = Array.isArray(body) ? mergedOperations(body) : body
  const foreign = kind === 'Node' ? calicoNodeProblems(object) : []
  if (foreign.length > 0) throw invalid(kind, name, foreign)
  if (!['Strict', 'Warn', 'Ignore'].includes(validation))
    throw new ApiError('BadRequest', `fieldValidation=${validation}: give Strict, Warn or Ignore`)
  if (validation === 'Ignore') return []
  const unknown = unknownFields(kind, object).map(path => formatUnknown(kind, path))
  if (unknown.length === 0 || validation === 'Warn') return unknown
  const what = `${kind} in version "${kinds[kind].version}" cannot be handled as a ${kind}`
  throw new ApiError('BadRequest', `${what}: strict decoding error: ${unknown.join(', ')}`)
}

/** Warnings for what a stored object sets and this version does not do. */
export function effectWarnings(kind: Kind, stored: Stored): string[] {
  if (!isWarnedOf(kind)) return []
  return ineffectiveFields(kind, stored.read()).map(
    field => `${kinds[kind].singular} ${stored.metadata.name}: ${formatIneffective(field)}`,
  )
}

/** The values of a header `Warning` (RFC 7234 §5.5): 299 is a lasting one, and kubectl prints the text. */
export function warningHeader(warnings: readonly string[]): string[] {
  return [...new Set(warnings)].map(text => `299 - ${JSON.stringify(text.replace(/[^\x20-\x7e]/g, ' '))}`)
}

/** What a JSON patch adds and replaces, as one object; indexes of lists are left out. */
function mergedOperations(operations: readonly unknown[]): unknown {
  const result: Record<string, unknown> = {}
  for (const operation of operations) {
    if (!isObject(operation) || typeof operation['path'] !== 'string' || !Object.hasOwn(operation, 'value')) continue
    const parts = operation['path']
      .split('/')
      .slice(1)
      .map(part => part.replaceAll('~1', '/').replaceAll('~0', '~'))
    if (parts.length === 0 || parts.some(part => /^(\d+|-|__proto__)$/.test(part))) continue
    let at = result
    for (const part of parts.slice(0, -1)) {
      const inner = at[part]
      const next = isObject(inner) ? inner : {}
      at[part] = next
      at = next
    }
    at[parts.at(-1)!] = operation['value']
  }
  return result
}
