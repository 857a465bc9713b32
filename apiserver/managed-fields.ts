// Who owns which field (metadata.managedFields), for every writer. A write owns what it changes and takes it from all
// others; an apply owns what it names, conflicts where another manager has another value there unless forced, and gives
// up what it named before and names no longer: that goes, when nobody else owns it. After apimachinery's
// managedfields and structured-merge-diff.
import { sameJson } from '../api/json.ts'
import { apiVersion, type Kind, kinds } from '../api/kinds.ts'
import type { AnyObject } from '../api/lifecycle.ts'
import { isObject, mergePatch } from '../api/merge-patch.ts'
import {
  changedFields,
  conflictsOf,
  difference,
  type FieldSet,
  fieldsOf,
  isLeaf,
  ownable,
  present,
  union,
  withoutFields,
} from './field-set.ts'
import { ApiError } from './status.ts'

/** Who writes: `subresource` when it is not the object itself. */
export type Manager = { name: string; subresource?: 'status'; now: string }

type Entry = {
  manager: string
  operation: 'Apply' | 'Update'
  apiVersion: string
  time?: string
  fieldsType: 'FieldsV1'
  fieldsV1: FieldSet
  subresource?: string
}

const LONGEST_NAME = 128

/** The manager's name as Kubernetes chooses it: what the request says, or what the client calls itself. */
export function managerName(fieldManager: string | undefined, userAgent: string | undefined): string {
  if (fieldManager !== undefined && fieldManager !== '') {
    if (fieldManager.length <= LONGEST_NAME && /^[\p{L}\p{M}\p{N}\p{P}\p{S} ]+$/u.test(fieldManager))
      return fieldManager
    throw new ApiError('BadRequest', `fieldManager must be at most ${LONGEST_NAME} printable characters`)
  }
  const name = (userAgent ?? '').split('/')[0]!.replace(/[^\x20-\x7e]/g, '')
  return name === '' ? 'unknown' : name.slice(0, LONGEST_NAME)
}

/** The owners of `after`, the object that a write makes of `before`; undefined for a new object. */
export function ownersAfterUpdate(kind: Kind, before: AnyObject | undefined, after: AnyObject, by: Manager): Entry[] {
  const [old, next] = [ownable(before), ownable(after)]
  const changed = changedFields(old, next)
  const isMine = (entry: Entry): boolean => isOf(entry, by, 'Update')
  const entries = entriesOf(after).map(entry => {
    const left = present(isMine(entry) ? entry.fieldsV1 : difference(entry.fieldsV1, changed), next)
    return withFields(entry, isMine(entry) ? union(left, changed) : left, by.now)
  })
  if (!isLeaf(changed) && !entries.some(isMine)) entries.push(newEntry(kind, by, 'Update', changed))
  return entries.filter(({ fieldsV1 }) => !isLeaf(fieldsV1))
}

/** The object after an apply of `config` to it (or made by it), with its owners. Throws BadRequest or Conflict. */
export function applied(
  kind: Kind,
  before: AnyObject | undefined,
  config: unknown,
  by: Manager,
  { force }: { force: boolean },
): AnyObject {
  if (!isObject(config)) throw new ApiError('BadRequest', `the body is not a ${kind}`)
  const metadata = isObject(config['metadata']) ? config['metadata'] : {}
  if (metadata['managedFields'] !== undefined)
    throw new ApiError('BadRequest', 'metadata.managedFields must be absent from an applied object')
  const entries = entriesOf(before)
  const isMine = (entry: Entry): boolean => isOf(entry, by, 'Apply')
  const others = entries.filter(entry => !isMine(entry))
  const mine = entries.find(isMine)
  const [named, live] = [ownable(config), ownable(before)]
  const conflicts = others.flatMap(({ manager, operation, fieldsV1 }) =>
    conflictsOf(fieldsV1, named, live).map(field => ({ manager, operation, field })),
  )
  if (conflicts.length > 0 && !force) throw conflictOf(conflicts)

  const fields = fieldsOf(named)
  const owned = others.reduce<FieldSet>((all, { fieldsV1 }) => union(all, fieldsV1), {})
  const dropped = difference(difference(mine?.fieldsV1 ?? {}, fields), owned)
  const merged = mergePatch(withoutFields(before ?? {}, dropped), config) as AnyObject
  const changed = changedFields(live, ownable(merged))
  const kept = entries.map(entry =>
    entry === mine
      ? withFields(entry, fields, by.now)
      : withFields(entry, present(difference(entry.fieldsV1, changed), ownable(merged)), by.now),
  )
  if (mine === undefined) kept.push(newEntry(kind, by, 'Apply', fields))
  return withOwners(
    merged,
    kept.filter(({ fieldsV1 }) => !isLeaf(fieldsV1)),
  )
}

/** An object with these owners. */
export function withOwners(object: AnyObject, owners: readonly Entry[]): AnyObject {
  const { managedFields: _before, ...metadata } = object.metadata as AnyObject['metadata'] & { managedFields?: unknown }
  return { ...object, metadata: owners.length === 0 ? metadata : { ...metadata, managedFields: owners } }
}

/**
 * The body of a write with the owners that it starts from: those of the stored object, unless the writer gives others
 * (kubectl does when it goes from client-side to server-side apply) or an empty list, which forgets them.
 */
export function withStartingOwners(body: AnyObject, stored: AnyObject | undefined): AnyObject {
  const given = (body.metadata as { managedFields?: unknown }).managedFields
  const isGiven = stored !== undefined && Array.isArray(given)
  return withOwners(body, entriesOf(isGiven ? body : stored))
}

function entriesOf(object: AnyObject | undefined): Entry[] {
  const entries = (object?.metadata as { managedFields?: unknown } | undefined)?.managedFields
  return Array.isArray(entries) ? entries.filter(isEntry) : []
}

function isEntry(value: unknown): value is Entry {
  return (
    isObject(value) &&
    typeof value['manager'] === 'string' &&
    (value['operation'] === 'Apply' || value['operation'] === 'Update') &&
    isFieldSet(value['fieldsV1'])
  )
}

function isFieldSet(value: unknown): value is FieldSet {
  return isObject(value) && Object.values(value).every(isFieldSet)
}

function isOf(entry: Entry, { name, subresource }: Manager, operation: Entry['operation']): boolean {
  return entry.manager === name && entry.operation === operation && entry.subresource === subresource
}

/** The time is that of the last change: the same fields keep it. */
function withFields(entry: Entry, fieldsV1: FieldSet, now: string): Entry {
  return sameJson(entry.fieldsV1, fieldsV1) ? entry : { ...entry, fieldsV1, time: now }
}

function newEntry(kind: Kind, by: Manager, operation: Entry['operation'], fieldsV1: FieldSet): Entry {
  const subresource = by.subresource === undefined ? {} : { subresource: by.subresource }
  const version = apiVersion(kinds[kind])
  return {
    manager: by.name,
    operation,
    apiVersion: version,
    time: by.now,
    fieldsType: 'FieldsV1',
    fieldsV1,
    ...subresource,
  }
}

function conflictOf(conflicts: readonly { manager: string; operation: string; field: string }[]): ApiError {
  const causes = conflicts.map(({ manager, operation, field }) => ({
    reason: 'FieldManagerConflict',
    message: `conflict with "${manager}"${operation === 'Update' ? ' using its last write' : ''}`,
    field,
  }))
  const text = causes.map(({ message, field }) => `${message}: ${field}`).join(', ')
  const count = `${causes.length} conflict${causes.length === 1 ? '' : 's'}`
  return new ApiError('Conflict', `Apply failed with ${count}: ${text}`, { causes })
}
