// One rule of a policy of Calico's. Pure. Where its documents are silent, words mean what Felix makes of them: each such reading
// stands at its place. Source: libcalico-go/lib/backend/syncersv1/updateprocessors/rules.go.
// A rule that cannot be read is closed. So is one with fields that exclude each other, which Calico refuses when it is written.
import { type CalicoRule, type CalicoSide, calicoRule, readPart } from '../../../api/policy-parts.ts'
import { hasPorts } from '../../../api/ports.ts'
import type { Icmp, PolicyRule, Ports, RuleAction, RuleSide } from '../../../felix/policy/model.ts'
import { familyOf } from '../../../lib/ip.ts'
import { closedRule, type Faults } from './faults.ts'
import { calicoPorts, netsOf, protocolOf } from './rule-words.ts'
import {
  every,
  inNamespace,
  not,
  ofLabels,
  ofNamespaces,
  ofServiceAccounts,
  textOf,
  withServiceAccount,
} from './selectors.ts'

const ACTIONS: Readonly<Record<string, RuleAction>> = { Allow: 'allow', Deny: 'deny', Pass: 'pass', Log: 'log' }
const TCP = 6
const ICMP: readonly (number | undefined)[] = [1, 58]

/** Where a rule stands. `namespace` is that of its policy; undefined in a global one. */
export type RulePlace = {
  direction: 'ingress' | 'egress'
  namespace: string | undefined
  path: string
  faults: Faults
}

/** What the rule says. */
export function calicoRuleOf(given: unknown, place: RulePlace): PolicyRule {
  const { path, faults } = place
  const { part, problems } = readPart(calicoRule, given, path)
  if (problems !== undefined) {
    faults.addAll(problems)
    return closedRule(actionOf(given))
  }
  const action = ACTIONS[part.action]
  const before = faults.count
  if (action === undefined)
    faults.add(`${path}.action`, `${JSON.stringify(part.action)} is not Allow, Deny, Log or Pass`)
  const rule = ruleOf(part, place)
  return faults.count > before || action === undefined ? closedRule(action) : { action, ...rule }
}

function actionOf(given: unknown): RuleAction | undefined {
  const action = typeof given === 'object' && given !== null && 'action' in given ? given.action : undefined
  return typeof action === 'string' ? ACTIONS[action] : undefined
}

function ruleOf(rule: CalicoRule, place: RulePlace): Omit<PolicyRule, 'action'> {
  const { path, faults } = place
  const { protocol: named, notProtocol, icmp, notICMP, source = {}, destination = {} } = rule
  if (rule.http !== undefined) faults.add(`${path}.http`, 'cannot be kept: this program does not read HTTP')
  const protocol = named === undefined ? undefined : protocolOf(named, `${path}.protocol`, faults)
  for (const [side, name] of [
    [source, 'source'],
    [destination, 'destination'],
  ] as const)
    checkPorts(side, { protocol, path: `${path}.${name}`, faults })
  const excluded = notProtocol === undefined ? undefined : protocolOf(notProtocol, `${path}.notProtocol`, faults)
  const from = sideOf(source, {
    ...place,
    path: `${path}.source`,
    isSource: true,
    isFar: place.direction === 'ingress',
  })
  const to = sideOf(destination, {
    ...place,
    path: `${path}.destination`,
    isSource: false,
    isFar: place.direction === 'egress',
  })
  const families = familiesOf(rule.ipVersion, [from.nets, from.notNets, to.nets, to.notNets])
  const isNamed = [from.ports, to.ports].some(ports => (ports?.names.length ?? 0) > 0)
  // names of ports without a protocol are those of TCP
  const asked = protocol ?? (isNamed ? TCP : undefined)
  const ipVersion = families.length === 1 ? families[0] : undefined
  const icmps = {
    icmp: icmpOf(icmp, protocol, `${path}.icmp`, faults),
    notIcmp: icmpOf(notICMP, protocol, `${path}.notICMP`, faults),
  }
  return {
    ...(ipVersion !== undefined && { ipVersion }),
    ...(asked !== undefined && { protocol: asked }),
    ...(excluded !== undefined && { notProtocol: excluded }),
    ...(icmps.icmp && { icmp: icmps.icmp }),
    ...(icmps.notIcmp && { notIcmp: icmps.notIcmp }),
    source: from,
    destination: to,
    ...(families.length === 0 && { never: true as const }),
  }
}

/** Numbers of ports need a protocol that has ports; names bring TCP. */
function checkPorts(
  { ports = [], notPorts = [] }: CalicoSide,
  { protocol, path, faults }: { protocol: number | undefined; path: string; faults: Faults },
): void {
  for (const [list, name] of [
    [ports, 'ports'],
    [notPorts, 'notPorts'],
  ] as const) {
    const isOfNumbers = list.some(port => /^[\d:]+$/.test(`${port}`))
    const isWrong = protocol === undefined ? isOfNumbers : list.length > 0 && !hasPorts(protocol)
    if (isWrong) faults.add(`${path}.${name}`, 'need the protocol TCP, UDP or SCTP')
  }
}

/**
 * The IP versions of packets that can match: the one that is asked for, if any, and a list with networks of one family makes a
 * rule of that family.
 */
