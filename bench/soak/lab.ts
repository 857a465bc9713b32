// A soak on the lab: this program is the runtime, and the agents are real. A pod's first instruction is executed by the
// process that has executed the plugin, in the moment in which the plugin has ended. The lab has no Service: each node
// has a rule as kube-proxy's nftables mode writes it.
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { addNetns, netnsPath, removeNetns, spawnInNetns } from '../../kernel/netns.ts'
import { askAgent } from '../../lab/ask.ts'
import { type ClusterObject, POOL_CIDRS, runningStatus } from '../../lab/cluster.ts'
import { Lab, type LabOptions } from '../../lab/lab.ts'
import { LabFailure } from '../../lab/lab-programs.ts'
import type { PodAt } from '../../lab/measure.ts'
import { type NodePlan, POD_NAMESPACE, type PodPlan, planPod } from '../../lab/plan.ts'
import { addressesOf, pluginCall } from '../../lab/pods.ts'
import { type Finished, runProgram } from '../../lab/program.ts'
import { type Family, familyOf } from '../../lib/ip.ts'
import { memoryMib } from '../process-use.ts'
import { type Holdings, holdingsOf, newLeaks } from './holdings.ts'
import { parseStart, type Start, type TargetWord, targetWords } from './ledger.ts'
import { policyObjects } from './policies.ts'
import { ANSWER_MS, ECHO_PORT, makeFirstPackets } from './program.ts'
import { type Leak, PAUSE_MS, pick, type Random, START_LIMIT_MS, type Victim, type World, whileAway } from './world.ts'

/** As many Pods as are at the API server before a runtime starts them: ADDs go on while that is away. */
const AHEAD = 20
const SERVICE = { ipv4: '10.96.0.10', ipv6: 'fd00:10:96::10' } as const
/** Small, so that blocks come and go with the pods. */
const BLOCK_SIZE = 28
/** A runtime waits longer; the plugin ends before. */
const CALL_LIMIT_MS = 150_000
/** What was killed stays away for up to so long. */
const AWAY_MS = 3000
const SERVER_LIMIT_MS = 60_000
const POD_CIDRS = Object.values(POOL_CIDRS)

/** `report`: its status is at the API server. */
type Running = { plan: PodPlan; node: NodePlan; report: Promise<void> }

export class LabWorld implements World {
  readonly about: string
  readonly nodes: readonly string[]
  refused = 0
  readonly #lab: Lab
  readonly #program: string
  readonly #running = new Map<string, Running>()
  /** Names of Pods at the API server that no runtime has started yet, by node. */
  readonly #ahead = new Map<string, string[]>()
  readonly #filling = new Map<string, Promise<void>>()
  /** What the kubelets of real nodes write to the API server, in their time. */
  readonly #background = new Set<Promise<void>>()
  readonly #faults: unknown[] = []
  #pods = 0
  #number = 1
  #before: Holdings | undefined

  private constructor(lab: Lab, program: string) {
    this.#lab = lab
    this.#program = program
    this.nodes = lab.plan.nodes.map(({ name }) => name)
    this.about = `the lab: ${this.nodes.length} nodes in namespaces on two LANs`
  }

