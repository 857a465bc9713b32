// Frees the blocks of nodes that are gone, with the addresses of pods and tunnels in them. Nothing that lives may lose an
// address, so a block is freed only when all of this holds: for a time no node that has something in it had a Node object; they
// were asked by marks in the block (`askOwners`), which an agent that lives takes out, with or without a Node object;
// nobody wrote the block since; the Nodes are not there when they are asked for once more; and the delete names uid and version
// of what was asked. A node that is only unreachable has its Node object, and keeps its blocks. Hazards: two of these
// programs at once, each with an old view; an end between any two steps: what a run remembers is never a reason to free.
// What the owner of a block, which lives, lent to a node that is gone is freed by that owner: it is asked to in the name of that
// node (`returnLent`), after the same times and questions. That its question is still in the block says there that nobody answered.
import { askBorrowers, BORROWER_ANSWER_MS, borrowerAsked } from '../api/borrower-questions.ts'
import type { Resource } from '../api/kinds.ts'
import type { IpPool } from '../api/pools.ts'
import { Conflict, NotFound, Refused, type Store, type StoreError } from '../datastore/port.ts'
import { ownerAsked } from '../ipam/block.ts'
import { askOwners, borrowersOf, ownerOf, ownersOf, returnLent } from '../ipam/block-owners.ts'
import type { ClaimedBlock } from '../ipam/forecast.ts'
import { isLoadBalancerBlock, LOAD_BALANCER_NODE } from '../ipam/load-balancer.ts'
import type { Clock } from '../lib/clock.ts'
import type { Log } from '../lib/log.ts'
import { Census, type CensusRow } from './census.ts'
import type { Nodes } from './nodes.ts'
import type { Settings } from './settings.ts'

type BlockObject = Resource<'IPAMBlock'>

export type CollectorDeps = {
  store: Store
  nodes: Nodes
  clock: Clock
  log: Log
  /** Who asks, for people who read a block. */
  identity: string
  /** Undefined while it cannot be told what people want: nothing is asked or freed then. */
  settings(): Settings | undefined
  pools(): readonly IpPool[]
  /** How long the owner of a block has to answer. An agent that is restarted or upgraded must be back in it. */
  answerMs: number
  /** A block was freed: what waits for that may look. */
  freed(): void
  /** All blocks were counted. */
  counted(): void
}

/** What a run found of one block that is not freed yet, for conditions and metrics. */
export type Waiting = {
  block: string
  nodes: readonly string[]
  because: 'grace' | 'asked' | 'answered' | 'refused'
  error?: StoreError
}

/** What a block waits for, and when it is to be looked at again. */
type Step = Pick<Waiting, 'because' | 'error'> & { inMs: number }

type Asked = { uid: string | undefined; version: string | undefined; sinceMs: number; by: string }

/** A block of nodes that are all gone; with `lentTo`: what its owner lent to that node, which is gone. */
type Candidate = {
  name: string
  uid: string | undefined
  nodes: readonly string[]
  lentTo: string | undefined
}

/** An owner that answered without a Node object is asked again after this long: it may be gone by then. */
const ASK_AGAIN_MS = 600_000
/** A run lists all blocks of the cluster: Nodes that go one after the other share one. */
const REST_MS = 10_000
/** How often blocks are counted while nobody knows the settings, which are told when they are there. */
const UNKNOWN_MS = 300_000

export class Collector {
  readonly name = 'blocks'
  readonly restMs = REST_MS
  readonly #deps: CollectorDeps
  readonly #asked = new Map<string, Asked>()
  /** Blocks whose owner answered: when, and for which block. */
  readonly #answered = new Map<string, { uid: string | undefined; sinceMs: number }>()
  #waiting: readonly Waiting[] = []
  #unclear: readonly { block: string; why: string }[] = []
  #census: readonly CensusRow[] = []
  #blocks: readonly ClaimedBlock[] | undefined
  #freed = { blocks: 0, addresses: 0 }

  constructor(deps: CollectorDeps) {
    this.#deps = deps
  }

  get waiting(): readonly Waiting[] {
    return this.#waiting
  }

  /** Blocks of which it cannot be told whom they belong to: they stay. */
  get unclear(): readonly { block: string; why: string }[] {
    return this.#unclear
  }

  /** What the last look counted. */
  get census(): readonly CensusRow[] {
    return this.#census
  }

  /** Every block of the last look; undefined before the first. */
  get blocks(): readonly ClaimedBlock[] | undefined {
    return this.#blocks
  }

  /** Since the start of this program. */
  get freed(): { blocks: number; addresses: number } {
    return this.#freed
  }

  /** Forgets whom it asked: for a time no owner could answer. */
  forgetAsked(): void {
    this.#asked.clear()
  }

