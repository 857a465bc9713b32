// The pod interfaces of this node, in the node's database. A row is on disk before the interface is created, so that DEL and
// GC find what a crash leaves behind.
import { PROBE_INTERFACE } from '../kernel/pod-interface.ts'
import { type Database, DatabaseError, transaction } from '../lib/database.ts'
import type { Whom } from './limiter.ts'
import type { Attachment, PodName } from './request.ts'

export type PodEndpoint = {
  /** `<network>/<containerID>/<ifname>`, see `endpointId`. */
  id: string
  /**
   * The network's name in the CNI configuration: the same container and interface in another network is another
   * endpoint. '' while nobody has said whose an adopted interface is; `containerID` is then the interface's name.
   */
  network: string
  containerID: string
  /** Pod side, usually `eth0`. */
  ifname: string
  /** Host side, `cali…`. */
  interfaceName: string
  /** Path of the pod's network namespace when ADD was called. */
  netns: string
  /** The path that the runtime gave, where `netns` is the name that the plugin mounted it under (`pins.ts`). */
  sandbox?: string
  /** Canonical addresses without length. */
  addresses: readonly string[]
  /** MAC of the pod side. */
  mac: string
  /** Bytes, on both sides. */
  mtu: number
  /** The MTU is the node's and follows it. Absent: it is from the CNI configuration, or an earlier version wrote the row. */
  followsNodeMtu?: true
  /** Of the routes in the pod, where another interface had the default route first. */
  routeMetric?: number
  /** The plugin that gave the addresses in our place, and what it said of name servers. */
  delegate?: { type: string; dns?: Readonly<Record<string, unknown>> }
  /** The allocator's key. */
  handle: string
  pod?: PodName
  /** The journal had lost it: the row was made from what the kernel has (`adopt.ts`). */
  adopted?: true
  /** Of an adopted interface that nobody has named yet: the handle that it was made for, by its alias in the kernel. */
  madeFor?: string
  /** Milliseconds since the Unix epoch. */
  createdMs: number
}

/** `gone` is told before the interface is deleted, so that felix does not repair it. */
export type EndpointChange = { type: 'set'; endpoint: PodEndpoint } | { type: 'gone'; endpoint: PodEndpoint }

/** ADDs that are remembered between their two requests. One that another plugin takes too long for is not there any more. */
const MOST_BETWEEN = 1_000

export class EndpointStore {
  readonly #db: Database
  readonly #rows = new Map<string, PodEndpoint>()
  /** Under which id an earlier version wrote a row: without the network. */
  readonly #oldIds = new Map<string, string>()
  /** Rows that are gone in memory, and that the disk could not be told of. */
  readonly #undeleted = new Set<string>()
  readonly #leaving = new Set<string>()
  readonly #expected = new Set<string>()
  readonly #untilDel = new Map<string, Set<() => void>>()
  /** Endpoints whose ADD is to come again, the latest last, and whether a DEL came since. */
  readonly #between = new Map<string, boolean>()
  readonly #listeners = new Set<(change: EndpointChange) => void>()

  constructor(db: Database) {
    this.#db = db
    db.exec('CREATE TABLE IF NOT EXISTS cni_endpoints (id TEXT PRIMARY KEY, endpoint TEXT NOT NULL) STRICT')
    for (const row of db.prepare('SELECT endpoint FROM cni_endpoints ORDER BY rowid').all()) {
      const read = JSON.parse(String(row['endpoint'])) as PodEndpoint
      const id = endpointId(read.network, read)
      if (id !== read.id) this.#oldIds.set(id, read.id)
      this.#rows.set(id, { ...read, id })
    }
  }

