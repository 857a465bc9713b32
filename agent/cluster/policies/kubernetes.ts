// NetworkPolicy of Kubernetes (networking.k8s.io/v1), and StagedKubernetesNetworkPolicy, which says what one would do. Pure.
// It only ever allows: a rule that cannot be read allows nothing, and a policy of which it is not clear whom it selects
// selects every pod of its namespace. Hazards: an absent or empty list of peers or ports means all of them, so a bad entry must
// never leave an empty list; the ports of an ingress rule are those of the selected pod; `ipBlock` stands alone.

import {
  type LabelSelector,
  labelSelector,
  networkPolicyEgress,
  networkPolicyIngress,
  type networkPolicyPeer,
  type networkPolicyPort,
  readPart,
} from '../../../api/policy-parts.ts'
import { isPortName } from '../../../api/ports.ts'
import { INHERITED, type Policy, type PolicyRule, type PortRange, type RuleSide } from '../../../felix/policy/model.ts'
import { type Converted, closedRule, Faults, finished, isKnown, type Named, refOf } from './faults.ts'
import { inPlace, netOf, netsOf, portsOf, sorted } from './rule-words.ts'
import { every, inNamespace, ofLabelSelector, PODS, textOf } from './selectors.ts'

type Spec = Readonly<Record<string, unknown>>
type Peer = ReturnType<(typeof networkPolicyPeer)['parse']>
type Port = ReturnType<(typeof networkPolicyPort)['parse']>

const FIELDS = ['podSelector', 'policyTypes', 'ingress', 'egress']

/** Where Calico has put them: before most policies of its own that have an order. */
const ORDER = 1000

/** What a NetworkPolicy of Kubernetes says. */
export function kubernetesPolicy(object: Named & { spec: Spec }): Converted<Policy> {
  return converted('KubernetesNetworkPolicy', object)
}

/** What a staged one says; nothing where it stands for a deletion. */
export function stagedKubernetesPolicy(object: Named & { spec: Spec }): Converted<Policy> {
  const { stagedAction, ...spec } = object.spec
  if (stagedAction === 'Delete') return { refused: [] }
  const { value, refused } = converted('StagedKubernetesNetworkPolicy', { ...object, spec })
  return { ...(value && { value: { ...value, staged: true } }), refused }
}

function converted(
  kind: 'KubernetesNetworkPolicy' | 'StagedKubernetesNetworkPolicy',
  object: Named & { spec: Spec },
): Converted<Policy> {
  const { name, namespace = '' } = object.metadata
  const { spec } = object
  const faults = new Faults()
  const subject = subjectOf(spec['podSelector'] ?? {}, namespace, faults)
  const types = typesOf(spec, faults)
  const rules = (direction: 'ingress' | 'egress') => listOf(spec[direction], direction, namespace, faults)
  const unclear = !isKnown(spec, FIELDS, faults) || subject === undefined || types === undefined
  const [ingress, egress] = [rules('ingress'), rules('egress')]
  const policy: Policy = {
    ...{ ref: refOf(kind, object), tier: 'default', order: ORDER, sortName: `${name}/${namespace}/${kind}` },
    selector: subject ?? textOf(every(PODS, inNamespace(namespace)), 'metadata.namespace', faults) ?? 'all()',
    ...((types?.includes('Ingress') ?? true) && { ingress }),
    ...((types?.includes('Egress') ?? true) && { egress }),
    hostStage: 'normal',
  }
  return finished({ policy, faults, unclear, instead: [] })
}

function subjectOf(given: unknown, namespace: string, faults: Faults): string | undefined {
  const path = 'spec.podSelector'
  const { part, problems } = readPart(labelSelector, given, path)
  if (problems !== undefined) return faults.addAll(problems)
  const pods = ofLabelSelector(part, { path, faults })
  return pods && textOf(every(PODS, inNamespace(namespace), pods), path, faults)
}

/** Absent: Ingress, and Egress where there are egress rules, as an API server fills it in. */
function typesOf({ policyTypes, egress }: Spec, faults: Faults): readonly unknown[] | undefined {
  const isEmpty = (value: unknown) => value === undefined || (Array.isArray(value) && value.length === 0)
  if (isEmpty(policyTypes)) return isEmpty(egress) ? ['Ingress'] : ['Ingress', 'Egress']
  const isKnown = Array.isArray(policyTypes) && policyTypes.every(type => type === 'Ingress' || type === 'Egress')
  return isKnown ? policyTypes : faults.add('spec.policyTypes', 'must be Ingress, Egress or both')
}

function listOf(given: unknown, direction: 'ingress' | 'egress', namespace: string, faults: Faults): PolicyRule[] {
  const path = `spec.${direction}`
  if (given === undefined) return []
  if (!Array.isArray(given)) {
    faults.add(path, 'must be a list')
    return []
  }
  return inPlace(
    given.map((rule, i) => {
      const before = faults.count
      const rules = ruleOf(rule, { direction, namespace, path: `${path}[${i}]`, faults })
      return faults.count > before ? [closedRule('allow')] : rules
    }),
  )
}

type Place = { direction: 'ingress' | 'egress'; namespace: string; path: string; faults: Faults }

