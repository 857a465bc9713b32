// This node's blocks at the API server: claims them by creation, publishes them later and coalesced, gives them back,
// and follows what others do to them. Only this node's blocks are watched; of the others the CIDR and the owner are
// listed once before the first claim, and again when that list proves to be out of date.
// Hazards: a write whose answer was lost may still arrive, even late and twice. So every write but a claim carries the
// resourceVersion it was decided on; a block of ours that the journal does not know is adopted by a write of its own,
// which makes every older write of ours fail; and only one job at a time works on a block.
import type { Resource } from '../api/kinds.ts'
import { blockName } from '../api/names.ts'
import {
  Conflict,
  isStoreError,
  NotFound,
  type Store,
  Unreachable,
  type Watch,
  type WatchEvent,
  type WatchHandlers,
} from '../datastore/port.ts'
import { Backoff } from '../lib/backoff.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { DatabaseError } from '../lib/database.ts'
import { KeyedMutex } from '../lib/keyed-mutex.ts'
import type { Log } from '../lib/log.ts'
import { affinityOf, emitBlock, emptyBlock, isEmpty, parseBlock, sameAllocations } from './block.ts'
import type { OwnedBlock } from './journal.ts'
import type { Ledger } from './ledger.ts'

type BlockObject = Resource<'IPAMBlock'>

/** How long changes gather before a block is published. */
const PUBLISH_DELAY_MS = 200

export type ClaimsDeps = {
  node: string
  store: Store
  ledger: Ledger
  clock: Clock
  log: Log
}

/** What became of an attempt to claim one block. */
export type ClaimOutcome = 'claimed' | 'taken'

export class Claims {
  readonly #deps: ClaimsDeps
  readonly #mutex = new KeyedMutex()
  readonly #backoff = new Backoff({ firstMs: 200, maxMs: 30_000 })
  /** Blocks at the API server as last seen, with their affinity. Those of other nodes may be out of date. */
  readonly #seen = new Map<string, string | undefined>()
  /** Our blocks as the API server has them; absent when that is not certain. */
  readonly #base = new Map<string, BlockObject>()
  readonly #dirty = new Set<string>()
  readonly #stopListening: () => void
  #watch: Watch | undefined
  #timer: Cancel | undefined
  #running: Promise<void> | undefined
  /** The watch has brought all blocks of this node. */
  #synced = false
  /** When all blocks were listed last, on the monotonic clock. */
  #listedMs: number | undefined
  #failure: Error | undefined
  #closed = false

  constructor(deps: ClaimsDeps) {
    this.#deps = deps
    for (const { block } of deps.ledger.blocks()) this.#dirty.add(block.cidr)
    this.#stopListening = deps.ledger.onChange(cidr => this.#reconcileLater(cidr))
  }

  /** Begins to follow the API server and to publish. `changed` is called when claims may have become possible. */
  start(changed: () => void): void {
    const handlers: WatchHandlers<'IPAMBlock'> = {
      event: event => {
        this.#follow(event)
        if (event.type !== 'set') changed()
      },
      connection: ({ connected }) => {
        if (!connected) return
        this.#schedule(0)
        changed()
      },
    }
    const fieldSelector = `spec.affinity=${affinityOf(this.#deps.node)}`
    this.#watch = this.#deps.store.watch('IPAMBlock', handlers, { fieldSelector })
    this.#schedule(0)
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#timer?.()
    this.#watch?.close()
    this.#stopListening()
    await this.#running
    await this.#mutex.idle()
  }

  /** Blocks that are known to exist, whoever owns them, and whose they are. */
  taken(): ReadonlyMap<string, string | undefined> {
    return this.#seen
  }

