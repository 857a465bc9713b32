// What takes the network off every node: the DaemonSet of the agents with another pod in it, so that on each node the agent ends
// before the removal begins. A pod is ready when its node is clean.

import { API_GROUP, API_SERVER, type ManifestObject, NAMES, NOBODY, PROGRAM, type Settings, TOKEN } from './names.ts'
import { daemonSet, nodePod } from './node.ts'
import { accountObjects } from './rbac.ts'
import { inBothGroups, RIGHTS } from './rights.ts'

/** Of the init container. */
export const REMOVE_CAPABILITIES = { NET_ADMIN: 'links, routes and nftables of the host' } as const

/** Folders of the host: by the name of the volume what it is for. */
export const REMOVE_VOLUMES = {
  'var-lib': 'the folder margay in it goes',
  run: 'the folder margay in it goes',
  'cni-bin': 'the plugin goes',
  'cni-conf': 'the network configuration goes',
} as const

export function removeObjects(settings: Settings): ManifestObject[] {
  const { image, pullPolicy, cniBinDir, cniConfDir, cniConfName } = settings
  const hostPath = (name: keyof typeof REMOVE_VOLUMES, path: string) => ({ name, hostPath: { path } })
  const container = { image, imagePullPolicy: pullPolicy }
  const remove = {
    name: 'remove',
    ...container,
    args: [
      ...[PROGRAM.node[1], 'remove', '--whole-cluster', '--node-name', '$(NODE_NAME)'],
      ...['--data-dir', '/host/var/lib/margay', '--run-dir', '/host/run/margay'],
      ...['--bin-dir', '/host/cni/bin', '--conf-dir', '/host/cni/net.d', '--conf-name', cniConfName],
    ],
    env: [{ name: 'NODE_NAME', valueFrom: { fieldRef: { fieldPath: 'spec.nodeName' } } }, API_GROUP, ...API_SERVER],
    securityContext: {
      runAsUser: 0,
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'], add: Object.keys(REMOVE_CAPABILITIES) },
    },
    volumeMounts: [
      { name: 'var-lib', mountPath: '/host/var/lib' },
      { name: 'run', mountPath: '/host/run' },
      { name: 'cni-bin', mountPath: '/host/cni/bin' },
      { name: 'cni-conf', mountPath: '/host/cni/net.d' },
      TOKEN.mount,
    ],
  }
  const removed = {
    name: 'removed',
    ...container,
    args: ['--eval', "process.on('SIGTERM', () => process.exit(0)); setInterval(() => {}, 2 ** 30)"],
    securityContext: {
      ...{ runAsNonRoot: true, runAsUser: NOBODY, allowPrivilegeEscalation: false, readOnlyRootFilesystem: true },
      capabilities: { drop: ['ALL'] },
    },
  }
  const pod = nodePod({
    serviceAccountName: NAMES.remove,
    terminationGracePeriodSeconds: 5,
    initContainers: [remove],
    containers: [removed],
    volumes: [
      hostPath('var-lib', '/var/lib'),
      hostPath('run', '/run'),
      hostPath('cni-bin', cniBinDir),
      hostPath('cni-conf', cniConfDir),
      TOKEN.volume,
    ],
  })
  return [
    ...accountObjects(NAMES.remove, inBothGroups(RIGHTS.remove), settings),
    daemonSet(settings, { pod, maxUnavailable: '100%' }),
  ]
}
