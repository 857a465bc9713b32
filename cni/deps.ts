// What the agent gives to the verbs.
import type { Allocator } from '../ipam/port.ts'
import type { Kernel } from '../kernel/port/kernel.ts'
import type { Clock } from '../lib/clock.ts'
import type { Log } from '../lib/log.ts'
import type { EndpointStore } from './endpoints.ts'
import type { HostSide } from './host-side.ts'
import type { Limiter } from './limiter.ts'
import type { OldFlows } from './old-flows.ts'
import type { Pins } from './pins.ts'
import type { PodAnnotations } from './pod-annotations.ts'
import type { PodName } from './request.ts'

/** What the verbs may do on the host: create and delete pairs of links, and read. Felix writes everything else there. */
export type HostKernel = ReadKernel &
  Pick<Kernel, 'links' | 'createLink' | 'setLink' | 'deleteLink' | 'inside' | 'namespaces'>

export type ReadKernel = Pick<Kernel, 'link' | 'addresses' | 'neighbours' | 'routes' | 'lookupRoute' | 'readSysctl'>

export type NotReady = { code: number; msg: string; details: string }

export type CniDeps = {
  node: string
  /** Of this boot of the machine: another one's pods are gone. */
  bootId: string
  ipam: Allocator
  /** Of the namespace that the agent runs in. */
  kernel: HostKernel
  endpoints: EndpointStore
  hostSide: HostSide
  oldFlows: Pick<OldFlows, 'prepare' | 'clear'>
  pins: Pins
  /** The ranges that Kubernetes gave this node for its pods. */
  podCidrs(): readonly string[]
  /** Limits requests: one per pod at a time, a few at once per node. One for the life of the agent. */
  limiter: Limiter
  /** Bytes for a pod interface, where the configuration gives none. */
  mtu(): number
  /**
   * What a Pod and its Namespace say, of the last that was seen of them. Waits some seconds for one that nothing was seen of
   * yet; rejects with an error that says what is missing.
   */
  annotations(pod: PodName): Promise<PodAnnotations>
  clock: Clock
  log: Log
  /** Undefined when ADD can be served; else why not. */
  ready(): NotReady | undefined
  /** What STATUS says, with its code 50 or 51; undefined when the runtime may give this node pods. The change is logged by whoever knows it. */
  status(): NotReady | undefined
}
