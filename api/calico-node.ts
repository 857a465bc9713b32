// Calico's Node has its BGP data in the spec; in Kubernetes' Node, the only one here, they are annotations. margayctl
// translates; the API server refuses, since whoever wrote the field would find it kept and without effect.
import { NODE_ANNOTATION } from './core.ts'
import { asNumberField } from './fields.ts'
import { isObject } from './merge-patch.ts'
import { MEANINGS } from './shapes/meanings.ts'
import type { Problem } from './validate.ts'

/** By field: the annotation in its place, and what is wrong with a value; undefined when nothing is. */
const ANNOTATIONS: Readonly<Record<string, { name: string; fault: (text: string) => string | undefined }>> = {
  'spec.bgp.asNumber': {
    name: NODE_ANNOTATION.asNumber,
    fault: text => asNumberField.safeParse(text).error?.issues[0]?.message,
  },
  'spec.bgp.ipv4Address': { name: NODE_ANNOTATION.ipv4Address, fault: MEANINGS.rangeV4 },
  'spec.bgp.ipv6Address': { name: NODE_ANNOTATION.ipv6Address, fault: MEANINGS.rangeV6 },
  'spec.bgp.ipv4IPIPTunnelAddr': { name: NODE_ANNOTATION.ipipTunnelAddress, fault: MEANINGS.addressV4 },
  'spec.bgp.routeReflectorClusterID': { name: NODE_ANNOTATION.routeReflectorClusterId, fault: MEANINGS.addressV4 },
  'spec.ipv4VXLANTunnelAddr': { name: NODE_ANNOTATION.vxlanTunnelAddress, fault: MEANINGS.addressV4 },
  'spec.ipv6VXLANTunnelAddr': { name: NODE_ANNOTATION.vxlanTunnelAddressV6, fault: MEANINGS.addressV6 },
  'spec.vxlanTunnelMACAddr': { name: NODE_ANNOTATION.vxlanTunnelMac, fault: MEANINGS.mac },
}
const FIELDS = [
  ...['bgp', 'ipv4VXLANTunnelAddr', 'vxlanTunnelMACAddr', 'ipv6VXLANTunnelAddr', 'vxlanTunnelMACAddrV6'],
  ...['orchRefs', 'wireguard', 'addresses'],
]

/** A Node, or a patch of one, in Kubernetes' form. `problems` are Calico's fields that have no place there, or a wrong value. */
export function fromCalicoNode(node: Record<string, unknown>): {
  node: Record<string, unknown>
  problems: Problem[]
} {
  const leaves = calicoLeaves(node)
  if (isObject(node['spec']) && isObject(node['spec']['bgp']) && Object.keys(node['spec']['bgp']).length === 0)
    return { node, problems: [{ path: 'spec.bgp', message: 'must not be empty: leave it out' }] }
  if (leaves.length === 0) return { node, problems: [] }
  const spec = Object.entries(node['spec'] as object).filter(([field]) => !FIELDS.includes(field))
  const metadata = isObject(node['metadata']) ? node['metadata'] : {}
  const annotations = leaves.flatMap(({ annotation, value }) =>
    annotation === undefined ? [] : [[annotation.name, value === null ? null : String(value)] as const],
  )
  const all = {
    ...(isObject(metadata['annotations']) ? metadata['annotations'] : {}),
    ...Object.fromEntries(annotations),
  }
  return {
    node: { ...node, metadata: { ...metadata, annotations: all }, spec: Object.fromEntries(spec) },
    problems: leaves.flatMap(leafProblems),
  }
}

function leafProblems({ path, annotation, value }: Leaf): Problem[] {
  if (annotation === undefined) return [{ path, message: NO_PLACE }]
  // a patch takes a field away with null
  const message = value === null || value === '' ? undefined : annotation.fault(String(value))
  return message === undefined ? [] : [{ path, message }]
}

const NO_PLACE = "is a field of Calico's Node that has no effect here: leave it out"

/** The problems of a Node, or of a patch of one, that has Calico's fields: each with what to write instead. */
export function calicoNodeProblems(node: unknown): Problem[] {
  return calicoLeaves(node).map(({ path, annotation }) => {
    if (annotation === undefined) return { path, message: NO_PLACE }
    return {
      path,
      message: `is a field of Calico's Node: set the annotation ${annotation.name}, or write it with margayctl`,
    }
  })
}

type Leaf = { path: string; value: unknown; annotation: (typeof ANNOTATIONS)[string] | undefined }

function calicoLeaves(node: unknown): Leaf[] {
  if (!isObject(node) || !isObject(node['spec'])) return []
  const leaf = (path: string, value: unknown): Leaf => ({
    ...{ path, value },
    annotation: Object.hasOwn(ANNOTATIONS, path) ? ANNOTATIONS[path] : undefined,
  })
  return Object.entries(node['spec'])
    .filter(([field]) => FIELDS.includes(field))
    .flatMap(([field, value]) =>
      isObject(value)
        ? Object.entries(value).map(([key, inner]) => leaf(`spec.${field}.${key}`, inner))
        : [leaf(`spec.${field}`, value)],
    )
}
