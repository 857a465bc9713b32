// The one table of kinds: schema, names and columns. The API server's discovery and tables, the client, the command
// line and the CRDs all read these rows; adding a kind is one row here, its shape, and a schema when something reads it.
// Over 400 lines: one table, a row per kind.
import type * as z from 'zod'
import { GROUP_VERSIONS } from './api-group.ts'
import * as calico from './calico.ts'
import * as core from './core.ts'
import * as receipts from './receipt-schemas.ts'
import { bgpConfiguration, bgpPeer } from './shapes/bgp.ts'
import { bgpFilter } from './shapes/bgp-filter.ts'
import { clusterInformation, kubeControllersConfiguration } from './shapes/cluster.ts'
import { felixConfiguration } from './shapes/felix.ts'
import { ipPool, ipReservation } from './shapes/ip-pools.ts'
import { blockAffinity, ipamBlock, ipamConfiguration, ipamHandle } from './shapes/ipam.ts'
import { calicoNodeStatus } from './shapes/node-status.ts'
import * as policy from './shapes/policy.ts'
import { policyReceipt, policyStatus } from './shapes/policy-receipts.ts'
import type { KindShape } from './shapes/shape.ts'
import { stagedKubernetesNetworkPolicy } from './shapes/staged-kubernetes-policy.ts'
import { workloadEndpoint } from './shapes/workload-endpoint.ts'

/** `path` is where the value stands in the object; `wide` columns show only with `-o wide`. */
export type Column = { name: string; path: readonly string[]; wide?: true }

/** A column of kubectl: name, JSON path, type. */
export type Printed = readonly [name: string, path: string, type: 'string' | 'boolean' | 'integer' | 'number' | 'date']

export type KindRow<S extends z.ZodType = z.ZodType> = {
  /** What its objects say in `kind`, where another row has that name. */
  kind?: string
  /** '' is Kubernetes' core group. */
  group: string
  version: string
  plural: string
  singular: string
  shortNames: readonly string[]
  namespaced: boolean
  /** Whether `status` is a subresource: then a plain write leaves it as it was. */
  status: boolean
  /** What this program reads: typed, in canonical form, with defaults. */
  schema: S
  /** Of Calico's kinds: every field, as the CRD has it. */
  shape?: () => KindShape
  /** Where the CRD of it keeps fields that it does not know, because nodes tell of them (api/unsupported.ts). */
  keepsUnknown?: true
  /** Names in the group crd.projectcalico.org/v1, where they differ; `false` where Calico stores none of the kind. */
  stored?: { kind: string; plural: string; singular: string } | false
  /** What margayctl shows, in calicoctl's words. */
  columns: readonly Column[]
  /** What kubectl shows of a custom resource: Calico's columns. */
  printed?: readonly Printed[]
  /** More words for it on margayctl's command line. */
  aliases?: readonly string[]
  /** Fields of a custom resource that a field selector may name (Kubernetes 1.31 and later); margay-api takes any. */
  selectable?: readonly (readonly string[])[]
}

const V3 = GROUP_VERSIONS.v3
const V1 = { group: '', version: 'v1' } as const
/** Kinds that neither Calico nor Kubernetes has. */
const OWN = { group: 'margay.io', version: 'v1' } as const
/** Policies and filters, and what they name: read by their parts, since a part that makes no sense must close what it says, never open it. */
const POLICY = { ...V3, schema: calico.anyPolicy } as const
/** A kind that nothing here acts on yet. */
const UNREAD = { ...V3, schema: calico.anySpec } as const
const AGE: Printed = ['Age', '.metadata.creationTimestamp', 'date']
const POLICY_PRINTED: readonly Printed[] = [
  ['Tier', '.spec.tier', 'string'],
  ['Order', '.spec.order', 'number'],
]
const spec = (name: string, field: string, wide?: true): Column => ({ name, path: ['spec', field], wide })

const POLICY_COLUMNS = [spec('TIER', 'tier'), spec('ORDER', 'order'), spec('SELECTOR', 'selector', true)]

