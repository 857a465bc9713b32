// What felix is told. `calc/` turns it into what the kernel should hold (`desired.ts`) and is pure: its output is a
// function of the current input alone, whatever the order of events was.
import type { Capabilities } from '../kernel/port/links.ts'
import type { Resilient } from '../kernel/port/next-hops.ts'
import type { NamedNextHop } from '../kernel/reconcile/objects.ts'
import type { OffloadSettings } from './flow-offload.ts'
import type { HostSettings, LogLimit } from './policy/model.ts'

export type Encapsulation = 'none' | 'ipip' | 'vxlan'

/** One pod interface of this node, as the CNI verbs recorded it. */
export type Endpoint = {
  id: string
  /** Host side, `cali…`. */
  interfaceName: string
  /** Pod side, usually `eth0`. */
  ifname: string
  netns: string
  addresses: readonly string[]
  /** MAC of the pod side, for the permanent neighbour entry on the host. */
  mac: string
  /** Bytes, on both sides. */
  mtu: number
}

/** What a Pod says that it may send under beside its own addresses: canonical CIDRs, of which one may hold another. */
export type AllowedSources = { pod: { namespace: string; name: string }; cidrs: readonly string[] }

/** Where the pod is that has a floating address: `to` is its own address of the same family, `endpoint` the id of its interface here. */
export type FloatingAddress = { at: 'here'; endpoint: string; to: string } | { at: 'elsewhere' }

export type Pool = {
  cidr: string
  ipip: 'Never' | 'Always' | 'CrossSubnet'
  vxlan: 'Never' | 'Always' | 'CrossSubnet'
  /** Nodes tell each other of its blocks. */
  isExchanged: boolean
  /** Packets of its addresses to others than pools leave with an address of the node. */
  natOutgoing?: boolean
  /** Its addresses are those of Services alone: it is no pool of pods. */
  forServicesOnly?: boolean
}

/**
 * Another node, as its Node object describes it. Of several that claim one address or MAC the first by `precedence`, a text,
 * has it, then the first by name.
 */
export type RemoteNode = {
  name: string
  /** Of IPv4; a node of IPv6 alone has only the other one. */
  address?: string
  ipv6Address?: string
  precedence?: string
  ipipTunnelAddress?: string
  vxlanTunnelAddress?: string
  vxlanTunnelAddressV6?: string
  vxlanTunnelMac?: string
}

/**
 * A block that a peer announced and the speaker selected. `encapsulations`: RFC 9012 tunnel types its node can do. An IPv6 block that
 * was announced over IPv4 has an IPv4 next hop.
 */
export type LearnedRoute = LearnedPath & {
  prefix: string
  /** Where two or more are used: all of them, the best first. No next hop is there twice. */
  paths?: readonly LearnedPath[]
  /** Nobody announced it: it is the way to a BGP peer that this BGPPeer names. */
  bgpPeer?: string
}

export type LearnedPath = {
  nextHop: string
  interface?: string
  encapsulations: readonly number[]
  /** The interface of the pod of this node that announced it, whose address `nextHop` is. */
  pod?: string
  /** Its share of the flows in relation to the others, 1-255; absent: 1. */
  weight?: number
}

/**
 * How the kernel's routes lead to a next hop: by one or more gateways, or by itself where it is on a link. `over`: the CIDR of
 * the route that says so, where that is another program's: no learned route may take its place. `overOurs`: where it is a
 * learned one itself.
 */
export type NextHopWay = { hops: readonly NamedNextHop[]; over?: string; overOurs?: string }

/** The router by which a BGP peer is reached, and the BGPPeer that says so. It comes before what is announced. */
export type PeerWay = { gateway: string; bgpPeer: string }

/** This node as the others see it. */
export type ThisNode = {
  name: string
  /**
   * CIDR of the node on its uplink: address and mask, such as 192.168.10.11/24 (host bits kept). Of a family of which the node
   * has none no next hop counts as being on the uplink.
   */
  ipv4?: string
  ipv6?: string
  /** The interface of `ipv4`, without it that of `ipv6`. */
  uplink: string
  /** The interface of `ipv6`, where that is another one. */
  ipv6Uplink?: string
  ipipTunnelAddress?: string
  vxlanTunnelAddress?: string
  /** The source of what this node itself sends into VXLAN by IPv6; no route of another node depends on it. */
  vxlanTunnelAddressV6?: string
  vxlanTunnelMac?: string
}

