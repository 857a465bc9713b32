// The blocks of Services during one run of `load-balancer.ts`, as its plan has them: what a watch tells meanwhile must not be what a
// step of the plan is written over. Each write names the version that it was decided on, and what the server answers is what the
// plan has from then on.
import type { Resource } from '../api/kinds.ts'
import { blockName } from '../api/names.ts'
import { type IpPool, poolOf, usesOf } from '../api/pools.ts'
import { Conflict, NotFound, type Store } from '../datastore/port.ts'
import { emptyBlock, isEmpty, parseBlock } from '../ipam/block.ts'
import { emitLoadBalancerBlock, giveTo, isLoadBalancerBlock, LOAD_BALANCER } from '../ipam/load-balancer.ts'
import { pickBlock } from '../ipam/pick.ts'
import { holdPool, lacksFinalizer } from '../ipam/pool-release.ts'
import type { Clock } from '../lib/clock.ts'
import { contains, overlaps } from '../lib/ip.ts'
import type { Log } from '../lib/log.ts'
import { LoadBalancerPlan, type PlanInputs, type PlanStep } from './load-balancer-plan.ts'
import type { Service } from './load-balancer-wish.ts'
import { keyOf } from './service-status.ts'

type BlockObject = Resource<'IPAMBlock'>

export type ServiceBlocksDeps = { store: Store; clock: Clock; log: Log }

export class ServiceBlocks {
  readonly plan: LoadBalancerPlan
  /** Something was not as it was known, and is to be looked at soon. */
  isLate = false
  readonly #blocks: Map<string, BlockObject>
  readonly #deps: ServiceBlocksDeps
  readonly #inputs: PlanInputs
  readonly #watched: Map<string, BlockObject>
  /** As the server has told them after each Service that is known here. */
  #read = new WeakSet<BlockObject>()
  /** Empty ones that may be used. */
  readonly #confirmed = new Set<string>()
  /** CIDRs of all blocks; undefined where that is not known. */
  #taken: readonly string[] | undefined

  /** `watched`: blocks by their names, which follow what is written here. */
  constructor(
    deps: ServiceBlocksDeps,
    inputs: PlanInputs,
    services: Iterable<Service>,
    watched: Map<string, BlockObject>,
  ) {
    this.#deps = deps
    this.#inputs = inputs
    this.plan = new LoadBalancerPlan(inputs, services, watched.values())
    this.#blocks = new Map(watched)
    this.#watched = watched
  }

  /** Whether a block was read after each Service that is known here. */
  isRead(name: string): boolean {
    const item = this.#blocks.get(name)
    return item !== undefined && this.#read.has(item)
  }

  /** A Service was read: what is known of blocks may be older. */
  forgetRead(): void {
    this.#read = new WeakSet()
  }

