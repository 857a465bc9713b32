// What margay-controllers does for the whole cluster, wired to one datastore: who leads, the leader's chores, and what is to
// be said of them. A write is made only while this program leads and the datastore is not locked, which is asked before each.
import { CONTROLLER_CONDITION_TYPES, type ControllerCondition } from '../api/controller-conditions.ts'
import { guardedStore } from '../datastore/guarded.ts'
import type { Store } from '../datastore/port.ts'
import type { Clock } from '../lib/clock.ts'
import type { Log } from '../lib/log.ts'
import { LogLevels } from '../lib/log-levels.ts'
import { MetricsServer } from '../lib/metrics-server.ts'
import { packageVersion } from '../lib/package-files.ts'
import { processText } from '../lib/process-metrics.ts'
import { type Chore, Chores } from './chores.ts'
import { ClusterPolicyConditions } from './cluster-policy-conditions.ts'
import { Collector } from './collector.ts'
import { controllerConditions } from './conditions.ts'
import { DatastoreLock } from './datastore-lock.ts'
import { DefaultObject } from './default-object.ts'
import { DeletedPools } from './deleted-pools.ts'
import { FirstObjects } from './first-objects.ts'
import { HostEndpoints } from './host-endpoints.ts'
import { Lease } from './lease.ts'
import { LoadBalancer } from './load-balancer.ts'
import { metricsText, type Numbers } from './metrics.ts'
import { Nodes } from './nodes.ts'
import { PolicyStatuses } from './policy-statuses.ts'
import { PoolConditions } from './pool-conditions.ts'
import { PoolForecasts } from './pool-forecasts.ts'
import { Reflectors } from './reflectors.ts'
import { ReusedAddresses } from './reused-addresses.ts'
import { assignIPsOf, hostEndpointSettings, logLevelOf, settingsOf } from './settings.ts'

export type ControllersOptions = {
  /** Of this run of the program alone. */
  identity: string
  /** Where the Lease is. */
  namespace: string
  /** How long it counts; absent: as `Lease` has it. */
  leaseSeconds?: number
  /** How long a Node must be gone before the owner of its blocks is asked, where KubeControllersConfiguration says nothing. */
  graceMs: number
  /** How long the owner has to answer. */
  answerMs: number
  /** The ranges of the first pools; absent: kubeadm's, whose ClusterConfiguration `kubeadm` reads. */
  firstPools?: readonly string[]
  kubeadm?: () => string | undefined
}

export type ControllersDeps = { store: Store; clock: Clock; log: Log }

/** What only the leader sees. */
type Look = Pick<Collector, 'waiting' | 'unclear' | 'census'> & {
  pools: DeletedPools['waiting']
  forecasts: PoolForecasts['found']
  unmade: HostEndpoints['unmade']
  unassigned: LoadBalancer['unassigned']
  reflectors: Reflectors['problem']
  behind: ReusedAddresses['behind']
  failures: ReturnType<Chores['failures']>
}

const NO_LOOK: Look = {
  ...{ waiting: [], unclear: [], census: [], pools: [], forecasts: [], unmade: [], unassigned: [] },
  ...{ reflectors: undefined, behind: [], failures: [] },
}

const LEASE_NAME = 'margay-controllers'

export class Controllers {
  readonly #lease: Lease
  readonly #nodes: Nodes
  readonly #configuration = new DefaultObject<'KubeControllersConfiguration'>()
  readonly #lock: DatastoreLock
  readonly #collector: Collector
  readonly #pools: DeletedPools
  readonly #forecasts: PoolForecasts
  readonly #hostEndpoints: HostEndpoints
  readonly #loadBalancer: LoadBalancer
  readonly #policyStatuses: PolicyStatuses
  readonly #reusedAddresses: ReusedAddresses
  readonly #bgp = new DefaultObject<'BGPConfiguration'>()
  readonly #reflectors: Reflectors
  readonly #policyConditions: ClusterPolicyConditions
  readonly #chores: Chores
  readonly #store: Store
  readonly #metrics: MetricsServer
  readonly #levels: LogLevels<'controllers'>
  #metricsFailure: Error | undefined
  #works = false
  #closed = false

