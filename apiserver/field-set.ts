// Sets of fields as managedFields keeps them (FieldsV1): a tree whose keys are `f:` and a field's name, and whose leaves
// are empty. Lists and scalars are owned as a whole, which is a custom resource's default; Kubernetes is finer on some
// lists of core kinds, whose `k:`, `v:` and `.` keys are kept as they come. Pure; every function is linear.
import { sameJson } from '../api/json.ts'
import { isObject } from '../api/merge-patch.ts'

export type FieldSet = { readonly [key: string]: FieldSet }

const FIELD = 'f:'
const OWNED_METADATA = ['labels', 'annotations', 'finalizers', 'ownerReferences']

/** What of an object can be owned: all but its identity and what the server itself writes of its metadata. */
export function ownable(object: unknown): Record<string, unknown> {
  if (!isObject(object)) return {}
  const { apiVersion: _version, kind: _kind, metadata, ...rest } = object
  const owned = Object.entries(isObject(metadata) ? metadata : {}).filter(([key]) => OWNED_METADATA.includes(key))
  return owned.length === 0 ? rest : { ...rest, metadata: Object.fromEntries(owned) }
}

/** Every field of a value; an object that has none is nobody's. */
export function fieldsOf(value: unknown): FieldSet {
  if (!isObject(value)) return {}
  const entries = Object.entries(value).map(([key, inner]) => [FIELD + key, fieldsOf(inner), isObject(inner)] as const)
  return Object.fromEntries(entries.flatMap(([key, set, isTree]) => (isTree && isLeaf(set) ? [] : [[key, set]])))
}

/** The fields of `after` that are not in `before`, or have another value there. */
export function changedFields(before: unknown, after: unknown): FieldSet {
  if (!isObject(after)) return {}
  const old = isObject(before) ? before : {}
  const entries = Object.entries(after).flatMap(([key, inner]): [string, FieldSet][] => {
    const was = Object.hasOwn(old, key) ? old[key] : undefined
    if (sameJson(was, inner)) return []
    if (!isObject(inner)) return [[FIELD + key, {}]]
    const changed = isObject(was) ? changedFields(was, inner) : fieldsOf(inner)
    // an object that only lost fields has changed none
    return isLeaf(changed) ? [] : [[FIELD + key, changed]]
  })
  return Object.fromEntries(entries)
}

export function isLeaf(set: FieldSet): boolean {
  return Object.keys(set).length === 0
}

export function union(a: FieldSet, b: FieldSet): FieldSet {
  const result = new Map(Object.entries(a))
  for (const [key, inner] of Object.entries(b)) result.set(key, union(result.get(key) ?? {}, inner))
  return Object.fromEntries(result)
}

/** `a` without what is in `b`, or lies in a whole that is in `b`, or holds something of it as a whole. */
export function difference(a: FieldSet, b: FieldSet): FieldSet {
  const entries = Object.entries(a).flatMap(([key, inner]): [string, FieldSet][] => {
    const other = Object.hasOwn(b, key) ? b[key] : undefined
    if (other === undefined) return [[key, inner]]
    if (isLeaf(other) || isLeaf(inner)) return []
    const left = difference(inner, other)
    return isLeaf(left) ? [] : [[key, left]]
  })
  return Object.fromEntries(entries)
}

/** The part of a set whose fields an object has. */
export function present(set: FieldSet, value: unknown): FieldSet {
  const entries = Object.entries(set).flatMap(([key, inner]): [string, FieldSet][] => {
    if (!key.startsWith(FIELD)) return [[key, inner]]
    const name = key.slice(FIELD.length)
    if (!isObject(value) || !Object.hasOwn(value, name) || value[name] === undefined) return []
    if (isLeaf(inner) || !isObject(value[name])) return [[key, inner]]
    const left = present(inner, value[name])
    return isLeaf(left) ? [] : [[key, left]]
  })
  return Object.fromEntries(entries)
}

/** A value without the fields of a set. */
export function withoutFields(value: unknown, set: FieldSet): unknown {
  if (!isObject(value)) return value
  const entries = Object.entries(value).flatMap(([key, inner]): [string, unknown][] => {
    const gone = Object.hasOwn(set, FIELD + key) ? set[FIELD + key] : undefined
    if (gone === undefined) return [[key, inner]]
    return isLeaf(gone) || !isObject(inner) ? [] : [[key, withoutFields(inner, gone)]]
  })
  return Object.fromEntries(entries)
}

/** The fields of `config` that `owner` has and `live` has with another value, as kubectl prints them: `.spec.a`. */
export function conflictsOf(owner: FieldSet, config: unknown, live: unknown, at = ''): string[] {
  if (!isObject(config)) return []
  return Object.entries(config).flatMap(([key, wanted]) => {
    const owned = Object.hasOwn(owner, FIELD + key) ? owner[FIELD + key] : undefined
    const has = isObject(live) && Object.hasOwn(live, key) ? live[key] : undefined
    if (owned === undefined || sameJson(wanted, has)) return []
    if (isLeaf(owned) || !isObject(wanted)) return [`${at}.${key}`]
    return conflictsOf(owned, wanted, has, `${at}.${key}`)
  })
}