  /** Writes whose an address is. Rejects as the store. */
  async give({ block: name, ordinal, holders }: PlanStep & { do: 'give' }): Promise<void> {
    const { store, clock, log } = this.#deps
    const item = this.#blocks.get(name)
    if (item === undefined) return this.plan.setBlock(name, undefined)
    const block = parseBlock(item)
    if (isEmpty(block) && !(await this.#confirm(item))) return
    const given = giveTo(block, ordinal, holders, new Date(clock.wallMs()).toISOString())
    try {
      const written = await store.update('IPAMBlock', emitLoadBalancerBlock(given, item))
      this.#set(name, written)
      const services = holders.map(keyOf)
      log.info({ block: item.spec.cidr, ordinal, services }, 'an address of Services changed hands')
    } catch (error) {
      if (!(error instanceof Conflict || error instanceof NotFound)) throw error
      await this.look(name)
    }
  }

  /**
   * Whether addresses of an empty block may be given: its pool is there and held, and no other block shares addresses with it. One
   * that may not be used is deleted.
   */
  async #confirm(item: BlockObject): Promise<boolean> {
    const { store } = this.#deps
    const { name } = item.metadata
    if (this.#confirmed.has(name)) return true
    const pool = poolOf(this.#inputs.pools, item.spec.cidr)
    if (pool !== undefined) await holdPool(store, pool.metadata.name)
    const now = pool && (await found(store.get('IPPool', pool.metadata.name)))
    const isThere = now !== undefined && !lacksFinalizer(now) && now.metadata.deletionTimestamp === undefined
    const others = await this.#list()
    const isAlone = !others.some(cidr => cidr !== item.spec.cidr && overlaps(cidr, item.spec.cidr))
    if (isThere && isForServices(now.spec) && contains(now.spec.cidr, item.spec.cidr) && isAlone) {
      this.#confirmed.add(name)
      return true
    }
    this.plan.shut(item.spec.cidr)
    if (pool !== undefined) this.plan.shut(pool.metadata.name)
    this.isLate = true
    await this.remove(name)
    return false
  }

  /** Makes a block of one of the pools, or the exact one; tells the plan where none is free. */
  async claim({ pools, exact }: PlanStep & { do: 'claim' }): Promise<void> {
    const { store, clock, log } = this.#deps
    const taken = await this.#list()
    for (const pool of pools) {
      const isFree = exact !== undefined && !taken.some(cidr => overlaps(cidr, exact))
      const cidr =
        exact === undefined ? pickBlock(pool, taken, this.#inputs.reserved, LOAD_BALANCER) : isFree ? exact : undefined
      if (cidr === undefined) {
        // the watch may not have told of it: then it may be what has the address of this Service already
        const isOurs =
          exact !== undefined && !this.#blocks.has(blockName(exact)) && (await this.#hear(blockName(exact)))
        if (!isOurs) this.plan.shut(exact ?? pool.metadata.name)
        continue
      }
      try {
        const block = emptyBlock(cidr, BigInt(Math.round(clock.wallMs())) * 1_000_000n)
        const written = await store.create('IPAMBlock', emitLoadBalancerBlock(block))
        this.#set(written.metadata.name, written)
        log.info({ block: cidr, pool: pool.metadata.name }, 'a block is for Services of type LoadBalancer now')
      } catch (error) {
        if (!(error instanceof Conflict)) throw error
        await this.look(blockName(cidr))
      }
      return
    }
  }

  /** The CIDRs of all blocks, by a list of this run and what it made since. */
  async #list(): Promise<readonly string[]> {
    const { store } = this.#deps
    if (this.#taken === undefined) {
      const taken: string[] = []
      for await (const page of store.pages('IPAMBlock')) for (const { spec } of page) taken.push(spec.cidr)
      this.#taken = taken
    }
    return this.#taken
  }

  /** A block is not as it was known: it is read once more. */
  async look(name: string): Promise<void> {
    this.#taken = undefined
    if (!(await this.#hear(name))) this.#set(name, undefined)
  }

  /** Reads a block; false where there is none of Services. */
  async #hear(name: string): Promise<boolean> {
    const now = await found(this.#deps.store.get('IPAMBlock', name))
    if (now === undefined || !isLoadBalancerBlock(now)) return false
    this.#set(name, now)
    return true
  }

  #set(name: string, item: BlockObject | undefined): void {
    // a new one changes what is alone
    if (item !== undefined && isEmpty(parseBlock(item))) this.#taken = undefined
    for (const blocks of [this.#watched, this.#blocks])
      if (item === undefined) blocks.delete(name)
      else blocks.set(name, item)
    if (item !== undefined) this.#read.add(item)
    this.plan.setBlock(name, item)
  }

  /** Deletes a block that nothing lies in, as it is here. */
  async remove(name: string): Promise<void> {
    const { store, log } = this.#deps
    const item = this.#blocks.get(name)
    if (item === undefined || !isEmpty(parseBlock(item))) return
    const { uid, resourceVersion } = item.metadata
    try {
      await store.delete('IPAMBlock', name, { uid, resourceVersion })
      log.info({ block: item.spec.cidr }, 'a block without addresses of Services is given back')
      this.#set(name, undefined)
    } catch (error) {
      if (!(error instanceof Conflict || error instanceof NotFound)) throw error
      await this.look(name)
    }
  }
}

export function isForServices(spec: IpPool['spec']): boolean {
  return usesOf(spec).includes('LoadBalancer')
}

async function found<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading
  } catch (error) {
    if (error instanceof NotFound) return undefined
    throw error
  }
}