function familiesOf(asked: 4 | 6 | undefined, lists: readonly (readonly string[] | undefined)[]): (4 | 6)[] {
  const versions = asked === undefined ? ([4, 6] as const) : [asked]
  return versions.filter(version =>
    lists.every(list => list === undefined || list.some(net => (familyOf(net) === 'ipv4' ? 4 : 6) === version)),
  )
}

function icmpOf(
  given: CalicoRule['icmp'],
  protocol: number | undefined,
  path: string,
  faults: Faults,
): Icmp | undefined {
  if (given === undefined || (given.type === undefined && given.code === undefined)) return undefined
  const { type, code } = given
  const isByte = (value: number | undefined) => value === undefined || (value >= 0 && value <= 255)
  if (type === undefined) return faults.add(`${path}.code`, 'needs a type')
  if (!isByte(type) || !isByte(code)) return faults.add(path, 'must be 0 to 255')
  if (!ICMP.includes(protocol)) return faults.add(path, 'needs the protocol ICMP or ICMPv6')
  return code === undefined ? { type } : { type, code }
}

/** `isFar`: the end that is not the endpoint of the policy. */
type SidePlace = RulePlace & { isSource: boolean; isFar: boolean }

function sideOf(side: CalicoSide, place: SidePlace): RuleSide {
  const { path, faults } = place
  const listed = (field: 'nets' | 'notNets') => {
    const list = side[field] ?? []
    return list.length === 0 ? {} : { [field]: netsOf(list, `${path}.${field}`, faults) }
  }
  const ported = (field: 'ports' | 'notPorts'): { [field: string]: Ports } => {
    const list = side[field] ?? []
    return list.length === 0 ? {} : { [field]: calicoPorts(list, `${path}.${field}`, faults) }
  }
  return {
    ...listed('nets'),
    ...listed('notNets'),
    ...selectorsOf(side, place),
    ...ported('ports'),
    ...ported('notPorts'),
    ...serviceOf(side, place),
  }
}

/**
 * Whom a side means. With both selectors it is who satisfies the one and not the other: of an address that two have, one of
 * them is enough. In a policy of a namespace it is limited to that namespace as soon as any selector of it is used,
 * notSelector too, unless namespaceSelector says which ones.
 */
function selectorsOf(
  { selector = '', notSelector = '', namespaceSelector = '', serviceAccounts = {} }: CalicoSide,
  { namespace, path, faults }: RulePlace,
): Pick<RuleSide, 'selector' | 'notSelector'> {
  const before = faults.count
  const { names = [], selector: accounts = '' } = serviceAccounts
  const labels = selector === '' ? undefined : ofLabels(selector, `${path}.selector`, faults)
  const ofAccounts =
    accounts === '' ? undefined : ofServiceAccounts(accounts, `${path}.serviceAccounts.selector`, faults)
  const named = names.length === 0 ? undefined : withServiceAccount(names)
  if (names.some(name => /["']/.test(name))) faults.add(`${path}.serviceAccounts.names`, 'are no names')
  const isUsed = [selector, notSelector, accounts].some(text => text !== '') || named !== undefined
  const own = isUsed && namespace !== undefined ? inNamespace(namespace) : undefined
  const namespaces =
    namespaceSelector === '' ? own : ofNamespaces(namespaceSelector, `${path}.namespaceSelector`, faults)
  const asked = [namespaces, ofAccounts, named, labels].filter(part => part !== undefined)
  const excluded = notSelector === '' ? undefined : ofLabels(notSelector, `${path}.notSelector`, faults)
  // the rule is closed then
  if (faults.count > before) return {}
  const isSelected = asked.length > 0
  const wanted = isSelected ? every(...asked, excluded && not(excluded)) : undefined
  const text = wanted && textOf(wanted, `${path}.selector`, faults)
  const notText = isSelected ? undefined : excluded && textOf(excluded, `${path}.notSelector`, faults)
  return { ...(text !== undefined && { selector: text }), ...(notText !== undefined && { notSelector: notText }) }
}

/** What else would narrow the side, or stands where only the endpoint of the policy can. */
function serviceOf(side: CalicoSide, place: SidePlace): RuleSide {
  const { namespace, path, faults, isFar } = place
  if (side.services === undefined) return {}
  const at = `${path}.services`
  const isSet = (value: unknown) => value !== undefined && value !== '' && !(Array.isArray(value) && value.length === 0)
  const { services, ports, notPorts, ...rest } = side
  // the Service says the ports of a destination; those of a source are the sender's own
  const others = place.isSource ? rest : { ...rest, ports, notPorts }
  const { name = '' } = services
  const of = (services.namespace ?? '') === '' ? namespace : services.namespace
  const beside = Object.entries(others).find(([, value]) => isSet(value))
  if (!isFar) return faults.add(at, 'can only say who the other end is') ?? {}
  if (beside !== undefined) return faults.add(at, `must stand alone, without ${beside[0]}`) ?? {}
  if (name === '' || of === undefined) return faults.add(at, 'must name a Service and its namespace') ?? {}
  return { service: { namespace: of, name } }
}
