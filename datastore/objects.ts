// Objects as a server has them, for the command line: not validated, so that one that is not valid can be seen, put right
// and deleted, and without defaults, so that what people read is what is there. `apiVersion` and `kind` are kept.

import type { ApiGroup } from '../api/api-group.ts'
import { MOST_DEPTH, withoutTooDeep } from '../api/depth.ts'
import { apiVersion, type Kind, kindName, kinds } from '../api/kinds.ts'
import type { AnyObject } from '../api/lifecycle.ts'
import { isObject } from '../api/merge-patch.ts'
import { depthProblem, formatProblems } from '../api/validate.ts'
import { systemClock } from '../lib/clock.ts'
import { ApiConnection, type ConnectionOptions } from './connection.ts'
import { pageOf, pageQuery, watchQuery } from './lists.ts'
import { type ListOptions, NotFound, Refused, Unreachable, type Watch } from './port.ts'
import { type PatchType, Requests, type RequestsOptions, type WriteForm } from './requests.ts'
import { Selected } from './selected.ts'
import { startWatch, type WatchSource } from './watch.ts'
import type { Incoming } from './wire.ts'

/** `dryRun`: the server checks and answers, and keeps nothing. */
export type WriteOptions = { namespace?: string; dryRun?: boolean; subresource?: 'status' }

