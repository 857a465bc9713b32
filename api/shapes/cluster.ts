// The cluster as a whole: KubeControllersConfiguration and ClusterInformation.
import {
  between,
  bool,
  byDefault,
  type KindShape,
  list,
  mapOf,
  meaning,
  object,
  once,
  oneOf,
  set,
  text,
} from './shape.ts'

const controllers = once(() =>
  object({
    loadBalancer: object({
      assignIPs: byDefault(oneOf('AllServices', 'RequestedServicesOnly'), 'AllServices'),
    }),
    migration: object({
      policyNameMigrator: byDefault(oneOf('Disabled', 'Enabled'), 'Enabled'),
    }),
    namespace: object({
      reconcilerPeriod: text(),
    }),
    node: object({
      hostEndpoint: object({
        autoCreate: oneOf('Enabled', 'Disabled'),
        createDefaultHostEndpoint: meaning('switch'),
        templates: list(
          object({
            annotations: mapOf(text()),
            generateName: meaning('name', text(253)),
            interfaceCIDRs: set(meaning('range')),
            interfacePattern: meaning('expression'),
            labels: mapOf(meaning('labelValue')),
            nodeSelector: meaning('selector'),
          }),
        ),
      }),
      leakGracePeriod: text(),
      reconcilerPeriod: text(),
      syncLabels: oneOf('Enabled', 'Disabled'),
    }),
    policy: object({
      reconcilerPeriod: text(),
    }),
    serviceAccount: object({
      reconcilerPeriod: text(),
    }),
    workloadEndpoint: object({
      reconcilerPeriod: text(),
    }),
  }),
)

const settings = once(() =>
  object({
    'controllers!': controllers(),
    debugProfilePort: between(0, 65535, { format: 'int32' }),
    etcdV3CompactionPeriod: text(),
    healthChecks: byDefault(oneOf('Enabled', 'Disabled'), 'Enabled'),
    logSeverityScreen: oneOf('None', 'Debug', 'Info', 'Warning', 'Error', 'Fatal', 'Panic'),
    prometheusMetricsPort: between(0, 65535),
  }),
)

export const kubeControllersConfiguration = once(
  (): KindShape => ({
    spec: settings(),
    status: object({
      environmentVars: mapOf(text()),
      runningConfig: settings(),
    }),
  }),
)

export const clusterInformation = once(
  (): KindShape => ({
    spec: object({
      calicoVersion: text(),
      clusterGUID: text(),
      clusterType: text(),
      datastoreReady: bool,
      variant: text(),
    }),
  }),
)
