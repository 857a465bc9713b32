// The packets that are dropped whatever a policy says: what pods send under addresses of others, what only routers and
// DHCP servers send, errors about packets that were not sent to them, tunnel packets to this node or through it that no
// node sent, and what pods send to loopback addresses, which `route_localnet` would let in. Two tables, because ARP has a
// family of its own. Each rule looks keys up in sets, so that its cost is the same for any number of pods and nodes.
// A pod may be allowed to send under other sources too (FelixConfiguration.workloadSourceSpoofing): those alone come to the
// chains `foreign_*`, which let nobody be a node, a loopback address or a neighbour that it is not. So may pods that are BGP peers of
// this node, under what it has a route to by their interface; they alone reach the address of the node that pods peer with, and there
// the port of BGP alone.
// Hazards: packets of pods are judged before connection tracking (priority raw), so that what is dropped leaves no entry;
// tunnel packets are judged after DNAT, which can lead to a node too; a masquerading node gives a pod's packet its own
// address, so tunnel packets count only at the one address that the other nodes send them to.
import { GATEWAY } from '../../kernel/pod-interface.ts'
import type { NftChain, NftExpression, NftFamily, NftRule, NftSet } from '../../kernel/port/nftables.ts'
import { type NamedNftElement, type NftProgram, nftTableKey } from '../../kernel/reconcile/objects.ts'
import { addressBits, type Family, familyOf, linkLocal } from '../../lib/ip.ts'
import { rangeOf } from '../../lib/ip-range.ts'
import type { Endpoint, Peering } from '../input.ts'
import {
  COUNTED_DROP,
  destination,
  destinationIs,
  destinationStartsWith,
  fromInterfaceNotIn,
  fromInterfaces,
  fromOwnAddress,
  hasNoWayBack,
  isIcmp,
  isIcmpv6Error,
  isIpip,
  isNeighbourDiscovery,
  isUdp,
  jump,
  notOfProtocol,
  ofFamily,
  quotesPacketTo,
  quotesPacketToInterface,
  RETURN,
  source,
  sourceIs,
  sourceIsLinkLocal,
  sourceNotOfInterface,
  sourceStartsWith,
  targetNotOfInterface,
  tcpNotTo,
  toInterface,
} from './nft-expressions.ts'

/** `table`: the name of both tables; `interfacePrefix`: what the names of the pods' interfaces begin with. */
export type PodFilterMarks = { table: string; interfacePrefix: string }

/** `ipip`, `vxlan`, `vxlanOverIpv6`: this node may have such a tunnel. Without one, its packets are some other program's. */
export type TunnelFacts = { ipip: boolean; vxlan: boolean; vxlanOverIpv6: boolean; vxlanPort: number }

/** `iifname . address` of every pod. */
const POD_IPV4 = 'pod_ipv4'
const POD_IPV6 = 'pod_ipv6'
const POD = { ipv4: POD_IPV4, ipv6: POD_IPV6 } as const
/** `iifname . CIDR` of what pods may send under beside their addresses. */
const ALLOWED = { ipv4: 'allowed_ipv4', ipv6: 'allowed_ipv6' } as const
/** Interfaces of pods that are BGP peers of this node. */
const PEERS = 'peers'
/** Addresses of all nodes, this one's too. */
const NODES = 'nodes'
const NODES_OF = { ipv4: NODES, ipv6: 'nodes_ipv6' } as const
/** Addresses of the tunnel devices of other nodes: what a node sends to pods through a tunnel comes from there. */
const NODE_TUNNELS = { ipv4: 'node_tunnels', ipv6: 'node_tunnels_ipv6' } as const
/** The address of this node that its tunnels over a family end at. */
const THIS_NODE = { ipv4: 'this_node', ipv6: 'this_node_ipv6' } as const

/** Before connection tracking (-200) and after the reassembly of fragments (-400). */
const RAW = -300
/** Just before the usual filters of others. */
const FILTER = -5

const LOOPBACK_OCTET = 127
const FAMILIES = ['ipv4', 'ipv6'] as const
const DHCP_PORT = { ipv4: { server: 67, client: 68 }, ipv6: { server: 547, client: 546 } } as const
const ICMP = { redirect: 5, routerAdvertisement: 9 } as const
/** Destination unreachable (too big for a link among them), time exceeded, parameter problem. */
const ICMP_ERRORS = [3, 11, 12] as const
const ICMPV6 = { routerAdvertisement: 134, neighbourAdvertisement: 136, redirect: 137 } as const

/** What is asked of packets under sources that are not the pod's own, and of errors that a pod reports. */
const FOREIGN = { ipv4: 'foreign_ipv4', ipv6: 'foreign_ipv6' } as const
const ERROR = { ipv4: 'error_ipv4', ipv6: 'error_ipv6' } as const

