// A soak on a real Kubernetes: kubelet and containerd start the pods, kube-proxy has the Service. `first-packets` is the
// first process of each pod, in an image that holds nothing else, and writes its line to a file of the node's that all share.
import { closeSync, fstatSync, mkdirSync, openSync, readSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { type ClusterObject, ClusterWriter } from '../../lab/cluster.ts'
import { KubernetesLab } from '../../lab/kubernetes/cluster.ts'
import { imageArchive } from '../../lab/kubernetes/image-archive.ts'
import { Margay, makeImage } from '../../lab/kubernetes/margay.ts'
import { POD_CIDR } from '../../lab/kubernetes/programs.ts'
import { POD_NAMESPACE } from '../../lab/plan.ts'
import { runProgram, until } from '../../lab/program.ts'
import { healthy } from '../../test/kubernetes/observe.ts'
import { memoryMib } from '../process-use.ts'
import { type Holdings, holdingsOf, newLeaks, type ObjectsSeen } from './holdings.ts'
import { parseStart, type Start, type TargetWord } from './ledger.ts'
import { policyObjects } from './policies.ts'
import { ANSWER_MS, ECHO_PORT, makeFirstPackets } from './program.ts'
import { type Leak, pick, type Random, START_LIMIT_MS, type Victim, type World } from './world.ts'

const IMAGE = 'registry.local/margay-lab/soak:1'
/** On each node /mnt is the folder that the lab shares. */
const RESULTS = 'soak'
const LINES = 'lines'
const SERVICE = 'soak'
const TARGET = { role: 'soak-target' }
const OBJECTS = fileURLToPath(new URL('./objects-main.ts', import.meta.url))
const WRITER = fileURLToPath(new URL('../../lab/objects.ts', import.meta.url))
const WRITER_SECONDS = '60'
const POLL_MS = 20
const PAUSE_MS = 500
const SERVER_LIMIT_MS = 180_000
const GONE_LIMIT_MS = 180_000
const AWAY_MS = 5000

export class KubernetesWorld implements World {
  readonly nodes: readonly string[]
  readonly about: string
  readonly refused = undefined
  readonly #lab: KubernetesLab
  readonly #margay: Margay
  readonly #writer: ClusterWriter
  readonly #lines: Lines
  /** Addresses of the pods that answer, by node, and that of the Service. */
  #targets = new Map<string, string>()
  #service = ''
  #before: Holdings | undefined
  #pods = 0

  private constructor(lab: KubernetesLab, margay: Margay) {
    this.#lab = lab
    this.#margay = margay
    this.nodes = lab.plan.nodes.map(({ name }) => name)
    this.about = `a real Kubernetes: ${this.nodes.length} nodes with kubelet, containerd and kube-proxy (${lab.proxy})`
    this.#writer = new ClusterWriter(lab.plan.api.netns, [process.execPath, WRITER, lab.kubeconfig, WRITER_SECONDS])
    this.#lines = new Lines(join(lab.shared, RESULTS, LINES))
  }

  /** A new cluster with Margay, a pod on each node that answers, a host outside, and a Service. */
  static async make({ say }: { say: (text: string) => void }): Promise<KubernetesWorld> {
    const lab = new KubernetesLab({ nodes: [2, 1], proxy: 'nftables', patience: 2, say })
    await using failed = new AsyncDisposableStack()
    failed.use(lab)
    const image = makeImage()
    await Promise.all([lab.start(), image])
    const margay = new Margay(lab)
    say('installing Margay')
    await margay.install(image)
    await healthy({ lab, margay })
    const program = makeFirstPackets(lab.shared)
    mkdirSync(join(lab.shared, RESULTS), { recursive: true })
    writeFileSync(join(lab.shared, RESULTS, LINES), '')
    const archive = imageArchive(IMAGE, [{ from: program, to: '/first-packets' }], ['/first-packets'])
    writeFileSync(join(lab.shared, 'soak.tar'), archive)
    await Promise.all(lab.plan.nodes.map(({ name }) => lab.importImage(name, 'soak.tar')))
    lab.startOutside('soak-echo', [program, 'echo', String(ECHO_PORT)])
    const world = new KubernetesWorld(lab, margay)
    failed.defer(() => world.#close())
    say('waiting for the pods that answer')
    await world.#answerers()
    await lab.apply(policyObjects({ matchLabels: TARGET }, lab.plan.api.address, POD_CIDR).map(asObject))
    await world.#serviceAnswers()
    world.#before = await world.#holdings()
    failed.move()
    return world
  }

  async start(node: string, random: Random): Promise<Start> {
    const name = `soak-${++this.#pods}`
    const others = this.nodes.filter(each => each !== node)
    const asked: Record<TargetWord, string> = {
      other: this.#targets.get(pick(others, random))!,
      own: this.#targets.get(node)!,
      service: this.#service,
      outside: this.#lab.plan.api.address,
    }
    const targets = Object.entries(asked).map(([word, address]) => `${word}=${address}:${ECHO_PORT}`)
    const line = this.#lines.of(name)
    const args = ['pod', `/results/${LINES}`, name, String(ANSWER_MS), ...targets]
    const madeMs = performance.now()
    await this.#whileAway(() => this.#writer.put([aPod(name, node, { app: 'soak' }, args)]))
    const said = await Promise.race([line, pause(START_LIMIT_MS, undefined, { ref: false })])
    this.#lines.forget(name)
    if (said === undefined) throw new Error(`${name} does not run on ${node}: ${await this.#why(name)}`)
    const start = parseStart(said.text, { node, asked })
    return { ...start, startMs: said.atMs - madeMs }
  }

  async end({ pod }: Pick<Start, 'pod'>): Promise<void> {
    await this.#whileAway(() => this.#writer.remove([aPod(pod, '', {}, [])]))
  }

  async strike(victim: Victim, random: Random): Promise<string> {
    const [lab, margay] = [this.#lab, this.#margay]
    const killedMs = performance.now()
    const name = pick(this.nodes, random)
    if (victim === 'agent') {
      await margay.crash(name)
      // the pod too: a kubelet waits longer each time before it starts one container again
      await this.#whileAway(() => margay.restart(name))
      await margay.agentAnswers(name)
    } else if (victim === 'controllers') {
      const which = ['-n', 'kube-system', '-l', 'app.kubernetes.io/name=margay-controllers']
      await this.#whileAway(async () => void (await lab.must(['delete', 'pod', ...which, '--now'])))
    } else {
      await lab.stopControl('kube-apiserver', 0)
      await pause(random() * AWAY_MS)
      lab.startControl('kube-apiserver')
      await lab.apiReady()
    }
    const what = { agent: `the agent of ${name}`, controllers: 'the controllers', api: 'the API server' }[victim]
    return `${what}, ${((performance.now() - killedMs) / 1000).toFixed(1)} s away`
  }

  async restartAgents(): Promise<void> {
    await this.#margay.roll()
  }

  async settled(): Promise<void> {
    const isGone = async () =>
      ((await this.#lab.get('pods', '-l', 'app=soak')) as { items: unknown[] }).items.length === 0
    if (!(await until(isGone, GONE_LIMIT_MS, 1000))) throw new Error('pods that were deleted stay')
    await this.#lab.must(['delete', 'networkpolicy', '--all'])
  }

  async leaks(given: ReadonlySet<string>): Promise<Leak[]> {
    return newLeaks(this.#before!, await this.#holdings(), given)
  }

  async memory(): Promise<ReadonlyMap<string, number>> {
    const pids = this.nodes.flatMap(name => {
      const pid = this.#margay.agentPid(name)
      return pid === undefined ? [] : [[name, memoryMib(pid, 'VmRSS')] as const]
    })
    return new Map(pids)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#close()
    await this.#lab.stop()
  }

  async #close(): Promise<void> {
    this.#lines.close()
    this.#writer.close()
  }

  async #answerers(): Promise<void> {
    const pods = this.nodes.map(node => aPod(`target-${node}`, node, TARGET, ['echo', String(ECHO_PORT)]))
    await this.#writer.put(pods)
    const ports = [{ port: ECHO_PORT, protocol: 'UDP' }]
    const meta = { name: SERVICE, namespace: POD_NAMESPACE }
    await this.#lab.apply([{ apiVersion: 'v1', kind: 'Service', metadata: meta, spec: { selector: TARGET, ports } }])
    for (const node of this.nodes)
      await this.#lab.reached(`target-${node} to run`, 120, async () => {
        const pod = (await this.#lab.get(`pod/target-${node}`)) as { status?: { phase?: string; podIP?: string } }
        const { phase, podIP } = pod.status ?? {}
        if (phase !== 'Running' || podIP === undefined) return false
        this.#targets.set(node, podIP)
        return true
      })
    const { spec } = (await this.#lab.get(`service/${SERVICE}`)) as { spec: { clusterIP: string } }
    this.#service = spec.clusterIP
  }

  /** A Service is there once kube-proxy of each node has it: until then its first packets are nobody's fault. */
  async #serviceAnswers(): Promise<void> {
    for (const node of this.nodes)
      await this.#lab.reached(`the Service to answer on ${node}`, 120, async () => {
        const probe = await this.start(node, () => 0)
        await this.end(probe)
        return Object.values(probe.answered).every(answer => typeof answer === 'number')
      })
    await this.#lab.reached('the probes to be gone', 120, async () => {
      return ((await this.#lab.get('pods', '-l', 'app=soak')) as { items: unknown[] }).items.length === 0
    })
  }

  async #why(name: string): Promise<string> {
    const events = await this.#lab.kubectl(['get', 'events', '--field-selector', `involvedObject.name=${name}`])
    return events.stdout.trim().split('\n').slice(-3).join('; ')
  }

  async #whileAway(work: () => Promise<void>): Promise<void> {
    const end = performance.now() + SERVER_LIMIT_MS
    for (;;) {
      try {
        return await work()
      } catch (error) {
        if (performance.now() > end) throw error
        await pause(PAUSE_MS)
      }
    }
  }

  #holdings(): Promise<Holdings> {
    const lab = this.#lab
    const nodes = lab.plan.nodes.map(({ name, netns }) => ({
      name,
      kernel: () => lab.kernel(netns),
      // SQLite follows links, and the root of a process is one that leads to this machine's
      database: join(lab.machine(name).layer('var/lib'), 'margay/node.db'),
      ruleset: async () => (await runProgram(['nft', 'list', 'ruleset'], { netns })).stdout,
    }))
    return holdingsOf(nodes, POD_CIDR, async () => {
      const argv = [process.execPath, OBJECTS, lab.kubeconfig]
      const { code, stdout, stderr } = await runProgram(argv, { netns: lab.plan.api.netns })
      if (code !== 0) throw new Error(`objects: ${stderr}`)
      return JSON.parse(stdout) as ObjectsSeen
    })
  }
}

