// The Kubernetes kinds that Margay reads: Node, Pod, Namespace and Lease, as far as it reads them. Everything else in
// them is kept as it came.
import * as z from 'zod'
import { objectMeta } from './meta.ts'

export const node = z.looseObject({
  metadata: objectMeta,
  spec: z.looseObject({ podCIDR: z.string().optional() }).default({}),
  status: z
    .looseObject({ addresses: z.array(z.looseObject({ type: z.string(), address: z.string() })).optional() })
    .optional(),
})

export const pod = z.looseObject({
  metadata: objectMeta,
  spec: z.looseObject({ nodeName: z.string().optional(), hostNetwork: z.boolean().optional() }).default({}),
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

/** Annotations of a core Node that carry Calico's node data (prefix `projectcalico.org/`). */
export const NODE_ANNOTATION = {
  ipv4Address: 'projectcalico.org/IPv4Address',
  ipv6Address: 'projectcalico.org/IPv6Address',
  ipipTunnelAddress: 'projectcalico.org/IPv4IPIPTunnelAddr',
  vxlanTunnelAddress: 'projectcalico.org/IPv4VXLANTunnelAddr',
  vxlanTunnelMac: 'projectcalico.org/VXLANTunnelMACAddr',
  asNumber: 'projectcalico.org/ASNumber',
  /** When the node's agent last saw another Node claim an address that it has itself: RFC 3339. */
  addressConfirmed: 'margay.io/AddressConfirmed',
  routeReflectorClusterId: 'projectcalico.org/RouteReflectorClusterID',
} as const
