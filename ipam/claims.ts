// This node's blocks at the API server: claims them by creation, publishes them later and coalesced, gives them back,
// and follows what others do to them. Only this node's blocks are watched.
// Hazards: a write whose answer was lost may still arrive, even late and twice. So every write but a claim carries the
// resourceVersion it was decided on; a block of ours that the journal does not know is adopted by a write of its own,
// which makes every older write of ours fail; and only one job at a time works on a block.
// Over 400 lines: claim, publish, adopt and give back one block under one lock, by the same copy of its object.
import { type AddressWish, wishesOf, withoutWishes } from '../api/address-wishes.ts'
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
import type { Cancel, Clock } from '../lib/clock.ts'
import { DatabaseError } from '../lib/database.ts'
import { contains, overlaps } from '../lib/ip.ts'
import { KeyedMutex } from '../lib/keyed-mutex.ts'
import type { Log } from '../lib/log.ts'
import {
  affinityOf,
  type Block,
  emitBlock,
  emptyBlock,
  epochOf,
  isEmpty,
  isPublished,
  type Owner,
  parseBlock,
  sequenceOf,
} from './block.ts'
import type { Journal, OwnedBlock } from './journal.ts'
import type { Ledger } from './ledger.ts'
import { OwnerAnswers } from './owner-answers.ts'
import { PublishQueue } from './publish-queue.ts'
import { TakenBlocks } from './taken-blocks.ts'
import { hasPods, urgencyOf } from './urgency.ts'

type BlockObject = Resource<'IPAMBlock'>

export type ClaimsDeps = {
  node: string
  journal: Pick<Journal, 'epoch' | 'complete' | 'setComplete'>
  store: Store
  /** For the one write that is made also while nothing else may be written: that the owner of a block lives. */
  answers: Store
  ledger: Ledger
  clock: Clock
  log: Log
  /** Whether `store` may be written now, as far as this node knows. Absent: always. */
  mayWrite?: () => boolean
  /** Whether an empty block may go to a node that needs one: no address of it rests, and no pod waits for it. Absent: none. */
  spares?: (cidr: string) => boolean
  /** Lends addresses of a block to nodes that ask, and takes back what they have no more, also in the journal. Absent: nothing is lent. */
  lend?: (cidr: string, wishes: ReadonlyMap<string, AddressWish>) => void
  /** Blocks of other nodes, by a list of all, with addresses that are lent to this one. */
  found?: (lenders: readonly string[]) => void
  /** As `OwnerAnswersDeps`. */
  collect?: () => Promise<unknown>
  /** The journal is older than this block, which the API server has from this node: a copy of the disk. Called before it is written over. */
  outdated?: (block: Block) => void
}

/** How soon a block is given back once more after that failed. */
const GIVE_BACK_AGAIN_MS = 30_000
/** How long a start waits to hear which blocks are this node's before it goes on with what the journal has. */
const PATIENCE_MS = 2000
/** How often one look at a block begins anew because it changed meanwhile; others write it seldom. */
const RECONCILE_ATTEMPTS = 4

/** What became of an attempt to claim one block. */
export type ClaimOutcome = 'claimed' | 'taken' | 'withdrawn'

export class Claims {
  readonly #deps: ClaimsDeps
  readonly #mutex = new KeyedMutex()
  readonly #queue: PublishQueue
  readonly #taken: TakenBlocks
  /** Our blocks as the API server has them; absent when that is not certain. */
  readonly #base = new Map<string, BlockObject>()
  /** The sequence of the write under way for a block: the watch may bring it before the server has answered. */
  readonly #writing = new Map<string, bigint>()
  /** Empty blocks that were forgotten, and of which nobody said whether the server deleted them. */
  readonly #leaving = new Map<string, Block>()
  #cancelLater: Cancel = () => undefined
  #connection: { connected: boolean; cause?: Error } = { connected: false }
  readonly #stopListening: () => void
  #watch: Watch | undefined
  #changed: () => void = () => undefined
  readonly #answers: OwnerAnswers
  /** Blocks that the server does not say are this node's, until that is cleared: another node may have them. */
  readonly #unclear = new Set<string>()
  #hearing: PromiseWithResolvers<undefined> | undefined
  #cancelPatience: Cancel = () => undefined
  #closed = false

