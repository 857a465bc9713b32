// The kinds of Calico's v3 API that Margay uses, with Calico's names, defaults and limits
// (projectcalico/api, pkg/apis/projectcalico/v3). Unknown fields of a spec are kept, so that a manifest written for
// Calico applies unchanged and survives a read-modify-write.
import * as z from 'zod'
import { contains, familyOf, parseAddress, parseCidr } from '../lib/ip.ts'
import {
  addressField,
  asNumberField,
  BLOCK_LENGTHS,
  blockCidrField,
  cidrField,
  durationField,
  int64Field,
  ipv4OrNoneField,
  isCommunity,
  numberOrTextField,
  peerAddressField,
  portRangeField,
  rangeOrNoneField,
  selectorField,
} from './fields.ts'
import { condition, objectMeta } from './meta.ts'
import { isLabelValue, isObjectName, isQualifiedName } from './names.ts'

const encapsulation = z.enum(['Never', 'Always', 'CrossSubnet'])
const poolUse = z.enum(['Workload', 'Tunnel', 'LoadBalancer'])
/** What the addresses of a pool are for that does not say it. */
export const DEFAULT_USES: z.infer<typeof poolUse>[] = ['Workload', 'Tunnel']

export const ipPool = z.looseObject({
  metadata: objectMeta,
  spec: z
    .looseObject({
      cidr: cidrField,
      blockSize: z.int().optional(),
      ipipMode: encapsulation.default('Never'),
      vxlanMode: encapsulation.default('Never'),
      natOutgoing: z.boolean().default(false),
      disabled: z.boolean().default(false),
      disableBGPExport: z.boolean().default(false),
      nodeSelector: selectorField.default('all()'),
      namespaceSelector: selectorField.optional(),
      allowedUses: z.array(poolUse).default(DEFAULT_USES),
      assignmentMode: z.enum(['Automatic', 'Manual']).default('Automatic'),
    })
    .transform(spec => ({ ...spec, blockSize: spec.blockSize || (familyOf(spec.cidr) === 'ipv4' ? 26 : 122) }))
    .superRefine((spec, context) => {
      const pool = parseCidr(spec.cidr)
      if (pool === undefined) return
      const [least, most] = BLOCK_LENGTHS[pool.family]
      if (spec.blockSize < least || spec.blockSize > most)
        context.addIssue({ code: 'custom', path: ['blockSize'], message: `must be ${least} to ${most}` })
      if (!spec.disabled && spec.blockSize < pool.length)
        context.addIssue({
          code: 'custom',
          path: ['blockSize'],
          message: `must not be shorter than the pool's /${pool.length}`,
        })
      if (spec.ipipMode !== 'Never' && spec.vxlanMode !== 'Never')
        context.addIssue({ code: 'custom', path: ['vxlanMode'], message: 'ipipMode and vxlanMode cannot both be used' })
      if (pool.family === 'ipv6' && spec.ipipMode !== 'Never')
        context.addIssue({ code: 'custom', path: ['ipipMode'], message: 'IP-in-IP does not carry IPv6: use vxlanMode' })
      if (pool.family === 'ipv4' && contains('169.254.0.0/16', spec.cidr))
        context.addIssue({
          code: 'custom',
          path: ['cidr'],
          message: 'must not lie in the link-local range 169.254.0.0/16',
        })
    }),
  status: z.looseObject({ conditions: z.array(condition).optional() }).optional(),
})

export const ipReservation = z.looseObject({
  metadata: objectMeta,
  spec: z.looseObject({ reservedCIDRs: z.array(z.union([cidrField, addressField])).default([]) }),
})

export const ipamConfiguration = z.looseObject({
  metadata: objectMeta,
  spec: z.looseObject({
    /** Whether no node lends single addresses of its blocks to others. */
    strictAffinity: z.boolean().default(false),
    autoAllocateBlocks: z.boolean().default(true),
    maxBlocksPerHost: z.int().min(0).default(0),
    ipCooldownSeconds: z.int().min(0).max(1200).default(0),
  }),
})

export const ipamBlock = z.looseObject({
  metadata: objectMeta,
  spec: z.looseObject({
    cidr: blockCidrField,
    /** `host:<node>`; absent when nobody owns the block. */
    affinity: z.string().optional(),
    strictAffinity: z.boolean().default(false),
    /** One per address: an index into `attributes`, or null when free. */
    allocations: z.array(z.int().min(0).nullable()),
    /** Free ordinals in the order in which they will be used. */
    unallocated: z.array(z.int().min(0)),
    attributes: z.array(
      z.looseObject({
        handle_id: z.string().optional(),
        secondary: z.record(z.string(), z.string()).optional(),
      }),
    ),
    sequenceNumber: int64Field.optional(),
    sequenceNumberForAllocation: z.record(z.string(), int64Field).optional(),
    deleted: z.boolean().default(false),
  }),
})

