// What a list of policies says of one packet, asked of the model and of the members of sets as they are now, without a kernel: for
// connections that are established already, which rules are not asked about again. It must say what the chains of chains.ts and
// matches.ts say.
import { type Family, familyOf } from '../../lib/ip.ts'
import { PrefixIndex, parsePrefix } from '../../lib/prefix-index.ts'
import type { Direction, PolicyList } from './active.ts'
import { isExpressible, ownSide, tiersEnd } from './chains.ts'
import {
  byDomain,
  byNodes,
  byPorts,
  bySelector,
  byService,
  ICMP,
  PORT_PROTOCOLS,
  type SideName,
  VERSIONS,
} from './matches.ts'
import type { Icmp, Policy, PolicyRule, PortRange, Ports, Protocol, RuleAction, RuleSide } from './model.ts'
import { type MemberSource, protocolWord, sourceKey } from './sources.ts'

/** As a rule sees it: after the destination was translated, before the source is. Addresses in canonical text. */
export type JudgedPacket = {
  source: string
  destination: string
  protocol: Protocol
  ports?: Readonly<Record<SideName, number>>
  icmp?: Required<Icmp>
}

/** Whether a source has this element now, with the words of nft. A set that is not there has none. */
export type HasMember = (source: MemberSource, element: string, family: Family) => boolean

/** What nothing decides is denied, but in a stage of host endpoints: undefined, it goes on there. Allocates nothing. */
export function verdictOf(list: PolicyList, packet: JudgedPacket, has: HasMember): 'allow' | 'deny' | undefined {
  return judge(list, packet, has)
}

/**
 * Takes in what is asked, in its order. A rule that matches; the end of a policy of which none decided, or that is staged and so not
 * asked; the end of a tier that denies; and that nothing allowed. `index` counts from 0.
 */
export type Witness = {
  matched(of: RuleOwner, index: number, rule: PolicyRule, action: RuleAction): void
  unmatched(tier: string, policy: Policy): void
  staged(tier: string, policy: Policy): void
  tierEnded(tier: string): void
  unallowed(): void
}

export type RuleOwner = { tier: string; policy: Policy } | { profile: string }

/** As `verdictOf`, and tells the witness what decided: what a person is told must be what holds. */
export function judge(
  list: PolicyList,
  packet: JudgedPacket,
  has: HasMember,
  witness?: Witness,
): 'allow' | 'deny' | undefined {
  const { direction } = list
  const own = ownSide(list)
  for (const { name: tier, policies, defaultAction } of list.tiers) {
    let isAsked = false
    let decided: RuleAction | undefined
    for (const policy of policies) {
      if (policy.staged === true) {
        witness?.staged(tier, policy)
        continue
      }
      isAsked = true
      decided = firstOf(policy[direction], direction, own, packet, has, witness && { tier, policy }, witness)
      if (decided !== undefined) break
      witness?.unmatched(tier, policy)
    }
    if (decided === 'allow' || decided === 'deny') return decided
    if (isAsked && decided === undefined && defaultAction === 'deny' && tiersEnd(list)) {
      witness?.tierEnded(tier)
      return 'deny'
    }
  }
  if (list.stage !== undefined) return undefined
  for (const { name, profile } of list.profiles) {
    const decided = firstOf(profile?.[direction], direction, own, packet, has, witness && { profile: name }, witness)
    if (decided !== undefined) return decided === 'allow' ? 'allow' : 'deny'
  }
  witness?.unallowed()
  return 'deny'
}

/** What the first rule that decides does. One that logs decides nothing. */
function firstOf(
  rules: readonly PolicyRule[] | undefined,
  direction: Direction,
  own: SideName | undefined,
  packet: JudgedPacket,
  has: HasMember,
  of: RuleOwner | undefined,
  witness: Witness | undefined,
): RuleAction | undefined {
  if (rules === undefined) return undefined
  for (let index = 0; index < rules.length; index++) {
    const rule = rules[index]!
    const action = actionFor(rule, direction, own, packet, has)
    if (action === undefined) continue
    if (of !== undefined) witness?.matched(of, index, rule, action)
    if (action !== 'log') return action
  }
  return undefined
}

/** Whether some rule is about a packet, whoever has its addresses. */
export function someMatches(rules: readonly PolicyRule[], packet: JudgedPacket, has: HasMember): boolean {
  return rules.some(rule => matches(rule, undefined, packet, has))
}

/** Which changes of a source's members can make a list deny what it allowed. */
export type Closing = { added: boolean; removed: boolean }

