// What this node's kernel should hold, one type for each kind of kernel object, and what a person should know of it.
import type { Condition } from '../api/status.ts'
import type { FdbEntry, Neighbour } from '../kernel/port/neighbours.ts'
import type { Route } from '../kernel/port/routes.ts'
import type { SysctlFamily } from '../kernel/port/sysctls.ts'

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

/** What is wanted, kind by kind. Keys are unique within a kind; the functions below make them. */
export type Desired = {
  /** Key: the device's name. */
  link: TunnelDevice
  address: DesiredAddress
  /** Key: the destination. */
  route: DesiredRoute
  neighbour: DesiredNeighbour
  fdb: DesiredFdb
  sysctl: DesiredSysctl
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

export function addressKey({ interfaceName, address }: DesiredAddress): string {
  return `${interfaceName} ${address}`
}

export function neighbourKey({ interfaceName, address }: Pick<DesiredNeighbour, 'interfaceName' | 'address'>): string {
  return `${interfaceName} ${address}`
}

export function fdbKey({ interfaceName, mac }: Pick<DesiredFdb, 'interfaceName' | 'mac'>): string {
  return `${interfaceName} ${mac}`
}

export function sysctlKey({ family, path }: DesiredSysctl): string {
  return `net.${family} ${path.join('/')}`
}
