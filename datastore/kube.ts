// The port over a Kubernetes API server: a cluster's, or margay-api. Paths come from the table of kinds; objects are
// validated as they come in, and `apiVersion` and `kind` are put on as they go out.

import { sameJson } from '../api/json.ts'
import { apiVersion, type Kind, kinds, type Resource } from '../api/kinds.ts'
import { isObject } from '../api/merge-patch.ts'
import { formatProblems, type RefusedObject, validate } from '../api/validate.ts'
import { type Clock, systemClock } from '../lib/clock.ts'
import { type Log, silentLog } from '../lib/log.ts'
import { ApiConnection, type ConnectionOptions, Gone } from './connection.ts'
import { pickFields } from './fields.ts'
import { anyPath, pathOf, queryOf } from './paths.ts'
import {
  type AnyKind,
  type AnyWrite,
  Conflict,
  type Fields,
  type ListOptions,
  type ObjectCount,
  type PatchOptions,
  Refused,
  type Store,
  Unreachable,
  type Watch,
  type WatchHandlers,
  type WatchOptions,
} from './port.ts'
import { readObject } from './readable.ts'
import { startWatch, type WatchSource } from './watch.ts'

export type StoreOptions = ConnectionOptions & {
  clock?: Clock
  log?: Log
  /** A watch that says nothing for so long is opened again. Default 150 s. */
  idleMs?: number
}

/** Small pages: a page of Nodes is 1 MB of text and 3 MB of values, and the heap keeps the most it ever needed. */
const PAGE = 100
/** A page of metadata alone, about as large. */
const METADATA_PAGE = 500
const LIST_ATTEMPTS = 3
/** As what a list or an object is wanted of which only the metadata is used. A server that cannot leave the rest out sends it whole. */
const METADATA_ALONE = {
  list: 'application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json',
  object: 'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json',
}
const UPDATE_ATTEMPTS = 5
/** Kubernetes sends a bookmark about once a minute (defaultBookmarkFrequency): two may be late. TCP finds dead servers sooner. */
const IDLE_MS = 150_000
/** The server ends a watch after this long, so that clients spread anew over its replicas. */
const WATCH_SECONDS = 300

/** Opens a store. Nothing is sent yet. Throws when no server is named or the kubeconfig cannot be read. */
export function openStore(options: StoreOptions = {}): Store {
  return new KubeStore(new ApiConnection(options), options)
}

type Page = { items: unknown[]; resourceVersion: string; next: string | undefined }

class KubeStore implements Store {
  readonly #connection: ApiConnection
  readonly #clock: Clock
  readonly #log: Log
  readonly #idleMs: number
  readonly #watches = new Set<Watch>()

  constructor(connection: ApiConnection, { clock = systemClock, log = silentLog, idleMs = IDLE_MS }: StoreOptions) {
    this.#connection = connection
    this.#clock = clock
    this.#log = log
    this.#idleMs = idleMs
  }

  async get<K extends Kind>(kind: K, name: string, namespace?: string): Promise<Resource<K>> {
    return this.#one(kind, await this.#call({ method: 'GET', path: pathOf(kind, { name, namespace }) }))
  }

