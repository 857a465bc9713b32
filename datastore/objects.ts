// Objects as a server has them, for the command line: not validated, so that one that is not valid can be seen, put right
// and deleted, and without defaults, so that what people read is what is there. `apiVersion` and `kind` are kept.

import { apiVersion, type Kind, kinds } from '../api/kinds.ts'
import type { AnyObject } from '../api/lifecycle.ts'
import { isObject } from '../api/merge-patch.ts'
import { systemClock } from '../lib/clock.ts'
import { ApiConnection, type ConnectionOptions, Gone } from './connection.ts'
import { pathOf, queryOf } from './paths.ts'
import { Conflict, type ListOptions, Unreachable, type Watch } from './port.ts'
import { startWatch } from './watch.ts'

/** How a patch is meant: RFC 7386, RFC 6902, Kubernetes' own with lists that merge, or what this manager wants to own. */
export type PatchType = 'merge' | 'json' | 'strategic' | 'apply'

/** `dryRun`: the server checks and answers, and keeps nothing. */
export type WriteOptions = { namespace?: string; dryRun?: boolean; subresource?: 'status' }

/** All methods reject with the four classes of the port. */
export type Objects = {
  get(kind: Kind, name: string, namespace?: string): Promise<AnyObject>
  list(kind: Kind, options?: ListOptions): Promise<AnyObject[]>
  create(kind: Kind, object: AnyObject, options?: WriteOptions): Promise<AnyObject>
  /** Over the version that the object names; over the current one when it names none. */
  replace(kind: Kind, object: AnyObject, options?: WriteOptions): Promise<AnyObject>
  patch(kind: Kind, name: string, patch: unknown, type: PatchType, options?: WriteOptions): Promise<AnyObject>
  delete(kind: Kind, name: string, options?: WriteOptions): Promise<void>
  /** All that is there, as `set`, then every change, until it is closed. */
  watch(
    kind: Kind,
    tell: (event: { type: 'sync'; items: AnyObject[] } | { type: 'set' | 'gone'; item: AnyObject }) => void,
    options?: ListOptions,
  ): Watch
  /** An answer that is no object, such as `/version`. */
  read(path: string): Promise<unknown>
  /** An answer that is no JSON, such as a log. */
  text(path: string): Promise<string>
  close(): void
}

const PAGE = 500
const REPLACE_ATTEMPTS = 5
const IDLE_MS = 150_000
const CONTENT_TYPES: Readonly<Record<PatchType, string>> = {
  merge: 'application/merge-patch+json',
  json: 'application/json-patch+json',
  strategic: 'application/strategic-merge-patch+json',
  apply: 'application/apply-patch+yaml',
}

/** Opens a connection; `manager` is noted beside the fields that it writes. Throws when no server is named. */
export function openObjects(options: ConnectionOptions & { manager: string }): Objects {
  return new KubeObjects(new ApiConnection(options), options.manager)
}

class KubeObjects implements Objects {
  readonly #connection: ApiConnection
  readonly #manager: string

  constructor(connection: ApiConnection, manager: string) {
    this.#connection = connection
    this.#manager = manager
  }

  async get(kind: Kind, name: string, namespace?: string): Promise<AnyObject> {
    return this.#object(kind, { method: 'GET', path: pathOf(kind, { name, namespace }) })
  }

