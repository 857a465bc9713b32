// Frees the blocks of nodes that are gone, with the addresses of pods and tunnels in them. Nothing that lives may lose an
// address, so a block is freed only when all of this holds: for a time no node that has something in it had a Node object; the
// owner was asked by a mark in the block (`askOwner`), which an agent that lives takes out, with or without a Node object;
// nobody wrote the block since; the Nodes are not there when they are asked for once more; and the delete names uid and version
// of what was asked. A node that is only unreachable has its Node object, and keeps its blocks. Hazards: two of these
// programs at once, each with an old view; an end between any two steps: what a run remembers is never a reason to free.
import type { Resource } from '../api/kinds.ts'
import type { IpPool } from '../api/pools.ts'
import { Conflict, NotFound, Refused, type Store, type StoreError } from '../datastore/port.ts'
import { askOwner, isOwnerAsked } from '../ipam/block.ts'
import { ownersOf } from '../ipam/block-owners.ts'
import type { ClaimedBlock } from '../ipam/forecast.ts'
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

type Asked = { uid: string | undefined; version: string | undefined; sinceMs: number }

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
    const candidates: { item: Pick<BlockObject, 'metadata'>; nodes: readonly string[] }[] = []
    const unclear: { block: string; why: string }[] = []
    const census = new Census(pools())
    const names = new Set<string>()
    for await (const page of store.pages('IPAMBlock'))
      for (const item of page) {
        const { name, uid } = item.metadata
        if (names.has(name)) continue // it changed while the pages were read
        names.add(name)
        const owners = ownersOf(item)
        const gone = owners.unclear === undefined && owners.nodes.every(node => nodes.goneMs(node) !== undefined)
        census.add(item, owners.nodes[0], gone)
        if (owners.unclear !== undefined) unclear.push({ block: name, why: owners.unclear })
        else if (gone) candidates.push({ item: { metadata: { name, uid } }, nodes: owners.nodes })
      }
    nodes.keep(new Set(candidates.flatMap(candidate => candidate.nodes)))
    const dead = new Set(candidates.map(({ item }) => item.metadata.name))
    for (const name of this.#asked.keys()) if (!dead.has(name)) this.#asked.delete(name)
    for (const name of this.#answered.keys()) if (!dead.has(name)) this.#answered.delete(name)
    this.#census = census.rows
    this.#blocks = census.blocks
    this.#deps.counted()
    this.#unclear = unclear
    const waiting: Waiting[] = []
    let nextMs = periodMs
    for (const { item, nodes: owners } of candidates) {
      const result = await this.#advance(item, owners)
      if (result === undefined) continue
      waiting.push({ block: item.metadata.name, nodes: owners, ...result })
      nextMs = Math.min(nextMs, result.inMs)
    }
    this.#waiting = waiting
    return nextMs
  }

  /** Does the next step for one block. Undefined when nothing waits any more. Rejects as the store, but for refusals. */
  async #advance(
    { metadata: { name, uid } }: Pick<BlockObject, 'metadata'>,
    owners: readonly string[],
  ): Promise<Step | undefined> {
    const { clock, nodes, settings, answerMs } = this.#deps
    const { graceMs, periodMs = UNKNOWN_MS } = settings() ?? {}
    if (graceMs === undefined) return { because: 'grace', inMs: periodMs }
    const nowMs = clock.monotonicMs()
    const goneMs = Math.min(...owners.map(node => nodes.goneMs(node) ?? 0))
    // a block of nobody, with nothing in it, is asked about at once
    if (goneMs < graceMs) return { because: 'grace', inMs: graceMs - goneMs }
    const answered = this.#answered.get(name)
    if (answered !== undefined && answered.uid === uid && nowMs - answered.sinceMs < ASK_AGAIN_MS)
      return { because: 'answered', inMs: answered.sinceMs + ASK_AGAIN_MS - nowMs }
    const asked = this.#asked.get(name)
    try {
      if (asked === undefined || asked.uid !== uid) return await this.#ask(name, owners)
      const leftMs = asked.sinceMs + answerMs - nowMs
      if (leftMs > 0) return { because: 'asked', inMs: leftMs }
      this.#asked.delete(name)
      return await this.#free(name, asked)
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      return { because: 'refused', error, inMs: periodMs }
    }
  }

  /** Puts the question into the block. */
  async #ask(name: string, owners: readonly string[]): Promise<Step | undefined> {
    const { store, clock, log, identity, answerMs } = this.#deps
    const item = await this.#dead(name)
    if (item === undefined) return undefined
    const by = `${identity} at ${new Date(clock.wallMs()).toISOString()}`
    try {
      const sinceMs = clock.monotonicMs()
      const { metadata } = await store.update('IPAMBlock', askOwner(item, by))
      this.#answered.delete(name)
      // counted from before the write: the answer may come before the server's
      this.#asked.set(name, { uid: metadata.uid, version: metadata.resourceVersion, sinceMs })
      log.info({ block: name, nodes: owners }, 'the Node of a block is gone; its owner is asked before it is freed')
      return { because: 'asked', inMs: answerMs }
    } catch (error) {
      if (!(error instanceof Conflict || error instanceof NotFound)) throw error
      return this.#noteAnswer(item, owners)
    }
  }

  /** Deletes the block when nobody wrote it since it was asked about. */
  async #free(name: string, { uid, version }: Asked): Promise<Step | undefined> {
    const { store, log, freed } = this.#deps
    const item = await this.#dead(name)
    if (item === undefined) return undefined
    const { nodes } = ownersOf(item)
    if (item.metadata.uid !== uid || item.metadata.resourceVersion !== version) return this.#noteAnswer(item, nodes)
    try {
      await store.delete('IPAMBlock', name, { uid, resourceVersion: version })
    } catch (error) {
      if (error instanceof NotFound) return undefined
      if (error instanceof Conflict) return this.#noteAnswer(item, nodes)
      throw error
    }
    const addresses = item.spec.allocations.filter(index => index !== null).length
    this.#freed = { blocks: this.#freed.blocks + 1, addresses: this.#freed.addresses + addresses }
    log.info({ block: item.spec.cidr, nodes, addresses }, 'a block of a node that is gone was freed')
    freed()
    return undefined
  }

  /** The block as it is now at the server, when none of its nodes is there: the block is read first, and its nodes after it. */
  async #dead(name: string): Promise<BlockObject | undefined> {
    const { store, nodes } = this.#deps
    const item = await found(store.get('IPAMBlock', name))
    if (item === undefined) return undefined
    const owners = ownersOf(item)
    if (owners.unclear !== undefined) return undefined
    for (const node of owners.nodes) {
      if ((await found(store.get('Node', node))) === undefined) continue
      nodes.found(node)
      return undefined
    }
    return item
  }

  #noteAnswer(item: BlockObject, nodes: readonly string[]): Step {
    const { name, uid } = item.metadata
    // another program asked: whoever leads now asks once more
    if (isOwnerAsked(item)) return { because: 'asked', inMs: this.#deps.answerMs }
    const { clock, log } = this.#deps
    this.#answered.set(name, { uid, sinceMs: clock.monotonicMs() })
    log.warn({ block: name, nodes }, 'somebody wrote a block whose Node is gone: it stays')
    return { because: 'answered', inMs: ASK_AGAIN_MS }
  }
}

async function found<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading
  } catch (error) {
    if (error instanceof NotFound) return undefined
    throw error
  }
}
