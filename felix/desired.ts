// What this node's kernel should hold, one type for each kind of kernel object, and what a person should know of it.
import type { Condition } from '../api/status.ts'
import type {
  NamedAddress,
  NamedFdbEntry,
  NamedNeighbour,
  NamedNftElement,
  NamedRoute,
  NamedSysctl,
  NftProgram,
} from '../kernel/reconcile/objects.ts'

export type TunnelDevice = {
  name: 'tunl0' | 'vxlan.calico' | 'vxlan-v6.calico'
  kind: 'ipip' | 'vxlan'
  /** Each held as a single address on the device. It carries packets without one, until IPAM has given it. */
  addresses: readonly string[]
  mtu: number
  mac?: string
  vni?: number
  port?: number
  local?: string
}

/** The host side of a pod's interface: up, with this MTU. */
export type PodLink = { name: string; kind?: undefined; mtu: number }

/** What is wanted, kind by kind. Keys are unique within a kind; kernel/reconcile/objects.ts makes them. */
export type Desired = {
  /** Tunnel devices, and the host sides of pods' interfaces, which cni makes. Key: the name. */
  link: TunnelDevice | PodLink
  address: NamedAddress
  /** Key: the destination. */
  route: NamedRoute
  /** Routes of the local table, that lead to this node what no interface has as its address. Key: the destination. */
  localRoute: NamedRoute
  neighbour: NamedNeighbour
  fdb: NamedFdbEntry
  sysctl: NamedSysctl
  /** Our tables of nftables, without the elements of their sets. */
  nftTable: NftProgram
  nftElement: NamedNftElement
  /** Key: the CIDR of a pool. What lies in one is ours to route, and an address of one on tunl0 is ours. */
  destination: true
  /** Key: `conditionKey`. Conditions that hold are not listed. */
  condition: Condition
}

export type DesiredKind = keyof Desired

/** The whole of it. */
export type DesiredState = { readonly [K in DesiredKind]: ReadonlyMap<string, Desired[K]> }

/** What changed: the value now, or undefined where it is wanted no more. */
export type Differences = { readonly [K in DesiredKind]: ReadonlyMap<string, Desired[K] | undefined> }
