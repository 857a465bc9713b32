// Which addresses of the blocks of this node go to pods of other nodes that ask for one (`lending.ts`), in the journal: by the rules
// that hold for its own pods.
import type { AddressWish, Borrower } from '../api/address-wishes.ts'
import type { Clock } from '../lib/clock.ts'
import { addressAt, contains, familyOf } from '../lib/ip.ts'
import type { Block } from './block.ts'
import type { InUse } from './in-use.ts'
import type { Inputs } from './inputs.ts'
import type { Ledger } from './ledger.ts'
import { lend, withLent } from './lending.ts'
import { usablePools } from './pick.ts'
import { podNameOf, type Resting } from './resting.ts'
import { reservedAside } from './room.ts'
import { subnetOf } from './subnet.ts'

export type LenderDeps = {
  node: string
  ledger: Ledger
  resting: Resting
  inUse: InUse
  clock: Pick<Clock, 'wallMs'>
  /** Undefined: nothing is lent now. */
  inputs(): Inputs | undefined
  /** Whether a pod of this node waits for a block. */
  isAwaited(cidr: string): boolean
}

export class Lender {
  readonly #deps: LenderDeps

  constructor(deps: LenderDeps) {
    this.#deps = deps
  }

  /** Lends addresses of a block to other nodes that ask for them, and takes back those that they have no more. Throws DatabaseError. */
  lend(cidr: string, wishes: ReadonlyMap<string, AddressWish>): void {
    const { node, ledger, resting, clock } = this.#deps
    const owned = ledger.get(cidr)!
    const { block, freed, given } = lend(owned.block, wishes, {
      owner: node,
      usable: this.#usableIn(cidr),
      timestamp: new Date(clock.wallMs()).toISOString(),
    })
    if (block === owned.block) return
    const rests = freed.map(({ address, slot }) => {
      return { released: [{ address, family: familyOf(address), block: cidr }], pod: podNameOf(slot.secondary) }
    })
    ledger.put([{ ...owned, block }], () => {
      resting.persistEnd(given.map(({ address }) => address))
      for (const { released, pod } of rests) resting.persist(released, pod)
    })
    for (const { address, borrower } of given) resting.end(address, podNameOf(borrower.attributes))
    for (const { released, pod } of rests) resting.begin(released, pod)
  }

  /** Takes what is lent of a block, by the API server, into a journal that is older. What came back since rests. Throws DatabaseError. */
  keepLent(server: Block): void {
    const { node, ledger, inUse, resting } = this.#deps
    const owned = ledger.get(server.cidr)
    if (owned === undefined) return
    const block = withLent(owned.block, server, { owner: node, isOwn: address => inUse.has(address) })
    if (block === owned.block) return
    const rests = owned.block.slots.flatMap((slot, ordinal) => {
      if (slot === null || block.slots[ordinal] !== null) return []
      const address = addressAt(server.cidr, ordinal)
      return [
        { released: [{ address, family: familyOf(address), block: server.cidr }], pod: podNameOf(slot.secondary) },
      ]
    })
    ledger.put([{ ...owned, block }], () => {
      for (const { released, pod } of rests) resting.persist(released, pod)
    })
    for (const { released, pod } of rests) resting.begin(released, pod)
  }

  /** Which addresses of a block may go to pods of other nodes; undefined: none. */
  #usableIn(cidr: string): ((address: string, borrower: Borrower) => boolean) | undefined {
    const { ledger, resting, inUse, isAwaited } = this.#deps
    const inputs = this.#deps.inputs()
    if (inputs === undefined || inputs.config.strictAffinity || isAwaited(cidr)) return undefined
    if (subnetOf(ledger.get(cidr)!.block) !== undefined) return undefined
    if (!usablePools(inputs.pools).some(({ spec }) => contains(spec.cidr, cidr))) return undefined
    const unreserved = reservedAside(inputs)
    const { ipCooldownSeconds: cooldownSeconds } = inputs.config
    return (address, { attributes }) =>
      !inUse.has(address) &&
      unreserved(address) &&
      resting.state(address, { pod: podNameOf(attributes), cooldownSeconds }) !== 'rests'
  }
}
