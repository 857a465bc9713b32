// Server-side apply: a manager says what it wants to own; what it owned before and no longer names goes away; what
// another applier owns with another value is a conflict unless forced. Lists and scalars are owned as a whole (a custom
// resource's default); Kubernetes is finer on the lists of core kinds. Ownership is kept in metadata.managedFields.
import { sameJson } from '../api/json.ts'
import { apiVersion, type Kind, kinds } from '../api/kinds.ts'
import type { AnyObject } from '../api/lifecycle.ts'
import { isObject, mergePatch } from '../api/merge-patch.ts'
import { ApiError } from './status.ts'

type Owned = { manager: string; operation: string; fieldsV1?: unknown; [field: string]: unknown }
type Path = readonly string[]

export type ApplyOptions = { fieldManager?: string; force?: boolean }

/** The object after `manager` applied `config` to it (or made it). Throws BadRequest or Conflict. */
export function applyPatch(
  kind: Kind,
  before: AnyObject | undefined,
  config: unknown,
  { fieldManager, force = false }: ApplyOptions,
  now: string,
): AnyObject {
  if (fieldManager === undefined || fieldManager === '')
    throw new ApiError('BadRequest', 'an apply needs the query parameter fieldManager')
  if (!isObject(config)) throw new ApiError('BadRequest', `the body is not a ${kind}`)
  const metadata = isObject(config['metadata']) ? config['metadata'] : {}
  if (metadata['managedFields'] !== undefined)
    throw new ApiError('BadRequest', 'metadata.managedFields must be absent from an applied object')

  const entries = managedFields(before)
  const isMine = (entry: Owned): boolean => entry.manager === fieldManager && entry.operation === 'Apply'
  const others = entries.filter(entry => entry.operation === 'Apply' && !isMine(entry))
  const paths = leavesOf(config).filter(path => !isIdentity(path))
  const conflicts = others.flatMap(other =>
    paths
      .filter(path => owns(other, path) && !sameJson(read(before, path), read(config, path)))
      .map(path => ({ manager: other.manager, path })),
  )
  if (conflicts.length > 0 && !force) throw conflictOf(conflicts)

  const dropped = entries
    .filter(isMine)
    .flatMap(ownedPaths)
    .filter(path => read(config, path) === undefined && !others.some(other => owns(other, path)))
  const base = dropped.reduce<unknown>((object, path) => mergePatch(object, nest(path, null)), before ?? {})
  const merged = mergePatch(base, config) as AnyObject
  const mine = {
    manager: fieldManager,
    operation: 'Apply',
    apiVersion: apiVersion(kinds[kind]),
    time: now,
    fieldsType: 'FieldsV1',
    fieldsV1: paths.reduce<unknown>(
      (tree, path) =>
        mergePatch(
          tree,
          nest(
            path.map(p => `f:${p}`),
            {},
          ),
        ),
      {},
    ),
  }
  const earlier = entries.find(isMine)
  const entry = earlier !== undefined && sameJson(earlier.fieldsV1, mine.fieldsV1) ? earlier : mine
  const kept = entries.map(old => (old === earlier ? entry : others.includes(old) ? without(old, conflicts) : old))
  const managed = earlier === undefined ? [...kept, entry] : kept
  return { ...merged, metadata: { ...merged.metadata, managedFields: managed } } as AnyObject
}

function managedFields(object: AnyObject | undefined): Owned[] {
  const entries = (object?.metadata as { managedFields?: unknown } | undefined)?.managedFields
  return Array.isArray(entries) ? entries.filter(isObject).map(entry => entry as Owned) : []
}

function leavesOf(value: unknown, at: Path = []): Path[] {
  if (!isObject(value) || Object.keys(value).length === 0) return [at]
  return Object.entries(value).flatMap(([key, inner]) => leavesOf(inner, [...at, key]))
}

function isIdentity([first, second]: Path): boolean {
  if (first === 'apiVersion' || first === 'kind') return true
  return first === 'metadata' && !['labels', 'annotations', 'finalizers', 'ownerReferences'].includes(second ?? '')
}

function ownedPaths({ fieldsV1 }: Owned): Path[] {
  return leavesOf(fieldsV1).map(path => path.map(part => part.replace(/^f:/, '')))
}

/** Whether an entry owns a field, or something inside it, or the whole it lies in. */
function owns(entry: Owned, path: Path): boolean {
  return ownedPaths(entry).some(owned => owned.length > 0 && owned.every((p, i) => i >= path.length || p === path[i]))
}

function without(entry: Owned, conflicts: readonly { manager: string; path: Path }[]): Owned {
  const lost = conflicts.filter(({ manager }) => manager === entry.manager).map(({ path }) => path)
  const fieldsV1 = lost.reduce<unknown>(
    (tree, path) =>
      mergePatch(
        tree,
        nest(
          path.map(p => `f:${p}`),
          null,
        ),
      ),
    entry.fieldsV1,
  )
  return { ...entry, fieldsV1 }
}

function read(value: unknown, path: Path): unknown {
  return path.reduce((at, key) => (isObject(at) && Object.hasOwn(at, key) ? at[key] : undefined), value)
}

function nest(path: Path, value: unknown): unknown {
  return path.reduceRight<unknown>((inner, key) => Object.fromEntries([[key, inner]]), value)
}

function conflictOf(conflicts: readonly { manager: string; path: Path }[]): ApiError {
  const causes = conflicts.map(({ manager, path }) => ({
    reason: 'FieldManagerConflict',
    message: `conflict with "${manager}"`,
    field: `.${path.join('.')}`,
  }))
  const text = causes.map(({ message, field }) => `${message}: ${field}`).join(', ')
  return new ApiError('Conflict', `Apply failed with ${causes.length} conflicts: ${text}`, { causes })
}
