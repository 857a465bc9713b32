// The addresses of this node's tunnel devices: taken from IPAM when a device is needed for the first time, tried again
// while IPAM refuses, and kept from then on: devices must not come and go with routes. After a restart what IPAM holds is
// taken at once: without its address in the Node object the other nodes would drop their way to this one. An address of a pool that
// is disabled or deleted, or is not for tunnels of this node any more, makes room for one of another pool: else no pool could be
// emptied. Hazard: an address of IPv6 is the source of packets as soon as it is on its device, so other nodes know the way to its block before,
// and one to which no tunnel leads any more is given up, also where there is no other; of IPv4 they ask for it themselves, to have
// a way to any block.
import { broken, type Condition, type ObjectRef } from '../api/status.ts'
import type { Allocator, Assigned, AssignRefusal, AssignRequest } from '../ipam/port.ts'
import { type TunnelKind, tunnelRequest } from '../ipam/tunnel.ts'
import { Backoff } from '../lib/backoff.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { DatabaseError } from '../lib/database.ts'
import type { Log } from '../lib/log.ts'

export type TunnelAddressesDeps = {
  nodeName: string
  /** Those that this object looks after. */
  kinds: readonly TunnelKind[]
  allocator: Pick<Allocator, 'assign' | 'held' | 'isServed' | 'isCarried' | 'rename' | 'release'>
  log: Log
  clock: Clock
  /** Resolves once other nodes have a route to a block, or are not waited for any more. Absent: an address is used before. */
  reached?: (cidr: string) => Promise<void>
  /** The addresses changed, or what is wrong with them. */
  changed: () => void
}

const FULL: readonly AssignRefusal['refused'][] = ['exhausted', 'block-limit']

/** How long nobody gets an address that a tunnel had: by then this kernel and the other nodes know of the new one. */
const LEAVE_MS = 30_000
/** How soon an address of another pool is asked for again: that one of these has room is told by nobody. */
const MOVE_AGAIN_MS = 60_000

export class TunnelAddresses {
  readonly #deps: TunnelAddressesDeps
  readonly #backoff = new Backoff({ firstMs: 250, maxMs: 10_000 })
  readonly #addresses: { [K in TunnelKind]?: string } = {}
  #needed: Readonly<Partial<Record<TunnelKind, boolean>>> = {}
  #refused: readonly Condition[] = []
  #running = false
  #again = false
  #moving: Promise<void> = Promise.resolve()
  #cancelMove: Cancel = () => undefined
  /** What is held for a while, by handle. */
  readonly #leaving = new Map<string, Cancel>()
  /** What is held and not used before other nodes know the way there, by handle. */
  readonly #coming = new Set<string>()
  #closed = false
  #cancel: Cancel = () => undefined

