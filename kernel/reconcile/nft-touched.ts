// Which parts of a table others changed since they were read, as far as the kernel tells. Pure.
import type { NftElementName, NftPartNames, NftRuleset } from '../port/nftables.ts'

/** To ask for more chains, sets and elements one by one costs as much as to read all. */
const MOST_ASKED = 500

export class TouchedParts {
  readonly #chains = new Set<string>()
  readonly #sets = new Set<string>()
  readonly #elements = new Map<string, NftElementName>()

  /** False: all has to be read, since it may be anything, or is more than is asked for one by one. */
  add(parts: NftPartNames | undefined): boolean {
    for (const name of parts?.chains ?? []) this.#chains.add(name)
    for (const name of parts?.sets ?? []) this.#sets.add(name)
    for (const each of parts?.elements ?? []) this.#elements.set(`${each.set} ${each.key}`, each)
    return parts !== undefined && this.count <= MOST_ASKED
  }

  get count(): number {
    return this.#chains.size + this.#sets.size + this.#elements.size
  }

  /** All of them, which are none from then on: before the kernel is asked, as what is told meanwhile is asked for again. */
  take(): NftPartNames {
    const elements = [...this.#elements.values()].filter(({ set }) => !this.#sets.has(set))
    const names = { chains: [...this.#chains], sets: [...this.#sets], elements }
    for (const some of [this.#chains, this.#sets, this.#elements]) some.clear()
    return names
  }
}

/** Whether packets may change sets by some rule: of that the kernel tells nothing. No rule of ours does it. */
export function mayAddUntold({ rules }: NftRuleset): boolean {
  return rules.some(({ expressions }) => expressions.some(({ type }) => type === 'dynset'))
}
