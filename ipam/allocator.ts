// The node's allocator: answers from memory, with the journal written before the answer, and lets `claims.ts` get
// blocks and publish them. Nothing here waits for the API server unless this node has no free address left.
// Over 400 lines: what the allocator promises, a few lines each; the parts have files of their own.
import type { Borrower } from '../api/address-wishes.ts'
import { type IpPool, poolOf } from '../api/pools.ts'
import type { Condition } from '../api/status.ts'
import type { Caches } from '../datastore/cache.ts'
import { isStoreError, type Store } from '../datastore/port.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { DatabaseError } from '../lib/database.ts'
import { addressAt, contains, type Family, familyOf, indexOf } from '../lib/ip.ts'
import type { Log } from '../lib/log.ts'
import { assign, type Block, emptyBlock, freeSlot, type Holder, isEmpty, isLent, rename } from './block.ts'
import { BorrowerAnswers } from './borrower-answers.ts'
import { addressOf } from './borrower-wish.ts'
import { Borrowing } from './borrowing.ts'
import { Claims } from './claims.ts'
import { ipamConditions } from './conditions.ts'
import { familiesOf } from './families.ts'
import { InUse } from './in-use.ts'
import { InputWatch } from './input-watch.ts'
import type { Inputs } from './inputs.ts'
import type { Journal, OwnedBlock } from './journal.ts'
import { lanRefusal } from './lan.ts'
import { Ledger } from './ledger.ts'
import { Lender } from './lender.ts'
import { lentOf } from './lending.ts'
import { NewBlock, type SubnetBlock } from './new-block.ts'
import { NewBlocks } from './new-blocks.ts'
import { OwnerRound } from './owner-round.ts'
import { blockOf, type Choice, carries, lowWater, poolsFor, type Selects, turnOf } from './pick.ts'
import { PoolHold } from './pool-hold.ts'
import {
  type AllocationAttributes,
  type Allocator,
  type Assigned,
  type AssignRefusal,
  type AssignRequest,
  type AwaitsBlock,
  BLOCK_PATIENCE_MS,
  gatewayHandle,
  type OwnBlock,
  PLUGIN_HANDLE,
  PLUGIN_TYPE,
  type SubnetRequest,
} from './port.ts'
import { addressTaken, unreachable } from './refusals.ts'
import { type PodName, podNameOf, REST_MS, Resting, type Sets } from './resting.ts'
import { type Room, reservedAside, roomFor } from './room.ts'
import { Scarcity } from './scarcity.ts'
import { type SpareRefusal, SpareRefusals } from './spare-refusals.ts'
import { isOf, isOnLan, isSubnetSize, type Places, placesIn, subnetOf } from './subnet.ts'
import { hasPods } from './urgency.ts'

export type AllocatorDeps = {
  node: string
  store: Store
  /** The same store where it may be written at any time, for the answers that this node lives. Absent: `store`. */
  answers?: Store
  /** Whether `store` may be written now, as far as this node knows: else no block is given back, and no pool let go. Absent: always. */
  mayWrite?: () => boolean
  /** Where pools, reservations and settings are seen. */
  caches: Pick<Caches, 'of'>
  journal: Journal
  clock: Clock
  log: Log
  /** Whether selectors of pools choose this node, or a namespace, as things stand now. */
  selects: Selects
  /** Frees what no pod of this node has, where somebody asks for it. Absent: nothing is freed. */
  collect?: () => Promise<unknown>
  /** What is known of the addresses in the sets of other nodes. Absent: they have none. */
  sets?: Sets
  /** Resolves once other nodes have a route to a block, or are not waited for any more. Absent: no pod waits for that. */
  reached?: (cidr: string) => Promise<void>
  /** Resolves once other nodes have no route to an address here any more, or are not waited for. Absent: they have none. */
  withdrawn?: (cidr: string) => Promise<void>
  /** Whether a single address of another node can be used here: each node can be told the route, and asked for it. Absent: always. */
  canBorrow?: () => boolean
  /** The `namespace/name` of the pod to which an address leads that is nobody's own (a floating address). Absent: there are none. */
  floatsTo?: (address: string) => string | undefined
}

const STOPPING = 'the agent is stopping'
/** When a node with a new journal lists all blocks, if no claim did. */
const FIND_AFTER_MS = 10_000
const FIND_AGAIN_MS = 60_000
const NO_POOL_SEEN = unreachable('this node has not seen any IPPool yet')
const FAMILIES: readonly Family[] = ['ipv4', 'ipv6']
const SCARCE: SpareRefusal = {
  refused: 'scarce',
  message:
    'nodes without an address asked others for empty blocks within 20 minutes, so none is taken ahead of the pods',
  remedy: 'add an IPPool, or release addresses: margayctl ipam show --show-blocks',
}

type Place = Places & { owned: OwnedBlock; pool: IpPool }

/** What to do for one family of a request: take a slot of an own block, get a block first, or wait for other nodes to know one. */
type Plan =
  | Place
  | { claim: readonly IpPool[]; exact?: string }
  | { reached: Promise<void>; block: string }
  | AssignRefusal