export const blockAffinity = z.looseObject({
  metadata: objectMeta,
  spec: z.looseObject({
    state: z.enum(['pending', 'confirmed', 'pendingDeletion']),
    node: z.string(),
    type: z.enum(['host', 'virtual']).default('host'),
    cidr: blockCidrField,
    deleted: z.boolean().default(false),
  }),
})

/** `optional` is read by nobody: who names a password has no session without it. */
const secretKeyRef = z.looseObject({
  secretKeyRef: z
    .looseObject({ name: z.string().default(''), key: z.string(), optional: z.boolean().default(false) })
    .optional(),
})

const community = z.string().refine(isCommunity, 'must be a community such as 65001:100 or 65001:1:2')

/** Texts of any form: what makes no sense must not refuse the AS number beside it. */
const serviceRanges = z.array(z.looseObject({ cidr: z.string().optional() })).optional()

/** Which routes to other nodes one of Calico's two programs writes. Absent: BIRD those of pools without tunnels, Felix those of IP-in-IP. */
const programClusterRoutes = z.enum(['Enabled', 'Disabled', 'EnabledIPIPOnly', 'EnabledNoEncapOnly']).optional()

export const bgpConfiguration = z.looseObject({
  metadata: objectMeta,
  spec: z
    .looseObject({
      asNumber: asNumberField.default(64512),
      nodeToNodeMeshEnabled: z.boolean().default(true),
      /** Absent: 179; in an object for one node: that of the cluster. */
      listenPort: z.int().min(1).max(65535).optional(),
      /** None: at every address of the machine. Absent: NodeIP, or that of the cluster. */
      bindMode: z.enum(['None', 'NodeIP']).optional(),
      programClusterRoutes,
      /** Absent: 1024. */
      ipv4NormalRoutePriority: z.int().min(1).max(2147483646).optional(),
      ipv6NormalRoutePriority: z.int().min(1).max(2147483646).optional(),
      /** Where pods that are BGP peers of their node find it, on every node. */
      localWorkloadPeeringIPV4: z.union([z.literal(''), addressField]).optional(),
      localWorkloadPeeringIPV6: z.union([z.literal(''), addressField]).optional(),
      logSeverityScreen: z.string().default('Info'),
      nodeMeshPassword: secretKeyRef.optional(),
      nodeMeshMaxRestartTime: durationField.optional(),
      /** Names for communities. */
      communities: z.array(z.looseObject({ name: z.string().min(1), value: community })).optional(),
      /** The communities, by name or as they are, of announced prefixes inside a CIDR. */
      prefixAdvertisements: z.array(z.looseObject({ cidr: cidrField, communities: z.array(z.string()) })).optional(),
      /** Where Services have addresses that are announced: CIDRs, or single addresses. */
      serviceClusterIPs: serviceRanges,
      serviceExternalIPs: serviceRanges,
      serviceLoadBalancerIPs: serviceRanges,
      /** Whether ranges of LoadBalancers are announced as they are, and not address by address. */
      serviceLoadBalancerAggregation: z.enum(['Enabled', 'Disabled']).default('Enabled'),
    })
    .superRefine(({ communities = [], prefixAdvertisements = [] }, context) => {
      const names = new Set(communities.map(({ name }) => name))
      for (const [i, { communities: asked }] of prefixAdvertisements.entries())
        for (const [j, text] of asked.entries())
          if (!names.has(text) && !isCommunity(text))
            context.addIssue({
              code: 'custom',
              path: ['prefixAdvertisements', i, 'communities', j],
              message: 'is neither a name in communities nor a community such as 65001:100',
            })
    }),
})

