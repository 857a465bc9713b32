// Which fields of each kind this program uses, and the cut of an object down to them: a Node is 10 kB at the server and
// 0.5 kB here, and a change of the other fields (a heartbeat, a pulled image) causes no notification. Of another node's
// Node the metadata alone: then the server leaves the rest out too (`kube.ts`), nine tenths of all bytes of a large cluster.
import { ADDRESS_ANNOTATIONS } from '../api/address-annotations.ts'
import {
  BANDWIDTH_ANNOTATION,
  BGP_ANNOTATION,
  FELIX_ANNOTATION,
  NODE_ANNOTATION,
  POD_ANNOTATION,
  QOS_ANNOTATION,
} from '../api/core.ts'
import type { Kind } from '../api/kinds.ts'
import { isObject } from '../api/merge-patch.ts'
import { RECEIPT_ANNOTATION } from '../api/policy-receipts.ts'
import { REFLECTORS_ANNOTATION } from '../api/reflectors.ts'
import type { Fields } from './port.ts'

const IDENTITY = { name: true, namespace: true, uid: true, creationTimestamp: true, deletionTimestamp: true } as const

const named = (names: readonly string[]): Fields => Object.fromEntries(names.map(name => [name, true as const]))

const NODE = {
  metadata: {
    ...IDENTITY,
    labels: true,
    annotations: named(Object.values(NODE_ANNOTATION)),
  },
} satisfies Fields

/** Of the Node that this program runs for. Its conditions are those of others too: a kubelet writes them every five minutes. */
export const OWN_NODE: Fields = {
  ...NODE,
  spec: { podCIDR: true, podCIDRs: true },
  status: { addresses: true, conditions: true },
}

const OTHERS = {
  // no annotations but those that are read: people put into them what belongs on no disk of a node
  metadata: { ...IDENTITY, labels: true, finalizers: true, generation: true },
  spec: true,
  status: true,
} satisfies Fields

const LABELLED = { ...IDENTITY, labels: true } as const
const PORTS = { ports: { name: true, containerPort: true, protocol: true } } as const
/** Neither labels, which nobody reads and which must not make a policy unreadable, nor status, which is others' business. */
const SPEC_ALONE: Fields = { metadata: IDENTITY, spec: true }

const ADDRESSES = Object.values(ADDRESS_ANNOTATIONS)

const POD_ANNOTATIONS = named([
  ...[...Object.values(POD_ANNOTATION), ...Object.values(QOS_ANNOTATION), ...Object.values(BANDWIDTH_ANNOTATION)],
  ...ADDRESSES.map(({ annotation }) => annotation),
])

/** Those that count for the Pods of a Namespace. */
const NAMESPACE_ANNOTATIONS = named([
  POD_ANNOTATION.allowedSources,
  ...ADDRESSES.filter(({ namespace }) => namespace).map(({ annotation }) => annotation),
])

/**
 * Of EndpointSlices, beside their addresses: which endpoints are ready, and where they are. That changes often, so who asks for it has
 * a watch of its own.
 */
export const ENDPOINT_READINESS: Fields = {
  metadata: LABELLED,
  addressType: true,
  endpoints: { conditions: { ready: true, serving: true, terminating: true }, nodeName: true },
}

const OF_BGP: Fields = {
  ...OTHERS,
  metadata: { ...OTHERS.metadata, annotations: named(Object.values(BGP_ANNOTATION)) },
}

const FIELDS: { readonly [K in Kind]?: Fields } = {
  Node: NODE,
  // an image, an environment and the state of each container are nine tenths of a Pod
  Pod: {
    metadata: { ...LABELLED, annotations: POD_ANNOTATIONS },
    spec: { nodeName: true, hostNetwork: true, serviceAccountName: true, containers: PORTS, initContainers: PORTS },
    status: { phase: true, podIP: true, podIPs: true },
  },
  Namespace: { ...OTHERS, metadata: { ...OTHERS.metadata, annotations: NAMESPACE_ANNOTATIONS } },
  BGPConfiguration: OF_BGP,
  BGPPeer: OF_BGP,
  FelixConfiguration: {
    ...OTHERS,
    metadata: { ...OTHERS.metadata, annotations: named(Object.values(FELIX_ANNOTATION)) },
  },
  ClusterInformation: {
    ...OTHERS,
    metadata: {
      ...OTHERS.metadata,
      annotations: named([...Object.values(RECEIPT_ANNOTATION), REFLECTORS_ANNOTATION]),
    },
  },
  ServiceAccount: { metadata: LABELLED },
  Service: {
    metadata: IDENTITY,
    spec: { type: true, clusterIP: true, clusterIPs: true, externalIPs: true, externalTrafficPolicy: true },
    status: { loadBalancer: { ingress: { ip: true, ipMode: true } } },
  },
  EndpointSlice: {
    metadata: LABELLED,
    addressType: true,
    // whether an endpoint is ready changes often, and no policy asks
    endpoints: { addresses: true },
    ports: { port: true, protocol: true },
  },
  KubernetesNetworkPolicy: SPEC_ALONE,
  ClusterNetworkPolicy: SPEC_ALONE,
  NetworkPolicy: SPEC_ALONE,
  GlobalNetworkPolicy: SPEC_ALONE,
  StagedKubernetesNetworkPolicy: SPEC_ALONE,
  StagedNetworkPolicy: SPEC_ALONE,
  StagedGlobalNetworkPolicy: SPEC_ALONE,
  Tier: SPEC_ALONE,
  BGPFilter: SPEC_ALONE,
}

/** Kinds that a server may be without: a CRD that nobody applied, a group of Kubernetes that margay-api lacks, an older Calico's resources. */
export const MAY_BE_ABSENT: ReadonlySet<Kind> = new Set<Kind>([
  ...([
    'ServiceAccount',
    'Service',
    'EndpointSlice',
    'KubernetesNetworkPolicy',
    'ClusterNetworkPolicy',
    'Tier',
  ] as const),
  ...(['StagedNetworkPolicy', 'StagedGlobalNetworkPolicy', 'StagedKubernetesNetworkPolicy'] as const),
  'BGPFilter',
])

/** The fields of a kind that a cache keeps. Never the resourceVersion, which changes with every heartbeat. */
export function cachedFields(kind: Kind): Fields {
  return FIELDS[kind] ?? OTHERS
}

/**
 * `value` with only the named fields; a field that is absent, or of which nothing is kept, is absent. Items of a list keep
 * their places. Shares what it keeps with `value`.
 */
export function pickFields(value: unknown, fields: Fields): unknown {
  return picked(value, fields) ?? (isObject(value) ? {} : value)
}

function picked(value: unknown, fields: Fields): unknown {
  if (fields === true) return value
  if (Array.isArray(value)) return value.map(item => (Array.isArray(item) ? item : pickFields(item, fields)))
  if (!isObject(value)) return value
  let kept: Record<string, unknown> | undefined
  for (const field in fields) {
    const part = value[field]
    const keep = part === undefined ? undefined : picked(part, fields[field]!)
    if (keep === undefined) continue
    kept ??= {}
    kept[field] = keep
  }
  return kept
}
