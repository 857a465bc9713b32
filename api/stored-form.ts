// crd.projectcalico.org/v1, the form in which Calico stores its resources, as pure functions. The spec is that of v3; labels,
// annotations and owners of the v3 object are JSON in one annotation, and UIDs have their bits reversed, so that both forms of an
// object can be in one cluster. Source: libcalico-go/lib/backend/k8s/resources/resources.go and conversion.ConvertUID.
// Hazards: an object without the annotation (kubectl made it) is read as it is; finalizers and the version stay in the object's
// own metadata, since they work only there, and a Calico program that writes the object loses the finalizers. The age is the one
// that the server knows, not the one in the annotation, which any writer can set: of two pools the older one has a block.
import { GROUP_VERSIONS } from './api-group.ts'
import { MOST_DEPTH, placeTooDeep } from './depth.ts'
import { emitJson, parseJson } from './json.ts'
import { apiVersion } from './kinds.ts'
import { isObject } from './merge-patch.ts'

type Json = Record<string, unknown>

export const METADATA_ANNOTATION = 'projectcalico.org/metadata'
const V3 = apiVersion(GROUP_VERSIONS.v3)
const V1 = apiVersion(GROUP_VERSIONS.v1)

/** What stays in the object's own metadata: the server owns it, or acts by it. */
const NATIVE: readonly string[] = [
  ...['name', 'generateName', 'namespace', 'uid', 'resourceVersion', 'generation', 'selfLink', 'managedFields'],
  ...['creationTimestamp', 'finalizers', 'deletionTimestamp', 'deletionGracePeriodSeconds'],
]

/** Policies, whose stored name may begin with their tier: the annotation has the name that a person gave. */
const TIERED = ['NetworkPolicy', 'GlobalNetworkPolicy', 'StagedNetworkPolicy', 'StagedGlobalNetworkPolicy']
/** Calico before 3.32 puts this before the names of policies of the tier `default`. */
const TIER_PREFIX = 'default.'

/** A v3 object of a kind as it is stored, under the name `storedName`. What is not there is not added, so a patch works too. */
export function encodeStored(kind: string, object: object, storedName?: string): Json {
  const { metadata, spec, ...rest } = object as Json
  return {
    ...rest,
    ...(metadata !== undefined && { metadata: encodeMetadata(kind, metadata, storedName) }),
    ...(spec !== undefined && { spec: encodeSpec(kind, spec) }),
  }
}

/** Whether metadata has something that is kept in the annotation. */
export function isInAnnotation(metadata: unknown): boolean {
  return (
    isObject(metadata) && Object.keys(metadata).some(field => !NATIVE.includes(field) && metadata[field] !== undefined)
  )
}

/** The part of an object's metadata that is kept in the annotation. */
export function annotated(metadata: Json): Json {
  return pick(metadata, field => !NATIVE.includes(field))
}

function encodeMetadata(kind: string, metadata: unknown, storedName: string | undefined): unknown {
  if (!isObject(metadata)) return metadata
  const native = pick(metadata, field => NATIVE.includes(field))
  const { annotations, labels, ownerReferences, ...others } = annotated(metadata)
  const kept = {
    ...(isTiered(kind) && { name: metadata['name'] }),
    ...others,
    ...(labels !== undefined && { labels: keysOf(labels, () => true) }),
    ...(annotations !== undefined && { annotations: keysOf(annotations, key => !isKubectls(key)) }),
    ...(Array.isArray(ownerReferences) && { ownerReferences: ownerReferences.map(each => owner(each, [V3], V1)) }),
  }
  const selected = keysOf(labels, isCalicos)
  return {
    ...native,
    ...(storedName !== undefined && { name: storedName }),
    ...(typeof native['uid'] === 'string' && { uid: otherUid(native['uid']) }),
    ...present('labels', selected),
    annotations: {
      ...(isObject(annotations) && pick(annotations, key => isCalicos(key) || isKubectls(key))),
      [METADATA_ANNOTATION]: emitJson(kept),
    },
  }
}

/**
 * A stored object of a kind as the v3 object that it stands for, and what is wrong where its annotation cannot be read; then
 * labels may be missing, and the object must not be used. What is no object comes back as it is.
 */
