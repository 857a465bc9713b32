// The port over a Kubernetes API server: a cluster's, or margay-api. Paths and forms of objects are those of the server's API
// group (`wire.ts`); objects are validated as they come in.

import type { ApiGroup } from '../api/api-group.ts'
import { sameJson } from '../api/json.ts'
import { apiVersion, isCustom, type Kind, kinds, type Resource } from '../api/kinds.ts'
import { isObject } from '../api/merge-patch.ts'
import { formatProblems, type RefusedObject } from '../api/validate.ts'
import { type Clock, systemClock } from '../lib/clock.ts'
import { type Log, silentLog } from '../lib/log.ts'
import { ApiConnection, type ConnectionOptions, Gone } from './connection.ts'
import { pickFields } from './fields.ts'
import { type Page, pageOf, pageQuery, watchQuery } from './lists.ts'
import { anyPath } from './paths.ts'
import {
  type AnyKind,
  type AnyWrite,
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
import { checkedObject, readObject } from './readable.ts'
import { Requests, type RequestsOptions } from './requests.ts'
import { Selected } from './selected.ts'
import { startWatch, type WatchSource } from './watch.ts'
import { type Incoming, type Wire, wireFields } from './wire.ts'

export type StoreOptions = ConnectionOptions &
  RequestsOptions & {
    log?: Log
    /** A watch that says nothing for so long is opened again. Absent: the usual time of `watch.ts`. */
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
/** The server ends a watch after this long, so that clients spread anew over its replicas. */
const WATCH_SECONDS = 300

/** Opens a store. Nothing is sent yet. Throws when no server is named or the kubeconfig cannot be read. */
export function openStore(options: StoreOptions = {}): Store {
  return new KubeStore(new ApiConnection(options), options)
}

class KubeStore implements Store {
  readonly #connection: ApiConnection
  readonly #clock: Clock
  readonly #log: Log
  readonly #idleMs: number | undefined
  readonly #watches = new Set<Watch>()
  readonly #requests: Requests

  constructor(connection: ApiConnection, options: StoreOptions) {
    const { clock = systemClock, log = silentLog, idleMs } = options
    this.#connection = connection
    this.#clock = clock
    this.#log = log
    this.#idleMs = idleMs
    this.#requests = new Requests(connection, options)
  }

  apiGroup(lastKnown?: ApiGroup): Promise<ApiGroup> {
    return this.#requests.apiGroup(lastKnown)
  }

  async get<K extends Kind>(kind: K, name: string, namespace?: string): Promise<Resource<K>> {
    return this.#one(kind, await this.#requests.get(kind, { name, namespace }))
  }

  async list<K extends Kind>(kind: K, options: ListOptions = {}): Promise<Resource<K>[]> {
    return (await this.#listAll(kind, options)).items
  }

  async count(kind: AnyKind): Promise<ObjectCount | undefined> {
    const path = anyPath(kind, {})
    const query = pageQuery({}, 1, undefined)
    const answer = await this.#requests.call({ method: 'GET', path, query, accept: METADATA_ALONE.list })
    const { items, next, left } = pageOf(answer, kind.plural)
    const [first] = items
    if (!isObject(first) || !isObject(first['metadata'])) return undefined
    const { name, namespace } = first['metadata']
    return {
      ...{ count: 1 + (left ?? 0), atLeast: next !== undefined && left === undefined },
      ...{ name: String(name), ...(typeof namespace === 'string' && { namespace }) },
    }
  }

  async writeAny({ kind, ...of }: AnyKind & { kind: string }, object: AnyWrite): Promise<void> {
    const path = anyPath(of, { namespace: object.metadata.namespace })
    await this.#requests.call({ method: 'POST', path, body: { ...object, apiVersion: apiVersion(of), kind } })
  }

  async create<K extends Kind>(kind: K, object: Resource<K>): Promise<Resource<K>> {
    return this.#one(kind, await this.#requests.create(kind, object))
  }

  async update<K extends Kind>(kind: K, object: Resource<K>): Promise<Resource<K>> {
    return this.#one(kind, await this.#requests.put(kind, object))
  }

  async updateStatus<K extends Kind>(kind: K, object: Resource<K>): Promise<Resource<K>> {
    const form = kinds[kind].status ? { subresource: 'status' as const } : {}
    return this.#one(kind, await this.#requests.put(kind, object, form))
  }

  async patch<K extends Kind>(
    kind: K,
    name: string,
    patch: unknown,
    { namespace, subresource, applyAs, strategic }: PatchOptions = {},
  ): Promise<Resource<K>> {
    const query = applyAs === undefined ? undefined : { fieldManager: applyAs, force: 'true' }
    const type = applyAs !== undefined ? 'apply' : strategic ? 'strategic' : 'merge'
    return this.#one(kind, await this.#requests.patch(kind, { name, namespace }, patch, type, { query, subresource }))
  }

  async delete<K extends Kind>(
    kind: K,
    name: string,
    { namespace, ...conditions }: { namespace?: string; uid?: string; resourceVersion?: string } = {},
  ): Promise<void> {
    await this.#requests.delete(kind, { name, namespace }, conditions)
  }

  watch<K extends Kind>(kind: K, handlers: WatchHandlers<K>, options: WatchOptions<K> = {}): Watch {
    const { fields = true } = options
    const isSelected = options.labelSelector !== undefined || options.fieldSelector !== undefined
    let selected: Selected | undefined
    const source: WatchSource<Resource<K>> = {
      fields: isCustom(kind) && isSelected ? true : wireFields(kind, fields),
      ...(options.mayBeAbsent === true && { mayBeAbsent: true }),
      list: async () => {
        const seen = new Selected(await this.#requests.wire(kind), options)
        const { refused, ...list } = await this.#listAll(kind, options, fields, seen)
        selected = seen
        handlers.refused?.({ type: 'sync', objects: refused })
        return list
      },
      open: async resourceVersion => {
        const wire = await this.#requests.wire(kind)
        if (selected === undefined && wire.needsList(options))
          throw new Gone(`a watch of ${wire.plural} begins with a list`)
        selected ??= new Selected(wire, options)
        const query = watchQuery(wire, options, resourceVersion)
        query.set('timeoutSeconds', String(Math.ceil(WATCH_SECONDS * (1 + Math.random()))))
        const { namespace } = options
        return this.#connection.open({
          method: 'GET',
          path: wire.path({ namespace }),
          query,
          ...accept(fields, 'object'),
        })
      },
      read: (object, told) => {
        const decoded = selected!.wire.incoming(object)
        const type = selected!.typeOf(told, object, decoded.object)
        if (type === undefined) return undefined
        const part = pickFields(decoded.object, fields)
        if (type === 'set' && isHeld(part, options)) return undefined
        const { item, refused } = this.#readable(kind, { ...decoded, object: part })
        if (refused !== undefined) handlers.refused?.({ type, object: refused })
        return item === undefined ? undefined : { type, item }
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
    selected?: Selected,
  ): Promise<{ items: Resource<K>[]; refused: RefusedObject[]; resourceVersion: string }> {
    for (let attempt = 1; ; attempt++) {
      let version = ''
      try {
        const all: Resource<K>[] = []
        const refused: RefusedObject[] = []
        const seen = selected ?? new Selected(await this.#requests.wire(kind), options)
        seen.begin()
        for await (const page of this.#pages(kind, options, fields, seen)) {
          for (const item of page.items) all.push(item)
          for (const each of page.refused) refused.push(each)
          version = page.resourceVersion
        }
        return { items: seen.withoutOlder(all), refused, resourceVersion: version }
      } catch (error) {
        // the first page's version was forgotten before the last page was asked for; without a first page a server is sick
        if (!(error instanceof Gone)) throw error
        if (attempt === LIST_ATTEMPTS || version === '') throw new Unreachable(error.message, { cause: error })
      }
    }
  }

  async *#pages<K extends Kind>(
    kind: K,
    options: ListOptions,
    fields: Fields,
    selected?: Selected,
  ): AsyncGenerator<{ items: Resource<K>[]; refused: RefusedObject[]; resourceVersion: string }> {
    const wire = await this.#requests.wire(kind)
    const seen = selected ?? new Selected(wire, options)
    const { query, matches } = wire.selection(options)
    const form = matches === undefined ? accept(fields, 'list') : {}
    for (let next: string | undefined; ; ) {
      const page = await this.#page(wire, { namespace: options.namespace, query, ...form }, next)
      const items: Resource<K>[] = []
      const refused: RefusedObject[] = []
      for (const object of page.items) {
        const decoded = wire.incoming(object)
        if (seen.typeOf('set', object, decoded.object) !== 'set') continue
        const result = this.#readable(kind, { ...decoded, object: pickFields(decoded.object, fields) })
        if (result.refused === undefined) items.push(result.item)
        else refused.push(result.refused)
      }
      next = page.next
      yield { items, refused, resourceVersion: page.resourceVersion }
      if (next === undefined) return
    }
  }

  async #page(
    wire: Wire,
    { namespace, query: selection, accept }: { namespace?: string; query: Record<string, string>; accept?: string },
    next: string | undefined,
  ): Promise<Page> {
    const query = pageQuery(selection, accept === undefined ? PAGE : METADATA_PAGE, next)
    const path = wire.path({ namespace })
    return pageOf(await this.#connection.call({ method: 'GET', path, query, accept }), wire.plural)
  }

  #one<K extends Kind>(kind: K, { object, problem }: Incoming): Resource<K> {
    const result = checkedObject(kind, object, problem)
    if (Array.isArray(result))
      throw new Refused(422, `the server holds a ${kind} that is invalid: ${formatProblems(result)}`)
    return result
  }

  /** An invalid object is left out, and the log says which one and why; the others are returned. */
  #readable<K extends Kind>(kind: K, { object, problem }: Incoming): ReturnType<typeof readObject<K>> {
    const result = readObject(kind, object, problem)
    if (result.refused !== undefined)
      this.#log.warn({ kind, ...result.refused }, 'an invalid object is left out: correct or delete it')
    return result
  }
}

/** Whether the caller holds an object of that name with the same content. `part` has only `fields`. */
function isHeld<K extends Kind>(part: unknown, { fields = true, held }: WatchOptions<K>): boolean {
  if (held === undefined || !isObject(part) || !isObject(part['metadata'])) return false
  const { name, namespace } = part['metadata']
  const before = held(String(name), namespace === undefined ? undefined : String(namespace))
  // validation may have filled in what the fields leave out again
  return before !== undefined && sameJson(pickFields(before, fields), part)
}

/** What is asked of the server where `fields` are of the metadata alone. */
function accept(fields: Fields, what: 'list' | 'object'): { accept?: string } {
  const isMetadata = fields !== true && Object.keys(fields).every(field => field === 'metadata')
  return isMetadata ? { accept: METADATA_ALONE[what] } : {}
}
