// One list of policies as chains of nftables: flat, in order, without a jump for each policy. A packet that is allowed is
// accepted: base chains behind go on with it. One that is denied is dropped here. A tier with a rule that passes has a chain
// of its own, which returns to the next tier.
// Packets of known connections are accepted first, so a policy that changes decides about new ones; what they may keep is
// ended by deleting their entries.
// What is denied or logged hands out copies of packets before that (logged.ts), and each rule counts under its text (rule-text.ts).
// Hazards: what nothing decides is dropped at the end, whatever the list is. The kernel refuses a table whose chains lead 16
// deep into each other, by jump or goto: the depth must not grow with the number of tiers.
import { formatRef } from '../../api/status.ts'
import type { NftVerdict } from '../../kernel/port/nftables.ts'
import type { NftChainProgram } from '../../kernel/reconcile/nft-state.ts'
import { COUNTED_DROP, inState, type Steps } from '../calc/nft-expressions.ts'
import { type Direction, decidesAll, type PolicyList, passes } from './active.ts'
import { InlineSets } from './inline-sets.ts'
import { copied, LOG_LIMIT } from './logged.ts'
import { matchesOf, type SetsOf, type SideName, sourcesOf } from './matches.ts'
import type { LogLimit, PolicyRule, RuleAction } from './model.ts'
import { type NamedRule, ruleText } from './rule-text.ts'
import type { MemberSource, TableName } from './sources.ts'

/** On which side of a packet the endpoint is. */
const OWN_SIDE: Record<Direction, SideName> = { ingress: 'destination', egress: 'source' }
/** `established` and `related`, as the kernel keeps them in a register. */
const KNOWN_CONNECTION = '06000000'
const COUNTER: Steps = [{ type: 'counter' }]

/** The name of the chain that asks a list. */
export function chainName(direction: Direction, key: string): string {
  return `${direction === 'ingress' ? 'to' : 'from'}-${key}`
}

/** The key of the list that a chain belongs to, by the name of the chain; undefined for a chain of no list. */
export function listOfChain(name: string): string | undefined {
  return /^(?:to|from)-([0-9a-f]+)(?:-|$)/.exec(name)?.[1]
}

/** The sources of all sets that the chains of a list may look up. */
export function sourcesOfList({ direction, tiers, profiles }: PolicyList): MemberSource[] {
  const last = tiers.findIndex(tier => decidesAll(tier, direction))
  const rules = [
    ...(last < 0 ? tiers : tiers.slice(0, last + 1)).flatMap(({ policies }) =>
      policies.flatMap(policy => policy[direction] ?? []),
    ),
    ...profiles.flatMap(({ profile }) => profile?.[direction] ?? []),
  ]
  return rules.flatMap(rule => sourcesOf(rule, OWN_SIDE[direction]))
}