/** By the key of the source. Of answers to names none does: those that expired count for established connections. */
export function closingOf(list: PolicyList): Map<string, Closing> {
  const { direction, tiers, profiles } = list
  const own = ownSide(list)
  const closing = new Map<string, Closing>()
  const note = (source: MemberSource, action: RuleAction, isNegated: boolean) => {
    if (action === 'log') return
    const key = sourceKey(source)
    const of = closing.get(key) ?? { added: false, removed: false }
    closing.set(key, of)
    if (action === 'pass' || (action === 'allow') === isNegated) of.added = true
    if (action === 'pass' || (action === 'allow') !== isNegated) of.removed = true
  }
  const rules = [
    ...tiers.flatMap(({ policies }) => policies.flatMap(policy => policy[direction] ?? [])),
    ...profiles.flatMap(({ profile }) => profile?.[direction] ?? []),
  ]
  for (const rule of rules)
    for (const side of ['source', 'destination'] as const) {
      const { selector, notSelector, nodes, service, ports, notPorts } = rule[side]
      const sources = [
        ...(selector === undefined ? [] : [bySelector(selector)]),
        ...(nodes === undefined ? [] : [byNodes(nodes)]),
        ...(service === undefined ? [] : [byService(service, side)]),
        ...byPorts(rule, side, own, ports),
      ]
      for (const source of sources) note(source, rule.action, false)
      if (notSelector !== undefined) note(bySelector(notSelector), rule.action, true)
      for (const source of byPorts(rule, side, own, notPorts)) note(source, rule.action, true)
    }
  return closing
}

/** What a rule does with a packet; undefined: it is not about it. */
function actionFor(
  rule: PolicyRule,
  direction: Direction,
  own: SideName | undefined,
  packet: JudgedPacket,
  has: HasMember,
): RuleAction | undefined {
  const { action } = rule
  if (isExpressible(rule, direction)) return matches(rule, own, packet, has) ? action : undefined
  return action === 'allow' || action === 'log' ? undefined : 'deny'
}

function matches(rule: PolicyRule, own: SideName | undefined, packet: JudgedPacket, has: HasMember): boolean {
  const { never, ipVersion, protocol, notProtocol, icmp, notIcmp } = rule
  const family = familyOf(packet.source)
  const isIcmp = packet.protocol === ICMP[family]
  return (
    never !== true &&
    (ipVersion === undefined || ipVersion === VERSIONS[family]) &&
    (protocol === undefined || protocol === packet.protocol) &&
    notProtocol !== packet.protocol &&
    (icmp === undefined || (isIcmp && isOfType(packet, icmp))) &&
    (notIcmp === undefined || !isIcmp || !isOfType(packet, notIcmp)) &&
    (['source', 'destination'] as const).every(
      side => addressFits(rule, side, packet, family, has) && portFits(rule, side, own, packet, family, has),
    )
  )
}

function isOfType({ icmp }: JudgedPacket, { type, code }: Icmp): boolean {
  return icmp?.type === type && (code === undefined || icmp.code === code)
}

function addressFits(rule: PolicyRule, side: SideName, packet: JudgedPacket, family: Family, has: HasMember): boolean {
  const { nets, notNets, selector, notSelector, nodes, service, domains }: RuleSide = rule[side]
  const address = packet[side]
  const isIn = (source: MemberSource, element = address) => has(source, element, family)
  return (
    (nets === undefined || isInSome(nets, address)) &&
    (notNets === undefined || !isInSome(notNets, address)) &&
    (selector === undefined || isIn(bySelector(selector))) &&
    (notSelector === undefined || !isIn(bySelector(notSelector))) &&
    (nodes === undefined || isIn(byNodes(nodes))) &&
    (service === undefined ||
      isIn(byService(service, side), side === 'destination' ? withPort(packet, side) : address)) &&
    (domains === undefined ||
      domains.some(domain => isIn(byDomain(domain), `${packet.source} . ${packet.destination}`)))
  )
}

/** By the list, which stays the same while connections by the hundred thousand are asked about. */
const INDICES = new WeakMap<readonly string[], PrefixIndex<true>>()

/** Whether one of `nets` holds an address. A net that cannot be read holds nothing. */
export function isInSome(nets: readonly string[], address: string): boolean {
  const index = INDICES.get(nets) ?? indexOf(nets)
  INDICES.set(nets, index)
  const own = parsePrefix(address)
  return own !== undefined && index.match(own) !== undefined
}

function indexOf(nets: readonly string[]): PrefixIndex<true> {
  const index = new PrefixIndex<true>()
  for (const prefix of nets.map(parsePrefix)) if (prefix !== undefined) index.set(prefix, true)
  return index
}

function portFits(
  rule: PolicyRule,
  side: SideName,
  own: SideName | undefined,
  packet: JudgedPacket,
  family: Family,
  has: HasMember,
): boolean {
  const { ports, notPorts } = rule[side]
  const isOf = (of: Ports) =>
    (PORT_PROTOCOLS.includes(packet.protocol) && inRange(of.ranges, packet.ports?.[side])) ||
    byPorts(rule, side, own, of).some(source => has(source, withPort(packet, side), family))
  return (ports === undefined || isOf(ports)) && (notPorts === undefined || !isOf(notPorts))
}

function inRange(ranges: readonly PortRange[], port: number | undefined): boolean {
  return port !== undefined && ranges.some(({ first, last }) => first <= port && port <= last)
}

/** What a packet without ports has at their place is no port of a set. */
function withPort(packet: JudgedPacket, side: SideName): string {
  return `${packet[side]} . ${protocolWord(packet.protocol)} . ${packet.ports?.[side] ?? ''}`
}
