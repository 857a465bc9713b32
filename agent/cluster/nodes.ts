// What this program uses of a Node object, read once per change: addresses and AS number of its annotations, parsed. An
// annotation that cannot be read is refused with a reason and treated as absent; it never stops another node. Pure.
import { NODE_ANNOTATION } from '../../api/core.ts'
import { asNumberField } from '../../api/fields.ts'
import type { Resource } from '../../api/kinds.ts'
import { broken, type Condition } from '../../api/status.ts'
import type { RemoteNode } from '../../felix/input.ts'
import { isHostAddress, parseAddress, parseCidr } from '../../lib/ip.ts'

export type NodeFacts = {
  name: string
  labels: Readonly<Record<string, string>>
  /** The BGP address without its mask; absent while the node's agent has not published one. */
  address?: string
  /** Absent: the cluster's. */
  asn?: number
  /** A route reflector: it takes no part in the mesh. */
  reflector: boolean
  ipipTunnelAddress?: string
  vxlanTunnelAddress?: string
  vxlanTunnelMac?: string
}

type AnnotationName = keyof typeof NODE_ANNOTATION

/** The facts of a Node object, and one condition for each annotation that cannot be read. */
export function nodeFacts({ metadata }: Resource<'Node'>): { facts: NodeFacts; refused: Condition[] } {
  const { name, labels = {}, annotations = {} } = metadata
  const refused: Condition[] = []
  const read = <T>(annotation: AnnotationName, what: string, parse: (text: string) => T | undefined): T | undefined => {
    const text = annotations[NODE_ANNOTATION[annotation]]
    if (text === undefined) return undefined
    const value = parse(text)
    if (value === undefined) refused.push(unreadable(name, NODE_ANNOTATION[annotation], text, what))
    return value
  }
  const facts: NodeFacts = {
    name,
    labels,
    address: read('ipv4Address', 'the address of a host, with or without a mask', hostAddress),
    asn: read('asNumber', 'an AS number', text => asNumberField.safeParse(text).data),
    reflector: annotations[NODE_ANNOTATION.routeReflectorClusterId] !== undefined,
    ipipTunnelAddress: read('ipipTunnelAddress', 'an address', parseAddress),
    vxlanTunnelAddress: read('vxlanTunnelAddress', 'an address', parseAddress),
    vxlanTunnelMac: read('vxlanTunnelMac', 'a MAC address', macAddress),
  }
  return { facts, refused }
}

/** What felix is told of another node; undefined while it has no address. */
export function remoteNode({
  name,
  address,
  ipipTunnelAddress,
  vxlanTunnelAddress,
  vxlanTunnelMac,
}: NodeFacts): RemoteNode | undefined {
  if (address === undefined) return undefined
  return { name, address, ipipTunnelAddress, vxlanTunnelAddress, vxlanTunnelMac }
}

/** An address that a host can have, with or without a mask. */
function hostAddress(text: string): string | undefined {
  if (text.includes('/') && parseCidr(text) === undefined) return undefined
  const address = parseAddress(text.split('/')[0]!)
  return address !== undefined && isHostAddress(address) ? address : undefined
}

function macAddress(text: string): string | undefined {
  return /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text) ? text.toLowerCase() : undefined
}

function unreadable(name: string, annotation: string, text: string, what: string): Condition {
  return broken('NodesReadable', {
    reason: 'BadAnnotation',
    message: `annotation ${annotation} of Node ${name} is ${JSON.stringify(text)}, which is not ${what}; it is not used`,
    remedy: `correct or remove the annotation ${annotation}`,
    object: { kind: 'Node', name },
  })
}
