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
import { POD_CIDR, POD_CIDR6, SANDBOX_IMAGE } from '../../lab/kubernetes/programs.ts'
import { POD_NAMESPACE } from '../../lab/plan.ts'
import { until } from '../../lab/program.ts'
import { type Family, familyOf } from '../../lib/ip.ts'
import { healthy, rolledOut } from '../../test/kubernetes/observe.ts'
import { memoryMib } from '../process-use.ts'
import { type Holdings, holdingsOf, newLeaks } from './holdings.ts'
import { parseStart, type Start, type TargetWord, targetWords } from './ledger.ts'
import { policyObjects } from './policies.ts'
import { ANSWER_MS, ECHO_PORT, makeFirstPackets } from './program.ts'
import { type Leak, pick, type Random, START_LIMIT_MS, type Victim, type World, whileAway } from './world.ts'

const IMAGE = 'registry.local/margay-lab/soak:1'
/** On each node /mnt is the folder that the lab shares. */
const RESULTS = 'soak'
const LINES = 'lines'
const SERVICE = 'soak'
const TARGET = { role: 'soak-target' }
const WRITER = fileURLToPath(new URL('../../lab/objects.ts', import.meta.url))
const WRITER_SECONDS = '60'
const POLL_MS = 20
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
  /** Addresses of the pods that answer, by node, and those of the Service in front of them. */
  readonly #targets = new Map<string, readonly string[]>()
  #service: readonly string[] = []
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
    const lab = new KubernetesLab({ nodes: [2, 2], ipv6: true, proxy: 'nftables', patience: 2, say })
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
    const files = [{ from: program, to: '/first-packets' }]
    writeFileSync(join(lab.shared, 'soak.tar'), imageArchive(IMAGE, files, ['/first-packets']))
    // the lab's own pauses in a program of 60 MB, a tenth of what a start costs
    writeFileSync(join(lab.shared, 'wait.tar'), imageArchive(SANDBOX_IMAGE, files, ['/first-packets', 'wait']))
    for (const archive of ['soak.tar', 'wait.tar'])
      await Promise.all(lab.plan.nodes.map(({ name }) => lab.importImage(name, archive)))
    lab.startOutside('soak-echo', [program, 'echo', String(ECHO_PORT)])
    const world = new KubernetesWorld(lab, margay)
    failed.defer(() => world.#close())
    say('waiting for the pods that answer')
    await world.#answerers()
    const { address, address6 } = lab.plan.api
    await lab.apply(policyObjects({ matchLabels: TARGET }, [address, address6], [POD_CIDR, POD_CIDR6]).map(asObject))
    await world.#servicesAnswer()
    // what runs beside the soak has its network by then too
    await rolledOut(lab, 'coredns', { namespace: 'kube-system' })
    world.#before = await world.#holdings()
    failed.move()
    return world
  }

  async start(node: string, random: Random): Promise<Start> {
    const name = `soak-${++this.#pods}`
    const asked = this.#asked(node, random)
    const line = this.#lines.of(name)
    const args = ['pod', `/results/${LINES}`, name, String(ANSWER_MS), ...targetWords(asked, ECHO_PORT)]
    const madeMs = performance.now()
    await whileServerIsAway(() => this.#writer.put([aPod(name, node, { app: 'soak' }, args)]))
    const said = await Promise.race([line, pause(START_LIMIT_MS, undefined, { ref: false })])
    this.#lines.forget(name)
    if (said === undefined) throw new Error(`${name} does not run on ${node}: ${await this.#why(name)}`)
    const start = parseStart(said.text, { node, asked })
    return { ...start, startMs: said.atMs - madeMs }
  }

  async end({ pod }: Pick<Start, 'pod'>): Promise<void> {
    await whileServerIsAway(() => this.#writer.remove([aPod(pod, '', {}, [])]))
  }

  async strike(victim: Victim, random: Random): Promise<string> {
    const [lab, margay] = [this.#lab, this.#margay]
    const killedMs = performance.now()
    const name = pick(this.nodes, random)
    if (victim === 'agent') {
      await margay.crash(name)
      // the pod too: a kubelet waits longer each time before it starts one container again
      await whileServerIsAway(() => margay.restart(name))
      await margay.agentAnswers(name)
    } else if (victim === 'controllers') {
      const which = ['-n', 'kube-system', '-l', 'app.kubernetes.io/name=margay-controllers']
      await whileServerIsAway(async () => void (await lab.must(['delete', 'pod', ...which, '--now'])))
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

  async alarms(): Promise<undefined> {
    return undefined
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
    const echo = ['echo', String(ECHO_PORT)]
    await this.#writer.put(this.nodes.map(name => aPod(`target-${name}`, name, TARGET, echo)))
    await this.#serve()
    for (const node of this.nodes)
      await this.#lab.reached(`target-${node} to run`, 120, async () => {
        const pod = (await this.#lab.get(`pod/target-${node}`)) as {
          status?: { phase?: string; podIPs?: { ip: string }[] }
        }
        const { phase, podIPs = [] } = pod.status ?? {}
        if (phase !== 'Running' || podIPs.length < 2) return false
        this.#targets.set(
          node,
          podIPs.map(({ ip }) => ip),
        )
        return true
      })
  }

  async #serve(): Promise<void> {
    const ports = [{ port: ECHO_PORT, protocol: 'UDP' }]
    // A Service keeps its endpoints while Kubernetes calls nodes not ready, as it does where the API server was away: kube-proxy
    // deletes the entries of an endpoint that goes, and the answer of a packet under way with them.
    const spec = { selector: TARGET, ports, ipFamilyPolicy: 'RequireDualStack', publishNotReadyAddresses: true }
    const metadata = { name: SERVICE, namespace: POD_NAMESPACE }
    await this.#lab.apply([{ apiVersion: 'v1', kind: 'Service', metadata, spec }])
    const made = (await this.#lab.get(`service/${SERVICE}`)) as { spec: { clusterIPs: string[] } }
    this.#service = made.spec.clusterIPs
  }

  /** A Service is there once kube-proxy of each node has it: until then its first packets are nobody's fault. */
  async #servicesAnswer(): Promise<void> {
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

  #asked(node: string, random: Random): Record<TargetWord, string> {
    const { plan } = this.#lab
    const ofFamily = (addresses: readonly string[], family: Family) =>
      addresses.find(each => familyOf(each) === family)!
    const target = (of: string, family: Family) => ofFamily(this.#targets.get(of)!, family)
    const others = this.nodes.filter(each => each !== node)
    const other = (family: Family) => target(pick(others, random), family)
    return {
      ...{ other4: other('ipv4'), other6: other('ipv6'), own4: target(node, 'ipv4'), own6: target(node, 'ipv6') },
      ...{ service4: ofFamily(this.#service, 'ipv4'), service6: ofFamily(this.#service, 'ipv6') },
      ...{ outside4: plan.api.address, outside6: plan.api.address6 },
    }
  }

  #holdings(): Promise<Holdings> {
    // SQLite follows links, and the root of a process is one that leads to this machine's
    const database = (node: string) => join(this.#lab.machine(node).layer('var/lib'), 'margay/node.db')
    return holdingsOf(this.#lab, [POD_CIDR, POD_CIDR6], database)
  }
}

function whileServerIsAway<T>(work: () => Promise<T>): Promise<T> {
  return whileAway(work, SERVER_LIMIT_MS)
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