/** One rule for each peer and protocol; blocks without exceptions are one peer. */
function ruleOf(given: unknown, place: Place): PolicyRule[] {
  const { direction, path, faults } = place
  const read =
    direction === 'ingress' ? readPart(networkPolicyIngress, given, path) : readPart(networkPolicyEgress, given, path)
  if (read.problems !== undefined) return faults.addAll(read.problems) ?? []
  const { ports = [] } = read.part
  const peers = ('from' in read.part ? read.part.from : 'to' in read.part ? read.part.to : undefined) ?? []
  const others = peers.length === 0 ? [{}] : peersOf(peers, place)
  return protocolsOf(ports, place).flatMap(({ protocol, ...wanted }) =>
    others.map((other): PolicyRule => {
      const base = { action: 'allow' as const, ...(protocol !== undefined && { protocol }) }
      return direction === 'ingress'
        ? { ...base, source: other, destination: wanted }
        : { ...base, source: {}, destination: { ...other, ...wanted } }
    }),
  )
}

function peersOf(peers: readonly Peer[], { direction, namespace, path, faults }: Place): RuleSide[] {
  const nets: string[] = []
  const sides: RuleSide[] = []
  for (const [i, peer] of peers.entries()) {
    const at = `${path}.${direction === 'ingress' ? 'from' : 'to'}[${i}]`
    const { ipBlock, podSelector, namespaceSelector } = peer
    if (ipBlock !== undefined) {
      if (podSelector !== undefined || namespaceSelector !== undefined)
        faults.add(`${at}.ipBlock`, 'must stand alone, without selectors')
      const side = blockOf(ipBlock, `${at}.ipBlock`, faults)
      if (side.notNets === undefined) for (const net of side.nets ?? []) nets.push(net)
      else sides.push(side)
      continue
    }
    if (podSelector === undefined && namespaceSelector === undefined) {
      faults.add(at, 'names nobody that is known: a podSelector, a namespaceSelector or an ipBlock')
      continue
    }
    const selector = podsOf({ podSelector, namespaceSelector }, namespace, { path: at, faults })
    if (selector !== undefined) sides.push({ selector })
  }
  return nets.length === 0 ? sides : [...sides, { nets: sorted(nets) }]
}

function podsOf(
  { podSelector = {}, namespaceSelector }: { podSelector?: LabelSelector; namespaceSelector?: LabelSelector },
  namespace: string,
  { path, faults }: { path: string; faults: Faults },
): string | undefined {
  const pods = ofLabelSelector(podSelector, { path: `${path}.podSelector`, faults })
  const namespaces =
    namespaceSelector === undefined
      ? inNamespace(namespace)
      : ofLabelSelector(namespaceSelector, {
          ...{ path: `${path}.namespaceSelector`, faults },
          prefix: INHERITED.namespace,
        })
  return pods && namespaces && textOf(every(PODS, namespaces, pods), path, faults)
}

function blockOf({ cidr, except = [] }: NonNullable<Peer['ipBlock']>, path: string, faults: Faults): RuleSide {
  const net = netOf(cidr, `${path}.cidr`, faults)
  const nets = net === undefined ? [] : [net]
  const notNets = netsOf(except, `${path}.except`, faults)
  return notNets.length === 0 ? { nets } : { nets, notNets }
}

type Wanted = { protocol?: number; ports?: { ranges: readonly PortRange[]; names: readonly string[] } }

const PROTOCOLS: Readonly<Record<string, number>> = { TCP: 6, UDP: 17, SCTP: 132 }

/** By protocol; no ports at all are every protocol. A protocol of which one entry has no port is asked whole. */
function protocolsOf(ports: readonly Port[], { path, faults }: Place): Wanted[] {
  if (ports.length === 0) return [{}]
  const found = new Map<number, { ranges: PortRange[]; names: string[]; isWhole: boolean }>()
  for (const [i, { protocol: name = 'TCP', port, endPort }] of ports.entries()) {
    const at = `${path}.ports[${i}]`
    const protocol = PROTOCOLS[name]
    if (protocol === undefined) {
      faults.add(`${at}.protocol`, `${JSON.stringify(name)} is not TCP, UDP or SCTP`)
      continue
    }
    const of = found.get(protocol) ?? { ranges: [], names: [], isWhole: false }
    found.set(protocol, of)
    if (typeof port === 'number') {
      const last = endPort ?? port
      if (port < 1 || last < port || last > 65535) faults.add(at, 'is not a port or range of ports, 1 to 65535')
      of.ranges.push({ first: port, last })
    } else if (endPort !== undefined) faults.add(`${at}.endPort`, 'needs a port that is a number')
    else if (port === undefined) of.isWhole = true
    else if (isPortName(port)) of.names.push(port)
    else faults.add(`${at}.port`, `${JSON.stringify(port)} is neither a number nor the name of a port`)
  }
  return [...found]
    .sort(([a], [b]) => a - b)
    .map(([protocol, { ranges, names, isWhole }]) =>
      isWhole ? { protocol } : { protocol, ports: portsOf(ranges, names) },
    )
}
