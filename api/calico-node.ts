// Calico's Node has its BGP data in the spec; in Kubernetes' Node, the only one here, they are annotations. margayctl
// translates; the API server refuses, since whoever wrote the field would find it kept and without effect.
import { NODE_ANNOTATION } from './core.ts'
import { asNumberField } from './fields.ts'
import { isObject } from './merge-patch.ts'
import { MEANINGS } from './shapes/meanings.ts'
import type { Problem } from './validate.ts'

const ANNOTATION_OF: Readonly<Record<string, string>> = {
  'spec.bgp.asNumber': NODE_ANNOTATION.asNumber,
  'spec.bgp.ipv4Address': NODE_ANNOTATION.ipv4Address,
  'spec.bgp.ipv6Address': NODE_ANNOTATION.ipv6Address,
  'spec.bgp.ipv4IPIPTunnelAddr': NODE_ANNOTATION.ipipTunnelAddress,
  'spec.bgp.routeReflectorClusterID': NODE_ANNOTATION.routeReflectorClusterId,
  'spec.ipv4VXLANTunnelAddr': NODE_ANNOTATION.vxlanTunnelAddress,
  'spec.vxlanTunnelMACAddr': NODE_ANNOTATION.vxlanTunnelMac,
}
/** What is wrong with the value of a field; undefined when nothing is. */
const FAULT_OF: Readonly<Record<string, (text: string) => string | undefined>> = {
  'spec.bgp.asNumber': text => asNumberField.safeParse(text).error?.issues[0]?.message,
  'spec.bgp.ipv4Address': MEANINGS.rangeV4,
  'spec.bgp.ipv6Address': MEANINGS.rangeV6,
  'spec.bgp.ipv4IPIPTunnelAddr': MEANINGS.addressV4,
  'spec.bgp.routeReflectorClusterID': MEANINGS.addressV4,
  'spec.ipv4VXLANTunnelAddr': MEANINGS.addressV4,
  'spec.vxlanTunnelMACAddr': MEANINGS.mac,
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
  const annotations = leaves.flatMap(({ name, value }) =>
    name === undefined ? [] : [[name, value === null ? null : String(value)] as const],
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

function leafProblems({ path, name, value }: Leaf): Problem[] {
  if (name === undefined) return [{ path, message: NO_PLACE }]
  // a patch takes a field away with null
  const message = value === null || value === '' ? undefined : FAULT_OF[path]?.(String(value))
  return message === undefined ? [] : [{ path, message }]
}

const NO_PLACE = "is a field of Calico's Node that has no effect here: leave it out"

/** The problems of a Node, or of a patch of one, that has Calico's fields: each with what to write instead. */
export function calicoNodeProblems(node: unknown): Problem[] {
  return calicoLeaves(node).map(({ path, name }) => {
    if (name === undefined) return { path, message: NO_PLACE }
    return { path, message: `is a field of Calico's Node: set the annotation ${name}, or write it with margayctl` }
  })
}

type Leaf = { path: string; value: unknown; name: string | undefined }

function calicoLeaves(node: unknown): Leaf[] {
  if (!isObject(node) || !isObject(node['spec'])) return []
  const leaf = (path: string, value: unknown): Leaf => ({
    ...{ path, value },
    name: Object.hasOwn(ANNOTATION_OF, path) ? ANNOTATION_OF[path] : undefined,
  })
  return Object.entries(node['spec'])
    .filter(([field]) => FIELDS.includes(field))
    .flatMap(([field, value]) =>
      isObject(value)
        ? Object.entries(value).map(([key, inner]) => leaf(`spec.${field}.${key}`, inner))
        : [leaf(`spec.${field}`, value)],
    )
}
