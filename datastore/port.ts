// The datastore as the rooms see it: typed resources, compare-and-swap by resourceVersion, and watches that never
// stop. The Kubernetes client's own types end in `datastore/kube.ts`.
import type { ApiGroup } from '../api/api-group.ts'
import type { Kind, Resource } from '../api/kinds.ts'
import type { RefusedObject } from '../api/validate.ts'

/** The object is not there. */
export class NotFound extends Error {
  override readonly name = 'NotFound'
}

/** The object changed since it was read (409): read it again. Also: create of a name that exists. */
export class Conflict extends Error {
  override readonly name = 'Conflict'
}

/** The server understood and refused: 422 invalid, 403 forbidden, 401 unauthorised. `status` is the HTTP code. */
export class Refused extends Error {
  override readonly name = 'Refused'
  readonly status: number
  constructor(status: number, message: string, options?: ErrorOptions) {
    super(message, options)
    this.status = status
  }
}

/** No answer from the server: connection refused, timed out, 5xx or 429, whose code is `status`. Worth trying again later. */
export class Unreachable extends Error {
  override readonly name = 'Unreachable'
  readonly status: number | undefined
  constructor(message?: string, { status, ...options }: ErrorOptions & { status?: number } = {}) {
    super(message, options)
    this.status = status
  }
}

/** One of the four classes that every method of a store rejects with: an answer, or none, of the server. */
export type StoreError = NotFound | Conflict | Refused | Unreachable

/** Whether an error came from the server or the way to it. Everything else is a fault of this program. */
export function isStoreError(error: unknown): error is StoreError {
  return [NotFound, Conflict, Refused, Unreachable].some(known => error instanceof known)
}

/**
 * `storedName`: where a server cannot select by `fieldSelector` (the stored form), only the object of this name is asked for,
 * and not all of them; so who makes objects for such a reader names them so.
 */
export type ListOptions = { namespace?: string; labelSelector?: string; fieldSelector?: string; storedName?: string }

/** Which fields of an object somebody uses: `true` is a field with all that is in it. Of a list, those of its items. */
export type Fields = true | { readonly [field: string]: Fields }

export type WatchOptions<K extends Kind> = ListOptions & {
  /** Goes on after this version without a list. A server that no longer has it is listed, and a `sync` follows. */
  since?: string
  /** Whether a server may be without the kind: while it is, it is asked for as rarely as every ten minutes. */
  mayBeAbsent?: boolean
  /** Fields to keep; the others are dropped before the object is validated. Absent: all. */
  fields?: Fields
  /**
   * What the caller holds under a name. An event whose `fields` are the same as that is not validated and not told:
   * only `version` moves on.
   */
  held?(name: string, namespace: string | undefined): Resource<K> | undefined
}

/**
 * The whole current state first and after every gap, then single changes in the order of the server. With `since` the
 * changes after that version come first.
 */
export type WatchEvent<K extends Kind> =
  | { type: 'sync'; items: Resource<K>[]; resourceVersion: string }
  | { type: 'set'; item: Resource<K> }
  | { type: 'gone'; item: Resource<K> }

/** Objects that are not valid, which are never told as events. Before a `sync` all objects of the list that are not valid; then each that becomes so, or goes while it is so. */
export type RefusedEvent =
  | { type: 'sync'; objects: RefusedObject[] }
  | { type: 'set'; object: RefusedObject }
  | { type: 'gone'; object: RefusedObject }

export type WatchHandlers<K extends Kind> = {
  event(event: WatchEvent<K>): void
  /** Objects that are not valid, and why. Without this handler the log alone has them. */
  refused?(event: RefusedEvent): void
  /** Everything up to this version was told: a later watch can go on from here. Called after the event it belongs to. */
  version?(resourceVersion: string): void
  /** The server went away (with the cause) or is back. The watch goes on trying by itself in either case. */
  connection?(state: { connected: boolean; cause?: Error }): void
}

export type Watch = {
  close(): void
  /** Ends a pause between two attempts: what they failed by may be over. */
  hurry(): void
}

/** A kind of any API group, also one that `api/kinds.ts` does not have. */
export type AnyKind = { group: string; version: string; plural: string }

/** What is written of an object; its name says which one. */
export type AnyWrite = { metadata: { name: string; namespace?: string }; [field: string]: unknown }

/** How many objects there are, and one of them. `atLeast`: the server did not say how many more. */
export type ObjectCount = { count: number; atLeast: boolean; name: string; namespace?: string }

/**
 * `subresource: 'status'` where only that may be written. `applyAs`: the patch is what this manager wants to own.
 * `strategic`: lists of a core kind merge by their key, so that one condition is written and those of others stay.
 */
export type PatchOptions = { namespace?: string; subresource?: 'status'; applyAs?: string; strategic?: true }

/**
 * All methods reject with one of the four classes above. A read-modify-write keeps unknown fields and 64-bit integers
 * as they are (integers above 2^53 are `bigint` here).
 */
export type Store = {
  /** In which of Calico's API groups the server has its resources. Where it does not tell, `lastKnown` is taken for it. */
  apiGroup(lastKnown?: ApiGroup): Promise<ApiGroup>
  get<K extends Kind>(kind: K, name: string, namespace?: string): Promise<Resource<K>>
  list<K extends Kind>(kind: K, options?: ListOptions): Promise<Resource<K>[]>
  /** A list page by page, for a list that should not be in memory as a whole. An object may come twice when it changes meanwhile. */
  pages<K extends Kind>(kind: K, options?: ListOptions): AsyncIterable<Resource<K>[]>
  /** How many objects there are of a kind, in all namespaces, at the cost of one; undefined for none. Rejects with NotFound where it is not served. */
  count(kind: AnyKind): Promise<ObjectCount | undefined>
  /**
   * Makes an object of any kind. The answer is not read, nor is the object
   * checked here. Rejects with NotFound also where the kind is not served.
   */
  writeAny(kind: AnyKind & { kind: string }, object: AnyWrite): Promise<void>
  create<K extends Kind>(kind: K, object: Resource<K>): Promise<Resource<K>>
  /** Compare-and-swap on `metadata.resourceVersion`; without one the write is unconditional. */
  update<K extends Kind>(kind: K, object: Resource<K>): Promise<Resource<K>>
  updateStatus<K extends Kind>(kind: K, object: Resource<K>): Promise<Resource<K>>
  /** JSON merge patch (RFC 7386), strategic merge patch, or a server-side apply, which makes an object that is not there. */
  patch<K extends Kind>(kind: K, name: string, patch: unknown, options?: PatchOptions): Promise<Resource<K>>
  delete<K extends Kind>(
    kind: K,
    name: string,
    options?: { namespace?: string; uid?: string; resourceVersion?: string },
  ): Promise<void>
  watch<K extends Kind>(kind: K, handlers: WatchHandlers<K>, options?: WatchOptions<K>): Watch
  /**
   * This machine's address changed: over connections from an old one nothing is heard any more, and nobody says so. Calls
   * under way are rejected as unreachable, watches go on from their version over new connections.
   */
  dropConnections(): void
  /** The server, or the way to it, may be there again: no watch waits any longer for its next attempt. */
  retryNow(): void
  /** Ends every watch and connection. */
  close(): Promise<void>
}
