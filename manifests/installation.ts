// The files that an operator applies, by their names below manifests/.
import { stringify } from 'yaml'
import { GROUP_VERSIONS } from '../api/api-group.ts'
import { alertsText } from './alerts.ts'
import { chartFiles } from './chart.ts'
import { configMap } from './config.ts'
import { controllersBudget, controllersDeployment } from './controllers.ts'
import { crdObjects, crdsText } from './crds.ts'
import { dashboardText } from './dashboard.ts'
import { monitoringObjects } from './monitoring.ts'
import { type ManifestObject, NAMES, type Settings, usualSettings } from './names.ts'
import { nodeDaemonSet } from './node.ts'
import { accountObjects, clusterRules } from './rbac.ts'
import { removeObjects } from './remove.ts'
import { RIGHTS, type Right, rightsIn } from './rights.ts'
import { NODE_REASONS, REMOVE_REASONS, yamlText } from './text.ts'
import { warningObjects } from './warnings.ts'

/** Everything but the CRDs. */
function installationObjects(settings: Settings): ManifestObject[] {
  return [
    ...accountObjects(NAMES.node, RIGHTS.node, settings),
    ...accountObjects(NAMES.controllers, RIGHTS.controllers, settings),
    configMap(settings),
    nodeDaemonSet(settings),
    controllersDeployment(settings),
    controllersBudget(settings),
    ...warningObjects(),
  ]
}

const HEAD = `Margay: kubectl apply -f this file; without kubeadm then a pool of addresses (docs/install.md). To take it away again: docs/remove.md.
In the ConfigMap margay-config apiServerHost and apiServerPort may be added: the API server’s own address, for a cluster without kube-proxy.`
const REMOVE_HEAD = `Takes Margay off every node; pods lose their network. kubectl apply -f this file; wait for the rollout of daemonset/margay-node;
kubectl delete -f margay.yaml -f remove.yaml (docs/remove.md).`

const MONITORING_HEAD =
  'For clusters with Prometheus and Grafana: kubectl apply -f this file, and then what docs/observe.md says; without it nothing is served.'

const bgpOff = { disableBGPExport: true }

/** Overlays: a reason, and what is added to or changed in the base. */
const OVERLAYS: Readonly<Record<string, { why: string; pools?: readonly PoolSpec[]; host?: Partial<Settings> }>> = {
  'no-bgp-export': {
    why: 'nodes exchange their blocks with each other, with VXLAN between subnets, and tell no router outside of them',
    pools: [
      { name: 'default-ipv4-ippool', cidr: '10.244.0.0/16', vxlanMode: 'CrossSubnet', natOutgoing: true, ...bgpOff },
    ],
  },
  vxlan: {
    why: 'every packet between nodes goes through VXLAN: for fabrics that let no IP-in-IP and no pod address pass',
    pools: [{ name: 'default-ipv4-ippool', cidr: '10.244.0.0/16', vxlanMode: 'Always', natOutgoing: true, ...bgpOff }],
  },
  'dual-stack': {
    why: 'each pod has an IPv4 and an IPv6 address; the ranges must be those of the cluster (podSubnet)',
    pools: [
      { name: 'default-ipv4-ippool', cidr: '10.244.0.0/16', ipipMode: 'CrossSubnet', natOutgoing: true },
      { name: 'default-ipv6-ippool', cidr: 'fd00:10:244::/56', natOutgoing: true },
    ],
  },
  k3s: {
    why: 'folders of k3s; start it with --flannel-backend=none --disable-network-policy',
    host: { cniBinDir: '/var/lib/rancher/k3s/data/cni', cniConfDir: '/var/lib/rancher/k3s/agent/etc/cni/net.d' },
  },
  microk8s: {
    why: 'folders of microk8s',
    host: {
      cniBinDir: '/var/snap/microk8s/current/opt/cni/bin',
      cniConfDir: '/var/snap/microk8s/current/args/cni-network',
    },
  },
}

/** Of a cluster that has Calico's own CRDs: of ours those of Margay's own kinds alone, the rights and the group are others. */
const CALICO_CRDS = 'calico-crds'

type PoolSpec = { name: string; cidr: string; [field: string]: unknown }

