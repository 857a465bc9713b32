// What runs in the lab's Kubernetes, found from outside: pods with their addresses and their network namespaces.
import { readdirSync } from 'node:fs'
import { netnsPath } from '../../kernel/netns.ts'
import type { PingPoint } from '../measure.ts'
import type { KubernetesLab } from './cluster.ts'

export type RunningPod = PingPoint & { node: string }

type PodList = {
  items: {
    metadata: { name: string; labels?: Record<string, string> }
    spec: { nodeName?: string; hostNetwork?: boolean }
    status: { phase: string; podIP?: string }
  }[]
}

/** The running pods of the default namespace whose label `app` is `app`, by name. Pods of the node's own network are none. */
export async function runningPods(lab: KubernetesLab, app: string): Promise<RunningPod[]> {
  const { items } = (await lab.get('pods', '-l', `app=${app}`)) as PodList
  const namespaces = new Map<string, ReadonlyMap<string, string>>()
  const pods: RunningPod[] = []
  for (const { metadata, spec, status } of items) {
    const { podIP: address } = status
    const node = spec.nodeName
    if (node === undefined || address === undefined || spec.hostNetwork || status.phase !== 'Running') continue
    if (!namespaces.has(node)) namespaces.set(node, await podNamespaces(lab, node))
    const netns = namespaces.get(node)!.get(address)
    if (netns === undefined) throw new Error(`no network namespace of ${node} has the address ${address}`)
    pods.push({ name: metadata.name, node, address, netns, nodeNetns: netnsPath(lab.node(node).netns) })
  }
  return pods.sort((a, b) => a.node.localeCompare(b.node) || a.name.localeCompare(b.name))
}

/** The network namespaces that containerd made on a node, as paths by the address of each one's `eth0`. */
async function podNamespaces(lab: KubernetesLab, node: string): Promise<ReadonlyMap<string, string>> {
  const folder = lab.machine(node).path('/run/netns')
  const found = new Map<string, string>()
  for (const name of readdirSync(folder)) {
    const path = `${folder}/${name}`
    try {
      using kernel = lab.host.inside(path)
      const link = await kernel.link('eth0')
      for (const { address } of link === undefined ? [] : await kernel.addresses(link.index)) found.set(address, path)
    } catch {
      // its pod has just ended
    }
  }
  return found
}
