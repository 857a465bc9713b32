// BGPFilters, and what those of a BGPPeer make of its routes: rules in the order in which the BGPPeer names the filters. What no
// rule of theirs decides is for the default of the peer (trust.ts, sessions.ts). Pure. Hazard: a peer whose filter is not there, or
// cannot be read, must have no session; an empty list of rules would let everything pass.
import { type BgpFilterSpec, bgpFilterSpec } from '../../api/bgp-filter.ts'
import type { Resource } from '../../api/kinds.ts'
import { readPart } from '../../api/policy-parts.ts'
import type { CauseOf } from '../../api/status.ts'
import { formatProblems } from '../../api/validate.ts'
import type { PolicyRule } from '../../bgp/policy.ts'
import type { Family } from '../../lib/ip.ts'

/** In order; a route that none matches goes on to the default. */
export type FilterRules = { import: readonly PolicyRule[]; export: readonly PolicyRule[] }

type Section = keyof BgpFilterSpec
type Rule = BgpFilterSpec[Section][number]
type Operations = NonNullable<PolicyRule['operations']>

/**
 * Rules of one direction and family that the filters of one BGPPeer have together, at the most: each route of the peer is measured
 * against them one by one (500 of them and 50,000 routes take 0.1 s).
 */
const MOST_RULES_OF_PEER = 1000
/** Most characters that a message quotes of what is wrong with a filter. */
const MOST_CHARACTERS = 300

const SECTIONS = {
  import: [
    ['importV4', 'ipv4'],
    ['importV6', 'ipv6'],
  ],
  export: [
    ['exportV4', 'ipv4'],
    ['exportV6', 'ipv6'],
  ],
} as const satisfies Record<keyof FilterRules, readonly (readonly [Section, Family])[]>

export class Filters {
  /** By name, its rules, or why it has none. */
  readonly #filters = new Map<string, FilterRules | CauseOf<'PeersConfigured'>>()

  /** A BGPFilter changed, appeared, or went. */
  set(name: string, object: Resource<'BGPFilter'> | undefined): void {
    if (object === undefined) this.#filters.delete(name)
    else this.#filters.set(name, read(name, object.spec))
  }

  /** The rules of several filters one after the other, none of no filter; or why they cannot be followed, so that no session may come up. */
  of(names: readonly string[]): { filters?: FilterRules; closed?: CauseOf<'PeersConfigured'> } {
    const all: FilterRules[] = []
    for (const name of names) {
      const filter = this.#filters.get(name) ?? missing(name)
      if ('reason' in filter) return { closed: filter }
      all.push(filter)
    }
    if (all.length === 0) return {}
    const filters = { import: all.flatMap(each => each.import), export: all.flatMap(each => each.export) }
    const closed = tooMany(filters)
    return closed === undefined ? { filters } : { closed }
  }
}

function read(name: string, spec: unknown): FilterRules | CauseOf<'PeersConfigured'> {
  const { part, problems } = readPart(bgpFilterSpec, spec, 'spec')
  if (problems !== undefined) return unreadable(name, formatProblems(problems))
  const rulesOf = (direction: keyof FilterRules) =>
    SECTIONS[direction].flatMap(([section, family]) =>
      part[section].map((rule, i) => policyRule(rule, family, `BGPFilter ${name} ${section}[${i}]`)),
    )
  return { import: rulesOf('import'), export: rulesOf('export') }
}

function policyRule(rule: Rule, family: Family, where: string): PolicyRule {
  const { cidr, matchOperator: operator, prefixLength, source, interface: link, peerType, communities } = rule
  const { asPathPrefix = [], priority, operations = [] } = rule
  const accepts = rule.action === 'Accept'
  return {
    action: accepts ? 'accept' : 'reject',
    family,
    ...(cidr !== undefined && operator !== undefined && { match: { operator, cidr, lengths: prefixLength } }),
    ...(source !== undefined && { source }),
    ...(link !== undefined && { interface: link }),
    ...(peerType !== undefined && { peerType }),
    ...(communities !== undefined && { communities: communities.values }),
    ...(asPathPrefix.length > 0 && { asPathPrefix }),
    ...(priority !== undefined && { priority }),
    ...(operations.length > 0 && { operations: operations.flatMap(operationsOf) }),
    note: `${where} ${accepts ? 'accepts' : 'rejects'}`,
  }
}

function operationsOf({
  addCommunity,
  prependASPath,
  setPriority,
}: NonNullable<Rule['operations']>[number]): Operations {
  return [
    ...(addCommunity === undefined ? [] : [{ do: 'add-community' as const, value: addCommunity.value }]),
    ...(prependASPath === undefined ? [] : [{ do: 'prepend-as-path' as const, asns: prependASPath.prefix }]),
    ...(setPriority === undefined ? [] : [{ do: 'set-priority' as const, value: setPriority.value }]),
  ]
}

function tooMany(rules: FilterRules): CauseOf<'PeersConfigured'> | undefined {
  for (const direction of ['import', 'export'] as const)
    for (const [section, family] of SECTIONS[direction]) {
      const count = rules[direction].filter(rule => rule.family === family).length
      if (count > MOST_RULES_OF_PEER)
        return {
          reason: 'TooManyRules',
          message: `its filters have ${count} rules in ${section}, of which ${MOST_RULES_OF_PEER} are possible; the peer gets no session`,
          remedy: 'give the peer fewer filters, or filters of fewer and wider rules',
        }
    }
  return undefined
}

function missing(name: string): CauseOf<'PeersConfigured'> {
  return {
    reason: 'FilterMissing',
    message: `there is no BGPFilter ${name}, which it names in filters; the peer gets no session`,
    remedy: `create BGPFilter ${name}, or remove it from filters if the session may come up without it`,
  }
}

function unreadable(name: string, problems: string): CauseOf<'PeersConfigured'> {
  const what = problems.length > MOST_CHARACTERS ? `${problems.slice(0, MOST_CHARACTERS)}…` : problems
  return {
    reason: 'FilterInvalid',
    message: `BGPFilter ${name}, which it names in filters, cannot be followed: ${what}; the peer gets no session`,
    remedy: `correct BGPFilter ${name}, or remove it from filters if the session may come up without it`,
  }
}
