// This node's end of path probes: an interface as that of a pod, with an address of a block of the node in each family, in a network
// namespace that only this process holds. It takes the very path that pods take: routes, filter, tunnels, what others drop or
// translate. Looked at every few seconds and made anew where it is not as it should be. Hazards: it begins with the prefix of pods'
// interfaces and belongs to none; other nodes send to an address for a while after it is given up, so it stays until they know.
import { createPair, randomMac, writePodSide } from '../../cni/pod-side.ts'
import type { Endpoint } from '../../felix/input.ts'
import type { Felix } from '../../felix/loop.ts'
import type { NodeAllocator } from '../../ipam/allocator.ts'
import { probeRequest } from '../../ipam/probe.ts'
import { HOST_MAC, PROBE_INTERFACE, podSide } from '../../kernel/pod-interface.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import type { Clock } from '../../lib/clock.ts'
import { DatabaseError } from '../../lib/database.ts'
import type { Family } from '../../lib/ip.ts'
import type { Log } from '../../lib/log.ts'
import type { ProbeWire } from './wire.ts'

export type ProbeEndpointDeps = {
  nodeName: string
  kernel: Pick<Kernel, 'link' | 'createLink' | 'deleteLink' | 'inside'>
  felix: Pick<Felix, 'set' | 'applied'>
  allocator: Pick<NodeAllocator, 'assign' | 'held' | 'isServed' | 'isAmongPods' | 'release'>
  clock: Clock
  log: Log
  /** Throws `KernelError`. */
  openWire: () => ProbeWire
  /** Of pods, in bytes. */
  mtu: () => number
}

/** Its id among the endpoints of felix: those of pods have slashes. */
const ENDPOINT = 'probe'
const FAMILIES = ['ipv4', 'ipv6'] as const satisfies readonly Family[]
/** By then other nodes know that an address is not used any more. */
const LEAVE_MS = 30_000
/** So long a node keeps its address after its last pod has gone: others may come, and all nodes hear of each change. */
const ALONE_MS = 600_000
/** So long an interface may fail before other nodes are told to send no probes. */
const FAILING_MS = 30_000

export class ProbeEndpoint {
  readonly #deps: ProbeEndpointDeps
  #isWanted = false
  #held: { [F in Family]?: string } = {}
  readonly #givenUpMs: { [F in Family]?: number } = {}
  #built: { endpoint: Endpoint; wire: ProbeWire } | undefined
  #failingSinceMs: number | undefined
  #failure = ''
  #closed = false

  /** What an earlier run held is held on, and published at once: else every upgrade would change each Node object twice. */
  constructor(deps: ProbeEndpointDeps) {
    this.#deps = deps
    const held = deps.allocator.held()
    for (const family of FAMILIES) {
      const [assigned] = held.get(probeRequest(deps.nodeName, family).handle) ?? []
      if (assigned !== undefined) this.#held[family] = assigned.address
    }
  }

  /** By which probes are sent; undefined while the interface is not as it should be. */
  get wire(): ProbeWire | undefined {
    return this.#failingSinceMs === undefined ? this.#built?.wire : undefined
  }

