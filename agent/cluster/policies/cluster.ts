// ClusterNetworkPolicy (policy.networking.k8s.io/v1alpha2): tiers before and behind the policies of namespaces. Pure.
// A rule becomes one for each peer and protocol. What is not known (a newer field) is closed: such a rule that accepts matches
// nothing, any other denies everything. A policy of an unknown tier, or of which it is not clear whom it is for, is closed in the
// first tier. Hazards: host-networked pods are never meant; named ports mean nothing beside addresses; a deny of 0.0.0.0/0
// includes pods; names of domains can only be accepted.
import {
  clusterPolicyEgress,
  clusterPolicyIngress,
  type clusterPolicyPeer,
  type clusterPolicyProtocol,
  clusterPolicySubject,
  readPart,
} from '../../../api/policy-parts.ts'
import type { Selector } from '../../../api/selector.ts'
import {
  INHERITED,
  type Policy,
  type PolicyRule,
  type PortRange,
  type Protocol,
  type RuleAction,
  type RuleSide,
} from '../../../felix/policy/model.ts'
import { type Converted, closedRule, DENY_ALL, Faults, finished, isKnown, type Named, refOf } from './faults.ts'
import { inPlace, netOf, portsOf, sorted } from './rule-words.ts'
import { every, ofLabelSelector, PODS, textOf } from './selectors.ts'
import { TIER } from './tiers.ts'

type Spec = Readonly<Record<string, unknown>>
type Subject = ReturnType<(typeof clusterPolicySubject)['parse']>
type Peer = ReturnType<(typeof clusterPolicyPeer)['parse']>
type Wanted = ReturnType<(typeof clusterPolicyProtocol)['parse']>

const FIELDS = ['tier', 'priority', 'subject', 'ingress', 'egress']
const TIERS: Readonly<Record<string, string>> = { Admin: TIER.admin, Baseline: TIER.baseline }
const ACTIONS: Readonly<Record<string, RuleAction>> = { Accept: 'allow', Deny: 'deny', Pass: 'pass' }
const MOST_PRIORITY = 1000

/** What the policy says. */
export function clusterPolicy(object: Named & { spec: Spec }): Converted<Policy> {
  const { spec } = object
  const faults = new Faults()
  const tier = typeof spec['tier'] === 'string' ? TIERS[spec['tier']] : undefined
  if (tier === undefined) faults.add('spec.tier', 'must be Admin or Baseline')
  const order = priorityOf(spec['priority'], faults)
  const subject = subjectOf(spec['subject'], faults)
  const rules = (direction: 'ingress' | 'egress') => listOf(spec[direction], direction, faults)
  const [ingress, egress] = [rules('ingress'), rules('egress')]
  const unclear = !isKnown(spec, FIELDS, faults) || tier === undefined || order === undefined || subject === undefined
  const policy: Policy = {
    ref: refOf('ClusterNetworkPolicy', object),
    tier: tier ?? TIER.admin,
    order: order ?? 0,
    sortName: `${object.metadata.name}//KubernetesClusterNetworkPolicy`,
    selector: subject ?? textOf(PODS, 'spec.subject', faults) ?? 'all()',
    ...((unclear || ingress.length > 0) && { ingress }),
    ...((unclear || egress.length > 0) && { egress }),
    hostStage: 'normal',
  }
  return finished({ policy, faults, unclear, instead: [DENY_ALL] })
}

function priorityOf(given: unknown, faults: Faults): number | undefined {
  const isPriority = typeof given === 'number' && Number.isInteger(given) && given >= 0 && given <= MOST_PRIORITY
  return isPriority ? given : faults.add('spec.priority', `must be 0 to ${MOST_PRIORITY}`)
}

function subjectOf(given: unknown, faults: Faults): string | undefined {
  const path = 'spec.subject'
  const { part, problems } = readPart(clusterPolicySubject, given, path)
  if (problems !== undefined) return faults.addAll(problems)
  if (Object.keys(part).length !== 1) return faults.add(path, 'must have one of namespaces and pods')
  return podsOf(part, path, faults)
}