export const kinds = {
  IPPool: {
    ...V3,
    plural: 'ippools',
    singular: 'ippool',
    shortNames: [],
    aliases: ['pool', 'pools', 'ipp', 'ipps'],
    namespaced: false,
    status: true,
    schema: calico.ipPool,
    shape: ipPool,
    keepsUnknown: true,
    columns: [
      spec('CIDR', 'cidr'),
      spec('NAT', 'natOutgoing', true),
      spec('IPIPMODE', 'ipipMode'),
      spec('VXLANMODE', 'vxlanMode'),
      spec('DISABLED', 'disabled', true),
      spec('DISABLEBGPEXPORT', 'disableBGPExport', true),
      spec('SELECTOR', 'nodeSelector'),
    ],
    printed: [
      ['CIDR', '.spec.cidr', 'string'],
      ['VXLAN', '.spec.vxlanMode', 'string'],
      ['IPIP', '.spec.ipipMode', 'string'],
      ['NAT', '.spec.natOutgoing', 'boolean'],
      ['Allocatable', ".status.conditions[?(@.type=='Allocatable')].status", 'string'],
      AGE,
    ],
  },
  IPReservation: {
    ...V3,
    plural: 'ipreservations',
    singular: 'ipreservation',
    shortNames: [],
    namespaced: false,
    status: false,
    schema: calico.ipReservation,
    shape: ipReservation,
    keepsUnknown: true,
    columns: [spec('RESERVED', 'reservedCIDRs')],
  },
  IPAMConfiguration: {
    ...V3,
    plural: 'ipamconfigurations',
    singular: 'ipamconfiguration',
    shortNames: ['ipamconfig', 'ipamconfigs'],
    namespaced: false,
    status: false,
    schema: calico.ipamConfiguration,
    shape: ipamConfiguration,
    keepsUnknown: true,
    stored: { kind: 'IPAMConfig', plural: 'ipamconfigs', singular: 'ipamconfig' },
    columns: [spec('STRICTAFFINITY', 'strictAffinity'), spec('MAXBLOCKS', 'maxBlocksPerHost')],
    printed: [
      ['StrictAffinity', '.spec.strictAffinity', 'boolean'],
      ['MaxBlocksPerHost', '.spec.maxBlocksPerHost', 'integer'],
      ['AutoAllocateBlocks', '.spec.autoAllocateBlocks', 'boolean'],
    ],
  },
  IPAMBlock: {
    ...V3,
    plural: 'ipamblocks',
    singular: 'ipamblock',
    shortNames: [],
    namespaced: false,
    status: false,
    schema: calico.ipamBlock,
    shape: ipamBlock,
    keepsUnknown: true,
    columns: [spec('CIDR', 'cidr'), spec('AFFINITY', 'affinity')],
    selectable: [['spec', 'affinity']],
    printed: [
      ['CIDR', '.spec.cidr', 'string'],
      ['Affinity', '.spec.affinity', 'string'],
      ['ClaimTime', '.spec.affinityClaimTime', 'date'],
    ],
  },
  BlockAffinity: {
    ...V3,
    plural: 'blockaffinities',
    singular: 'blockaffinity',
    shortNames: ['affinity', 'affinities'],
    namespaced: false,
    status: false,
    schema: calico.blockAffinity,
    shape: blockAffinity,
    columns: [spec('CIDR', 'cidr'), spec('NODE', 'node'), spec('STATE', 'state')],
    printed: [
      ['CIDR', '.spec.cidr', 'string'],
      ['Node', '.spec.node', 'string'],
      ['Type', '.spec.type', 'string'],
    ],
  },
  BGPConfiguration: {
    ...V3,
    plural: 'bgpconfigurations',
    singular: 'bgpconfiguration',
    shortNames: ['bgpconfig', 'bgpconfigs'],
    namespaced: false,
    status: false,
    schema: calico.bgpConfiguration,
    shape: bgpConfiguration,
    keepsUnknown: true,
    columns: [spec('ASN', 'asNumber'), spec('MESH', 'nodeToNodeMeshEnabled'), spec('PORT', 'listenPort')],
  },
  BGPPeer: {
    ...V3,
    plural: 'bgppeers',
    singular: 'bgppeer',
    shortNames: [],
    aliases: ['bgpp', 'bgpps', 'bp', 'bps'],
    namespaced: false,
    status: false,
    schema: calico.bgpPeer,
    shape: bgpPeer,
    keepsUnknown: true,
    columns: [spec('PEERIP', 'peerIP'), spec('NODE', 'node'), spec('ASN', 'asNumber')],
    printed: [
      ['Node Selector', '.spec.nodeSelector', 'string'],
      ['Node', '.spec.node', 'string'],
      ['Local ASN', '.spec.localASNumber', 'string'],
      ['Peer Selector', '.spec.peerSelector', 'string'],
      ['Peer IP', '.spec.peerIP', 'string'],
      ['Peer ASN', '.spec.asNumber', 'string'],
    ],
  },
  FelixConfiguration: {
    ...V3,
    plural: 'felixconfigurations',
    singular: 'felixconfiguration',
    shortNames: [],
    namespaced: false,
    status: false,
    schema: calico.felixConfiguration,
    shape: felixConfiguration,
    keepsUnknown: true,
    aliases: ['felixconfig', 'felixconfigs'],
    columns: [],
  },
  ClusterInformation: {
    ...V3,
    plural: 'clusterinformations',
    singular: 'clusterinformation',
    shortNames: ['clusterinfo', 'clusterinfos'],
    namespaced: false,
    status: false,
    schema: calico.clusterInformation,
    shape: clusterInformation,
    columns: [spec('READY', 'datastoreReady')],
    printed: [
      ['Version', '.spec.calicoVersion', 'string'],
      ['Ready', '.spec.datastoreReady', 'boolean'],
      ['Types', '.spec.clusterType', 'string'],
    ],
  },
  KubeControllersConfiguration: {
    ...V3,
    plural: 'kubecontrollersconfigurations',
    singular: 'kubecontrollersconfiguration',
    shortNames: ['kcc', 'kccs'],
    namespaced: false,
    status: true,
    schema: calico.kubeControllersConfiguration,
    shape: kubeControllersConfiguration,
    keepsUnknown: true,
    columns: [],
  },
  IPAMHandle: {
    ...UNREAD,
    plural: 'ipamhandles',
    singular: 'ipamhandle',
    shortNames: [],
    namespaced: false,
    status: false,
    shape: ipamHandle,
    columns: [spec('ID', 'handleID')],
    printed: [['ID', '.spec.handleID', 'string']],
  },
  BGPFilter: {
    ...POLICY,
    plural: 'bgpfilters',
    singular: 'bgpfilter',
    shortNames: [],
    namespaced: false,
    status: false,
    shape: bgpFilter,
    columns: [],
  },
  CalicoNodeStatus: {
    ...V3,
    plural: 'caliconodestatuses',
    singular: 'caliconodestatus',
    shortNames: [],
    namespaced: false,
    status: true,
    schema: calico.calicoNodeStatus,
    shape: calicoNodeStatus,
    selectable: [['spec', 'node']],
    columns: [spec('NODE', 'node'), spec('CLASSES', 'classes')],
    printed: [
      ['Node', '.spec.node', 'string'],
      ['Classes', '.spec.classes', 'string'],
    ],
  },
  Tier: {
    ...POLICY,
    plural: 'tiers',
    singular: 'tier',
    shortNames: [],
    namespaced: false,
    status: true,
    shape: policy.tier,
    columns: [spec('ORDER', 'order'), spec('DEFAULTACTION', 'defaultAction')],
    printed: [
      ['Order', '.spec.order', 'integer'],
      ['DefaultAction', '.spec.defaultAction', 'string'],
      ['Status', ".status.conditions[?(@.type=='Ready')].reason", 'string'],
    ],
  },
  NetworkPolicy: {
    ...POLICY,
    plural: 'networkpolicies',
    singular: 'networkpolicy',
    shortNames: ['cnp', 'caliconetworkpolicy'],
    aliases: ['policy', 'policies', 'np', 'pol', 'pols'],
    namespaced: true,
    status: false,
    shape: policy.networkPolicy,
    columns: POLICY_COLUMNS,
    printed: POLICY_PRINTED,
    selectable: [['spec', 'tier']],
  },
  GlobalNetworkPolicy: {
    ...POLICY,
    plural: 'globalnetworkpolicies',
    singular: 'globalnetworkpolicy',
    shortNames: ['gnp', 'cgnp'],
    aliases: ['gnps'],
    namespaced: false,
    status: false,
    shape: policy.globalNetworkPolicy,
    columns: POLICY_COLUMNS,
    printed: [...POLICY_PRINTED, AGE],
    selectable: [['spec', 'tier']],
  },
  StagedNetworkPolicy: {
    ...POLICY,
    plural: 'stagednetworkpolicies',
    singular: 'stagednetworkpolicy',
    shortNames: ['scnp', 'snp'],
    namespaced: true,
    status: false,
    shape: policy.stagedNetworkPolicy,
    columns: POLICY_COLUMNS,
    printed: POLICY_PRINTED,
    selectable: [['spec', 'tier']],
  },
  StagedGlobalNetworkPolicy: {
    ...POLICY,
    plural: 'stagedglobalnetworkpolicies',
    singular: 'stagedglobalnetworkpolicy',
    shortNames: ['sgnp'],
    namespaced: false,
    status: false,
    shape: policy.stagedGlobalNetworkPolicy,
    columns: POLICY_COLUMNS,
    printed: POLICY_PRINTED,
    selectable: [['spec', 'tier']],
  },
  StagedKubernetesNetworkPolicy: {
    ...POLICY,
    plural: 'stagedkubernetesnetworkpolicies',
    singular: 'stagedkubernetesnetworkpolicy',
    shortNames: ['sknp'],
    namespaced: true,
    status: false,
    shape: stagedKubernetesNetworkPolicy,
    columns: [spec('ACTION', 'stagedAction')],
  },
  NetworkSet: {
    ...POLICY,
    plural: 'networksets',
    singular: 'networkset',
    shortNames: [],
    namespaced: true,
    status: false,
    shape: policy.networkSet,
    columns: [spec('NETS', 'nets')],
  },
  GlobalNetworkSet: {
    ...POLICY,
    plural: 'globalnetworksets',
    singular: 'globalnetworkset',
    shortNames: ['gns'],
    namespaced: false,
    status: false,
    shape: policy.networkSet,
    columns: [spec('NETS', 'nets')],
    printed: [AGE],
  },
  HostEndpoint: {
    ...POLICY,
    plural: 'hostendpoints',
    singular: 'hostendpoint',
    shortNames: ['hep', 'heps'],
    namespaced: false,
    status: false,
    shape: policy.hostEndpoint,
    columns: [spec('NODE', 'node'), spec('INTERFACE', 'interfaceName'), spec('IPS', 'expectedIPs')],
    printed: [
      ['Node', '.spec.node', 'string'],
      ['Interface', '.spec.interfaceName', 'string'],
    ],
  },
  WorkloadEndpoint: {
    ...V3,
    plural: 'workloadendpoints',
    singular: 'workloadendpoint',
    shortNames: ['wep'],
    aliases: ['weps'],
    namespaced: true,
    status: false,
    schema: calico.workloadEndpoint,
    shape: workloadEndpoint,
    keepsUnknown: true,
    /** Calico derives them from Pods. */
    stored: false,
    columns: [
      spec('WORKLOAD', 'workload'),
      spec('NODE', 'node'),
      spec('NETWORKS', 'ipNetworks'),
      spec('INTERFACE', 'interfaceName'),
    ],
  },
  Node: {
    ...V1,
    plural: 'nodes',
    singular: 'node',
    shortNames: ['no'],
    aliases: ['nos'],
    namespaced: false,
    status: true,
    schema: core.node,
    columns: [
      { name: 'ASN', path: ['metadata', 'annotations', core.NODE_ANNOTATION.asNumber] },
      { name: 'IPV4', path: ['metadata', 'annotations', core.NODE_ANNOTATION.ipv4Address] },
    ],
  },
  Pod: {
    ...V1,
    plural: 'pods',
    singular: 'pod',
    shortNames: ['po'],
    namespaced: true,
    status: true,
    schema: core.pod,
    columns: [
      { name: 'STATUS', path: ['status', 'phase'] },
      { name: 'IP', path: ['status', 'podIP'] },
      spec('NODE', 'nodeName'),
    ],
  },
  Namespace: {
    ...V1,
    plural: 'namespaces',
    singular: 'namespace',
    shortNames: ['ns'],
    namespaced: false,
    status: true,
    schema: core.namespace,
    columns: [{ name: 'STATUS', path: ['status', 'phase'] }],
  },
  Service: {
    ...V1,
    plural: 'services',
    singular: 'service',
    shortNames: ['svc'],
    namespaced: true,
    status: true,
    schema: core.service,
    columns: [
      spec('TYPE', 'type'),
      spec('CLUSTER-IP', 'clusterIP'),
      spec('EXTERNALPOLICY', 'externalTrafficPolicy', true),
    ],
  },
  ServiceAccount: {
    ...V1,
    plural: 'serviceaccounts',
    singular: 'serviceaccount',
    shortNames: ['sa'],
    namespaced: true,
    status: false,
    schema: core.serviceAccount,
    columns: [],
  },
  Secret: {
    ...V1,
    plural: 'secrets',
    singular: 'secret',
    shortNames: [],
    namespaced: true,
    status: false,
    schema: core.secret,
    columns: [{ name: 'TYPE', path: ['type'] }],
  },
  EndpointSlice: {
    group: 'discovery.k8s.io',
    version: 'v1',
    plural: 'endpointslices',
    singular: 'endpointslice',
    shortNames: [],
    namespaced: true,
    status: false,
    schema: core.endpointSlice,
    columns: [{ name: 'ADDRESSTYPE', path: ['addressType'] }],
  },
  /** After Calico's, which has the word `networkpolicies` on the command line. */
  KubernetesNetworkPolicy: {
    kind: 'NetworkPolicy',
    group: 'networking.k8s.io',
    version: 'v1',
    plural: 'networkpolicies',
    singular: 'networkpolicy',
    shortNames: ['netpol'],
    namespaced: true,
    status: false,
    schema: calico.anyPolicy,
    columns: [spec('TYPES', 'policyTypes')],
  },
  ClusterNetworkPolicy: {
    group: 'policy.networking.k8s.io',
    version: 'v1alpha2',
    plural: 'clusternetworkpolicies',
    singular: 'clusternetworkpolicy',
    /** Not `cnp`, which is Calico's NetworkPolicy. */
    shortNames: [],
    namespaced: false,
    status: true,
    schema: calico.anyPolicy,
    columns: [spec('TIER', 'tier'), spec('PRIORITY', 'priority')],
  },
  PolicyReceipt: {
    ...OWN,
    plural: 'policyreceipts',
    singular: 'policyreceipt',
    shortNames: [],
    namespaced: false,
    status: false,
    schema: receipts.policyReceipt,
    shape: policyReceipt,
    columns: [],
    printed: [AGE],
  },
  PolicyStatus: {
    ...OWN,
    plural: 'policystatuses',
    singular: 'policystatus',
    shortNames: [],
    namespaced: false,
    status: false,
    schema: receipts.policyStatus,
    shape: policyStatus,
    columns: [
      { name: 'NODES', path: ['status', 'nodes'] },
      { name: 'SINCE', path: ['status', 'since'] },
      { name: 'LAGGING', path: ['status', 'laggingNodes'] },
      { name: 'REVISION', path: ['status', 'revision'], wide: true },
    ],
    printed: [
      ['Nodes', '.status.nodes', 'string'],
      ['Since', '.status.since', 'date'],
      ['Lagging', '.status.laggingNodes', 'string'],
    ],
  },
  Lease: {
    group: 'coordination.k8s.io',
    version: 'v1',
    plural: 'leases',
    singular: 'lease',
    shortNames: [],
    namespaced: true,
    status: false,
    schema: core.lease,
    columns: [spec('HOLDER', 'holderIdentity')],
  },
} as const satisfies Record<string, KindRow>

