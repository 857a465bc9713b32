// Small constructors of resources for the tests of this room and of the API server.
import type { Kind, Resource } from '../../api/kinds.ts'
import { validate } from '../../api/validate.ts'
import type { Store, Watch, WatchEvent, WatchOptions } from '../../datastore/port.ts'
import { ANSWER_MS } from '../slowness.ts'

/** A valid resource of a kind from what a person would write. */
export function aResource<K extends Kind>(kind: K, object: unknown): Resource<K> {
  const result = validate(kind, object)
  if (Array.isArray(result)) throw new Error(`not a ${kind}: ${JSON.stringify(result)}`)
  return result
}

export function aPool(name: string, spec: object = {}, metadata: object = {}): Resource<'IPPool'> {
  return aResource('IPPool', { metadata: { name, ...metadata }, spec: { cidr: '10.244.0.0/16', ...spec } })
}

/** A pool in a range of its own: a server refuses pools that overlap. */
export function aPoolAt(n: number, name: string, metadata: object = {}): Resource<'IPPool'> {
  return aPool(name, { cidr: `10.${n >> 8}.${n & 255}.0/24` }, metadata)
}

export function aPod(name: string, spec: object = {}, metadata: object = {}): Resource<'Pod'> {
  return aResource('Pod', { metadata: { name, namespace: 'default', ...metadata }, spec })
}

export function aNode(name: string, metadata: object = {}): Resource<'Node'> {
  return aResource('Node', { metadata: { name, ...metadata }, spec: {} })
}

export function aBlock(cidr: string, spec: object = {}): Resource<'IPAMBlock'> {
  const empty = { cidr, affinity: 'host:n1', allocations: [null, null], unallocated: [0, 1], attributes: [] }
  return aResource('IPAMBlock', { metadata: { name: cidr.replace(/[.:/]/g, '-') }, spec: { ...empty, ...spec } })
}

/** What a watch has told so far, and a way to wait for more of it. */
export class Recorded<K extends Kind> {
  readonly events: WatchEvent<K>[] = []
  readonly connections: boolean[] = []
  readonly versions: string[] = []
  readonly watch: Watch
  #waiting: (() => void)[] = []

  constructor(store: Store, kind: K, options: WatchOptions<K> = {}) {
    const wake = (): void => {
      for (const resolve of this.#waiting.splice(0)) resolve()
    }
    const handlers = {
      event: (event: WatchEvent<K>) => {
        this.events.push(event)
        wake()
      },
      version: (version: string) => {
        this.versions.push(version)
        wake()
      },
      connection: ({ connected }: { connected: boolean }) => {
        this.connections.push(connected)
        wake()
      },
    }
    this.watch = store.watch(kind, handlers, options)
  }

  /** Each event in one line: `sync a,b`, `set a`, `gone a`. */
  lines(): string[] {
    return this.events.map(event =>
      event.type === 'sync'
        ? `sync ${event.items
            .map(({ metadata }) => metadata.name)
            .sort()
            .join(',')}`
        : `${event.type} ${event.item.metadata.name}`,
    )
  }

  /** The objects as a client that follows the events knows them, by name. */
  state(): Map<string, Resource<K>> {
    const state = new Map<string, Resource<K>>()
    for (const event of this.events)
      if (event.type === 'sync') {
        state.clear()
        for (const item of event.items) state.set(item.metadata.name, item)
      } else if (event.type === 'set') state.set(event.item.metadata.name, event.item)
      else state.delete(event.item.metadata.name)
    return state
  }

  /** Resolves when `condition` holds after some event; rejects with what was seen after `deadlineMs`. */
  async until(condition: (seen: this) => boolean, deadlineMs = ANSWER_MS): Promise<void> {
    const deadline = Promise.withResolvers<never>()
    const timer = setTimeout(() => deadline.reject(new Error(`only saw: ${this.lines().join('; ')}`)), deadlineMs)
    try {
      while (!condition(this)) {
        const next = new Promise<void>(resolve => this.#waiting.push(resolve))
        await Promise.race([next, deadline.promise])
      }
    } finally {
      clearTimeout(timer)
    }
  }
}
