// How each program of the lab's Kubernetes is started: command lines and configuration files as values.
import { join } from 'node:path'
import { systemProgram } from '../../lib/system-program.ts'
import type { NodePlan, Plan } from '../plan.ts'
import { binary } from './binaries.ts'
import { DNS_SERVICE, type KubernetesCredentials, SERVICE_CIDR, SERVICE_CIDR6 } from './credentials.ts'

/** Of all pods: the pools that the network is told to use, and what kube-proxy takes for pods. */
export const POD_CIDR = '10.244.0.0/16'
export const POD_CIDR6 = 'fd00:10:244::/56'
export const LAB_IMAGE = 'registry.local/margay-lab/tools:1'
export const SANDBOX_IMAGE = 'registry.local/margay-lab/pause:1'
const ETCD = 'http://127.0.0.1:2379'

export type ProxyMode = 'nftables' | 'iptables'

export type ControlPlaneName = 'etcd' | 'kube-apiserver' | 'kube-controller-manager' | 'kube-scheduler'

/** The control plane's command lines, in the order of starting. */
export function controlPlane(
  dir: string,
  plan: Plan,
  credentials: KubernetesCredentials,
): Readonly<Record<ControlPlaneName, readonly string[]>> {
  const { certFile, keyFile, usersFile, adminFile } = credentials
  const { address, port } = plan.api
  return {
    etcd: [
      ...[binary('etcd'), '--data-dir', join(dir, 'etcd'), '--unsafe-no-fsync', '--log-level', 'warn'],
      ...['--listen-client-urls', ETCD, '--advertise-client-urls', ETCD, '--listen-peer-urls', 'http://127.0.0.1:2380'],
    ],
    'kube-apiserver': [
      ...[
        binary('kube-apiserver'),
        '--etcd-servers',
        ETCD,
        '--service-cluster-ip-range',
        both(plan, SERVICE_CIDR, SERVICE_CIDR6),
      ],
      ...['--advertise-address', address, '--bind-address', '0.0.0.0', '--secure-port', String(port)],
      ...['--tls-cert-file', certFile, '--tls-private-key-file', keyFile, '--client-ca-file', certFile],
      ...['--service-account-key-file', certFile, '--service-account-signing-key-file', keyFile],
      ...['--service-account-issuer', 'https://kubernetes.default.svc', '--token-auth-file', usersFile],
      ...['--audit-policy-file', join(dir, 'control', 'audit-policy.json'), '--audit-log-path', auditLog(dir)],
      ...['--authorization-mode', 'Node,RBAC', '--allow-privileged', '--kubelet-preferred-address-types', 'InternalIP'],
    ],
    'kube-controller-manager': [
      ...[binary('kube-controller-manager'), '--kubeconfig', adminFile, '--leader-elect=false'],
      ...['--service-account-private-key-file', keyFile, '--root-ca-file', certFile],
      ...['--use-service-account-credentials', '--node-monitor-grace-period', '50s'],
    ],
    'kube-scheduler': [binary('kube-scheduler'), '--kubeconfig', adminFile, '--leader-elect=false'],
  }
}

/** A value of one family, or of both as Kubernetes' programs want it. */
function both({ ipv6 }: Plan, ipv4Value: string, ipv6Value: string): string {
  return ipv6 ? `${ipv4Value},${ipv6Value}` : ipv4Value
}

/** Where the API server writes what programs of the namespace kube-system asked it, a JSON object per line. */
export function auditLog(dir: string): string {
  return join(dir, 'control', 'audit.log')
}

/** One stage of a request, as kube-apiserver logs it (audit.k8s.io/v1). */
export type AuditEvent = {
  stage: 'RequestReceived' | 'ResponseStarted' | 'ResponseComplete' | 'Panic'
  verb: string
  requestURI: string
  user: { username: string }
  userAgent?: string
  objectRef?: { resource: string; name?: string; subresource?: string }
  responseStatus?: { code: number }
  requestReceivedTimestamp: string
  stageTimestamp: string
}

export const AUDIT_POLICY = {
  apiVersion: 'audit.k8s.io/v1',
  kind: 'Policy',
  rules: [{ level: 'Metadata', userGroups: ['system:serviceaccounts:kube-system'] }, { level: 'None' }],
}

/** Files of a node below /etc, by their path there. */
export function nodeFiles(node: NodePlan, cgroup: string, kubeconfig: string, nameserver: string) {
  return {
    'containerd/config.toml': containerdConfiguration(),
    'kubernetes/kubelet.json': JSON.stringify(kubeletConfiguration(cgroup), null, 2),
    'kubernetes/kubelet.conf': kubeconfig,
    'resolv.conf': `nameserver ${nameserver}\n`,
    hostname: `${node.name}\n`,
  }
}

export const CONTAINERD_SOCKET = '/run/containerd/containerd.sock'

/** Written when a node is made: the lab without Kubernetes needs no runc. */
const containerdConfiguration = () => `version = 3
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt"]
[grpc]
  address = "${CONTAINERD_SOCKET}"
[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = "${SANDBOX_IMAGE}"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["/opt/cni/bin"]
    conf_dir = "/etc/cni/net.d"
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      BinaryName = "${systemProgram('runc')}"
`

/** What kubeadm writes, but for cgroups and evictions: nodes share this machine's memory and disk. */
function kubeletConfiguration(cgroup: string): Record<string, unknown> {
  return {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    authentication: { anonymous: { enabled: true }, webhook: { enabled: false } },
    authorization: { mode: 'AlwaysAllow' },
    cgroupDriver: 'cgroupfs',
    cgroupRoot: `/${cgroup}`,
    failCgroupV1: false,
    failSwapOn: false,
    enforceNodeAllocatable: ['none'],
    localStorageCapacityIsolation: false,
    containerRuntimeEndpoint: `unix://${CONTAINERD_SOCKET}`,
    clusterDNS: [DNS_SERVICE],
    clusterDomain: 'cluster.local',
    resolvConf: '/etc/resolv.conf',
    maxPods: 250,
    readOnlyPort: 0,
    evictionHard: { 'memory.available': '0%', 'nodefs.available': '0%', 'imagefs.available': '0%' },
    imageGCHighThresholdPercent: 100,
    imageGCLowThresholdPercent: 99,
    // one client per node, busy machine: the defaults would make the pods' start wait for the client, not for the network
    kubeAPIQPS: 200,
    kubeAPIBurst: 400,
  }
}

export function containerdCommand(): string[] {
  return [binary('containerd'), '-c', '/etc/containerd/config.toml']
}

/** `name`: the Node object's. */
export function kubeletCommand(plan: Plan, node: NodePlan, name: string, kubeconfig: string): string[] {
  const addresses = both(plan, node.address, node.address6)
  return [
    ...[binary('kubelet'), '--config', '/etc/kubernetes/kubelet.json', '--kubeconfig', kubeconfig],
    ...['--root-dir', '/var/lib/kubelet', '--hostname-override', name, '--node-ip', addresses, '--v', '2'],
  ]
}

/** As kubeadm starts it: traffic from pods to Services keeps its source. */
export function kubeProxyCommand(plan: Plan, name: string, mode: ProxyMode, kubeconfig: string): string[] {
  return [
    ...[binary('kube-proxy'), '--kubeconfig', kubeconfig, '--hostname-override', name, '--proxy-mode', mode],
    ...[
      '--cluster-cidr',
      both(plan, POD_CIDR, POD_CIDR6),
      '--conntrack-max-per-core',
      '0',
      '--conntrack-tcp-timeout-established',
      '0',
    ],
    ...['--conntrack-tcp-timeout-close-wait', '0'],
  ]
}