/** Pods: those of namespaces, or some of them. Undefined where they cannot be read. */
function podsOf({ namespaces, pods }: Subject, path: string, faults: Faults): string | undefined {
  const prefix = INHERITED.namespace
  let selector: Selector | undefined
  if (namespaces !== undefined) selector = ofLabelSelector(namespaces, { path: `${path}.namespaces`, faults, prefix })
  else {
    const { namespaceSelector = {}, podSelector = {} } = pods ?? {}
    const of = ofLabelSelector(namespaceSelector, { path: `${path}.pods.namespaceSelector`, faults, prefix })
    const own = ofLabelSelector(podSelector, { path: `${path}.pods.podSelector`, faults })
    selector = of && own && every(of, own)
  }
  return selector && textOf(every(PODS, selector), path, faults)
}

function listOf(given: unknown, direction: 'ingress' | 'egress', faults: Faults): PolicyRule[] {
  const path = `spec.${direction}`
  if (given === undefined) return []
  if (!Array.isArray(given)) {
    faults.add(path, 'must be a list')
    return [DENY_ALL]
  }
  return inPlace(
    given.map((rule, i) => {
      const before = faults.count
      const rules = ruleOf(rule, { direction, path: `${path}[${i}]`, faults })
      return faults.count > before ? [closedRule(actionOf(rule))] : rules
    }),
  )
}

function actionOf(rule: unknown): RuleAction | undefined {
  const action = typeof rule === 'object' && rule !== null && 'action' in rule ? rule.action : undefined
  return typeof action === 'string' ? ACTIONS[action] : undefined
}

type Place = { direction: 'ingress' | 'egress'; path: string; faults: Faults }
type Asked = { protocol?: Protocol; ports?: RuleSide['ports'] }

function ruleOf(rule: unknown, place: Place): PolicyRule[] {
  const { direction, path, faults } = place
  const isOfIngress = direction === 'ingress'
  const read = isOfIngress ? readPart(clusterPolicyIngress, rule, path) : readPart(clusterPolicyEgress, rule, path)
  if (read.problems !== undefined) return faults.addAll(read.problems) ?? []
  const { part } = read
  const action = actionOf(part)
  if (action === undefined) return faults.add(`${path}.action`, 'must be Accept, Deny or Pass') ?? []
  const peers = ('from' in part ? part.from : 'to' in part ? part.to : undefined) ?? []
  const list = `${path}.${isOfIngress ? 'from' : 'to'}`
  if (peers.length === 0) faults.add(list, 'must name somebody')
  const asked = protocolsOf(part.protocols, place)
  return peers.flatMap((peer, i) => {
    const other = peerOf(peer, { ...place, path: `${list}[${i}]`, action })
    if (other === undefined) return []
    // the name of a port is one of a pod
    const meant = asked.filter(({ ports }) => other.selector !== undefined || (ports?.names.length ?? 0) === 0)
    return meant.map(({ protocol, ports }): PolicyRule => {
      const base = { action, ...(protocol !== undefined && { protocol }) }
      const wanted = ports === undefined ? {} : { ports }
      return isOfIngress
        ? { ...base, source: other, destination: wanted }
        : { ...base, source: {}, destination: { ...other, ...wanted } }
    })
  })
}

