// NetworkPolicy and GlobalNetworkPolicy of Calico (projectcalico.org/v3). Where its documents are silent, the words of a
// rule mean what Felix makes of them; each such reading stands at its place below. A rule that cannot be read is closed:
// Allow matches nothing, anything else denies everything.
import { contains, familyOfCidr, sameAddress, Unreadable } from './addresses.ts'
import { type Endpoint, endpointsOf, has, protocolOf } from './endpoints.ts'
import { type Direction, type Flow, type Found, ICMP, type Verdict } from './flow.ts'
import {
  type CalicoPolicy,
  type CalicoPolicySpec,
  type CalicoRule,
  type CalicoSide,
  type IcmpMatch,
  ofKind,
  type World,
} from './objects.ts'
import { BadSelector, matchesExpression } from './selectors.ts'

/** Whether the policy is about this direction. Without types it is by what rules it has; ingress when it has none. */
export function calicoHas({ types, ingress, egress }: CalicoPolicySpec, direction: Direction): boolean {
  if (types !== undefined && types.length > 0) return types.includes(direction === 'ingress' ? 'Ingress' : 'Egress')
  const isOfEgress = (egress ?? []).length > 0
  return direction === 'egress' ? isOfEgress : !isOfEgress || (ingress ?? []).length > 0
}

/**
 * When it is asked: of packets that are for this host, from it or of a pod (`normal`), of those that are forwarded as well,
 * before addresses are translated, or before connections are tracked. Pods know the first two, and take them for one.
 */
export type Stage = 'normal' | 'forward' | 'preDNAT' | 'untracked'

export function calicoStage({ doNotTrack, preDNAT, applyOnForward }: CalicoPolicySpec): Stage {
  if (doNotTrack === true) return 'untracked'
  if (preDNAT === true) return 'preDNAT'
  return applyOnForward === true ? 'forward' : 'normal'
}

/** Whether it selects the endpoint. */
export function calicoSelects({ kind, metadata, spec }: CalicoPolicy, pod: Endpoint): boolean {
  if (kind === 'NetworkPolicy' && pod.namespace !== metadata.namespace) return false
  const namespaces = kind === 'GlobalNetworkPolicy' ? (spec.namespaceSelector ?? '') : ''
  try {
    return (
      matchesExpression(spec.selector ?? '', pod.labels) &&
      isOfNamespaces(namespaces, pod) &&
      isOfAccounts(spec.serviceAccountSelector ?? '', pod)
    )
  } catch (error) {
    if (error instanceof BadSelector) return false
    throw error
  }
}

/** The first rule that allows, denies or passes. Log says nothing. */
export function calicoFinds(world: World, policy: CalicoPolicy, flow: Flow, direction: Direction): Found {
  const namespace = policy.kind === 'NetworkPolicy' ? policy.metadata.namespace : undefined
  for (const [rule, each] of (policy.spec[direction] ?? []).entries()) {
    const verdict = judge(world, each, namespace, flow)
    if (verdict !== undefined) return { rule, verdict }
  }
  return undefined
}

const VERDICTS: Readonly<Record<string, Verdict>> = { Allow: 'allow', Deny: 'deny', Pass: 'pass' }

function judge(world: World, rule: CalicoRule, namespace: string | undefined, flow: Flow): Verdict | undefined {
  if (rule.action === 'Log') return undefined
  const verdict = VERDICTS[rule.action]
  const closed = rule.action === 'Allow' ? undefined : 'deny'
  // words of HTTP are beyond what can be judged here
  if (verdict === undefined || (rule.http !== undefined && rule.http !== null)) return closed
  try {
    return matches(world, rule, namespace, flow) ? verdict : undefined
  } catch (error) {
    if (error instanceof BadSelector || error instanceof Unreadable) return closed
    throw error
  }
}

function matches(world: World, rule: CalicoRule, namespace: string | undefined, flow: Flow): boolean {
  const { ipVersion, protocol, notProtocol, icmp, notICMP, source = {}, destination = {} } = rule
  // every part is asked, so that what cannot be read is found whatever the flow is
  const parts = [
    ipVersion === undefined || ipVersion === flow.family,
    protocol === undefined || protocolOf(protocol) === flow.protocol,
    notProtocol === undefined || protocolOf(notProtocol) !== flow.protocol,
    icmp === undefined || isIcmp(icmp, flow),
    notICMP === undefined || !isIcmp(notICMP, flow),
    isOfSide(world, source, namespace, flow.from.address, flow.family),
    isOfSide(world, destination, namespace, flow.to.address, flow.family),
    areOfPorts(world, source, rule, flow, { address: flow.from.address, port: flow.sourcePort }),
    areOfPorts(world, destination, rule, flow, { address: flow.to.address, port: flow.destinationPort }),
    source.services === undefined || isOfService(world, source.services, namespace, flow.from.address),
    destination.services === undefined || isOfService(world, destination.services, namespace, flow.to.address, flow),
  ]
  return parts.every(Boolean)
}

/** ICMP is the protocol of the packet's own family. */
function isIcmp({ type, code }: IcmpMatch, { family, protocol, icmp }: Flow): boolean {
  return (
    protocol === ICMP[family] &&
    icmp !== undefined &&
    (type === undefined || type === icmp.type) &&
    (code === undefined || code === icmp.code)
  )
}

