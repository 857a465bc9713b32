// How this node is seen from outside, as the cluster's configuration wants it: metrics at a port, Events about the Node object,
// and the levels of the log.
import { LOG_ROOMS, type LogRoom, levelBesideDefault, levelOfSeverity } from '../api/log-settings.ts'
import type { Condition, EventRecord } from '../api/status.ts'
import { configurationOf } from '../api/unsupported.ts'
import type { Store } from '../datastore/port.ts'
import type { Clock } from '../lib/clock.ts'
import type { Log } from '../lib/log.ts'
import { LogLevels } from '../lib/log-levels.ts'
import type { ClusterView } from './cluster-view.ts'
import { MetricsPort } from './metrics-port.ts'
import type { NetworkCondition } from './serving.ts'
import { KubernetesEvents } from './status/kubernetes-events.ts'
import type { Measured } from './status/metrics-page.ts'

export type ReportingDeps = {
  nodeName: string
  view: Pick<ClusterView, 'onChange' | 'get'>
  store: Pick<Store, 'writeAny'>
  agent: Measured
  clock: Clock
  levels: LogLevels<LogRoom>
  report(conditions: readonly Condition[]): void
}

/** The levels of an agent's rooms. What belongs to no room is of the agent as a whole. */
export function agentLevels(log: Log): LogLevels<LogRoom> {
  return new LogLevels(log, Object.keys(LOG_ROOMS) as LogRoom[], 'agent')
}

export class Reporting {
  readonly #deps: ReportingDeps
  readonly #metrics: MetricsPort
  readonly #events: KubernetesEvents

  constructor(deps: ReportingDeps) {
    const { nodeName, view, levels } = deps
    const log = levels.room('agent')
    this.#deps = deps
    this.#metrics = new MetricsPort({ ...deps, log })
    this.#events = new KubernetesEvents({
      ...{ ...deps, log },
      nodeUid: () => view.get('Node', nodeName)?.metadata.uid,
    })
  }

  /** Follows the configuration from now on. */
  start(): void {
    const { view } = this.#deps
    this.#metrics.start()
    view.onChange('FelixConfiguration', () => this.#setLevels())
    view.onChange('BGPConfiguration', () => this.#setLevels())
    this.#setLevels()
  }

  /** Takes each event of the node. */
  record(event: EventRecord): void {
    this.#events.news.record(event)
  }

  /** Takes all conditions of the node, and what its Node object is to say of the network. */
  look(conditions: readonly Condition[], network: NetworkCondition | undefined): void {
    this.#events.news.look(conditions)
    this.#events.news.network(network)
  }

  close(): void {
    this.#metrics.close()
    this.#events.close()
  }

  #setLevels(): void {
    const { view, nodeName, levels } = this.#deps
    const own = view.get('FelixConfiguration', configurationOf(nodeName))
    const felix = view.get('FelixConfiguration', 'default')
    const ofBgp = [configurationOf(nodeName), 'default'].map(name => view.get('BGPConfiguration', name))
    const [bgp] = ofBgp.flatMap(object => levelBesideDefault(object?.spec.logSeverityScreen) ?? [])
    const all = levelOfSeverity(own?.spec.logSeverityScreen ?? felix?.spec.logSeverityScreen)
    levels.configure({ ...(all !== undefined && { all }), ...(bgp !== undefined && { rooms: { bgp } }) })
  }
}
