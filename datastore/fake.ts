// The port in memory, for tests of the rooms above: the same answers as a server, with a switch to take it away. Events
// arrive asynchronously, as over a network; `settled` waits for them.
import { randomUUID } from 'node:crypto'
import { emitJson, parseJson, sameJson } from '../api/json.ts'
import { type Kind, kinds, type Resource } from '../api/kinds.ts'
import { type AnyObject, born, dying, isReleased, replaced } from '../api/lifecycle.ts'
import { parseFieldSelector, parseLabelSelector } from '../api/list-selectors.ts'
import { mergePatch } from '../api/merge-patch.ts'
import { strategicMerge } from '../api/strategic-merge.ts'
import { formatProblems, validate } from '../api/validate.ts'
import { pickFields } from './fields.ts'
import {
  type AnyKind,
  Conflict,
  type ListOptions,
  NotFound,
  type PatchOptions,
  Refused,
  type Store,
  Unreachable,
  type Watch,
  type WatchHandlers,
  type WatchOptions,
} from './port.ts'
import { readObject } from './readable.ts'

export type FakeStore = Store & {
  /** Every call fails with Unreachable and watches fall silent, until `reconnect`; then they sync anew. */
  disconnect(): void
  reconnect(): void
  /** Forgets all changes so far: a watch from an older version gets a `sync`, as after a 410 of a server. */
  compact(): void
  /** Writes an object that no check has seen, as somebody can with a server that checks less. */
  inject(kind: Kind, object: { metadata: { name: string; namespace?: string } } & Record<string, unknown>): void
  /** These objects are gone as after a restore from an older backup: no event tells it, and every watch gets a `sync`. */
  forget(lost: readonly (readonly [kind: Kind, name: string])[]): void
  /** Resolves when every event so far was delivered. */
  settled(): Promise<void>
}

type Watcher = {
  kind: Kind
  matches: (object: AnyObject) => boolean
  handlers: WatchHandlers<Kind>
  options: WatchOptions<Kind>
}

type StoreChange = { kind: Kind; before: AnyObject | undefined; after: AnyObject | undefined; version: number }

