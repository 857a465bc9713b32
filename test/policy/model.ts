// The model of policy (felix/policy/model.ts) judged word by word: slow, and without an index. What the objects of a world become
// by agent/cluster/policies must say of each packet what the reference says by the objects themselves.
import { type InputChange, type PolicyKind, PolicyObjects } from '../../agent/cluster/policies/objects.ts'
import { apiVersion, type KindRow, kinds, type Resource } from '../../api/kinds.ts'
import { matchesSelector } from '../../api/selector.ts'
import type { Condition } from '../../api/status.ts'
import { validate } from '../../api/validate.ts'
import type { Policy, PolicyInputs, PolicyRule, Ports, RuleSide } from '../../felix/policy/model.ts'
import { contains, sameAddress } from './reference/addresses.ts'
import { podOfAddress } from './reference/endpoints.ts'
import { ICMP } from './reference/flow.ts'
import { ofKind, type World, type WorldObject } from './reference/objects.ts'
import { addressOf, type Packet, type Party } from './reference.ts'

export type Model = { readonly [K in keyof PolicyInputs]: Map<string, PolicyInputs[K]> }

/** The row of the table of kinds that an object belongs to. */
export function kindOf({ apiVersion: version, kind: name }: WorldObject): PolicyKind {
  const stored = version === 'crd.projectcalico.org/v1' ? 'projectcalico.org/v3' : version
  const found = Object.entries(kinds).find(
    ([key, row]: [string, KindRow]) => (row.kind ?? key) === name && apiVersion(row) === stored,
  )
  return found![0] as PolicyKind
}

export function keyOf({ metadata: { namespace, name } }: Pick<WorldObject, 'metadata'>): string {
  return namespace === undefined ? name : `${namespace}/${name}`
}

/** A resource as a program reads it. Throws where it is refused. */
export function resourceOf<K extends PolicyKind>(kind: K, object: unknown): Resource<K> {
  const { apiVersion: _version, kind: _kind, ...rest } = structuredClone(object) as Record<string, unknown>
  const resource = validate(kind, rest)
  if (Array.isArray(resource)) throw new Error(JSON.stringify(resource))
  return resource
}

/** Takes what is told into a model. */
export function listener(): { model: Model; tell: (change: InputChange) => void; told: InputChange[] } {
  const model = {
    ...{ endpoint: new Map(), networkSet: new Map(), tier: new Map(), policy: new Map() },
    ...{ profile: new Map(), service: new Map(), node: new Map() },
  } as Model
  const told: InputChange[] = []
  const tell = (change: InputChange) => {
    told.push(change)
    const map = model[change.kind] as Map<string, unknown>
    if (change.value === undefined) map.delete(change.key)
    else map.set(change.key, change.value)
  }
  return { model, tell, told }
}

/** What the objects of a world become, one after the other. */
export function modelOf({ objects }: World): { model: Model; refused: readonly Condition[] } {
  const { model, tell } = listener()
  const policies = new PolicyObjects(tell)
  for (const object of objects) {
    const kind = kindOf(object)
    policies.change(kind, keyOf(object), resourceOf(kind, object))
  }
  return { model, refused: policies.refused }
}

type Verdict = { verdict: 'allow' | 'deny'; by: string }
export type ModelJudgement = { egress: Verdict; ingress: Verdict }

type Flow = Packet & { source: string; destination: string; pod: string }

/** What the model says of the first packet of a connection. */
export function judgeModel(model: Model, world: World, packet: Packet): ModelJudgement {
  const [source, destination] = [packet.from, packet.to].map(end => addressOf(world, end, packet.family)) as [
    string,
    string,
  ]
  const nothing: Verdict = { verdict: 'allow', by: 'not judged' }
  const judged = (end: Party, address: string, direction: 'ingress' | 'egress'): Verdict => {
    const pod = podOfAddress(world, address)
    if ('node' in end || pod === undefined) return nothing
    if (sameAddress(source, destination) && packet.viaService !== true) return nothing
    if (direction === 'ingress' && isOfNode(world, packet.from, source, pod.spec.nodeName ?? '')) return nothing
    return judgeEnd(model, world, { ...packet, source, destination, pod: keyOf(pod) }, direction)
  }
  return { egress: judged(packet.from, source, 'egress'), ingress: judged(packet.to, destination, 'ingress') }
}

function isOfNode(world: World, from: Party, address: string, node: string): boolean {
  if ('node' in from) return from.node === node
  const pod = 'pod' in from && ofKind(world, 'Pod').find(each => keyOf(each) === from.pod)
  if (pod !== false && pod?.spec.hostNetwork === true) return pod.spec.nodeName === node
  return ofKind(world, 'Node').some(
    each => each.metadata.name === node && each.status?.addresses?.some(own => own.address === address),
  )
}

