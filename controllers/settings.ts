// What the KubeControllersConfiguration named `default` says, with defaults where it says nothing. Pure.
import { durationSeconds } from '../api/fields.ts'
import type { Resource } from '../api/kinds.ts'
import { levelBesideDefault } from '../api/log-settings.ts'
import type { LogLevel } from '../lib/log.ts'
import type { HostEndpointSettings } from './auto-host-endpoints.ts'
import type { AssignIPs } from './load-balancer-wish.ts'

export type Settings = {
  /** How long a Node must be gone before the owner of its blocks is asked; undefined: blocks are never freed. */
  graceMs: number | undefined
  /** How often all blocks are looked at when no Node went. */
  periodMs: number
}

/** Calico's. */
const PERIOD_MS = 300_000
/** Shorter ones would list the blocks of a large cluster again and again. */
const LEAST_PERIOD_MS = 10_000

/** `graceMs` is what counts when the object says nothing of it. */
export function settingsOf(object: Resource<'KubeControllersConfiguration'> | undefined, graceMs: number): Settings {
  const { leakGracePeriod, reconcilerPeriod } = object?.spec.controllers.node ?? {}
  const graceSeconds = leakGracePeriod === undefined ? undefined : durationSeconds(leakGracePeriod)
  const periodMs = reconcilerPeriod === undefined ? PERIOD_MS : durationSeconds(reconcilerPeriod) * 1000
  return {
    graceMs: graceSeconds === undefined ? graceMs : graceSeconds === 0 ? undefined : graceSeconds * 1000,
    // 0 means never to Calico: what was missed is found all the same, after the usual time
    periodMs: periodMs === 0 ? PERIOD_MS : Math.max(periodMs, LEAST_PERIOD_MS),
  }
}

/** Which HostEndpoints Nodes are to have: none where the object says nothing of it, as in Calico. */
export function hostEndpointSettings(object: Resource<'KubeControllersConfiguration'>): HostEndpointSettings {
  const { hostEndpoint } = object.spec.controllers.node ?? {}
  return hostEndpoint ?? { autoCreate: 'Disabled', createDefaultHostEndpoint: 'Enabled', templates: [] }
}

/** Which Services without a class get addresses: where the object says nothing of it, those that ask by an annotation. */
export function assignIPsOf(object: Resource<'KubeControllersConfiguration'> | undefined): AssignIPs {
  return object?.spec.controllers.loadBalancer?.assignIPs ?? 'RequestedServicesOnly'
}

/** What the log should say, where the object says more or less than Info: its schema fills that in. */
export function logLevelOf(object: Resource<'KubeControllersConfiguration'> | undefined): LogLevel | undefined {
  return levelBesideDefault(object?.spec.logSeverityScreen)
}
