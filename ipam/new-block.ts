// Gets this node one more block: picks a free one by what is known of the others, and claims it. Blocks of other nodes are
// not watched, so what is known may be out of date: a lost claim, or a pool without a free block, leads to a new list. Where none
// is free and a pod waits, owners of empty blocks are asked for one; a spare one is never asked for.
import type { Borrower } from '../api/address-wishes.ts'
import { type IpPool, nodesExchange } from '../api/pools.ts'
import { isStoreError, type Store } from '../datastore/port.ts'
import type { Clock } from '../lib/clock.ts'
import { contains, type Family, familyOf, overlaps } from '../lib/ip.ts'
import { blockSize } from './block.ts'
import { BlockRequests } from './block-requests.ts'
import type { Borrowing } from './borrowing.ts'
import type { Claims } from './claims.ts'
import type { Inputs } from './inputs.ts'
import type { OwnedBlock } from './journal.ts'
import type { Ledger } from './ledger.ts'
import { type Asked, inWords, MOST_ASKED, type OwnerRound } from './owner-round.ts'
import { pickBlock, reservedIn } from './pick.ts'
import type { PoolHold } from './pool-hold.ts'
import type { AssignRefusal } from './port.ts'
import { addressTaken, unreachable } from './refusals.ts'

/** How old the list of other nodes' blocks may be when by it no block is free. */
const RELIST_MS = 10_000
/** So many claims lost in a row say that the list of other nodes' blocks is out of date. */
const LOST_CLAIMS = 3

export type NewBlockDeps = {
  node: string
  claims: Claims
  ledger: Ledger
  hold: PoolHold
  store: Store
  clock: Clock
  /** Blocks of the pools are scarce: an owner is asked for one. */
  asking: (family: Family) => void
  round: OwnerRound
  borrowing: Pick<Borrowing, 'ask'>
  /** Whether a single address of another node can be used here: every node can be told the route to it. */
  canBorrow: () => boolean
}

/** `exact`: this block and no other. `isNeeded`: a pod waits, so owners of empty blocks are asked for one. `borrower`: for a single address, where none has one. */
type Wanted = { exact?: string; isNeeded: boolean; borrower?: Borrower; subnet?: SubnetBlock }

/** Whether a block that nobody has can be the subnet of a network, by what is reserved. */
export type SubnetBlock = (cidr: string) => boolean

export class NewBlock {
  readonly #node: string
  readonly #claims: Claims
  readonly #ledger: Ledger
  readonly #hold: PoolHold
  readonly #store: Pick<Store, 'pages'>
  readonly #asking: NewBlockDeps['asking']
  readonly #requests: BlockRequests
  readonly #round: OwnerRound
  readonly #borrowing: NewBlockDeps['borrowing']
  readonly #canBorrow: () => boolean
  readonly #claiming = new Map<string, { isNeeded: boolean; outcome: Promise<AssignRefusal | undefined> }>()

  constructor({ node, claims, ledger, hold, store, clock, asking, round, borrowing, canBorrow }: NewBlockDeps) {
    this.#node = node
    this.#claims = claims
    this.#ledger = ledger
    this.#hold = hold
    this.#store = store
    this.#asking = asking
    this.#requests = new BlockRequests({ node, store, clock, round })
    this.#round = round
    this.#borrowing = borrowing
    this.#canBorrow = canBorrow
  }

  /** From now on no owner is asked any more, and who waits for one hears at once. */
  close(): void {
    this.#round.close()
  }

