// One test on the lab's Kubernetes: a promise of the network, tried on a cluster that all cases share, most of them one after another.
// A case leaves the cluster as it found it: every node Ready, no pod of its own.
import type { KubernetesLab } from '../../lab/kubernetes/cluster.ts'
import type { Margay } from '../../lab/kubernetes/margay.ts'

export type Cluster = { lab: KubernetesLab; margay: Margay }

export type Case = {
  title: string
  /** Part of `--short`, which takes under eight minutes together. */
  short: boolean
  /** It has pods of its own and changes nothing else, so it may run beside others of this kind: they come first. */
  beside?: true
  /** Played only where the cluster has IPv6 too; everywhere when absent. */
  ipv6?: boolean
  /** What Margay lacks for it: until that is there the case may fail, and is counted apart. */
  awaits?: string
  /** Rejects when the promise is broken. What it returns (numbers, mostly) is shown. */
  run: (cluster: Cluster) => Promise<string | undefined>
}
