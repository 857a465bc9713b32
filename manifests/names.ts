// What the objects of an installation are called, and what an operator may change of them. A chart has the same objects with
// templates in the place of the settings.
import { packageVersion } from '../lib/package-files.ts'

export type ManifestObject = {
  apiVersion: string
  kind: string
  metadata: Record<string, unknown>
  [field: string]: unknown
}

export type Settings = {
  image: string
  pullPolicy: string
  namespace: string
  /** Of the host: where its runtime looks for plugins and networks. */
  cniBinDir: string
  cniConfDir: string
  cniConfName: string
  /** Nodes that may be without their agent at once while a new version comes. */
  maxUnavailable: string
}

export const NAMES = {
  node: 'margay-node',
  controllers: 'margay-controllers',
  remove: 'margay-remove',
  config: 'margay-config',
} as const

/** The settings of a kubeadm cluster. */
export function usualSettings(): Settings {
  return {
    image: `docker.io/margay/margay:${packageVersion()}`,
    pullPolicy: 'IfNotPresent',
    namespace: 'kube-system',
    cniBinDir: '/opt/cni/bin',
    cniConfDir: '/etc/cni/net.d',
    cniConfName: '10-margay.conflist',
    maxUnavailable: '10%',
  }
}

/** What the objects of one part have in common, and its pods are selected by. */
export function labelsOf(name: string): Record<string, string> {
  return { 'app.kubernetes.io/name': name, 'app.kubernetes.io/part-of': 'margay' }
}

/** Programs in the image. */
export const PROGRAM = {
  node: ['/usr/bin/node', '/opt/margay/margay-node.js'],
  controllers: ['/usr/bin/node', '/opt/margay/margay-controllers.js'],
} as const

/** A user and group of the image without any right. */
export const NOBODY = 65532

/** A variable that has the value of a key of the ConfigMap. Without the key it is not set, or the pod does not start. */
export function fromConfig(name: string, key: string, without: 'unset' | 'refused' = 'refused'): object {
  const optional = without === 'unset' ? { optional: true } : {}
  return { name, valueFrom: { configMapKeyRef: { name: NAMES.config, key, ...optional } } }
}

/** Without the ConfigMap, as when it was deleted before the removal, the server is asked. */
export const API_GROUP = fromConfig('MARGAY_API_GROUP', 'apiGroup', 'unset')

/**
 * The API server: in a pod's environment is the address of its Service, for which kube-proxy has to run. Another address is
 * taken from the ConfigMap.
 */
export const API_SERVER = [
  fromConfig('KUBERNETES_SERVICE_HOST', 'apiServerHost', 'unset'),
  fromConfig('KUBERNETES_SERVICE_PORT', 'apiServerPort', 'unset'),
]

/** The pod's own token, certificate and namespace, for one container of it: the others have none. */
export const TOKEN = {
  volume: {
    name: 'token',
    projected: {
      sources: [
        { serviceAccountToken: { path: 'token', expirationSeconds: 3607 } },
        { configMap: { name: 'kube-root-ca.crt', items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
        { downwardAPI: { items: [{ path: 'namespace', fieldRef: { fieldPath: 'metadata.namespace' } }] } },
      ],
    },
  },
  mount: { name: 'token', mountPath: '/var/run/secrets/kubernetes.io/serviceaccount', readOnly: true },
} as const