export const bgpPeer = z.looseObject({
  metadata: objectMeta,
  spec: z
    .looseObject({
      node: z.string().optional(),
      nodeSelector: selectorField.optional(),
      /** `ip` or `ip:port` (`[ip]:port` for IPv6). */
      peerIP: peerAddressField.optional(),
      peerSelector: selectorField.optional(),
      /** Pods of the node itself. */
      localWorkloadSelector: selectorField.optional(),
      asNumber: asNumberField.optional(),
      localASNumber: asNumberField.optional(),
      nextHopMode: z.enum(['Auto', 'Self', 'Keep']).optional(),
      keepOriginalNextHop: z.boolean().optional(),
      password: secretKeyRef.optional(),
      sourceAddress: z.enum(['UseNodeIP', 'None']).default('UseNodeIP'),
      maxRestartTime: durationField.optional(),
      keepaliveTime: durationField.optional(),
      numAllowedLocalASNumbers: z.int().min(0).optional(),
      ttlSecurity: z.int().min(1).max(255).optional(),
      reachableBy: z.union([z.literal(''), addressField]).optional(),
      /** Manual: the nodes that are selected or named have the session by another object. Absent: Auto. */
      reversePeering: z.enum(['Auto', 'Manual']).optional(),
      filters: z.array(z.string()).optional(),
    })
    .superRefine((spec, context) => {
      const refuse = (field: string, message: string): void => {
        context.addIssue({ code: 'custom', path: [field], message })
      }
      if (spec.node !== undefined && spec.nodeSelector !== undefined)
        refuse('nodeSelector', 'node and nodeSelector cannot both be used')
      if (spec.peerIP !== undefined && spec.peerSelector !== undefined)
        refuse('peerSelector', 'peerIP and peerSelector cannot both be used')
      if (spec.asNumber !== undefined && spec.peerSelector !== undefined)
        refuse('asNumber', 'comes from the selected nodes when peerSelector is used')
      if (spec.localWorkloadSelector !== undefined)
        for (const field of ['peerIP', 'peerSelector'] as const)
          if (spec[field] !== undefined) refuse(field, 'localWorkloadSelector and another peer cannot both be used')
      if (spec.localWorkloadSelector !== undefined && spec.asNumber === undefined)
        refuse('asNumber', 'is needed when localWorkloadSelector is used')
      if (spec.keepOriginalNextHop === true && spec.nextHopMode !== undefined)
        refuse('nextHopMode', 'nextHopMode replaces keepOriginalNextHop: use one')
    }),
})

/** A port of hosts that stays open. `net` empty or absent: to everybody. Without a protocol it is TCP's. */
const openPort = z.looseObject({
  protocol: numberOrTextField.optional(),
  port: z.int().min(0).max(65535),
  net: rangeOrNoneField.optional(),
})

export const felixConfiguration = z.looseObject({
  metadata: objectMeta,
  spec: z.looseObject({
    interfacePrefix: z.string().default('cali'),
    programClusterRoutes,
    routeRefreshInterval: durationField.default('90s'),
    /** Absent or 0: what the uplink leaves; absent in an object for one node: that of the cluster. */
    ipipMTU: z.int().min(0).optional(),
    vxlanMTU: z.int().min(0).optional(),
    vxlanMTUV6: z.int().min(0).optional(),
    vxlanPort: z.int().min(1).max(65535).default(4789),
    vxlanVNI: z.int().min(1).max(16777215).default(4096),
    /** Absent: 3, or that of the cluster. */
    deviceRouteProtocol: z.int().min(0).max(255).optional(),
    removeExternalRoutes: z.boolean().default(true),
    /** Absent: IPPoolsOnly, or that of the cluster. */
    natOutgoingExclusions: z.enum(['IPPoolsOnly', 'IPPoolsAndHostIPs']).optional(),
    /** 0 or absent: any port. */
    natPortRange: portRangeField.optional(),
    /** IPv4. Empty or absent: the address of the interface that a packet leaves by. */
    natOutgoingAddress: ipv4OrNoneField.optional(),
    /** Absent: Calico's, or those of the cluster; an empty list: none. */
    failsafeInboundHostPorts: z.array(openPort).optional(),
    failsafeOutboundHostPorts: z.array(openPort).optional(),
    /** Absent: Accept, or that of the cluster. */
    defaultEndpointToHostAction: z.string().optional(),
    /** Anything but Any, and absent: Disabled, or that of the cluster. */
    workloadSourceSpoofing: z.string().optional(),
    floatingIPs: z.string().optional(),
    /** Absent or empty: Drop. */
    serviceLoopPrevention: z.string().optional(),
    /** Absent: Disabled. */
    nftablesFlowTableOffload: z.enum(['All', 'Disabled']).optional(),
    /** A regular expression. */
    nftablesFlowTableDataIfacePattern: z.string().max(1024).optional(),
    /** Absent: that of the program's option, or of the cluster. */
    logSeverityScreen: z.string().optional(),
    /** `10/second`. Absent, or of no such form: 100/second with a burst of 100. */
    logActionRateLimit: z.string().optional(),
    /** Absent or 0: 5. */
    logActionRateLimitBurst: z.int().min(0).max(9999).optional(),
    /** Absent: no, or that of the cluster. */
    prometheusMetricsEnabled: z.boolean().optional(),
    /** Empty or absent: all addresses of the machine, or that of the cluster. */
    prometheusMetricsHost: z.string().optional(),
    /** Absent: 9091, or that of the cluster; 0: none. */
    prometheusMetricsPort: z.int().min(0).max(65535).optional(),
    prometheusProcessMetricsEnabled: z.boolean().optional(),
    prometheusGoMetricsEnabled: z.boolean().optional(),
    prometheusWireGuardMetricsEnabled: z.boolean().optional(),
    prometheusMetricsCAFile: z.string().optional(),
    prometheusMetricsCertFile: z.string().optional(),
    prometheusMetricsKeyFile: z.string().optional(),
    prometheusMetricsClientAuth: z.string().optional(),
  }),
})