/** An empty store. Unlike a server it does not ask for a Namespace object before it takes a namespaced one. */
export function createFakeStore(): FakeStore {
  const objects = new Map<string, AnyObject>()
  const watchers = new Set<Watcher>()
  let history: StoreChange[] = []
  let version = 0
  let oldest = 0
  let connected = true
  let closed = false

  const keyOf = (kind: Kind, name: string, namespace = ''): string => `${kind}/${namespace}/${name}`
  const copy = <T>(value: T): T => parseJson(emitJson(value)) as T

  const reach = async (): Promise<void> => {
    await Promise.resolve()
    if (closed || !connected) throw new Unreachable('the store is disconnected')
  }
  const stored = (kind: Kind, name: string, namespace?: string): AnyObject => {
    const object = objects.get(keyOf(kind, name, namespace))
    if (object === undefined) throw new NotFound(`${kind} ${name} not found`)
    return object
  }
  const checked = (kind: Kind, object: unknown): AnyObject => {
    const valid = validate(kind, copy(object))
    if (Array.isArray(valid)) throw new Refused(422, `${kind} is invalid: ${formatProblems(valid)}`)
    return valid as AnyObject
  }
  const served = ({ group, version, plural }: AnyKind): Kind => {
    const row = Object.entries(kinds).find(([, each]) => each.plural === plural && each.group === group)
    if (row === undefined || row[1].version !== version) throw new NotFound(`no ${plural} of ${group}/${version} here`)
    return row[0] as Kind
  }
  const of = (kind: Kind, matches: Watcher['matches']): AnyObject[] =>
    [...objects].filter(([key, object]) => key.startsWith(`${kind}/`) && matches(object)).map(([, object]) => object)

  const deliver = (watcher: Watcher, send: () => void): void =>
    queueMicrotask(() => {
      if (watchers.has(watcher)) send()
    })
  const sync = (watcher: Watcher): void => {
    const seen = of(watcher.kind, watcher.matches).map(object => seenBy(watcher, object))
    const items = seen.flatMap(({ item }) => (item === undefined ? [] : [item]))
    const objects = seen.flatMap(({ refused }) => (refused === undefined ? [] : [refused]))
    const resourceVersion = String(version)
    deliver(watcher, () => {
      watcher.handlers.refused?.({ type: 'sync', objects })
      watcher.handlers.event({ type: 'sync', items, resourceVersion })
      watcher.handlers.version?.(resourceVersion)
      watcher.handlers.connection?.({ connected: true })
    })
  }
  const seenBy = ({ kind, options }: Watcher, object: AnyObject): ReturnType<typeof readObject<Kind>> =>
    readObject(kind, copy(pickFields(object, options.fields ?? true)))
  const resume = (watcher: Watcher, since: number): void => {
    deliver(watcher, () => watcher.handlers.connection?.({ connected: true }))
    for (const change of history) if (change.version > since) tell(watcher, change)
  }
  const tell = (watcher: Watcher, { kind, before, after, version: at }: StoreChange): void => {
    if (watcher.kind !== kind) return
    const { matches, handlers, options } = watcher
    const was = before !== undefined && matches(before)
    const type = after !== undefined && matches(after) ? 'set' : 'gone'
    if (type === 'gone' && !was) return
    const { item, refused } = seenBy(watcher, (after ?? before)!)
    deliver(watcher, () => {
      if (item === undefined) {
        handlers.refused?.({ type, object: refused })
        handlers.version?.(String(at))
        return
      }
      const held = options.held?.(item.metadata.name, item.metadata.namespace)
      if (type === 'gone' || held === undefined || !sameJson(held, item)) handlers.event({ type, item })
      handlers.version?.(String(at))
    })
  }
  const lost = (watcher: Watcher): void =>
    deliver(watcher, () =>
      watcher.handlers.connection?.({ connected: false, cause: new Unreachable('the store is disconnected') }),
    )
  const announce = (kind: Kind, before: AnyObject | undefined, after: AnyObject | undefined): void => {
    const change = { kind, before, after, version }
    history.push(change)
    if (connected) for (const watcher of watchers) tell(watcher, change)
  }
  const put = (kind: Kind, before: AnyObject | undefined, object: AnyObject): AnyObject => {
    const { name, namespace } = object.metadata
    const after = { ...object, metadata: { ...object.metadata, resourceVersion: String(++version) } }
    if (isReleased(after)) {
      objects.delete(keyOf(kind, name, namespace))
      announce(kind, before, undefined)
    } else {
      objects.set(keyOf(kind, name, namespace), after)
      announce(kind, before, after)
    }
    return copy(after)
  }
  const write = (kind: Kind, object: AnyObject, subresource?: 'status'): AnyObject => {
    const next = checked(kind, object)
    const before = stored(kind, next.metadata.name, next.metadata.namespace)
    const { resourceVersion, uid } = next.metadata
    if (resourceVersion !== undefined && resourceVersion !== before.metadata.resourceVersion)
      throw new Conflict(`${kind} ${next.metadata.name} has been modified: read it again`)
    if (uid !== undefined && uid !== before.metadata.uid)
      throw new Conflict(`${kind} ${next.metadata.name} is another object of that name`)
    const after = replaced(kind, before, next, subresource)
    return after === before ? copy(before) : put(kind, before, after)
  }

  return {
    async apiGroup() {
      await reach()
      return 'v3'
    },
    async get<K extends Kind>(kind: K, name: string, namespace?: string) {
      await reach()
      return copy(stored(kind, name, namespace)) as Resource<K>
    },
    async list<K extends Kind>(kind: K, options: ListOptions = {}) {
      await reach()
      return copy(of(kind, selectorOf(options))) as Resource<K>[]
    },
    async *pages<K extends Kind>(kind: K, options: ListOptions = {}) {
      await reach()
      yield copy(of(kind, selectorOf(options))) as Resource<K>[]
    },
    async count(kind) {
      await reach()
      const found = of(served(kind), () => true)
      const [first] = found
      if (first === undefined) return undefined
      const { name, namespace } = first.metadata
      return { count: found.length, atLeast: false, name, ...(namespace !== undefined && { namespace }) }
    },
    async writeAny(kind, object) {
      await reach()
      await this.create(served(kind), object as never)
    },
    async create<K extends Kind>(kind: K, object: Resource<K>) {
      await reach()
      const next = checked(kind, object)
      const { name, namespace } = next.metadata
      if (objects.has(keyOf(kind, name, namespace))) throw new Conflict(`${kind} ${name} already exists`)
      const birth = { uid: randomUUID(), now: new Date().toISOString().replace(/\.\d+Z$/, 'Z') }
      return put(kind, undefined, born(kind, next, birth)) as Resource<K>
    },
    async update<K extends Kind>(kind: K, object: Resource<K>) {
      await reach()
      return write(kind, object as AnyObject) as Resource<K>
    },
    async updateStatus<K extends Kind>(kind: K, object: Resource<K>) {
      await reach()
      return write(kind, object as AnyObject, 'status') as Resource<K>
    },
    async patch<K extends Kind>(
      kind: K,
      name: string,
      patch: unknown,
      { namespace, subresource, applyAs, strategic }: PatchOptions = {},
    ) {
      await reach()
      // who owns a field is the server's business: here an apply is a merge, or a create
      if (applyAs !== undefined && !objects.has(keyOf(kind, name, namespace)))
        return this.create(kind, patch as Resource<K>)
      const before = stored(kind, name, namespace)
      const merge = strategic ? strategicMerge : mergePatch
      return write(kind, merge(before, copy(patch)) as AnyObject, subresource) as Resource<K>
    },
    async delete(kind, name, { namespace, uid, resourceVersion } = {}) {
      await reach()
      const before = stored(kind, name, namespace)
      const { metadata } = before
      if (uid !== undefined && uid !== metadata.uid)
        throw new Conflict(`${kind} ${name} is another object of that name`)
      if (resourceVersion !== undefined && resourceVersion !== metadata.resourceVersion)
        throw new Conflict(`${kind} ${name} has been modified: read it again`)
      const after = dying(before, new Date().toISOString())
      if (after === before) return
      if (after !== undefined) {
        put(kind, before, after)
        return
      }
      objects.delete(keyOf(kind, name, namespace))
      version++
      announce(kind, { ...before, metadata: { ...metadata, resourceVersion: String(version) } }, undefined)
    },
    watch<K extends Kind>(kind: K, handlers: WatchHandlers<K>, options: WatchOptions<K> = {}): Watch {
      const watcher = { kind, matches: selectorOf(options), handlers, options } as unknown as Watcher
      watchers.add(watcher)
      const since = options.since === undefined ? undefined : Number(options.since)
      if (!connected) lost(watcher)
      else if (since === undefined || since < oldest || since > version) sync(watcher)
      else resume(watcher, since)
      return { close: () => void watchers.delete(watcher), hurry: () => undefined }
    },
    dropConnections() {},
    retryNow() {},
    async close() {
      closed = true
      watchers.clear()
    },
    disconnect() {
      if (!connected) return
      connected = false
      for (const watcher of watchers) lost(watcher)
    },
    reconnect() {
      if (connected) return
      connected = true
      for (const watcher of watchers) sync(watcher)
    },
    compact() {
      history = []
      oldest = version
    },
    inject(kind, object) {
      const { name, namespace } = object.metadata
      const before = objects.get(keyOf(kind, name, namespace))
      put(kind, before, copy(object) as unknown as AnyObject)
    },
    forget(lost) {
      for (const [kind, name] of lost) objects.delete(keyOf(kind, name))
      history = []
      oldest = ++version
      if (connected) for (const watcher of watchers) sync(watcher)
    },
    async settled() {
      await new Promise(resolve => setImmediate(resolve))
    },
  }
}

function selectorOf({
  namespace,
  labelSelector = '',
  fieldSelector = '',
}: ListOptions): (object: AnyObject) => boolean {
  const byLabel = parseLabelSelector(labelSelector)
  const byField = parseFieldSelector(fieldSelector)
  return object =>
    (namespace === undefined || object.metadata.namespace === namespace) && byLabel(object) && byField(object)
}
