// The plan of the lab as a value: its namespaces, links and addresses. Pure; the code that makes, shows or removes the
// lab reads it. Names start with a prefix of their own, so that several labs can run.
import { createHash } from 'node:crypto'

export type Lan = { name: 'A' | 'B'; bridge: string; gateway: string; length: number; gateway6: string }

/** Of every LAN of the plan that has IPv6. */
export const LENGTH6 = 64

export type PodPlan = {
  /** `n1-p1`: also the pod's name in the API. */
  name: string
  node: string
  netns: string
  containerId: string
}

export type NodePlan = {
  name: string
  netns: string
  lan: Lan
  address: string
  /** In use where the plan has IPv6. */
  address6: string
  /** The node's end of the veth pair to the router; the router's end has the node's name. */
  uplink: string
  pods: readonly PodPlan[]
}

export type Plan = {
  prefix: string
  /** Whether LANs, nodes, router and API server have IPv6 addresses too. */
  ipv6: boolean
  router: { netns: string }
  /** The API server stands behind the router: nodes reach it through their default gateway. */
  api: {
    netns: string
    address: string
    address6: string
    port: number
    gateway: string
    gateway6: string
    length: number
    routerPort: string
  }
  lans: readonly Lan[]
  nodes: readonly NodePlan[]
}

export type PlanOptions = {
  /** Of every namespace's name, such as `margay-`. */
  prefix: string
  /** Nodes on LAN A and on LAN B. */
  nodes: readonly [number, number]
  podsPerNode?: number
  /** Whether there is IPv6 beside IPv4; not when absent. */
  ipv6?: boolean
}

/** More nodes work too; the limit catches a mistyped number. */
export const MAX_NODES = 32

export const POD_NAMESPACE = 'default'

/** Nodes count through both LANs: `n1`, `n2` on A and `n3` on B by default. Addresses start at .11 and ::11 on each LAN. */
export function planLab({ prefix, nodes, podsPerNode = 2, ipv6 = false }: PlanOptions): Plan {
  const lans: readonly Lan[] = [
    { name: 'A', bridge: 'lan-a', gateway: '192.168.10.1', length: 24, gateway6: '2001:db8:10::1' },
    { name: 'B', bridge: 'lan-b', gateway: '192.168.20.1', length: 24, gateway6: '2001:db8:20::1' },
  ]
  const counts = nodes[0] + nodes[1]
  return {
    prefix,
    ipv6,
    router: { netns: `${prefix}router` },
    api: {
      netns: `${prefix}api`,
      address: '192.168.30.10',
      address6: '2001:db8:30::10',
      port: 6443,
      gateway: '192.168.30.1',
      gateway6: '2001:db8:30::1',
      length: 24,
      routerPort: 'api',
    },
    lans,
    nodes: Array.from({ length: counts }, (_, i) => {
      const [lan, place] = i < nodes[0] ? [lans[0]!, i] : [lans[1]!, i - nodes[0]]
      const name = `n${i + 1}`
      return {
        name,
        netns: prefix + name,
        lan,
        address: lan.gateway.replace(/\d+$/, String(11 + place)),
        address6: lan.gateway6.replace(/\d+$/, String(11 + place)),
        uplink: 'eth0',
        pods: Array.from({ length: podsPerNode }, (_, p) => planPod(prefix, name, p + 1)),
      }
    }),
  }
}

/** The `number`th pod of a node, counted from 1. */
export function planPod(prefix: string, node: string, number: number): PodPlan {
  const name = `${node}-p${number}`
  const containerId = createHash('sha256')
    .update(prefix + name)
    .digest('hex')
  return { name, node, netns: prefix + name, containerId }
}

/** Namespaces in removal order. */
export function namespacesOf(plan: Plan): string[] {
  return [
    ...plan.nodes.flatMap(node => node.pods.map(pod => pod.netns)),
    ...plan.nodes.map(node => node.netns),
    plan.api.netns,
    plan.router.netns,
  ]
}

/** Whether a namespace's name is one that a lab with this prefix could have made. */
export function isLabNamespace(prefix: string, name: string): boolean {
  return name.startsWith(prefix) && /^(router|api|n\d+(-p\d+)?)$/.test(name.slice(prefix.length))
}
