// What each rule of policies has counted, by its text (policy/rule-text.ts). The kernel counts by rule, and a chain that changes
// has new rules, which begin at 0: what the old ones had last is kept, as it is where others flush the table or reset its
// counters. Counters with names would outlive their rules, but make the first load of a table take twice as long.
// Hazard: what comes between the last reading and the rewriting of a chain is lost: a millisecond's packets.
import type { NftRuleCounter } from '../kernel/port/nftables.ts'
import { parseRuleText } from './policy/rule-text.ts'

type Counted = { packets: number; octets: number }

/** Texts of rules that are no more, whose counts are kept by themselves; what is beyond is kept by outcome alone. */
const MOST_GONE = 10_000

export class RuleCounts {
  readonly #mostGone: number
  /** By chain, then by the rule's number in the kernel. */
  readonly #live = new Map<string, ReadonlyMap<number, NftRuleCounter>>()
  readonly #gone = new Map<string, Counted>()
  readonly #forgotten = new Map<string, number>()
  /** By text: they are asked for again with each scrape. */
  readonly #outcomes = new Map<string, string | undefined>()

  constructor(mostGone = MOST_GONE) {
    this.#mostGone = mostGone
  }

  /** Takes in what the rules of one chain have counted. */
  take(counters: readonly NftRuleCounter[], chain: string): void {
    this.#takeChains(
      Map.groupBy(counters, each => each.chain),
      [chain],
    )
  }

  /** Takes in what the rules of all chains have counted, but of `newer`, which were taken in while these were read. */
  takeAll(counters: readonly NftRuleCounter[], newer: ReadonlySet<string> = new Set()): void {
    const byChain = Map.groupBy(counters, each => each.chain)
    this.#takeChains(byChain, new Set([...this.#live.keys(), ...byChain.keys()]).difference(newer))
  }

  #takeChains(byChain: ReadonlyMap<string, readonly NftRuleCounter[]>, chains: Iterable<string>): void {
    for (const name of chains) {
      const now = new Map((byChain.get(name) ?? []).map(each => [each.handle, each]))
      for (const [handle, last] of this.#live.get(name) ?? []) if (!goesOn(last, now.get(handle))) this.#keep(last)
      if (now.size === 0) this.#live.delete(name)
      else this.#live.set(name, now)
    }
  }

  /** Of each text, all rules together: of several chains, and those that are no more. Those that counted nothing too. */
  byText(): Map<string, Counted> {
    const sums = new Map([...this.#gone].map(([text, counted]) => [text, { ...counted }]))
    for (const rules of this.#live.values())
      for (const { comment, packets, bytes } of rules.values())
        if (comment !== undefined) addTo(sums, comment, Number(packets), Number(bytes))
    return sums
  }

  /** Packets by outcome and direction (`deny ingress`, `staged-deny ingress`), those of forgotten texts too. */
  byOutcome(): Map<string, number> {
    const sums = new Map(this.#forgotten)
    const texts = this.byText()
    if (this.#outcomes.size > 2 * texts.size) this.#outcomes.clear()
    for (const [text, { packets }] of texts) {
      const key = this.#outcomes.get(text) ?? outcomeOf(text)
      this.#outcomes.set(text, key)
      if (key !== undefined) sums.set(key, (sums.get(key) ?? 0) + packets)
    }
    return sums
  }

  #keep({ comment, packets, bytes }: NftRuleCounter): void {
    if (comment === undefined || packets === 0n) return
    addTo(this.#gone, comment, Number(packets), Number(bytes))
    if (this.#gone.size <= this.#mostGone) return
    const [oldest] = this.#gone
    this.#gone.delete(oldest![0])
    const key = outcomeOf(oldest![0])
    if (key !== undefined) this.#forgotten.set(key, (this.#forgotten.get(key) ?? 0) + oldest![1].packets)
  }
}

/** Whether what is at a rule's number now is that rule: a table that is made anew counts its rules from 1 again. */
function goesOn(last: NftRuleCounter, now: NftRuleCounter | undefined): boolean {
  return now !== undefined && now.comment === last.comment && now.packets >= last.packets
}

function addTo(sums: Map<string, Counted>, text: string, packets: number, octets: number): void {
  const sum = sums.get(text)
  if (sum === undefined) sums.set(text, { packets, octets })
  else {
    sum.packets += packets
    sum.octets += octets
  }
}

/** `OUTCOME DIRECTION`; what a staged policy would do begins with `staged-`. */
function outcomeOf(text: string): string | undefined {
  const rule = parseRuleText(text)
  if (rule === undefined) return undefined
  const isStaged = rule.of === 'policy' && rule.staged === true
  return `${isStaged ? 'staged-' : ''}${rule.outcome} ${rule.direction}`
}