  constructor(deps: TunnelAddressesDeps) {
    this.#deps = deps
    const held = deps.allocator.held()
    for (const kind of deps.kinds) {
      const [assigned] = held.get(tunnelRequest(kind, deps.nodeName).handle) ?? []
      if (assigned !== undefined) this.#addresses[kind] = assigned.address
    }
    this.#releaseLeft()
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
  need(needed: Readonly<Partial<Record<TunnelKind, boolean>>>): void {
    const { kinds } = this.#deps
    if (kinds.every(kind => needed[kind] === this.#needed[kind])) return // asked already, or it waits to be asked again
    this.#needed = needed
    if (kinds.some(kind => needed[kind] && this.#addresses[kind] === undefined)) void this.#assign()
    else if (this.#refused.length > 0) {
      this.#refused = []
      this.#deps.changed()
    }
  }

  /** What was refused may be given now: pools, reservations or blocks changed. Their pools may be for tunnels no longer. */
  retryNow(): void {
    if (this.#refused.length > 0 && !this.#running) void this.#assign()
    this.#moveSoon()
  }

  close(): void {
    this.#closed = true
    this.#cancel()
    this.#cancelMove()
    for (const cancel of this.#leaving.values()) cancel()
  }

  async #moveAll(): Promise<void> {
    const { kinds, allocator, nodeName, log, clock, changed } = this.#deps
    this.#cancelMove()
    this.#releaseLeft()
    for (const kind of kinds) {
      const request = tunnelRequest(kind, nodeName)
      const misleads = () => kind === 'vxlanV6' && !allocator.isCarried(request)
      if (this.#closed || this.#addresses[kind] === undefined) continue
      if (allocator.isServed(request) && !misleads()) continue
      const failure = await this.#move(kind, request)
      if (this.#closed) return
      if (failure === undefined || (misleads() && this.#giveUp(kind, request, failure))) {
        changed()
        continue
      }
      log.warn({ tunnel: kind, address: this.#addresses[kind] }, `a tunnel keeps its address for now: ${failure}`)
      this.#cancelMove = clock.after(MOVE_AGAIN_MS, () => this.#moveSoon())
    }
  }

  #moveSoon(): void {
    this.#moving = this.#moving.then(() => this.#moveAll())
  }

  /** Gives a tunnel an address of another pool, or says why not. The one that it had is held for a while by another handle. */
  async #move(kind: TunnelKind, request: AssignRequest): Promise<string | undefined> {
    const { allocator, nodeName, log } = this.#deps
    const { before, next } = moveHandles(kind, nodeName)
    try {
      const assigned = await this.#obtain(next, request)
      if ('refused' in assigned) return assigned.message
      if (this.#closed) return undefined
      const handles = [
        [request.handle, before],
        [next, request.handle],
      ] as const
      allocator.rename(new Map(handles))
      const { address } = assigned[0]!
      log.info({ tunnel: kind, address, before: this.#addresses[kind] }, 'a tunnel has an address of another pool')
      this.#addresses[kind] = address
      this.#releaseLater(before)
      return undefined
    } catch (error) {
      if (!(error instanceof DatabaseError)) throw error
      return `the journal cannot be written: ${error.message}`
    }
  }

  /** Goes without an address under which no answer comes, and asks for one that is better while it is needed. Whether it could. */
  #giveUp(kind: TunnelKind, { handle }: AssignRequest, why: string): boolean {
    const { allocator, nodeName, log } = this.#deps
    const { before } = moveHandles(kind, nodeName)
    try {
      allocator.rename(new Map([[handle, before]]))
    } catch (error) {
      if (!(error instanceof DatabaseError)) throw error
      return false
    }
    log.warn({ tunnel: kind, address: this.#addresses[kind] }, `a tunnel has no address any more: ${why}`)
    delete this.#addresses[kind]
    this.#releaseLater(before)
    if (this.#needed[kind]) void this.#assign()
    return true
  }

  /** What an earlier agent was at when it ended: its blocks may come from the API server. */
  #releaseLeft(): void {
    const { kinds, allocator, nodeName } = this.#deps
    const held = allocator.held()
    for (const kind of kinds)
      for (const handle of Object.values(moveHandles(kind, nodeName)))
        if (held.has(handle) && !this.#leaving.has(handle) && !this.#coming.has(handle)) this.#releaseLater(handle)
  }

  #releaseLater(handle: string): void {
    const { allocator, clock, log } = this.#deps
    this.#leaving.get(handle)?.()
    const cancel = clock.after(LEAVE_MS, () => {
      this.#leaving.delete(handle)
      allocator.release(handle).catch(error => {
        if (!(error instanceof DatabaseError)) throw error
        log.error({ err: error, handle }, 'an address that a tunnel had cannot be released: the next start does it')
      })
    })
    this.#leaving.set(handle, cancel)
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
    for (const kind of this.#deps.kinds) {
      if (!this.#needed[kind] || this.#addresses[kind] !== undefined) continue
      const assigned = await this.#ask(kind)
      if (!('refused' in assigned)) this.#addresses[kind] = assigned[0]!.address
      // the need may have gone while IPAM was asked
      else if (this.#needed[kind]) refused.push(noAddress(kind, this.#deps.nodeName, assigned))
    }
    if (this.#closed) return
    this.#cancel()
    if (refused.length > 0) this.#cancel = clock.after(this.#backoff.next(), () => void this.#assign())
    else this.#backoff.reset()
    this.#refused = refused
  }

  async #ask(kind: TunnelKind): Promise<readonly Assigned[] | Pick<AssignRefusal, 'refused' | 'message' | 'remedy'>> {
    const { allocator, nodeName } = this.#deps
    const request = tunnelRequest(kind, nodeName)
    try {
      if (kind === 'vxlanV6') return await this.#askReached(request, moveHandles(kind, nodeName).next)
      const answer = await allocator.assign(request)
      if (!('refused' in answer) || !FULL.includes(answer.refused)) return answer
      // better one of a pool without encapsulation than no way to other nodes
      const other = await allocator.assign({ ...request, tunnel: undefined })
      return 'refused' in other ? answer : other
    } catch (error) {
      if (!(error instanceof DatabaseError)) throw error
      const message = `the address cannot be journaled: ${error.message}`
      return { refused: 'unreachable', message, remedy: 'check the disk of the data directory' }
    }
  }

  /** The address of a request that is used once other nodes know the way there; until then `next` holds it. */
  async #askReached(request: AssignRequest, next: string): Promise<readonly Assigned[] | AssignRefusal> {
    const { allocator } = this.#deps
    // of an earlier run whose journal was lost: the API server told of it
    const held = allocator.held().get(request.handle)
    if (held !== undefined) return held
    const answer = await this.#obtain(next, request)
    if (!('refused' in answer) && !this.#closed) allocator.rename(new Map([[next, request.handle]]))
    return answer
  }

  /** Has IPAM give the handle `next` what is asked for, and waits until other nodes know the way there. */
  async #obtain(next: string, request: AssignRequest): Promise<readonly Assigned[] | AssignRefusal> {
    const { allocator, reached } = this.#deps
    this.#leaving.get(next)?.()
    this.#leaving.delete(next)
    this.#coming.add(next)
    try {
      const answer = await allocator.assign({ ...request, handle: next })
      if (!('refused' in answer)) await reached?.(answer[0]!.block)
      return answer
    } finally {
      this.#coming.delete(next)
    }
  }
}

/** Who holds the address that a tunnel had, and the one that it gets, while it gets it. */
function moveHandles(kind: TunnelKind, node: string): { before: string; next: string } {
  const { handle } = tunnelRequest(kind, node)
  return { before: `${handle}.before`, next: `${handle}.next` }
}

function noAddress(
  kind: TunnelKind,
  node: string,
  { message, remedy }: { message: string; remedy: string },
): Condition {
  const { object, what } = {
    ipip: { object: { kind: 'Link', name: 'tunl0' }, what: 'tunl0' },
    vxlan: { object: { kind: 'Link', name: 'vxlan.calico' }, what: 'vxlan.calico' },
    // one address for both devices
    vxlanV6: { object: { kind: 'Node', name: node }, what: 'IPv6 of VXLAN, for what this node itself begins to pods' },
  }[kind] as { object: ObjectRef; what: string }
  return broken('TunnelsAddressed', { reason: 'NoTunnelAddress', message: `${what}: ${message}`, remedy, object })
}