export type Kind = keyof typeof kinds

/** Whether a kind is one of Calico's, which a Kubernetes API server knows from a CRD alone. */
export function isCustom(kind: Kind): boolean {
  return kinds[kind].group === V3.group
}

/** Whether a Kubernetes API server knows a kind from a CRD of Margay's alone: those of Calico, and its own. */
export function hasCrd(kind: Kind): boolean {
  return isCustom(kind) || isOwn(kind)
}

/** Whether a kind is Margay's own, the same whichever of Calico's groups a cluster has. */
export function isOwn(kind: Kind): boolean {
  return kinds[kind].group === OWN.group
}

/** What objects of a kind say in `kind`. */
export function kindName(kind: Kind): string {
  const row: KindRow = kinds[kind]
  return row.kind ?? kind
}

/** A validated object of a kind, defaults filled in. `apiVersion` and `kind` are added where it leaves the process. */
export type Resource<K extends Kind> = z.output<(typeof kinds)[K]['schema']>

/** `group/version` as it stands in `apiVersion`. */
export function apiVersion({ group, version }: { group: string; version: string }): string {
  return group === '' ? version : `${group}/${version}`
}

/** The kind that a person means: its name, plural, singular or short name in any case. */
export function kindNamed(word: string): Kind | undefined {
  const wanted = word.toLowerCase()
  return (Object.keys(kinds) as Kind[]).find(kind => {
    const { plural, singular, shortNames, aliases = [] }: KindRow = kinds[kind]
    return [kind.toLowerCase(), plural, singular, ...shortNames, ...aliases].includes(wanted)
  })
}
