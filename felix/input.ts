// What felix is told. `calc/` turns it into what the kernel should hold (`desired.ts`) and is pure: its output is a
// function of the current input alone, whatever the order of events was.

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