export class NodeAllocator implements Allocator {
  readonly #deps: AllocatorDeps
  readonly #ledger: Ledger
  readonly #claims: Claims
  readonly #inputs: InputWatch
  readonly #listeners = new Set<(blocks: readonly OwnBlock[]) => void>()
  readonly #newBlock: NewBlock
  readonly #borrowing: Borrowing
  readonly #borrowerAnswers: BorrowerAnswers
  readonly #hold: PoolHold
  readonly #refusals: SpareRefusals
  readonly #scarcity: Scarcity
  /** Addresses that pods have, whatever the blocks say: they are held as soon as their block is here. */
  readonly #inUse: InUse
  readonly #resting: Resting
  readonly #newBlocks: NewBlocks | undefined
  #cancelRest: Cancel = () => undefined
  #cancelFind: Cancel = () => undefined
  /** Ends the wait for a block of each request that waits. */
  readonly #waiting = new Set<() => void>()
  /** Until when, on the monotonic clock, a pod may wait for a block that is empty yet: it is not given back before. */
  readonly #awaitedMs = new Map<string, number>()
  #announced = ''
  #closed = false

  /** Usable at once from what the journal has; `start` connects it to the API server. */
  constructor(deps: AllocatorDeps) {
    this.#deps = deps
    this.#ledger = new Ledger(deps.journal)
    this.#inUse = new InUse(deps.node)
    const held = new Set([...this.#ledger.held().values()].flat().map(({ address }) => address))
    this.#resting = new Resting(deps.clock, deps.journal, address => held.has(address), deps.sets)
    this.#inputs = new InputWatch(deps.caches)
    const lender = new Lender({
      ...{ node: deps.node, ledger: this.#ledger, resting: this.#resting, inUse: this.#inUse, clock: deps.clock },
      inputs: () => (this.#closed ? undefined : this.#inputs.current),
      isAwaited: cidr => this.#isAwaited(cidr),
    })
    const outdated = (block: Block) => {
      lender.keepLent(block)
      this.#takeUnknown(block)
    }
    const round = new OwnerRound(deps)
    const { answers = deps.store } = deps
    this.#borrowing = new Borrowing({ ...deps, ledger: this.#ledger, round })
    this.#borrowerAnswers = new BorrowerAnswers({ ...deps, store: answers, lenders: () => deps.journal.lenders() })
    this.#claims = new Claims({
      ...deps,
      answers,
      ledger: this.#ledger,
      outdated,
      spares: cidr => this.#spares(cidr),
      lend: (cidr, wishes) => {
        lender.lend(cidr, wishes)
        this.#keepSpare()
      },
      found: lenders => this.#borrowing.found(lenders),
    })
    this.#hold = new PoolHold({ ...deps, turn: turnOf(deps.node), own: () => this.#holding() })
    this.#scarcity = new Scarcity(deps.clock)
    const asking = (family: Family) => this.#noteScarce(family)
    const { canBorrow = () => true } = deps
    this.#newBlock = new NewBlock({
      ...deps,
      ...{ claims: this.#claims, ledger: this.#ledger, hold: this.#hold, asking },
      ...{ round, borrowing: this.#borrowing, canBorrow },
    })
    this.#refusals = new SpareRefusals({ ...deps, again: family => this.#keepSpare([family]) })
    const withPods = [...this.#ledger.blocks(), ...this.#ledger.borrowed()].filter(({ block }) => hasPods(block))
    this.#newBlocks =
      deps.reached &&
      new NewBlocks(
        withPods.map(({ block }) => block.cidr),
        deps.reached,
      )
    this.#announced = this.#blocksKey()
    this.#ledger.onChange(cidr => {
      if (this.#ledger.get(cidr) === undefined) {
        this.#resting.forget(cidr)
        this.#newBlocks?.forget(cidr)
        this.#awaitedMs.delete(cidr)
      }
      this.#takeHome(cidr)
      this.#holdWithin(cidr)
      this.#announce()
    })
  }

  /** Follows pools and blocks at the API server from now on, publishes, and keeps a spare block. */
  start(): void {
    this.#inputs.start(() => this.#keepSpare())
    this.#spreadBlocks()
    this.#claims.start(() => {
      this.#announce()
      this.#keepSpare()
    })
    this.#borrowing.start(() => this.#announce())
    this.#borrowerAnswers.start()
    if (!this.blocksKnown) this.#cancelFind = this.#deps.clock.after(FIND_AFTER_MS, () => this.#findBorrowed())
  }

  /** A new journal knows nothing of what was lent to this node before. Where a block is claimed before, all were listed by then. */
  #findBorrowed(): void {
    const failed = (error: unknown) => {
      this.#logFailure(error, 'addresses that other nodes lent to this one cannot be found')
      if (!this.#closed) this.#cancelFind = this.#deps.clock.after(FIND_AGAIN_MS, () => this.#findBorrowed())
    }
    this.#claims.learnTaken(Number.POSITIVE_INFINITY).catch(failed)
  }

  /** For a stop: from now on nothing is assigned or claimed, and requests that wait for a block are refused at once. */
  refuse(): void {
    this.#closed = true
    for (const end of this.#waiting) end()
  }

  /** Stops; what is not yet published is in the journal and goes out after the next start. */
  async close(): Promise<void> {
    this.refuse()
    this.#inputs.close()
    this.#hold.close()
    this.#newBlock.close()
    this.#refusals.close()
    this.#cancelRest()
    this.#cancelFind()
    await this.#borrowerAnswers.close()
    await this.#borrowing.close()
    await this.#claims.close()
  }

  /** The API server may be written again: nothing waits any longer for its next attempt. */
  retryNow(): void {
    this.#claims.retryNow()
    this.#borrowing.retryNow()
    this.#hold.beginAnew()
    this.#keepSpare()
  }

  /** The selectors of pools may choose otherwise now: blocks are claimed, and empty ones given back, as they do. */
  selectsChanged(): void {
    this.#keepSpare()
  }

  /** Publishes what is waiting, now: for a graceful stop. Rejects when the API server cannot be reached. */
  flush(): Promise<void> {
    return this.#claims.flush()
  }

  held(): ReadonlyMap<string, readonly Assigned[]> {
    return this.#ledger.held()
  }

  holder(handle: string): AllocationAttributes | undefined {
    const [held] = [...this.#heldBy(handle), ...(this.#ledger.held().get(handle) ?? [])]
    const block = held && this.#ledger.get(held.block)?.block
    const slot = block?.slots[indexOf(block.cidr, held!.address) ?? 0]
    return slot ? { ...slot.secondary, node: slot.secondary['node'] ?? this.#deps.node } : undefined
  }

  blocks(): readonly OwnBlock[] {
    const pools = this.#inputs.current?.pools ?? []
    return this.#own().map(({ block }) => {
      const network = subnetOf(block)
      return {
        cidr: block.cidr,
        pool: poolOf(pools, block.cidr)?.metadata.name ?? '',
        used: block.slots.length - block.free.length,
        size: block.slots.length,
        ...(network !== undefined && { subnetOf: network }),
        ...(isOnLan(block) && { isOnLan: true as const }),
      }
    })
  }

  borrowed(): readonly string[] {
    return this.#borrowing.announced().map(({ block }) => block.cidr)
  }

  lent(): readonly string[] {
    return [...this.lentTo().keys()]
  }

  lentTo(): ReadonlyMap<string, string> {
    const lent = this.#own().flatMap(({ block }) => [...lentOf(block, this.#deps.node)])
    return new Map(lent.map(([cidr, { secondary }]) => [cidr, secondary['node']!]))
  }

  /** The version of each block of this node, by its CIDR: of the IPAMBlock once it is published as it is. */
  sequences(): ReadonlyMap<string, bigint> {
    return new Map(this.#own().map(({ block }) => [block.cidr, block.sequence]))
  }

  /** For each family that a pool of this node serves: free addresses that a pod may have now, and pods until a block more is claimed. */
  room(): { family: Family; free: number; untilBlock: number }[] {
    const inputs = this.#inputs.current
    if (inputs === undefined) return []
    const resting = this.#resting.counts(inputs.config.ipCooldownSeconds)
    return FAMILIES.flatMap(family => {
      const { pools, serving, free } = this.#room(family, inputs, cidr => resting.get(cidr) ?? 0)
      const last = serving.at(-1)
      const untilBlock = last === undefined ? 0 : Math.max(0, free - lowWater(last.block.cidr))
      return pools.length === 0 ? [] : [{ family, free, untilBlock }]
    })
  }

  onBlocks(listen: (blocks: readonly OwnBlock[]) => void): () => void {
    this.#listeners.add(listen)
    return () => this.#listeners.delete(listen)
  }

  /** Whether the journal has the blocks that the API server has for this node: after its loss they come from there. */
  get blocksKnown(): boolean {
    return this.#deps.journal.complete
  }

  /** Whether the blocks of this node are watched, and if not why. */
  get connection(): Claims['connection'] {
    return this.#claims.connection
  }

  /** What is wrong with pools and blocks; empty when all is well. */
  conditions(): Condition[] {
    const { selects } = this.#deps
    const blocks = [...this.#ledger.blocks(), ...this.#ledger.borrowed()]
    const { current } = this.#inputs
    const pools = current?.pools
    const unpublished = this.#claims.unpublished()
    const refused =
      current === undefined ? [] : this.#refusals.conditions(family => this.#room(family, current, () => 0))
    return [...ipamConditions({ pools, selects, blocks, unpublished }), ...refused]
  }

  async assign(
    request: AssignRequest,
    within?: (assigned: readonly Assigned[]) => void,
  ): Promise<readonly Assigned[] | AssignRefusal> {
    const deadline = this.#deps.clock.monotonicMs() + BLOCK_PATIENCE_MS
    for (;;) {
      const answer = this.assignNow(request, within)
      if (!('awaits' in answer)) return answer
      const failed = await answer.awaits(deadline)
      if (failed !== undefined) return failed
    }
  }

  assignNow(
    request: AssignRequest,
    within?: (assigned: readonly Assigned[]) => void,
  ): readonly Assigned[] | AssignRefusal | AwaitsBlock {
    if (this.#closed) return unreachable(STOPPING)
    const held = this.#heldBy(request.handle)
    const inputs = this.#inputs.current
    const families = familiesOf(request, held, family => this.#refusalOf(request, family, inputs))
    if ('refused' in families) return families
    const missing = families.filter(family => !held.some(has => has.family === family))
    if (missing.length === 0) {
      const again = families.flatMap(family => held.filter(has => has.family === family))
      within?.(again)
      return again
    }
    if (inputs === undefined) return NO_POOL_SEEN
    const { hearing } = this.#claims
    if (hearing !== undefined) return { awaits: deadlineMs => this.#withDeadline(hearing, deadlineMs) }
    const plans = missing.map(family => this.#plan(request, family, inputs))
    const refusal = plans.find(plan => 'refused' in plan)
    if (refusal !== undefined) return refusal
    const short = plans.find(plan => 'claim' in plan)
    if (short !== undefined) {
      const { exact } = short
      const subnet = subnetBlock(request, inputs)
      const claim = this.#newBlock
        .claim(short.claim, inputs, { exact, isNeeded: true, borrower: borrowerOf(request, exact), subnet })
        .then(refused => this.#restingToo(refused))
      const awaits = (deadlineMs: number) => {
        const held = claim.then(refused => {
          if (refused === undefined) this.#keepFor(short.claim, deadlineMs)
          return refused
        })
        return this.#withDeadline(held, deadlineMs)
      }
      return { awaits }
    }
    const early = plans.find(plan => 'reached' in plan)
    if (early !== undefined) {
      const reached = early.reached.then(() => undefined)
      const late = 'not every node that is up has said that it has a route to the new block'
      const awaits = (deadlineMs: number) => {
        this.#keepUntil(early.block, deadlineMs)
        return this.#withDeadline(reached, deadlineMs, late)
      }
      return { awaits }
    }
    const places = plans.filter(plan => 'ordinal' in plan)
    const added = places.map(({ owned: { block }, ordinal }): Assigned => {
      const address = addressAt(block.cidr, ordinal)
      return { address, family: familyOf(address), block: block.cidr }
    })
    const assigned = families.flatMap(family => [...held, ...added].filter(has => has.family === family))
    this.#record(request, places, () => within?.(assigned))
    if (request.use !== 'Tunnel') this.#hold.given(places.map(({ pool }) => pool))
    this.#keepSpare()
    return assigned
  }

  hold({ handle, attributes }: Pick<AssignRequest, 'handle' | 'attributes'>, addresses: readonly string[]): void {
    const holder = this.#holder(handle, attributes)
    const earlier = this.#inUse.set(holder, addresses)
    for (const { block } of [...this.#ledger.blocks(), ...this.#ledger.borrowed()])
      this.#holdWithin(block.cidr, earlier)
  }

  isServed(request: AssignRequest): boolean {
    const inputs = this.#inputs.current
    const held = this.#heldBy(request.handle)
    return held.every(({ address, family }) => {
      const choice = choiceOf(request, family)
      // by IPv4 a tunnel may have an address of any pool
      const wide = family === 'ipv4' ? { ...choice, tunnel: undefined } : choice
      const pools = inputs && poolsFor(inputs.pools, wide, this.#deps.selects)
      if (pools === undefined || 'refused' in pools) return true
      return pools.some(({ spec }) => contains(spec.cidr, address))
    })
  }

  isCarried(request: AssignRequest): boolean {
    const pools = this.#inputs.current?.pools
    const isOf = (address: string) =>
      pools?.some(each => contains(each.spec.cidr, address) && carries(each, request.tunnel))
    return pools === undefined || this.#heldBy(request.handle).every(({ address }) => isOf(address))
  }

  /** Whether pods have addresses of every block in which a handle has one. */
  isAmongPods(handle: string): boolean {
    return this.#heldBy(handle).every(({ block: cidr }) => {
      const block = this.#ledger.get(cidr)?.block
      return block !== undefined && hasPods(block)
    })
  }

  rename(handles: ReadonlyMap<string, string>): void {
    const held = [...handles.keys()].flatMap(handle => this.#heldBy(handle))
    const cidrs = new Set(held.map(({ block }) => block))
    const changed = [...cidrs].flatMap(cidr => this.#ledger.get(cidr) ?? [])
    this.#ledger.put(changed.map(owned => ({ ...owned, block: rename(owned.block, handles) })))
  }

  async release(handle: string, within?: () => void): Promise<readonly string[]> {
    const held = this.#heldBy(handle)
    const pod = this.#podOf(handle)
    const changed = this.#without(handle)
    if (held.length === 0) {
      within?.()
      return []
    }
    const resting = this.#ofOwnBlocks(held)
    this.#ledger.put(changed, () => {
      this.#resting.persist(resting, pod)
      within?.()
    })
    this.#resting.begin(resting, pod)
    for (const { block, lostTo } of changed) if (lostTo !== undefined && isEmpty(block)) this.#ledger.forget(block.cidr)
    this.#keepSpare()
    return held.map(({ address }) => address)
  }

  releaseUnwritten(handle: string): void {
    const held = this.#heldBy(handle)
    const pod = this.#podOf(handle)
    this.#ledger.putUnwritten(this.#without(handle))
    this.#resting.begin(this.#ofOwnBlocks(held), pod)
  }

  /** What a handle holds on this node: where an address is lent to another one, a container there may have the same handle. */
  #heldBy(handle: string): readonly Assigned[] {
    const held = this.#ledger.held().get(handle) ?? []
    return held.filter(({ address, block: cidr }) => {
      const block = this.#ledger.get(cidr)?.block
      const slot = block?.slots[indexOf(cidr, address) ?? 0]
      return !slot || !isLent(slot, this.#deps.node)
    })
  }

  /** A borrowed address rests where it comes from. */
  #ofOwnBlocks(held: readonly Assigned[]): readonly Assigned[] {
    return held.filter(({ block }) => this.#ledger.get(block)?.lender === undefined)
  }

  /**
   * `block` is newer than the journal. What it has for other plugins' pods and their gateways, of which the kernel says nothing, is theirs
   * still; addresses that other pods had rest, since nodes may have them in their sets.
   */
  #takeUnknown(block: Block): void {
    const owned = this.#ledger.get(block.cidr)
    if (owned === undefined) return
    const unknown = block.slots.flatMap((slot, ordinal) => {
      const here = owned.block.slots[ordinal]
      const isTheirs = slot?.handle.startsWith(PLUGIN_HANDLE) === true && here?.handle !== slot.handle
      return slot !== null && (here === null || isTheirs) ? [{ slot, ordinal, isTheirs }] : []
    })
    const theirs = unknown.filter(({ isTheirs }) => isTheirs)
    let taken = owned.block
    for (const { slot, ordinal } of theirs)
      taken = assign({ ...taken, slots: taken.slots.with(ordinal, null) }, slot, ordinal)
    const rest = unknown
      .filter(({ isTheirs }) => !isTheirs)
      .map(({ slot, ordinal }) => {
        const address = addressAt(block.cidr, ordinal)
        return { released: [{ address, family: familyOf(address), block: block.cidr }], pod: podNameOf(slot.secondary) }
      })
    this.#ledger.put(theirs.length === 0 ? [] : [{ ...owned, block: taken }], () => {
      for (const { released, pod } of rest) this.#resting.persist(released, pod)
    })
    for (const { released, pod } of rest) this.#resting.begin(released, pod)
  }

  #podOf(handle: string): PodName | undefined {
    return podNameOf(this.holder(handle))
  }

  /** The blocks in which a handle has addresses, as they are without it: what another pod has by the kernel is that one's. */
  #without(handle: string): OwnedBlock[] {
    const held = this.#heldBy(handle)
    this.#inUse.forget(handle)
    return [...new Set(held.map(({ block }) => block))].map(cidr => {
      const owned = this.#ledger.get(cidr)!
      return { ...owned, block: this.#inUse.holdIn(owned.block, [handle]) }
    })
  }

  /** Why no pool serves a family of a request. */
  #refusalOf(request: AssignRequest, family: Family, inputs: Inputs | undefined): AssignRefusal | undefined {
    if (inputs === undefined) return NO_POOL_SEEN
    const pools = poolsFor(inputs.pools, choiceOf(request, family), this.#deps.selects)
    return 'refused' in pools ? pools : undefined
  }

  #plan(request: AssignRequest, family: Family, inputs: Inputs): Plan {
    const pod = podNameOf(request.attributes)
    const choice = choiceOf(request, family)
    const found = poolsFor(inputs.pools, choice, this.#deps.selects)
    if ('refused' in found) return found
    const { subnet } = request
    const lan = subnet?.lan
    const refusal = lan && lanRefusal(found, lan[family], family)
    if (refusal !== undefined) return refusal
    const needsGateway = subnet !== undefined && lan === undefined
    const pools = found.filter(({ spec }) => !needsGateway || isSubnetSize(spec.cidr, spec.blockSize))
    if (pools.length === 0) return SMALL_BLOCKS
    // nobody is told of a tunnel's address before, nor of a block of a LAN at all
    const isSilent = request.use === 'Tunnel' || lan !== undefined
    const waitsFor = (cidr: string) => (isSilent ? undefined : this.#newBlocks?.waitsFor(cidr))
    const borrowed = request.use === 'Tunnel' ? [] : this.#borrowing.fresh()
    const own = request.from === undefined ? [...this.#own(), ...borrowed] : this.#roomy()
    const blocks = subnet === undefined ? own : this.#ofSubnet(subnet, family)
    if (choice.address !== undefined)
      return this.#planExact(choice.address, pools[0]!, { pod, waitsFor, subnet, blocks, inputs })
    const unreserved = reservedAside(inputs)
    const { ipCooldownSeconds: cooldownSeconds } = inputs.config
    for (const pool of pools) {
      let early: { reached: Promise<void>; block: string } | undefined
      for (const state of ['free', 'late'] as const)
        for (const owned of blocks) {
          if (!contains(pool.spec.cidr, owned.block.cidr) || !this.#claims.isClear(owned.block.cidr)) continue
          const places = placesIn(
            owned.block,
            subnet,
            address =>
              !this.#inUse.has(address) &&
              unreserved(address) &&
              this.#resting.state(address, { pod, cooldownSeconds }) === state,
          )
          if (places === undefined) continue
          const waits = waitsFor(owned.block.cidr)
          if (waits === undefined) return { owned, ...places, pool }
          early ??= { reached: waits, block: owned.block.cidr }
        }
      if (early !== undefined) return early
    }
    if (request.from !== undefined) return NO_ROOM
    const [only] = blocks
    if (subnet?.blocks !== 'one' || only === undefined || !isOf(only.block, subnet)) return { claim: pools }
    if (!pools.some(({ spec }) => contains(spec.cidr, only.block.cidr)))
      return subnetElsewhere(subnet.network, only.block.cidr, pools)
    return this.#restingToo(fullSubnet(subnet.network, only.block.cidr))!
  }

  /** The blocks that a network has for itself, in the order of their claims, and those that it may take. */
  #ofSubnet(subnet: SubnetRequest, family: Family): OwnedBlock[] {
    const { blocks } = subnet
    const own = this.#own().filter(({ block }) => familyOf(block.cidr) === family)
    const its = own.filter(({ block }) => isOf(block, subnet))
    return blocks === 'one' && its.length > 0 ? its.slice(0, 1) : [...its, ...own.filter(one => !its.includes(one))]
  }

  /** What a refusal must say where addresses are free that no pod may have yet. */
  #restingToo(refusal: AssignRefusal | undefined): AssignRefusal | undefined {
    const seconds = this.#inputs.current?.config.ipCooldownSeconds ?? 0
    const resting = [...this.#resting.counts(seconds).values()].reduce((sum, count) => sum + count, 0)
    if (refusal === undefined || resting === 0) return refusal
    const because =
      seconds * 1000 >= REST_MS || this.#deps.sets?.mayHold() !== true
        ? `${seconds} s (ipCooldownSeconds)`
        : `${REST_MS / 1000} s, or until the API server tells of the end of their pods (other nodes may have them in sets of policies until then)`
    const message = `${refusal.message}; ${resting} released addresses rest for ${because}`
    return { ...refusal, message }
  }

  /** An address that was asked for by name may be a reserved one, or in its cool-down: both keep automatic choices away. One that leads to another pod is nobody's. */
  #planExact(address: string, pool: IpPool, { pod, waitsFor, subnet, blocks, inputs }: Exact): Plan {
    const floatsTo = this.#deps.floatsTo?.(address)
    // who asks for both keeps one of them
    if (floatsTo !== undefined && floatsTo !== (pod && `${pod.namespace}/${pod.name}`))
      return addressTaken(`${address} is a floating address of Pod ${floatsTo}`)
    const [only] = blocks
    const isOnly = subnet?.blocks === 'one' && only !== undefined && isOf(only.block, subnet)
    if (isOnly && !contains(only.block.cidr, address)) return addressTaken(unfit(address, only.block, subnet))
    const owned = this.#own().find(({ block }) => contains(block.cidr, address))
    const block = owned?.block.cidr ?? blockOf(pool, address)
    if (owned !== undefined && this.#claims.isClear(block)) {
      const ordinal = freeSlot(owned.block, address)
      if (ordinal !== undefined && this.#resting.state(address, { pod, cooldownSeconds: 0 }) === 'rests')
        return addressTaken(
          `${address} was another pod's less than ${REST_MS / 1000} s ago, or is so by the API server, and nodes may have it in sets of policies`,
        )
      const reached = waitsFor(block)
      if (ordinal !== undefined) {
        const unreserved = reservedAside(inputs)
        const usable = (other: string) =>
          unreserved(other) && this.#resting.state(other, { pod, cooldownSeconds: 0 }) !== 'rests'
        const places = blocks.includes(owned) ? placesIn(owned.block, subnet, usable, address) : undefined
        if (places === undefined) return addressTaken(unfit(address, owned.block, subnet))
        return reached === undefined ? { owned, ...places, pool } : { reached, block }
      }
      const holder = owned.block.slots[indexOf(block, address) ?? 0]
      return addressTaken(`${address} is held by ${holder?.handle ?? 'somebody'}`)
    }
    const lostTo = this.#ledger.get(block)?.lostTo
    if (lostTo !== undefined) return addressTaken(`${address} lies in block ${block} of ${lostTo}`)
    // whose a block is that was not given to this node, its object alone can tell: what is known of it may be of long ago
    return { claim: [pool], exact: block }
  }

  #record(request: AssignRequest, places: readonly Place[], within: () => void): void {
    const holder = this.#holder(request.handle, request.attributes)
    const changed = places.map(({ owned, ordinal, gateway }) => {
      const block = gateway === undefined ? owned.block : this.#asSubnet(owned.block, request.subnet!.network, gateway)
      return { ...owned, block: assign(block, holder, ordinal) }
    })
    const addresses = places.flatMap(({ owned, ordinal, gateway }) =>
      [ordinal, gateway].flatMap(each => (each === undefined ? [] : addressAt(owned.block.cidr, each))),
    )
    this.#ledger.put(changed, () => {
      this.#resting.persistEnd(addresses)
      within()
    })
    const pod = podNameOf(request.attributes)
    for (const address of addresses) this.#resting.end(address, pod)
  }

  #asSubnet(block: Block, network: string, gateway: number): Block {
    const attributes = { node: this.#deps.node, type: PLUGIN_TYPE.gateway, network }
    return assign(block, this.#holder(gatewayHandle(network, block.cidr), attributes), gateway)
  }

  #holder(handle: string, attributes: Readonly<Record<string, string | undefined>>): Holder {
    const timestamp = new Date(this.#deps.clock.wallMs()).toISOString()
    return { handle, secondary: { ...textsOf(attributes), timestamp } }
  }

  /** Borrowed addresses of a block that is this node's own by now are its pods' as all others of it. */
  #takeHome(cidr: string): void {
    const owned = this.#ledger.get(cidr)
    if (owned === undefined || owned.lender !== undefined || owned.lostTo !== undefined) return
    for (const { block } of this.#ledger.borrowed()) {
      if (!contains(cidr, block.cidr)) continue
      const [slot = null] = block.slots
      if (slot !== null) this.#inUse.set(slot, [addressOf(block.cidr)])
      try {
        this.#ledger.forget(block.cidr)
      } catch (error) {
        this.#logFailure(error, `${block.cidr} is borrowed of a block of this node, and cannot be forgotten`)
      }
    }
  }

  /** Gives the free slots of a block, and those of `earlier` handles of the same pods, to those who use their addresses. */
  #holdWithin(cidr: string, earlier: readonly string[] = []): void {
    const owned = this.#ledger.get(cidr)
    if (owned === undefined) return
    const block = this.#inUse.holdIn(owned.block, earlier)
    if (block === owned.block) return
    try {
      this.#ledger.put([{ ...owned, block }])
    } catch (error) {
      this.#logFailure(error, `addresses in use cannot be held in ${cidr}`)
    }
  }

  /** A pod waits for this block: whoever is asked for it, or has too many, keeps it so long. */
  #keepUntil(cidr: string, deadlineMs: number): void {
    this.#awaitedMs.set(cidr, Math.max(deadlineMs, this.#awaitedMs.get(cidr) ?? deadlineMs))
  }

  /** The same for what was just claimed of these pools: the pod takes its address when its turn comes. */
  #keepFor(pools: readonly IpPool[], deadlineMs: number): void {
    for (const { block } of this.#own())
      if (isEmpty(block) && pools.some(({ spec }) => contains(spec.cidr, block.cidr)))
        this.#keepUntil(block.cidr, deadlineMs)
  }

  #isAwaited(cidr: string): boolean {
    return this.#deps.clock.monotonicMs() < (this.#awaitedMs.get(cidr) ?? 0)
  }

  async #withDeadline(
    awaited: Promise<AssignRefusal | undefined>,
    deadline: number,
    message = 'no answer to the claim of a block in time',
  ): Promise<AssignRefusal | undefined> {
    const { clock } = this.#deps
    const late = Promise.withResolvers<AssignRefusal>()
    const cancel = clock.after(Math.max(0, deadline - clock.monotonicMs()), () => late.resolve(unreachable(message)))
    const end = () => late.resolve(unreachable(STOPPING))
    this.#waiting.add(end)
    try {
      return await Promise.race([awaited, late.promise])
    } finally {
      cancel()
      this.#waiting.delete(end)
    }
  }

  /** Claims the next block before the last one is full, and gives back what is empty and not wanted. */
  #keepSpare(families: readonly Family[] = FAMILIES): void {
    const inputs = this.#inputs.current
    if (inputs === undefined || this.#closed) return
    this.#claims.publishEmptied(this.#hold.follow(inputs.pools))
    const resting = this.#resting.counts(inputs.config.ipCooldownSeconds)
    for (const family of families) {
      const { pools, owned, serving, ...room } = this.#room(family, inputs, cidr => resting.get(cidr) ?? 0)
      let { free } = room
      const last = serving.at(-1)
      if (pools.length === 0 || (last !== undefined && free > lowWater(last.block.cidr)))
        this.#refusals.answered(family, undefined)
      else if (this.#scarcity.is(family, pools)) this.#refusals.answered(family, SCARCE)
      else this.#claimSpare(family, pools, inputs)
      for (const { block } of owned.toReversed()) {
        if (!isEmpty(block)) continue
        const serves = serving.some(one => one.block === block)
        // its next owner knows nothing of what rests; one that nobody may use any more is waited for as long as it must be
        const rest = this.#resting.stateOf(block.cidr, inputs.config.ipCooldownSeconds)
        if (rest === 'rests' || (rest === 'late' && serves) || this.#isAwaited(block.cidr)) {
          this.#cancelRest()
          this.#cancelRest = this.#deps.clock.after(REST_MS, () => this.#keepSpare())
          continue
        }
        if (serves && free - block.slots.length <= 2 * lowWater(block.cidr)) continue
        if (serves) free -= block.slots.length
        this.#claims
          .giveBack(block.cidr)
          .then(() => this.#hold.follow(inputs.pools))
          .catch(error => this.#logFailure(error, `block ${block.cidr} cannot be given back`))
      }
    }
  }

  #room(family: Family, inputs: Inputs, restingIn: (cidr: string) => number): Room {
    return roomFor(family, inputs, this.#own(), this.#deps.selects, restingIn)
  }

  #noteScarce(family: Family): void {
    const inputs = this.#inputs.current
    if (inputs !== undefined) this.#scarcity.note(family, this.#room(family, inputs, () => 0).pools)
  }

  /** Whether an empty block goes to a node that asks for it: no pod here waits for it, and its next owner knows nothing of what rests. */
  #spares(cidr: string): boolean {
    const inputs = this.#inputs.current
    if (inputs === undefined || this.#closed) return false
    this.#noteScarce(familyOf(cidr))
    return !this.#isAwaited(cidr) && this.#resting.stateOf(cidr, inputs.config.ipCooldownSeconds) !== 'rests'
  }

  #claimSpare(family: Family, pools: readonly IpPool[], inputs: Inputs): void {
    this.#newBlock.claim(pools, inputs, { isNeeded: false }).then(
      refusal => {
        this.#refusals.answered(family, refusal)
        if (refusal === undefined) this.#keepSpare([family]) // its pool may be gone by now
      },
      error => this.#logFailure(error, 'no spare block'),
    )
  }

  /** Takes what the API server or the disk refused; the next change tries again. */
  #logFailure(error: unknown, what: string): void {
    if (!isStoreError(error) && !(error instanceof DatabaseError)) throw error
    this.#deps.log.error({ err: error }, what)
  }

  /** Blocks that keep their pool: with addresses of pods, or on their way to be given back. */
  #holding(): string[] {
    const blocks = this.#own().map(({ block }) => block)
    return blocks.filter(block => isEmpty(block) || hasPods(block)).map(({ cidr }) => cidr)
  }

  /** Where one address more or less is not what a pod waits for. */
  #roomy(): OwnedBlock[] {
    return this.#own().filter(({ block }) => block.slots.length >= ROOMY && hasPods(block))
  }

  #own(): OwnedBlock[] {
    return this.#ledger.blocks().filter(({ lostTo }) => lostTo === undefined)
  }

  #announce(): void {
    const key = this.#blocksKey()
    if (key === this.#announced) return
    this.#announced = key
    const blocks = this.blocks()
    for (const listen of this.#listeners) listen(blocks)
    const borrowed = new Set(this.borrowed())
    // announced no more: the way to it is known to nobody by the time it is announced again
    for (const { block } of this.#ledger.borrowed()) if (!borrowed.has(block.cidr)) this.#newBlocks?.forget(block.cidr)
    this.#spreadBlocks()
  }

  /** Other nodes are asked as soon as a block is here: it is known to them before the first pod needs it, as a rule. */
  #spreadBlocks(): void {
    for (const { block } of this.#own()) this.#newBlocks?.waitsFor(block.cidr)
    for (const cidr of this.borrowed()) this.#newBlocks?.waitsFor(cidr)
  }

  #blocksKey(): string {
    const as = (block: Block) => (subnetOf(block) === undefined ? '' : isOnLan(block) ? 'lan' : 'subnet')
    const cidrs = this.#own().map(({ block }) => `${block.cidr} ${as(block)}`)
    return `${this.blocksKnown} ${cidrs.join(' ')}; ${this.borrowed().join(' ')}; ${[...this.lentTo()].join(' ')}`
  }
}

