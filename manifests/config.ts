// What an operator may set without editing a DaemonSet; each key is a variable of a container.
import { labelsOf, type ManifestObject, NAMES, type Settings } from './names.ts'

export const CONFIG = {
  /** Of the node: `auto`, an address, or how it is chosen (`margay-node --help`). */
  nodeIp: 'auto',
  nodeIp6: 'auto',
  /** Of a cluster without a pool: `kubeadm` (its podSubnet), ranges, or `none`. */
  firstPools: 'kubeadm',
  /** Where Calico's resources are: this installation brings v3; Calico's own CRDs are v1 (overlays/calico-crds). */
  apiGroup: 'v3',
  logLevel: 'info',
  /** The network's name in the runtime's configuration. */
  network: 'margay',
  /** Plugins behind ours, where the node has them. */
  chainedPlugins: 'portmap,bandwidth',
  /** Whether to install where the runtime has the configuration of another network. */
  besideOtherNetworks: 'no',
} as const

export function configMap({ namespace }: Settings, data: Readonly<Record<string, string>> = CONFIG): ManifestObject {
  const metadata = { name: NAMES.config, namespace, labels: labelsOf(NAMES.config) }
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata, data }
}
