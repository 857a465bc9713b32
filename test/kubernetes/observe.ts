// What the cases look at: nodes and pods as the API server has them, what a node's kernel holds, and pings that go on.
import assert from 'node:assert/strict'
import type { AgentStatus } from '../../api/answers.ts'
import { echo } from '../../kernel/echo.ts'
import { netnsPath } from '../../kernel/netns.ts'
import { PROBE_INTERFACE } from '../../kernel/pod-interface.ts'
import type { KubernetesLab } from '../../lab/kubernetes/cluster.ts'
import { type DeploymentOptions, deployment } from '../../lab/kubernetes/objects.ts'
import { type RunningPod, runningPods } from '../../lab/kubernetes/pods.ts'
import { runProgram, until } from '../../lab/program.ts'
import { contains } from '../../lib/ip.ts'
import { systemProgram } from '../../lib/system-program.ts'
import type { Cluster } from './case.ts'

type NodeObject = {
  metadata: { name: string; uid: string }
  spec: { taints?: { key: string; effect: string }[] }
  status: { conditions: { type: string; status: string; message?: string }[] }
}

export async function nodeObject(lab: KubernetesLab, name: string): Promise<NodeObject> {
  const found = (await lab.get(`node/${name}`)) as NodeObject | undefined
  assert.ok(found, `there is no Node ${name}`)
  return found
}

export async function isReady(lab: KubernetesLab, name: string): Promise<boolean> {
  const { conditions } = (await nodeObject(lab, name)).status
  return conditions.some(({ type, status }) => type === 'Ready' && status === 'True')
}

/** Every node is Ready, in time; throws with what kubelet says of those that are not. */
export async function healthy({ lab }: Cluster): Promise<void> {
  const said: string[] = []
  const ready = async () => {
    said.length = 0
    const { items } = (await lab.get('nodes')) as { items: NodeObject[] }
    for (const { name } of lab.plan.nodes) {
      const node = items.find(({ metadata }) => metadata.name === name)
      const own = node?.status.conditions.find(({ type }) => type === 'Ready')
      if (own?.status !== 'True') said.push(`${name}: ${own?.message ?? 'says nothing'}`)
    }
    return said.length === 0
  }
  if (!(await until(ready, 90_000, 500))) throw new Error(`not Ready: ${said.join('; ')}`)
}

/** Starts a Deployment, waits until every pod is Ready, calls `work`, and removes it all whatever happens. */
export async function withPods<T>(
  { lab }: Cluster,
  name: string,
  replicas: number,
  work: (pods: RunningPod[]) => Promise<T>,
  options: DeploymentOptions = {},
): Promise<T> {
  await lab.apply([deployment(name, replicas, options)])
  try {
    await rolledOut(lab, name)
    return await work(await runningPods(lab, name))
  } finally {
    await removeApp(lab, name)
  }
}

export async function rolledOut(
  lab: KubernetesLab,
  name: string,
  { seconds = 180, namespace = 'default' } = {},
): Promise<void> {
  const which = [`deployment/${name}`, '-n', namespace]
  await lab.must(['rollout', 'status', ...which, `--timeout=${seconds}s`], { limitMs: seconds * 1100 })
}

/** Removes a Deployment of `withPods` and waits until its pods are gone. */
export async function removeApp(lab: KubernetesLab, name: string): Promise<void> {
  await lab.must(['delete', `deployment/${name}`, '--ignore-not-found', '--wait=false'])
  const args = ['wait', '--for=delete', 'pod', '-l', `app=${name}`, '--timeout=120s']
  const run = await lab.kubectl(args, { limitMs: 130_000 })
  if (run.code !== 0 && !/no matching resources/.test(run.stderr)) throw new Error(`pods stay: ${run.stderr.trim()}`)
}

/**
 * What the network holds once each node has one interface for each of its pods and none beside: a pod of an earlier case may
 * be gone at the API server, and its interface still on its way out.
 */
export async function holdings(cluster: Cluster): Promise<Record<string, string[]>> {
  let held: Record<string, string[]> = {}
  let differences: string[] = []
  const settled = async () => {
    held = await heldNow(cluster)
    const pods = await podsByNode(cluster)
    differences = cluster.lab.plan.nodes.flatMap(({ name }) => {
      const [interfaces, here] = [held[`interfaces of ${name}`] ?? [], pods.get(name) ?? []]
      return interfaces.length === here.length ? [] : [`${name}: ${interfaces.join(' ')} for ${here.join(' ')}`]
    })
    return differences.length === 0
  }
  if (await until(settled, 60_000, 1000)) return held
  throw new Error(`interfaces are not those of pods:\n${differences.join('\n')}`)
}

type PodOnNode = { metadata: { name: string }; spec: { nodeName?: string; hostNetwork?: boolean } }

