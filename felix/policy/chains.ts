// One list of policies as chains of nftables: flat, in order, without a jump for each policy. A packet that is allowed
// returns to the chain that asked; one that is denied is dropped here. A tier that a rule can pass to has a chain of its own.
// Packets of known connections return first, so a policy that changes decides about new ones; what they may keep is ended
// by deleting their entries.
// Hazard: what nothing decides is dropped at the end, whatever the list is.
import type { NftVerdict } from '../../kernel/port/nftables.ts'
import type { NftChainProgram } from '../../kernel/reconcile/nft-state.ts'
import type { Steps } from '../calc/nft-expressions.ts'
import { type Direction, decidesAll, type PolicyList, passes } from './active.ts'
import { InlineSets } from './inline-sets.ts'
import { matchesOf, type SetsOf, type SideName, sourcesOf } from './matches.ts'
import type { Policy, PolicyRule, RuleAction } from './model.ts'
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

/** The chains of a list; the first one is the one that asks it. */
export function chainsOfList(list: PolicyList, setsOf: SetsOf, table: TableName): NftChainProgram[] {
  const { direction, tiers, profiles } = list
  const head = chainName(direction, list.key)
  const chains: ChainText[] = []
  const chain = (name: string) => {
    const made = new ChainText(name, table)
    chains.push(made)
    return made
  }
  const add = (to: ChainText, rules: readonly PolicyRule[], what: string, verdictOf: VerdictOf) => {
    for (const [i, rule] of rules.entries()) {
      const { action, matches } = expressible(rule, direction, setsOf)
      for (const match of matches)
        to.add(inline => [...match(inline), ...COUNTER, ...end(verdictOf(action))], comment(what, direction, i, action))
    }
  }

  let current = chain(head)
  current.add(() => [...OF_KNOWN_CONNECTION, ...end({ verdict: 'return' })])
  for (const [i, tier] of tiers.entries()) {
    const { name, defaultAction, policies } = tier
    const enforced = policies.filter(({ staged }) => staged !== true)
    const passesOn = enforced.some(policy => passes(policy, direction))
    const next = `${head}-${i + 1}`
    const verdictOf: VerdictOf = action => (action === 'pass' ? { verdict: 'goto', chain: next } : VERDICTS[action])
    for (const [j, policy] of policies.entries()) {
      const rules = policy[direction]!
      if (policy.staged !== true) add(current, rules, nameOf(policy), verdictOf)
      else if (rules.length > 0) {
        const aside = chain(`${head}-${i}-${j}`)
        add(aside, rules, `staged ${nameOf(policy)}`, action => (action === 'log' ? undefined : { verdict: 'return' }))
        current.add(() => end({ verdict: 'jump', chain: aside.name }))
      }
    }
    if (enforced.length === 0) continue
    if (defaultAction === 'deny') current.add(() => DROP, cut(`tier ${name} ${direction} deny`, COMMENT_OCTETS))
    else if (passesOn) current.add(() => end({ verdict: 'goto', chain: next }))
    if (passesOn) current = chain(next)
    if (decidesAll(tier, direction)) return chains.map(each => each.program())
  }
  for (const { name, profile } of profiles)
    add(current, profile?.[direction] ?? [], `Profile ${name}`, action => VERDICTS[action === 'pass' ? 'deny' : action])
  current.add(() => DROP, `no profile ${direction} deny`)
  return chains.map(each => each.program())
}

type VerdictOf = (action: RuleAction) => NftVerdict | undefined

const VERDICTS: Record<Exclude<RuleAction, 'pass'>, NftVerdict | undefined> = {
  allow: { verdict: 'return' },
  deny: { verdict: 'drop' },
  log: undefined,
}

const DROP: Steps = [...COUNTER, ...end({ verdict: 'drop' })]

const OF_KNOWN_CONNECTION: Steps = [
  { type: 'ct', key: 'state', load: 1 },
  { type: 'bitwise', from: 1, load: 1, length: 4, mask: KNOWN_CONNECTION, xor: '00000000' },
  { type: 'cmp', op: 'neq', from: 1, value: '00000000' },
]

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

/** `NetworkPolicy ns/name`. */
function nameOf({ ref: { kind, name, namespace } }: Policy): string {
  return `${kind} ${namespace === undefined ? '' : `${namespace}/`}${name}`
}

/** `NetworkPolicy ns/name ingress 0 allow`: which rule of which policy, counted from 0. The name is cut, never the rest. */
function comment(what: string, direction: Direction, index: number, action: RuleAction): string {
  const rest = ` ${direction} ${index} ${action}`
  return `${cut(what, COMMENT_OCTETS - rest.length)}${rest}`
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

  program(): NftChainProgram {
    const { name } = this
    return {
      chain: { kind: 'chain', ...this.#table, name },
      rules: this.#rules.map(rule => ({ kind: 'rule', ...this.#table, chain: name, ...rule })),
      ...(this.#inline.all.length > 0 && { inline: this.#inline.all }),
    }
  }
}
