// The verbs on objects, over the storage: what each one checks, in which order, and what it refuses. No HTTP here.
import { randomBytes, randomUUID } from 'node:crypto'
import { sameJson } from '../api/json.ts'
import { apiVersion, type Kind, kindName, kinds } from '../api/kinds.ts'
import { type AnyObject, born, dying, isReleased, replaced } from '../api/lifecycle.ts'
import { isObject, mergePatch } from '../api/merge-patch.ts'
import { strategicMerge } from '../api/strategic-merge.ts'
import { transitionProblems } from '../api/transitions.ts'
import { admit, admitChange } from '../api/validate.ts'
import type { Clock } from '../lib/clock.ts'
import type { WriteGuard } from './authorizer.ts'
import { JsonPatchError, jsonPatch } from './json-patch.ts'
import { storedLimit } from './limits.ts'
import { applied, type Manager, ownersAfterUpdate, withOwners, withStartingOwners } from './managed-fields.ts'
import { checkRange } from './ranges.ts'
import type { Selection } from './selection.ts'
import { ApiError, alreadyExists, conflict, expired, invalid, MODIFIED, notFound } from './status.ts'
import type { Storage, StorageWriter } from './storage.ts'
import { Stored } from './stored.ts'

export type Target = { kind: Kind; namespace?: string; name?: string; subresource?: 'status' }
/** `guard` is asked of every object that would be written; `manager` owns the fields that are. */
export type WriteOptions = { dryRun: boolean; guard: WriteGuard; manager: string; force?: boolean }
export type DeleteOptions = { dryRun: boolean; guard: WriteGuard; uid?: string; resourceVersion?: string }
export type PatchFormat = 'merge' | 'json' | 'strategic' | 'apply'
export type Page = { items: readonly Stored[]; version: number; next?: string; remaining?: number }

/** The namespace that is always there. */
const DEFAULT_NAMESPACE = 'default'
/** What the server writes by itself. */
const OWN_WRITE: WriteOptions = { dryRun: false, guard: () => {}, manager: 'margay-api' }

const namespacedKinds = (Object.keys(kinds) as Kind[]).filter(kind => kinds[kind].namespaced)

export class Resources {
  readonly #storage: Storage
  readonly #clock: Clock

  constructor(storage: Storage, clock: Clock) {
    this.#storage = storage
    this.#clock = clock
  }

  /** Makes what every server has. */
  async prepare(): Promise<void> {
    if (this.#storage.get('Namespace', DEFAULT_NAMESPACE) === undefined)
      await this.create({ kind: 'Namespace' }, { metadata: { name: DEFAULT_NAMESPACE } }, OWN_WRITE)
  }

  get(target: Target): Promise<Stored> {
    return this.#storage.read(() => this.#stored(target))
  }

  /** One page of a list. A page after the first shows the state of now under the version of the first. */
  list(target: Target, selection: Selection, { limit, from }: { limit?: number; from?: string }): Promise<Page> {
    return this.#storage.read(() => {
      const start = from === undefined ? undefined : parseContinue(from)
      const version = start?.version ?? this.#storage.version
      if (start !== undefined && version < this.#storage.oldest) throw expired()
      const all = this.#storage.list(target.kind, target.namespace).filter(selection)
      const rest = start === undefined ? all : all.filter(stored => keyOf(stored) > start.after)
      if (limit === undefined || rest.length <= limit) return { items: rest, version }
      const items = rest.slice(0, limit)
      return { items, version, next: formatContinue(version, items.at(-1)!), remaining: rest.length - limit }
    })
  }

  create(target: Target, body: unknown, options: WriteOptions): Promise<Stored> {
    return this.#storage.write(writer => this.#create(writer, target, body, options))
  }

