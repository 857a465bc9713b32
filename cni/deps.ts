// What the agent gives to the verbs.
import type { Allocator } from '../ipam/port.ts'
import type { Kernel } from '../kernel/port/kernel.ts'
import type { Clock } from '../lib/clock.ts'
import type { Log } from '../lib/log.ts'
import type { EndpointStore } from './endpoints.ts'
import type { HostSide } from './host-side.ts'
import type { Limiter } from './limiter.ts'

export type CniDeps = {
  node: string
  ipam: Allocator
  /** The namespace that the agent runs in. */
  kernel: Kernel
  endpoints: EndpointStore
  hostSide: HostSide
  /** Limits requests: one per pod at a time, a few at once per node. One for the life of the agent. */
  limiter: Limiter
  /** Bytes for a pod interface, where the configuration gives none. */
  mtu(): number
  clock: Clock
  log: Log
  /** Undefined when ADD can be served; else why not, with STATUS's codes 50 or 51. */
  ready(): { code: number; msg: string; details: string } | undefined
}
