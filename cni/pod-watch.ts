// Hears of what goes missing in pods and has it put back (`pod-decision.ts` says what of it). One subscription on the host tells of all
// namespaces; without the right to it, pods are looked at in turns. A pod whose ADD, with the plugins behind ours, may not be over is left
// alone; what is otherwise than described when that is over was made so, and stays.
// Hazards: whoever undoes each repair would have us work without end, so each is tried again more and more seldom; the process that did
// it has ended a moment later.
import { broken, type Condition } from '../api/status.ts'
import { HOST_MAC, podSide } from '../kernel/pod-interface.ts'
import { ERRNO, KernelError } from '../kernel/port/error.ts'
import type { Author, Kernel, KernelEvent, KernelMonitor, PodEvent, PodNews } from '../kernel/port/kernel.ts'
import { ROUTE_SCOPE } from '../kernel/port/routes.ts'
import type { Cancel } from '../lib/clock.ts'
import type { CniDeps } from './deps.ts'
import type { PodEndpoint } from './endpoints.ts'
import { type Mismatch, POD_LIMIT } from './inspect.ts'
import { changeText, decidePod, type Pause, pauseAfter, touchedBy, WITHIN_MS } from './pod-decision.ts'
import { PodEnds } from './pod-ends.ts'
import type { PodFindings, PodOrder, PodRepair } from './pod-repair.ts'

/** The plugins behind ours have done their work by then. */
const YOUNG_MS = 10_000
/** From one pod to the next where many are looked at: a look costs a millisecond of a processor. */
const QUEUE_MS = 50
/** The same where nothing tells of pods. */
const TURN_MS = 1000
/** From one look at a pod to the next at least, whatever it does. */
const PAUSE_MS = 200
/** Of all pods in a second: to find the name of a process costs a tenth of a millisecond. */
const MOST_NAMES = 50
/** What cannot be put back, or was undone too often, is looked at again. */
const AGAIN_MS = 10_000
/** Of one pod. */
const MOST_ADDRESSES = 100

export type PodWatchDeps = Pick<CniDeps, 'endpoints' | 'clock' | 'log'> & {
  kernel: Pick<Kernel, 'links' | 'monitor' | 'monitorPods' | 'inside'>
  repair: Pick<PodRepair, 'mend'>
  /** All pods that lack something, whenever that changes. */
  report(conditions: readonly Condition[]): void
  /** `foreignAddresses` may say something else than before. */
  addressesChanged(): void
}

/** An address in a pod that is none of its own. `by`: who added it, where the kernel told. */
export type ForeignAddress = { endpoint: PodEndpoint; address: string; by: string | undefined }

type State = {
  /** Not before this time it is looked at. */
  fromMs: number
  /** What stays as it is, by `Mismatch.object`; undefined before the first look. */
  kept: Set<string> | undefined
  repairs: Map<string, readonly number[]>
  /** What was undone too often, until it stays right. `by`: who was told first to do so. */
  paused: Map<string, Pause & { by: string | undefined }>
  /** What was told to be changed since the last look, and by whom. */
  told: Map<string, string | undefined>
  addresses: Map<string, string | undefined>
  due?: { atMs: number; cancel: Cancel } | undefined
  looking: boolean
}

export class PodWatch {
  readonly #deps: PodWatchDeps
  readonly #ends = new PodEnds()
  readonly #states = new Map<string, State>()
  readonly #conditions = new Map<string, Condition>()
  /** Endpoints that are looked at one after the other. */
  readonly #queue = new Set<string>()
  #monitors: KernelMonitor[] = []
  #isHeard = false
  #names = { second: 0, count: 0 }
  #timer: Cancel | undefined
  #cancel: () => void = () => undefined
  #closed = false

  constructor(deps: PodWatchDeps) {
    this.#deps = deps
  }

