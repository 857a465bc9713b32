// Addresses that owners of other blocks lend to this node, one at a time, where no block is free. What it needs, has and has no more it
// writes into the block's object, all in one entry of its own; the owner answers by the allocations (`lending.ts`). An address is
// this node's once the object says so, and is in the journal before a pod has it, as a block of one; it stays there, without a
// pod, until the object says that it is lent to this node no more.
// Hazards: a write whose answer was lost may still arrive. So nothing is taken from an object of which this life of the agent has not
// written a version: an address that the object names and the journal does not is taken only after such a write, which makes every
// older one fail. What this node, or a machine of its name before it, said is free belongs to the owner from then on, which may give
// it to a pod before its own write arrives: so that stays said until the object lends it no more. And whoever has an address next
// must not lose packets to a route of this one: it is asked to be freed only once the other nodes have no route to it here.
// Over 400 lines: asks for, takes, gives back and loses an address by one look at its block, under one lock.
import { type Borrower, wishesOf, withWish } from '../api/address-wishes.ts'
import type { Resource } from '../api/kinds.ts'
import { blockName } from '../api/names.ts'
import { Conflict, NotFound, Refused, type Store, Unreachable } from '../datastore/port.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { DatabaseError } from '../lib/database.ts'
import { familyOf } from '../lib/ip.ts'
import { KeyedMutex } from '../lib/keyed-mutex.ts'
import type { Log } from '../lib/log.ts'
import { affinityOf, assign, emptyBlock, isEmpty, parseBlock, type Slot } from './block.ts'
import { addressOf, borrowerOf, isSameWish, type Wish, wishFor } from './borrower-wish.ts'
import type { Journal, OwnedBlock } from './journal.ts'
import type { Ledger } from './ledger.ts'
import { lentTo } from './lending.ts'
import { ANSWER_MS, type Asked, type OwnerRound } from './owner-round.ts'
import { PublishQueue } from './publish-queue.ts'

type BlockObject = Resource<'IPAMBlock'>

export type BorrowingDeps = {
  node: string
  store: Pick<Store, 'get' | 'update'>
  ledger: Ledger
  journal: Pick<Journal, 'lenders' | 'noteLender' | 'forgetLender'>
  clock: Clock
  log: Log
  round: OwnerRound
  /** Whether `store` may be written now. Absent: always. */
  mayWrite?: () => boolean
  /** Resolves once other nodes have no route to an address here any more, or are not waited for. Absent: they have none. */
  withdrawn?: (cidr: string) => Promise<void>
  /** Frees what no pod of this node has: addresses came back of which the journal knew nothing. */
  collect?: () => Promise<unknown>
}

/** The first look for an answer, and the longest time between two. */
const FIRST_LOOK_MS = 50
const MOST_LOOK_MS = 400
/** For so long an address waits for a pod: the runtime repeats an ADD that was too late for it. */
const FRESH_MS = 60_000
/** How often the blocks with addresses of this node are looked at: they may have been taken from their owner. */
const LOOK_EVERY_MS = 60_000
/** For so long after the last wish a block is looked at: its owner may have lent an address before it heard that nobody wants one. */
const FORGET_MS = 300_000
/** When it is looked whether an owner has done what was written, which nobody waits for. */
const LOOK_ONCE_MS = 2_000
/** How often one look at a block begins anew because it changed meanwhile. */
const ATTEMPTS = 4

/** `isWritten`: it was in the object, as this life of the agent knows. `isActive`: somebody still waits. */
type Want = { borrower: Borrower; isActive: boolean; isWritten: boolean; answer: Asked['answer'] | undefined }

export class Borrowing {
  readonly #deps: BorrowingDeps
  readonly #mutex = new KeyedMutex()
  readonly #queue: PublishQueue
  /** What was asked of blocks, by handle. */
  readonly #wants = new Map<string, Map<string, Want>>()
  /** Addresses without a pod that one may have, and what ends that. */
  readonly #fresh = new Map<string, Cancel>()
  /** Addresses without a pod to which nobody has a route here any more. */
  readonly #quiet = new Set<string>()
  readonly #leaving = new Set<string>()
  /** When a wish was written last, or a block looked at first, on the monotonic clock. */
  readonly #wishedMs = new Map<string, number>()
  /** Ends the waits for a look at a block. */
  readonly #looks = new Map<string, Cancel>()
  readonly #stopListening: () => void
  #changed: () => void = () => undefined
  #cancel: Cancel = () => undefined
  #closed = false

