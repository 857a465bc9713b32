// The DaemonSet of the agents: no privileged container, only the capabilities and the parts of the host that each container
// needs. The reasons are written into the YAML as comments.
import {
  API_GROUP,
  API_SERVER,
  fromConfig,
  labelsOf,
  type ManifestObject,
  NAMES,
  PROGRAM,
  type Settings,
  TOKEN,
} from './names.ts'

/** Of the agent. Without: no ptrace, no module loading (the kernel does that itself), no access to others' files. */
export const CAPABILITIES = {
  NET_ADMIN: 'links, routes, neighbours, nftables and settings of interfaces, of the host and of pods',
  NET_BIND_SERVICE: 'the BGP port, 179',
  NET_BROADCAST:
    'one socket that hears what goes missing in the network namespaces of pods, so that it is put back at once; without it pods are looked at in turns',
  NET_RAW:
    'router advertisements (ICMPv6) on interfaces that a BGPPeer names its peer by; without it such a peer is not found',
  SYS_NICE:
    'one thread in real time, that of BFD, where peers ask for BFD: without it good paths are taken for lost ones on a busy node',
  SYS_ADMIN:
    'setns(2) into the network namespace of a pod, and fanotify(7), which tells who writes settings; for nothing else',
} as const

/** Folders of the host: by the name of the volume what it is for. */
export const VOLUMES = {
  data: 'the journal of pods and addresses, which survives reboots',
  run: 'the socket on which the CNI plugin reaches the agent; the host’s runtime executes that plugin',
  netns:
    'the network namespaces of pods by their names; new ones appear in the container, gone ones are not kept alive',
  sysctl: 'settings of interfaces: a container that is not privileged has /proc/sys read-only',
  'machine-id': 'a journal that was copied from another machine is refused',
  'cni-bin': 'the plugin is written there; only the init container has it',
  'cni-conf': 'the network configuration is written there, and put back when somebody deletes it',
  token: 'the API server; only the agent has it',
} as const

const hostPath = (name: keyof typeof VOLUMES, path: string, type: string) => ({ name, hostPath: { path, type } })
const mount = (name: keyof typeof VOLUMES, mountPath: string) => ({ name, mountPath })

/** For a container that changes files of the host only: root without any capability. */
const FILES_ONLY = {
  runAsUser: 0,
  allowPrivilegeEscalation: false,
  readOnlyRootFilesystem: true,
  capabilities: { drop: ['ALL'] },
}

const probe = (what: 'live' | 'ready', periodSeconds: number, failureThreshold: number) => ({
  exec: { command: [...PROGRAM.node, 'probe', what] },
  ...{ periodSeconds, failureThreshold, timeoutSeconds: 5 },
})

/** What every pod of a node has, whatever runs in it. */
export function nodePod(spec: Record<string, unknown>): Record<string, unknown> {
  return {
    hostNetwork: true,
    priorityClassName: 'system-node-critical',
    tolerations: [{ operator: 'Exists' }],
    nodeSelector: { 'kubernetes.io/os': 'linux' },
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    securityContext: { seccompProfile: { type: 'RuntimeDefault' }, seLinuxOptions: { type: 'spc_t' } },
    ...spec,
  }
}

/** The DaemonSet with a pod of its own making. */
export function daemonSet(
  { namespace }: Settings,
  { pod, maxUnavailable }: { pod: Record<string, unknown>; maxUnavailable: string },
): ManifestObject {
  const labels = labelsOf(NAMES.node)
  return {
    apiVersion: 'apps/v1',
    kind: 'DaemonSet',
    metadata: { name: NAMES.node, namespace, labels },
    spec: {
      selector: { matchLabels: labels },
      updateStrategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable } },
      template: { metadata: { labels }, spec: pod },
    },
  }
}

export function nodeDaemonSet(settings: Settings): ManifestObject {
  const { image, pullPolicy, cniBinDir, cniConfDir, cniConfName, maxUnavailable } = settings
  const container = { image, imagePullPolicy: pullPolicy }
  const install = {
    name: 'install',
    ...container,
    args: [
      ...[PROGRAM.node[1], 'install', '--plugin-dir', '/opt/margay/cni'],
      ...['--bin-dir', '/host/cni/bin', '--conf-dir', '/host/cni/net.d', '--conf-name', cniConfName],
      ...['--network', '$(NETWORK)', '--chain', '$(CHAIN)', '--force=$(FORCE)'],
    ],
    env: [
      fromConfig('NETWORK', 'network'),
      fromConfig('CHAIN', 'chainedPlugins'),
      fromConfig('FORCE', 'besideOtherNetworks'),
    ],
    securityContext: FILES_ONLY,
    resources: { requests: { cpu: '10m', memory: '40Mi' } },
    volumeMounts: [mount('cni-bin', '/host/cni/bin'), mount('cni-conf', '/host/cni/net.d')],
  }
  const agent = {
    name: 'agent',
    ...container,
    args: [
      ...[PROGRAM.node[1], '--node-name', '$(NODE_NAME)', '--node-ip', '$(NODE_IP)', '--node-ip6', '$(NODE_IP6)'],
      ...['--cni-conf-dir', '/host/cni/net.d', '--cni-conf-name', cniConfName],
      ...['--sysctl-dir', '/host/proc/sys/net', '--log-level', '$(LOG_LEVEL)'],
    ],
    env: [
      { name: 'NODE_NAME', valueFrom: { fieldRef: { fieldPath: 'spec.nodeName' } } },
      API_GROUP,
      fromConfig('NODE_IP', 'nodeIp'),
      fromConfig('NODE_IP6', 'nodeIp6'),
      fromConfig('LOG_LEVEL', 'logLevel'),
      ...API_SERVER,
    ],
    securityContext: {
      runAsUser: 0,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'], add: Object.keys(CAPABILITIES) },
    },
    resources: { requests: { cpu: '50m', memory: '120Mi' } },
    startupProbe: probe('live', 2, 60),
    livenessProbe: probe('live', 30, 4),
    readinessProbe: probe('ready', 10, 3),
    volumeMounts: [
      mount('data', '/var/lib/margay'),
      mount('run', '/run/margay'),
      { ...mount('netns', '/run/netns'), mountPropagation: 'HostToContainer' },
      { ...mount('netns', '/var/run/netns'), mountPropagation: 'HostToContainer' },
      mount('sysctl', '/host/proc/sys/net'),
      { ...mount('machine-id', '/etc/machine-id'), readOnly: true },
      mount('cni-conf', '/host/cni/net.d'),
      TOKEN.mount,
    ],
  }
  const pod = nodePod({
    serviceAccountName: NAMES.node,
    terminationGracePeriodSeconds: 10,
    initContainers: [install],
    containers: [agent],
    volumes: [
      hostPath('data', '/var/lib/margay', 'DirectoryOrCreate'),
      hostPath('run', '/run/margay', 'DirectoryOrCreate'),
      hostPath('netns', '/run/netns', 'DirectoryOrCreate'),
      hostPath('sysctl', '/proc/sys/net', 'Directory'),
      hostPath('machine-id', '/etc/machine-id', 'File'),
      hostPath('cni-bin', cniBinDir, 'DirectoryOrCreate'),
      hostPath('cni-conf', cniConfDir, 'DirectoryOrCreate'),
      TOKEN.volume,
    ],
  })
  return daemonSet(settings, { pod, maxUnavailable })
}