type Line = { text: string; atMs: number }

/** What pods wrote, told to who waits for it by the pod's name. A pod whose sandbox is made again writes again: that is not asked. */
class Lines {
  readonly #fd: number
  readonly #waiting = new Map<string, (line: Line) => void>()
  readonly #timer: NodeJS.Timeout
  #offset = 0
  #rest = ''

  constructor(path: string) {
    this.#fd = openSync(path, 'r')
    this.#timer = setInterval(() => this.#look(), POLL_MS)
  }

  of(name: string): Promise<Line> {
    return new Promise(resolve => this.#waiting.set(name, resolve))
  }

  forget(name: string): void {
    this.#waiting.delete(name)
  }

  close(): void {
    clearInterval(this.#timer)
    closeSync(this.#fd)
  }

  #look(): void {
    const { size } = fstatSync(this.#fd)
    if (size <= this.#offset) return
    const bytes = Buffer.alloc(size - this.#offset)
    this.#offset += readSync(this.#fd, bytes, 0, bytes.length, this.#offset)
    const lines = (this.#rest + bytes.toString()).split('\n')
    this.#rest = lines.pop()!
    for (const text of lines) this.#waiting.get(text.split(' ')[0]!)?.({ text, atMs: performance.now() })
  }
}

function aPod(
  name: string,
  nodeName: string,
  labels: Readonly<Record<string, string>>,
  args: readonly string[],
): ClusterObject {
  const volumes = [{ name: 'results', hostPath: { path: `/mnt/${RESULTS}`, type: 'Directory' } }]
  const volumeMounts = [{ name: 'results', mountPath: '/results' }]
  const container = { name: 'main', image: IMAGE, imagePullPolicy: 'Never', args, volumeMounts }
  return {
    kind: 'Pod',
    object: {
      metadata: { name, namespace: POD_NAMESPACE, labels },
      spec: {
        ...{ nodeName, restartPolicy: 'Never', terminationGracePeriodSeconds: 5, enableServiceLinks: false },
        ...{ automountServiceAccountToken: false, containers: [container], volumes },
      },
    },
  }
}

function asObject({ name, spec }: { name: string; spec: unknown }): unknown {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name, namespace: POD_NAMESPACE },
    spec,
  }
}
