// A machine on paper, as the simulation asks it.
import type { RouteAnswer } from '../../api/answers.ts'
import type { Condition } from '../../api/status.ts'
import type { PeerStatus } from '../../bgp/config.ts'

/** Where packets go next, and how: plainly, or through a tunnel to the machine with this address. */
export type SimulatedHop = { nextHop: string; way: 'direct' | 'ipip' | 'vxlan' }

export type Machine = {
  readonly name: string
  /** A node of the cluster; else a router. */
  readonly isNode: boolean
  /** What it originates of its own: blocks, networks. */
  readonly own: readonly string[]
  /** Whether all that it heard is worked through. */
  readonly idle: boolean
  /** Begins to listen and to dial. */
  open(): Promise<void>
  sessions(): PeerStatus[]
  /** What of its configuration is refused. */
  refused(): readonly Condition[]
  /** The prefixes of others for which it has selected a route. */
  prefixes(): string[]
  /** The ways to a prefix; none where there is no route, or none that the kernel would get. */
  hops(prefix: string): readonly SimulatedHop[]
  /** Why a selected route is no way. */
  noWay(prefix: string): Condition | undefined
  explain(prefix: string): RouteAnswer
  close(): Promise<void>
}
