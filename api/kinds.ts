// The one table of kinds: schema, names and columns. The API server's discovery and tables, the client, the command
// line and the CRDs all read these rows; adding a kind is one row here and its schema.
import type { z } from 'zod'
import * as calico from './calico.ts'
import * as core from './core.ts'

/** `path` is where the value stands in the object; `wide` columns show only with `-o wide`. */
export type Column = { name: string; path: readonly string[]; wide?: true }

export type KindRow<S extends z.ZodType = z.ZodType> = {
  /** '' is Kubernetes' core group. */
  group: string
  version: string
  plural: string
  singular: string
  shortNames: readonly string[]
  namespaced: boolean
  /** Whether `status` is a subresource: then a plain write leaves it as it was. */
  status: boolean
  schema: S
  columns: readonly Column[]
  /** Fields of a custom resource that a field selector may name (Kubernetes 1.31 and later); margay-api takes any. */
  selectable?: readonly (readonly string[])[]
}

const CALICO = 'projectcalico.org'
const V3 = { group: CALICO, version: 'v3' } as const
const V1 = { group: '', version: 'v1' } as const
const spec = (name: string, field: string, wide?: true): Column => ({ name, path: ['spec', field], wide })

export const kinds = {
  IPPool: {
    ...V3,
    plural: 'ippools',
    singular: 'ippool',
    shortNames: [],
    namespaced: false,
    status: true,
    schema: calico.ipPool,
    columns: [
      spec('CIDR', 'cidr'),
      spec('NAT', 'natOutgoing', true),
      spec('IPIPMODE', 'ipipMode'),
      spec('VXLANMODE', 'vxlanMode'),
      spec('DISABLED', 'disabled', true),
      spec('DISABLEBGPEXPORT', 'disableBGPExport', true),
      spec('SELECTOR', 'nodeSelector'),
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
    columns: [spec('STRICTAFFINITY', 'strictAffinity'), spec('MAXBLOCKS', 'maxBlocksPerHost')],
  },
  IPAMBlock: {
    ...V3,
    plural: 'ipamblocks',
    singular: 'ipamblock',
    shortNames: [],
    namespaced: false,
    status: false,
    schema: calico.ipamBlock,
    columns: [spec('CIDR', 'cidr'), spec('AFFINITY', 'affinity')],
    selectable: [['spec', 'affinity']],
  },
  BlockAffinity: {
    ...V3,
    plural: 'blockaffinities',
    singular: 'blockaffinity',
    shortNames: ['affinity', 'affinities'],
    namespaced: false,
    status: false,
    schema: calico.blockAffinity,
    columns: [spec('CIDR', 'cidr'), spec('NODE', 'node'), spec('STATE', 'state')],
  },
  BGPConfiguration: {
    ...V3,
    plural: 'bgpconfigurations',
    singular: 'bgpconfiguration',
    shortNames: ['bgpconfig', 'bgpconfigs'],
    namespaced: false,
    status: false,
    schema: calico.bgpConfiguration,
    columns: [spec('ASN', 'asNumber'), spec('MESH', 'nodeToNodeMeshEnabled'), spec('PORT', 'listenPort')],
  },
  BGPPeer: {
    ...V3,
    plural: 'bgppeers',
    singular: 'bgppeer',
    shortNames: [],
    namespaced: false,
    status: false,
    schema: calico.bgpPeer,
    columns: [spec('PEERIP', 'peerIP'), spec('NODE', 'node'), spec('ASN', 'asNumber')],
  },
  FelixConfiguration: {
    ...V3,
    plural: 'felixconfigurations',
    singular: 'felixconfiguration',
    shortNames: ['felixconfig'],
    namespaced: false,
    status: false,
    schema: calico.felixConfiguration,
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
    columns: [spec('READY', 'datastoreReady')],
  },
  KubeControllersConfiguration: {
    ...V3,
    plural: 'kubecontrollersconfigurations',
    singular: 'kubecontrollersconfiguration',
    shortNames: ['kcc', 'kccs'],
    namespaced: false,
    status: true,
    schema: calico.kubeControllersConfiguration,
    columns: [],
  },
  WorkloadEndpoint: {
    ...V3,
    plural: 'workloadendpoints',
    singular: 'workloadendpoint',
    shortNames: ['wep'],
    namespaced: true,
    status: false,
    schema: calico.workloadEndpoint,
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
  return kinds[kind].group === CALICO
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
    const { plural, singular, shortNames }: KindRow = kinds[kind]
    return [kind.toLowerCase(), plural, singular, ...shortNames].includes(wanted)
  })
}