/** The pods with a network of their own that the API server has, by node. */
async function podsByNode({ lab }: Cluster): Promise<Map<string, string[]>> {
  const ended = 'status.phase!=Succeeded,status.phase!=Failed'
  const { items } = (await lab.get('pods', '-A', '--field-selector', ended)) as { items: PodOnNode[] }
  const pods = new Map<string, string[]>()
  for (const { metadata, spec } of items)
    if (spec.nodeName !== undefined && spec.hostNetwork !== true)
      pods.set(spec.nodeName, [...(pods.get(spec.nodeName) ?? []), metadata.name])
  return pods
}

const ADDRESSES = 'addresses of '

/** Of each node its pod interfaces and their routes, of the cluster its addresses in use; without its own ends of path probes. */
async function heldNow({ lab, margay }: Cluster): Promise<Record<string, string[]>> {
  const held: Record<string, string[]> = {}
  const probes: string[] = []
  for (const { name, netns } of lab.plan.nodes) {
    using kernel = lab.kernel(netns)
    const all = (await kernel.links()).filter(link => link.name.startsWith('cali'))
    const links = all.filter(link => link.name !== PROBE_INTERFACE)
    const probe = all.find(link => link.name === PROBE_INTERFACE)
    held[`interfaces of ${name}`] = links.map(link => link.name).sort()
    const indexes = new Set(links.map(link => link.index))
    const known = await kernel.routes()
    if (probe !== undefined) probes.push(...known.flatMap(({ dst, ifindex }) => (ifindex === probe.index ? [dst] : [])))
    const routes = known.filter(({ ifindex }) => ifindex !== undefined && indexes.has(ifindex))
    held[`routes of ${name}`] = routes
      .map(({ dst }) => dst)
      .filter(dst => dst.endsWith('/32'))
      .sort()
  }
  // as the nodes have them: the API server hears of them up to two minutes later
  for (const { name } of lab.plan.nodes) {
    const status = (await margay.status(name)) as Pick<AgentStatus, 'blocks'> | undefined
    for (const { cidr, used } of status?.blocks ?? []) {
      const ofProbes = probes.filter(dst => contains(cidr, dst)).length
      held[`${ADDRESSES}${cidr}`] = Array.from({ length: Math.max(0, used - ofProbes) }, (_, i) => String(i))
    }
  }
  return held
}

/**
 * Waits until interfaces and routes are the same as before, and no more addresses are in use: those that tunnels and earlier
 * pods had may be free by now. Throws with the differences. By their `count` where pods of others (the cluster's DNS) got new
 * interfaces and addresses meanwhile.
 */
export async function nothingLeft(
  cluster: Cluster,
  before: Record<string, string[]>,
  by: 'name' | 'count' = 'name',
): Promise<void> {
  let differences: string[] = []
  const same = async () => {
    const now = await heldNow(cluster)
    differences = [...new Set([...Object.keys(before), ...Object.keys(now)])].flatMap(key => {
      const [was, is] = [before[key] ?? [], now[key] ?? []]
      const isSame = was.length === is.length && (by === 'count' || was.join() === is.join())
      return isSame || (key.startsWith(ADDRESSES) && is.length < was.length)
        ? []
        : [`${key}: before ${was.length} (${was.join(' ')}), now ${is.length} (${is.join(' ')})`]
    })
    return differences.length === 0
  }
  if (!(await until(same, 30_000, 1000))) throw new Error(`left behind:\n${differences.join('\n')}`)
}

/** Runs a program of this machine in the network of a pod; rejects with what it says when it does not succeed. */
export async function fromPod({ netns }: RunningPod, argv: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await runProgram([systemProgram('nsenter'), `--net=${netns}`, '--', ...argv])
  if (code !== 0) throw new Error(`${argv.join(' ')}: ${stderr.trim() || stdout.trim()}`)
  return stdout
}

/** Runs agnhost in a pod; rejects with what it says when it does not succeed. */
export async function inPod({ lab }: Cluster, pod: { name: string }, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await lab.kubectl(['exec', pod.name, '--', '/agnhost', ...args])
  if (code !== 0) throw new Error(`agnhost ${args.join(' ')} in ${pod.name}: ${stderr.trim()} ${stdout.trim()}`)
  return stdout.trim()
}

/** GETs an HTTP address from a node's own network. */
export async function fetchFrom({ lab }: Cluster, netns: string, url: string): Promise<string> {
  const run = await lab.inNetns(netns, ['curl', '-sS', '--max-time', '5', url])
  if (run.code !== 0) throw new Error(`curl ${url} in ${netns}: ${run.stderr.trim()}`)
  return run.stdout
}

/** Tries again for fifteen seconds: kube-proxy hears of a new Service and its pods a moment later than they are there. */
export async function eventually<T>(attempt: () => Promise<T>): Promise<T> {
  const end = performance.now() + 15_000
  for (;;) {
    try {
      return await attempt()
    } catch (error) {
      if (performance.now() > end) throw error
      await seconds(0.5)
    }
  }
}