  constructor(options: ControllersOptions, { store, clock, log }: ControllersDeps) {
    this.#levels = new LogLevels(log, ['controllers'], 'controllers')
    const { identity, namespace, graceMs, answerMs, firstPools, kubeadm = () => undefined } = options
    const { leaseSeconds: seconds } = options
    const led = guardedStore(store, () => (this.#lease.leads ? this.#lock.why : 'another margay-controllers leads'))
    this.#store = store
    this.#lease = new Lease({
      ...{ store, clock, log, identity, namespace, name: LEASE_NAME, seconds },
      changed: () => this.#turn(),
    })
    this.#lock = new DatastoreLock({
      ...{ store, clock, publishMs: answerMs },
      changed: () => this.#turn(),
      ended: () => {
        this.#collector.forgetAsked()
        this.#nodes.beginAnew()
      },
    })
    this.#nodes = new Nodes({ store, clock, gone: () => this.#chores.hurry('blocks') })
    this.#collector = new Collector({
      ...{ store: led, nodes: this.#nodes, clock, log, identity, answerMs },
      pools: () => this.#pools.all(),
      settings: () =>
        this.#configuration.unknown === undefined ? settingsOf(this.#configuration.current, graceMs) : undefined,
      freed: () => this.#chores.hurry('pools'),
      counted: () => this.#chores.hurry('pool forecasts'),
    })
    this.#pools = new DeletedPools({
      ...{ store: led, log },
      deleted: () => this.#chores.hurry('pools'),
      changed: () => {
        for (const chore of ['pool conditions', 'pool forecasts', 'service addresses']) this.#chores.hurry(chore)
      },
    })
    const poolConditions = new PoolConditions({ store: led, clock, pools: () => this.#pools.all() })
    this.#forecasts = new PoolForecasts({
      ...{ store: led, nodes: this.#nodes, pools: () => this.#pools.all() },
      blocks: () => this.#collector.blocks,
    })
    const first = new FirstObjects({ store: led, log, pools: firstPools, kubeadm })
    this.#hostEndpoints = new HostEndpoints({
      ...{ store: led, log },
      settings: () => {
        const { unknown, current } = this.#configuration
        return unknown === undefined && current !== undefined ? hostEndpointSettings(current) : undefined
      },
      changed: () => this.#chores.hurry('host endpoints'),
    })
    this.#loadBalancer = new LoadBalancer({
      ...{ store: led, clock, log },
      assignIPs: () =>
        this.#configuration.unknown === undefined ? assignIPsOf(this.#configuration.current) : undefined,
      pools: () => (this.#pools.synced ? this.#pools.all() : undefined),
      changed: () => this.#chores.hurry('service addresses'),
    })
    this.#policyStatuses = new PolicyStatuses({
      ...{ store: led, clock },
      changed: () => this.#chores.hurry('policy statuses'),
      receipt: (node, said) => {
        this.#reusedAddresses.take(node, said)
        this.#reflectors.take(node, said)
      },
    })
    this.#policyConditions = new ClusterPolicyConditions({
      ...{ store: led, clock },
      changed: () => this.#chores.hurry('cluster policy conditions'),
    })
    this.#reusedAddresses = new ReusedAddresses({
      ...{ store: led, clock, log },
      known: () => this.#policyStatuses.receiptsKnown,
      changed: () => this.#chores.hurry('reused addresses'),
    })
    this.#reflectors = new Reflectors({
      ...{ store: led, clock, log },
      configuration: this.#bgp,
      known: () => this.#policyStatuses.receiptsKnown,
      changed: () => this.#chores.hurry('reflectors'),
    })
    const chores: readonly Chore[] = [
      ...[first, this.#collector, this.#forecasts, this.#pools, poolConditions, this.#hostEndpoints],
      ...[this.#loadBalancer, this.#policyStatuses, this.#policyConditions, this.#reusedAddresses, this.#reflectors],
    ]
    this.#chores = new Chores(chores, { clock, log })
    this.#metrics = new MetricsServer({
      ...{ clock, log },
      text: () => this.metrics(),
      problem: error => {
        this.#metricsFailure = error
      },
    })
  }

  start(): void {
    this.#nodes.start()
    this.#pools.start()
    this.#configuration.start(
      handlers => this.#store.watch('KubeControllersConfiguration', handlers),
      () => this.#configured(),
    )
    this.#bgp.start(
      handlers => this.#store.watch('BGPConfiguration', handlers),
      () => this.#chores.hurry('reflectors'),
    )
    this.#lock.start()
    this.#lease.start()
  }

  /** Ends after the write under way, and lets another program lead at once. The caller closes the store. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#nodes.close()
    this.#pools.close()
    this.#hostEndpoints.close()
    this.#loadBalancer.close()
    this.#policyStatuses.close()
    this.#policyConditions.close()
    this.#bgp.close()
    this.#reflectors.close()
    this.#configuration.close()
    this.#lock.close()
    this.#metrics.close()
    await this.#lease.close()
    await this.#chores.close()
  }

  /** What is wrong now; empty when all is well. */
  conditions(): ControllerCondition[] {
    return controllerConditions({
      ...this.#look(),
      leaseFailure: this.#lease.failure,
      configurationFault: this.#configuration.unknown,
      configurations: this.#configuration.all(),
      lockFault: this.#lock.unknown,
      hold: this.#lock.hold,
      metricsFailure: this.#metricsFailure,
    })
  }

  /** Whether this program leads, or would when the leader goes. */
  ready(): boolean {
    return !this.conditions().some(({ type }) => CONTROLLER_CONDITION_TYPES[type].vital)
  }

  numbers(): Numbers {
    const { census, waiting, unclear, forecasts } = this.#look()
    const { freed } = this.#collector
    const { leads } = this.#lease
    const counts = { waiting: waiting.length, unclear: unclear.length }
    return { leads, census, freed, forecasts, ...counts, pools: leads ? this.#pools.all() : [] }
  }

  /** All metrics, as a scraper reads them. */
  metrics(): string {
    return metricsText(packageVersion(), this.numbers(), this.conditions()) + processText()
  }

  /** The chores are done while this program leads and there is no lock. */
  #turn(): void {
    const works = this.#lease.leads && this.#lock.why === undefined
    if (works === this.#works) return
    this.#works = works
    this.#chores.lead(works)
  }

  #configured(): void {
    this.#chores.hurry('blocks')
    this.#chores.hurry('host endpoints')
    this.#chores.hurry('service addresses')
    const { unknown, current } = this.#configuration
    if (unknown !== undefined || this.#closed) return // what held before holds
    const { prometheusMetricsPort: port = 0 } = current?.spec ?? {}
    this.#levels.configure({ all: logLevelOf(current) })
    void this.#metrics.want(port === 0 ? undefined : { port })
  }

  /** What the chores found when they last ran. Where another program leads, that one tells it: here it is old. */
  #look(): Look {
    if (!this.#lease.leads) return NO_LOOK
    const { waiting, unclear, census } = this.#collector
    const { unmade } = this.#hostEndpoints
    const { unassigned } = this.#loadBalancer
    const { behind } = this.#reusedAddresses
    const { problem: reflectors } = this.#reflectors
    const [pools, forecasts, failures] = [this.#pools.waiting, this.#forecasts.found, this.#chores.failures()]
    return { waiting, unclear, census, pools, forecasts, unmade, unassigned, reflectors, behind, failures }
  }
}