export function decodeStored(kind: string, object: unknown): { object: unknown; problem?: string } {
  if (!isObject(object) || !isObject(object['metadata'])) return { object }
  const { metadata: own, spec } = object
  const { annotations, labels, ownerReferences, uid, ...native } = own as Json
  const { [METADATA_ANNOTATION]: text, ...others } = isObject(annotations) ? annotations : {}
  const read = text === undefined ? {} : keptIn(text)
  const kept = read ?? {}
  const owners = kept['ownerReferences'] ?? ownerReferences
  const metadata = {
    ...annotated(kept),
    ...native,
    ...(typeof native['name'] === 'string' && { name: nameOf(kind, native['name'], kept['name'], spec) }),
    ...present('uid', typeof uid === 'string' ? otherUid(uid) : uid),
    ...present('labels', merged(labels, kept['labels'])),
    ...present('annotations', merged(isObject(annotations) ? others : annotations, kept['annotations'])),
    ...present('ownerReferences', Array.isArray(owners) ? owners.map(each => owner(each, [V1, V3], V3)) : owners),
  }
  const decoded = { ...object, metadata, ...(spec !== undefined && { spec: decodeSpec(kind, spec) }) }
  return {
    object: decoded,
    ...(read === undefined && {
      problem: `${METADATA_ANNOTATION} is no object in JSON of at most ${MOST_DEPTH} levels`,
    }),
  }
}

/** The names under which an object may be stored, the usual one first. */
export function storedNames(kind: string, name: string): string[] {
  return isTiered(kind) && !name.startsWith(TIER_PREFIX) ? [name, TIER_PREFIX + name] : [name]
}

export function isTiered(kind: string): boolean {
  return TIERED.includes(kind)
}

/** The UID of the other form: bits reversed in each octet but the two with version and variant. What is no UUID stays. */
export function otherUid(uid: string): string {
  if (!/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(uid)) return uid
  let octet = 0
  return uid.replace(/[0-9a-f]{2}/g, digits => {
    const kept = octet === 6 || octet === 8
    octet++
    return kept ? digits : reversed(Number.parseInt(digits, 16)).toString(16).padStart(2, '0')
  })
}

function reversed(octet: number): number {
  let bits = 0
  for (let bit = 0; bit < 8; bit++) if ((octet >> bit) & 1) bits |= 0x80 >> bit
  return bits
}

function nameOf(kind: string, stored: string, given: unknown, spec: unknown): string {
  if (!isTiered(kind)) return stored
  if (typeof given === 'string' && given !== '') return given
  const tier = isObject(spec) ? (spec['tier'] ?? '') : ''
  return (tier === '' || tier === 'default') && stored.startsWith(TIER_PREFIX)
    ? stored.slice(TIER_PREFIX.length)
    : stored
}

/** Undefined for what is no JSON object, or nested too deep. */
function keptIn(text: unknown): Json | undefined {
  try {
    const kept = parseJson(String(text))
    // Go writes an empty time as null
    return isObject(kept) && placeTooDeep(kept, MOST_DEPTH) === undefined
      ? pick(kept, field => kept[field] !== null)
      : undefined
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    return undefined
  }
}

function owner(reference: unknown, from: readonly string[], to: string): unknown {
  if (!isObject(reference) || !from.includes(String(reference['apiVersion']))) return reference
  const { uid } = reference
  return { ...reference, apiVersion: to, uid: typeof uid === 'string' ? otherUid(uid) : uid }
}

/** `deleted` of an affinity is a text here. */
function encodeSpec(kind: string, spec: unknown): unknown {
  if (kind !== 'BlockAffinity' || !isObject(spec) || typeof spec['deleted'] !== 'boolean') return spec
  return { ...spec, deleted: String(spec['deleted']) }
}

function decodeSpec(kind: string, spec: unknown): unknown {
  if (kind !== 'BlockAffinity' || !isObject(spec) || typeof spec['deleted'] !== 'string') return spec
  const { deleted, ...rest } = spec
  if (deleted === '') return rest
  return ['true', 'false'].includes(deleted) ? { ...rest, deleted: deleted === 'true' } : spec
}

/** Calico's programs select by these, and keep them in the object's own metadata too. */
function isCalicos(key: string): boolean {
  return key.includes('projectcalico.org/') || key.includes('operator.tigera.io/')
}

/** What kubectl notes about the object as it sees it. */
function isKubectls(key: string): boolean {
  return key.startsWith('kubectl.kubernetes.io/')
}

function merged(own: unknown, kept: unknown): unknown {
  return isObject(own) && isObject(kept) ? { ...own, ...kept } : (kept ?? own)
}

/** Nothing where there is none, or only an empty object. */
function present(field: string, value: unknown): Json {
  return value === undefined || (isObject(value) && Object.keys(value).length === 0) ? {} : { [field]: value }
}

/** In the order of the keys: an object that is written as it was read is the same text. */
function keysOf(value: unknown, keep: (key: string) => boolean): unknown {
  if (!isObject(value)) return value
  return Object.fromEntries(Object.entries(pick(value, keep)).sort(([a], [b]) => (a < b ? -1 : 1)))
}

function pick(object: Json, keep: (field: string) => boolean): Json {
  return Object.fromEntries(Object.entries(object).filter(([field]) => keep(field)))
}