  async list(kind: Kind, options: ListOptions = {}): Promise<AnyObject[]> {
    return (await this.#list(kind, options)).items
  }

  create(kind: Kind, object: AnyObject, options: WriteOptions = {}): Promise<AnyObject> {
    const path = pathOf(kind, { namespace: object.metadata.namespace })
    return this.#object(kind, { method: 'POST', path, query: this.#query(options), body: typed(kind, object) })
  }

  async replace(kind: Kind, object: AnyObject, options: WriteOptions = {}): Promise<AnyObject> {
    const { name, namespace, resourceVersion } = object.metadata
    const path = pathOf(kind, { name, namespace, subresource: options.subresource })
    for (let attempt = 1; ; attempt++) {
      // Kubernetes refuses a write to a custom resource without a version
      const version = resourceVersion ?? (await this.get(kind, name, namespace)).metadata.resourceVersion
      const body = typed(kind, { ...object, metadata: { ...object.metadata, resourceVersion: version } })
      try {
        return await this.#object(kind, { method: 'PUT', path, query: this.#query(options), body })
      } catch (error) {
        if (!(error instanceof Conflict) || resourceVersion !== undefined || attempt === REPLACE_ATTEMPTS) throw error
      }
    }
  }

  patch(kind: Kind, name: string, patch: unknown, type: PatchType, options: WriteOptions = {}): Promise<AnyObject> {
    const path = pathOf(kind, { name, namespace: options.namespace, subresource: options.subresource })
    const query = this.#query(options)
    if (type === 'apply') query.set('force', 'true')
    const body = type === 'apply' && isObject(patch) ? typed(kind, patch) : patch
    return this.#object(kind, { method: 'PATCH', path, query, body, contentType: CONTENT_TYPES[type] })
  }

  async delete(kind: Kind, name: string, { namespace, dryRun }: WriteOptions = {}): Promise<void> {
    const body = { kind: 'DeleteOptions', apiVersion: 'v1', propagationPolicy: 'Background' }
    const all = dryRun ? { ...body, dryRun: ['All'] } : body
    await this.#call({ method: 'DELETE', path: pathOf(kind, { name, namespace }), body: all })
  }

  watch(kind: Kind, tell: Parameters<Objects['watch']>[1], options: ListOptions = {}): Watch {
    const source = {
      fields: true as const,
      list: () => this.#list(kind, options),
      open: (resourceVersion: string) => {
        const query = queryOf(options)
        query.set('watch', 'true')
        query.set('allowWatchBookmarks', 'true')
        query.set('resourceVersion', resourceVersion)
        return this.#connection.open({ method: 'GET', path: pathOf(kind, options), query })
      },
      read: (object: unknown) => object as AnyObject,
    }
    return startWatch(source, { event: tell }, { clock: systemClock, idleMs: IDLE_MS })
  }

  read(path: string): Promise<unknown> {
    return this.#call({ method: 'GET', ...divided(path) })
  }

  async text(path: string): Promise<string> {
    const stream = await this.#connection.open({ method: 'GET', ...divided(path), accept: '*/*' })
    const pieces: Buffer[] = []
    await stream.each(piece => void pieces.push(piece))
    return Buffer.concat(pieces).toString()
  }

  close(): void {
    this.#connection.close()
  }

  async #list(kind: Kind, options: ListOptions): Promise<{ items: AnyObject[]; resourceVersion: string }> {
    const items: AnyObject[] = []
    for (let next = ''; ; ) {
      const query = queryOf(options)
      query.set('limit', String(PAGE))
      if (next !== '') query.set('continue', next)
      const body = await this.#call({ method: 'GET', path: pathOf(kind, options), query })
      if (!isObject(body) || !Array.isArray(body['items']) || !isObject(body['metadata']))
        throw new Unreachable(`the list of ${kinds[kind].plural} is no list: is this an API server?`)
      for (const item of body['items']) items.push(typed(kind, item as AnyObject))
      const { continue: token, resourceVersion } = body['metadata']
      if (typeof token !== 'string' || token === '') return { items, resourceVersion: String(resourceVersion) }
      next = token
    }
  }

  async #object(kind: Kind, call: Parameters<ApiConnection['call']>[0]): Promise<AnyObject> {
    const body = await this.#call(call)
    if (!isObject(body) || !isObject(body['metadata']))
      throw new Unreachable(`the answer for a ${kind} is no object: is this an API server?`)
    return typed(kind, body as AnyObject)
  }

  async #call(call: Parameters<ApiConnection['call']>[0]): Promise<unknown> {
    try {
      return await this.#connection.call(call)
    } catch (error) {
      throw error instanceof Gone ? new Conflict(error.message, { cause: error }) : error
    }
  }

  #query({ dryRun }: WriteOptions): URLSearchParams {
    return new URLSearchParams({ fieldManager: this.#manager, ...(dryRun ? { dryRun: 'All' } : {}) })
  }
}

function divided(path: string): { path: string; query: URLSearchParams } {
  const [before = '', query = ''] = path.split('?')
  return { path: before, query: new URLSearchParams(query) }
}

/** Items of a list have neither `apiVersion` nor `kind`. */
function typed<T extends object>(kind: Kind, object: T): T & { apiVersion: string; kind: string } {
  return { ...object, apiVersion: apiVersion(kinds[kind]), kind }
}