function textsOf(attributes: Readonly<Record<string, string | undefined>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(attributes).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])),
  )
}

/** What an address that is asked for by name is judged by. `blocks`: those of which the request may have one. */
type Exact = {
  pod: PodName | undefined
  waitsFor: (cidr: string) => Promise<void> | undefined
  subnet: SubnetRequest | undefined
  blocks: readonly OwnedBlock[]
  inputs: Inputs
}

/** Why a free address of a block of this node is not for a request. */
function unfit(address: string, block: Block, subnet: SubnetRequest | undefined): string {
  const owner = subnetOf(block)
  if (owner !== undefined && (subnet === undefined || !isOf(block, subnet)))
    return `${address} lies in block ${block.cidr}, which network ${owner} has for itself on this node`
  if (owner === undefined && !isEmpty(block))
    return `${address} lies in block ${block.cidr}, of which pods of other networks have addresses`
  const network = subnet?.network
  if (subnet?.lan !== undefined)
    return `no pod of network ${network} can have ${address}: it is the first of the LAN, or its broadcast`
  return `no pod of network ${network} can have ${address}: its block is ${block.cidr}, without the first address and the broadcast`
}

/** Addresses of a /28. */
const ROOMY = 16

const NO_ROOM: AssignRefusal = {
  refused: 'exhausted',
  message: 'no block of this node has pods and a free address',
  remedy: 'wait until there is one',
}