function judgeEnd(model: Model, world: World, flow: Flow, direction: 'ingress' | 'egress'): Verdict {
  const { labels } = model.endpoint.get(flow.pod)!
  const policies = [...model.policy.values()].filter(
    ({ selector, hostStage, staged, [direction]: rules }) =>
      rules !== undefined &&
      staged === undefined &&
      hostStage !== 'preDNAT' &&
      hostStage !== 'untracked' &&
      matchesSelector(selector, labels),
  )
  for (const { name, defaultAction } of tiersOf(model)) {
    const asked = policies.filter(({ tier }) => tier === name).sort(before)
    if (asked.length === 0) continue
    let passes = defaultAction === 'pass'
    for (const policy of asked) {
      const rule = policy[direction]!.find(each => each.action !== 'log' && matches(model, world, each, flow))
      if (rule === undefined) continue
      const { kind, namespace = '', name: called } = policy.ref
      if (rule.action !== 'pass') return { verdict: rule.action as 'allow', by: `${kind} ${namespace}/${called}` }
      passes = true
      break
    }
    if (!passes) return { verdict: 'deny', by: `tier ${name}` }
  }
  const profiles = [`kns.${flow.pod.split('/')[0]}`]
  const found = profiles
    .flatMap(profile => model.profile.get(profile)?.[direction] ?? [])
    .find(rule => matches(model, world, rule, flow))
  return { verdict: found?.action === 'allow' ? 'allow' : 'deny', by: `profile ${profiles}` }
}

function tiersOf({ tier, policy }: Model): PolicyInputs['tier'][] {
  const known = [...tier.values()].sort((a, b) => compare(a.order, b.order) || compare(a.name, b.name))
  const named = [...new Set([...policy.values()].map(each => each.tier))].filter(name => !tier.has(name)).sort()
  return [...known, ...named.map(name => ({ name, order: Number.POSITIVE_INFINITY, defaultAction: 'deny' as const }))]
}

function before(a: Policy, b: Policy): number {
  return compare(a.order, b.order) || compare(a.sortName, b.sortName)
}

function compare<T>(a: T, b: T): number {
  return a < b ? -1 : a > b ? 1 : 0
}

function matches(model: Model, world: World, rule: PolicyRule, flow: Flow): boolean {
  const { ipVersion, protocol, notProtocol, icmp, notIcmp, source, destination, never } = rule
  const isIcmp = (asked: NonNullable<typeof icmp>) =>
    flow.icmp !== undefined &&
    flow.protocol === ICMP[flow.family] &&
    asked.type === flow.icmp.type &&
    (asked.code === undefined || asked.code === flow.icmp.code)
  return (
    never !== true &&
    (ipVersion === undefined || ipVersion === flow.family) &&
    (protocol === undefined || protocol === flow.protocol) &&
    notProtocol !== flow.protocol &&
    (icmp === undefined || isIcmp(icmp)) &&
    (notIcmp === undefined || !isIcmp(notIcmp)) &&
    isOfSide(model, world, source, flow, 'source') &&
    isOfSide(model, world, destination, flow, 'destination')
  )
}

function isOfSide(model: Model, world: World, side: RuleSide, flow: Flow, end: 'source' | 'destination'): boolean {
  const [address, port] = end === 'source' ? [flow.source, flow.sourcePort] : [flow.destination, flow.destinationPort]
  const isChosen = (selector: string) =>
    [...model.endpoint.values()].some(
      each => matchesSelector(selector, each.labels) && each.addresses.some(own => sameAddress(own, address)),
    ) ||
    [...model.networkSet.values()].some(
      each => matchesSelector(selector, each.labels) && each.nets.some(net => contains(net, address)),
    )
  const isOfPorts = ({ ranges, names }: Ports) =>
    ranges.some(({ first, last }) => port !== undefined && first <= port && port <= last) ||
    [...model.endpoint.values()].some(
      each =>
        each.addresses.some(own => sameAddress(own, address)) &&
        each.ports.some(own => names.includes(own.name) && own.protocol === flow.protocol && own.port === port),
    )
  const isOfNodes = (selector: string) =>
    [...model.node.values()].some(
      each => matchesSelector(selector, each.labels) && each.addresses.some(own => sameAddress(own, address)),
    )
  const isOfService = ({ namespace, name }: { namespace: string; name: string }) =>
    (model.service.get(`${namespace}/${name}`)?.addresses ?? []).some(
      each =>
        sameAddress(each.address, address) &&
        (end === 'source' || (each.protocol === flow.protocol && each.port === port)),
    )
  const { nets, notNets = [], selector, notSelector, ports, notPorts, service, nodes, domains } = side
  return (
    (nets === undefined || nets.some(net => contains(net, address))) &&
    !notNets.some(net => contains(net, address)) &&
    (selector === undefined || isChosen(selector)) &&
    (notSelector === undefined || !isChosen(notSelector)) &&
    (ports === undefined || isOfPorts(ports)) &&
    (notPorts === undefined || !isOfPorts(notPorts)) &&
    (service === undefined || isOfService(service)) &&
    (nodes === undefined || isOfNodes(nodes)) &&
    (domains === undefined || isOfDomains(world, domains, flow))
  )
}

function isOfDomains({ answers = [] }: World, domains: readonly string[], { pod, destination }: Flow): boolean {
  return answers.some(({ pod: asker, name, addresses }) => {
    const asked = name.toLowerCase().replace(/\.$/, '')
    const isOf = (domain: string) =>
      domain.startsWith('*.') ? asked.endsWith(domain.slice(1)) && asked !== domain.slice(1) : asked === domain
    return asker === pod && domains.some(isOf) && addresses.some(each => sameAddress(each, destination))
  })
}
