// Addresses that pods have by the kernel, whatever the blocks say: after the journal was lost, or was put back from an old copy.
// Hazard: a block may have such an address for an earlier pod. Whoever releases that pod must not make the address free.
import { assign, type Block, freeSlot, type Holder, release } from './block.ts'

export class InUse {
  readonly #node: string
  readonly #holders = new Map<string, Holder>()

  constructor(node: string) {
    this.#node = node
  }

  has(address: string): boolean {
    return this.#holders.has(address)
  }

  /** From now on `holder` has these addresses. Returns the other handles that had them until now. */
  set(holder: Holder, addresses: readonly string[]): readonly string[] {
    const earlier = addresses.flatMap(address => this.#holders.get(address)?.handle ?? [])
    for (const address of addresses) this.#holders.set(address, holder)
    return earlier.filter(handle => handle !== holder.handle)
  }

  /** A pod is gone: its addresses are free where no other one has them. */
  forget(handle: string): void {
    for (const [address, holder] of this.#holders) if (holder.handle === handle) this.#holders.delete(address)
  }

  /** The block without `handles`, and with its free slots given to those who use their addresses. The same one where nothing changes. */
  holdIn(block: Block, handles: readonly string[] = []): Block {
    let held = handles.reduce((rest, handle) => release(rest, handle, this.#node).block, block)
    for (const [address, holder] of this.#holders) {
      const ordinal = freeSlot(held, address)
      if (ordinal !== undefined) held = assign(held, holder, ordinal)
    }
    return held
  }
}