/** Both tables by key, for the nodes' tunnels as they are; with `peering` pods may be BGP peers of this node. */
export function podFilterPrograms(
  { table, interfacePrefix }: PodFilterMarks,
  tunnels: TunnelFacts,
  peering?: Peering,
): Map<string, NftProgram> {
  const fromPods = fromInterfaces(interfacePrefix)
  const inet = tableOf('inet', table)
  const arp = tableOf('arp', table)
  const programs: NftProgram[] = [
    {
      table: inet.table,
      sets: [
        inet.set(POD_IPV4, 'ifname . ipv4_addr'),
        inet.set(POD_IPV6, 'ifname . ipv6_addr'),
        inet.set(ALLOWED.ipv4, 'ifname . ipv4_addr', ['interval']),
        inet.set(ALLOWED.ipv6, 'ifname . ipv6_addr', ['interval']),
        ...(peering === undefined ? [] : [inet.set(PEERS, 'ifname')]),
        inet.set(NODES_OF.ipv4, 'ipv4_addr'),
        inet.set(NODES_OF.ipv6, 'ipv6_addr'),
        inet.set(NODE_TUNNELS.ipv4, 'ipv4_addr'),
        inet.set(NODE_TUNNELS.ipv6, 'ipv6_addr'),
        inet.set(THIS_NODE.ipv4, 'ipv4_addr'),
        inet.set(THIS_NODE.ipv6, 'ipv6_addr'),
      ],
      chains: [
        ...FAMILIES.flatMap(family => [inet.chain(FOREIGN[family]), inet.chain(ERROR[family])]),
        inet.chain('from_pod'),
        inet.chain('prerouting', { type: 'filter', hook: 'prerouting', priority: RAW }),
        inet.chain('forward', { type: 'filter', hook: 'forward', priority: FILTER }),
        inet.chain('input', { type: 'filter', hook: 'input', priority: FILTER }),
      ],
      rules: [
        ...FAMILIES.flatMap(family => [...foreignRules(inet, family, peering), ...errorRules(inet, family)]),
        ...podRules(inet),
        inet.rule('prerouting', [...fromPods, ...jump('from_pod')]),
        ...forwardRules(inet.drop, tunnels),
        ...tunnelRules(inet.drop, tunnels),
        ...(peering === undefined ? [] : FAMILIES.flatMap(family => peeringRules(inet.drop, family, peering))),
      ],
    },
    {
      table: arp.table,
      sets: [arp.set(POD_IPV4, 'ifname . ipv4_addr')],
      chains: [arp.chain('input', { type: 'filter', hook: 'input', priority: 0 })],
      rules: [arp.drop('input', 'foreign ARP sender', [...fromPods, ...sourceNotOfInterface('arp', POD_IPV4)])],
    },
  ]
  return new Map(programs.map(program => [nftTableKey(program.table), program]))
}

type Table = ReturnType<typeof tableOf>
type Drop = Table['drop']

/** What is judged of a packet that a pod sent, in this order. */
function podRules({ drop, rule: plain }: Table): NftRule[] {
  const rule = (comment: string, match: readonly NftExpression[]) => drop('from_pod', comment, match)
  const foreign = (family: Family) =>
    plain('from_pod', [...ofFamily(family), ...sourceNotOfInterface(family, POD[family]), ...jump(FOREIGN[family])])
  const error = (family: Family, isError: readonly NftExpression[]) =>
    plain('from_pod', [...isError, ...jump(ERROR[family])])
  return [
    rule('loopback destination', destinationStartsWith(LOOPBACK_OCTET)),
    foreign('ipv4'),
    // duplicate address detection, which pods do not need: no other host is on their link
    rule('no IPv6 source', sourceIs('ipv6', '::')),
    foreign('ipv6'),
    rule('router advertisement', isIcmp('ipv6', ICMPV6.routerAdvertisement)),
    rule('router advertisement', isIcmp('ipv4', ICMP.routerAdvertisement)),
    rule('foreign neighbour advertisement', [
      ...isIcmp('ipv6', ICMPV6.neighbourAdvertisement),
      ...targetNotOfInterface(POD_IPV6),
    ]),
    rule('redirect', isIcmp('ipv6', ICMPV6.redirect)),
    rule('redirect', isIcmp('ipv4', ICMP.redirect)),
    ...FAMILIES.flatMap(family => [
      // clients take answers from any port
      rule('DHCP server', [...ofFamily(family), ...isUdp('sport', DHCP_PORT[family].server)]),
      rule('DHCP server', [...ofFamily(family), ...isUdp('dport', DHCP_PORT[family].client)]),
    ]),
    ...ICMP_ERRORS.map(type => error('ipv4', isIcmp('ipv4', type))),
    error('ipv6', isIcmpv6Error()),
  ]
}

