// Whom policies choose: pods that have addresses of their own, interfaces of hosts, and labelled CIDRs. Pure.
// Hazard: the address of a pod that has ended may be another pod's by now.
import { POD_ANNOTATION } from '../../../api/core.ts'
import type { Resource } from '../../../api/kinds.ts'
import { calicoHostEndpoint, readPart } from '../../../api/policy-parts.ts'
import { hasPorts, protocolNumber } from '../../../api/ports.ts'
import type { NamedPort, NetworkSet, PolicyEndpoint } from '../../../felix/policy/model.ts'
import { parseAddress } from '../../../lib/ip.ts'
import { type Converted, conditionsOf, Faults, type Named, refOf } from './faults.ts'
import { allLabels, type Labels } from './labels.ts'
import { netsOf, protocolOf, sorted } from './rule-words.ts'

const ENDED: readonly (string | undefined)[] = ['Succeeded', 'Failed']

/**
 * What a Pod is to policies: nothing while it is in the network of its host, or on no node. `inherited` are the labels of its
 * namespace and service account, as far as they are known.
 */
export function podEndpoint(
  pod: Resource<'Pod'>,
  inherited: readonly (Labels | undefined)[],
): PolicyEndpoint | undefined {
  const { metadata, spec } = pod
  if (spec.hostNetwork === true || (spec.nodeName ?? '') === '') return undefined
  return {
    kind: 'pod',
    labels: allLabels({
      ...{ own: metadata.labels, namespace: metadata.namespace, account: spec.serviceAccountName },
      ...{ isPod: true, inherited },
    }),
    addresses: addressesOf(pod),
    ports: portsOf(spec),
  }
}

/** Whether nothing of a pod runs any more, or ever will. */
export function hasEnded({ status }: Resource<'Pod'>): boolean {
  return ENDED.includes(status?.phase)
}

/** A pod has an address of each family at the most; who may annotate Pods could name thousands, and every set of policies has them. */
const MOST_NOTED = 2

/** In canonical text, sorted. What the kubelet says counts before what a CNI plugin noted. */
export function addressesOf(pod: Resource<'Pod'>): string[] {
  const { annotations = {}, deletionTimestamp } = pod.metadata
  const noted = annotations[POD_ANNOTATION.address]
  if (hasEnded(pod) || (deletionTimestamp !== undefined && noted === '')) return []
  const told = statusTexts(pod)
  const all = annotations[POD_ANNOTATION.addresses] ?? noted ?? ''
  return canonical(told.length > 0 ? told : all.split(',', MOST_NOTED))
}

/** What the kubelet says alone, in canonical text, sorted: who may make a Pod may write any address into its annotations. */
export function statusAddressesOf(pod: Resource<'Pod'>): string[] {
  return hasEnded(pod) ? [] : canonical(statusTexts(pod))
}

function statusTexts({ status = {} }: Resource<'Pod'>): string[] {
  const { podIPs = [], podIP = '' } = status
  return podIPs.length > 0 ? podIPs.map(({ ip }) => ip) : podIP === '' ? [] : [podIP]
}

function canonical(texts: readonly string[]): string[] {
  const addresses = texts.map(text => parseAddress(text.split('/')[0] ?? ''))
  return sorted(addresses.filter(address => address !== undefined))
}

/** The ports with a name of all containers: those that start first may go on running beside the others. */
function portsOf({ containers = [], initContainers = [] }: Resource<'Pod'>['spec']): NamedPort[] {
  const ports = [...containers, ...initContainers].flatMap(({ ports = [] }) => ports)
  return ports.flatMap(({ name = '', containerPort: port, protocol: word = 'TCP' }) => {
    const protocol = protocolNumber(word)
    return name === '' || protocol === undefined ? [] : [{ name, protocol, port }]
  })
}

