// Keeps a pool that was deleted until its last block was given back, by a finalizer, and lets nobody claim from it
// meanwhile. Who claims reads the pool once more after the claim, and who takes the finalizer away lists the blocks after
// the deletion: one of the two sees the other. Every node does both; a pool that is not ours to hold is used all the same.
import { type IpPool, POOL_FINALIZER, poolsInEffect } from '../api/pools.ts'
import { isStoreError, NotFound, Refused, type Store } from '../datastore/port.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { contains, overlaps } from '../lib/ip.ts'
import type { Log } from '../lib/log.ts'
import { PrefixIndex, parsePrefix } from '../lib/prefix-index.ts'
import { holdPool, isHeld, lacksFinalizer, releaseEmptyPool } from './pool-release.ts'

/** Nodes without a block in a deleted pool look within this time whether it is empty; the first one that finds out ends it. */
const SPREAD_MS = 5_000
/**
 * Nodes with blocks in a pool without the finalizer wait for once to twice this time; the first one ends it. Not shorter: somebody
 * may take it away each time.
 */
const HOLD_SPREAD_MS = 1_000
/** The last pod of a node must be published as gone by then. */
const FIRST_LOOK_MS = 1_000
/** A node that had the last block may be gone: the others look again this often. */
const AGAIN_MS = 600_000
/** After a time in which nobody could publish: the other nodes have pods that their blocks do not tell of yet. */
const PUBLISH_MS = 60_000

export type PoolHoldDeps = {
  store: Store
  clock: Clock
  log: Log
  /** From 0 to 1: when this node has its turn. */
  turn: number
  /** CIDRs of this node's blocks. */
  own(): readonly string[]
  /** Whether `store` may be written now, as far as this node knows. Absent: always. */
  mayWrite?: () => boolean
}

export class PoolHold {
  readonly #deps: PoolHoldDeps
  readonly #timers = new Map<string, Cancel>()
  /** Pools with blocks of ours that lack the finalizer, by uid: it was asked for once, or is about to be. */
  readonly #holds = new Map<string, Cancel>()
  /** Pools that were held without a wait, by uid: once for each, since somebody may take our finalizer away each time. */
  readonly #atOnce = new Set<string>()
  /** Before then no pool is let go, on the monotonic clock. */
  #notBeforeMs = 0
  #closed = false

  constructor(deps: PoolHoldDeps) {
    this.#deps = deps
  }

  /** Puts our finalizer on a pool before the first claim from it, if this node may. Rejects as the store otherwise. */
  async hold(pool: IpPool): Promise<void> {
    const { name, finalizers } = pool.metadata
    if (finalizers?.includes(POOL_FINALIZER)) return
    const { store, log } = this.#deps
    try {
      await holdPool(store, name)
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      log.warn({ err: error, pool: name }, 'this node may not hold a pool: deleted while in use, it is gone at once')
    }
  }

  /**
   * What the pool of a block that was just claimed is now: as it was known, or 'edited' when its CIDR or block size is
   * another one, which does not count for the same object. 'gone': the block must not be used. Rejects as the store.
   */
  async judge(pool: IpPool, block: string): Promise<'as known' | 'edited' | 'gone'> {
    try {
      const { metadata, spec } = await this.#deps.store.get('IPPool', pool.metadata.name)
      if (metadata.deletionTimestamp !== undefined) return 'gone'
      if (contains(spec.cidr, block) && block.endsWith(`/${spec.blockSize}`)) return 'as known'
      return metadata.uid === pool.metadata.uid ? 'edited' : 'gone'
    } catch (error) {
      if (error instanceof NotFound) return 'gone'
      throw error
    }
  }

