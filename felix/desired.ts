// What this node's kernel should hold, one type for each kind of kernel object, and what a person should know of it.
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