/** The interfaces of the Node's addresses. */
export function uplinksOf({ uplink, ipv6Uplink = uplink }: ThisNode): string[] {
  return [...new Set([uplink, ipv6Uplink])]
}

/** A subnet that the kernel has an interface of this node in, by an address with a mask. */
export type ConnectedSubnet = {
  /** Address and mask; host bits kept. */
  cidr: string
  interfaceName: string
  /** The interface is up and has a carrier. */
  isUp: boolean
}

/** How packets that leave the pools get another source address. */
export type NatSettings = {
  /** Where packets go that keep the address of their pod. */
  keepAddressTo: 'pools' | 'pools and nodes'
  /** Source ports of TCP and UDP; without them any. */
  ports?: { first: number; last: number }
  /** IPv4: this one instead of the address of the interface that a packet leaves by. */
  address?: string
  /** TCP ports of BGP speakers. */
  bgpPorts: readonly number[]
}

/** What becomes of packets that this node would forward to an address of `ranges`, CIDRs in which Services have theirs, that nobody has. */
export type ServiceLoops = { action: 'drop' | 'reject'; ranges: readonly string[] }

/**
 * The addresses under which pods of this node that are its BGP peers find it, the same on every node, and the TCP port of its speaker
 * there. No interface has them; felix leads them here while some pod of the family is such a peer.
 */
export type Peering = { ipv4?: string; ipv6?: string; port: number }

/** What exists once: replaced as a whole, part by part. */
export type Settings = {
  /** Until the node is known, nothing is wanted of the kernel. */
  node: ThisNode | undefined
  config: {
    vxlanPort: number
    vxlanVni: number
    ipipMtu: number
    vxlanMtu: number
    /** Of the device of VXLAN over IPv6; absent or 0, as the others: what the uplink leaves. */
    vxlanOverIpv6Mtu?: number
    workloadRouteProtocol: number
    /** Absent: no connection is carried past the hooks of the kernel. */
    offload?: OffloadSettings
    /** Absent: to pools packets keep their addresses, and nothing else is said. */
    nat?: NatSettings
    /** How many packets of each rule with the action log are copied; absent: `LOG_LIMIT` of felix/policy. */
    logLimit?: LogLimit
    /** Absent: they are forwarded as any other. */
    serviceLoops?: ServiceLoops
    /** Absent: no host endpoint is enforced. */
    hosts?: HostSettings
    /** Established connections that policies deny now are kept; absent: they are cut. */
    keepConnections?: true
    /** Flows of several paths stay on theirs while it is there; absent: of three or more paths some may move when one goes. */
    resilient?: Resilient
    /** Pods may send under the sources that are told of them (`Inputs.sources`); absent: no pod may. */
    allowSources?: true
  }
  /** Absent: no pod is a BGP peer. */
  peering?: Peering | undefined
  capabilities: Capabilities
  /** Bytes. Felix follows the uplink from its first pass on; until then this value counts. */
  uplinkMtu: number
  /** Of all interfaces but those of pods and tunnels. Felix follows the kernel from its first pass on. */
  connected: readonly ConnectedSubnet[]
  /** Interfaces that took router advertisements before this node forwarded. Felix asks the kernel before its first pass. */
  heedsRouters: readonly string[]
}

/** `subnet`: another plugin may have given an interface of this host an address of it with the length of the block (`ipam/subnet.ts`). */
export type OwnBlock = 'plain' | 'subnet'

/** What exists many times: the value of one item of each kind. */
export type Inputs = {
  /** Key: the endpoint's id. */
  endpoint: Endpoint
  /** Key: the id of the endpoint that sends. */
  sources: AllowedSources
  /** The pod is a BGP peer of this node. Key: the id of its endpoint. */
  peer: true
  /** Key: the address, in canonical text. */
  floating: FloatingAddress
  /** Key: the prefix, a canonical CIDR. */
  learned: LearnedRoute
  /** For next hops of routes of the world outside. Key: the address, in canonical text. */
  nextHop: NextHopWay
  /** Key: the peer's address, a canonical CIDR. */
  peerWay: PeerWay
  /** Key: the node's name. */
  remote: RemoteNode
  /** A block that this node owns. Key: its CIDR. */
  ownBlock: OwnBlock
  /** The node that has an address of an own block: what another one announces of it is not used. Key: its CIDR. */
  lent: string
  /** Key: the pool's name. */
  pool: Pool
}

export type InputKind = keyof Inputs
