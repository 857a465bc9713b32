// Keeps one HostEndpoint for each Node, and those of templates, as the KubeControllersConfiguration asks (`auto-host-endpoints.ts`).
// Ours are those with Calico's label `created-by`; another object under such a name is left alone and told. Hazards: an old view of the
// Nodes, so a Node is asked for once more before its HostEndpoint goes; two of these programs at once, so each change
// names the version that it was made for; nothing is made or deleted while nobody knows what is wanted.
import { sameJson } from '../api/json.ts'
import type { Resource } from '../api/kinds.ts'
import {
  Conflict,
  NotFound,
  Refused,
  type Store,
  type StoreError,
  type Watch,
  type WatchEvent,
} from '../datastore/port.ts'
import type { Log } from '../lib/log.ts'
import {
  type HostEndpointSettings,
  isAutoHostEndpoint,
  NODE_FIELDS,
  wantedHostEndpoints,
} from './auto-host-endpoints.ts'

type HostEndpoint = Resource<'HostEndpoint'>

export type HostEndpointsDeps = {
  store: Store
  log: Log
  /** Undefined while it cannot be told what people want, and where there is no object that says it. */
  settings(): HostEndpointSettings | undefined
  /** A Node, or a HostEndpoint, is another one than the last run saw. */
  changed(): void
}

/** Why a HostEndpoint that is wanted is not there as it should be. */
export type UnmadeHostEndpoint = {
  name: string
  node: string
  because: 'foreign' | 'name' | 'refused'
  error?: StoreError
}

/** How soon one that was not made is tried again where no event tells that it can be. */
const RETRY_MS = 60_000
/** A change that somebody was quicker than, or a watch that lags. */
const SOON_MS = 10_000
const DONE_MS = 3_600_000
/** Nodes that change one after the other share a run. */
const REST_MS = 2_000
/** What an API server answers to an object that breaks its rules. */
const UNPROCESSABLE = 422

export class HostEndpoints {
  readonly name = 'host endpoints'
  readonly restMs = REST_MS
  readonly #deps: HostEndpointsDeps
  readonly #nodes = new Map<string, Resource<'Node'>>()
  readonly #there = new Map<string, HostEndpoint>()
  /** Open while HostEndpoints are wanted: nobody else pays for the watch of whole Nodes. */
  #watches: readonly Watch[] = []
  #synced = { nodes: false, endpoints: false }
  #unmade: readonly UnmadeHostEndpoint[] = []
  /** What was logged already. */
  #said = new Set<string>()

  constructor(deps: HostEndpointsDeps) {
    this.#deps = deps
  }

