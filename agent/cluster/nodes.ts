// What this program uses of a Node object, read once per change: addresses and AS number of its annotations, parsed. An
// annotation that cannot be read is refused with a reason, and what it said when it could be read is kept: a wrong value
// never takes a good route away, and never stops another node. Pure.
import { createHash } from 'node:crypto'
import { NODE_ANNOTATION } from '../../api/core.ts'
import { asNumberField } from '../../api/fields.ts'
import type { Resource } from '../../api/kinds.ts'
import { broken, type Condition } from '../../api/status.ts'
import type { RemoteNode } from '../../felix/input.ts'
import {
  addressBits,
  type Family,
  familyOf,
  isHostAddress,
  isLinkLocal,
  isLoopback,
  parseAddress,
  parseCidr,
} from '../../lib/ip.ts'

export type NodeFacts = {
  name: string
  labels: Readonly<Record<string, string>>
  /** The IPv4 address for BGP, without its mask; absent while the node's agent has not published one, and where it has none. */
  address?: string
  /** The same for IPv6. */
  ipv6Address?: string
  /** Absent: the cluster's. */
  asn?: number
  /** The cluster id of a route reflector, a dotted quad. Such a node takes no part in the mesh. */
  clusterId?: string
  /** Peers are asked to take other paths than those by this node. */
  drains?: boolean
  ipipTunnelAddress?: string
  vxlanTunnelAddress?: string
  vxlanTunnelAddressV6?: string
  vxlanTunnelMac?: string
  /** Where it answers path probes. */
  probeAddress?: string
  probeAddressV6?: string
  /** When the node's agent confirmed that the addresses are its own, in milliseconds since the epoch. */
  confirmedMs?: number
  /**
   * Of several nodes with one address the first by this text has it: the one whose agent confirmed it last, then the one
   * whose Node object is older.
   */
  precedence: string
}

type AnnotationName = keyof typeof NODE_ANNOTATION

/**
 * The facts of a Node object, and a condition that names every annotation that cannot be read. Of those `before` is
 * kept, the facts of the same Node until now.
 */
export function nodeFacts(
  { metadata }: Resource<'Node'>,
  before?: NodeFacts,
): { facts: NodeFacts; refused: Condition[] } {
  const { name, labels = {}, annotations = {}, creationTimestamp = '' } = metadata
  const unreadable: Unreadable[] = []
  const read = <T>(
    field: AnnotationName,
    kept: T | undefined,
    what: string,
    parse: (text: string) => T | undefined,
  ): T | undefined => {
    const annotation = NODE_ANNOTATION[field]
    const text = annotations[annotation]
    // an annotation without a value is how some programs take it back
    if (text === undefined || text === '') return undefined
    const value = parse(text)
    if (value === undefined) unreadable.push({ annotation, text, what })
    return value ?? kept
  }
  const confirmedMs = read('addressConfirmed', before?.confirmedMs, 'a time such as 2026-01-31T12:00:00Z', timeMs)
  const facts: NodeFacts = {
    name,
    labels,
    confirmedMs,
    precedence: precedence(confirmedMs, timeMs(creationTimestamp)),
    address: read(
      'ipv4Address',
      before?.address,
      'the IPv4 address of a host, with or without a mask',
      hostAddress('ipv4'),
    ),
    ipv6Address: read(
      'ipv6Address',
      before?.ipv6Address,
      'the IPv6 address of a host, with or without a mask',
      hostAddress('ipv6'),
    ),
    asn: read('asNumber', before?.asn, 'an AS number, 1 to 4294967295', text => asNumberField.safeParse(text).data),
    clusterId: read('routeReflectorClusterId', before?.clusterId, 'a cluster id such as 224.0.0.1', dottedQuad),
    drains: read('drainBgp', before?.drains, 'true or false', trueOrFalse),
    ipipTunnelAddress: read('ipipTunnelAddress', before?.ipipTunnelAddress, 'an IPv4 address', plainAddress('ipv4')),
    vxlanTunnelAddress: read('vxlanTunnelAddress', before?.vxlanTunnelAddress, 'an IPv4 address', plainAddress('ipv4')),
    vxlanTunnelAddressV6: read(
      'vxlanTunnelAddressV6',
      before?.vxlanTunnelAddressV6,
      'an IPv6 address',
      plainAddress('ipv6'),
    ),
    vxlanTunnelMac: read('vxlanTunnelMac', before?.vxlanTunnelMac, 'the MAC address of one interface', macAddress),
    probeAddress: read('probeAddress', before?.probeAddress, 'an IPv4 address', plainAddress('ipv4')),
    probeAddressV6: read('probeAddressV6', before?.probeAddressV6, 'an IPv6 address', plainAddress('ipv6')),
  }
  return { facts, refused: unreadable.length === 0 ? [] : [unreadableAnnotations(name, unreadable)] }
}

function trueOrFalse(text: string): boolean | undefined {
  return text === 'true' || (text === 'false' ? false : undefined)
}

/** What felix is told of another node; undefined while it has no address. */
export function remoteNode({
  name,
  address,
  ipv6Address,
  ipipTunnelAddress,
  vxlanTunnelAddress,
  vxlanTunnelAddressV6,
  vxlanTunnelMac,
  precedence,
}: NodeFacts): RemoteNode | undefined {
  if (address === undefined && ipv6Address === undefined) return undefined
  const tunnels = { ipipTunnelAddress, vxlanTunnelAddress, vxlanTunnelAddressV6, vxlanTunnelMac }
  return { name, address, ipv6Address, ...tunnels, precedence }
}