/**
 * Of a packet under a source that is none of the pod's addresses. Whatever it is allowed, a node is not among it: tunnels, BGP and
 * policies for hosts take packets for those of a node by their source. This node has more addresses than its Node object tells.
 * `route_localnet` lets loopback addresses in, and of IPv6 the kernel takes none. A pod that may ask or answer for many neighbours
 * would fill the table that all pods of its node share, and so would answers to many link-local addresses of IPv6, each of which
 * is looked for first, on the pod's own interface.
 */
function foreignRules({ drop }: Table, family: Family, peering: Peering | undefined): NftRule[] {
  const rule = (comment: string, match: readonly NftExpression[]) => drop(FOREIGN[family], comment, match)
  const names = { ipv4: 'IPv4', ipv6: 'IPv6' }
  const isForeign = [...ofFamily(family), ...sourceNotOfInterface(family, ALLOWED[family])]
  const comment = `foreign ${names[family]} source`
  return [
    ...(peering === undefined
      ? [rule(comment, isForeign)]
      : [
          rule(comment, [...isForeign, ...fromInterfaceNotIn(PEERS)]),
          rule(comment, [...isForeign, ...hasNoWayBack()]),
        ]),
    rule('source of a node', source(family, 'in', NODES_OF[family])),
    rule('source of a node', source(family, 'in', NODE_TUNNELS[family])),
    ...(family === 'ipv4'
      ? [rule('loopback source', sourceStartsWith(LOOPBACK_OCTET))]
      : [
          rule('link-local source', sourceIsLinkLocal()),
          rule('neighbour discovery under a foreign source', isNeighbourDiscovery()),
        ]),
    rule('source of a node', [...ofFamily(family), ...fromOwnAddress()]),
  ]
}

/**
 * A pod reports an error only of a packet that was sent to it, or to what it may send under, as a gateway does that has a
 * narrower link behind it. Any other one would tell a node that the way to another node takes small packets only. What a
 * fragment does not hold cannot be read, and then it is dropped.
 */
function errorRules({ drop, rule }: Table, family: Family): NftRule[] {
  const [chain, reason] = [ERROR[family], 'error about the packet of another']
  return [
    // nft has no words for fields of the packet that an error quotes
    rule(chain, [...quotesPacketToInterface(family, POD[family]), ...RETURN], 'about a packet to this pod'),
    drop(chain, reason, quotesPacketTo(family, NODES_OF[family])),
    drop(chain, reason, quotesPacketTo(family, NODE_TUNNELS[family])),
    rule(
      chain,
      [...quotesPacketToInterface(family, ALLOWED[family]), ...RETURN],
      'about a packet to an allowed source',
    ),
    drop(chain, reason, []),
  ]
}

/**
 * Where packets to nodes come from a node, it sent them: from anybody else this node, or another one, could give them its
 * own address when it masquerades, and a Service can lead them here from anywhere. And over `lo` (`gatewayRoute`) nothing
 * goes anywhere: each packet would come back and be forwarded again until its TTL ends.
 */
function forwardRules(drop: Drop, { vxlanPort }: TunnelFacts): NftRule[] {
  const guard = (family: Family, name: string, match: readonly NftExpression[]) =>
    drop('forward', `forwarded ${name} that no node sent`, [
      ...match,
      ...destination(family, 'in', NODES_OF[family]),
      ...source(family, 'not in', NODES_OF[family]),
    ])
  return [
    drop('forward', 'forwarded to the address of the pods’ gateway', [
      ...destinationIs('ipv4', GATEWAY.ipv4),
      ...toInterface('lo'),
    ]),
    guard('ipv4', 'IP-in-IP', isIpip()),
    ...FAMILIES.map(family => guard(family, 'VXLAN', isUdp('dport', vxlanPort))),
  ]
}

function tunnelRules(drop: Drop, { ipip, vxlan, vxlanOverIpv6, vxlanPort }: TunnelFacts): NftRule[] {
  const guard = (family: Family, name: string, match: readonly NftExpression[]) => [
    drop('input', `${name} that no node sent`, [...source(family, 'not in', NODES_OF[family]), ...match]),
    drop('input', `${name} to another address`, [...destination(family, 'not in', THIS_NODE[family]), ...match]),
  ]
  const isVxlan = isUdp('dport', vxlanPort)
  return [
    ...(ipip ? guard('ipv4', 'IP-in-IP', isIpip()) : []),
    ...(vxlan ? guard('ipv4', 'VXLAN', isVxlan) : []),
    ...(vxlanOverIpv6 ? guard('ipv6', 'VXLAN', isVxlan) : []),
  ]
}