  /** Blocks not yet published as the journal has them, and the last reason why not. */
  unpublished(): { blocks: readonly string[]; cause?: Error } {
    return { blocks: [...this.#dirty], cause: this.#failure }
  }

  /**
   * Lists all blocks where that was not done within `maxAgeMs` (never done: always), and adopts those of this node that
   * the journal does not know. Called before a claim: a node that lost its disk must not claim more blocks while it has some. Returns
   * whether it listed. Rejects as the store.
   */
  async learnTaken(maxAgeMs: number): Promise<boolean> {
    const { ledger, node, clock } = this.#deps
    const due = this.#listedMs === undefined || clock.monotonicMs() - this.#listedMs > maxAgeMs
    if (due) await this.#listTaken()
    for (const [cidr, affinity] of [...this.#seen])
      if (affinity === affinityOf(node) && ledger.get(cidr) === undefined)
        await this.#mutex.run(cidr, () => this.#reconcile(cidr))
    return due
  }

  /** Page by page, so that the allocations of 5,000 blocks are never in memory together. */
  async #listTaken(): Promise<void> {
    const { store, clock, node } = this.#deps
    const found = new Map<string, string | undefined>()
    for await (const page of store.pages('IPAMBlock')) for (const { spec } of page) found.set(spec.cidr, spec.affinity)
    this.#listedMs = clock.monotonicMs()
    const own = affinityOf(node)
    // of this node's blocks the watch is newer than the list
    const fromList = (affinity: string | undefined): boolean => affinity !== own || !this.#synced
    for (const [cidr, affinity] of this.#seen) if (fromList(affinity) && !found.has(cidr)) this.#seen.delete(cidr)
    for (const [cidr, affinity] of found) if (fromList(affinity)) this.#seen.set(cidr, affinity)
  }

  /** Claims one block: creating the object is the claim. Rejects with `Unreachable` or `Refused`. */
  claim(cidr: string): Promise<ClaimOutcome> {
    return this.#mutex.run(cidr, async () => {
      const { node, store, ledger, clock } = this.#deps
      if (ledger.get(cidr) !== undefined) return 'claimed'
      const block = emptyBlock(cidr, BigInt(Math.trunc(clock.wallMs())) * 1_000_000n)
      try {
        const made = await store.create('IPAMBlock', emitBlock(block, node))
        this.#note(made)
        this.#base.set(cidr, made)
        ledger.put([{ block }])
        return 'claimed'
      } catch (error) {
        if (!(error instanceof Conflict)) {
          this.#reconcileLater(cidr) // the write may have landed although nobody said so
          throw error
        }
      }
      await this.#reconcile(cidr)
      return ledger.get(cidr) === undefined ? 'taken' : 'claimed'
    })
  }

  /** Gives an empty block back; a block that is in use by then, or that changed at the server, stays. */
  giveBack(cidr: string): Promise<void> {
    return this.#mutex.run(cidr, async () => {
      const { store, ledger } = this.#deps
      const owned = ledger.get(cidr)
      const base = this.#base.get(cidr)
      if (owned === undefined || base === undefined || !isEmpty(owned.block)) return
      ledger.forget(cidr)
      this.#base.delete(cidr)
      const { uid, resourceVersion } = base.metadata
      try {
        await store.delete('IPAMBlock', blockName(cidr), { uid, resourceVersion })
        this.#seen.delete(cidr)
        this.#dirty.delete(cidr)
      } catch (error) {
        if (!isStoreError(error)) throw error
        this.#reconcileLater(cidr) // ours again if it is still there
      }
    })
  }