  async list<K extends Kind>(kind: K, options: ListOptions = {}): Promise<Resource<K>[]> {
    return (await this.#listAll(kind, options)).items
  }

  async count(kind: AnyKind): Promise<ObjectCount | undefined> {
    const { plural } = kind
    const path = anyPath(kind, {})
    const query = new URLSearchParams({ limit: '1' })
    const body = await this.#call({ method: 'GET', path, query, accept: METADATA_ALONE.list })
    if (!isObject(body) || !Array.isArray(body['items']) || !isObject(body['metadata']))
      throw new Unreachable(`the list of ${plural} is no list: is this an API server?`)
    const [first] = body['items']
    if (!isObject(first) || !isObject(first['metadata'])) return undefined
    const { name, namespace } = first['metadata']
    const { continue: next, remainingItemCount: left } = body['metadata']
    return {
      ...{ count: 1 + (typeof left === 'number' ? left : 0), atLeast: Boolean(next) && typeof left !== 'number' },
      ...{ name: String(name), ...(typeof namespace === 'string' && { namespace }) },
    }
  }

  async writeAny(
    { kind, ...of }: AnyKind & { kind: string },
    object: AnyWrite,
    { patch = false }: { patch?: boolean } = {},
  ): Promise<void> {
    const { name, namespace } = object.metadata
    const path = anyPath(of, { namespace, ...(patch && { name }) })
    const body = { ...object, apiVersion: apiVersion(of), kind }
    const contentType = patch ? 'application/merge-patch+json' : undefined
    await this.#call({ method: patch ? 'PATCH' : 'POST', path, body, contentType })
  }

  async create<K extends Kind>(kind: K, object: Resource<K>): Promise<Resource<K>> {
    const { namespace } = object.metadata
    const path = pathOf(kind, { namespace })
    return this.#one(kind, await this.#call({ method: 'POST', path, body: outgoing(kind, object) }))
  }

  update<K extends Kind>(kind: K, object: Resource<K>): Promise<Resource<K>> {
    return this.#put(kind, object)
  }

  updateStatus<K extends Kind>(kind: K, object: Resource<K>): Promise<Resource<K>> {
    return this.#put(kind, object, kinds[kind].status ? 'status' : undefined)
  }

  async patch<K extends Kind>(
    kind: K,
    name: string,
    patch: unknown,
    { namespace, subresource, applyAs, strategic }: PatchOptions = {},
  ): Promise<Resource<K>> {
    const path = pathOf(kind, { name, namespace, subresource })
    if (applyAs === undefined) {
      const contentType = strategic ? 'application/strategic-merge-patch+json' : 'application/merge-patch+json'
      return this.#one(kind, await this.#call({ method: 'PATCH', path, body: patch, contentType }))
    }
    const contentType = 'application/apply-patch+yaml'
    const query = new URLSearchParams({ fieldManager: applyAs, force: 'true' })
    const body = outgoing(kind, patch as object)
    return this.#one(kind, await this.#call({ method: 'PATCH', path, query, body, contentType }))
  }

  async delete<K extends Kind>(
    kind: K,
    name: string,
    { namespace, uid, resourceVersion }: { namespace?: string; uid?: string; resourceVersion?: string } = {},
  ): Promise<void> {
    const preconditions = uid === undefined && resourceVersion === undefined ? undefined : { uid, resourceVersion }
    const body = { kind: 'DeleteOptions', apiVersion: 'v1', propagationPolicy: 'Background', preconditions }
    await this.#call({ method: 'DELETE', path: pathOf(kind, { name, namespace }), body })
  }

  watch<K extends Kind>(kind: K, handlers: WatchHandlers<K>, options: WatchOptions<K> = {}): Watch {
    const { fields = true } = options
    const source: WatchSource<Resource<K>> = {
      fields,
      list: async () => {
        const { refused, ...list } = await this.#listAll(kind, options, fields)
        handlers.refused?.({ type: 'sync', objects: refused })
        return list
      },
      open: resourceVersion => {
        const query = queryOf(options)
        query.set('watch', 'true')
        query.set('allowWatchBookmarks', 'true')
        query.set('resourceVersion', resourceVersion)
        query.set('timeoutSeconds', String(Math.ceil(WATCH_SECONDS * (1 + Math.random()))))
        return this.#connection.open({ method: 'GET', path: pathOf(kind, options), query, ...accept(fields, 'object') })
      },
      read: (object, type) => {
        const part = pickFields(incoming(object), fields)
        if (type === 'set' && isHeld(part, options)) return undefined
        const result = this.#readable(kind, part)
        if (result.refused !== undefined) handlers.refused?.({ type, object: result.refused })
        return result.item
      },
    }
    const watch = startWatch(source, handlers, { clock: this.#clock, idleMs: this.#idleMs }, options.since)
    const tracked = {
      close: () => {
        watch.close()
        this.#watches.delete(tracked)
      },
      hurry: () => watch.hurry(),
    }
    this.#watches.add(tracked)
    return tracked
  }

  dropConnections(): void {
    this.#connection.drop()
  }

  retryNow(): void {
    for (const watch of this.#watches) watch.hurry()
  }

  async close(): Promise<void> {
    for (const watch of this.#watches) watch.close()
    this.#connection.close()
  }

  async #put<K extends Kind>(kind: K, object: Resource<K>, subresource?: 'status'): Promise<Resource<K>> {
    const { name, namespace, resourceVersion } = object.metadata
    const path = pathOf(kind, { name, namespace, subresource })
    for (let attempt = 1; ; attempt++) {
      // Kubernetes refuses a write to a custom resource without a version: the current one is used
      const version = resourceVersion ?? (await this.get(kind, name, namespace)).metadata.resourceVersion
      const body = outgoing(kind, { ...object, metadata: { ...object.metadata, resourceVersion: version } })
      try {
        return this.#one(kind, await this.#call({ method: 'PUT', path, body }))
      } catch (error) {
        if (!(error instanceof Conflict) || resourceVersion !== undefined || attempt === UPDATE_ATTEMPTS) throw error
      }
    }
  }

  async *pages<K extends Kind>(kind: K, options: ListOptions = {}): AsyncGenerator<Resource<K>[]> {
    try {
      for await (const { items } of this.#pages(kind, options, true)) yield items
    } catch (error) {
      if (!(error instanceof Gone)) throw error
      throw new Unreachable(error.message, { cause: error })
    }
  }

  async #listAll<K extends Kind>(
    kind: K,
    options: ListOptions,
    fields: Fields = true,
  ): Promise<{ items: Resource<K>[]; refused: RefusedObject[]; resourceVersion: string }> {
    for (let attempt = 1; ; attempt++)
      try {
        const all: Resource<K>[] = []
        const refused: RefusedObject[] = []
        let version = ''
        for await (const page of this.#pages(kind, options, fields)) {
          for (const item of page.items) all.push(item)
          refused.push(...page.refused)
          version = page.resourceVersion
        }
        return { items: all, refused, resourceVersion: version }
      } catch (error) {
        // the first page's version was forgotten before the last page was asked for
        if (!(error instanceof Gone)) throw error
        if (attempt === LIST_ATTEMPTS) throw new Unreachable(error.message, { cause: error })
      }
  }

  async *#pages<K extends Kind>(
    kind: K,
    options: ListOptions,
    fields: Fields,
  ): AsyncGenerator<{ items: Resource<K>[]; refused: RefusedObject[]; resourceVersion: string }> {
    for (let next: string | undefined; ; ) {
      const page = await this.#page(kind, { ...options, ...accept(fields, 'list') }, next)
      const items: Resource<K>[] = []
      const refused: RefusedObject[] = []
      for (const object of page.items) {
        const result = this.#readable(kind, pickFields(incoming(object), fields))
        if (result.refused === undefined) items.push(result.item)
        else refused.push(result.refused)
      }
      next = page.next
      yield { items, refused, resourceVersion: page.resourceVersion }
      if (next === undefined) return
    }
  }

  async #page(kind: Kind, options: ListOptions & { accept?: string }, next: string | undefined): Promise<Page> {
    const query = queryOf(options)
    query.set('limit', String(options.accept === undefined ? PAGE : METADATA_PAGE))
    if (next !== undefined) query.set('continue', next)
    const { accept } = options
    const body = await this.#connection.call({ method: 'GET', path: pathOf(kind, options), query, accept })
    if (!isObject(body) || !Array.isArray(body['items']) || !isObject(body['metadata']))
      throw new Unreachable(`the list of ${kinds[kind].plural} is no list: is this an API server?`)
    const { resourceVersion, continue: token } = body['metadata']
    return { items: body['items'], resourceVersion: String(resourceVersion), next: token ? String(token) : undefined }
  }

  async #call(call: Parameters<ApiConnection['call']>[0]): Promise<unknown> {
    try {
      return await this.#connection.call(call)
    } catch (error) {
      throw error instanceof Gone ? new Conflict(error.message, { cause: error }) : error
    }
  }

  #one<K extends Kind>(kind: K, object: unknown): Resource<K> {
    const result = validate(kind, incoming(object))
    if (Array.isArray(result))
      throw new Refused(422, `the server holds a ${kind} that is invalid: ${formatProblems(result)}`)
    return result
  }

