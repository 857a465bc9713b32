// What this node owns, in memory and in the journal, always both: the journal is written first, and when it refuses,
// memory stays as it was. The one place where a block of this node changes.
import { addressAt, familyOf } from '../lib/ip.ts'
import type { Journal, OwnedBlock } from './journal.ts'
import type { Assigned } from './port.ts'

type LedgerJournal = Pick<Journal, 'blocks' | 'save' | 'forget'>

export class Ledger {
  readonly #journal: LedgerJournal
  readonly #blocks: Map<string, OwnedBlock>
  readonly #held = new Map<string, Assigned[]>()
  /** Blocks whose last change is only in memory: it is written with the next one that can be. */
  readonly #unwritten = new Set<string>()
  readonly #listeners = new Set<(cidr: string, isBorrowed: boolean) => void>()

  constructor(journal: LedgerJournal) {
    this.#journal = journal
    this.#blocks = new Map(journal.blocks().map(owned => [owned.block.cidr, owned]))
    for (const owned of this.#blocks.values()) this.#index(undefined, owned)
  }

  /** Every owned block, in the order of the claims. */
  blocks(): OwnedBlock[] {
    return [...this.#blocks.values()].filter(({ lender }) => lender === undefined)
  }

  /** Every address that another node lent to this one, each as a block of one. */
  borrowed(): OwnedBlock[] {
    return [...this.#blocks.values()].filter(({ lender }) => lender !== undefined)
  }

  get(cidr: string): OwnedBlock | undefined {
    return this.#blocks.get(cidr)
  }

  /** Handles and what they hold, kept as it changes. */
  held(): ReadonlyMap<string, readonly Assigned[]> {
    return this.#held
  }

  /** Writes new or changed blocks, all or none; throws, with nothing changed, when the journal cannot be written. */
  put(changed: readonly OwnedBlock[], within?: () => void): void {
    const late = [...this.#unwritten].filter(cidr => !changed.some(({ block }) => block.cidr === cidr))
    const all = [...changed, ...late.flatMap(cidr => this.#blocks.get(cidr) ?? [])]
    this.#journal.save(
      all.map(after => {
        const { cidr } = after.block
        return { before: this.#unwritten.has(cidr) ? 'unknown' : this.#blocks.get(cidr)?.block, after }
      }),
      within,
    )
    this.#unwritten.clear()
    this.#take(changed)
  }

  /**
   * Takes a release in although the journal refused it, such as a full disk: who is gone must not keep its addresses. After
   * a crash the journal's older state is true again, and the holders that are gone are collected.
   */
  putUnwritten(changed: readonly OwnedBlock[]): void {
    for (const { block } of changed) this.#unwritten.add(block.cidr)
    this.#take(changed)
  }

  #take(changed: readonly OwnedBlock[]): void {
    for (const after of changed) {
      const before = this.#blocks.get(after.block.cidr)
      this.#blocks.set(after.block.cidr, after)
      this.#index(before, after)
    }
    for (const { block, lender } of changed) this.#tell(block.cidr, lender !== undefined)
  }

  forget(cidr: string): void {
    this.#journal.forget(cidr)
    const before = this.#blocks.get(cidr)
    this.#unwritten.delete(cidr)
    this.#blocks.delete(cidr)
    this.#index(before, undefined)
    this.#tell(cidr, before?.lender !== undefined)
  }

  /** Calls `listen` with the CIDR of each block, or borrowed address, that was got, changed or forgotten. */
  onChange(listen: (cidr: string, isBorrowed: boolean) => void): () => void {
    this.#listeners.add(listen)
    return () => this.#listeners.delete(listen)
  }

  #tell(cidr: string, isBorrowed: boolean): void {
    for (const listen of this.#listeners) listen(cidr, isBorrowed)
  }

  #index(before: OwnedBlock | undefined, after: OwnedBlock | undefined): void {
    const cidr = (after ?? before)?.block.cidr
    if (cidr === undefined) return
    const size = (after ?? before)?.block.slots.length ?? 0
    for (let ordinal = 0; ordinal < size; ordinal++) {
      const was = before?.block.slots[ordinal] ?? null
      const is = after?.block.slots[ordinal] ?? null
      if (was === is) continue
      const address = addressAt(cidr, ordinal)
      if (was !== null) {
        const rest = (this.#held.get(was.handle) ?? []).filter(held => held.address !== address)
        if (rest.length > 0) this.#held.set(was.handle, rest)
        else this.#held.delete(was.handle)
      }
      if (is !== null && after !== undefined) {
        const held = { address, family: familyOf(address), block: cidr }
        this.#held.set(is.handle, [...(this.#held.get(is.handle) ?? []), held])
      }
    }
  }
}
