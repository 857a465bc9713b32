// What the kernel still tracks of an address that changes hands: its entries are deleted when a pod goes, and again before the
// next one has it, so that nobody rides on a connection that another pod's policies allowed. One walk of the kernel's table
// serves all that ask while the one before is under way: hundreds of pods can end in a second.

import type { Flow } from '../kernel/port/conntrack.ts'
import { ERRNO, KernelError } from '../kernel/port/error.ts'
import type { Kernel } from '../kernel/port/kernel.ts'
import type { Log } from '../lib/log.ts'

/** So many entries are held in memory, and deleted before the walk begins again. */
const AT_ONCE = 4096
/** More walks than a full table needs: somebody makes entries as fast as they are deleted. */
const MOST_WALKS = 512

type OldFlowsDeps = { kernel: Pick<Kernel, 'flowsOf' | 'deleteFlows'>; log: Log }
type Batch = { addresses: Set<string>; done: Promise<void> }

export class OldFlows {
  readonly #deps: OldFlowsDeps
  #running: Promise<unknown> = Promise.resolve()
  #next: Batch | undefined
  #toldLacking = false

  constructor(deps: OldFlowsDeps) {
    this.#deps = deps
  }

  /**
   * Resolves when nothing is tracked of these addresses (in canonical text) any more that was when this was called. Rejects with
   * `KernelError`. A kernel that cannot list connections is told in the log once, and has none as far as anybody knows.
   */
  forget(addresses: readonly string[]): Promise<void> {
    this.#next ??= this.#begin()
    for (const address of addresses) this.#next.addresses.add(address)
    return this.#next.done
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