/**
 * The BGP identifier of a node: its IPv4 address, without one the start of a SHA-256 over its name, as Calico makes it where
 * `CALICO_ROUTER_ID` is `hash`. Of the first octet 32 is taken off from 224 on: some speakers take no identifier that would be
 * a multicast address.
 */
export function routerIdOf({ name, address }: Pick<NodeFacts, 'name' | 'address'>): string {
  if (address !== undefined) return address
  const [first = 0, ...others] = createHash('sha256').update(name).digest().subarray(0, 4)
  return [first < 224 ? first : first - 32, ...others].join('.')
}

/** Another Node that has an address or MAC of this node and comes before it. */
export function rivalOf(own: NodeFacts, others: Iterable<NodeFacts>): NodeFacts | undefined {
  const claims = new Set(claimsOf(own))
  for (const other of others)
    if (other.name !== own.name && other.precedence <= own.precedence && claimsOf(other).some(each => claims.has(each)))
      return other
  return undefined
}

/** The addresses and the MAC of a node: each belongs to one node. */
export function claimsOf({
  address,
  ipv6Address,
  ipipTunnelAddress,
  vxlanTunnelAddress,
  vxlanTunnelAddressV6,
  vxlanTunnelMac,
}: NodeFacts): string[] {
  const all = [address, ipv6Address, ipipTunnelAddress, vxlanTunnelAddress, vxlanTunnelAddressV6, vxlanTunnelMac]
  return all.filter(each => each !== undefined)
}

/** Above every time that a date can be. */
const END_MS = 9e15

function precedence(confirmedMs = 0, createdMs = END_MS): string {
  return [END_MS - confirmedMs, createdMs].map(ms => String(ms).padStart(16, '0')).join(' ')
}

/** The end of the year 9999. RFC 3339 has no later year, and what follows a confirmation must still be a time. */
const LATEST_MS = 253_402_300_799_999

function timeMs(text: string): number | undefined {
  const ms = Date.parse(text)
  return Number.isNaN(ms) || ms < 0 || ms > LATEST_MS ? undefined : ms
}

/** When a node that confirms its addresses now does so: now, but after a rival, so that both ends agree who was last. */
export function confirmationMs(nowMs: number, rival: NodeFacts): number {
  return Math.min(LATEST_MS, Math.max(nowMs, (rival.confirmedMs ?? 0) + 1))
}

/** An address of a family that another host can have, with or without a mask. */
function hostAddress(family: Family): (text: string) => string | undefined {
  return text => {
    const slash = text.indexOf('/')
    if (slash >= 0 && parseCidr(text) === undefined) return undefined
    const address = parseAddress(slash < 0 ? text : text.slice(0, slash))
    if (address === undefined || familyOf(address) !== family || !isHostAddress(address)) return undefined
    return isLoopback(address) || isLinkLocal(address) ? undefined : address
  }
}

function plainAddress(family: Family): (text: string) => string | undefined {
  return text => (text.includes('/') ? undefined : hostAddress(family)(text))
}

function dottedQuad(text: string): string | undefined {
  const address = parseAddress(text)
  return address !== undefined && familyOf(address) === 'ipv4' && address !== '0.0.0.0' ? address : undefined
}

/** Not a group address, and not all zeros: as a forwarding entry of VXLAN that would take every unknown frame. */
function macAddress(text: string): string | undefined {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) return undefined
  const mac = text.toLowerCase()
  return mac === '00:00:00:00:00:00' || Number.parseInt(mac.slice(0, 2), 16) & 1 ? undefined : mac
}

type Unreadable = { annotation: string; text: string; what: string }

function unreadableAnnotations(name: string, all: readonly Unreadable[]): Condition {
  const texts = all.map(
    ({ annotation, text, what }) => `annotation ${annotation} is ${JSON.stringify(short(text))}, which is not ${what}`,
  )
  return broken('ObjectsReadable', {
    reason: 'BadAnnotation',
    message: `${texts.join('; ')}; what was there before is used, or nothing`,
    remedy: `correct or remove ${all.map(({ annotation }) => annotation).join(', ')}`,
    object: { kind: 'Node', name },
  })
}

/** An annotation can have 256 KiB; a message must not. */
function short(text: string): string {
  return text.length > 100 ? `${text.slice(0, 100)}…` : text
}

/** Of a node, without those of its tunnels. */
export function addressesOf(facts: NodeFacts | undefined): string[] {
  return [facts?.address, facts?.ipv6Address].filter(address => address !== undefined)
}

/** The node's addresses of both families, with their masks; an annotation that is no address gives none, as for its agent. */
export function maskedAddresses(node: Resource<'Node'>): [string | undefined, string | undefined] {
  const { annotations = {} } = node.metadata
  const { address, ipv6Address } = nodeFacts(node).facts
  return [
    withMask(address, annotations[NODE_ANNOTATION.ipv4Address]),
    withMask(ipv6Address, annotations[NODE_ANNOTATION.ipv6Address]),
  ]
}

function withMask(address: string | undefined, annotation = ''): string | undefined {
  return address && `${address}/${annotation.split('/')[1] ?? addressBits(familyOf(address))}`
}