  /** A lab with a pod on each node that answers, a host outside, and a Service. */
  static async make(options: Omit<LabOptions, 'podsPerNode' | 'pool'> & { blockSize?: number }): Promise<LabWorld> {
    const { blockSize = BLOCK_SIZE } = options
    const lab = new Lab({ ...options, podsPerNode: 1, ipv6: true, pool: { blockSize, natOutgoing: true } })
    await using failed = new AsyncDisposableStack()
    failed.use(lab)
    await lab.start()
    lab.startControllers()
    await Promise.all([lab.routesKnown(), lab.reportPods()])
    const program = makeFirstPackets(options.dir)
    const world = new LabWorld(lab, program)
    for (const { pod } of lab.pods) world.#startEcho(pod.netns)
    world.#startEcho(lab.plan.api.netns)
    await Promise.all(lab.plan.nodes.map(node => world.#makeService(node)))
    await lab.putObjects(policies(lab))
    world.#before = await world.#holdings()
    failed.move()
    return world
  }

  async start(name: string, random: Random): Promise<Start> {
    const pod = await this.#nextPod(name)
    const node = this.#lab.node(name)
    const asked = this.#asked(node, random)
    const end = performance.now() + START_LIMIT_MS
    for (;;) {
      const plan = { ...planPod(this.#lab.plan.prefix, name, ++this.#number), name: pod }
      addNetns(plan.netns)
      const { code, stdout, stderr } = await this.#add(plan, node, asked)
      if (code === 0) {
        const start = addedPod(stdout, { node: name, asked })
        const report = this.#later(() => this.#lab.putObjects([podObject(pod, name, start.addresses)]))
        this.#running.set(pod, { plan, node, report })
        return start
      }
      this.refused++
      // as containerd: what was begun is taken away, and the kubelet makes another sandbox
      await this.#delete(plan, node)
      if (performance.now() > end) throw new Error(`${pod} does not run: ${stdout} ${stderr}`)
      await pause(PAUSE_MS)
    }
  }

  async end({ pod }: Start): Promise<void> {
    const { plan, node, report } = this.#running.get(pod)!
    this.#running.delete(pod)
    await this.#delete(plan, node)
    this.#later(async () => {
      await report
      await this.#lab.removeObjects([podObject(pod, node.name)])
    })
  }

  async strike(victim: Victim, random: Random): Promise<string> {
    const lab = this.#lab
    const node = pick(this.nodes, random)
    const { what, kill, start, ready } = {
      agent: {
        what: `the agent of ${node}`,
        kill: () => lab.killAgent(node),
        start: () => lab.startAgent(node),
        ready: () => lab.agentReady(node),
      },
      controllers: {
        what: 'the controllers',
        kill: () => lab.killControllers(),
        start: () => lab.startControllers(),
        ready: async () => {},
      },
      api: {
        what: 'the API server',
        kill: () => lab.killApi(),
        start: () => lab.startApi(),
        ready: () => whileServerIsAway(() => lab.putObjects([])),
      },
    }[victim]
    const killedMs = performance.now()
    await kill()
    await pause(random() * AWAY_MS)
    start()
    await ready()
    return `${what}, ${((performance.now() - killedMs) / 1000).toFixed(1)} s away`
  }

  async restartAgents(): Promise<void> {
    await Promise.all(
      this.nodes.map(async name => {
        await this.#lab.killAgent(name)
        this.#lab.startAgent(name)
        await this.#lab.agentReady(name)
      }),
    )
  }

  async settled(): Promise<void> {
    const unused = [...this.#ahead].flatMap(([node, names]) => names.map(name => podObject(name, node)))
    this.#ahead.clear()
    await Promise.all(this.#background)
    // where no policy is released addresses do not rest, and nothing keeps the blocks that they are in
    await this.#lab.removeObjects([...unused, ...policies(this.#lab)])
    if (this.#faults.length > 0) throw this.#faults[0]
  }

  async leaks(given: ReadonlySet<string>): Promise<Leak[]> {
    return newLeaks(this.#before!, await this.#holdings(), given)
  }

  async alarms(): Promise<string[]> {
    const told = await Promise.all(
      this.nodes.map(async node => {
        const answer = await askAgent(this.#lab.agentSocket(node), '/events?count=1000')
        if (!Array.isArray(answer)) throw new Error(`the agent of ${node} does not tell its events`)
        const events = answer as { at: string; message: string }[]
        return events.flatMap(({ at, message }) =>
          message.startsWith('PathsPass:') ? [`${node} at ${at}: ${message}`] : [],
        )
      }),
    )
    return told.flat()
  }

  async memory(): Promise<ReadonlyMap<string, number>> {
    return new Map(this.nodes.map(name => [name, memoryMib(this.#lab.agentPid(name), 'VmRSS')]))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#lab.stop()
  }

  #startEcho(netns: string): void {
    // who removes the lab finds it by its path and its namespace
    spawnInNetns(netnsPath(netns), this.#program, ['echo', String(ECHO_PORT)], {
      stdio: 'ignore',
      detached: true,
    }).unref()
  }

  /** One rule of each family, as kube-proxy has it with `--proxy-mode nftables`: a random one of the pods behind the Service. */
  async #makeService(node: NodePlan): Promise<void> {
    const table = (family: Family, name: string) => {
      const pods = this.#lab.pods.map((at, i) => `${i} : ${addressOf(at, family)}`)
      return `table ${name} soak-proxy {
      chain services {
        type nat hook prerouting priority dstnat; policy accept;
        ${name} daddr ${SERVICE[family]} udp dport ${ECHO_PORT} dnat to numgen random mod ${pods.length} map { ${pods.join(', ')} }
      }
    }
`
    }
    const stdin = table('ipv4', 'ip') + table('ipv6', 'ip6')
    const { code, stderr } = await runProgram(['nft', '-f', '-'], { netns: node.netns, stdin })
    if (code !== 0) throw new Error(`nft: ${stderr}`)
  }

  #asked(node: NodePlan, random: Random): Record<TargetWord, string> {
    const { pods, plan } = this.#lab
    const own = pods.find(at => at.node === node)!
    const others = pods.filter(at => at.node !== node)
    const other = (family: Family) => addressOf(pick(others, random), family)
    return {
      ...{ other4: other('ipv4'), other6: other('ipv6'), own4: addressOf(own, 'ipv4'), own6: addressOf(own, 'ipv6') },
      ...{ service4: SERVICE.ipv4, service6: SERVICE.ipv6, outside4: plan.api.address, outside6: plan.api.address6 },
    }
  }

  #add(pod: PodPlan, node: NodePlan, asked: Record<TargetWord, string>): Promise<Finished> {
    const { argv, env, stdin } = pluginCall('ADD', pod, this.#lab.cniDirs(node.name))
    const places = [netnsPath(node.netns), netnsPath(pod.netns), ...argv]
    const words = ['add', ...places, pod.name, String(ANSWER_MS), ...targetWords(asked, ECHO_PORT)]
    return runProgram([this.#program, ...words], { env, stdin, limitMs: CALL_LIMIT_MS })
  }

  /** DEL until it succeeds, then the namespace goes. */
  async #delete(pod: PodPlan, node: NodePlan): Promise<void> {
    const { argv, env, stdin } = pluginCall('DEL', pod, this.#lab.cniDirs(node.name))
    const end = performance.now() + START_LIMIT_MS
    for (;;) {
      const run = await runProgram(argv, { netns: node.netns, env, stdin, limitMs: CALL_LIMIT_MS })
      if (run.code === 0) break
      if (performance.now() > end) throw new Error(`DEL of ${pod.name}: ${run.stdout} ${run.stderr}`)
      await pause(PAUSE_MS)
    }
    removeNetns(pod.netns)
  }

  /** The name of a Pod that is bound to the node and at the API server. */
  async #nextPod(node: string): Promise<string> {
    let names = this.#ahead.get(node)
    if (names === undefined) {
      names = []
      this.#ahead.set(node, names)
    }
    while (names.length === 0) await this.#fill(node, names)
    const name = names.shift()!
    if (names.length < AHEAD / 2) void this.#fill(node, names)
    return name
  }

  #fill(node: string, names: string[]): Promise<void> {
    let filling = this.#filling.get(node)
    if (filling !== undefined) return filling
    const more = Array.from({ length: AHEAD }, () => `${node}-s${++this.#pods}`)
    filling = this.#later(async () => {
      await this.#lab.putObjects(more.map(name => podObject(name, node)))
    }).then(() => {
      names.push(...more)
      this.#filling.delete(node)
    })
    this.#filling.set(node, filling)
    return filling
  }

  /** Work that the API server has its part in: again until it is there. */
  #later(work: () => Promise<void>): Promise<void> {
    const done = whileServerIsAway(work).catch(error => void this.#faults.push(error))
    this.#background.add(done)
    return done.finally(() => this.#background.delete(done))
  }

  #holdings(): Promise<Holdings> {
    return holdingsOf(this.#lab, POD_CIDRS, node => join(this.#lab.nodeDir(node), 'data', 'node.db'))
  }
}

function whileServerIsAway(work: () => Promise<void>): Promise<void> {
  return whileAway(work, SERVER_LIMIT_MS, error => error instanceof LabFailure)
}

function addressOf({ pod, addresses }: PodAt, family: Family): string {
  const found = addresses.find(each => familyOf(each) === family)
  if (found === undefined) throw new Error(`${pod.name} has no ${family} address`)
  return found
}

/** What `first-packets add` wrote: its line, and the result of the plugin after it. */
function addedPod(stdout: string, about: Pick<Start, 'node' | 'asked'>): Start {
  const [line = '', ...result] = stdout.split('\n')
  const start = parseStart(line, about)
  const addresses = addressesOf(JSON.parse(result.join('\n')) as { ips: { address: string }[] })
  const foreign = start.addresses.find(each => !addresses.includes(each))
  if (foreign !== undefined)
    throw new Error(`${start.pod} sends from ${foreign}, and the result of its ADD says ${addresses.join(', ')}`)
  return { ...start, addresses }
}

/** A pod bound to its node; with addresses as the kubelet reports it. */
function podObject(name: string, nodeName: string, addresses: readonly string[] = []): ClusterObject {
  const metadata = { name, namespace: POD_NAMESPACE, labels: { app: 'soak' } }
  return {
    kind: 'Pod',
    object: {
      metadata,
      spec: { nodeName, containers: [{ name: 'main', image: 'none' }] },
      ...(addresses.length > 0 && { status: runningStatus(addresses) }),
    },
  }
}

function policies(lab: Lab): ClusterObject[] {
  const { address, address6 } = lab.plan.api
  const podSelector = {
    matchExpressions: [{ key: 'pod', operator: 'In', values: lab.pods.map(({ pod }) => pod.name) }],
  }
  return policyObjects(podSelector, [address, address6], POD_CIDRS).map(({ name, spec }) => ({
    kind: 'KubernetesNetworkPolicy',
    object: { metadata: { name, namespace: POD_NAMESPACE }, spec },
  }))
}