  /** What other nodes are to be told: where probes are answered. */
  get published(): { probeAddress?: string; probeAddressV6?: string } {
    const failsMs = this.#deps.clock.monotonicMs() - (this.#failingSinceMs ?? Number.POSITIVE_INFINITY)
    if (!this.#isWanted || failsMs > FAILING_MS) return {}
    const of = (family: Family) => (this.#givenUpMs[family] === undefined ? this.#held[family] : undefined)
    const [probeAddress, probeAddressV6] = [of('ipv4'), of('ipv6')]
    return {
      ...(probeAddress !== undefined && { probeAddress }),
      ...(probeAddressV6 !== undefined && { probeAddressV6 }),
    }
  }

  /** Whether this node probes at all. */
  want(isWanted: boolean): void {
    this.#isWanted = isWanted
  }

  /** Whether the interface is there and up; what is wrong with it is put right by `keep`. */
  async isThere(): Promise<boolean> {
    const link = await this.#deps.kernel.link(PROBE_INTERFACE)
    return link?.up === true && link.running
  }

  /** Takes and gives back addresses, and makes the interface as it should be. To be called every few seconds, one call at a time. */
  async keep(): Promise<void> {
    const { log, clock } = this.#deps
    try {
      for (const family of FAMILIES) await this.#keepAddress(family)
      await this.#keepInterface()
      if (this.#failingSinceMs !== undefined) log.info('the interface of path probes is there again')
      this.#failingSinceMs = undefined
      this.#failure = ''
    } catch (error) {
      if (this.#closed) return
      // whatever it is: pods do not depend on it, and the next call tries again
      this.#failingSinceMs ??= clock.monotonicMs()
      const { message } = error as Error
      if (message !== this.#failure) log.warn({ err: error }, 'this node cannot probe paths now')
      this.#failure = message
    }
  }

  /** The interface goes with the namespace; the addresses stay this node's. */
  close(): void {
    this.#closed = true
    this.#built?.wire.close()
    this.#built = undefined
  }

  async #keepAddress(family: Family): Promise<void> {
    const { allocator, nodeName, clock } = this.#deps
    const request = probeRequest(nodeName, family)
    if (this.#held[family] === undefined) {
      if (!this.#isWanted) return
      // where nothing is free it is asked for again with the next call
      const answer = await allocator.assign(request)
      if (!('refused' in answer)) this.#held[family] = answer[0]!.address
      return
    }
    const isGone = !this.#isWanted || !allocator.isServed(request)
    const isAlone = !isGone && !allocator.isAmongPods(request.handle)
    if (!isGone && !isAlone) {
      delete this.#givenUpMs[family]
      return
    }
    const nowMs = clock.monotonicMs()
    this.#givenUpMs[family] ??= isGone ? nowMs : nowMs + ALONE_MS - LEAVE_MS
    const sinceMs = this.#givenUpMs[family]
    if (nowMs - sinceMs < LEAVE_MS) return
    await this.#giveBack(family, request.handle)
  }

  async #giveBack(family: Family, handle: string): Promise<void> {
    delete this.#held[family]
    delete this.#givenUpMs[family]
    await this.#keepInterface()
    try {
      await this.#deps.allocator.release(handle)
    } catch (error) {
      if (!(error instanceof DatabaseError)) throw error
      this.#deps.log.error(
        { err: error, handle },
        'the address of path probes cannot be given back: the next start does it',
      )
    }
  }

  async #keepInterface(): Promise<void> {
    const { mtu } = this.#deps
    const addresses = FAMILIES.flatMap(family => this.#held[family] ?? [])
    const { endpoint } = this.#built ?? {}
    const isSame = endpoint !== undefined && endpoint.mtu === mtu() && String(endpoint.addresses) === String(addresses)
    if (addresses.length === 0 ? endpoint === undefined : isSame && (await this.isThere())) return
    await this.#takeDown()
    if (addresses.length > 0 && !this.#closed) await this.#build(addresses)
  }

  async #takeDown(): Promise<void> {
    const { felix, kernel } = this.#deps
    felix.set('endpoint', ENDPOINT, undefined)
    this.#built?.wire.close()
    this.#built = undefined
    // that of a run that was killed ends some time after it
    if ((await kernel.link(PROBE_INTERFACE)) !== undefined) await kernel.deleteLink(PROBE_INTERFACE)
  }

  async #build(addresses: readonly string[]): Promise<void> {
    const { kernel, felix, openWire, mtu, clock } = this.#deps
    const wire = openWire()
    try {
      const names = { id: ENDPOINT, interfaceName: PROBE_INTERFACE, ifname: 'eth0', netns: wire.netns }
      const endpoint: Endpoint = { ...names, addresses, mac: randomMac(), mtu: mtu() }
      const host = await createPair(kernel, endpoint)
      using inside = kernel.inside(wire.netns)
      await writePodSide(inside, podSide(endpoint, host.mac ?? HOST_MAC), clock)
      felix.set('endpoint', ENDPOINT, endpoint)
      await felix.applied(ENDPOINT)
      wire.use(addresses)
      if (this.#closed) wire.close()
      else this.#built = { endpoint, wire }
    } catch (error) {
      felix.set('endpoint', ENDPOINT, undefined)
      wire.close()
      throw error
    }
  }
}
