// The Kubernetes kinds that Margay reads, as far as it reads them; policies are in policy-parts.ts. Everything else in them is
// kept as it came.
import * as z from 'zod'
import { condition, objectMeta } from './meta.ts'

export const node = z.looseObject({
  metadata: objectMeta,
  spec: z.looseObject({ podCIDR: z.string().optional(), podCIDRs: z.array(z.string()).optional() }).default({}),
  status: z
    .looseObject({ addresses: z.array(z.looseObject({ type: z.string(), address: z.string() })).optional() })
    .optional(),
})

const container = z.looseObject({
  ports: z
    .array(z.looseObject({ name: z.string().optional(), containerPort: z.int(), protocol: z.string().optional() }))
    .optional(),
})

export const pod = z.looseObject({
  metadata: objectMeta,
  spec: z
    .looseObject({
      nodeName: z.string().optional(),
      hostNetwork: z.boolean().optional(),
      serviceAccountName: z.string().optional(),
      containers: z.array(container).optional(),
      /** Those that go on running beside the others (`restartPolicy: Always`) have ports too. */
      initContainers: z.array(container).optional(),
    })
    .default({}),
  status: z
    .looseObject({
      phase: z.string().optional(),
      podIP: z.string().optional(),
      podIPs: z.array(z.looseObject({ ip: z.string() })).optional(),
    })
    .optional(),
})

export const namespace = z.looseObject({
  metadata: objectMeta,
  spec: z.looseObject({}).optional(),
  status: z.looseObject({ phase: z.string().optional() }).optional(),
})

/** Values are base64; what is written as plain text in `stringData` becomes one of them, as Kubernetes has it. */
export const secret = z
  .looseObject({
    metadata: objectMeta,
    type: z.string().default('Opaque'),
    data: z.record(z.string(), z.string()).optional(),
    stringData: z.record(z.string(), z.string()).optional(),
  })
  .overwrite(object => {
    const { stringData, ...rest } = object
    if (stringData === undefined) return object
    const encoded = Object.entries(stringData).map(([key, text]) => [key, Buffer.from(text).toString('base64')])
    return {
      ...rest,
      metadata: object.metadata,
      type: object.type,
      data: { ...object.data, ...Object.fromEntries(encoded) },
    }
  })

export const serviceAccount = z.looseObject({ metadata: objectMeta })

export const service = z.looseObject({
  metadata: objectMeta,
  spec: z
    .looseObject({
      type: z.string().default('ClusterIP'),
      /** `None`, or empty: it has no address. */
      clusterIP: z.string().optional(),
      /** `clusterIP`, and the one of the other family. */
      clusterIPs: z.array(z.string()).optional(),
      externalIPs: z.array(z.string()).optional(),
      /** Whether a node takes what comes from outside for endpoints of all nodes (`Cluster`, or absent) or for its own alone (`Local`). */
      externalTrafficPolicy: z.string().optional(),
      loadBalancerIP: z.string().optional(),
      loadBalancerClass: z.string().optional(),
      ipFamilies: z.array(z.enum(['IPv4', 'IPv6'])).optional(),
      ipFamilyPolicy: z.string().optional(),
      selector: z.record(z.string(), z.string()).optional(),
      ports: z.array(z.looseObject({ port: z.int(), protocol: z.string().optional() })).optional(),
    })
    .prefault({}),
  status: z
    .looseObject({
      loadBalancer: z
        .looseObject({
          ingress: z.array(z.looseObject({ ip: z.string().optional(), ipMode: z.string().optional() })).optional(),
        })
        .optional(),
      conditions: z.array(condition).optional(),
    })
    .optional(),
})

/** Of an endpoint. Absent or null stands for ready, for serving as it is ready, and for not terminating. */
const endpointConditions = z.looseObject({
  ready: z.boolean().nullish(),
  serving: z.boolean().nullish(),
  terminating: z.boolean().nullish(),
})

/** Some of the addresses behind a Service, which the label SERVICE_NAME names. */
export const endpointSlice = z.looseObject({
  metadata: objectMeta,
  addressType: z.string(),
  endpoints: z
    .array(
      z.looseObject({
        addresses: z.array(z.string()).optional(),
        conditions: endpointConditions.nullish(),
        nodeName: z.string().nullish(),
      }),
    )
    .optional(),
  ports: z.array(z.looseObject({ port: z.int().optional(), protocol: z.string().optional() })).optional(),
})

export const SERVICE_NAME = 'kubernetes.io/service-name'

/** Who leads a group of programs. Times are RFC 3339 with six digits after the point, the only form that Kubernetes takes. */
export const lease = z.looseObject({
  metadata: objectMeta,
  spec: z
    .looseObject({
      holderIdentity: z.string().optional(),
      leaseDurationSeconds: z.int().min(1).optional(),
      acquireTime: z.string().optional(),
      renewTime: z.string().optional(),
      leaseTransitions: z.int().min(0).optional(),
    })
    .default({}),
})

/**
 * Annotations of a Pod with the prefix of Calico's CNI plugin. It notes the addresses of a Pod, before a kubelet does: the first one,
 * and all, joined by commas. Both are empty once a pod that is being deleted has lost them.
 */