  constructor(deps: BorrowingDeps) {
    this.#deps = deps
    this.#queue = new PublishQueue({ ...deps, publish: lender => this.settle(lender) })
    this.#stopListening = deps.ledger.onChange(cidr => this.#follow(cidr))
  }

  /** Begins to bring journal and objects together. `changed`: other addresses may be announced, or given to pods. */
  start(changed: () => void): void {
    this.#changed = changed
    this.#queue.start()
    this.#lookAgain()
    for (const row of this.#deps.ledger.borrowed()) this.#follow(row.block.cidr)
  }

  /** Nothing is written any more when this resolves. */
  async close(): Promise<void> {
    this.#closed = true
    this.#cancel()
    for (const cancel of [...this.#fresh.values(), ...this.#looks.values()]) cancel()
    this.#stopListening()
    await this.#queue.close()
    await this.#mutex.idle()
  }

  /** The API server may be written again. */
  retryNow(): void {
    this.#queue.hurry()
  }

  /** Blocks of other nodes, by a list of all, with addresses that are lent to this one. */
  found(lenders: readonly string[]): void {
    const known = new Set(this.#deps.ledger.borrowed().map(({ lender }) => lender))
    for (const lender of lenders) if (!known.has(lender)) this.#note(lender)
  }

  /** Borrowed addresses that a pod may have now. */
  fresh(): OwnedBlock[] {
    return this.#deps.ledger
      .borrowed()
      .filter(({ block, lostTo }) => this.#fresh.has(block.cidr) && lostTo === undefined)
  }

  /** Borrowed addresses to which other nodes shall have a route here. */
  announced(): OwnedBlock[] {
    const borrowed = this.#deps.ledger.borrowed().filter(({ lostTo }) => lostTo === undefined)
    return borrowed.filter(({ block }) => !isEmpty(block) || this.#fresh.has(block.cidr))
  }

  /** Asks owners of blocks for an address, one after the other until one lends it, `most` at the most. Rejects as the store, and with DatabaseError. */
  ask(
    blocks: readonly (readonly [cidr: string, affinity: string])[],
    borrower: Borrower,
    most: number,
  ): Promise<Asked[]> {
    const { round } = this.#deps
    return round.ask(blocks, { what: 'address', most }, (cidr, affinity) => this.#askOne(cidr, affinity, borrower))
  }

  async #askOne(lender: string, affinity: string, borrower: Borrower): Promise<Asked['answer']> {
    const { journal, round } = this.#deps
    journal.noteLender(lender)
    const want = this.want(lender, borrower)
    try {
      for (let [waitedMs, lookMs] = [0, FIRST_LOOK_MS]; ; lookMs = Math.min(MOST_LOOK_MS, lookMs * 2)) {
        await this.settle(lender, affinity).catch(ignoreConflict)
        if (want.answer !== undefined) return want.answer
        if (waitedMs >= ANSWER_MS || round.closed) return 'silent'
        await round.pause(lookMs)
        waitedMs += lookMs
      }
    } catch (error) {
      if (error instanceof Refused) return 'refused'
      throw error
    } finally {
      want.isActive = false
      this.#queue.add(lender)
    }
  }

  /** A pod needs an address of a block: the next looks ask for it. */
  want(lender: string, borrower: Borrower): Want {
    const wants = this.#wants.get(lender) ?? new Map<string, Want>()
    const want: Want = { borrower, isActive: true, isWritten: false, answer: undefined }
    this.#wants.set(lender, wants.set(borrower.handle, want))
    return want
  }

  /** One look at the object of a block. `affinity`: whose it must be for who asks. Rejects as the store, and with DatabaseError. */
  settle(lender: string, affinity?: string): Promise<void> {
    return this.#mutex.run(lender, async () => {
      for (let attempt = 1; !this.#closed; attempt++) {
        try {
          return await this.#settleOnce(lender, affinity)
        } catch (error) {
          if (!(error instanceof Conflict || error instanceof NotFound) || attempt === ATTEMPTS) throw error
        }
      }
    })
  }

  async #settleOnce(lender: string, affinity: string | undefined): Promise<void> {
    const { node, ledger, mayWrite } = this.#deps
    const item = await this.#read(lender)
    // what a server says that is not believed, or is being filled by an import, is no news of a block
    if (this.#closed || mayWrite?.() === false) throw new Unreachable('the API server may not be written now')
    const wants = this.#wants.get(lender) ?? new Map<string, Want>()
    if (affinity !== undefined && item?.spec.affinity !== affinity) refuse(wants)
    if (item === undefined || item.spec.affinity === affinityOf(node)) {
      for (const row of this.#rows(lender)) this.#lose(row, item === undefined ? 'nobody' : 'this node itself')
      refuse(wants)
      this.#forget(lender)
      return
    }
    const lent = lentTo(parseBlock(item), node)
    const entry = wishesOf(item).get(node)
    for (const row of this.#rows(lender))
      if (!lent.has(row.block.cidr)) this.#lose(row, item.spec.affinity ?? 'nobody')
      else if (row.lostTo !== undefined) ledger.put([{ ...row, lostTo: undefined }])
    const isAsked = (handle: string) => entry?.want.some(want => want.handle === handle) === true
    for (const [handle, want] of wants) if (isAsked(handle)) want.isWritten = true
    const returned = [...lent.keys()].filter(cidr => entry?.free.includes(addressOf(cidr)) && this.#isUnused(cidr))
    const unknown: (readonly [cidr: string, slot: Slot])[] = []
    for (const [cidr, slot] of lent) {
      if (returned.includes(cidr)) continue
      const row = ledger.get(cidr)
      const want = wants.get(slot.handle)
      if (want?.isWritten && (row === undefined || (isEmpty(row.block) && !this.#fresh.has(cidr))))
        this.#take(lender, cidr, want)
      else if (row === undefined) unknown.push([cidr, slot])
    }
    for (const [handle, want] of wants) {
      if (isAsked(handle) || lent.values().some(slot => slot.handle === handle)) continue
      if (want.isActive && want.isWritten) want.answer ??= 'kept'
      if (!want.isActive || want.answer !== undefined) wants.delete(handle)
    }
    const asking = wants.values().filter(({ isActive, answer }) => isActive && answer === undefined)
    const wish = wishFor(
      [...asking].map(({ borrower }) => borrower),
      this.#rows(lender),
      lent,
      this.#quiet,
      returned,
    )
    if (unknown.length > 0 || !isSameWish(wish, entry)) {
      await this.#write(item, wish, unknown)
      for (const [handle, want] of wants) if (wish.want.some(asked => asked.handle === handle)) want.isWritten = true
      for (const [cidr, slot] of unknown) this.#adopt(lender, cidr, slot)
      return
    }
    const isOver = wants.size === 0 && lent.size === 0 && this.#rows(lender).length === 0 && entry === undefined
    if (isOver && this.#isQuiet(lender)) this.#forget(lender)
  }

  /** Writes this node's entry, over the version that was decided on. Rejects as the store. */
  async #write(
    item: BlockObject,
    wish: Wish,
    unknown: readonly (readonly [cidr: string, slot: Slot])[],
  ): Promise<void> {
    const { node, store, clock } = this.#deps
    // who takes an address that it does not know says so: a write that changes nothing would make no version
    const hold = [...wish.hold, ...unknown.map(([cidr, slot]) => ({ address: addressOf(cidr), ...borrowerOf(slot) }))]
    const isNothing = wish.want.length === 0 && hold.length === 0 && wish.free.length === 0
    const entry = isNothing ? undefined : { at: new Date(clock.wallMs()).toISOString(), ...wish, hold }
    const lender = item.spec.cidr
    this.#wishedMs.set(lender, clock.monotonicMs())
    await store.update('IPAMBlock', withWish(item, node, entry))
    this.#lookSoon(lender)
  }

  #lookSoon(lender: string): void {
    this.#looks.get(lender)?.()
    if (!this.#closed)
      this.#looks.set(
        lender,
        this.#deps.clock.after(LOOK_ONCE_MS, () => this.#queue.add(lender)),
      )
  }

  /** The owner has lent an address that was asked for. */
  #take(lender: string, cidr: string, want: Want): void {
    this.#makeFresh(cidr)
    this.#deps.ledger.put([{ block: emptyBlock(cidr, 0n), lender }])
    this.#wants.get(lender)?.delete(want.borrower.handle)
    want.answer = 'given'
    this.#changed()
  }

  /** An address that is lent to this node, and of which the journal knows nothing: it was lost, or the answer came after a crash. */
  #adopt(lender: string, cidr: string, slot: Slot): void {
    const { ledger, collect, log } = this.#deps
    const want = this.#wants.get(lender)?.get(slot.handle)
    if (want !== undefined) {
      this.#take(lender, cidr, want)
      return
    }
    const empty = emptyBlock(cidr, 0n)
    // a pod that has an address of this family by now was given another one
    const isServed =
      ledger
        .held()
        .get(slot.handle)
        ?.some(({ family }) => family === familyOf(addressOf(cidr))) === true
    ledger.put([{ block: isServed ? empty : assign(empty, slot, 0), lender }])
    log.info({ address: cidr, handle: slot.handle }, 'an address that another node lent to this one is adopted')
    this.#changed()
    if (!isServed) void collect?.()
  }

  #makeFresh(cidr: string): void {
    this.#quiet.delete(cidr)
    this.#fresh.get(cidr)?.()
    this.#fresh.set(
      cidr,
      this.#deps.clock.after(FRESH_MS, () => {
        this.#fresh.delete(cidr)
        this.#changed()
        this.#follow(cidr)
      }),
    )
  }

  /** A borrowed address was given to a pod, or released, or is gone. */
  #follow(cidr: string): void {
    const row = this.#deps.ledger.get(cidr)
    if (row === undefined || row.lender === undefined) {
      this.#quiet.delete(cidr)
      return
    }
    if (!isEmpty(row.block)) {
      this.#fresh.get(cidr)?.()
      this.#fresh.delete(cidr)
      this.#note(row.lender)
    } else if (!this.#fresh.has(cidr)) void this.#leave(cidr, row.lender)
  }

  /** Asks the owner to free an address, once nobody has a route to it here. */
  async #leave(cidr: string, lender: string): Promise<void> {
    const { ledger, withdrawn } = this.#deps
    if (this.#leaving.has(cidr)) return
    this.#leaving.add(cidr)
    await withdrawn?.(cidr)
    this.#leaving.delete(cidr)
    const row = ledger.get(cidr)
    if (this.#closed || row === undefined || !isEmpty(row.block) || this.#fresh.has(cidr)) return
    this.#quiet.add(cidr)
    this.#note(lender)
  }

  /** An address is this node's no more, by its object. */
  #lose(row: OwnedBlock, lostTo: string): void {
    const { ledger, log } = this.#deps
    const { cidr } = row.block
    if (isEmpty(row.block)) {
      this.#fresh.get(cidr)?.()
      this.#fresh.delete(cidr)
      ledger.forget(cidr)
      this.#changed()
    } else if (row.lostTo !== lostTo) {
      log.error({ address: cidr, lostTo }, 'this address is not lent to this node any more; its pod must be restarted')
      ledger.put([{ ...row, lostTo }])
      this.#changed()
      // its owner makes a block again that somebody deleted
      this.#lookSoon(row.lender!)
    }
  }

  /** No pod of this node has the address or shall get it. */
  #isUnused(cidr: string): boolean {
    const row = this.#deps.ledger.get(cidr)
    return row === undefined || (isEmpty(row.block) && !this.#fresh.has(cidr))
  }

  #rows(lender: string): OwnedBlock[] {
    return this.#deps.ledger.borrowed().filter(row => row.lender === lender)
  }

  /** Something of a block is to be looked at, also by the next agent. */
  #note(lender: string): void {
    const { journal, log } = this.#deps
    try {
      journal.noteLender(lender)
    } catch (error) {
      if (!(error instanceof DatabaseError)) throw error
      log.error({ err: error, lender }, 'the journal cannot be written')
    }
    this.#queue.add(lender)
  }

  #isQuiet(lender: string): boolean {
    const nowMs = this.#deps.clock.monotonicMs()
    const sinceMs = this.#wishedMs.get(lender) ?? nowMs
    this.#wishedMs.set(lender, sinceMs)
    return nowMs - sinceMs >= FORGET_MS
  }

  #forget(lender: string): void {
    this.#wishedMs.delete(lender)
    if (
      this.#wants
        .get(lender)
        ?.values()
        .some(({ isActive }) => isActive)
    )
      return
    this.#wants.delete(lender)
    if (this.#rows(lender).length === 0) this.#deps.journal.forgetLender(lender)
  }

  #lookAgain(): void {
    for (const lender of this.#deps.journal.lenders()) this.#queue.add(lender)
    this.#cancel = this.#deps.clock.after(LOOK_EVERY_MS, () => this.#lookAgain())
  }

  async #read(lender: string): Promise<BlockObject | undefined> {
    try {
      return await this.#deps.store.get('IPAMBlock', blockName(lender))
    } catch (error) {
      if (error instanceof NotFound) return undefined
      throw error
    }
  }
}

/** Others write a block at the same time: it is looked at once more. */
function ignoreConflict(error: unknown): void {
  if (!(error instanceof Conflict)) throw error
}

/** Nothing is to be had of a block. */
function refuse(wants: ReadonlyMap<string, Want>): void {
  for (const want of wants.values()) want.answer ??= 'kept'
}
