// The addresses of this node's tunnel devices: taken from IPAM when a device is needed for the first time, tried again
// while IPAM refuses, and kept from then on: devices must not come and go with routes. After a restart what IPAM holds is
// taken at once: without its address in the Node object the other nodes would drop their way to this one.
import { broken, type Condition } from '../api/status.ts'
import type { Allocator, Assigned, AssignRefusal } from '../ipam/port.ts'
import { tunnelRequest } from '../ipam/tunnel.ts'
import { Backoff } from '../lib/backoff.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { DatabaseError } from '../lib/database.ts'

type TunnelKind = 'ipip' | 'vxlan'

export type TunnelAddressesDeps = {
  nodeName: string
  allocator: Pick<Allocator, 'assign' | 'held'>
  clock: Clock
  /** The addresses changed, or what is wrong with them. */
  changed: () => void
}

const KINDS: readonly TunnelKind[] = ['ipip', 'vxlan']

export class TunnelAddresses {
  readonly #deps: TunnelAddressesDeps
  readonly #backoff = new Backoff({ firstMs: 250, maxMs: 10_000 })
  readonly #addresses: { [K in TunnelKind]?: string } = {}
  #needed: Readonly<Record<TunnelKind, boolean>> = { ipip: false, vxlan: false }
  #refused: readonly Condition[] = []
  #running = false
  #again = false
  #closed = false
  #cancel: Cancel = () => undefined

  constructor(deps: TunnelAddressesDeps) {
    this.#deps = deps
    const held = deps.allocator.held()
    for (const kind of KINDS) {
      const [assigned] = held.get(tunnelRequest(kind, deps.nodeName).handle) ?? []
      if (assigned !== undefined) this.#addresses[kind] = assigned.address
    }
  }

  get addresses(): Readonly<{ [K in TunnelKind]?: string }> {
    return { ...this.#addresses }
  }

  /** Whether IPAM has not answered yet for a tunnel that is needed; `changed` is called when it has. */
  get asking(): boolean {
    return this.#running
  }

  /** Tunnels that are needed and have no address, and why. */
  refused(): readonly Condition[] {
    return this.#refused
  }

  /** Which tunnels this node needs now. What is missing is asked for, in the background. */
  need(needed: Readonly<Record<TunnelKind, boolean>>): void {
    if (KINDS.every(kind => needed[kind] === this.#needed[kind])) return // asked already, or it waits to be asked again
    this.#needed = needed
    if (KINDS.some(kind => needed[kind] && this.#addresses[kind] === undefined)) void this.#assign()
    else if (this.#refused.length > 0) {
      this.#refused = []
      this.#deps.changed()
    }
  }

  /** What was refused may be given now: pools, reservations or blocks changed. */
  retryNow(): void {
    if (this.#refused.length > 0 && !this.#running) void this.#assign()
  }

  close(): void {
    this.#closed = true
    this.#cancel()
  }

  async #assign(): Promise<void> {
    this.#cancel()
    this.#again = true
    if (this.#running) return
    this.#running = true
    while (this.#again && !this.#closed) {
      this.#again = false
      await this.#assignOnce()
    }
    this.#running = false
    if (!this.#closed) this.#deps.changed()
  }

  async #assignOnce(): Promise<void> {
    const { clock } = this.#deps
    const refused: Condition[] = []
    for (const kind of KINDS) {
      if (!this.#needed[kind] || this.#addresses[kind] !== undefined) continue
      const assigned = await this.#ask(kind)
      if (!('refused' in assigned)) this.#addresses[kind] = assigned[0]!.address
      // the need may have gone while IPAM was asked
      else if (this.#needed[kind]) refused.push(noAddress(kind, assigned))
    }
    if (this.#closed) return
    this.#cancel()
    if (refused.length > 0) this.#cancel = clock.after(this.#backoff.next(), () => void this.#assign())
    else this.#backoff.reset()
    this.#refused = refused
  }

  async #ask(kind: TunnelKind): Promise<readonly Assigned[] | Pick<AssignRefusal, 'refused' | 'message' | 'remedy'>> {
    try {
      return await this.#deps.allocator.assign(tunnelRequest(kind, this.#deps.nodeName))
    } catch (error) {
      if (!(error instanceof DatabaseError)) throw error
      const message = `the address cannot be journaled: ${error.message}`
      return { refused: 'unreachable', message, remedy: 'check the disk of the data directory' }
    }
  }
}

function noAddress(kind: TunnelKind, { message, remedy }: { message: string; remedy: string }): Condition {
  const object = { kind: 'Link', name: kind === 'ipip' ? 'tunl0' : 'vxlan.calico' } as const
  return broken('TunnelsAddressed', {
    reason: 'NoTunnelAddress',
    message: `${object.name}: ${message}`,
    remedy,
    object,
  })
}
