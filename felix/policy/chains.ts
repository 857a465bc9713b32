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
import { COMMENT_OCTETS, cut, type MemberSource, type TableName } from './sources.ts'

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
export function sourcesOfList(list: PolicyList): MemberSource[] {
  const { direction, tiers, profiles } = list
  const last = tiers.findIndex(tier => decidesAll(tier, direction) && tiersEnd(list))
  const rules = [
    ...(last < 0 ? tiers : tiers.slice(0, last + 1)).flatMap(({ policies }) =>
      policies.flatMap(policy => policy[direction] ?? []),
    ),
    ...profiles.flatMap(({ profile }) => profile?.[direction] ?? []),
  ]
  return rules.flatMap(rule => sourcesOf(rule, ownSide(list)))
}

/** The chains of a list; the first one is the one that asks it. `logLimit`: of each rule with the action log. */
export function chainsOfList(
  list: PolicyList,
  setsOf: SetsOf,
  table: TableName,
  logLimit: LogLimit = LOG_LIMIT,
): NftChainProgram[] {
  const { direction, tiers, profiles, stage } = list
  const head = chainName(direction, list.key)
  const onAllow = stage === undefined ? [] : ON_ALLOW[stage]
  const chains: ChainText[] = []
  const chain = (name: string) => {
    const made = new ChainText(name, table)
    chains.push(made)
    return made
  }
  const add = (to: ChainText, rules: readonly PolicyRule[], of: Owner, verdictOf: VerdictOf) => {
    for (const [index, rule] of rules.entries()) {
      const { action, matches } = expressible(rule, list, setsOf)
      const named: NamedRule = { ...of, index, direction, outcome: action }
      const isStaged = of.of === 'policy' && of.staged === true
      const logs = action === 'log' && !isStaged ? copied(named, logLimit) : []
      const verdict = verdictOf(action)
      const before = verdict?.verdict === 'accept' ? onAllow : logs
      for (const match of matches) {
        if (action === 'deny') to.add(inline => [...match(inline), ...copied(named)])
        to.add(inline => [...match(inline), ...COUNTER, ...before, ...end(verdict)], ruleText(named))
      }
    }
  }

  const main = chain(head)
  if (stage !== 'untracked') main.add(() => ACCEPT_KNOWN)
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
    if (enforced.length === 0 || !tiersEnd(list)) continue
    if (defaultAction === 'deny') current.drop({ of: 'tier', tier: name, direction, outcome: 'deny' })
    if (decidesAll(tier, direction)) return chains.map(each => each.program())
  }
  // what no policy of host endpoints denies here goes on
  if (stage !== undefined) return chains.map(each => each.program())
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

/** `meta mark set meta mark | 0x00010000`: what host endpoints ask later lets the packet pass. */
export const ACCEPTED_EARLY = 0x1_0000
const MARK: Steps = changeMark({ set: true })
/** `meta mark & 0x00010000 != 0`. */
export const IS_ACCEPTED_EARLY: Steps = [
  { type: 'meta', key: 'mark', load: 1 },
  { type: 'bitwise', from: 1, load: 1, length: 4, mask: bit(ACCEPTED_EARLY), xor: bit(0) },
  { type: 'cmp', op: 'neq', from: 1, value: bit(0) },
]

/** What a rule that allows does first. The kernel does not track connections of packets that policies without tracking allow. */
const ON_ALLOW: Readonly<Record<NonNullable<PolicyList['stage']>, Steps>> = {
  forward: [],
  preDNAT: MARK,
  untracked: [{ type: 'notrack' }, ...MARK],
}

/** Behind what is asked before addresses are translated or connections tracked, there is more to ask: the tiers have no end. */
export function tiersEnd({ stage }: PolicyList): boolean {
  return stage === undefined || stage === 'forward'
}

/** The side of the endpoint itself, which has an address of this node; of what is forwarded others have both. */
export function ownSide({ stage, direction }: PolicyList): SideName | undefined {
  return stage === undefined ? OWN_SIDE[direction] : undefined
}

/** Accepts packets of known connections, and what belongs to these. */
export const ACCEPT_KNOWN: Steps = [...inState(KNOWN_CONNECTION), ...end(VERDICTS.allow)]

/** Whether a rule can be asked. Only pods that send are told of names: what asks for names elsewhere is closed. */
export function isExpressible({ source, destination }: PolicyRule, direction: Direction): boolean {
  return source.domains === undefined && (destination.domains === undefined || direction === 'egress')
}

function expressible(rule: PolicyRule, list: PolicyList, setsOf: SetsOf) {
  const { action } = rule
  if (isExpressible(rule, list.direction)) return { action, matches: matchesOf(rule, ownSide(list), setsOf) }
  if (action === 'allow' || action === 'log') return { action, matches: [] }
  return { action: 'deny', matches: [() => []] } as const
}

/** Rules that say something to a packet whatever policies say, as a chain that accepts it. */
export function openChain(
  name: string,
  rules: readonly { rule: PolicyRule; comment: string }[],
  setsOf: SetsOf,
  table: TableName,
): NftChainProgram {
  const chain = new ChainText(name, table)
  for (const { rule, comment: of } of rules)
    for (const match of matchesOf(rule, undefined, setsOf))
      chain.add(inline => [...match(inline), ...COUNTER, ...end(VERDICTS.allow)], cut(of, COMMENT_OCTETS))
  return chain.program()
}

function end(verdict: NftVerdict | undefined): Steps {
  return verdict === undefined ? [] : [{ type: 'immediate', load: 0, data: verdict }]
}

/** Sets or clears the bit ACCEPTED_EARLY of the packet's mark. The register holds it in the order of the machine. */
export function changeMark({ set }: { set: boolean }): Steps {
  const mask = bit(~ACCEPTED_EARLY)
  const xor = bit(set ? ACCEPTED_EARLY : 0)
  return [
    { type: 'meta', key: 'mark', load: 1 },
    { type: 'bitwise', from: 1, load: 1, length: 4, mask, xor },
    { type: 'meta', key: 'mark', from: 1 },
  ]
}

/** A number of 32 bits as the kernel keeps it in a register. */
function bit(value: number): string {
  const octets = Buffer.alloc(4)
  octets.writeInt32LE(value | 0)
  return octets.toString('hex')
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