  /** Begins; what pods lack now is how they are meant to be, as far as can be known. */
  async start(): Promise<void> {
    const { kernel, endpoints, log } = this.#deps
    for (const endpoint of endpoints.live()) this.#stateOf(endpoint, 0)
    this.#cancel = endpoints.onChange(({ type, endpoint }) => {
      if (type === 'gone') this.#forget(endpoint)
      else if (!this.#states.has(endpoint.id)) this.#lookIn(endpoint, this.#stateOf(endpoint, YOUNG_MS), 0)
    })
    this.#monitors.push(kernel.monitor(event => this.#observe(event)))
    try {
      this.#monitors.push(kernel.monitorPods(news => this.#hear(news)))
      this.#isHeard = true
    } catch (error) {
      if (!(error instanceof KernelError)) throw error
      log.info({ err: error }, 'nothing tells what pods lose (CAP_NET_BROADCAST): they are looked at in turns')
    }
    await this.#readLinks()
    this.#lookAtAll()
  }

  close(): void {
    this.#closed = true
    this.#cancel()
    this.#timer?.()
    for (const monitor of this.#monitors) monitor.close()
    for (const { due } of this.#states.values()) due?.cancel()
  }

  /** Addresses that pods have beside those that they were given. */
  *foreignAddresses(): Iterable<ForeignAddress> {
    for (const endpoint of this.#deps.endpoints.live())
      for (const [address, by] of this.#states.get(endpoint.id)?.addresses ?? []) yield { endpoint, address, by }
  }

  #observe(event: KernelEvent): void {
    if (event.type === 'link') this.#ends.saw(event.link)
    else if (event.type === 'link-gone') this.#ends.gone(event.link.name)
    else if (event.type === 'overrun') void this.#readLinks()
  }

  async #readLinks(): Promise<void> {
    try {
      for (const link of await this.#deps.kernel.links()) this.#ends.saw(link)
    } catch (error) {
      // those that come or change are told
      if (!(error instanceof KernelError)) throw error
    }
  }

  #hear(news: PodNews | undefined): void {
    if (news === undefined) {
      this.#lookAtAll()
      return
    }
    const { namespace, event } = news
    if (event.type === 'address' || event.type === 'address-gone') this.#heardAddress(namespace, event)
    const index = indexOf(event)
    const end = index === undefined ? undefined : this.#ends.at(namespace, index)
    const endpoint = end && this.#endpointOn(end.name)
    if (end === undefined || endpoint === undefined) return
    const state = this.#stateOf(endpoint, 0)
    if (state.fromMs > this.#deps.clock.monotonicMs() && state.kept === undefined) return
    const facts = { mac: endpoint.mac, hostMtu: end.mtu }
    const touched = touchedBy(event, podSide(endpoint, HOST_MAC), facts)
    if (touched === undefined) return
    const known = state.told.get(touched.object)
    state.told.set(touched.object, known ?? this.#nameOf(endpoint, event.by))
    this.#lookIn(endpoint, state, touched.waitMs)
  }

  /** Whichever interface of the namespace it is on: packets to it stay there. */
  #heardAddress(namespace: number, event: PodEvent & { type: 'address' | 'address-gone' }): void {
    const { address, scope } = event.address
    if (scope !== ROUTE_SCOPE.universe) return
    for (const { name } of this.#ends.into(namespace)) {
      const endpoint = this.#endpointOn(name)
      if (endpoint === undefined || endpoint.addresses.includes(address)) continue
      const { addresses } = this.#stateOf(endpoint, 0)
      const isNew = event.type === 'address' && !addresses.has(address) && addresses.size < MOST_ADDRESSES
      if (isNew) addresses.set(address, this.#nameOf(endpoint, event.by))
      if (isNew || (event.type === 'address-gone' && addresses.delete(address))) this.#deps.addressesChanged()
      return
    }
  }

  /** While its process is there; netlink tells it by its port, which is known in its own namespace. */
  #nameOf({ netns }: PodEndpoint, by: Author | undefined): string | undefined {
    if (by === undefined || !this.#mayName()) return undefined
    try {
      using pod = this.#deps.kernel.inside(netns, POD_LIMIT)
      return pod.authorText(by)
    } catch (error) {
      if (error instanceof KernelError) return undefined
      throw error
    }
  }

  #mayName(): boolean {
    const second = Math.floor(this.#deps.clock.monotonicMs() / 1000)
    if (second !== this.#names.second) this.#names = { second, count: 0 }
    return this.#names.count++ < MOST_NAMES
  }

  /** An endpoint that no ADD is making now. */
  #endpointOn(interfaceName: string): PodEndpoint | undefined {
    const { endpoints } = this.#deps
    const endpoint = endpoints.isExpected(interfaceName) ? undefined : endpoints.byInterface(interfaceName)
    return endpoint?.netns === '' ? undefined : endpoint
  }

  #stateOf({ id }: PodEndpoint, youngMs: number): State {
    const known = this.#states.get(id)
    if (known !== undefined) return known
    const state: State = {
      ...{ fromMs: this.#deps.clock.monotonicMs() + youngMs, kept: undefined, looking: false },
      ...{ repairs: new Map(), paused: new Map(), told: new Map(), addresses: new Map() },
    }
    this.#states.set(id, state)
    return state
  }

  #forget({ id }: PodEndpoint): void {
    const state = this.#states.get(id)
    state?.due?.cancel()
    this.#states.delete(id)
    this.#queue.delete(id)
    if (this.#conditions.delete(id)) this.#deps.report([...this.#conditions.values()])
    if (state !== undefined && state.addresses.size > 0) this.#deps.addressesChanged()
  }

  #lookAtAll(): void {
    for (const { id, netns } of this.#deps.endpoints.live()) if (netns !== '') this.#queue.add(id)
    this.#turn(QUEUE_MS)
  }

  /** Looks at those that wait one after the other; where nothing is heard of pods, at all of them again and again. */
  #turn(delayMs: number): void {
    if (this.#timer !== undefined || this.#closed) return
    this.#timer = this.#deps.clock.after(delayMs, () => {
      this.#timer = undefined
      const [id] = this.#queue
      if (id === undefined) return
      this.#queue.delete(id)
      const endpoint = this.#deps.endpoints.live().find(each => each.id === id)
      if (endpoint !== undefined) this.#lookIn(endpoint, this.#stateOf(endpoint, 0), 0)
      if (this.#queue.size > 0) this.#turn(delayMs)
      else if (!this.#isHeard) {
        for (const each of this.#deps.endpoints.live()) if (each.netns !== '') this.#queue.add(each.id)
        this.#turn(TURN_MS)
      }
    })
  }

  /** Looks at an endpoint after so long, unless that is to be sooner already. */
  #lookIn(endpoint: PodEndpoint, state: State, waitMs: number): void {
    if (this.#closed || endpoint.netns === '') return
    const { clock } = this.#deps
    const nowMs = clock.monotonicMs()
    const atMs = Math.max(nowMs + waitMs, state.fromMs)
    if (state.due !== undefined && state.due.atMs <= atMs) return
    state.due?.cancel()
    const cancel = clock.after(atMs - nowMs, () => {
      state.due = undefined
      void this.#look(endpoint, state)
    })
    state.due = { atMs, cancel }
  }

  /** Never rejects. */
  async #look(endpoint: PodEndpoint, state: State): Promise<void> {
    const { repair, log } = this.#deps
    if (state.looking) return this.#lookIn(endpoint, state, QUEUE_MS)
    state.looking = true
    state.fromMs = this.#deps.clock.monotonicMs() + PAUSE_MS
    let isNeeded = state.told.size > 0 || this.#conditions.has(endpoint.id)
    let condition: Condition | undefined
    try {
      await repair.mend(endpoint, found => {
        const { order, undone } = this.#orderOf(endpoint, state, found)
        condition = undone
        isNeeded ||= order.heal.length > 0
        return order
      })
    } catch (error) {
      if (!(error instanceof KernelError))
        log.warn({ err: error, endpoint: endpoint.id }, 'a pod cannot be looked into')
      // the runtime is taking it away, and says so in a moment
      else if (error.errno !== ERRNO.ENOENT && isNeeded) condition = refused(endpoint, error)
    } finally {
      state.looking = false
    }
    if (this.#closed || this.#states.get(endpoint.id) !== state) return
    this.#tell(endpoint, condition)
    if (condition === undefined) return
    state.fromMs = this.#deps.clock.monotonicMs() + AGAIN_MS
    this.#lookIn(endpoint, state, 0)
  }

  #orderOf(
    endpoint: PodEndpoint,
    state: State,
    { mismatches, addresses, hostMtu, leadsElsewhere }: PodFindings,
  ): { order: PodOrder; undone: Condition | undefined } {
    const { told, repairs, paused } = state
    const nowMs = this.#deps.clock.monotonicMs()
    const found = new Set(mismatches.map(({ object }) => object))
    if (state.kept === undefined) state.kept = told.size === 0 ? new Set(found) : new Set()
    // what was right once is to be so
    for (const object of state.kept) if (!found.has(object)) state.kept.delete(object)
    // what was just tried again may be undone in a moment
    for (const object of paused.keys())
      if (!found.has(object) && nowMs - (repairs.get(object)?.at(-1) ?? 0) >= WITHIN_MS) paused.delete(object)
    const { heal, undone } = decidePod(mismatches, { ...state, kept: state.kept, nowMs, leadsElsewhere, hostMtu })
    state.repairs = new Map(heal.map(({ object }) => [object, [...(repairs.get(object) ?? []).slice(-1), nowMs]]))
    for (const [object, times] of repairs) if (!state.repairs.has(object)) state.repairs.set(object, times)
    for (const { object } of undone) {
      const before = paused.get(object)
      paused.set(object, { ...pauseAfter(before, nowMs), by: before?.by ?? told.get(object) })
    }
    this.#tookAddresses(endpoint, state, addresses)
    state.told = new Map()
    const textOf = (mismatch: Mismatch) =>
      changeText(mismatch, told.get(mismatch.object) ?? paused.get(mismatch.object)?.by)
    const undoneText = (mismatch: Mismatch) => changeText(mismatch, paused.get(mismatch.object)?.by)
    const condition = undone.length === 0 ? undefined : undoneInPod(endpoint, undone.map(undoneText))
    return { order: { heal, textOf }, undone: condition }
  }

  /** Of those that are known already it stays known who added them. */
  #tookAddresses(endpoint: PodEndpoint, state: State, addresses: PodFindings['addresses']): void {
    const before = state.addresses
    const others = addresses.filter(
      ({ address, scope }) => scope === ROUTE_SCOPE.universe && !endpoint.addresses.includes(address),
    )
    state.addresses = new Map(others.slice(0, MOST_ADDRESSES).map(({ address }) => [address, before.get(address)]))
    const isSame = before.size === state.addresses.size && [...before.keys()].every(each => state.addresses.has(each))
    if (!isSame) this.#deps.addressesChanged()
  }

  #tell({ id }: PodEndpoint, condition: Condition | undefined): void {
    const before = this.#conditions.get(id)
    if (before?.message === condition?.message) return
    if (condition === undefined) this.#conditions.delete(id)
    else this.#conditions.set(id, condition)
    this.#deps.report([...this.#conditions.values()])
  }
}

function indexOf(event: PodEvent): number | undefined {
  switch (event.type) {
    case 'link':
    case 'link-gone':
      return event.link.index
    case 'address':
    case 'address-gone':
      return event.address.ifindex
    case 'route-gone':
      return event.route.ifindex
    case 'neighbour':
    case 'neighbour-gone':
      return event.neighbour.ifindex
  }
}

function undoneInPod({ id }: PodEndpoint, texts: readonly string[]): Condition {
  return broken('PodsIntact', {
    object: { kind: 'Endpoint', name: id },
    reason: 'UndoneInPod',
    message: `in the pod ${texts.join('; ')}: it was put back twice within ten seconds and undone each time, and is tried again only after a minute, then after longer, up to ten minutes`,
    remedy:
      'find what changes it in the pod (a VPN, a network manager, a script), and let it leave the interface alone; then restart the pod',
  })
}

function refused({ id }: PodEndpoint, { message }: KernelError): Condition {
  return broken('PodsIntact', {
    object: { kind: 'Endpoint', name: id },
    reason: 'Refused',
    message: `what the pod lost cannot be put back: ${message}`,
    remedy: 'restart the pod',
  })
}
