// Gives Services of type LoadBalancer their addresses, by the steps of `load-balancer-plan.ts`. One writer: the leader. Every
// write names the version that it was decided on; before an address is taken from a Service that one is asked for at the API
// server, before its status gets an address the block of that is, and before the first address of a block is given its pool
// is, and all blocks are listed: this program may have been killed after it made the block. What a Service is refused stands in its status; an Event tells each change of
// that. Hazards: two of these programs at once, each with an old view; an end between any two writes.
import type { Resource } from '../api/kinds.ts'
import { type IpPool, poolOf } from '../api/pools.ts'
import { matchesSelector } from '../api/selector.ts'
import {
  Conflict,
  type Fields,
  isStoreError,
  NotFound,
  Refused,
  type Store,
  type StoreError,
  type Watch,
  type WatchEvent,
} from '../datastore/port.ts'
import { isEmpty, parseBlock, sequenceOf } from '../ipam/block.ts'
import { isLoadBalancerBlock, LOAD_BALANCER, type ServiceHolder, serviceHolder } from '../ipam/load-balancer.ts'
import { holdPool, lacksFinalizer } from '../ipam/pool-release.ts'
import { Backoff } from '../lib/backoff.ts'
import { type Clock, formatSeconds } from '../lib/clock.ts'
import type { Log } from '../lib/log.ts'
import type { PlanStep } from './load-balancer-plan.ts'
import type { AddressRefusal, AssignIPs, Service } from './load-balancer-wish.ts'
import { isForServices, ServiceBlocks } from './service-blocks.ts'
import { conditionsWith, isOfInterest, keyOf, serviceEvent } from './service-status.ts'

type BlockObject = Resource<'IPAMBlock'>

export type LoadBalancerDeps = {
  store: Store
  clock: Clock
  log: Log
  /** Undefined while it cannot be told what people want: nothing is given or taken then. */
  assignIPs(): AssignIPs | undefined
  /** Every IPPool, as a watch told it last; undefined before the first list. */
  pools(): readonly IpPool[] | undefined
  /** A Service, or a block of Services, is another one than before. */
  changed(): void
}

/** A Service without an address that it asks for, by the last run. `error`: the API server refuses its status. */
export type Unassigned = { service: string; refused?: AddressRefusal; error?: StoreError }

/** What one run finds. */
type Run = {
  blocks: ServiceBlocks
  unassigned: Unassigned[]
  /** Services as the server has just told them. */
  asked: WeakSet<Service>
}

/** Calico's; all that counts is told by watches. */
const LOOK_MS = 300_000
const SOON_MS = 1_000
const MOST_RETRY_MS = 60_000
/** Services that are made together share a run. */
const REST_MS = 500
/** For one Service in a run: a block and an address of each family, the status, and what somebody else changed meanwhile. */
const MOST_STEPS = 16

const SERVICE_FIELDS = {
  metadata: {
    name: true,
    namespace: true,
    uid: true,
    resourceVersion: true,
    creationTimestamp: true,
    deletionTimestamp: true,
    annotations: true,
  },
  spec: {
    type: true,
    loadBalancerClass: true,
    loadBalancerIP: true,
    ipFamilies: true,
    ipFamilyPolicy: true,
    externalTrafficPolicy: true,
    selector: true,
    ports: { port: true, protocol: true },
  },
  status: true,
} as const satisfies Fields

const EVENT = { group: '', version: 'v1', plural: 'events', kind: 'Event' } as const

export class LoadBalancer {
  readonly name = 'service addresses'
  readonly restMs = REST_MS
  readonly #deps: LoadBalancerDeps
  readonly #backoff = new Backoff({ firstMs: SOON_MS, maxMs: MOST_RETRY_MS })
  readonly #services = new Map<string, Service>()
  readonly #blocks = new Map<string, BlockObject>()
  readonly #synced = { services: false, blocks: false }
  #watches: readonly Watch[] = []
  #unassigned: readonly Unassigned[] = []
  #events = 0

  constructor(deps: LoadBalancerDeps) {
    this.#deps = deps
  }

