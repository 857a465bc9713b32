// Asks the owners of empty blocks to give one back, where a pod waits and no block is free: by an annotation of the block, after
// which its owner deletes it or takes the annotation out (`owner-answers.ts`). Hazards: an owner that is away never answers, and
// blocks of other nodes are not watched: so each is looked at for a time, few are asked at once, and who said no is left alone.
import type { Resource } from '../api/kinds.ts'
import { blockName } from '../api/names.ts'
import { Conflict, NotFound, Refused, type Store } from '../datastore/port.ts'
import type { Clock } from '../lib/clock.ts'
import { askBlock, isBlockWanted } from './block.ts'
import { ANSWER_MS, type Asked, type OwnerRound } from './owner-round.ts'

const LOOK_MS = 250

export class BlockRequests {
  readonly #node: string
  readonly #store: Store
  readonly #clock: Clock
  readonly #round: OwnerRound

  constructor({ node, store, clock, round }: { node: string; store: Store; clock: Clock; round: OwnerRound }) {
    this.#node = node
    this.#store = store
    this.#clock = clock
    this.#round = round
  }

  /** Asks for one block after the other until one is given, three at the most. Rejects as the store. */
  ask(blocks: readonly (readonly [cidr: string, affinity: string])[]): Promise<Asked[]> {
    return this.#round.ask(blocks, { what: 'block' }, (cidr, affinity) => this.#askOne(cidr, affinity))
  }

  async #askOne(cidr: string, affinity: string): Promise<Asked['answer']> {
    const item = await this.#read(cidr)
    if (item === undefined) return 'given'
    if (item.spec.affinity !== affinity || item.spec.allocations.some(index => index !== null)) return 'kept'
    const by = `${this.#node} at ${new Date(this.#clock.wallMs()).toISOString()}`
    try {
      await this.#store.update('IPAMBlock', askBlock(item, by))
    } catch (error) {
      if (error instanceof NotFound) return 'given'
      if (error instanceof Conflict) return 'kept' // its owner writes it: somebody has an address of it
      if (error instanceof Refused) return 'refused'
      throw error
    }
    for (let waitedMs = 0; waitedMs < ANSWER_MS && !this.#round.closed; waitedMs += LOOK_MS) {
      await this.#round.pause(LOOK_MS)
      const now = await this.#read(cidr)
      if (now === undefined || now.metadata.uid !== item.metadata.uid) return 'given'
      if (!isBlockWanted(now)) return 'kept'
    }
    return 'silent'
  }

  async #read(cidr: string): Promise<Resource<'IPAMBlock'> | undefined> {
    try {
      return await this.#store.get('IPAMBlock', blockName(cidr))
    } catch (error) {
      if (error instanceof NotFound) return undefined
      throw error
    }
  }
}
