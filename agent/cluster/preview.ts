// What a change of objects would do to the sessions and announcements of a node, before it is made. Pure: the agents work out the
// same from the same objects. Passwords are taken to be there, since only agents may read them.
import { hash } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import type { Resource } from '../../api/kinds.ts'
import { type Condition, conditionKey } from '../../api/status.ts'
import { configurationOf } from '../../api/unsupported.ts'
import { resetReasons } from '../../bgp/change.ts'
import { type Announced, advertised, leaving } from './advertised.ts'
import { MOST_KEY_OCTETS } from './bfd.ts'
import { type BgpKind, peersOf } from './bgp-objects.ts'
import { type LocalPod, peeringAddresses } from './local-pods.ts'
import { askedMultipath } from './multipath.ts'
import { rangesOfPods } from './newcomers.ts'
import { claimsOf, maskedAddresses, type NodeFacts, nodeFacts, routerIdOf } from './nodes.ts'
import { keyOf, type SecretKey } from './passwords.ts'
import { accountProfile, namespaceProfile, podEndpoint, podProfiles } from './policies/endpoints.ts'
import { accountLabels, type Labels, namespaceLabels } from './policies/labels.ts'
import { isExcluded, Services, serviceRanges } from './services.ts'
import type { Session } from './sessions.ts'
import { bgpSettings } from './settings.ts'
import { FOR_NODES } from './trust.ts'

/** What pods as peers of their nodes are made of. */
export const POD_KINDS = ['Pod', 'Namespace', 'ServiceAccount'] as const
type PodKind = (typeof POD_KINDS)[number]

/** Every object of these kinds; those of `POD_KINDS` may be left out where no BGPPeer selects pods. */
export type ClusterObjects = {
  all<K extends BgpKind | 'Node' | 'IPPool' | PodKind>(kind: K): readonly Resource<K>[]
}

/** `reachableBy`: the router that the peer's BGPPeer names. */
type Reached = Session & { reachableBy?: string }

/** What one node does with the objects of a cluster. */
export type NodeBgp = {
  asn: number
  routerId: string
  sessions: ReadonlyMap<string, Reached>
  announced: ReadonlyMap<string, Announced>
  refused: readonly Condition[]
}

export type SessionChange = {
  /** What people call it: after the change, of one that ends before it. */
  name: string
  address: string
  /** `namespace/name` where it is with a pod of the node. */
  pod?: string
  change: 'new' | 'ends' | 'resets' | 'changes'
  /** Why it is reset, or what changes. */
  because: readonly string[]
}

export type AnnouncementChange = { prefix: string; change: 'new' | 'ends' | 'changes'; because: string }

export type NodePreview = {
  sessions: readonly SessionChange[]
  announced: readonly AnnouncementChange[]
  /** What would be wrong that is not now. */
  refused: readonly Condition[]
}

/** The nodes of a cluster by name, and what of their annotations cannot be read. */
export type ReadNodes = { facts: ReadonlyMap<string, NodeFacts>; refused: readonly Condition[] }

/** As agents read them that have read `before`: of an annotation that cannot be read they keep what it was. */
export function nodesOf(objects: ClusterObjects, before?: ReadNodes): ReadNodes {
  const read = objects.all('Node').map(node => nodeFacts(node, before?.facts.get(node.metadata.name)))
  return {
    facts: new Map(read.map(({ facts }) => [facts.name, facts])),
    refused: read.flatMap(({ refused }) => refused),
  }
}

/**
 * The pods of each node, as the API server knows them: one interface of each, since it tells of no other. Those whose Namespace is gone go
 * with it.
 */
export function podsOf(objects: ClusterObjects): ReadonlyMap<string, readonly LocalPod[]> {
  const given = new Map<string, Labels>()
  for (const { metadata } of objects.all('Namespace'))
    given.set(namespaceProfile(metadata.name), namespaceLabels(metadata.name, metadata.labels))
  for (const { metadata } of objects.all('ServiceAccount'))
    given.set(accountProfile(metadata.namespace ?? '', metadata.name), accountLabels(metadata.name, metadata.labels))
  const pods = new Map<string, LocalPod[]>()
  for (const pod of objects.all('Pod')) {
    const { namespace = '', name } = pod.metadata
    const found = podEndpoint(
      pod,
      podProfiles(pod).map(profile => given.get(profile)),
    )
    if (found === undefined || !given.has(namespaceProfile(namespace))) continue
    const { labels, addresses } = found
    const node = pod.spec.nodeName!
    const there = pods.get(node) ?? []
    pods.set(node, there)
    there.push({ endpoint: `${namespace}/${name}`, interfaceName: '', labels, addresses })
  }
  return pods
}