  close(): void {
    for (const watch of this.#watches) watch.close()
    this.#watches = []
    this.#synced.services = this.#synced.blocks = false
  }

  /** Services without an address that they ask for, as the last run found. */
  get unassigned(): readonly Unassigned[] {
    return this.#unassigned
  }

  /** Gives and takes what is to be. Resolves with the time until the next run. Rejects as the store, but for refusals of a status. */
  async run(): Promise<number> {
    this.#open()
    const { store, assignIPs, pools } = this.#deps
    const [wanted, all] = [assignIPs(), pools()]
    if (!this.#synced.services || !this.#synced.blocks) return SOON_MS
    if (wanted === undefined || all === undefined) return LOOK_MS // a change of both is told
    const reserved = (await store.list('IPReservation')).flatMap(({ spec }) => spec.reservedCIDRs)
    const selectsNamespace = await this.#namespaces(all)
    const inputs = { assignIPs: wanted, pools: all, reserved, selectsNamespace }
    const blocks = new ServiceBlocks(this.#deps, inputs, this.#services.values(), this.#blocks)
    const run: Run = { blocks, unassigned: [], asked: new WeakSet() }
    await this.#hold(all)
    for (const holder of run.blocks.plan.strangers()) await this.#askFor(holder, run)
    for (const service of [...this.#services.values()].sort(byAge)) await this.#serve(service, run)
    for (const name of run.blocks.plan.spares()) await run.blocks.remove(name)
    this.#unassigned = run.unassigned
    const isRefused = run.unassigned.some(({ error }) => error !== undefined)
    if (run.blocks.isLate || isRefused) return this.#backoff.next()
    this.#backoff.reset()
    return LOOK_MS
  }

  #open(): void {
    if (this.#watches.length > 0) return
    const { store, changed } = this.#deps
    const services = (event: WatchEvent<'Service'>) => {
      if (event.type === 'sync') {
        this.#services.clear()
        this.#synced.services = true
      }
      for (const item of event.type === 'sync' ? event.items : [event.item]) {
        const key = keyOf(item.metadata)
        const had = this.#services.delete(key)
        const isOne = event.type !== 'gone' && isOfInterest(item)
        if (isOne) this.#services.set(key, item)
        if (had || isOne) changed()
      }
      if (event.type === 'sync') changed()
    }
    const blocks = (event: WatchEvent<'IPAMBlock'>) => {
      if (event.type === 'sync') {
        this.#blocks.clear()
        this.#synced.blocks = true
      }
      for (const item of event.type === 'sync' ? event.items : [event.item]) {
        const { name } = item.metadata
        // its own write is known here before the watch tells what was before
        const had = this.#blocks.get(name)
        if (event.type === 'gone' && had !== undefined && !isSame(had, item)) continue
        const isOld = isSame(had, item) && sequenceOf(item) < sequenceOf(had!)
        if (event.type === 'gone' || !isLoadBalancerBlock(item)) this.#blocks.delete(name)
        else if (!isOld) this.#blocks.set(name, item)
      }
      changed()
    }
    this.#watches = [
      store.watch('Service', { event: services }, { fields: SERVICE_FIELDS }),
      store.watch('IPAMBlock', { event: blocks }, { fieldSelector: `spec.affinity=${LOAD_BALANCER}` }),
    ]
  }

  /** What the namespace selectors of pools for Services take. */
  async #namespaces(pools: readonly IpPool[]): Promise<(selector: string, namespace: string) => boolean | undefined> {
    const isAsked = ({ spec }: IpPool) => isForServices(spec) && !['', 'all()'].includes(spec.namespaceSelector ?? '')
    if (!pools.some(isAsked)) return () => undefined
    const namespaces = await this.#deps.store.list('Namespace')
    const labels = new Map(namespaces.map(({ metadata }) => [metadata.name, metadata.labels ?? {}]))
    return (selector, namespace) => {
      const its = labels.get(namespace)
      return its && matchesSelector(selector, its)
    }
  }

  /** Pools with addresses of Services go when those have gone: somebody may have taken the finalizer away. */
  async #hold(pools: readonly IpPool[]): Promise<void> {
    const used = [...this.#blocks.values()].filter(item => !isEmpty(parseBlock(item)))
    for (const pool of new Set(used.map(({ spec }) => poolOf(pools, spec.cidr))))
      if (pool !== undefined && lacksFinalizer(pool)) await holdPool(this.#deps.store, pool.metadata.name)
  }

  /** Takes from a Service that is gone what it had. One that is there is another matter. */
  async #askFor(holder: ServiceHolder, run: Run): Promise<void> {
    const now = await this.#now(holder)
    if (now !== undefined && serviceHolder(now.metadata).handle === holder.handle) {
      if (isOfInterest(now))
        run.blocks.isLate = true // the watch has not told of it
      else await this.#serve(now, run)
      return
    }
    for (let steps = 0; steps < MOST_STEPS; steps++) {
      const step = run.blocks.plan.forget(holder)
      if (step.do !== 'give') return
      await run.blocks.give(step)
    }
    run.blocks.isLate = true
  }

  async #serve(service: Service, run: Run): Promise<void> {
    let now: Service | undefined = service
    for (let steps = 0; steps < MOST_STEPS && now !== undefined; steps++) {
      const step = run.blocks.plan.step(now)
      if (step.do === 'nothing') {
        if (step.refused !== undefined) run.unassigned.push({ service: keyOf(now.metadata), refused: step.refused })
        return
      }
      if (step.do === 'claim') await run.blocks.claim(step)
      else if (step.do === 'give') {
        const isTaken = !step.holders.some(({ handle }) => handle === serviceHolder(service.metadata).handle)
        if (isTaken && !run.asked.has(now)) {
          // what the status has is what counts, and another program may have written it
          now = await this.#fresh(now, run)
          continue
        }
        await run.blocks.give(step)
      } else {
        const unknown = step.blocks.find(name => !run.blocks.isRead(name))
        if (unknown !== undefined) {
          await run.blocks.look(unknown)
          continue
        }
        try {
          now = await this.#say(now, step, run)
        } catch (error) {
          if (!(error instanceof Refused)) throw error
          run.unassigned.push({ service: keyOf(service.metadata), error })
          return
        }
      }
    }
    if (now !== undefined) run.blocks.isLate = true
  }

  /** The Service as it is at the server; undefined: it is another one now, and whoever looks next finds that out. */
  async #fresh({ metadata }: Service, run: Run): Promise<Service | undefined> {
    const key = keyOf(metadata)
    const now = await this.#now(metadata)
    run.blocks.forgetRead()
    const isOne = now !== undefined && now.metadata.uid === metadata.uid
    if (!isOne) run.blocks.isLate = true
    run.blocks.plan.setService(key, isOne ? now : undefined)
    if (!isOne) return undefined
    run.asked.add(now)
    return now
  }

  async #now({ name, namespace }: { name: string; namespace?: string }): Promise<Service | undefined> {
    return found(this.#deps.store.get('Service', name, namespace))
  }

  /** Writes the status of a Service. Resolves with the Service as it is then. Rejects as the store. */
  async #say(service: Service, step: PlanStep & { do: 'status' }, run: Run): Promise<Service | undefined> {
    const { store, clock } = this.#deps
    const { name, namespace, uid, resourceVersion } = service.metadata
    const { ingress } = step
    const conditions = conditionsWith(service, step, formatSeconds(clock.wallMs()))
    const patch = { metadata: { uid, resourceVersion }, status: { loadBalancer: { ingress }, conditions } }
    try {
      const written = await store.patch('Service', name, patch, { namespace, subresource: 'status' })
      run.blocks.plan.setService(keyOf(service.metadata), written)
      run.asked.add(written)
      if (this.#services.has(keyOf(service.metadata))) this.#services.set(keyOf(service.metadata), written)
      await this.#tell(written, step)
      return written
    } catch (error) {
      if (!(error instanceof Conflict || error instanceof NotFound)) throw error
      return this.#fresh(service, run)
    }
  }

  /** An Event about what was written just now; one that is lost costs nothing but itself. */
  async #tell({ metadata }: Service, step: PlanStep & { do: 'status' }): Promise<void> {
    const { store, clock, log } = this.#deps
    const object = serviceEvent({ metadata }, step, { atMs: clock.wallMs(), number: ++this.#events })
    const { reason, message } = object
    log.info({ service: keyOf(metadata), reason, message }, 'the status of a Service is written')
    try {
      await store.writeAny(EVENT, object)
    } catch (error) {
      if (!isStoreError(error)) throw error
      log.debug({ err: error, service: keyOf(metadata) }, 'an Event could not be written; the condition has the same')
    }
  }
}

function isSame(one: BlockObject | undefined, other: BlockObject): boolean {
  return one !== undefined && one.metadata.uid === other.metadata.uid
}

/** The oldest first: it keeps its address where two want one. */
function byAge({ metadata: a }: Service, { metadata: b }: Service): number {
  const age = ({ creationTimestamp = '' }: Service['metadata'], key: string) => `${creationTimestamp} ${key}`
  return age(a, keyOf(a)) < age(b, keyOf(b)) ? -1 : 1
}

async function found<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading
  } catch (error) {
    if (error instanceof NotFound) return undefined
    throw error
  }
}
