// A node of the exhaustive tests of claims, and the server that it reaches: every call waits until somebody chooses that it
// lands and that its answer is heard. Each step carries which losses of blocks lie behind it (`claim-world.ts` says why).
import { type AddressWish, wishesOf } from '../../api/address-wishes.ts'
import type { Kind, Resource } from '../../api/kinds.ts'
import { createFakeStore } from '../../datastore/fake.ts'
import { isStoreError, type Store, type WatchEvent, type WatchHandlers } from '../../datastore/port.ts'
import { epochOf, isBlockWanted, isEmpty, parseBlock, release } from '../../ipam/block.ts'
import { Borrowing } from '../../ipam/borrowing.ts'
import { Claims } from '../../ipam/claims.ts'
import type { OwnedBlock } from '../../ipam/journal.ts'
import { Ledger } from '../../ipam/ledger.ts'
import { lend, lentOf } from '../../ipam/lending.ts'
import { OwnerRound } from '../../ipam/owner-round.ts'
import { ManualClock } from '../../lib/clock.ts'
import { addressAt } from '../../lib/ip.ts'
import { silentLog } from '../../lib/log.ts'

type BlockObject = Resource<'IPAMBlock'>

/**
 * What a node may still begin, how often. `pods`: one at a time. `wants`: asks for an address of another one's block; `looks`: at the
 * object of such a block. `ends`: is gone for good.
 */
export type Plan = {
  claims: number
  pods: number
  gives: number
  asks: number
  wants: number
  looks: number
  ticks: number
  ends: number
}

/** How often each node lost a block, as far as that lies behind something. */
type Past = readonly number[]

export const NAMES = ['n0', 'n1', 'n2'] as const
const NO_PAST: Past = [0, 0, 0]

/** A journal in memory: what was saved outlives its agent. */
class Disk {
  readonly epoch: string
  complete = false
  readonly #blocks = new Map<string, OwnedBlock>()
  readonly #lenders = new Set<string>()

  constructor(epoch: string) {
    this.epoch = epoch
  }

  setComplete(): void {
    this.complete = true
  }

