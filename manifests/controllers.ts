// The Deployment of the controllers. On the network of the host: they must run before pods have a network, and when no address
// is left. Two, of which one leads, on two nodes: both would listen at one port.
import {
  API_GROUP,
  API_SERVER,
  fromConfig,
  labelsOf,
  type ManifestObject,
  NAMES,
  NOBODY,
  PROGRAM,
  type Settings,
  TOKEN,
} from './names.ts'

const PORT = 9098

const probe = (path: string, periodSeconds: number) => ({
  httpGet: { host: '127.0.0.1', port: PORT, path },
  ...{ periodSeconds, failureThreshold: 3, timeoutSeconds: 5 },
})

export function controllersDeployment({ image, pullPolicy, namespace }: Settings): ManifestObject {
  const labels = labelsOf(NAMES.controllers)
  const container = {
    name: 'controllers',
    image,
    imagePullPolicy: pullPolicy,
    args: [
      PROGRAM.controllers[1],
      '--listen',
      `127.0.0.1:${PORT}`,
      '--log-level',
      '$(LOG_LEVEL)',
      '--first-pools',
      '$(FIRST_POOLS)',
    ],
    env: [API_GROUP, fromConfig('LOG_LEVEL', 'logLevel'), fromConfig('FIRST_POOLS', 'firstPools'), ...API_SERVER],
    securityContext: {
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    },
    resources: { requests: { cpu: '20m', memory: '80Mi' } },
    livenessProbe: { ...probe('/livez', 30), initialDelaySeconds: 10 },
    readinessProbe: probe('/readyz', 10),
    volumeMounts: [TOKEN.mount, { name: 'kubeadm', mountPath: '/etc/kubeadm', readOnly: true }],
  }
  const pod = {
    hostNetwork: true,
    priorityClassName: 'system-cluster-critical',
    serviceAccountName: NAMES.controllers,
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    nodeSelector: { 'kubernetes.io/os': 'linux' },
    tolerations: [
      { key: 'CriticalAddonsOnly', operator: 'Exists' },
      ...['control-plane', 'master'].map(role => ({ key: `node-role.kubernetes.io/${role}`, operator: 'Exists' })),
      ...['not-ready', 'network-unavailable'].map(key => ({ key: `node.kubernetes.io/${key}`, operator: 'Exists' })),
    ],
    affinity: {
      podAntiAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: [
          { labelSelector: { matchLabels: labels }, topologyKey: 'kubernetes.io/hostname' },
        ],
      },
    },
    securityContext: {
      ...{ runAsNonRoot: true, runAsUser: NOBODY, runAsGroup: NOBODY, fsGroup: NOBODY },
      seccompProfile: { type: 'RuntimeDefault' },
    },
    containers: [container],
    // of a kubeadm cluster: its podSubnet is the first pool
    volumes: [TOKEN.volume, { name: 'kubeadm', configMap: { name: 'kubeadm-config', optional: true } }],
  }
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: NAMES.controllers, namespace, labels },
    spec: {
      replicas: 2,
      selector: { matchLabels: labels },
      strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 0, maxUnavailable: 1 } },
      template: { metadata: { labels }, spec: pod },
    },
  }
}

/** A drain of nodes leaves one of the two. */
export function controllersBudget({ namespace }: Settings): ManifestObject {
  const labels = labelsOf(NAMES.controllers)
  return {
    apiVersion: 'policy/v1',
    kind: 'PodDisruptionBudget',
    metadata: { name: NAMES.controllers, namespace, labels },
    spec: { maxUnavailable: 1, selector: { matchLabels: labels } },
  }
}
