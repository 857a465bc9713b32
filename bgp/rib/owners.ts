// Whose prefixes are whose (SpeakerConfig.owners), in one address family: a route of an owner, or of this speaker, keeps
// others from using a path for the same prefix or a part of it. Which comes first does not matter: when an owner comes or goes,
// the paths of others inside its prefix are to be judged again.
import { type Prefix, PrefixIndex, parsePrefix } from '../../lib/prefix-index.ts'
import { Policy, type PolicyRule } from '../policy.ts'

/** The slots of paths, by the prefix that they are for. */
class Slots {
  readonly #prefixes = new Map<number, Prefix>()
  readonly #at = new PrefixIndex<Set<number>>()

  has(slot: number): boolean {
    return this.#prefixes.has(slot)
  }

  add(slot: number, prefix: Prefix): void {
    this.#prefixes.set(slot, prefix)
    const there = this.#at.get(prefix)
    if (there === undefined) this.#at.set(prefix, new Set([slot]))
    else there.add(slot)
  }

  /** The prefix that it was for, if it was there. */
  delete(slot: number): Prefix | undefined {
    const prefix = this.#prefixes.get(slot)
    if (prefix === undefined) return undefined
    this.#prefixes.delete(slot)
    const there = this.#at.get(prefix)!
    there.delete(slot)
    if (there.size === 0) this.#at.delete(prefix)
    return prefix
  }

  /** A path for the longest prefix that is equal to that of `prefix` or holds it. */
  holding(prefix: Prefix): number | undefined {
    return this.#at.match(prefix)?.values().next().value
  }

  within(prefix: Prefix): number[] {
    return this.#at.within(prefix).flatMap(slots => [...slots])
  }
}

export class Owners {
  /** The routes that belong to their peers are those that it accepts. */
  readonly policy: Policy
  readonly #owning = new Slots()
  readonly #others = new Slots()
  /** Prefixes whose owners came or went. */
  #changed: Prefix[] = []
  /** Paths of others that are to be judged again. */
  readonly #outdated = new Set<number>()

  constructor(rules: readonly PolicyRule[]) {
    this.policy = new Policy(rules, { external: true })
  }

  /** A path is there, and belongs to its peer or does not. */
  note(slot: number, text: string, owns: boolean): void {
    const [to, from] = owns ? [this.#owning, this.#others] : [this.#others, this.#owning]
    if (to.has(slot)) return
    const prefix = parsePrefix(text)!
    const wasOwning = from.delete(slot) !== undefined && !owns
    to.add(slot, prefix)
    if (owns || wasOwning) this.#changed.push(prefix)
  }

  forget(slot: number): void {
    this.#others.delete(slot)
    this.#outdated.delete(slot)
    const prefix = this.#owning.delete(slot)
    if (prefix !== undefined) this.#changed.push(prefix)
  }

  /** The path of the owner of a prefix, or of one that holds it. */
  ownerOf(text: string): number | undefined {
    return this.#owning.holding(parsePrefix(text)!)
  }

  /** Whether paths are to be judged again. */
  get waiting(): boolean {
    return this.#outdated.size > 0 || this.#changed.length > 0
  }

  /** Up to `limit` paths that are to be judged again, at least one where there is one. None of them is given twice. */
  takeOutdated(limit: number): readonly number[] {
    for (const prefix of this.#changed) for (const slot of this.#others.within(prefix)) this.#outdated.add(slot)
    this.#changed = []
    const taken: number[] = []
    for (const slot of this.#outdated) {
      if (taken.length > 0 && taken.length >= limit) break
      taken.push(slot)
    }
    for (const slot of taken) this.#outdated.delete(slot)
    return taken
  }
}