  constructor(deps: ClaimsDeps) {
    this.#deps = deps
    this.#taken = new TakenBlocks(deps)
    this.#queue = new PublishQueue({ ...deps, publish: cidr => this.#mutex.run(cidr, () => this.#publish(cidr)) })
    this.#answers = new OwnerAnswers({
      ...{ store: deps.answers, clock: deps.clock, log: deps.log, mutex: this.#mutex },
      mine: item => this.#mine(item) && !this.#writtenByTwin(item),
      collect: async () => {
        await deps.collect?.()
        // whoever asked waits for it
        for (const cidr of this.#queue.unpublished().blocks) this.#queue.add(cidr)
      },
      give: item => this.#give(item),
      lend: item => this.#lend(item),
      answered: written => {
        const base = this.#base.get(written.spec.cidr)
        if (base !== undefined && sequenceOf(base) === sequenceOf(written)) this.#base.set(written.spec.cidr, written)
      },
    })
    for (const { block } of deps.ledger.blocks()) this.#queue.add(block.cidr)
    this.#stopListening = deps.ledger.onChange((cidr, isBorrowed) => {
      // what another node lent is published by that one
      if (isBorrowed) return
      this.#queue.change(cidr, urgencyOf(deps.ledger.get(cidr), this.#base.get(cidr), this.#owner()))
    })
  }

  /** Begins to follow the API server and to publish. `changed` is called when claims may have become possible. */
  start(changed: () => void): void {
    this.#changed = changed
    const handlers: WatchHandlers<'IPAMBlock'> = {
      event: event => {
        this.#follow(event)
        if (event.type !== 'set') changed()
      },
      connection: state => {
        this.#connection = state
        if (!state.connected) {
          this.#heard()
          return
        }
        this.#queue.hurry()
        changed()
      },
    }
    if (this.#deps.ledger.blocks().length > 0) {
      this.#hearing = Promise.withResolvers()
      this.#cancelPatience = this.#deps.clock.after(PATIENCE_MS, () => this.#heard())
    }
    const fieldSelector = `spec.affinity=${affinityOf(this.#deps.node)}`
    this.#watch = this.#deps.store.watch('IPAMBlock', handlers, { fieldSelector })
    this.#queue.start()
  }

  /** Nothing is written any more when this resolves, whoever still asks for it. */
  async close(): Promise<void> {
    this.#closed = true
    this.#heard()
    this.#cancelLater()
    this.#watch?.close()
    this.#answers.close()
    this.#stopListening()
    await this.#queue.close()
    await this.#mutex.idle()
  }

  /**
   * At the start of a node that has blocks by its journal: resolves when the server has said which are, is away, or takes too
   * long. The disk may be a copy of last week, and other nodes have the blocks by now. Undefined: nothing is to be waited for.
   */
  get hearing(): Promise<undefined> | undefined {
    return this.#hearing?.promise
  }

  /**
   * Whether nothing speaks against giving addresses of a block of the journal. What a server lacks that may not be written,
   * because it is not believed or is being filled by an import, is no news of a block.
   */
  isClear(cidr: string): boolean {
    return !this.#unclear.has(cidr) || this.#deps.mayWrite?.() === false
  }

  /** Blocks that are known to exist, whoever owns them, and whose they are. */
  taken(): ReadonlyMap<string, string | undefined> {
    return this.#taken.all
  }

  /** Blocks of other nodes that were empty when all were listed, and whose they are. */
  empty(): [cidr: string, affinity: string][] {
    return this.#taken.empty()
  }

  /** The same of those in which an address was free. */
  withRoom(): [cidr: string, affinity: string][] {
    return this.#taken.withRoom()
  }

  /** Somebody heard that a block is gone. */
  freed(cidr: string): void {
    this.#taken.gone(cidr)
  }

  /** Whether the watch of this node's blocks is connected, and if not why. */
  get connection(): { connected: boolean; cause?: Error } {
    return this.#connection
  }

  /** Blocks not yet published as the journal has them, and the last reason why not. */
  unpublished(): ReturnType<PublishQueue['unpublished']> {
    return this.#queue.unpublished()
  }

  /**
   * Lists all blocks where that was not done within `maxAgeMs` (never done: always), and adopts those of this node that
   * the journal does not know. Called before a claim: a node that lost its disk must not claim more blocks while it has some. Returns
   * whether it listed. Rejects as the store.
   */
  async learnTaken(maxAgeMs: number): Promise<boolean> {
    const listed = await this.#taken.list(maxAgeMs)
    if (this.#closed) return listed
    if (listed) this.#deps.found?.(this.#taken.lenders)
    for (const cidr of this.#taken.own())
      if (this.#deps.ledger.get(cidr) === undefined) await this.#mutex.run(cidr, () => this.#reconcile(cidr))
    return listed
  }

  /** Claims one block: creating the object is the claim. It is withdrawn when `confirm`, asked after that, says no. Rejects as the store. */
  claim(cidr: string, confirm: () => Promise<boolean>): Promise<ClaimOutcome> {
    return this.#mutex.run(cidr, async () => {
      const { store, ledger, clock } = this.#deps
      // a claim may have waited for a list meanwhile, and the next agent of this node may write the journal already
      if (this.#closed) throw new Unreachable('the agent is stopping')
      if (ledger.get(cidr) !== undefined) {
        if (this.#unclear.has(cidr)) await this.#reconcile(cidr)
        return ledger.get(cidr) === undefined || this.#unclear.has(cidr) ? 'taken' : 'claimed'
      }
      const block = emptyBlock(cidr, BigInt(Math.trunc(clock.wallMs())) * 1_000_000n)
      try {
        const made = await store.create('IPAMBlock', emitBlock(block, this.#owner()))
        if (!(await confirm())) {
          await this.#delete(made)
          return 'withdrawn'
        }
        this.#taken.note(made)
        this.#base.set(cidr, made)
        this.#leaving.delete(cidr)
        this.#unclear.delete(cidr)
        ledger.put([{ block }])
        return 'claimed'
      } catch (error) {
        if (!(error instanceof Conflict)) {
          this.#queue.add(cidr) // the write may have landed although nobody said so
          throw error
        }
      }
      await this.#reconcile(cidr)
      return ledger.get(cidr) === undefined ? 'taken' : 'claimed'
    })
  }

  /**
   * Gives an empty block back; a block that is in use by then, or that changed at the server, stays. So does any block while
   * the server is away or must not be written: this node may need it before it can claim another one.
   */
  giveBack(cidr: string): Promise<void> {
    return this.#mutex.run(cidr, async () => {
      const base = this.#base.get(cidr)
      if (base !== undefined) await this.#giveBack(base)
    })
  }

  /** For who asks for a block of this node as it is here. The caller holds the block's mutex. */
  async #give(item: BlockObject): Promise<boolean> {
    const { ledger, log, spares } = this.#deps
    const { cidr } = item.spec
    if (spares?.(cidr) !== true) return false
    // a journal that is older than the block knows nothing of pods that were in it, whose addresses may rest
    if (!isEmpty(parseBlock(item)) || sequenceOf(item) > (ledger.get(cidr)?.block.sequence ?? 0n)) return false
    try {
      if (!(await this.#giveBack(item))) return false
    } catch (error) {
      if (!(error instanceof DatabaseError)) throw error
      log.error(
        { err: error, cidr },
        'another node asked for this empty block: the journal cannot be written, so it stays',
      )
      return false
    }
    this.#changed()
    return true
  }

  /** For nodes that ask for addresses of a block of this node. The caller holds the block's mutex. Rejects as the store. */
  async #lend(item: BlockObject): Promise<boolean> {
    const { ledger, lend, mayWrite, log } = this.#deps
    const { cidr } = item.spec
    const owned = ledger.get(cidr)
    if (lend === undefined || this.#closed || !this.#connection.connected || mayWrite?.() === false) return false
    if (owned === undefined || owned.lostTo !== undefined || !this.isClear(cidr)) return false
    if (sequenceOf(item) > owned.block.sequence) {
      // of a copy of the disk, or by a write over the one of somebody else: first they are to be the same
      await this.#reconcile(cidr)
      throw new Conflict(`the IPAMBlock of ${cidr} was newer than the journal`)
    }
    try {
      lend(cidr, wishesOf(item))
    } catch (error) {
      if (!(error instanceof DatabaseError)) throw error
      log.error({ err: error, cidr }, 'other nodes asked for addresses of this block: the journal cannot be written')
      return false
    }
    const { block } = ledger.get(cidr)!
    await this.#write(block, object => this.#deps.store.update('IPAMBlock', object), withoutWishes(item))
    return true
  }

  /** Whether the block, as it is here, has left the journal. */
  async #giveBack(item: BlockObject): Promise<boolean> {
    const { ledger, mayWrite } = this.#deps
    if (this.#closed || !this.#connection.connected || mayWrite?.() === false) return false
    const { cidr } = item.spec
    const owned = ledger.get(cidr)
    if (owned === undefined || owned.lostTo !== undefined || !isEmpty(owned.block)) return false
    ledger.forget(cidr)
    this.#base.delete(cidr)
    try {
      await this.#delete(item)
      this.#queue.forget(cidr)
    } catch (error) {
      if (!isStoreError(error)) throw error
      this.#leaving.set(cidr, owned.block)
      this.#queue.add(cidr) // ours again if it is still there
    }
    return true
  }

  /** Pods of these ranges get no new addresses: that none of them is left is published without a pause. */
  publishEmptied(ranges: readonly string[]): void {
    for (const cidr of this.#queue.unpublished().blocks) {
      const owned = this.#deps.ledger.get(cidr)
      if (owned === undefined || hasPods(owned.block)) continue
      if (ranges.some(range => contains(range, cidr))) this.#queue.add(cidr)
    }
  }

  /** What kept blocks from being published may be over: no pass waits any longer. */
  retryNow(): void {
    this.#queue.hurry()
  }

  /** Publishes all that is waiting, now. Rejects when something could not be published. */
  flush(): Promise<void> {
    return this.#queue.flush()
  }

  #follow(event: WatchEvent<'IPAMBlock'>): void {
    if (event.type === 'sync') {
      this.#sync(event.items)
      return
    }
    const { item } = event
    const { cidr } = item.spec
    if (event.type === 'gone') {
      this.#taken.gone(cidr)
      if (this.#deps.ledger.get(cidr) !== undefined) this.#doubt(cidr)
      return
    }
    this.#taken.note(item)
    this.#answers.follow(item)
    const base = this.#base.get(cidr)
    const owned = this.#deps.ledger.get(cidr) !== undefined
    if (!this.#mine(item)) {
      if (owned) this.#doubt(cidr)
    } else if (!owned) this.#queue.add(cidr)
    // an echo of an own write is not news: it may come before the server's answer, and after a later write
    else if (this.#writing.get(cidr) === sequenceOf(item)) return
    else if (base === undefined || sequenceOf(item) > sequenceOf(base)) this.#invalidate(cidr)
  }

  #sync(items: readonly BlockObject[]): void {
    this.#taken.sync(items)
    for (const item of items) {
      const { cidr } = item.spec
      this.#answers.follow(item)
      const owned = this.#deps.ledger.get(cidr)
      if (owned === undefined) {
        if (this.#mine(item)) this.#queue.add(cidr)
      } else if (!this.#mine(item) || this.#writtenByTwin(item)) this.#doubt(cidr)
      else if (owned.lostTo === undefined && isPublished(owned.block, item, this.#owner())) {
        this.#unclear.delete(cidr)
        this.#base.set(cidr, item)
        this.#queue.delete(cidr)
      } else this.#invalidate(cidr)
    }
    for (const { block } of this.#deps.ledger.blocks())
      if (!items.some(({ spec }) => spec.cidr === block.cidr)) this.#doubt(block.cidr)
    this.#heard()
    this.#noteComplete()
  }

  #heard(): void {
    this.#cancelPatience()
    this.#hearing?.resolve(undefined)
    this.#hearing = undefined
  }

  #doubt(cidr: string): void {
    this.#unclear.add(cidr)
    this.#invalidate(cidr)
  }

  /** The watch has brought all blocks of this node, and the journal has them. */
  #noteComplete(): void {
    const { journal, ledger } = this.#deps
    if (journal.complete || !this.#taken.synced) return
    if (!this.#taken.own().every(cidr => ledger.get(cidr) !== undefined)) return
    journal.setComplete()
    this.#changed()
  }

  #mine({ spec }: BlockObject): boolean {
    return spec.affinity === affinityOf(this.#deps.node)
  }

  /**
   * Whether another journal wrote a block of this node: another agent has the same node name, and both would give the same
   * addresses. A new journal takes the blocks over; whoever had them finds that out here.
   */
  #writtenByTwin(item: BlockObject): boolean {
    const { journal } = this.#deps
    const epoch = epochOf(item)
    return journal.complete && epoch !== undefined && epoch !== journal.epoch
  }

  #owner(): Owner {
    return { node: this.#deps.node, epoch: this.#deps.journal.epoch }
  }

  #invalidate(cidr: string): void {
    this.#base.delete(cidr)
    this.#queue.add(cidr)
  }

  /** For the queue. An empty block of which it was not certain what the server has may be given back from then on. */
  async #publish(cidr: string): Promise<void> {
    const { ledger } = this.#deps
    const wasUncertain = ledger.get(cidr) !== undefined && !this.#base.has(cidr)
    await this.#reconcile(cidr)
    const owned = ledger.get(cidr)
    if (wasUncertain && owned !== undefined && isEmpty(owned.block)) this.#changed()
  }

  /**
   * Brings journal and API server together for one block; the caller holds the block's mutex. Rejects as the store: with
   * Conflict or NotFound where each look at the object finds it changed again. A sick server says that for ever.
   */
  async #reconcile(cidr: string): Promise<void> {
    for (let attempt = 1; !this.#closed; attempt++) {
      try {
        await this.#reconcileOnce(cidr)
        this.#unclear.delete(cidr)
        return
      } catch (error) {
        if (!(error instanceof Conflict || error instanceof NotFound)) throw error
        this.#base.delete(cidr)
        if (attempt < RECONCILE_ATTEMPTS) continue
        this.#queue.add(cidr)
        throw error
      }
    }
    this.#queue.add(cidr)
  }

  /** Throws `Conflict` or `NotFound` when another look is needed. */
  async #reconcileOnce(cidr: string): Promise<void> {
    const { store, ledger, log } = this.#deps
    const base = this.#base.get(cidr) ?? (await this.#read(cidr))
    const owned = ledger.get(cidr)
    if (base === undefined) {
      this.#leaving.delete(cidr)
      if (owned === undefined) return
      if (owned.lostTo !== undefined) return this.#forgetLost(owned)
      const across = await this.#acrossOf(cidr)
      if (across !== undefined) return this.#lose(cidr, across)
      if (isEmpty(owned.block)) {
        // nobody has an address of it, and the next claim looks whether it is free
        ledger.forget(cidr)
        this.#changed()
        return
      }
      await this.#write(owned.block, object => store.create('IPAMBlock', object))
      // of two that claim at once, the later one sees the other only in a list after its claim
      const since = await this.#acrossOf(cidr)
      if (since !== undefined) {
        await this.#delete(this.#base.get(cidr)!)
        return this.#lose(cidr, since)
      }
      log.warn({ cidr }, 'the IPAMBlock of this node was gone and is back')
      return
    }
    this.#taken.note(base)
    if (!this.#mine(base)) return this.#lose(cidr, base.spec.affinity)
    if (this.#writtenByTwin(base)) return this.#lose(cidr, `another agent of the name ${this.#deps.node}`)
    if (owned === undefined) {
      await this.#adopt(base)
      this.#noteComplete()
      return
    }
    if (isPublished(owned.block, base, this.#owner())) {
      this.#base.set(cidr, base)
      if (owned.lostTo !== undefined) ledger.put([{ ...owned, lostTo: undefined }])
      return
    }
    // the journal is written before the server
    if (sequenceOf(base) > owned.block.sequence) this.#deps.outdated?.(parseBlock(base))
    const now = ledger.get(cidr) ?? owned
    const newest = now.block.sequence > sequenceOf(base) ? now.block.sequence : sequenceOf(base) + 1n
    const block = { ...now.block, sequence: newest }
    await this.#write(block, object => store.update('IPAMBlock', object), base)
    // a change made meanwhile has marked the block dirty again; the next round publishes it
    if (ledger.get(cidr)?.block !== now.block) return
    if (newest !== now.block.sequence || now.lostTo !== undefined) ledger.put([{ ...now, block, lostTo: undefined }])
  }

  /** Writes a block as it is, over `base` where there is one. Rejects as the store. */
  async #write(block: Block, write: (object: BlockObject) => Promise<BlockObject>, base?: BlockObject): Promise<void> {
    const { cidr, sequence } = block
    const before = this.#deps.ledger.get(cidr)
    this.#writing.set(cidr, sequence)
    try {
      const written = await write(emitBlock(block, this.#owner(), base))
      this.#base.set(cidr, written)
      this.#taken.note(written)
    } finally {
      this.#writing.delete(cidr)
      // what changed meanwhile was judged by the object as it was before this write
      const owned = this.#deps.ledger.get(cidr)
      if (owned !== before && urgencyOf(owned, this.#base.get(cidr), this.#owner()) === 'now') this.#queue.add(cidr)
    }
  }

  /** Whose block of another size has addresses of this one, by a new list. Rejects as the store. */
  async #acrossOf(cidr: string): Promise<string | undefined> {
    // a server that answers 404 to everything is no ground to forget a block: it does not list any
    await this.#taken.list(Number.NEGATIVE_INFINITY)
    const found = [...this.#taken.all].find(([other]) => other !== cidr && overlaps(other, cidr))
    return found && (found[1] ?? 'nobody')
  }

  async #read(cidr: string): Promise<BlockObject | undefined> {
    try {
      return await this.#deps.store.get('IPAMBlock', blockName(cidr))
    } catch (error) {
      if (error instanceof NotFound) return undefined
      throw error
    }
  }

  /** Deletes a block as it is here. Rejects as the store, with Conflict where it is another one by now. */
  async #delete({ spec: { cidr }, metadata: { uid, resourceVersion } }: BlockObject): Promise<void> {
    await this.#deps.store.delete('IPAMBlock', blockName(cidr), { uid, resourceVersion })
    this.#taken.gone(cidr)
  }

  /**
   * The journal is behind (a crash after the claim, or a lost disk): takes the block as the API server has it. A block that
   * could not be given back is empty: the server may have pods in it that ended since. An empty one may be a claim that nobody
   * has confirmed, since its answer was lost: it goes back where a block of another size shares addresses with it.
   */
  async #adopt(base: BlockObject): Promise<void> {
    const { store, ledger, log } = this.#deps
    const { cidr } = base.spec
    const block = { ...(this.#leaving.get(cidr) ?? parseBlock(base)), sequence: sequenceOf(base) + 1n }
    if (isEmpty(block) && (await this.#acrossOf(cidr)) !== undefined) {
      await this.#delete(base)
      this.#leaving.delete(cidr)
      return
    }
    await this.#write(block, object => store.update('IPAMBlock', object), base)
    const wasLeaving = this.#leaving.delete(cidr)
    ledger.put([{ block }])
    if (wasLeaving) this.#changedLater()
    log.info({ cidr: block.cidr, used: block.slots.length - block.free.length }, 'block adopted from the API server')
  }

  /** For blocks that could not be given back: that is tried again. */
  #changedLater(): void {
    this.#cancelLater()
    this.#cancelLater = this.#deps.clock.after(GIVE_BACK_AGAIN_MS, () => this.#changed())
  }

  #lose(cidr: string, affinity: string | undefined): void {
    const { ledger, log } = this.#deps
    const owned = ledger.get(cidr)
    this.#base.delete(cidr)
    this.#leaving.delete(cidr)
    if (owned === undefined) return
    const lostTo = affinity ?? 'nobody'
    if (isEmpty(owned.block)) this.#forgetLost(owned)
    else if (owned.lostTo !== lostTo) {
      log.error({ cidr, lostTo }, 'this block belongs to another node now; its pods here must be restarted')
      ledger.put([{ ...owned, lostTo }])
    }
  }

  #forgetLost({ block }: OwnedBlock): void {
    if (isEmpty(block)) this.#deps.ledger.forget(block.cidr)
  }
}