  /** An invalid object is left out, and the log says which one and why; the others are returned. */
  #readable<K extends Kind>(kind: K, object: unknown): ReturnType<typeof readObject<K>> {
    const result = readObject(kind, object)
    if (result.refused !== undefined)
      this.#log.warn({ kind, ...result.refused }, 'an invalid object is left out: correct or delete it')
    return result
  }
}

function incoming(object: unknown): unknown {
  if (!isObject(object)) return object
  const { apiVersion: _version, kind: _kind, ...rest } = object
  return rest
}

/** Whether the caller holds an object of that name with the same content. `part` has only `fields`. */
function isHeld<K extends Kind>(part: unknown, { fields = true, held }: WatchOptions<K>): boolean {
  if (held === undefined || !isObject(part) || !isObject(part['metadata'])) return false
  const { name, namespace } = part['metadata']
  const before = held(String(name), namespace === undefined ? undefined : String(namespace))
  // validation may have filled in what the fields leave out again
  return before !== undefined && sameJson(pickFields(before, fields), part)
}

function outgoing(kind: Kind, object: object): object {
  return { ...object, apiVersion: apiVersion(kinds[kind]), kind }
}

/** What is asked of the server where `fields` are of the metadata alone. */
function accept(fields: Fields, what: 'list' | 'object'): { accept?: string } {
  const isMetadata = fields !== true && Object.keys(fields).every(field => field === 'metadata')
  return isMetadata ? { accept: METADATA_ALONE[what] } : {}
}
