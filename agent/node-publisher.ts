// What this node tells the others through its Node object. A merge patch of single annotations: never a write of a
// whole decoded object, which would drop what somebody else put there.
import { NODE_ANNOTATION } from '../api/core.ts'
import type { Resource } from '../api/kinds.ts'
import { isStoreError, NotFound, type Store } from '../datastore/port.ts'
import { Backoff } from '../lib/backoff.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import type { Log } from '../lib/log.ts'

export type OwnFacts = {
  /** `address/length` on the uplink: peers resolve CrossSubnet by their own mask, people read ours. */
  ipv4: string
  /** The same for IPv6; absent: what the object says stays, since a person may have written it. */
  ipv6?: string
  ipipTunnelAddress?: string
  vxlanTunnelAddress?: string
  vxlanTunnelMac?: string
  /** When this node saw that another Node claims what it has; absent: nothing is said about it. */
  confirmed?: string
}

/** The annotations of `facts`; a fact that is absent is removed from the object. */
function factAnnotations(facts: OwnFacts): Record<string, string | null> {
  return {
    [NODE_ANNOTATION.ipv4Address]: facts.ipv4,
    ...(facts.ipv6 !== undefined && { [NODE_ANNOTATION.ipv6Address]: facts.ipv6 }),
    [NODE_ANNOTATION.ipipTunnelAddress]: facts.ipipTunnelAddress ?? null,
    [NODE_ANNOTATION.vxlanTunnelAddress]: facts.vxlanTunnelAddress ?? null,
    [NODE_ANNOTATION.vxlanTunnelMac]: facts.vxlanTunnelMac ?? null,
    ...(facts.confirmed !== undefined && { [NODE_ANNOTATION.addressConfirmed]: facts.confirmed }),
  }
}

/** Whether the object already says all of it: then no write is made. */
function says(node: Resource<'Node'> | undefined, wanted: Record<string, string | null>): boolean {
  const annotations = node?.metadata.annotations ?? {}
  return Object.entries(wanted).every(([key, value]) => (annotations[key] ?? null) === value)
}

/** Publishes the latest facts, trying for ever while the API server refuses or is away. */
export class NodePublisher {
  readonly #store: Store
  readonly #clock: Clock
  readonly #log: Log
  readonly #name: string
  readonly #backoff = new Backoff({ firstMs: 500, maxMs: 30_000 })
  #wanted: Record<string, string | null> = {}
  #busy = false
  #again = false
  #closed = false
  #cancel: Cancel = () => undefined

  constructor(name: string, deps: { store: Store; clock: Clock; log: Log }) {
    this.#name = name
    this.#store = deps.store
    this.#clock = deps.clock
    this.#log = deps.log
  }

  /** Wants the Node object to say `facts`; `seen` is the object as last watched. */
  want(facts: OwnFacts, seen: Resource<'Node'> | undefined): void {
    this.#wanted = factAnnotations(facts)
    if (!says(seen, this.#wanted)) void this.#publish()
  }

  close(): void {
    this.#closed = true
    this.#cancel()
  }

  async #publish(): Promise<void> {
    this.#again = true
    if (this.#busy) return
    this.#busy = true
    try {
      while (this.#again && !this.#closed) {
        this.#again = false
        await this.#store.patch(
          'Node',
          this.#name,
          { metadata: { annotations: this.#wanted } },
          { subresource: 'status' },
        )
        this.#backoff.reset()
      }
    } catch (error) {
      if (!isStoreError(error)) throw error
      const delayMs = this.#backoff.next()
      const remedy =
        error instanceof NotFound ? `create Node ${this.#name}, or start with the name of an existing one` : undefined
      this.#log.warn({ err: error, delayMs, remedy }, 'could not publish node addresses')
      this.#cancel()
      this.#cancel = this.#clock.after(delayMs, () => void this.#publish())
    } finally {
      this.#busy = false
    }
  }
}