function peerOf(peer: Peer, place: Place & { action: RuleAction }): RuleSide | undefined {
  const { direction, path, faults, action } = place
  const [field, ...others] = Object.keys(peer)
  if (field === undefined || others.length > 0) return faults.add(path, 'must have exactly one field that is known')
  if (peer.namespaces !== undefined || peer.pods !== undefined) {
    const selector = podsOf(peer, path, faults)
    return selector === undefined ? undefined : { selector }
  }
  if (direction === 'ingress') return faults.add(`${path}.${field}`, 'can only stand in egress rules')
  if (peer.networks !== undefined) {
    const nets = peer.networks.map((text, i) => networkOf(text, `${path}.networks[${i}]`, faults))
    if (nets.length === 0) return faults.add(`${path}.networks`, 'must name a network')
    return { nets: sorted(nets.filter(net => net !== undefined)) }
  }
  if (peer.nodes !== undefined) {
    const nodes = ofLabelSelector(peer.nodes, { path: `${path}.nodes`, faults })
    const text = nodes && textOf(nodes, `${path}.nodes`, faults)
    return text === undefined ? undefined : { nodes: text }
  }
  const { domainNames = [] } = peer
  if (action !== 'allow') return faults.add(`${path}.domainNames`, 'can only stand in rules that accept')
  if (domainNames.length === 0) return faults.add(`${path}.domainNames`, 'must name a domain')
  const names = domainNames.map((name, i) => domainOf(name, `${path}.domainNames[${i}]`, faults))
  return { domains: sorted(names.filter(name => name !== undefined)) }
}

function networkOf(text: string, path: string, faults: Faults): string | undefined {
  return text.includes('/') ? netOf(text, path, faults) : faults.add(path, `${JSON.stringify(text)} is not a CIDR`)
}

const MOST_CHARACTERS = 253
const DOMAIN = /^(\*\.)?([a-z0-9_]([-a-z0-9_]*[a-z0-9])?\.)+[a-z0-9_]([-a-z0-9_]*[a-z0-9])?$/

/** As it is compared: in lower case, without the dot of the root. */
function domainOf(text: string, path: string, faults: Faults): string | undefined {
  const name = text.toLowerCase().replace(/\.$/, '')
  if (name.length <= MOST_CHARACTERS && DOMAIN.test(name)) return name
  return faults.add(path, `${JSON.stringify(text)} is not a name such as example.com or *.example.com`)
}

const NUMBERS = { tcp: 6, udp: 17, sctp: 132 } as const

/** By protocol, then the named ports, which bring theirs. Absent: every protocol. */
function protocolsOf(given: readonly Wanted[] | undefined, { path, faults }: Place): Asked[] {
  if (given === undefined || given.length === 0) return [{}]
  const found = new Map<Protocol, { ranges: PortRange[]; isWhole: boolean }>()
  const names: string[] = []
  for (const [i, wanted] of given.entries()) {
    const at = `${path}.protocols[${i}]`
    const [field, ...others] = Object.keys(wanted) as (keyof Wanted)[]
    if (field === undefined || others.length > 0) faults.add(at, 'must have exactly one field that is known')
    else if (field === 'destinationNamedPort') names.push(wanted.destinationNamedPort ?? '')
    else {
      const of = found.get(NUMBERS[field]) ?? { ranges: [], isWhole: false }
      found.set(NUMBERS[field], of)
      const range = rangeOf(wanted[field]?.destinationPort, `${at}.${field}.destinationPort`, faults)
      if (range === 'all') of.isWhole = true
      else if (range !== undefined) of.ranges.push(range)
    }
  }
  if (names.includes('')) faults.add(`${path}.protocols`, 'must name a port')
  const numbered = [...found].sort(([a], [b]) => a - b)
  return [
    ...numbered.map(([protocol, { ranges, isWhole }]) => ({
      protocol,
      ...(!isWhole && { ports: portsOf(ranges, []) }),
    })),
    ...(names.length === 0 ? [] : [{ ports: portsOf([], names) }]),
  ]
}

function rangeOf(
  port: NonNullable<Wanted['tcp']>['destinationPort'],
  path: string,
  faults: Faults,
): PortRange | 'all' | undefined {
  if (port === undefined) return 'all'
  const { number, range } = port
  if ((number === undefined) === (range === undefined)) return faults.add(path, 'must have one of number and range')
  const { start: first, end: last } = range ?? { start: number ?? 0, end: number ?? 0 }
  const isRange = first >= 1 && last >= first && last <= 65535
  return isRange ? { first, last } : faults.add(path, 'is not a port or range of ports, 1 to 65535')
}