/**
 * Addresses and labels of one end.
 * - A rule with nets or notNets of one family only is a rule of that family: other packets do not match, though they are
 *   in none of notNets.
 * - A side with both selectors chooses endpoints that satisfy the one and not the other; an address that several have is
 *   chosen when one of them is.
 * - In a policy of a namespace every selector, notSelector too, is about that namespace, unless namespaceSelector is given.
 * - notSelector alone in a global policy is satisfied by addresses that nobody has.
 */
function isOfSide(world: World, side: CalicoSide, namespace: string | undefined, address: string, family: 4 | 6) {
  const { nets = [], notNets = [], selector = '', notSelector = '', namespaceSelector = '', serviceAccounts } = side
  for (const list of [nets, notNets])
    if (list.length > 0 && !list.some(net => familyOfCidr(net) === family)) return false
  if (nets.length > 0 && !nets.some(net => contains(net, address))) return false
  if (notNets.some(net => contains(net, address))) return false

  const { names = [], selector: accounts = '' } = serviceAccounts ?? {}
  const wanted: ((endpoint: Endpoint) => boolean)[] = []
  if (selector !== '') wanted.push(({ labels }) => matchesExpression(selector, labels))
  if (accounts !== '') wanted.push(endpoint => isOfAccounts(accounts, endpoint))
  if (names.length > 0) wanted.push(({ labels }) => names.includes(labels['projectcalico.org/serviceaccount'] ?? ''))
  if (namespaceSelector !== '') wanted.push(endpoint => isOfNamespaces(namespaceSelector, endpoint))
  else if (namespace !== undefined && (wanted.length > 0 || notSelector !== ''))
    wanted.push(endpoint => endpoint.namespace === namespace)

  const isUnwanted = ({ labels }: Endpoint) => notSelector !== '' && matchesExpression(notSelector, labels)
  const owners = endpointsOf(world).filter(endpoint => has(endpoint, address))
  // read them even where nobody has the address
  for (const text of [selector, notSelector, namespaceSelector, accounts]) matchesExpression(text, {})
  return wanted.length > 0
    ? owners.some(owner => wanted.every(is => is(owner)) && !isUnwanted(owner))
    : !owners.some(isUnwanted)
}

/** `all()` is what has a namespace, `global()` what has none; of the latter, too, `!=` and `not in` are satisfied. */
function isOfNamespaces(selector: string, { namespace, namespaceLabels }: Endpoint): boolean {
  if (selector === '') return true
  return matchesExpression(selector, namespaceLabels, { all: namespace !== undefined, global: namespace === undefined })
}

function isOfAccounts(selector: string, { serviceAccount, serviceAccountLabels }: Endpoint): boolean {
  if (selector === '') return true
  return matchesExpression(selector, serviceAccountLabels, { all: serviceAccount !== undefined, global: true })
}

type Numbered = { address: string; port?: number }

function areOfPorts(world: World, side: CalicoSide, { protocol }: CalicoRule, flow: Flow, end: Numbered): boolean {
  const { ports = [], notPorts = [] } = side
  const isOf = (port: number | string) => isOfPort(world, port, protocol, flow, end)
  return (ports.length === 0 || ports.map(isOf).some(Boolean)) && !notPorts.map(isOf).some(Boolean)
}

/** A port is a number, `first:last`, or the name that it has at the endpoint; names in rules without a protocol are TCP's. */
function isOfPort(
  world: World,
  wanted: number | string,
  protocol: number | string | undefined,
  flow: Flow,
  { address, port }: Numbered,
): boolean {
  const range = /^(\d+)(?::(\d+))?$/.exec(`${wanted}`)
  if (range !== null) return port !== undefined && Number(range[1]) <= port && port <= Number(range[2] ?? range[1])
  if (!/^[a-zA-Z0-9_.-]{1,128}$/.test(`${wanted}`)) throw new Unreadable(`not a port: ${wanted}`)
  if (protocolOf(protocol ?? 'TCP') !== flow.protocol) return false
  return endpointsOf(world).some(
    endpoint =>
      has(endpoint, address) &&
      endpoint.ports.some(each => each.name === wanted && each.protocol === flow.protocol && each.port === port),
  )
}

/** The endpoints of a Service, ready or not; as destinations only at the ports where they serve. */
function isOfService(
  world: World,
  { name, namespace = '' }: { name: string; namespace?: string },
  own: string | undefined,
  address: string,
  to?: Flow,
): boolean {
  return ofKind(world, 'EndpointSlice').some(
    ({ metadata, endpoints, ports = [] }) =>
      metadata.namespace === (namespace === '' ? own : namespace) &&
      metadata.labels?.['kubernetes.io/service-name'] === name &&
      endpoints.some(endpoint => endpoint.addresses.some(each => sameAddress(each, address))) &&
      (to === undefined ||
        ports.some(
          ({ protocol = 'TCP', port }) =>
            port !== undefined && port === to.destinationPort && protocolOf(protocol) === to.protocol,
        )),
  )
}