/** All methods reject with the four classes of the port. */
export type Objects = {
  /** In which of Calico's API groups the server has its resources. */
  apiGroup(): Promise<ApiGroup>
  get(kind: Kind, name: string, namespace?: string): Promise<AnyObject>
  list(kind: Kind, options?: ListOptions): Promise<AnyObject[]>
  /** All of a kind, or Refused where one of them cannot be read whole: a copy of it would lack something. */
  listWhole(kind: Kind): Promise<AnyObject[]>
  create(kind: Kind, object: AnyObject, options?: WriteOptions): Promise<AnyObject>
  /** Over the version that the object names; over the current one when it names none. Refused where that one cannot be read whole. */
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

/** Opens a connection. Throws when no server is named. */
export function openObjects(options: ConnectionOptions & ObjectsOptions): Objects {
  return new KubeObjects(new ApiConnection(options), options)
}

type ObjectsOptions = RequestsOptions & {
  /** Noted beside the fields that it writes. */
  manager: string
  /** Hears of each object that is given without something that could not be read. */
  warn?: (text: string) => void
}

class KubeObjects implements Objects {
  readonly #connection: ApiConnection
  readonly #requests: Requests
  readonly #manager: string
  readonly #warn: (text: string) => void

  constructor(connection: ApiConnection, { manager, warn = () => {}, ...options }: ObjectsOptions) {
    this.#connection = connection
    this.#requests = new Requests(connection, options)
    this.#manager = manager
    this.#warn = warn
  }

  apiGroup(): Promise<ApiGroup> {
    return this.#requests.apiGroup()
  }

  async get(kind: Kind, name: string, namespace?: string): Promise<AnyObject> {
    return this.#shown(kind, await this.#requests.get(kind, { name, namespace }))
  }

  async list(kind: Kind, options: ListOptions = {}): Promise<AnyObject[]> {
    return (await this.#list(kind, options)).items
  }

  async listWhole(kind: Kind): Promise<AnyObject[]> {
    return (await this.#list(kind, {}, { refuses: true })).items
  }

  async create(kind: Kind, object: AnyObject, options: WriteOptions = {}): Promise<AnyObject> {
    return this.#shown(kind, await this.#requests.create(kind, object, this.#form(options)))
  }

  async replace(kind: Kind, object: AnyObject, options: WriteOptions = {}): Promise<AnyObject> {
    // without a version the current object is read before it is written over, and so judged
    if (object.metadata.resourceVersion !== undefined) await this.#checkWhole(kind, object)
    return this.#shown(kind, await this.#requests.put(kind, object, this.#form(options)))
  }

  async patch(
    kind: Kind,
    name: string,
    patch: unknown,
    type: PatchType,
    options: WriteOptions = {},
  ): Promise<AnyObject> {
    const { query, subresource } = this.#form(options)
    const form = { query: type === 'apply' ? { ...query, force: 'true' } : query, subresource }
    return this.#shown(
      kind,
      await this.#requests.patch(kind, { name, namespace: options.namespace }, patch, type, form),
    )
  }

  async delete(kind: Kind, name: string, { namespace, dryRun }: WriteOptions = {}): Promise<void> {
    await this.#requests.delete(kind, { name, namespace }, { dryRun })
  }

  watch(kind: Kind, tell: Parameters<Objects['watch']>[1], options: ListOptions = {}): Watch {
    let selected: Selected | undefined
    const source: WatchSource<AnyObject> = {
      fields: true,
      list: async () => {
        selected = new Selected(await this.#requests.wire(kind), options)
        return this.#list(kind, options, { given: selected })
      },
      open: async resourceVersion => {
        const wire = await this.#requests.wire(kind)
        const query = watchQuery(wire, options, resourceVersion)
        return this.#connection.open({ method: 'GET', path: wire.path({ namespace: options.namespace }), query })
      },
      read: (stored, told) => {
        const incoming = selected!.wire.incoming(stored)
        const type = selected!.typeOf(told, stored, incoming.object)
        return type === undefined ? undefined : { type, item: this.#shown(kind, incoming) }
      },
    }
    return startWatch(source, { event: tell }, { clock: systemClock })
  }

  read(path: string): Promise<unknown> {
    return this.#requests.call({ method: 'GET', ...divided(path) })
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

  async #list(
    kind: Kind,
    options: ListOptions,
    { given, refuses = false }: { given?: Selected; refuses?: boolean } = {},
  ): Promise<{ items: AnyObject[]; resourceVersion: string }> {
    const wire = await this.#requests.wire(kind)
    const selected = given ?? new Selected(wire, options)
    const path = wire.path({ namespace: options.namespace })
    const selection = wire.selection(options).query
    const items: AnyObject[] = []
    for (let next: string | undefined; ; ) {
      const query = pageQuery(selection, PAGE, next)
      const page = pageOf(await this.#requests.call({ method: 'GET', path, query }), wire.plural)
      for (const item of page.items) {
        const incoming = wire.incoming(item)
        if (selected.typeOf('set', item, incoming.object) !== 'set') continue
        const problem = refuses ? problemOf(kind, incoming) : undefined
        if (problem !== undefined) throw new Refused(422, problem)
        items.push(this.#shown(kind, incoming))
      }
      next = page.next
      if (next === undefined) return { items: selected.withoutOlder(items), resourceVersion: page.resourceVersion }
    }
  }

  #shown(kind: Kind, incoming: Incoming): AnyObject {
    const problem = problemOf(kind, incoming)
    if (problem !== undefined) this.#warn(problem)
    return objectOf(kind, incoming)
  }

  /** What was read of an object that could not be read whole lacks something: written back, that would be lost. */
  async #checkWhole(kind: Kind, { metadata: { name, namespace } }: AnyObject): Promise<void> {
    let now: Incoming
    try {
      now = await this.#requests.get(kind, { name, namespace })
    } catch (error) {
      if (error instanceof NotFound) return
      throw error
    }
    const problem = problemOf(kind, now)
    if (problem !== undefined) throw new Refused(422, problem)
  }

  #form({ dryRun, subresource }: WriteOptions): WriteForm {
    return { query: { fieldManager: this.#manager, ...(dryRun && { dryRun: 'All' }) }, subresource }
  }
}

function divided(path: string): { path: string; query: URLSearchParams } {
  const [before = '', query = ''] = path.split('?')
  return { path: before, query: new URLSearchParams(query) }
}

/** What of an object is not in what is shown of it. */
function problemOf(kind: Kind, { object, problem }: Incoming): string | undefined {
  const tooDeep = depthProblem(object)
  if (problem === undefined && tooDeep === undefined) return undefined
  const metadata = isObject(object) && isObject(object['metadata']) ? object['metadata'] : {}
  const why =
    problem === undefined
      ? `${formatProblems([tooDeep!])}: what lies deeper is left out`
      : `${problem}: labels and annotations may be left out. Correct or delete the annotation`
  return `${kind} ${String(metadata['name'])}: ${why}`
}

/** A v3 object, also where it cannot be used; of one that is nested too deep what can be shown. Items of a list have neither `apiVersion` nor `kind`. */
function objectOf(kind: Kind, { object }: Incoming): AnyObject {
  const shown = withoutTooDeep(object, MOST_DEPTH)
  if (isObject(shown) && isObject(shown['metadata']))
    return { apiVersion: apiVersion(kinds[kind]), kind: kindName(kind), ...(shown as AnyObject) }
  throw new Unreachable(`the answer for a ${kind} is no object: is this an API server?`)
}