/** `blocks` are the CIDRs of the node, `pods` its own; of Services their ranges are known alone. Undefined where it has no address, or is no node: it has no sessions. */
export function nodeBgp(
  nodeName: string,
  nodes: ReadNodes,
  objects: ClusterObjects,
  { blocks, pods }: { blocks: readonly string[]; pods: readonly LocalPod[] },
): NodeBgp | undefined {
  const { address, ipv6Address, labels, drains } = nodes.facts.get(nodeName) ?? {}
  if (address === undefined && ipv6Address === undefined) return undefined
  const peers = peersOf({ nodeName, address, ipv6Address }, nodes.facts.values(), objects)
  const configurations = objects.all('BGPConfiguration')
  const named = (name: string) => configurations.find(({ metadata }) => metadata.name === name)
  const settings = bgpSettings(named('default'), named(configurationOf(nodeName)))
  const pools = objects.all('IPPool')
  const node = objects.all('Node').find(({ metadata }) => metadata.name === nodeName)
  const subnets = node === undefined ? [] : maskedAddresses(node).filter(each => each !== undefined)
  const nodeWith = (of: string) => [...nodes.facts.values()].find(facts => claimsOf(facts).includes(of))?.name
  peers.configure({ peering: peeringAddresses(settings, { pools, subnets, nodeWith }) })
  for (const pod of pods) peers.pod(pod.endpoint, pod)
  for (const secret of peers.secrets()) peers.password(secret, standIn(secret))
  const services = new Services(nodeName)
  services.setRanges(serviceRanges(settings, pools))
  services.setExcluded(isExcluded(labels))
  // what is about to be withdrawn will be gone
  const staying = new Map([...services.prefixes()].filter(([, standing]) => standing === 'stays'))
  const announced = advertised({ blocks, services: staying }, pools, settings)
  const { fault } = askedMultipath(named('default')?.metadata)
  return {
    asn: peers.asn,
    routerId: routerIdOf({ name: nodeName, address }),
    sessions: new Map(
      peers.take().flatMap(({ key, peer, way }): [string, Reached][] => {
        if (peer === undefined || peer.disabled) return []
        return [[key, way === undefined ? peer : { ...peer, reachableBy: way.gateway }]]
      }),
    ),
    announced: new Map(announced.map(each => [each.prefix, drains ? leaving(each) : each])),
    refused: [
      ...peers.refused(),
      ...rangesOfPods(peers.ranges(), pools),
      ...nodes.refused,
      ...(fault === undefined ? [] : [fault]),
    ],
  }
}

/** For the password in a Secret: another one for each, that is no longer than a key for BFD may be. */
export function standIn(secret: SecretKey): { text: string } {
  return { text: hash('sha256', keyOf(secret), 'base64url').slice(0, MOST_KEY_OCTETS) }
}

/** What going from `before` to `after` does. A node that has no sessions ends all, or begins them. */
export function previewOf(before: NodeBgp | undefined, after: NodeBgp | undefined): NodePreview {
  const identity = before === undefined || after === undefined ? [] : identityReasons(before, after)
  const [was, is] = [before?.sessions ?? NONE, after?.sessions ?? NONE]
  const ended = [...was].filter(([key]) => !is.has(key)).map(([, session]) => told(session, 'ends', []))
  const others = [...is].flatMap(([key, session]) => {
    const old = was.get(key)
    if (old === undefined) return [told(session, 'new', [])]
    const reasons = [...identity, ...resetReasons(old, session)]
    if (reasons.length > 0) return [told(session, 'resets', reasons)]
    const fields = changedFields(old, session)
    return fields.length === 0 ? [] : [told(session, 'changes', [fields.join(', ')])]
  })
  const known = new Set(before?.refused.map(conditionText))
  const refused = new Map((after?.refused ?? []).map(condition => [conditionText(condition), condition]))
  return {
    sessions: [...ended, ...others].sort((a, b) => (a.name < b.name ? -1 : 1)),
    announced: announcedChanges(before, after),
    refused: [...refused].flatMap(([text, condition]) => (known.has(text) ? [] : [condition])),
  }
}

const NONE: ReadonlyMap<string, never> = new Map<string, never>()

function identityReasons(before: NodeBgp, after: NodeBgp): string[] {
  const { asn, routerId } = after
  return [
    ...(asn === before.asn ? [] : [`the AS number of this node becomes ${asn}, and was ${before.asn}`]),
    ...(routerId === before.routerId
      ? []
      : [`the BGP identifier of this node becomes ${routerId}, and was ${before.routerId}`]),
  ]
}

function told(
  { name, address, range, interface: link, pod }: Session,
  change: SessionChange['change'],
  because: readonly string[],
): SessionChange {
  return { name, address: address ?? range ?? `%${link}`, ...(pod && { pod: pod.endpoint }), change, because }
}

/** What of a session changes that goes on; a password by its name alone. */
function changedFields(before: Reached, after: Reached): string[] {
  const fields = new Set([...Object.keys(before), ...Object.keys(after)]) as Set<keyof Reached>
  return [...fields].filter(field => !isDeepStrictEqual(before[field], after[field])).sort()
}

function announcedChanges(before: NodeBgp | undefined, after: NodeBgp | undefined): AnnouncementChange[] {
  const [was, is] = [before?.announced ?? NONE, after?.announced ?? NONE]
  const communities = (each: Announced) => each.communities.filter(value => value !== FOR_NODES).join(', ') || 'none'
  const isForNodes = (each: Announced) => each.communities.includes(FOR_NODES)
  const ended = [...was.keys()]
    .filter(prefix => !is.has(prefix))
    .map(prefix => ({ prefix, change: 'ends' as const, because: 'no peer hears of it any more' }))
  const others = [...is].flatMap(([prefix, now]): AnnouncementChange[] => {
    const old = was.get(prefix)
    if (old === undefined)
      return [{ prefix, change: 'new', because: `${isForNodes(now) ? 'other nodes' : 'peers'} hear of it` }]
    if (isDeepStrictEqual(old, now)) return []
    const because = [
      ...(isForNodes(old) === isForNodes(now)
        ? []
        : [`peers outside the cluster hear of it${isForNodes(now) ? ' no more' : ''}`]),
      ...(communities(old) === communities(now)
        ? []
        : [`its communities become ${communities(now)}, and were ${communities(old)}`]),
      ...(old.localPref === now.localPref ? [] : [`its LOCAL_PREF becomes ${now.localPref}, and was ${old.localPref}`]),
    ]
    return [{ prefix, change: 'changes', because: because.join('; ') }]
  })
  return [...ended, ...others]
}

function conditionText(condition: Condition): string {
  return `${conditionKey(condition)} ${condition.reason} ${condition.message}`
}