const SMALL_BLOCKS: AssignRefusal = {
  refused: 'no-pool',
  message: 'the blocks of the pools that serve the pod have no room for a gateway and a container',
  remedy: 'name an IPPool with a blockSize of 30 or less, of IPv6 126 or less',
}

function fullSubnet(network: string, block: string): AssignRefusal {
  return {
    refused: 'exhausted',
    message: `network ${network} has block ${block} on this node, and no address of it is free for this pod`,
    remedy:
      'a bridge has one address, so its containers are of one block: make an IPPool with larger blocks for a new network, or use the plugin ptp',
  }
}

function subnetElsewhere(network: string, block: string, pools: readonly IpPool[]): AssignRefusal {
  const names = pools.map(({ metadata }) => metadata.name).join(', ')
  return {
    refused: 'no-pool',
    message: `network ${network} has block ${block} on this node, which lies in none of the pools that serve the pod: ${names}`,
    remedy:
      'a bridge has one address, so its containers are of one block: name the pool of that block, or delete the containers of the network on this node and its bridge, after which GC or a start of the agent frees the block',
  }
}

function choiceOf({ pools, use, tunnel, attributes, addresses }: AssignRequest, family: Family): Choice {
  const address = addresses?.find(each => familyOf(each) === family)
  return { pools: pools?.[family], use, tunnel, family, namespace: attributes.namespace, address }
}

/** Of a network's request: blocks that would give no place are not claimed, or one claim would follow the other. */
function subnetBlock({ subnet }: AssignRequest, inputs: Inputs): SubnetBlock | undefined {
  if (subnet === undefined) return undefined
  const unreserved = reservedAside(inputs)
  return cidr => placesIn(emptyBlock(cidr, 0n), subnet, unreserved) !== undefined
}

/** For whom a single address may be borrowed; undefined: it must be a certain one, one of a subnet, or not of a pod. */
function borrowerOf(
  { handle, attributes, use, subnet }: AssignRequest,
  exact: string | undefined,
): Borrower | undefined {
  if (use === 'Tunnel' || subnet !== undefined || exact !== undefined) return undefined
  const { pod, namespace, containerID } = attributes
  return { handle, attributes: { pod, namespace, containerID } }
}