/** Of policies, and of what they name: agent/cluster/policies reads each part by its own schema (policy-parts.ts). */
export const anyPolicy = z.looseObject({
  metadata: objectMeta,
  spec: z.looseObject({}).default({}),
  status: z.looseObject({}).optional(),
})

/** Of kinds that nothing here acts on: their shape (api/shapes) says what they may have. */
export const anySpec = z.looseObject({
  metadata: objectMeta,
  spec: z.looseObject({}),
  status: z.looseObject({}).optional(),
})

export const calicoNodeStatus = z.looseObject({
  metadata: objectMeta,
  spec: z.looseObject({
    node: z.string().default(''),
    classes: z.array(z.string()).default([]),
    updatePeriodSeconds: z.int().optional(),
  }),
  status: z.looseObject({ lastUpdated: z.string().optional() }).optional(),
})

export const clusterInformation = z.looseObject({
  metadata: objectMeta,
  spec: z.looseObject({
    clusterGUID: z.string().optional(),
    clusterType: z.string().optional(),
    calicoVersion: z.string().optional(),
    datastoreReady: z.boolean().default(true),
  }),
})

export const workloadEndpoint = z.looseObject({
  metadata: objectMeta,
  spec: z.looseObject({
    orchestrator: z.string(),
    workload: z.string().optional(),
    node: z.string(),
    containerID: z.string().optional(),
    pod: z.string().optional(),
    endpoint: z.string(),
    ipNetworks: z.array(cidrField).default([]),
    profiles: z.array(z.string()).default([]),
    interfaceName: z.string(),
    mac: z.string().optional(),
  }),
})

const period = z.looseObject({ reconcilerPeriod: durationField.optional() })
const isRange = (text: string): boolean => (text.includes('/') ? parseCidr(text) : parseAddress(text)) !== undefined

/** The HostEndpoints that are made for Nodes. */
const hostEndpoint = z.looseObject({
  autoCreate: z.enum(['Enabled', 'Disabled']).default('Disabled'),
  /** One for all interfaces of a node. */
  createDefaultHostEndpoint: z.enum(['Enabled', 'Disabled', '']).default('Enabled'),
  templates: z
    .array(
      z.looseObject({
        generateName: z
          .string()
          .refine(text => text === '' || isObjectName(text), 'must be lower-case letters, digits, - and .')
          .optional(),
        nodeSelector: selectorField.default(''),
        interfaceCIDRs: z.array(z.string().refine(isRange, 'must be a CIDR or an address')).default([]),
        interfacePattern: z.string().optional(),
        labels: z.record(z.string().refine(isQualifiedName), z.string().refine(isLabelValue)).default({}),
        annotations: z.record(z.string().refine(isQualifiedName), z.string()).default({}),
      }),
    )
    .default([]),
})

export const kubeControllersConfiguration = z.looseObject({
  metadata: objectMeta,
  spec: z.looseObject({
    controllers: z
      .looseObject({
        node: period
          .extend({
            /** How long a Node must be gone before its blocks are freed; 0: they never are. */
            leakGracePeriod: durationField.optional(),
            syncLabels: z.enum(['Enabled', 'Disabled']).default('Enabled'),
            hostEndpoint: hostEndpoint.optional(),
          })
          .optional(),
        policy: period.optional(),
        workloadEndpoint: period.optional(),
        serviceAccount: period.optional(),
        namespace: period.optional(),
        loadBalancer: z
          .looseObject({ assignIPs: z.enum(['AllServices', 'RequestedServicesOnly']).default('AllServices') })
          .optional(),
        migration: z.looseObject({}).optional(),
      })
      .default({}),
    logSeverityScreen: z.string().default('Info'),
    healthChecks: z.enum(['Enabled', 'Disabled']).default('Enabled'),
    prometheusMetricsPort: z.int().min(0).max(65535).optional(),
    etcdV3CompactionPeriod: durationField.optional(),
    debugProfilePort: z.int().min(0).max(65535).optional(),
  }),
})
