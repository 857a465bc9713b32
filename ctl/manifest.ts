// Manifests as people hand them in: YAML or JSON, several documents, lists. Everything is checked before anything is
// sent, so that a fault in the last document does not leave half of a file applied.
import { type Kind, kindNamed, kinds, type Resource } from '../api/kinds.ts'
import { isObject } from '../api/merge-patch.ts'
import { UNSUPPORTED_KINDS } from '../api/unsupported.ts'
import { formatProblems, validate } from '../api/validate.ts'
import { UsageError } from './failure.ts'
import { parseYaml } from './yaml.ts'

/** `named` has only what the manifest names; `object` is the same with defaults filled in. */
export type Item = { kind: Kind; object: Resource<Kind>; named: Record<string, unknown> }

/** The resources of a manifest's text, defaults filled in. Throws UsageError that names `source` and every fault. */
export function parseManifest(text: string, source: string, namespace: string): Item[] {
  const documents = parseDocuments(text, source).flatMap(document =>
    isObject(document) && Array.isArray(document['items']) ? document['items'] : [document],
  )
  if (documents.length === 0) throw new UsageError(`${source}: holds no resource`)
  const faults: string[] = []
  const items = documents.flatMap((document: unknown, i) => {
    const item = itemOf(document, namespace)
    if (typeof item !== 'string') return [item]
    faults.push(`${source}: document ${i + 1}: ${item}`)
    return []
  })
  if (faults.length > 0) throw new UsageError(faults.join('\n'))
  return items
}

/** The kind that a word on the command line means. Throws UsageError that lists the kinds. */
export function parseKind(word: string): Kind {
  const kind = kindNamed(word)
  if (kind !== undefined) return kind
  const known = Object.values(kinds).map(({ plural }) => plural)
  throw new UsageError(`no kind is called ${JSON.stringify(word)}. There are: ${known.join(', ')}`)
}

function parseDocuments(text: string, source: string): unknown[] {
  try {
    return parseYaml(text)
  } catch (error) {
    throw new UsageError(`${source}: ${(error as Error).message}`)
  }
}

function itemOf(document: unknown, namespace: string): Item | string {
  if (!isObject(document)) return 'is no object: a resource has apiVersion, kind, metadata and spec'
  const word = document['kind']
  const kind = typeof word === 'string' && Object.hasOwn(kinds, word) ? (word as Kind) : undefined
  if (kind === undefined) {
    const { instead } =
      (typeof word === 'string' && Object.hasOwn(UNSUPPORTED_KINDS, word) && UNSUPPORTED_KINDS[word]) || {}
    return `kind ${JSON.stringify(word)} is not ${instead === undefined ? 'known' : `supported: ${instead}`}`
  }
  const metadata = isObject(document['metadata']) ? document['metadata'] : {}
  const placed = kinds[kind].namespaced ? { namespace, ...metadata } : metadata
  const object = validate(kind, { ...document, metadata: placed })
  if (Array.isArray(object)) return `${kind} ${String(metadata['name'] ?? '')}: ${formatProblems(object)}`
  const { apiVersion: _version, kind: _kind, ...rest } = object as Resource<Kind> & Record<string, unknown>
  return { kind, object: rest as Resource<Kind>, named: namedBy(kind, document, placed) }
}

/** What an apply says: not what a server wrote into a manifest that was read from it. */
function namedBy(
  kind: Kind,
  { apiVersion: _version, kind: _kind, status, ...rest }: Record<string, unknown>,
  { managedFields: _owners, ...metadata }: Record<string, unknown>,
): Record<string, unknown> {
  return { ...rest, ...(kinds[kind].status || status === undefined ? {} : { status }), metadata }
}
