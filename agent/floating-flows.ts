// Ends what the kernel still tracks of a floating address that leads elsewhere than before: an entry keeps the pod that it was
// made with, so that a pod which lost the address would go on being reached under it, and one that got it would not be by a
// sender that never pauses. Only entries that lead to another pod than now, or to none, are deleted. Hazard: the kernel must have
// the new translation first, or the next packet makes the old entry again.
import { FLOATING_FAMILIES, type FloatingTarget, TARGETS } from '../felix/calc/floating.ts'
import type { Flow } from '../kernel/port/conntrack.ts'
import { ERRNO, KernelError } from '../kernel/port/error.ts'
import type { Kernel } from '../kernel/port/kernel.ts'
import type { NftElements, NftPartNames, NftTableName } from '../kernel/port/nftables.ts'
import { lacksNftables } from '../kernel/reconcile/nft-lacks.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import type { Log } from '../lib/log.ts'

export type FloatingFlowsDeps = {
  kernel: Pick<Kernel, 'flowsOf' | 'deleteFlows' | 'nftables'>
  /** The name of the tables that translate; undefined: there are none. */
  table: string | undefined
  /** Resolves when the kernel was told of what felix was told so far, as far as it takes it. */
  applied: () => Promise<unknown>
  clock: Clock
  log: Log
}

/** So many entries are held in memory, and deleted before the walk begins again. */
const AT_ONCE = 4096
/** More walks than a full table needs: somebody makes entries as fast as they are deleted. */
const MOST_WALKS = 512
/** After a refusal. */
const RETRY_MS = 5000

export class FloatingFlows {
  readonly #deps: FloatingFlowsDeps
  readonly #targets = new Map<string, string>()
  /** Addresses to walk for, with where they led before. */
  #changed = new Map<string, Set<string>>()
  #running: Promise<void> | undefined
  #cancel: Cancel | undefined
  #closed = false

  constructor(deps: FloatingFlowsDeps) {
    this.#deps = deps
  }

  /** Takes in what an earlier run left in its tables, before felix writes them: nothing where they cannot be read. */
  async adopt(): Promise<void> {
    const { table } = this.#deps
    if (table === undefined) return
    const only = { chains: [], sets: [TARGETS], elements: [] }
    for (const family of Object.values(FLOATING_FAMILIES))
      for (const { set, elements } of (await this.#read({ family, name: table }, only)) ?? [])
        if (set === TARGETS)
          for (const { key, data } of elements) {
            const [[address], [to]] = [key, data as readonly string[]]
            if (address !== undefined && to !== undefined) this.#targets.set(address, to)
          }
  }

  async #read(of: NftTableName, only: NftPartNames): Promise<NftElements[] | undefined> {
    try {
      return (await this.#deps.kernel.nftables(of, { only }))?.elements
    } catch (error) {
      if (!(error instanceof KernelError)) throw error
      if (!lacksNftables(error))
        this.#deps.log.warn({ err: error }, 'connections to floating addresses of an earlier run are not cut')
      return undefined
    }
  }

  /** Sets all floating addresses of this node, which felix was told of: what leads elsewhere now is cut soon. */
  follow(targets: readonly FloatingTarget[]): void {
    const now = new Map(targets.map(({ address, to }) => [address, to]))
    for (const address of new Set([...this.#targets.keys(), ...now.keys()])) {
      const [before, to] = [this.#targets.get(address), now.get(address)]
      if (before === to) continue
      this.#changed.set(address, (this.#changed.get(address) ?? new Set()).add(before ?? address))
      if (to === undefined) this.#targets.delete(address)
      else this.#targets.set(address, to)
    }
    if (this.#changed.size > 0) this.#begin()
  }

  close(): void {
    this.#closed = true
    this.#cancel?.()
  }

  #begin(): void {
    if (this.#closed || this.#cancel !== undefined) return
    this.#running ??= this.#walk().finally(() => {
      this.#running = undefined
      if (this.#changed.size > 0) this.#begin()
    })
  }

  async #walk(): Promise<void> {
    const changed = this.#changed
    this.#changed = new Map()
    await this.#deps.applied()
    try {
      if (!this.#closed) await this.#cut(changed)
    } catch (error) {
      if (!(error instanceof KernelError)) throw error
      this.#deps.log.warn({ err: error }, 'connections to floating addresses that lead elsewhere now are not cut yet')
      // a kernel that cannot list connections will not learn it
      if (error.errno === ERRNO.EINVAL) return
      for (const [address, before] of changed)
        this.#changed.set(address, new Set([...before, ...(this.#changed.get(address) ?? [])]))
      this.#cancel = this.#deps.clock.after(RETRY_MS, () => {
        this.#cancel = undefined
        this.#begin()
      })
    }
  }

  async #cut(changed: ReadonlyMap<string, ReadonlySet<string>>): Promise<void> {
    const { kernel, log } = this.#deps
    // who answers is the pod, or the address itself where it led to none
    const answering = new Set([...changed].flatMap(([address, before]) => [address, ...before]))
    for (let walk = 0; walk < MOST_WALKS && !this.#closed; walk++) {
      const flows = new Map<number, Flow>()
      await kernel.flowsOf(answering, flow => {
        const { destination } = flow.original
        const isStale = changed.has(destination) && flow.reply.source !== this.#targets.get(destination)
        if (isStale && flows.size < AT_ONCE) flows.set(flow.id, flow)
      })
      const refused = (await kernel.deleteFlows([...flows.values()])).find(error => error !== undefined)
      if (refused !== undefined) throw refused
      if (flows.size > 0) log.info({ connections: flows.size }, 'their floating address leads elsewhere now: cut')
      if (flows.size < AT_ONCE) return
    }
  }
}