/** The chains of a list; the first one is the one that asks it. `logLimit`: of each rule with the action log. */
export function chainsOfList(
  list: PolicyList,
  setsOf: SetsOf,
  table: TableName,
  logLimit: LogLimit = LOG_LIMIT,
): NftChainProgram[] {
  const { direction, tiers, profiles } = list
  const head = chainName(direction, list.key)
  const chains: ChainText[] = []
  const chain = (name: string) => {
    const made = new ChainText(name, table)
    chains.push(made)
    return made
  }
  const add = (to: ChainText, rules: readonly PolicyRule[], of: Owner, verdictOf: VerdictOf) => {
    for (const [index, rule] of rules.entries()) {
      const { action, matches } = expressible(rule, direction, setsOf)
      const named: NamedRule = { ...of, index, direction, outcome: action }
      const isStaged = of.of === 'policy' && of.staged === true
      const logs = action === 'log' && !isStaged ? copied(named, logLimit) : []
      for (const match of matches) {
        if (action === 'deny') to.add(inline => [...match(inline), ...copied(named)])
        to.add(inline => [...match(inline), ...COUNTER, ...logs, ...end(verdictOf(action))], ruleText(named))
      }
    }
  }

  const main = chain(head)
  main.add(() => ACCEPT_KNOWN)
  for (const [i, tier] of tiers.entries()) {
    const { name, defaultAction, policies } = tier
    const enforced = policies.filter(({ staged }) => staged !== true)
    const passesOn = enforced.some(policy => passes(policy, direction))
    const current = passesOn ? chain(`${head}-${i}`) : main
    if (passesOn) main.add(() => end({ verdict: 'jump', chain: current.name }))
    for (const [j, policy] of policies.entries()) {
      const rules = policy[direction]!
      const of: Owner = { of: 'policy', policy: formatRef(policy.ref) }
      if (policy.staged !== true) add(current, rules, of, action => VERDICTS[action])
      else {
        const aside = chain(`${head}-${i}-${j}`)
        const staged: Owner = { ...of, staged: true }
        add(aside, rules, staged, action => (action === 'log' ? undefined : { verdict: 'return' }))
        const unmatched: NamedRule = { ...staged, direction, outcome: 'unmatched' }
        aside.add(() => copied(unmatched))
        aside.add(() => COUNTER, ruleText(unmatched))
        current.add(() => end({ verdict: 'jump', chain: aside.name }))
      }
    }
    if (enforced.length === 0) continue
    if (defaultAction === 'deny') current.drop({ of: 'tier', tier: name, direction, outcome: 'deny' })
    if (decidesAll(tier, direction)) return chains.map(each => each.program())
  }
  for (const { name, profile } of profiles) {
    const verdictOf: VerdictOf = action => VERDICTS[action === 'pass' ? 'deny' : action]
    add(main, profile?.[direction] ?? [], { of: 'profile', profile: name }, verdictOf)
  }
  main.drop({ of: 'no profile', direction, outcome: 'deny' })
  return chains.map(each => each.program())
}

/** Whose rules are added. */
type Owner = { of: 'policy'; policy: string; staged?: true } | { of: 'profile'; profile: string }
type VerdictOf = (action: RuleAction) => NftVerdict | undefined

const VERDICTS: Record<RuleAction, NftVerdict | undefined> = {
  allow: { verdict: 'accept' },
  deny: { verdict: 'drop' },
  pass: { verdict: 'return' },
  log: undefined,
}

/** Hands out copies of all packets that come here, counts and drops them. */
export function deniedRules(named: NamedRule): { expressions: Steps; comment?: string }[] {
  return [{ expressions: copied(named) }, { expressions: COUNTED_DROP, comment: ruleText(named) }]
}

/** Accepts packets of known connections, and what belongs to these. */
export const ACCEPT_KNOWN: Steps = [...inState(KNOWN_CONNECTION), ...end(VERDICTS.allow)]

/** The rule as it can be asked. Only pods that send are told of names: anything else is closed. */
function expressible(rule: PolicyRule, direction: Direction, setsOf: SetsOf) {
  const { action, source, destination } = rule
  if (source.domains === undefined && (destination.domains === undefined || direction === 'egress'))
    return { action, matches: matchesOf(rule, OWN_SIDE[direction], setsOf) }
  if (action === 'allow' || action === 'log') return { action, matches: [] }
  return { action: 'deny', matches: [() => []] } as const
}

function end(verdict: NftVerdict | undefined): Steps {
  return verdict === undefined ? [] : [{ type: 'immediate', load: 0, data: verdict }]
}

/** One chain while it is written. */
class ChainText {
  readonly name: string
  readonly #table: TableName
  readonly #inline = new InlineSets()
  readonly #rules: { expressions: Steps; comment?: string }[] = []

  constructor(name: string, table: TableName) {
    this.name = name
    this.#table = table
  }

  add(match: (inline: InlineSets) => Steps, comment?: string): void {
    this.#rules.push({ expressions: match(this.#inline), ...(comment !== undefined && { comment }) })
  }

  /** Drops what comes here. */
  drop(named: NamedRule): void {
    for (const rule of deniedRules(named)) this.#rules.push(rule)
  }

  program(): NftChainProgram {
    const { name } = this
    return {
      chain: { kind: 'chain', ...this.#table, name },
      rules: this.#rules.map(rule => ({ kind: 'rule', ...this.#table, chain: name, ...rule })),
      ...(this.#inline.all.length > 0 && { inline: this.#inline.all }),
    }
  }
}