  /** Publishes all that is waiting, now. Rejects when something could not be published. */
  async flush(): Promise<void> {
    await this.#running
    await this.#publish()
    if (this.#dirty.size > 0) throw this.#failure ?? new Error('blocks changed while they were published')
  }

  #follow(event: WatchEvent<'IPAMBlock'>): void {
    if (event.type === 'sync') {
      this.#sync(event.items)
      return
    }
    const { item } = event
    const { cidr } = item.spec
    if (event.type === 'gone') {
      this.#seen.delete(cidr)
      if (this.#deps.ledger.get(cidr) !== undefined) this.#invalidate(cidr)
      return
    }
    this.#note(item)
    const base = this.#base.get(cidr)
    const owned = this.#deps.ledger.get(cidr) !== undefined
    if (!this.#mine(item)) {
      if (owned) this.#invalidate(cidr)
    } else if (!owned) this.#reconcileLater(cidr)
    // an echo of an own write is not news, and it may come after a later write
    else if (base === undefined || sequence(item) > sequence(base)) this.#invalidate(cidr)
  }

  #sync(items: readonly BlockObject[]): void {
    this.#synced = true
    for (const [cidr, affinity] of this.#seen) if (affinity === affinityOf(this.#deps.node)) this.#seen.delete(cidr)
    for (const item of items) {
      const { cidr } = item.spec
      this.#note(item)
      const owned = this.#deps.ledger.get(cidr)
      if (owned === undefined) {
        if (this.#mine(item)) this.#reconcileLater(cidr)
      } else if (this.#mine(item) && owned.lostTo === undefined && published(owned, item)) {
        this.#base.set(cidr, item)
        this.#dirty.delete(cidr)
      } else this.#invalidate(cidr)
    }
    for (const { block } of this.#deps.ledger.blocks())
      if (!items.some(({ spec }) => spec.cidr === block.cidr)) this.#invalidate(block.cidr)
  }

  #note(item: BlockObject): void {
    this.#seen.set(item.spec.cidr, item.spec.affinity)
  }

  #mine(item: BlockObject): boolean {
    return item.spec.affinity === affinityOf(this.#deps.node)
  }

  #invalidate(cidr: string): void {
    this.#base.delete(cidr)
    this.#reconcileLater(cidr)
  }

  #reconcileLater(cidr: string): void {
    this.#dirty.add(cidr)
    if (this.#timer === undefined && this.#running === undefined) this.#schedule(PUBLISH_DELAY_MS)
  }

  #schedule(delayMs: number): void {
    if (this.#closed || this.#watch === undefined) return
    this.#timer?.()
    this.#timer = this.#deps.clock.after(delayMs, () => {
      this.#timer = undefined
      void this.#publish()
    })
  }

  /** Publishes what is waiting, once at a time. Never rejects: what fails stays waiting, and `unpublished` says why. */
  async #publish(): Promise<void> {
    if (this.#running !== undefined) return this.#running
    this.#running = this.#publishAll().then(failure => this.#published(failure))
    return this.#running
  }

  #published(failure: Error | undefined): void {
    this.#running = undefined
    if (failure !== undefined && this.#failure === undefined)
      this.#deps.log.warn({ err: failure, blocks: this.#dirty.size }, 'blocks wait to be published')
    if (failure === undefined) this.#backoff.reset()
    this.#failure = failure
    if (this.#dirty.size > 0) this.#schedule(failure === undefined ? PUBLISH_DELAY_MS : this.#backoff.next())
  }

  /**
   * One pass over what is dirty; the last failure. A block that is refused, or that the journal cannot take, does not
   * stop the next one; an unreachable server does.
   */
  async #publishAll(): Promise<Error | undefined> {
    let failure: Error | undefined
    for (const cidr of [...this.#dirty]) {
      this.#dirty.delete(cidr)
      try {
        await this.#mutex.run(cidr, () => this.#reconcile(cidr))
      } catch (error) {
        if (!(isStoreError(error) || error instanceof DatabaseError)) throw error
        this.#dirty.add(cidr)
        failure = error
        if (error instanceof Unreachable) return failure
      }
    }
    return failure
  }

  /** Brings journal and API server together for one block; the caller holds the block's mutex. */
  async #reconcile(cidr: string): Promise<void> {
    for (let attempt = 0; attempt < 16 && !this.#closed; attempt++) {
      try {
        if (await this.#reconcileOnce(cidr)) return
      } catch (error) {
        if (!(error instanceof Conflict || error instanceof NotFound)) throw error
        this.#base.delete(cidr)
      }
    }
    this.#dirty.add(cidr)
  }

  /** Whether nothing is left to do. Throws `Conflict` or `NotFound` when another look is needed. */
  async #reconcileOnce(cidr: string): Promise<boolean> {
    const { node, store, ledger, log } = this.#deps
    const base = this.#base.get(cidr) ?? (await this.#read(cidr))
    const owned = ledger.get(cidr)
    if (base === undefined) {
      if (owned === undefined) return true
      if (owned.lostTo !== undefined) return this.#forgetLost(owned)
      const made = await store.create('IPAMBlock', emitBlock(owned.block, node))
      log.warn({ cidr }, 'the IPAMBlock of this node was gone and is back')
      this.#base.set(cidr, made)
      this.#note(made)
      return true
    }
    this.#note(base)
    if (!this.#mine(base)) return this.#lose(cidr, base.spec.affinity)
    if (owned === undefined) {
      await this.#adopt(base)
      return true
    }
    if (published(owned, base)) {
      this.#base.set(cidr, base)
      if (owned.lostTo !== undefined) ledger.put([{ ...owned, lostTo: undefined }])
      return true
    }
    const newest = owned.block.sequence > sequence(base) ? owned.block.sequence : sequence(base) + 1n
    const block = { ...owned.block, sequence: newest }
    const written = await store.update('IPAMBlock', emitBlock(block, node, base))
    this.#base.set(cidr, written)
    // a change made meanwhile has marked the block dirty again; the next round publishes it
    if (ledger.get(cidr)?.block !== owned.block) return true
    if (newest !== owned.block.sequence || owned.lostTo !== undefined)
      ledger.put([{ ...owned, block, lostTo: undefined }])
    return true
  }

  async #read(cidr: string): Promise<BlockObject | undefined> {
    try {
      return await this.#deps.store.get('IPAMBlock', blockName(cidr))
    } catch (error) {
      if (error instanceof NotFound) return undefined
      throw error
    }
  }

  /** The journal is behind (a crash after the claim, or a lost disk): takes the block as the API server has it. */
  async #adopt(base: BlockObject): Promise<void> {
    const { node, store, ledger, log } = this.#deps
    const parsed = parseBlock(base)
    const block = { ...parsed, sequence: parsed.sequence + 1n }
    const written = await store.update('IPAMBlock', emitBlock(block, node, base))
    this.#base.set(block.cidr, written)
    ledger.put([{ block }])
    log.info({ cidr: block.cidr, used: block.slots.length - block.free.length }, 'block adopted from the API server')
  }

  #lose(cidr: string, affinity: string | undefined): boolean {
    const { ledger, log } = this.#deps
    const owned = ledger.get(cidr)
    this.#base.delete(cidr)
    if (owned === undefined) return true
    const lostTo = affinity ?? 'nobody'
    if (isEmpty(owned.block)) return this.#forgetLost(owned)
    if (owned.lostTo !== lostTo) {
      log.error({ cidr, lostTo }, 'this block belongs to another node now; its pods here must be restarted')
      ledger.put([{ ...owned, lostTo }])
    }
    return true
  }

  #forgetLost({ block }: OwnedBlock): boolean {
    if (isEmpty(block)) this.#deps.ledger.forget(block.cidr)
    return true
  }
}

function sequence({ spec }: BlockObject): bigint {
  return BigInt(spec.sequenceNumber ?? 0)
}

function published({ block }: OwnedBlock, item: BlockObject): boolean {
  return sequence(item) === block.sequence && sameAllocations(parseBlock(item), block)
}