  /** One look at all blocks. Resolves with the time until the next one. Rejects as the store. */
  async run(): Promise<number> {
    const { nodes, pools, settings, store } = this.#deps
    const periodMs = settings()?.periodMs ?? UNKNOWN_MS
    // a cluster without any Node is one that lost them, or none yet
    if (!nodes.synced || nodes.size === 0) return REST_MS
    const candidates: Candidate[] = []
    const unclear: { block: string; why: string }[] = []
    const census = new Census(pools())
    const names = new Set<string>()
    for await (const page of store.pages('IPAMBlock'))
      for (const item of page) {
        const { name, uid } = item.metadata
        if (names.has(name)) continue // it changed while the pages were read
        names.add(name)
        if (isLoadBalancerBlock(item)) {
          census.add(item, LOAD_BALANCER_NODE, false)
          continue // Services have it, and another chore frees what they leave
        }
        const owners = ownersOf(item)
        const owner = ownerOf(item)
        const isGone = (node: string) => nodes.goneMs(node) !== undefined
        const gone = owners.unclear === undefined && owners.nodes.every(isGone)
        census.add(item, owners.nodes[0], gone)
        if (owners.unclear !== undefined) unclear.push({ block: name, why: owners.unclear })
        else if (gone) candidates.push({ name, uid, nodes: owners.nodes, lentTo: undefined })
        else if (owner !== undefined && !isGone(owner))
          for (const node of borrowersOf(item).filter(isGone))
            candidates.push({ name, uid, nodes: [node], lentTo: node })
      }
    nodes.keep(new Set(candidates.flatMap(candidate => candidate.nodes)))
    const dead = new Set(candidates.map(keyOf))
    for (const known of [this.#asked, this.#answered])
      for (const key of known.keys()) if (!dead.has(key)) known.delete(key)
    this.#census = census.rows
    this.#blocks = census.blocks
    this.#deps.counted()
    this.#unclear = unclear
    const waiting: Waiting[] = []
    let nextMs = periodMs
    for (const candidate of candidates) {
      const result = await this.#advance(candidate)
      if (result === undefined) continue
      waiting.push({ block: candidate.name, nodes: candidate.nodes, ...result })
      nextMs = Math.min(nextMs, result.inMs)
    }
    this.#waiting = waiting
    return nextMs
  }

  /** Does the next step for one block. Undefined when nothing waits any more. Rejects as the store, but for refusals. */
  async #advance(candidate: Candidate): Promise<Step | undefined> {
    const { clock, nodes, settings } = this.#deps
    const { graceMs, periodMs = UNKNOWN_MS } = settings() ?? {}
    if (graceMs === undefined) return { because: 'grace', inMs: periodMs }
    const nowMs = clock.monotonicMs()
    const goneMs = Math.min(...candidate.nodes.map(node => nodes.goneMs(node) ?? 0))
    // a block of nobody, with nothing in it, is asked about at once
    if (goneMs < graceMs) return { because: 'grace', inMs: graceMs - goneMs }
    const key = keyOf(candidate)
    const answered = this.#answered.get(key)
    if (answered !== undefined && answered.uid === candidate.uid && nowMs - answered.sinceMs < ASK_AGAIN_MS)
      return { because: 'answered', inMs: answered.sinceMs + ASK_AGAIN_MS - nowMs }
    const asked = this.#asked.get(key)
    try {
      if (asked === undefined || asked.uid !== candidate.uid) return await this.#ask(candidate)
      const leftMs = asked.sinceMs + this.#answerMs(candidate) - nowMs
      if (leftMs > 0) return { because: 'asked', inMs: leftMs }
      this.#asked.delete(key)
      return await this.#free(candidate, asked)
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      return { because: 'refused', error, inMs: periodMs }
    }
  }

  /** Who has borrowed looks for a question now and then; an owner sees it at once. */
  #answerMs({ nodes, lentTo }: Candidate): number {
    const { answerMs } = this.#deps
    return lentTo !== undefined || nodes.length > 1 ? Math.max(answerMs, BORROWER_ANSWER_MS) : answerMs
  }

