// What the kernel still tracks of an address that changes hands: its entries are deleted when a pod has gone and when its block
// comes to this node, so that nobody rides on a connection that another pod's policies allowed. A walk of the kernel's table
// costs some 15 ms of the processor even where little is tracked. So DEL does not wait for one: those who go within a moment
// share it. And ADD makes one for an address only that nobody walked for since it was last in use: the packets to and from one
// that no pod has are dropped before they are tracked (the block's blackhole route, reverse path, walls of the pods). One walk
// serves all that ask while the one before is under way.

import type { OwnBlock } from '../ipam/port.ts'
import type { Flow } from '../kernel/port/conntrack.ts'
import { ERRNO, KernelError } from '../kernel/port/error.ts'
import type { Kernel } from '../kernel/port/kernel.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { addressAt } from '../lib/ip.ts'
import type { Log } from '../lib/log.ts'

/** So many entries are held in memory, and deleted before the walk begins again. */
const AT_ONCE = 4096
/** Of larger blocks each address has a walk when it is used first. */
const LARGEST_SWEPT = 4096
/** How long after the first of the pods that go the walk for them begins: while one pod after the other goes it has 5 % of a core. */
const GONE_MS = 250
/** More walks than a full table needs: somebody makes entries as fast as they are deleted. */
const MOST_WALKS = 512

type OldFlowsDeps = { kernel: Pick<Kernel, 'flowsOf' | 'deleteFlows'>; clock: Clock; log: Log }
type Batch = { addresses: Set<string>; done: Promise<void> }

export class OldFlows {
  readonly #deps: OldFlowsDeps
  #running: Promise<unknown> = Promise.resolve()
  #next: Batch | undefined
  #toldLacking = false
  /** Addresses that no pod has had since the last walk for them. */
  readonly #clean = new Set<string>()
  readonly #blocks = new Map<string, ReadonlySet<string>>()
  /** Those of pods that have gone, until the walk for them begins. */
  readonly #gone = new Set<string>()
  /** Those that walks are under way for, and that no pod got meanwhile. */
  readonly #swept = new Set<string>()
  #cancel: Cancel | undefined

  constructor(deps: OldFlowsDeps) {
    this.#deps = deps
  }

  /**
   * For addresses (in canonical text) that a pod is about to have: resolves when nothing is tracked of them. Rejects with
   * `KernelError`. A kernel that cannot list connections is told in the log once, and has none as far as anybody knows.
   */
  async prepare(addresses: readonly string[]): Promise<void> {
    const isClean = addresses.every(address => this.#clean.has(address))
    for (const address of addresses) {
      this.#clean.delete(address)
      this.#gone.delete(address)
      this.#swept.delete(address)
    }
    if (!isClean) await this.#forget(addresses)
  }

  /** For addresses whose pod has gone: what is tracked of them is deleted soon. Who gets one before that waits for it (`prepare`). */
  clear(addresses: readonly string[]): void {
    for (const address of addresses) this.#gone.add(address)
    this.#cancel ??= this.#deps.clock.after(GONE_MS, () => {
      this.#cancel = undefined
      const gone = [...this.#gone]
      this.#gone.clear()
      void this.#sweep(gone)
    })
  }

  /**
   * Takes in which blocks this node has, and walks once for the free addresses of those that came. `held`: those of pods. `lent`: those
   * that pods of other nodes have, with which pods here may talk.
   */
  async follow(
    blocks: readonly Pick<OwnBlock, 'cidr' | 'size'>[],
    held: ReadonlySet<string>,
    lent: readonly string[] = [],
  ): Promise<void> {
    for (const address of lent) {
      this.#clean.delete(address)
      this.#swept.delete(address)
    }
    const now = new Set(blocks.map(({ cidr }) => cidr))
    for (const [cidr, addresses] of this.#blocks)
      if (!now.has(cidr)) {
        this.#blocks.delete(cidr)
        for (const address of addresses) {
          this.#clean.delete(address)
          this.#swept.delete(address)
        }
      }
    const free: string[] = []
    for (const { cidr, size } of blocks)
      if (!this.#blocks.has(cidr) && size <= LARGEST_SWEPT) {
        const all = Array.from({ length: size }, (_, i) => addressAt(cidr, i))
        this.#blocks.set(cidr, new Set(all))
        for (const address of all) if (!held.has(address)) free.push(address)
      }
    await this.#sweep(free)
  }

  /** What waits to be deleted stays: the next agent walks for all addresses that are free then. */
  close(): void {
    this.#cancel?.()
  }

  /** One walk for addresses that no pod has. */
  async #sweep(free: readonly string[]): Promise<void> {
    if (free.length === 0) return
    for (const address of free) this.#swept.add(address)
    try {
      await this.#forget(free)
      for (const address of free) if (this.#swept.has(address) && this.#isOwn(address)) this.#clean.add(address)
    } catch (error) {
      if (!(error instanceof KernelError)) throw error
      this.#deps.log.warn({ err: error }, 'what is tracked of free addresses is deleted when pods get them')
    } finally {
      for (const address of free) this.#swept.delete(address)
    }
  }

  #forget(addresses: readonly string[]): Promise<void> {
    this.#next ??= this.#begin()
    for (const address of addresses) this.#next.addresses.add(address)
    return this.#next.done
  }

  /** Blocks that nobody walked for have addresses that are not followed. */
  #isOwn(address: string): boolean {
    for (const addresses of this.#blocks.values()) if (addresses.has(address)) return true
    return false
  }

  #begin(): Batch {
    const addresses = new Set<string>()
    const done = this.#running.then(() => {
      this.#next = undefined
      return this.#delete(addresses)
    })
    this.#running = done.catch(() => undefined)
    return { addresses, done }
  }

  async #delete(addresses: ReadonlySet<string>): Promise<void> {
    const { kernel, log } = this.#deps
    for (let walk = 0; walk < MOST_WALKS; walk++) {
      const flows = new Map<number, Flow>()
      try {
        await kernel.flowsOf(addresses, flow => {
          if (flows.size < AT_ONCE) flows.set(flow.id, flow)
        })
      } catch (error) {
        if (!(error instanceof KernelError) || error.errno !== ERRNO.EINVAL) throw error
        if (!this.#toldLacking)
          log.warn({ err: error }, 'this kernel cannot list tracked connections: load nf_conntrack_netlink')
        this.#toldLacking = true
        return
      }
      const refused = (await kernel.deleteFlows([...flows.values()])).find(error => error !== undefined)
      if (refused !== undefined) throw refused
      if (flows.size < AT_ONCE) return
    }
    throw new KernelError(ERRNO.EBUSY, 'delete connections', `of ${addresses.size} addresses`, 'new ones keep coming')
  }
}
