// Objects that the lab's Kubernetes gets, as values: the cluster's DNS, pods and Services to try the network with.
import { LAB_IMAGE } from './programs.ts'

type Labels = Readonly<Record<string, string>>

/** CoreDNS as kubeadm runs it, in pods: two that prefer different nodes, and the Service that pods ask. */
export function dnsObjects(image: string, clusterIP: string): unknown[] {
  const labels = { 'k8s-app': 'kube-dns' }
  const meta = { name: 'coredns', namespace: 'kube-system' }
  const corefile = `.:53 {
    errors
    health { lameduck 1s }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa { pods insecure }
    cache 5
    reload
}
`.replace(/\{ (.*) \}/g, '{\n        $1\n    }')
  const rights = [
    { apiGroups: [''], resources: ['endpoints', 'services', 'pods', 'namespaces'], verbs: ['list', 'watch'] },
  ]
  const slices = [{ apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: ['list', 'watch'] }]
  const role = { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'lab:coredns' }
  const subject = { kind: 'ServiceAccount', ...meta }
  return [
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: meta },
    {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRole',
      metadata: { name: 'lab:coredns' },
      rules: [...rights, ...slices],
    },
    {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRoleBinding',
      metadata: { name: 'lab:coredns' },
      roleRef: role,
      subjects: [subject],
    },
    { apiVersion: 'v1', kind: 'ConfigMap', metadata: meta, data: { Corefile: corefile } },
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { ...meta, labels },
      spec: {
        replicas: 1,
        selector: { matchLabels: labels },
        template: {
          metadata: { labels },
          spec: {
            serviceAccountName: 'coredns',
            priorityClassName: 'system-cluster-critical',
            dnsPolicy: 'Default',
            containers: [
              {
                name: 'coredns',
                image,
                imagePullPolicy: 'Never',
                command: ['/coredns', '-conf', '/etc/coredns/Corefile'],
                volumeMounts: [{ name: 'config', mountPath: '/etc/coredns' }],
                readinessProbe: { httpGet: { path: '/ready', port: 8181 }, periodSeconds: 2 },
              },
            ],
            volumes: [{ name: 'config', configMap: { name: 'coredns' } }],
          },
        },
      },
    },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'kube-dns', namespace: 'kube-system', labels },
      spec: {
        clusterIP,
        selector: labels,
        ports: [
          { name: 'dns', port: 53, protocol: 'UDP' },
          { name: 'dns-tcp', port: 53, protocol: 'TCP' },
        ],
      },
    },
  ]
}

export type DeploymentOptions = {
  /** Puts every pod on one node, without the scheduler; without it they spread over the nodes. */
  node?: string
  port?: number
  /** Fields that the pods get, or get in place of ours. */
  pod?: Readonly<Record<string, unknown>>
  /** Fields that the one container gets, or gets in place of ours. */
  container?: Readonly<Record<string, unknown>>
}

/** A Deployment of agnhost's HTTP server. */
export function deployment(name: string, replicas: number, options: DeploymentOptions = {}): unknown {
  const labels: Labels = { app: name }
  const { node, port = 8080, pod = {}, container = {} } = options
  const spread = {
    maxSkew: 1,
    topologyKey: 'kubernetes.io/hostname',
    whenUnsatisfiable: 'DoNotSchedule',
    labelSelector: { matchLabels: labels },
  }
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, labels },
    spec: {
      replicas,
      selector: { matchLabels: labels },
      strategy: { rollingUpdate: { maxSurge: '100%', maxUnavailable: 0 } },
      template: {
        metadata: { labels },
        spec: {
          terminationGracePeriodSeconds: 0,
          ...(node === undefined ? { topologySpreadConstraints: [spread] } : { nodeName: node }),
          ...pod,
          containers: [
            {
              name: 'main',
              image: LAB_IMAGE,
              imagePullPolicy: 'Never',
              args: ['netexec', `--http-port=${port}`, '--udp-port=-1'],
              ports: [{ containerPort: port }],
              ...container,
            },
          ],
        },
      },
    },
  }
}

/** A Service in front of the pods of `deployment(name)`: its port 80 is port 8080 of theirs. */
export function service(
  name: string,
  options: { type?: 'ClusterIP' | 'NodePort'; protocol?: 'TCP' | 'UDP' } = {},
): unknown {
  const { type = 'ClusterIP', protocol = 'TCP' } = options
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name },
    spec: { type, selector: { app: name }, ports: [{ port: 80, targetPort: 8080, protocol }] },
  }
}

/** The words for kubectl that change an object by a merge patch, or by a list of steps (RFC 6902). `what`: kind/name. */
export function patchWords(what: string, patch: object): string[] {
  return ['patch', what, `--type=${Array.isArray(patch) ? 'json' : 'merge'}`, '-p', JSON.stringify(patch)]
}