/** Every file with its text. */
export function manifestFiles(): Map<string, string> {
  const settings = usualSettings()
  const margay = yamlText(HEAD, [...crdObjects(), ...installationObjects(settings)], NODE_REASONS)
  const files = new Map([
    ['crds.yaml', crdsText()],
    ['margay.yaml', margay],
    ['remove.yaml', yamlText(REMOVE_HEAD, removeObjects(settings), REMOVE_REASONS)],
    ['monitoring/monitoring.yaml', yamlText(MONITORING_HEAD, monitoringObjects(settings))],
    ['monitoring/rules.yaml', alertsText()],
    ['monitoring/dashboard.json', dashboardText()],
    // once more: a kustomization reads no file outside of its folder, and is no folder above another one
    ['base/margay.yaml', margay],
    ['base/kustomization.yaml', kustomization('the same as kubectl apply -f ../margay.yaml', ['margay.yaml'])],
  ])
  for (const [name, { why, pools, host }] of Object.entries(OVERLAYS)) {
    const own = pools === undefined ? [] : ['pools.yaml']
    const changes = [
      ...(host === undefined ? [] : hostPatches({ ...settings, ...host })),
      ...(pools === undefined ? [] : [ownPoolsPatch()]),
    ]
    const patches = changes.length === 0 ? {} : { patches: changes }
    files.set(`overlays/${name}/kustomization.yaml`, kustomization(why, ['../../base', ...own], patches))
    if (host !== undefined)
      files.set(
        `overlays/${name}/remove.yaml`,
        yamlText(REMOVE_HEAD, removeObjects({ ...settings, ...host }), REMOVE_REASONS),
      )
    if (pools !== undefined)
      files.set(
        `overlays/${name}/pools.yaml`,
        yamlText('Apply it once more after the CRDs are there.', pools.map(poolOf)),
      )
  }
  files.set(
    `overlays/${CALICO_CRDS}/kustomization.yaml`,
    kustomization(
      'beside the CRDs of Calico (crd.projectcalico.org/v1), which stay as they are; Calico itself must not run on these nodes any more (docs/api-groups.md)',
      ['../../base'],
      { patches: calicoCrdsPatches() },
    ),
  )
  for (const [name, text] of chartFiles()) files.set(`chart/${name}`, text)
  return files
}

function kustomization(why: string, resources: readonly string[], more: object = {}): string {
  const object = { apiVersion: 'kustomize.config.k8s.io/v1beta1', kind: 'Kustomization', resources, ...more }
  return `# Written by \`npm run manifests\`; do not edit.\n# ${why}\n${stringify(object, { lineWidth: 0 })}`
}

/** Other folders of the host, by the names of the volumes. */
function hostPatches({ cniBinDir, cniConfDir }: Settings): object[] {
  const volume = (name: string, path: string) => ({ name, hostPath: { path, type: 'DirectoryOrCreate' } })
  const patch = {
    apiVersion: 'apps/v1',
    kind: 'DaemonSet',
    metadata: { name: NAMES.node },
    spec: { template: { spec: { volumes: [volume('cni-bin', cniBinDir), volume('cni-conf', cniConfDir)] } } },
  }
  return [{ target: { kind: 'DaemonSet', name: NAMES.node }, patch: stringify(patch, { lineWidth: 0 }) }]
}

function calicoCrdsPatches(): object[] {
  const crd = { apiVersion: 'apiextensions.k8s.io/v1', kind: 'CustomResourceDefinition', metadata: { name: 'each' } }
  const calicos = `.*[.]${GROUP_VERSIONS.v3.group.replace('.', '[.]')}`
  const config = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: NAMES.config }, data: { apiGroup: 'v1' } }
  const rules = (name: string, rights: readonly Right[]): object => ({
    target: { kind: 'ClusterRole', name },
    patch: stringify([{ op: 'replace', path: '/rules', value: clusterRules(rightsIn('v1', rights)) }], {
      lineWidth: 0,
    }),
  })
  return [
    { target: { kind: crd.kind, name: calicos }, patch: stringify({ $patch: 'delete', ...crd }, { lineWidth: 0 }) },
    { target: { kind: 'ConfigMap', name: NAMES.config }, patch: stringify(config, { lineWidth: 0 }) },
    rules(NAMES.node, RIGHTS.node),
    rules(NAMES.controllers, RIGHTS.controllers),
  ]
}

/** The pools of the overlay are the first ones. */
function ownPoolsPatch(): object {
  const patch = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: NAMES.config }, data: { firstPools: 'none' } }
  return { target: { kind: 'ConfigMap', name: NAMES.config }, patch: stringify(patch, { lineWidth: 0 }) }
}

function poolOf({ name, ...spec }: PoolSpec): ManifestObject {
  return { apiVersion: 'projectcalico.org/v3', kind: 'IPPool', metadata: { name }, spec }
}