  update(target: Target & { name: string }, body: unknown, options: WriteOptions): Promise<Stored> {
    return this.#storage.write(writer => {
      const before = this.#stored(target)
      return this.#replace(writer, target, before, placed(target, body), options)
    })
  }

  /** `created` says that an apply made the object. */
  patch(
    target: Target & { name: string },
    format: PatchFormat,
    patch: unknown,
    options: WriteOptions,
  ): Promise<{ stored: Stored; created: boolean }> {
    return this.#storage.write(writer => {
      const before = this.#storage.get(target.kind, target.name, target.namespace)
      if (before === undefined && format === 'apply' && target.subresource === undefined) {
        const fresh = applied(target.kind, undefined, patch, this.#by(target, options), { force: false })
        return { stored: this.#create(writer, target, fresh, options, true), created: true }
      }
      if (before === undefined) throw notFound(target.kind, target.name)
      const next = placed(target, this.#patched(target, before.read(), format, patch, options))
      return { stored: this.#replace(writer, target, before, next, options, format === 'apply'), created: false }
    })
  }

  /** The object's last state, and whether it is gone or only marked. */
  delete(target: Target & { name: string }, options: DeleteOptions): Promise<{ stored: Stored; gone: boolean }> {
    return this.#storage.write(writer => {
      const stored = this.#stored(target)
      const { uid, resourceVersion } = stored.metadata
      const refuse = (field: string, wanted: string, has: string | undefined): never => {
        throw conflict(target.kind, target.name, `the ${field} in the precondition (${wanted}) is not ${has}`)
      }
      if (options.uid !== undefined && options.uid !== uid) refuse('UID', options.uid, uid)
      if (options.resourceVersion !== undefined && options.resourceVersion !== resourceVersion)
        refuse('ResourceVersion', options.resourceVersion, resourceVersion)
      if (target.kind === 'Namespace' && target.name === DEFAULT_NAMESPACE)
        throw new ApiError('Forbidden', `namespaces "${target.name}" is forbidden: this namespace may not be deleted`)
      options.guard(stored.read(), undefined)
      return options.dryRun ? { stored, gone: true } : this.#delete(writer, target.kind, stored)
    })
  }

  deleteCollection(target: Target, selection: Selection, { dryRun, guard }: DeleteOptions): Promise<readonly Stored[]> {
    return this.#storage.write(writer => {
      const chosen = this.#storage
        .list(target.kind, target.namespace)
        .filter(selection)
        .filter(({ metadata }) => target.kind !== 'Namespace' || metadata.name !== DEFAULT_NAMESPACE)
      for (const stored of chosen) guard(stored.read(), undefined)
      if (!dryRun) for (const stored of chosen) this.#delete(writer, target.kind, stored)
      return chosen
    })
  }

  #stored({ kind, name = '', namespace }: Target): Stored {
    const stored = this.#storage.get(kind, name, namespace)
    if (stored === undefined) throw notFound(kind, name)
    return stored
  }

  /** `isApply`: the body has the owners of its fields already. */
  #create(writer: StorageWriter, target: Target, body: unknown, options: WriteOptions, isApply = false): Stored {
    const { kind } = target
    const object = this.#valid(kind, named(placed(target, body)))
    const { name, namespace } = object.metadata
    if (namespace !== undefined) this.#checkNamespace(namespace)
    if (this.#storage.get(kind, name, namespace) !== undefined) throw alreadyExists(kind, name)
    checkRange(kind, object, this.#storage)
    const unowned = isApply ? object : withStartingOwners(object, undefined)
    const made = born(kind, unowned, { uid: randomUUID(), now: this.#now() })
    const owners = (): ReturnType<typeof ownersAfterUpdate> =>
      ownersAfterUpdate(kind, undefined, made, this.#by(target, options))
    const fresh = isApply ? made : withOwners(made, owners())
    options.guard(undefined, fresh)
    return this.#put(writer, kind, fresh, options)
  }

  #put(writer: StorageWriter, kind: Kind, object: AnyObject, { dryRun }: WriteOptions): Stored {
    const stored = dryRun ? Stored.unsaved(object) : writer.put(kind, object)
    if (stored.text.length <= storedLimit(kind)) return stored
    const { name } = object.metadata
    throw new ApiError('RequestEntityTooLarge', `${kind} ${name} would be larger than ${storedLimit(kind)} characters`)
  }

  #checkNamespace(name: string): void {
    const namespace = this.#storage.get('Namespace', name)
    if (namespace === undefined) throw notFound('Namespace', name)
    if (namespace.metadata.deletionTimestamp !== undefined)
      throw new ApiError('Forbidden', `namespaces "${name}" is being terminated and takes no new objects`)
  }

  #by({ subresource }: Target, { manager }: WriteOptions): Manager {
    return { name: manager, now: this.#now(), ...(subresource === undefined ? {} : { subresource }) }
  }

  #replace(
    writer: StorageWriter,
    target: Target,
    before: Stored,
    body: AnyObject,
    options: WriteOptions,
    isApply = false,
  ): Stored {
    const { kind } = target
    const { metadata } = before
    const { resourceVersion, uid } = body.metadata
    if (resourceVersion !== undefined && resourceVersion !== '' && resourceVersion !== metadata.resourceVersion)
      throw conflict(kind, metadata.name, MODIFIED)
    if (uid !== undefined && uid !== metadata.uid)
      throw conflict(
        kind,
        metadata.name,
        `the UID in the body (${uid}) is not ${metadata.uid}: another object had this name`,
      )
    const object = before.read()
    const owned = isApply ? body : withStartingOwners(body, object)
    const valid = this.#valid(kind, owned, object)
    const problems = target.subresource === undefined ? transitionProblems(kind, object, valid) : []
    if (problems.length > 0) throw invalid(kind, metadata.name, problems)
    const changed = replaced(kind, object, valid, target.subresource)
    if (changed === object) {
      options.guard(object, object)
      return before
    }
    const next = isApply
      ? changed
      : withOwners(changed, ownersAfterUpdate(kind, object, changed, this.#by(target, options)))
    options.guard(object, next)
    if (options.dryRun || !isReleased(next)) return this.#put(writer, kind, next, options)
    const gone = writer.remove(kind, before, next)
    this.#finishNamespace(writer, metadata.namespace)
    return gone
  }

  #patched(target: Target, before: AnyObject, format: PatchFormat, patch: unknown, options: WriteOptions): unknown {
    switch (format) {
      case 'merge':
        return mergePatch(before, patch)
      case 'strategic':
        return strategicMerge(before, patch)
      case 'apply':
        return applied(target.kind, before, patch, this.#by(target, options), { force: options.force === true })
      case 'json':
        try {
          return jsonPatch(before, patch, sameJson)
        } catch (error) {
          if (error instanceof JsonPatchError)
            throw invalid(target.kind, before.metadata.name, [{ path: 'patch', message: error.message }])
          throw error
        }
    }
  }

  #valid(kind: Kind, object: AnyObject, before?: AnyObject): AnyObject {
    const result = before === undefined ? admit(kind, object) : admitChange(kind, before, object)
    if (Array.isArray(result)) throw invalid(kind, String(object.metadata.name), result)
    const { apiVersion: _version, kind: _kind, ...rest } = result as AnyObject
    return { apiVersion: apiVersion(kinds[kind]), kind: kindName(kind), ...rest }
  }

  #delete(writer: StorageWriter, kind: Kind, stored: Stored): { stored: Stored; gone: boolean } {
    const { name, namespace } = stored.metadata
    if (kind === 'Namespace' && this.#empty(writer, name)) return this.#terminate(writer, stored)
    const object = stored.read()
    const next = dying(object, this.#now())
    if (next === object) return { stored, gone: false }
    if (next !== undefined) return { stored: writer.put(kind, next), gone: false }
    const gone = writer.remove(kind, stored)
    this.#finishNamespace(writer, namespace)
    return { stored: gone, gone: true }
  }

  /** Deletes what a namespace holds; true when finalizers keep some of it. */
  #empty(writer: StorageWriter, namespace: string): boolean {
    for (const kind of namespacedKinds)
      for (const stored of this.#storage.list(kind, namespace)) this.#delete(writer, kind, stored)
    return namespacedKinds.some(kind => this.#storage.list(kind, namespace).length > 0)
  }

  #terminate(writer: StorageWriter, stored: Stored): { stored: Stored; gone: boolean } {
    const { metadata, ...rest } = stored.read()
    if (metadata.deletionTimestamp !== undefined) return { stored, gone: false }
    const status = { phase: 'Terminating' }
    const next = { ...rest, metadata: { ...metadata, deletionTimestamp: this.#now() }, status }
    return { stored: writer.put('Namespace', next), gone: false }
  }

  /** The last object of a terminating namespace takes the namespace along. */
  #finishNamespace(writer: StorageWriter, name: string | undefined): void {
    if (name === undefined) return
    const stored = this.#storage.get('Namespace', name)
    if (stored?.metadata.deletionTimestamp === undefined) return
    if (namespacedKinds.some(kind => this.#storage.list(kind, name).length > 0)) return
    if ((stored.metadata.finalizers ?? []).length === 0) writer.remove('Namespace', stored)
  }

  #now(): string {
    return new Date(this.#clock.wallMs()).toISOString().replace(/\.\d+Z$/, 'Z')
  }
}

/** The body as an object with the name and namespace of the URL. Throws BadRequest when it says otherwise. */
function placed({ kind, name, namespace }: Target, body: unknown): AnyObject {
  if (!isObject(body)) throw new ApiError('BadRequest', `the body is not a ${kind}`)
  const metadata = body['metadata'] ?? {}
  if (!isObject(metadata)) throw new ApiError('BadRequest', 'metadata is not an object')
  const differs = (field: string, has: unknown, path: string): never => {
    throw new ApiError('BadRequest', `the ${field} of the object (${String(has)}) does not match the URL's (${path})`)
  }
  if (name !== undefined && metadata['name'] !== undefined && metadata['name'] !== name)
    differs('name', metadata['name'], name)
  if (namespace !== undefined && (metadata['namespace'] ?? '') !== '' && metadata['namespace'] !== namespace)
    differs('namespace', metadata['namespace'], namespace)
  const place = { ...(name === undefined ? {} : { name }), ...(namespace === undefined ? {} : { namespace }) }
  return { ...body, metadata: { ...metadata, ...place } } as AnyObject
}

const SUFFIX_LETTERS = 'bcdfghjklmnpqrstvwxz2456789'

/** An object with generateName gets a name: that, and five letters without vowels. */
function named(object: AnyObject): AnyObject {
  const { name, generateName } = object.metadata as { name?: string; generateName?: unknown }
  if ((name !== undefined && name !== '') || typeof generateName !== 'string' || generateName === '') return object
  const suffix = [...randomBytes(5)].map(octet => SUFFIX_LETTERS[octet % SUFFIX_LETTERS.length]).join('')
  return { ...object, metadata: { ...object.metadata, name: `${generateName}${suffix}` } }
}

function keyOf({ metadata }: Stored): string {
  return `${metadata.namespace ?? ''}\0${metadata.name}`
}

function formatContinue(version: number, last: Stored): string {
  return Buffer.from(JSON.stringify([version, keyOf(last)])).toString('base64url')
}

function parseContinue(token: string): { version: number; after: string } {
  try {
    const [version, after] = JSON.parse(Buffer.from(token, 'base64url').toString()) as unknown[]
    if (typeof version === 'number' && typeof after === 'string') return { version, after }
  } catch {
    // not base64 of JSON: refused below like any other token that is not ours
  }
  throw new ApiError('BadRequest', 'the continue token is not one of this server')
}
