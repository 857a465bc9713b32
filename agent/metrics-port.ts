// The metrics at the port that FelixConfiguration names, as in Calico: off unless `prometheusMetricsEnabled` says otherwise. Who
// wants them encrypted, which is not there yet, gets them nowhere.
import { broken, type Condition, type ReasonOf } from '../api/status.ts'
import { configurationOf } from '../api/unsupported.ts'
import type { Clock } from '../lib/clock.ts'
import type { Log } from '../lib/log.ts'
import { MetricsServer } from '../lib/metrics-server.ts'
import { metricsSettings } from './cluster/settings.ts'
import type { ClusterView } from './cluster-view.ts'
import { type Measured, metricsPage } from './status/metrics-page.ts'

export type MetricsPortDeps = {
  nodeName: string
  view: Pick<ClusterView, 'onChange' | 'get'>
  agent: Measured
  clock: Clock
  log: Log
  report(conditions: readonly Condition[]): void
}

/** By the code of the error of Node. */
const BY_CODE: Readonly<Record<string, { reason: ReasonOf<'MetricsServed'>; remedy: string }>> = {
  EADDRINUSE: {
    reason: 'PortInUse',
    remedy: 'stop the program that listens there, or set another prometheusMetricsPort in the FelixConfiguration',
  },
  EADDRNOTAVAIL: {
    reason: 'NoSuchAddress',
    remedy: 'correct prometheusMetricsHost in the FelixConfiguration: this machine does not have the address',
  },
  ENOTFOUND: {
    reason: 'NoSuchAddress',
    remedy: 'set prometheusMetricsHost in the FelixConfiguration to an address of this machine, or leave it out',
  },
}

export class MetricsPort {
  readonly #deps: MetricsPortDeps
  readonly #server: MetricsServer

  constructor(deps: MetricsPortDeps) {
    const { agent, clock, log, report } = deps
    this.#deps = deps
    this.#server = new MetricsServer({
      ...{ clock, log },
      text: () => metricsPage(agent, { ofProcess: this.#settings().ofProcess }),
      problem: error => report(error === undefined ? [] : [unserved(error)]),
    })
  }

  /** Serves as FelixConfiguration says, now and after each change of it. */
  start(): void {
    this.#deps.view.onChange('FelixConfiguration', () => this.#follow())
    this.#follow()
  }

  close(): void {
    this.#server.close()
  }

  #follow(): void {
    void this.#server.want(this.#settings().at)
  }

  #settings(): ReturnType<typeof metricsSettings> {
    const { view, nodeName } = this.#deps
    const own = view.get('FelixConfiguration', configurationOf(nodeName))
    return metricsSettings(view.get('FelixConfiguration', 'default'), own)
  }
}

function unserved({ code = '', message }: Error & { code?: string }): Condition {
  const { reason, remedy } = BY_CODE[code] ?? {
    reason: 'CannotListen' as const,
    remedy: 'look at what the system says',
  }
  return broken('MetricsServed', {
    ...{ reason, remedy },
    message: `the metrics are not served where FelixConfiguration says: ${message}; it is tried again every few seconds`,
  })
}