/** Profiles of a pod, in the order in which they are asked. */
export function podProfiles({ metadata, spec }: Resource<'Pod'>): string[] {
  const { namespace = '' } = metadata
  const { serviceAccountName: account = '' } = spec
  return [namespaceProfile(namespace), ...(account === '' ? [] : [accountProfile(namespace, account)])]
}

/** The name of the profile of a namespace. */
export function namespaceProfile(namespace: string): string {
  return `kns.${namespace}`
}

/** The name of the profile of a service account. */
export function accountProfile(namespace: string, name: string): string {
  return `ksa.${namespace}.${name}`
}

/**
 * An interface of a host: `interfaceName` absent: the one that has an address of the endpoint; `*`: all of the node that are not
 * those of pods.
 */
export type HostInterface = {
  endpoint: PolicyEndpoint
  node: string
  interfaceName?: string
  profiles: readonly string[]
}

/** What a HostEndpoint says. Of one that cannot be read what can be read counts: without profiles, so that nothing is allowed by them. */
export function hostEndpoint(
  object: Named & { metadata: { labels?: Labels | undefined }; spec: Readonly<Record<string, unknown>> },
  inherited: readonly (Labels | undefined)[],
): Converted<HostInterface> {
  const faults = new Faults()
  const { part, problems = [] } = readPart(calicoHostEndpoint, object.spec, 'spec')
  faults.addAll(problems)
  const { node, interfaceName } = { ...texts(object.spec), ...part }
  const { expectedIPs = [], profiles = [], ports = [] } = part ?? {}
  const refused = () => conditionsOf(refOf('HostEndpoint', object), faults, 'left out')
  if (node === undefined || node === '') {
    faults.add('spec.node', 'must name a node')
    return { refused: refused() }
  }
  const addresses = expectedIPs.map(
    (text, i) =>
      parseAddress(text) ?? faults.add(`spec.expectedIPs[${i}]`, `${JSON.stringify(text)} is not an address`),
  )
  const named = ports.flatMap(({ name, protocol: word, port }, i): NamedPort[] => {
    const protocol = protocolOf(word, `spec.ports[${i}].protocol`, faults)
    return protocol === undefined || !hasPorts(protocol) ? [] : [{ name, protocol, port }]
  })
  const endpoint: PolicyEndpoint = {
    kind: 'host',
    labels: allLabels({ own: object.metadata.labels, isPod: false, inherited }),
    addresses: sorted(addresses.filter(address => address !== undefined)),
    ports: named,
  }
  const isNamed = interfaceName !== undefined && interfaceName !== ''
  return { value: { endpoint, node, ...(isNamed && { interfaceName }), profiles }, refused: refused() }
}

function texts({ node, interfaceName }: Readonly<Record<string, unknown>>): { node?: string; interfaceName?: string } {
  return {
    ...(typeof node === 'string' && { node }),
    ...(typeof interfaceName === 'string' && { interfaceName }),
  }
}

/**
 * What a NetworkSet or GlobalNetworkSet says. A CIDR that cannot be read is left out: rules cannot be closed for it, since
 * nobody knows which ones the set is for.
 */
export function networkSetOf(
  kind: 'NetworkSet' | 'GlobalNetworkSet',
  object: Named & { metadata: { labels?: Labels | undefined }; spec: Readonly<Record<string, unknown>> },
  inherited: readonly (Labels | undefined)[],
): Converted<NetworkSet> {
  const { namespace, labels: own } = object.metadata
  const faults = new Faults()
  const { nets: given = [] } = object.spec
  const isList = Array.isArray(given)
  if (!isList) faults.add('spec.nets', 'must be a list')
  const nets = isList ? given.map(String) : []
  return {
    value: {
      labels: allLabels({ own, namespace: kind === 'NetworkSet' ? namespace : undefined, isPod: false, inherited }),
      nets: netsOf(nets, 'spec.nets', faults),
    },
    refused: conditionsOf(refOf(kind, object), faults, 'left out'),
  }
}
