// What felix is told and what it makes of it. `calc/` turns the first type into the second and is pure; `apply`
// brings the kernel there. Output is a function of the current input alone, whatever the order of events was.
import type { FdbEntry, Neighbour, Route, SysctlFamily } from '../kernel/port.ts'

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
}

export type Pool = {
  cidr: string
  ipip: 'Never' | 'Always' | 'CrossSubnet'
  vxlan: 'Never' | 'Always' | 'CrossSubnet'
  disableBgpExport: boolean
}

/** Another node, as its Node object describes it. */
export type RemoteNode = {
  name: string
  address: string
  ipipTunnelAddress?: string
  vxlanTunnelAddress?: string
  vxlanTunnelMac?: string
}

/** A block that a peer announced and the speaker selected. `encapsulations`: RFC 9012 tunnel types its node can do. */
export type LearnedRoute = {
  prefix: string
  nextHop: string
  interface?: string
  encapsulations: readonly number[]
}

export type FelixInput = {
  node: {
    name: string
    /** CIDR of the node on its uplink: address and mask, such as 192.168.10.11/24 (host bits kept). */
    ipv4: string
    /** The same for IPv6, where the node has one; without it no IPv6 next hop counts as being on the uplink. */
    ipv6?: string
    uplink: string
    ipipTunnelAddress?: string
    vxlanTunnelAddress?: string
    vxlanTunnelMac?: string
  }
  config: { vxlanPort: number; vxlanVni: number; ipipMtu: number; vxlanMtu: number; workloadRouteProtocol: number }
  /** Tunnel kinds this kernel has. */
  capabilities: { ipip: boolean; vxlan: boolean }
  pools: readonly Pool[]
  remotes: readonly RemoteNode[]
  /** CIDRs of the blocks this node owns. */
  ownBlocks: readonly string[]
  learned: readonly LearnedRoute[]
  endpoints: readonly Endpoint[]
  /** Smallest MTU of the node's uplinks. */
  uplinkMtu: number
}

export type TunnelDevice = {
  name: 'tunl0' | 'vxlan.calico'
  kind: 'ipip' | 'vxlan'
  /** Held as a /32 on the device. tunl0 carries packets without one, until IPAM has given it. */
  address?: string
  mtu: number
  mac?: string
  vni?: number
  port?: number
  local?: string
}

/** Routes name their interface, since an ifindex means nothing until the link exists. */
export type DesiredRoute = Omit<Route, 'ifindex'> & { interfaceName?: string }
/** An address of full length on an interface that felix looks after. */
export type DesiredAddress = { interfaceName: string; address: string; scope: number }
export type DesiredNeighbour = Omit<Neighbour, 'ifindex'> & { interfaceName: string }
export type DesiredFdb = Omit<FdbEntry, 'ifindex'> & { interfaceName: string }

/** One `net.<family>.<path>` that must read `value`. */
export type DesiredSysctl = { family: SysctlFamily; path: readonly string[]; value: string }

/** A fallback or refusal a person should know of; `reason` is for machines, `message` says what to do. */
export type Notice = { object: string; reason: string; message: string }

export type DesiredState = {
  tunnels: readonly TunnelDevice[]
  /** An address of these on tunl0 is ours; others may keep theirs there (IPVS tunnelling does). */
  poolCidrs: readonly string[]
  addresses: readonly DesiredAddress[]
  routes: readonly DesiredRoute[]
  neighbours: readonly DesiredNeighbour[]
  fdb: readonly DesiredFdb[]
  sysctls: readonly DesiredSysctl[]
  notices: readonly Notice[]
}