  /** Every row, also of interfaces that are being deleted. */
  all(): PodEndpoint[] {
    return [...this.#rows.values()]
  }

  /** Rows of interfaces that should work now. */
  live(): PodEndpoint[] {
    return this.all().filter(({ id }) => !this.#leaving.has(id))
  }

  get(network: string, attachment: Attachment): PodEndpoint | undefined {
    return this.#rows.get(endpointId(network, attachment))
  }

  byInterface(interfaceName: string): PodEndpoint | undefined {
    return this.all().find(endpoint => endpoint.interfaceName === interfaceName)
  }

  /** Marks a handle, or an interface, as used by a running ADD until disposed: it may be there before it has a row. */
  expect(name: string): Disposable {
    this.#expected.add(name)
    return { [Symbol.dispose]: () => void this.#expected.delete(name) }
  }

  /** Resolves when a DEL of the endpoint `id` comes: for an ADD that waits without its lock. Until disposed. */
  untilAbandoned(id: string): Disposable & { promise: Promise<void> } {
    const { promise, resolve } = Promise.withResolvers<void>()
    const all = this.#untilDel.get(id) ?? new Set()
    this.#untilDel.set(id, all.add(resolve))
    const dispose = (): void => {
      all.delete(resolve)
      if (all.size === 0) this.#untilDel.delete(id)
    }
    return { promise, [Symbol.dispose]: dispose }
  }

  /** ADD of the endpoint `id` made nothing, and is to come again with what another plugin gave. */
  expectAgain(id: string): void {
    this.#between.delete(id)
    this.#between.set(id, false)
    const [oldest] = this.#between.keys()
    if (this.#between.size > MOST_BETWEEN) this.#between.delete(oldest!)
  }

  /** Whether a DEL came since then. */
  isOvertaken(id: string): boolean {
    return this.#between.get(id) === true
  }

  /** A DEL came: ADDs of this endpoint that still wait, or that are to come again, must not go on. */
  abandon(id: string): void {
    if (this.#between.has(id)) this.#between.set(id, true)
    for (const resolve of this.#untilDel.get(id) ?? []) resolve()
  }

  /** Whom a request is about; its row may say of which pod it is. */
  whomOf(network: string, asked: Attachment & { pod?: PodName | undefined }): Whom {
    return () => whom({ containerID: asked.containerID, pod: this.get(network, asked)?.pod ?? asked.pod })()
  }

  /** Whether a running ADD makes an interface on the host. */
  isExpected(interfaceName: string): boolean {
    return this.#expected.has(interfaceName)
  }

  /** Whether an interface on the host has a row, a running ADD makes it, or it is that of probes. */
  knowsInterface(interfaceName: string): boolean {
    if (interfaceName === PROBE_INTERFACE) return true
    return this.isExpected(interfaceName) || this.byInterface(interfaceName) !== undefined
  }

  /** Whether a row or a running ADD uses a handle. */
  knows(handle: string): boolean {
    return this.#expected.has(handle) || this.all().some(endpoint => endpoint.handle === handle)
  }

  /** Writes a row to the disk only, so that it can be part of a larger transaction. Call `publish` after the commit. */
  persist(endpoint: PodEndpoint): void {
    this.#undeleted.delete(endpoint.id)
    transaction(this.#db, () => {
      this.deletePersisted(endpoint.id)
      this.#db
        .prepare('INSERT OR REPLACE INTO cni_endpoints (id, endpoint) VALUES (?, ?)')
        .run(endpoint.id, JSON.stringify(endpoint))
    })
  }

  /** Takes a persisted row into memory and tells the listeners. */
  publish(endpoint: PodEndpoint): void {
    this.#rows.set(endpoint.id, endpoint)
    this.#leaving.delete(endpoint.id)
    this.#tell({ type: 'set', endpoint })
  }

  /** Puts `endpoint` in the place of the row `id`: the same interface under another identity. */
  rename(id: string, endpoint: PodEndpoint): void {
    transaction(this.#db, () => {
      this.deletePersisted(id)
      this.persist(endpoint)
    })
    this.publish(endpoint)
    this.unpublish(id)
  }

  /** Tells the listeners that the interface will be removed now. The row stays until `delete`. */
  markLeaving(id: string): void {
    const endpoint = this.#rows.get(id)
    if (endpoint === undefined || this.#leaving.has(id)) return
    this.#leaving.add(id)
    this.#tell({ type: 'gone', endpoint })
  }

  /** Removes a row from disk and memory; with a full disk from memory now. An unknown row is fine. */
  delete(id: string): void {
    try {
      this.deletePersisted(id)
    } catch (error) {
      if (!(error instanceof DatabaseError)) throw error
      this.deleteLater(id)
    }
    this.unpublish(id)
  }

  /** Removes a row from the disk only, so that it can be part of a larger transaction. Call `unpublish` after the commit. */
  deletePersisted(id: string): void {
    transaction(this.#db, () => {
      const statement = this.#db.prepare('DELETE FROM cni_endpoints WHERE id IN (?, ?)')
      for (const gone of [id, ...this.#undeleted]) statement.run(gone, this.#oldIds.get(gone) ?? gone)
    })
    if (!this.#db.isTransaction) this.#undeleted.clear()
  }

  /** The row `id` is to be deleted with the next write, since the disk refuses it now. */
  deleteLater(id: string): void {
    this.#undeleted.add(id)
  }

  /** Removes a row from memory, after `deletePersisted`. */
  unpublish(id: string): void {
    this.markLeaving(id)
    this.#rows.delete(id)
    this.#leaving.delete(id)
  }

  onChange(listen: (change: EndpointChange) => void): () => void {
    this.#listeners.add(listen)
    return () => this.#listeners.delete(listen)
  }

  #tell(change: EndpointChange): void {
    for (const listen of this.#listeners) listen(change)
  }
}

/** Whom work on an endpoint is about: its container, and its pod, since two sandboxes of one pod share the interface name. */
export function whom({ containerID, pod }: Pick<PodEndpoint, 'containerID' | 'pod'>): Whom {
  const keys = pod === undefined ? [containerID] : [containerID, `${pod.namespace}/${pod.name}`]
  return () => keys
}

/** The key of an endpoint: none of its parts holds a slash. */
export function endpointId(network: string, { containerID, ifname }: Attachment): string {
  return `${network}/${containerID}/${ifname}`
}
