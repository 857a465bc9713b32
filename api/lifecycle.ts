// What a Kubernetes server does to an object on create, update and delete, as pure functions: which fields the server
// owns, what a status write may touch, when the generation counts, what finalizers hold back. The API server and the
// in-memory store share it. Source: k8s.io/apiserver's registry strategies.
import { sameJson } from './json.ts'
import { type Kind, type KindRow, kinds } from './kinds.ts'
import type { ObjectMeta } from './meta.ts'

/** Any resource, where its kind is known only at run time. */
export type AnyObject = { metadata: ObjectMeta; spec?: unknown; status?: unknown; [field: string]: unknown }

export type Birth = { uid: string; now: string }

/** A new object as it will be stored: server-owned metadata set, and the status its kind is born with. */
export function born(kind: Kind, object: AnyObject, { uid, now }: Birth): AnyObject {
  const given = without(object.metadata, 'resourceVersion', 'deletionTimestamp', 'generateName')
  const metadata = { ...given, name: object.metadata.name, uid, creationTimestamp: now, generation: 1 }
  return { ...without(object, 'status'), metadata, ...statusAtBirth(kind, object.status) }
}

function statusAtBirth(kind: Kind, given: unknown): { status?: unknown } {
  const row: KindRow = kinds[kind]
  if (kind === 'Pod') return { status: { phase: 'Pending' } }
  if (kind === 'Namespace') return { status: { phase: 'Active' } }
  // Kubernetes keeps the status of a Node that is created with one; of custom resources it does not
  return given === undefined || (row.status && kind !== 'Node') ? {} : { status: given }
}

/** The stored object after a write to it, or to its status alone. The same object comes back when nothing changes. */
export function replaced(kind: Kind, stored: AnyObject, incoming: AnyObject, subresource?: 'status'): AnyObject {
  const row: KindRow = kinds[kind]
  const next = merge(row, stored, incoming, subresource)
  if (sameJson(contentOf(next), contentOf(stored)) && sameJson(next.status, stored.status))
    if (sameJson(without(next.metadata, 'resourceVersion'), without(stored.metadata, 'resourceVersion'))) return stored
  const changed = !sameJson(contentOf(next), contentOf(stored))
  const generation = (stored.metadata.generation ?? 1) + (changed ? 1 : 0)
  return { ...next, metadata: { ...next.metadata, generation } }
}

function merge(row: KindRow, stored: AnyObject, incoming: AnyObject, subresource: 'status' | undefined): AnyObject {
  const given = without(incoming.metadata, 'deletionTimestamp', 'generation', 'namespace')
  const kept = pick(stored.metadata, ['namespace', 'uid', 'creationTimestamp', 'deletionTimestamp', 'generation'])
  const metadata = { ...given, ...kept, name: stored.metadata.name }
  if (subresource === undefined) {
    const status = row.status ? stored.status : incoming.status
    return { ...without(incoming, 'status'), metadata, ...(status === undefined ? {} : { status }) }
  }
  // a status write to a core object may change its annotations too: that is how node and pod agents publish
  const base = row.group === '' ? { ...stored, metadata } : stored
  const status = incoming.status
  return { ...without(base, 'status'), metadata: base.metadata, ...(status === undefined ? {} : { status }) }
}

/** The object marked as going away, when finalizers still hold it; undefined when it can go at once. */
export function dying(stored: AnyObject, now: string): AnyObject | undefined {
  if ((stored.metadata.finalizers ?? []).length === 0) return undefined
  if (stored.metadata.deletionTimestamp !== undefined) return stored
  return { ...stored, metadata: { ...stored.metadata, deletionTimestamp: now } }
}

/** Whether a write took the last finalizer from an object that was asked to go. */
export function isReleased({ metadata }: AnyObject): boolean {
  return metadata.deletionTimestamp !== undefined && (metadata.finalizers ?? []).length === 0
}

function contentOf(object: AnyObject): object {
  return without(object, 'metadata', 'status')
}

function without<T extends object>(object: T, ...keys: (keyof T)[]): Partial<T> {
  const rest: Partial<T> = { ...object }
  for (const key of keys) delete rest[key]
  return rest
}

function pick(metadata: ObjectMeta, keys: readonly (keyof ObjectMeta)[]): Partial<ObjectMeta> {
  return Object.fromEntries(keys.filter(key => metadata[key] !== undefined).map(key => [key, metadata[key]]))
}
