// Manifests as people hand them in: YAML or JSON, several documents, lists. Everything is checked before anything is
// sent, so that a fault in the last document does not leave half of a file applied.
import { GROUP_VERSIONS } from '../api/api-group.ts'
import { fromCalicoNode } from '../api/calico-node.ts'
import { apiVersion, isCustom, type Kind, kindNamed, kinds, type Resource } from '../api/kinds.ts'
import { isObject } from '../api/merge-patch.ts'
import { servedAs } from '../api/served.ts'
import { decodeStored } from '../api/stored-form.ts'
import { formatUnknown, unknownFields } from '../api/unknown-fields.ts'
import { UNSUPPORTED_KINDS } from '../api/unsupported.ts'
import { admit, formatProblems } from '../api/validate.ts'
import { UsageError } from './failure.ts'
import { visible } from './visible.ts'
import { parseYaml } from './yaml.ts'

/** `named` has only what the manifest names; `object` is the same with defaults filled in. */
export type Item = { kind: Kind; object: Resource<Kind>; named: Record<string, unknown> }

/**
 * The resources of a manifest's text, defaults filled in, but for documents of which `passedOver` says true. Throws UsageError
 * that names `source` and every fault.
 */
export function parseManifest(
  text: string,
  source: string,
  namespace: string,
  passedOver: (document: unknown) => boolean = () => false,
): Item[] {
  const documents = parseDocuments(text, source).flatMap(resourcesOf)
  if (documents.length === 0) throw new UsageError(`${source}: holds no resource`)
  const faults: string[] = []
  const items = documents.flatMap((document: unknown, i) => {
    if (passedOver(document)) return []
    const item = itemOf(document, namespace)
    if (typeof item !== 'string') return [item]
    faults.push(`${source}: document ${i + 1}: ${item}`)
    return []
  })
  if (faults.length > 0) throw new UsageError(faults.join('\n'))
  return items
}

/**
 * What messages call a document that is a resource of none of these kinds. Undefined of one that is, and of what is no resource, or
 * of Calico's API group and no kind of it: those are faults to be told.
 */
export function titleOfOther(document: unknown, wanted: readonly Kind[]): string | undefined {
  if (!isObject(document)) return undefined
  const { apiVersion: group, kind: word } = document
  if (typeof group !== 'string' || typeof word !== 'string') return undefined
  const isCalicos = Object.values(GROUP_VERSIONS).some(each => group === apiVersion(each))
  if ((wanted as readonly string[]).includes(word) || (isCalicos && !Object.hasOwn(kinds, word))) return undefined
  return `${visible(word)} ${visible(nameOf(document))}`
}

/** Whether a text holds nothing but comments and empty documents. A text that is no YAML is not empty. */
export function isEmpty(text: string): boolean {
  try {
    return parseYaml(text).length === 0
  } catch {
    return false
  }
}

/** Those of a List, of a document that is a list itself, as calicoctl takes it, or the one that a document is. */
function resourcesOf(document: unknown): unknown[] {
  if (Array.isArray(document)) return document.flatMap(resourcesOf)
  return isObject(document) && Array.isArray(document['items']) ? document['items'] : [document]
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

/** A manifest in the form in which Calico stores its resources as the one that people write; any other as it is. */
function fromStored(given: Record<string, unknown>): { given: Record<string, unknown>; problem?: string } {
  const { apiVersion: group, kind: word, ...rest } = given
  if (group !== apiVersion(GROUP_VERSIONS.v1)) return { given }
  const kind = (Object.keys(kinds) as Kind[]).find(each => isCustom(each) && servedAs(each, 'v1')?.kind === word)
  if (kind === undefined) return { given }
  const { object, problem } = decodeStored(kind, rest)
  return { given: { apiVersion: apiVersion(kinds[kind]), kind, ...(object as object) }, problem }
}

/** A manifest without a spec says nothing of it, as with calicoctl; a server asks for one. */
function itemOf(written: unknown, namespace: string): Item | string {
  if (!isObject(written)) return 'is no object: a resource has apiVersion, kind, metadata and spec'
  const { given, problem } = fromStored(written)
  if (problem !== undefined) return `${String(given['kind'])} ${nameOf(given)}: metadata.annotations: ${problem}`
  const { node: document, problems } = given['kind'] === 'Node' ? kubernetesNode(given) : { node: given, problems: [] }
  if (problems.length > 0) return `Node ${nameOf(given)}: ${formatProblems(problems)}`
  const word = document['kind']
  const kind = typeof word === 'string' && Object.hasOwn(kinds, word) ? (word as Kind) : undefined
  if (kind === undefined) {
    const { instead } =
      (typeof word === 'string' && Object.hasOwn(UNSUPPORTED_KINDS, word) && UNSUPPORTED_KINDS[word]) || {}
    return `kind ${JSON.stringify(word)} is not ${instead === undefined ? 'known' : `supported: ${instead}`}`
  }
  const metadata = isObject(document['metadata']) ? document['metadata'] : {}
  const placed = kinds[kind].namespaced ? { namespace, ...metadata } : metadata
  const whole = isCustom(kind) ? { ...document, spec: document['spec'] ?? {} } : document
  const object = admit(kind, { ...whole, metadata: placed })
  const unknown = unknownFields(kind, { ...whole, metadata: placed })
  if (unknown.length > 0)
    return `${kind} ${nameOf(document)}: ${unknown.map(path => formatUnknown(kind, path)).join('; ')}`
  if (Array.isArray(object)) return `${kind} ${nameOf(document)}: ${formatProblems(object)}`
  const { apiVersion: _version, kind: _kind, ...rest } = object as Resource<Kind> & Record<string, unknown>
  return { kind, object: rest as Resource<Kind>, named: namedBy(kind, whole, placed) }
}

function nameOf({ metadata }: Record<string, unknown>): string {
  return isObject(metadata) ? String(metadata['name'] ?? '') : ''
}

function kubernetesNode(given: Record<string, unknown>): ReturnType<typeof fromCalicoNode> {
  const { node, problems } = fromCalicoNode(given)
  return { node: node['apiVersion'] === apiVersion(kinds.IPPool) ? { ...node, apiVersion: 'v1' } : node, problems }
}

/** What an apply says: not what a server wrote into a manifest that was read from it. */
function namedBy(
  kind: Kind,
  { apiVersion: _version, kind: _kind, status, ...rest }: Record<string, unknown>,
  { managedFields: _owners, ...metadata }: Record<string, unknown>,
): Record<string, unknown> {
  return { ...rest, ...(kinds[kind].status || status === undefined ? {} : { status }), metadata }
}