  /**
   * Claims a block of the pools, or the `exact` one. One claim at a time for the same pools, however many wait for it.
   * Undefined: this node has a block more. Rejects with DatabaseError.
   */
  claim(pools: readonly IpPool[], inputs: Inputs, wanted: Wanted): Promise<AssignRefusal | undefined> {
    const names = pools.map(({ metadata }) => metadata.name).join(' ')
    const key = wanted.exact ?? `${wanted.subnet === undefined ? '' : '/'}${names}`
    const running = this.#claiming.get(key)
    if (running !== undefined && (running.isNeeded || !wanted.isNeeded)) return running.outcome
    const outcome = this.#claimAfter(running?.outcome, pools, inputs, wanted).finally(() => {
      if (this.#claiming.get(key)?.outcome === outcome) this.#claiming.delete(key)
    })
    this.#claiming.set(key, { isNeeded: wanted.isNeeded, outcome })
    return outcome
  }

  /** A claim of a spare block that is under way may end in one; only where no block is free is more to be done. */
  async #claimAfter(
    spare: Promise<AssignRefusal | undefined> | undefined,
    ...claim: Parameters<NewBlock['claim']>
  ): Promise<AssignRefusal | undefined> {
    if (spare !== undefined) {
      const refusal = await spare
      if (refusal?.refused !== 'exhausted') return refusal
    }
    return this.#claimOne(...claim)
  }

  async #claimOne(
    pools: readonly IpPool[],
    inputs: Inputs,
    { exact, isNeeded, borrower, subnet }: Wanted,
  ): Promise<AssignRefusal | undefined> {
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
      const across = exact === undefined ? undefined : await this.#overlapping(exact)
      if (across !== undefined) return addressTaken(`block ${exact} overlaps block ${across}`)
      for (let lost = 0; ; lost++) {
        const mine = this.#own().filter(({ block }) => familyOf(block.cidr) === family).length
        if (inputs.config.maxBlocksPerHost > 0 && mine >= inputs.config.maxBlocksPerHost)
          return {
            refused: 'block-limit',
            message: `this node has ${mine} ${family} blocks, as many as maxBlocksPerHost allows`,
            remedy: 'raise maxBlocksPerHost in the IPAMConfiguration named default',
          }
        const cidr = exact ?? (await this.#pick(pools, inputs, lost, subnet))
        if (cidr === undefined) {
          const asked = isNeeded ? await this.#ask(pools, inputs, subnet) : []
          if (asked.some(({ answer }) => answer === 'given')) continue
          const lenders = borrower === undefined ? [] : await this.#borrow(pools, inputs, borrower, asked)
          if (lenders.some(({ answer }) => answer === 'given')) return undefined
          const none = `no free block${subnet === undefined ? '' : ' with room for a container of the network'} is left in ${pools.map(pool => described(pool, inputs.reserved)).join(', ')}`
          return {
            refused: 'exhausted',
            message: [
              none,
              ...asked.map(each => inWords(each, 'block')),
              ...lenders.map(each => inWords(each, 'address')),
            ].join('; '),
            remedy: 'add an IPPool, or release addresses: margayctl ipam show --show-blocks',
          }
        }
        const pool = pools.find(({ spec }) => contains(spec.cidr, cidr))!
        await this.#hold.hold(pool)
        const outcome = await this.#claims.claim(cidr, () => this.#confirms(pool, cidr, inputs))
        if (outcome === 'claimed') return undefined
        if (outcome === 'withdrawn')
          return {
            refused: 'unreachable',
            message: `IPPool ${pool.metadata.name} changed or was deleted while block ${cidr} was claimed from it`,
            remedy: 'ask again; if it stays so, look for blocks of another size: margayctl ipam show --show-blocks',
          }
        if (exact !== undefined)
          return addressTaken(`block ${exact} belongs to ${this.#claims.taken().get(exact) ?? 'nobody'}`)
      }
    } catch (error) {
      if (isStoreError(error)) return unreachable(error.message)
      throw error
    }
  }

  /** A block that is free by what is known, after a new list where that proved wrong. */
  async #pick(
    pools: readonly IpPool[],
    inputs: Inputs,
    lostClaims: number,
    subnet: SubnetBlock | undefined,
  ): Promise<string | undefined> {
    if (lostClaims > 0 && lostClaims % LOST_CLAIMS === 0) await this.#claims.learnTaken(RELIST_MS)
    const free = this.#firstFree(pools, inputs, subnet)
    if (free !== undefined || !(await this.#claims.learnTaken(RELIST_MS))) return free
    return this.#firstFree(pools, inputs, subnet)
  }

  /** Asks owners of blocks without pods, by the last list, until one has given its block back. Rejects as the store. */
  async #ask(pools: readonly IpPool[], { reserved }: Inputs, subnet: SubnetBlock = () => true): Promise<Asked[]> {
    const useful = usefulOf(this.#claims.empty(), pools, reserved).filter(([cidr]) => subnet(cidr))
    const asked = await this.#requests.ask(useful)
    if (asked.length > 0) this.#asking(familyOf(pools[0]!.spec.cidr))
    for (const { cidr, answer } of asked) if (answer === 'given') this.#claims.freed(cidr)
    return asked
  }

  /** Asks owners of blocks with a free address for it, by the last list. `before`: who was asked for a block. Rejects as the store, and with DatabaseError. */
  async #borrow(
    pools: readonly IpPool[],
    { reserved, config }: Inputs,
    borrower: Borrower,
    before: readonly Asked[],
  ): Promise<Asked[]> {
    if (config.strictAffinity || !this.#canBorrow()) return []
    const most = Math.max(1, MOST_ASKED - before.filter(({ answer }) => answer === 'silent').length)
    const exchanged = pools.filter(nodesExchange)
    return this.#borrowing.ask(usefulOf(this.#claims.withRoom(), exchanged, reserved), borrower, most)
  }

  #firstFree(pools: readonly IpPool[], inputs: Inputs, subnet: SubnetBlock | undefined): string | undefined {
    const taken = this.#known()
    for (const pool of pools) {
      const cidr = pickBlock(pool, taken, inputs.reserved, this.#node, subnet)
      if (cidr !== undefined) return cidr
    }
    return undefined
  }

  /**
   * Whether a block that was just claimed may be used: its pool still is as it was, and no block of another size shares
   * addresses with it. Two nodes that see different sizes claim different names, so only a list after the claim can tell;
   * where all that is known of a pool has one size, the name is enough.
   */
  async #confirms(pool: IpPool, block: string, inputs: Inputs): Promise<boolean> {
    const judged = await this.#hold.judge(pool, block)
    if (judged === 'gone') return false
    const { cidr: poolCidr, blockSize } = pool.spec
    const others = inputs.pools.some(other => other !== pool && overlaps(other.spec.cidr, poolCidr))
    const mixed = this.#known().some(cidr => overlaps(cidr, poolCidr) && !cidr.endsWith(`/${blockSize}`))
    if (judged === 'as known' && !others && !mixed) return true
    for await (const page of this.#store.pages('IPAMBlock'))
      if (page.some(({ spec }) => spec.cidr !== block && overlaps(spec.cidr, block))) return false
    return true
  }

  /** A block of another name that shares addresses with this one, also by a new list. */
  async #overlapping(block: string): Promise<string | undefined> {
    const known = () => this.#known().find(cidr => cidr !== block && overlaps(cidr, block))
    if (known() === undefined) return undefined
    await this.#claims.learnTaken(RELIST_MS)
    return known()
  }

  #known(): string[] {
    return [...this.#claims.taken().keys(), ...this.#ledger.blocks().map(({ block }) => block.cidr)]
  }

  #own(): OwnedBlock[] {
    return this.#ledger.blocks().filter(({ lostTo }) => lostTo === undefined)
  }
}

/** Blocks of the pools that are not wholly reserved. */
function usefulOf(
  blocks: readonly (readonly [cidr: string, affinity: string])[],
  pools: readonly IpPool[],
  reserved: readonly string[],
) {
  return blocks.filter(([cidr]) => {
    const isWhole = reservedIn(reserved, cidr) < BigInt(blockSize(cidr))
    return isWhole && pools.some(({ spec }) => contains(spec.cidr, cidr))
  })
}

function described({ metadata, spec }: IpPool, reserved: readonly string[]): string {
  const kept = reservedIn(reserved, spec.cidr)
  return `${metadata.name} (${spec.cidr}${kept === 0n ? '' : `, ${kept} addresses of it reserved`})`
}