  /** Puts the question into the block. */
  async #ask(candidate: Candidate): Promise<Step | undefined> {
    const { store, clock, log, identity } = this.#deps
    const { name, nodes, lentTo } = candidate
    const item = await this.#dead(candidate)
    if (item === undefined) return undefined
    const by = `${identity} at ${new Date(clock.wallMs()).toISOString()}`
    try {
      const sinceMs = clock.monotonicMs()
      const asking = lentTo === undefined ? askOwners(item, by) : askBorrowers(item, [lentTo], by)
      const { metadata } = await store.update('IPAMBlock', asking)
      const key = keyOf(candidate)
      this.#answered.delete(key)
      // counted from before the write: the answer may come before the server's
      this.#asked.set(key, { uid: metadata.uid, version: metadata.resourceVersion, sinceMs, by })
      log.info({ block: name, nodes }, 'the Node of a block or of an address is gone; it is asked before that is freed')
      return { because: 'asked', inMs: this.#answerMs(candidate) }
    } catch (error) {
      if (!(error instanceof Conflict || error instanceof NotFound)) throw error
      if (lentTo !== undefined) return { because: 'asked', inMs: REST_MS } // its owner lives, and wrote it
      return ownerAsked(item) === undefined ? this.#noteAnswer(candidate, item) : this.#askedElsewhere(candidate)
    }
  }

  /** Frees what nobody answered for since it was asked about. */
  async #free(candidate: Candidate, asked: Asked): Promise<Step | undefined> {
    const item = await this.#dead(candidate)
    if (item === undefined) return undefined
    const { uid, resourceVersion } = item.metadata
    const { lentTo } = candidate
    const question = lentTo === undefined ? ownerAsked(item) : borrowerAsked(item, lentTo)
    const isUnanswered = lentTo === undefined ? resourceVersion === asked.version : question === asked.by
    if (uid !== asked.uid || !isUnanswered) {
      const isElsewhere = question !== undefined && question !== asked.by
      return isElsewhere ? this.#askedElsewhere(candidate) : this.#noteAnswer(candidate, item)
    }
    try {
      await (lentTo === undefined ? this.#freeBlock(item) : this.#askReturn(item, lentTo))
      return undefined
    } catch (error) {
      if (error instanceof NotFound) return undefined
      if (!(error instanceof Conflict)) throw error
      if (lentTo === undefined) return this.#askedElsewhere(candidate)
      this.#asked.set(keyOf(candidate), asked) // its owner wrote it, and that is no answer
      return { because: 'asked', inMs: REST_MS }
    }
  }

  /** Deletes the block as it is here. Rejects as the store. */
  async #freeBlock(item: BlockObject): Promise<void> {
    const { store, log, freed } = this.#deps
    const { name, uid, resourceVersion } = item.metadata
    await store.delete('IPAMBlock', name, { uid, resourceVersion })
    const addresses = item.spec.allocations.filter(index => index !== null).length
    this.#freed = { blocks: this.#freed.blocks + 1, addresses: this.#freed.addresses + addresses }
    log.info(
      { block: item.spec.cidr, nodes: ownersOf(item).nodes, addresses },
      'a block of a node that is gone was freed',
    )
    freed()
  }

  /** Asks the owner to free what it lent to a node. Rejects as the store. */
  async #askReturn(item: BlockObject, node: string): Promise<void> {
    const { store, clock, log, identity } = this.#deps
    const at = `${identity} at ${new Date(clock.wallMs()).toISOString()}`
    await store.update('IPAMBlock', returnLent(item, node, at))
    log.info(
      { block: item.spec.cidr, node },
      'the owner of a block is asked to free what it lent to a node that is gone',
    )
  }

  /** The block as it is now at the server, when none of the nodes is there: the block is read first, and its nodes after it. */
  async #dead({ name, lentTo }: Candidate): Promise<BlockObject | undefined> {
    const { store, nodes } = this.#deps
    const item = await found(store.get('IPAMBlock', name))
    if (item === undefined) return undefined
    const owners = ownersOf(item)
    if (owners.unclear !== undefined) return undefined
    if (lentTo !== undefined && !borrowersOf(item).includes(lentTo)) return undefined
    for (const node of lentTo === undefined ? owners.nodes : [lentTo]) {
      if ((await found(store.get('Node', node))) === undefined) continue
      nodes.found(node)
      return undefined
    }
    return item
  }

  /** Another program asked: whoever leads now asks once more. */
  #askedElsewhere(candidate: Candidate): Step {
    return { because: 'asked', inMs: this.#answerMs(candidate) }
  }

  #noteAnswer(candidate: Candidate, { metadata: { name, uid } }: BlockObject): Step {
    const { clock, log } = this.#deps
    this.#answered.set(keyOf(candidate), { uid, sinceMs: clock.monotonicMs() })
    log.warn({ block: name, nodes: candidate.nodes }, 'somebody answered for a Node that is gone: what it has stays')
    return { because: 'answered', inMs: ASK_AGAIN_MS }
  }
}

function keyOf({ name, lentTo }: Candidate): string {
  return lentTo === undefined ? name : `${name} ${lentTo}`
}

async function found<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading
  } catch (error) {
    if (error instanceof NotFound) return undefined
    throw error
  }
}