  close(): void {
    for (const watch of this.#watches) watch.close()
    this.#watches = []
    this.#synced = { nodes: false, endpoints: false }
    this.#nodes.clear()
    this.#there.clear()
  }

  /** HostEndpoints that are wanted and were not made, as the last run found. */
  get unmade(): readonly UnmadeHostEndpoint[] {
    return this.#unmade
  }

  /** Makes, changes and deletes what is to be. Resolves with the time until the next run. Rejects as the store. */
  async run(): Promise<number> {
    const settings = this.#deps.settings()
    if (settings === undefined) return DONE_MS // a change of it is told
    if (settings.autoCreate === 'Enabled') return this.#keep(settings)
    this.close()
    this.#unmade = []
    this.#said.clear()
    return this.#removeAll()
  }

  async #removeAll(): Promise<number> {
    const { store } = this.#deps
    let ours: HostEndpoint[] = []
    try {
      for await (const page of store.pages('HostEndpoint')) ours = ours.concat(page.filter(isAutoHostEndpoint))
    } catch (error) {
      if (error instanceof NotFound) return DONE_MS // a cluster without the kind has none
      throw error
    }
    let isWhole = true
    for (const each of ours) isWhole = (await this.#remove(each)) && isWhole
    return isWhole ? DONE_MS : SOON_MS
  }

  async #keep(settings: HostEndpointSettings): Promise<number> {
    this.#open()
    const { nodes, endpoints } = this.#synced
    // a cluster without any Node is one that lost them, or none yet
    if (!nodes || !endpoints || this.#nodes.size === 0) return SOON_MS
    const { wanted, clashes } = wantedHostEndpoints(this.#nodes.values(), settings)
    const unmade: UnmadeHostEndpoint[] = clashes.map(each => ({ ...each, because: 'name' }))
    let nextMs = DONE_MS
    for (const endpoint of wanted.values()) {
      const result = await this.#write(endpoint)
      if (result === 'later') nextMs = SOON_MS
      else if (result !== 'done') unmade.push(result)
    }
    for (const [name, endpoint] of [...this.#there])
      if (!wanted.has(name) && isAutoHostEndpoint(endpoint) && !(await this.#removeUnwanted(endpoint, settings)))
        nextMs = SOON_MS
    this.#tell(unmade)
    return unmade.length > 0 ? Math.min(nextMs, RETRY_MS) : nextMs
  }

  #open(): void {
    if (this.#watches.length > 0) return
    const { store } = this.#deps
    const nodes = (event: WatchEvent<'Node'>) => this.#follow(event, this.#nodes, 'nodes')
    const endpoints = (event: WatchEvent<'HostEndpoint'>) => this.#follow(event, this.#there, 'endpoints')
    this.#watches = [
      store.watch('Node', { event: nodes }, { fields: NODE_FIELDS, held: name => this.#nodes.get(name) }),
      store.watch('HostEndpoint', { event: endpoints }),
    ]
  }

  #follow<K extends 'Node' | 'HostEndpoint'>(
    event: WatchEvent<K>,
    held: Map<string, Resource<K>>,
    which: 'nodes' | 'endpoints',
  ): void {
    if (event.type === 'sync') {
      held.clear()
      this.#synced[which] = true
      for (const item of event.items) held.set(item.metadata.name, item)
    } else if (event.type === 'set') held.set(event.item.metadata.name, event.item)
    else held.delete(event.item.metadata.name)
    this.#deps.changed()
  }

  /** Makes one, or makes one of ours what it should be. */
  async #write(wanted: HostEndpoint): Promise<'done' | 'later' | UnmadeHostEndpoint> {
    const { store, log } = this.#deps
    const { name } = wanted.metadata
    const found = this.#there.get(name)
    const { node } = wanted.spec as { node: string }
    if (found !== undefined && !isAutoHostEndpoint(found)) return { name, node, because: 'foreign' }
    if (found !== undefined && isDying(found)) return 'later'
    if (found !== undefined && isAs(found, wanted)) return 'done'
    try {
      const written =
        found === undefined
          ? await store.create('HostEndpoint', wanted)
          : await store.update('HostEndpoint', asWanted(found, wanted))
      this.#there.set(name, written)
      log.info(
        { hostEndpoint: name, node },
        found === undefined ? 'a HostEndpoint is made' : 'a HostEndpoint is changed',
      )
      return 'done'
    } catch (error) {
      if (error instanceof Conflict) return 'later' // the watch will show who was quicker
      if (error instanceof NotFound && found !== undefined) return 'later'
      if (error instanceof Refused && error.status === UNPROCESSABLE) return { name, node, because: 'refused', error }
      throw error
    }
  }

  /** Whether it is gone, or is to stay. False where the Nodes that were seen are not those that there are. */
  async #removeUnwanted(endpoint: HostEndpoint, settings: HostEndpointSettings): Promise<boolean> {
    const { node } = endpoint.spec as { node?: unknown }
    if (typeof node === 'string' && !this.#nodes.has(node)) {
      const item = await this.#nodeNow(node)
      if (item !== undefined && wantedHostEndpoints([item], settings).wanted.has(endpoint.metadata.name)) return false
    }
    return this.#remove(endpoint)
  }

  async #nodeNow(name: string): Promise<Resource<'Node'> | undefined> {
    const { store } = this.#deps
    try {
      return await store.get('Node', name)
    } catch (error) {
      if (error instanceof NotFound) return undefined
      throw error
    }
  }

  /** Whether it is gone. False where it changed meanwhile. */
  async #remove({ metadata }: HostEndpoint): Promise<boolean> {
    const { store, log } = this.#deps
    const { name, uid, resourceVersion } = metadata
    if (isDying({ metadata })) return true // its finalizers are others' business
    try {
      await store.delete('HostEndpoint', name, { uid, resourceVersion })
      log.info({ hostEndpoint: name }, 'a HostEndpoint that is not wanted any more is deleted')
    } catch (error) {
      if (error instanceof Conflict) return false
      if (!(error instanceof NotFound)) throw error
    }
    this.#there.delete(name)
    return true
  }

  #tell(unmade: readonly UnmadeHostEndpoint[]): void {
    const { log } = this.#deps
    this.#unmade = unmade
    const now = new Set(unmade.map(({ name, node, because }) => `${because} ${name} ${node}`))
    for (const { name, node, because, error } of unmade)
      if (!this.#said.has(`${because} ${name} ${node}`))
        log.warn({ hostEndpoint: name, node, because, err: error }, 'a HostEndpoint is not made')
    this.#said = now
  }
}

function isDying({ metadata }: Pick<HostEndpoint, 'metadata'>): boolean {
  return metadata.deletionTimestamp !== undefined
}

/** Labels, annotations and spec are ours as a whole: what somebody adds to them is taken out. */
function asWanted(found: HostEndpoint, { metadata: { labels, annotations }, spec }: HostEndpoint): HostEndpoint {
  return { ...found, metadata: { ...found.metadata, labels, annotations }, spec }
}

function isAs(found: HostEndpoint, wanted: HostEndpoint): boolean {
  const { labels = {}, annotations = {} } = found.metadata
  const { metadata, spec } = wanted
  return sameJson(labels, metadata.labels) && sameJson(annotations, metadata.annotations) && sameJson(found.spec, spec)
}