  blocks(): OwnedBlock[] {
    return [...this.#blocks.values()]
  }

  save(changes: readonly { after: OwnedBlock }[]): void {
    for (const { after } of changes) this.#blocks.set(after.block.cidr, after)
  }

  forget(cidr: string): void {
    this.#blocks.delete(cidr)
  }

  lenders(): string[] {
    return [...this.#lenders].toSorted()
  }

  noteLender(cidr: string): void {
    this.#lenders.add(cidr)
  }

  forgetLender(cidr: string): void {
    this.#lenders.delete(cidr)
  }
}

type Answer = { value: unknown } | { error: Error }

/** `stray`: a write that its sender gave up, or that comes once more; it lands some time or never. `past`: when it was sent. */
export type Call = {
  /** The name of its block; undefined: a list. */
  name: string | undefined
  isWrite: boolean
  perform: () => Promise<unknown>
  state: 'sent' | 'landed' | 'stray' | 'over'
  past: Past
  settle?: PromiseWithResolvers<unknown>
  landed?: { answer: Answer; text: string; past: Past }
}

type Heard = { text: string; tell: () => void; past: Past }

/** The server, and how often each block was written. */
export class Server {
  readonly store = createFakeStore()
  items: readonly BlockObject[] = []
  /** What lies behind the events that are sent now. */
  past: Past = NO_PAST
  readonly #writes = new Map<string, number>()
  readonly #pasts = new Map<string, Past>()

  async perform({ name, isWrite, perform, past }: Call): Promise<NonNullable<Call['landed']>> {
    const behind =
      name === undefined ? this.#pasts.values().reduce(merged, past) : merged(this.#pasts.get(name) ?? NO_PAST, past)
    this.past = behind
    const answer = await perform().then(
      (value): Answer => ({ value }),
      (error: Error): Answer => {
        if (!isStoreError(error)) throw error
        return { error }
      },
    )
    await drained()
    const before = this.items.map(({ metadata }) => metadata.resourceVersion).join()
    if (isWrite) this.items = await this.store.list('IPAMBlock')
    if (this.items.map(({ metadata }) => metadata.resourceVersion).join() !== before) {
      this.#writes.set(name!, (this.#writes.get(name!) ?? 0) + 1)
      this.#pasts.set(name!, behind)
    }
    const writes = name === undefined ? [...this.#writes.values()] : (this.#writes.get(name) ?? 0)
    return { answer, text: `${textOf(answer)} ${writes}`, past: behind }
  }

  /** The text of a server at the same point. */
  get text(): string {
    const writes = [...this.#writes].map(([name, count]) => `${name} ${count} ${textOfPast(this.#pasts.get(name)!)}`)
    return [...writes.toSorted(), ...this.items.map(textOfBlock)].join('\n')
  }
}

export class Node {
  readonly name: string
  readonly clock = new ManualClock()
  readonly calls: Call[] = []
  readonly left: Plan
  disk: Disk
  store!: Store
  ledger!: Ledger
  claims!: Claims
  borrowing!: Borrowing
  /** What the watch has sent and the node has not heard. */
  events: Heard[] = []
  /** All that it has heard and begun, in that order. */
  readonly history: string[] = []
  past: Past = NO_PAST
  /** Of blocks that it lost, the how many-th loss that was. */
  readonly losses = new Map<string, number>()
  isClaiming = false
  hasPod = false
  hasAsked = false
  isLooking = false
  /** Its machine is off for ever, and it has no Node object. */
  isGone = false
  /** It may write into blocks of others at any time. */
  readonly isBorrower: boolean
  readonly #i: number
  #own: readonly string[] = []
  #life = 0
  #watch: { close(): void } | undefined

  constructor(i: number, plan: Plan) {
    this.name = NAMES[i]!
    this.#i = i
    this.left = { ...plan }
    this.isBorrower = plan.wants > 0
    this.disk = new Disk(`${this.name}.0`)
  }

  /** An agent begins with what the disk has. What the one before has under way is heard by nobody, and its writes may still land. */
  begin(server: Server): void {
    this.#leave()
    this.ledger = new Ledger(this.disk)
    this.store = this.#reach(server)
    const { ledger, name, clock, store } = this
    const deps = { node: name, journal: this.disk, store, ledger, clock, log: silentLog }
    const round = new OwnerRound(deps)
    this.borrowing = new Borrowing({ ...deps, round, collect: async () => this.collect() })
    this.claims = new Claims({
      ...{ ...deps, answers: store, spares: () => true },
      lend: (cidr, wishes) => this.#lend(cidr, wishes),
      found: lenders => this.borrowing.found(lenders),
    })
    this.claims.start(() => undefined)
    if (this.isBorrower) this.borrowing.start(() => undefined)
  }

  /** Its agent hears nothing more; what it has sent may still land. */
  #leave(): void {
    this.#watch?.close()
    this.#life++
    this.events = []
    this.isClaiming = false
    this.isLooking = false
    for (const call of this.calls)
      if (call.state !== 'stray') call.state = call.state === 'sent' && call.isWrite ? 'stray' : 'over'
  }

  /** The machine is off for ever. */
  end(): void {
    this.#leave()
    this.isGone = true
    this.hasPod = false
  }

  /** As `Lender`, with every free address. */
  #lend(cidr: string, wishes: ReadonlyMap<string, AddressWish>): void {
    const { ledger, name } = this
    const owned = ledger.get(cidr)!
    const { block } = lend(owned.block, wishes, { owner: name, usable: () => true, timestamp: '' })
    if (block !== owned.block) ledger.put([{ ...owned, block }])
  }

  /** Frees borrowed addresses that no pod has. */
  collect(): void {
    if (this.hasPod) return
    for (const row of this.ledger.borrowed())
      if (!isEmpty(row.block)) this.ledger.put([{ ...row, block: release(row.block, this.handle).block }])
  }

  /** Another machine of the same name: without journal and pods. */
  replace(server: Server): void {
    this.disk = new Disk(`${this.name}.${this.#life}`)
    this.hasPod = false
    this.begin(server)
  }

  /** The server for this life of the agent: each call waits until it is chosen, and those of an earlier life are never made. */
  #reach(server: Server): Store {
    const { store } = server
    const life = this.#life
    const send = (name: string | undefined, isWrite: boolean, perform: () => Promise<unknown>): Promise<unknown> => {
      const settle = Promise.withResolvers<unknown>()
      this.compare() // what it lost before it sends this lies behind that
      if (life === this.#life) this.calls.push({ name, isWrite, perform, state: 'sent', past: this.past, settle })
      return settle.promise
    }
    const watch = (kind: 'IPAMBlock', handlers: WatchHandlers<'IPAMBlock'>, options: object) => {
      const event = (event: WatchEvent<'IPAMBlock'>) => {
        const tell = () => {
          handlers.event(event)
          if (event.type === 'sync') handlers.connection?.({ connected: true })
        }
        if (life === this.#life) this.events.push({ text: textOfEvent(event), tell, past: server.past })
      }
      this.#watch = store.watch(kind, { event }, options)
      return { close: () => undefined, hurry: () => undefined }
    }
    const used = {
      watch,
      get: (kind: Kind, name: string) => send(name, false, () => store.get(kind, name)),
      create: (kind: Kind, item: Resource<Kind>) => send(item.metadata.name, true, () => store.create(kind, item)),
      update: (kind: Kind, item: Resource<Kind>) => send(item.metadata.name, true, () => store.update(kind, item)),
      delete: (kind: Kind, name: string, of: object) => send(name, true, () => store.delete(kind, name, of)),
      async *pages(kind: Kind) {
        yield await send(undefined, false, () => store.list(kind))
      },
    }
    return used as unknown as Store
  }

  /** The handle of its pod. */
  get handle(): string {
    return `pod of ${this.name}`
  }

  /** The addresses that its pods have or may get, as CIDRs. */
  own(): string[] {
    if (this.isGone) return []
    const ofBlocks = this.ledger.blocks().flatMap(({ block, lostTo }) => {
      const lent = lentOf(block, this.name)
      const all = block.slots.map((_slot, ordinal) => `${addressAt(block.cidr, ordinal)}/32`)
      return lostTo === undefined ? all.filter(cidr => !lent.has(cidr)) : []
    })
    return [...ofBlocks, ...this.borrowing.announced().map(({ block }) => block.cidr)]
  }

  /** Counts what was lost since the last time, and returns what was got. */
  compare(): string[] {
    const [before, own] = [this.#own, this.own()]
    this.#own = own
    for (const cidr of before) {
      if (own.includes(cidr)) continue
      this.past = this.past.with(this.#i, this.past[this.#i]! + 1)
      this.losses.set(cidr, this.past[this.#i]!)
    }
    return own.filter(cidr => !before.includes(cidr))
  }

  get text(): string {
    const losses = [...this.losses].map(([cidr, count]) => `lost ${cidr} ${count}`)
    const calls = this.calls.map(({ state, landed, past }, c) =>
      state === 'over' ? '' : `${c} ${state} ${landed?.text} ${textOfPast(landed?.past ?? past)}`,
    )
    const events = this.events.map(({ text, past }) => `${text} ${textOfPast(past)}`)
    return [
      ...this.history,
      JSON.stringify(this.left),
      textOfPast(this.past),
      ...losses.toSorted(),
      ...events,
      ...calls,
    ].join('\n')
  }
}

export function merged(a: Past, b: Past): Past {
  return a.map((count, i) => Math.max(count, b[i]!))
}

function textOfPast(past: Past): string {
  return `<${past}>`
}

function textOf(answer: Answer): string {
  if ('error' in answer) return answer.error.name
  return answer.value === undefined ? 'done' : [answer.value as BlockObject].flat().map(textOfBlock).join(' ')
}

function textOfEvent(event: WatchEvent<'IPAMBlock'>): string {
  return event.type === 'sync' ? `sync ${event.items.map(textOfBlock)}` : `${event.type} ${textOfBlock(event.item)}`
}

/** A block as nodes see it, but for the version. */
function textOfBlock(item: BlockObject): string {
  const { slots, sequence, free } = parseBlock(item)
  const wishes = [...wishesOf(item)].map(([node, { at: _at, ...wish }]) => `${node} ${JSON.stringify(wish)}`)
  const holders = slots.map(slot => `${slot?.handle} ${slot?.secondary['node']}`)
  return `${item.spec.cidr} ${item.spec.affinity} ${epochOf(item)} ${sequence} ${holders} ${free} ${isBlockWanted(item)} ${wishes.toSorted()}`
}

/** All promises that can go on have. */
export function drained(): Promise<void> {
  return new Promise(setImmediate)
}