export const POD_ANNOTATION = {
  address: 'cni.projectcalico.org/podIP',
  addresses: 'cni.projectcalico.org/podIPs',
  /** What people write: other sources that the pod may send under, a list of CIDRs in JSON. */
  allowedSources: 'cni.projectcalico.org/allowedSourcePrefixes',
  /** What people write: floating addresses that lead to the pod, a list in JSON. */
  floatingAddresses: 'cni.projectcalico.org/floatingIPs',
  /** Of the copy of a static pod: the uid that its kubelet and its CNI plugins know it by. */
  staticUid: 'kubernetes.io/config.mirror',
} as const

/** What a Pod may ask of its packets, as Calico names it (3.31). */
export const QOS_ANNOTATION = {
  ingressPacketRate: 'qos.projectcalico.org/ingressPacketRate',
  egressPacketRate: 'qos.projectcalico.org/egressPacketRate',
  ingressPacketBurst: 'qos.projectcalico.org/ingressPacketBurst',
  egressPacketBurst: 'qos.projectcalico.org/egressPacketBurst',
  ingressMaxConnections: 'qos.projectcalico.org/ingressMaxConnections',
  egressMaxConnections: 'qos.projectcalico.org/egressMaxConnections',
  dscp: 'qos.projectcalico.org/dscp',
  ingressBandwidth: 'qos.projectcalico.org/ingressBandwidth',
  egressBandwidth: 'qos.projectcalico.org/egressBandwidth',
  ingressBurst: 'qos.projectcalico.org/ingressBurst',
  egressBurst: 'qos.projectcalico.org/egressBurst',
  ingressPeakrate: 'qos.projectcalico.org/ingressPeakrate',
  egressPeakrate: 'qos.projectcalico.org/egressPeakrate',
  ingressMinburst: 'qos.projectcalico.org/ingressMinburst',
  egressMinburst: 'qos.projectcalico.org/egressMinburst',
} as const

/** Those of Kubernetes, which the plugin `bandwidth` of a chain reads too. */
export const BANDWIDTH_ANNOTATION = {
  ingress: 'kubernetes.io/ingress-bandwidth',
  egress: 'kubernetes.io/egress-bandwidth',
} as const

/** Annotations of a core Node that carry Calico's node data (prefix `projectcalico.org/`). */
export const NODE_ANNOTATION = {
  ipv4Address: 'projectcalico.org/IPv4Address',
  ipv6Address: 'projectcalico.org/IPv6Address',
  ipipTunnelAddress: 'projectcalico.org/IPv4IPIPTunnelAddr',
  vxlanTunnelAddress: 'projectcalico.org/IPv4VXLANTunnelAddr',
  vxlanTunnelAddressV6: 'projectcalico.org/IPv6VXLANTunnelAddr',
  vxlanTunnelMac: 'projectcalico.org/VXLANTunnelMACAddr',
  asNumber: 'projectcalico.org/ASNumber',
  /** When the node's agent last saw another Node claim an address that it has itself: RFC 3339. */
  addressConfirmed: 'margay.io/AddressConfirmed',
  routeReflectorClusterId: 'projectcalico.org/RouteReflectorClusterID',
  /** `true`: peers are asked to take other paths than those by this node (`margayctl node drain-bgp`). */
  drainBgp: 'margay.io/DrainBGP',
  /** Where other nodes send path probes to: an address of the node's blocks, of each family. Absent: they send none. */
  probeAddress: 'margay.io/ProbeAddress',
  probeAddressV6: 'margay.io/ProbeAddressV6',
} as const

/** Annotations of FelixConfiguration: settings that Calico has no field for. What people write begins with the API group, `margay.io/`. */
export const FELIX_ANNOTATION = {
  /** Whose answers about names of domains are believed, in Calico Enterprise's words for `dnsTrustedServers`, with commas between. */
  dnsTrustedServers: 'margay.io/DNSTrustedServers',
  /** What becomes of established connections that policies deny now: anything but `Keep` cuts them. */
  establishedConnections: 'margay.io/EstablishedConnections',
  /** `Disabled`: nodes send no path probes, answer none, and have no address for them. */
  probes: 'margay.io/Probes',
} as const

/** Annotations of BGPPeer, and of BGPConfiguration for the mesh: settings that Calico has no field for. */
export const BGP_ANNOTATION = {
  /** BFD beside the sessions, such as `300ms x 3`, with the words `multihop` and `secret=NAME/KEY` after it. */
  bfd: 'margay.io/BFD',
  /** Of a BGPPeer without peerIP: the interface on whose link its peer is, found by its router advertisements (RFC 4861). */
  interface: 'margay.io/Interface',
  /** Of a BGPPeer without peerIP: the prefix from which any router may connect, and how many at most, such as `192.0.2.0/24 limit=100`. */
  range: 'margay.io/Range',
  /** Keys of TCP-AO from Secrets, such as `2=NAME/KEY 1=NAME/KEY:aes-128-cmac`, the one first that the peer is asked to sign with. */
  tcpAo: 'margay.io/TCPAO',
  /** Of BGPConfiguration `default`: which equal paths nodes use together, such as `paths=8 of=merge`, or `off`. */
  multipath: 'margay.io/Multipath',
  /** Of BGPConfiguration `default`: the key of a label of Nodes, whose value is the AS number of those without an annotation for it. */
  asNumberLabel: 'margay.io/ASNumberLabel',
  /** Of BGPConfiguration `default`: above how many nodes some reflect for all, such as `above=100, per-rack=2, label=KEY`. */
  autoReflectors: 'margay.io/AutoReflectors',
} as const