  /**
   * Looks whether pools that are being deleted are empty, and holds those with blocks of this node that lack the finalizer: made
   * over blocks of an earlier pool, or written by calicoctl, which takes it away. To be called when pools, or the blocks of this
   * node, changed. Returns the CIDRs of pools that are being deleted.
   */
  follow(pools: readonly IpPool[]): readonly string[] {
    const going = pools.filter(isHeld)
    const names = new Set(going.map(({ metadata }) => metadata.name))
    for (const name of this.#timers.keys()) if (!names.has(name)) this.#cancel(name)
    const own = this.#deps.own()
    this.#holdOver(pools, own)
    for (const pool of going) {
      const { name } = pool.metadata
      const busy = own.some(cidr => overlaps(cidr, pool.spec.cidr))
      if (busy)
        this.#cancel(name) // called again when they are given back
      else if (!this.#timers.has(name)) this.#look(pool, FIRST_LOOK_MS + this.#deps.turn * SPREAD_MS)
    }
    return going.map(({ spec }) => spec.cidr)
  }

  /**
   * A pod gets an address of these pools: they are held without a wait, since who sees the pod run may delete its pool. A claim
   * holds before; this is for blocks that were here before the pool was.
   */
  given(pools: readonly IpPool[]): void {
    for (const pool of pools) {
      const uid = uidOf(pool)
      if (!lacksFinalizer(pool) || this.#atOnce.has(uid)) continue
      this.#atOnce.add(uid)
      this.#holds.get(uid)?.()
      this.#holdIn(pool, 0)
    }
  }

  /** The store may be written again: no pool is let go before the other nodes had time to publish their pods. */
  beginAnew(): void {
    this.#notBeforeMs = this.#deps.clock.monotonicMs() + PUBLISH_MS
  }

  close(): void {
    this.#closed = true
    for (const name of [...this.#timers.keys()]) this.#cancel(name)
    for (const cancel of this.#holds.values()) cancel()
  }

  #holdOver(pools: readonly IpPool[], own: readonly string[]): void {
    const uids = new Set(pools.map(uidOf))
    for (const uid of this.#atOnce) if (!uids.has(uid)) this.#atOnce.delete(uid)
    const free = new Map(pools.filter(lacksFinalizer).map(pool => [uidOf(pool), pool]))
    for (const [uid, cancel] of this.#holds)
      if (!free.has(uid)) {
        cancel()
        this.#holds.delete(uid)
      }
    if (free.size === this.#holds.size) return
    const used = poolsWith(own, pools)
    for (const [uid, pool] of free)
      if (!this.#holds.has(uid) && used.has(pool)) this.#holdIn(pool, (1 + this.#deps.turn) * HOLD_SPREAD_MS)
  }

  #holdIn(pool: IpPool, delayMs: number): void {
    if (this.#closed) return
    const cancel = this.#deps.clock.after(delayMs, async () => {
      try {
        await this.hold(pool)
      } catch (error) {
        if (!isStoreError(error)) throw error
        this.#deps.log.warn(
          { err: error, pool: pool.metadata.name },
          'a pool with blocks of this node cannot be held yet',
        )
        if (this.#holds.get(uidOf(pool)) === cancel) this.#holdIn(pool, SPREAD_MS)
      }
    })
    this.#holds.set(uidOf(pool), cancel)
  }

  #look(pool: IpPool, delayMs: number): void {
    if (this.#closed) return
    const { name } = pool.metadata
    this.#cancel(name)
    const cancel = this.#deps.clock.after(delayMs, async () => {
      const pauseMs = await this.#release(pool)
      // unless the pool is gone or in use again
      if (this.#timers.get(name) === cancel) this.#look(pool, pauseMs)
    })
    this.#timers.set(name, cancel)
  }

  /** Lets the pool go if it is empty. Resolves with the time until the next look, if there is to be one. */
  async #release(pool: IpPool): Promise<number> {
    const { name } = pool.metadata
    const { clock, mayWrite, turn } = this.#deps
    const leftMs = this.#notBeforeMs - clock.monotonicMs()
    if (leftMs > 0) return leftMs + turn * SPREAD_MS
    if (mayWrite?.() === false) return SPREAD_MS
    try {
      await releaseEmptyPool(pool, this.#deps)
      return AGAIN_MS
    } catch (error) {
      if (!isStoreError(error)) throw error
      const { log } = this.#deps
      if (error instanceof Refused) {
        log.warn({ err: error, pool: name }, 'this node may not let a deleted pool go: margay-controllers has to')
        return AGAIN_MS
      }
      log.warn({ err: error, pool: name }, 'whether a deleted pool is empty cannot be found out')
      return SPREAD_MS
    }
  }

  #cancel(name: string): void {
    this.#timers.get(name)?.()
    this.#timers.delete(name)
  }
}

/**
 * The pools that blocks belong to, as `poolOf` says, but by an index: this is asked at each ADD. A pool that overlaps an older
 * one has no block, and would never go if it were held for those of the older one.
 */
function poolsWith(blocks: readonly string[], pools: readonly IpPool[]): ReadonlySet<IpPool | undefined> {
  const index = new PrefixIndex<IpPool>()
  for (const pool of poolsInEffect(pools)) index.set(parsePrefix(pool.spec.cidr)!, pool)
  return new Set(blocks.map(cidr => index.match(parsePrefix(cidr)!)))
}

/** A pool that was deleted and made again is another one. */
function uidOf({ metadata }: IpPool): string {
  return metadata.uid ?? metadata.name
}