/** The CIDRs of all blocks, or of those of one node, sorted. */
export async function blocksOf({ lab }: Pick<Cluster, 'lab'>, node?: string): Promise<string[]> {
  const blocks = (await lab.get('ipamblocks')) as { items: { spec: { cidr: string; affinity?: string } }[] }
  return blocks.items
    .filter(({ spec }) => node === undefined || spec.affinity === `host:${node}`)
    .map(({ spec }) => spec.cidr)
    .sort()
}

/** Resolves after so many seconds. */
export const seconds = (count: number) => new Promise(resolve => setTimeout(resolve, count * 1000))

export type Pings = { sent: number; lost: string[] }

/** Pings from pod to pod, both ways, every 100 ms while `work` goes on. Each echo may take two seconds. */
export async function pingWhile(
  pairs: readonly (readonly [RunningPod, RunningPod])[],
  work: () => Promise<void>,
): Promise<Pings> {
  const pings: Pings = { sent: 0, lost: [] }
  let over = false
  const startedMs = performance.now()
  const flights: Promise<void>[] = []
  const send = async (from: RunningPod, to: RunningPod) => {
    const at = performance.now() - startedMs
    pings.sent++
    const answer = await echo(from.netns, to.address, 2000)
    if ('error' in answer)
      pings.lost.push(`${from.node} to ${to.node} after ${(at / 1000).toFixed(1)} s: ${answer.error}`)
  }
  const pinging = (async () => {
    while (!over) {
      for (const [a, b] of pairs) flights.push(send(a, b), send(b, a))
      await seconds(0.1)
    }
    await Promise.all(flights)
  })()
  try {
    await work()
  } finally {
    over = true
    await pinging
  }
  return pings
}

/** One pair per two nodes, so that every way between nodes is pinged. */
export function pairsOfNodes(pods: readonly RunningPod[]): (readonly [RunningPod, RunningPod])[] {
  const first = new Map<string, RunningPod>()
  for (const pod of pods) if (!first.has(pod.node)) first.set(pod.node, pod)
  const each = [...first.values()]
  return each.flatMap((a, i) => each.slice(i + 1).map(b => [a, b] as const))
}

/** Every pod reaches every other, with its first packet. */
export async function allReach(pods: readonly RunningPod[]): Promise<number> {
  const lost: string[] = []
  let pairs = 0
  for (const from of pods)
    for (const to of pods) {
      if (from === to) continue
      pairs++
      const answer = await echo(from.netns, to.address, 3000)
      if ('error' in answer)
        lost.push(`${from.address} on ${from.node} to ${to.address} on ${to.node}: ${answer.error}`)
    }
  assert.deepEqual(lost, [])
  return pairs
}

/** What of the agent's conditions is not as promised. */
export async function broken(
  { margay }: Cluster,
  node: string,
): Promise<{ ready: boolean; said: string[] } | undefined> {
  const status = (await margay.status(node)) as
    | { ready: boolean; conditions: { type: string; status: string; reason: string; message: string }[] }
    | undefined
  if (status === undefined) return undefined
  const said = status.conditions
    .filter(each => each.status !== 'True')
    .map(({ type, reason, message }) => `${type} ${reason}: ${message}`)
  return { ready: status.ready, said }
}

export function nodeNetns(node: string, { lab }: Cluster): string {
  return netnsPath(lab.node(node).netns)
}

export function podOn(pods: readonly RunningPod[], node: string): RunningPod {
  const found = pods.find(pod => pod.node === node)
  assert.ok(found, `no pod is on ${node}`)
  return found
}

/** Every node reaches every pod, and every pod every node, with the first packet. */
export async function nodesAndPods(cluster: Cluster, pods: readonly RunningPod[]): Promise<number> {
  const lost: string[] = []
  for (const node of cluster.lab.plan.nodes)
    for (const pod of pods) {
      const there = await echo(nodeNetns(node.name, cluster), pod.address, 3000)
      if ('error' in there) lost.push(`${node.name} to the pod on ${pod.node}: ${there.error}`)
      const back = await echo(pod.netns, node.address, 3000)
      if ('error' in back) lost.push(`the pod on ${pod.node} to ${node.name}: ${back.error}`)
    }
  assert.deepEqual(lost, [])
  return 2 * cluster.lab.plan.nodes.length * pods.length
}

/** The node port of a Service answers on every node, for a program outside of the cluster. */
export async function nodePortsAnswer(cluster: Cluster, name: string): Promise<void> {
  const { lab } = cluster
  const { spec } = (await lab.get(`service/${name}`)) as { spec: { ports: { nodePort: number }[] } }
  for (const node of lab.plan.nodes) {
    const url = `http://${node.address}:${spec.ports[0]!.nodePort}/hostname`
    const answer = await eventually(() => fetchFrom(cluster, lab.plan.api.netns, url))
    assert.match(answer, new RegExp(`^${name}-`), `by the port of ${node.name}`)
  }
}
