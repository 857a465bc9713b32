// Gets this node one more block: picks a free one by what is known of the others, and claims it. Blocks of other nodes are
// not watched, so what is known may be out of date: a lost claim, or a pool without a free block, leads to a new list.
import type { IpPool } from '../api/pools.ts'
import { Refused, Unreachable } from '../datastore/port.ts'
import { familyOf } from '../lib/ip.ts'
import type { Claims } from './claims.ts'
import type { Inputs } from './inputs.ts'
import type { OwnedBlock } from './journal.ts'
import type { Ledger } from './ledger.ts'
import { pickBlock } from './pick.ts'
import type { AssignRefusal } from './port.ts'
import { addressTaken, unreachable } from './refusals.ts'

/** How old the list of other nodes' blocks may be when by it no block is free. */
const RELIST_MS = 10_000
/** So many claims lost in a row say that the list of other nodes' blocks is out of date. */
const LOST_CLAIMS = 3

export class NewBlock {
  readonly #node: string
  readonly #claims: Claims
  readonly #ledger: Ledger
  readonly #claiming = new Map<string, Promise<AssignRefusal | undefined>>()

  constructor(node: string, claims: Claims, ledger: Ledger) {
    this.#node = node
    this.#claims = claims
    this.#ledger = ledger
  }

  /**
   * Claims a block of the pools, or the `exact` one. One claim at a time for the same pools, however many wait for it.
   * Undefined: this node has a block more. Rejects with DatabaseError.
   */
  claim(pools: readonly IpPool[], inputs: Inputs, exact?: string): Promise<AssignRefusal | undefined> {
    const key = exact ?? pools.map(({ metadata }) => metadata.name).join(' ')
    const running = this.#claiming.get(key)
    if (running !== undefined) return running
    const claim = this.#claimOne(pools, inputs, exact).finally(() => this.#claiming.delete(key))
    this.#claiming.set(key, claim)
    return claim
  }

  async #claimOne(pools: readonly IpPool[], inputs: Inputs, exact?: string): Promise<AssignRefusal | undefined> {
    const family = familyOf(pools[0]!.spec.cidr)
    const before = this.#own().length
    if (!inputs.config.autoAllocateBlocks)
      return {
        refused: 'block-limit',
        message: 'autoAllocateBlocks is off and the blocks of this node are full',
        remedy: 'set it in the IPAMConfiguration named default',
      }
    try {
      await this.#claims.learnTaken(Number.POSITIVE_INFINITY)
      if (this.#own().length > before) return undefined // what the journal had lost came back
      for (let lost = 0; ; lost++) {
        const mine = this.#own().filter(({ block }) => familyOf(block.cidr) === family).length
        if (inputs.config.maxBlocksPerHost > 0 && mine >= inputs.config.maxBlocksPerHost)
          return {
            refused: 'block-limit',
            message: `this node has ${mine} ${family} blocks, as many as maxBlocksPerHost allows`,
            remedy: 'raise maxBlocksPerHost in the IPAMConfiguration named default',
          }
        const cidr = exact ?? (await this.#pick(pools, inputs, lost))
        if (cidr === undefined)
          return {
            refused: 'exhausted',
            message: `no free block is left in ${pools.map(({ metadata, spec }) => `${metadata.name} (${spec.cidr})`).join(', ')}`,
            remedy: 'add an IPPool, or release addresses: margayctl ipam show --show-blocks',
          }
        if ((await this.#claims.claim(cidr)) === 'claimed') return undefined
        if (exact !== undefined)
          return addressTaken(`block ${exact} belongs to ${this.#claims.taken().get(exact) ?? 'nobody'}`)
      }
    } catch (error) {
      if (error instanceof Unreachable || error instanceof Refused) return unreachable(error.message)
      throw error
    }
  }

  /** A block that is free by what is known, after a new list where that proved wrong. */
  async #pick(pools: readonly IpPool[], inputs: Inputs, lostClaims: number): Promise<string | undefined> {
    if (lostClaims > 0 && lostClaims % LOST_CLAIMS === 0) await this.#claims.learnTaken(RELIST_MS)
    const free = this.#firstFree(pools, inputs)
    if (free !== undefined || !(await this.#claims.learnTaken(RELIST_MS))) return free
    return this.#firstFree(pools, inputs)
  }

  #firstFree(pools: readonly IpPool[], inputs: Inputs): string | undefined {
    const taken = [...this.#claims.taken().keys(), ...this.#ledger.blocks().map(({ block }) => block.cidr)]
    for (const pool of pools) {
      const cidr = pickBlock(pool, taken, inputs.reserved, this.#node)
      if (cidr !== undefined) return cidr
    }
    return undefined
  }

  #own(): OwnedBlock[] {
    return this.#ledger.blocks().filter(({ lostTo }) => lostTo === undefined)
  }
}