/** Behind the translation of destinations, which can lead to this address too. */
function peeringRules(drop: Drop, family: Family, { port, ...addresses }: Peering): NftRule[] {
  const address = addresses[family]
  if (address === undefined) return []
  const rule = (comment: string, match: readonly NftExpression[]) =>
    drop('input', comment, [...destinationIs(family, address), ...match])
  return [
    rule('to the address of BGP for pods, from none of them', fromInterfaceNotIn(PEERS)),
    rule('no BGP to the address of BGP for pods', notOfProtocol('tcp')),
    rule('no BGP to the address of BGP for pods', tcpNotTo(port)),
  ]
}

/** The element that makes a pod a BGP peer of this node. */
export function peerElement({ table }: PodFilterMarks, interfaceName: string): NamedNftElement {
  return { family: 'inet', table, set: PEERS, words: [interfaceName], interfaceName }
}

/** The elements that let a pod send under its own addresses, and under the link-local address that its MAC gives it. */
export function podElements(
  { table }: PodFilterMarks,
  { interfaceName, addresses, mac }: Pick<Endpoint, 'interfaceName' | 'addresses' | 'mac'>,
): NamedNftElement[] {
  const element = (family: NftFamily, set: string, address: string): NamedNftElement => {
    return { family, table, set, words: [interfaceName, address], interfaceName }
  }
  return [...addresses, linkLocal(mac)].flatMap(address =>
    familyOf(address) === 'ipv6'
      ? [element('inet', POD_IPV6, address)]
      : [element('inet', POD_IPV4, address), element('arp', POD_IPV4, address)],
  )
}

/** The elements that let a pod send under `cidrs` too: disjoint ones, since a set of ranges takes no others. */
export function sourceElements(
  { table }: PodFilterMarks,
  interfaceName: string,
  cidrs: readonly string[],
): NamedNftElement[] {
  return FAMILIES.flatMap(family =>
    outermost(cidrs.filter(cidr => familyOf(cidr) === family)).map((cidr): NamedNftElement => {
      // nft's word for a whole address has no length
      const word = cidr.endsWith(`/${addressBits(family)}`) ? cidr.slice(0, cidr.indexOf('/')) : cidr
      return { family: 'inet', table, set: ALLOWED[family], words: [interfaceName, word], interfaceName }
    }),
  )
}

/** Those CIDRs of a family that lie in no other one, each once. */
function outermost(cidrs: readonly string[]): string[] {
  const sorted = cidrs
    .map(cidr => ({ cidr, ...rangeOf(cidr) }))
    .sort((a, b) => Number(a.first - b.first) || Number(b.last - a.last))
  let end = -1n
  return sorted.flatMap(({ cidr, last }) => {
    if (last <= end) return []
    end = last
    return [cidr]
  })
}

/** Whether an element lets a pod send under sources that are not its addresses. */
export function allowsSource({ set }: Pick<NamedNftElement, 'set'>): boolean {
  return set === ALLOWED.ipv4 || set === ALLOWED.ipv6 || set === PEERS
}

/** Whether an element makes a pod a BGP peer of this node. */
export function isPeer({ set }: Pick<NamedNftElement, 'set'>): boolean {
  return set === PEERS
}

/** The element of one node's address. */
export function nodeElement({ table }: PodFilterMarks, address: string): NamedNftElement {
  return { family: 'inet', table, set: NODES_OF[familyOf(address)], words: [address] }
}

/** The element of the address of another node's tunnel device. */
export function nodeTunnelElement({ table }: PodFilterMarks, address: string): NamedNftElement {
  return { family: 'inet', table, set: NODE_TUNNELS[familyOf(address)], words: [address] }
}

export function thisNodeElement({ table }: PodFilterMarks, address: string): NamedNftElement {
  return { family: 'inet', table, set: THIS_NODE[familyOf(address)], words: [address] }
}

function tableOf(family: NftFamily, table: string) {
  const of = { family, table } as const
  const rule = (chain: string, expressions: readonly NftExpression[], comment?: string): NftRule => {
    return { kind: 'rule', ...of, chain, expressions, ...(comment !== undefined && { comment }) }
  }
  return {
    table: { kind: 'table', family, name: table } as const,
    set: (name: string, type: string, flags?: NftSet['flags']): NftSet => {
      return { kind: 'set', ...of, name, type, ...(flags !== undefined && { flags }) }
    },
    chain: (name: string, base?: NftChain['base']): NftChain => {
      return { kind: 'chain', ...of, name, ...(base !== undefined && { base: { policy: 'accept', ...base } }) }
    },
    rule,
    /** A rule that counts and drops what matches; `comment` says what that is. */
    drop: (chain: string, comment: string, match: readonly NftExpression[]): NftRule =>
      rule(chain, [...match, ...COUNTED_DROP], comment),
  }
}
