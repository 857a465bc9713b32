// Margay in the lab's Kubernetes, as an operator has it: the image is imported on every node and the manifest is applied.
// Everything that depends on how the agent gets onto a node is in this file.
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { askAgent } from '../ask.ts'
import { root } from '../lab.ts'
import { LabFailure } from '../lab-programs.ts'
import { runProgram } from '../program.ts'
import type { KubernetesLab } from './cluster.ts'
import { MACHINE } from './image-archive.ts'
import { patchWords } from './objects.ts'
import { POD_CIDR, POD_CIDR6 } from './programs.ts'

const NAMESPACE = ['-n', 'kube-system']
const DAEMONSET = 'daemonset/margay-node'
const CONTROLLERS = 'deployment/margay-controllers'
const ROLE = 'clusterrole/margay-node'
const PODS = ['pod', '-l', 'app.kubernetes.io/name=margay-node', ...NAMESPACE]
/** What the agent's process is called in its container. */
const PROGRAM = '/opt/margay/margay-node.js'

/** What tests change of the agents' pod. */
export type AgentPod = { initContainers: AgentContainer[]; containers: AgentContainer[] }
type AgentContainer = {
  name: string
  securityContext: { capabilities: { add?: string[] } }
  volumeMounts: { name: string; mountPath: string }[]
}
type DaemonSetSpec = { updateStrategy: unknown; template: { spec: AgentPod } }

export class Margay {
  readonly #lab: KubernetesLab
  /** The cluster role as it was before rights were withheld. */
  #role: string | undefined
  #controllersArgs: readonly string[] | undefined
  /** The DaemonSet as it was before a node's agent got another pod. */
  #daemonSet: DaemonSetSpec | undefined

  constructor(lab: KubernetesLab) {
    this.#lab = lab
  }

  /** Returns when the agent of every node answers; nodes are Ready a moment later. `image`: what `makeImage` gives. */
  async install(image: Promise<Buffer>): Promise<void> {
    writeFileSync(join(this.#lab.shared, 'margay.tar'), await image)
    await Promise.all(this.#lab.plan.nodes.map(({ name }) => this.#lab.importImage(name, 'margay.tar')))
    await this.#lab.must(['apply', '--server-side', '-f', join(root, 'manifests/margay.yaml')])
    await this.#lab.apply(this.#lab.plan.ipv6 ? [POOL, POOL6] : [POOL])
    await this.#rolledOut()
    for (const { name } of this.#lab.plan.nodes) await this.agentAnswers(name)
  }

  /** Every agent is replaced, one node after another, as by an upgrade. */
  async roll(): Promise<void> {
    await this.#lab.must(['rollout', 'restart', DAEMONSET, ...NAMESPACE])
    await this.#rolledOut()
  }

  /** The same of the controllers. */
  async rollControllers(): Promise<void> {
    await this.#lab.must(['rollout', 'restart', CONTROLLERS, ...NAMESPACE])
    await this.#controllersRolledOut()
  }

  /** The process of a node's agent, as this machine counts; undefined while there is none. */
  agentPid(name: string): number | undefined {
    return this.#pids(name)[0]
  }

  /** kill -9; kubelet starts it again. */
  async crash(name: string): Promise<void> {
    // a short command of the same program (an init container, a probe) may have ended by itself
    for (const pid of this.#pids(name))
      try {
        process.kill(pid, 'SIGKILL')
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
      }
  }

  /** kill -9, and it stays away until `bringBack`: no pod gets a node while the scheduler is down. */
  async keepAway(name: string): Promise<void> {
    await this.#lab.stopControl('kube-scheduler')
    await this.crash(name)
    await this.restart(name)
  }

  async bringBack(name: string): Promise<void> {
    this.#lab.startControl('kube-scheduler')
    await this.#rolledOut()
    await this.agentAnswers(name)
  }

  /** The agent starts with an empty data directory, as on a new disk. */
  async wipe(name: string): Promise<void> {
    await this.keepAway(name)
    await this.#lab.machine(name).run(['rm', '-rf', '/var/lib/margay'])
    await this.bringBack(name)
  }

  /** Takes the agent's rights on blocks away, until `restoreRights`. */
  async withholdBlocks(): Promise<void> {
    this.#role = await this.#lab.must(['get', ROLE, '-o', 'json'])
    const role = JSON.parse(this.#role) as { rules: { resources?: string[] }[] }
    for (const rule of role.rules) rule.resources = rule.resources?.filter(each => each !== 'ipamblocks')
    role.rules = role.rules.filter(({ resources }) => resources === undefined || resources.length > 0)
    const patch = [{ op: 'replace', path: '/rules', value: role.rules }]
    await this.#lab.must(patchWords(ROLE, patch))
  }

  async restoreRights(): Promise<void> {
    const { rules } = JSON.parse(this.#role!) as { rules: unknown }
    await this.#lab.must(patchWords(ROLE, [{ op: 'replace', path: '/rules', value: rules }]))
  }

  /** The controllers run with these options besides their own, one after the other. */
  async setControllers(options: readonly string[]): Promise<void> {
    const { spec } = (await this.#lab.get(CONTROLLERS, ...NAMESPACE)) as {
      spec: { template: { spec: { containers: { args: string[] }[] } } }
    }
    const own = spec.template.spec.containers[0]!.args
    this.#controllersArgs ??= own
    const value = [...this.#controllersArgs, ...options]
    if (value.join(' ') === own.join(' ')) return
    const patch = [{ op: 'replace', path: '/spec/template/spec/containers/0/args', value }]
    await this.#lab.must([...patchWords(CONTROLLERS, patch), ...NAMESPACE])
    await this.#controllersRolledOut()
  }

  async #controllersRolledOut(): Promise<void> {
    await this.#lab.must(['rollout', 'status', CONTROLLERS, ...NAMESPACE, '--timeout=120s'], { limitMs: 130_000 })
  }

  /** The agent of one node is replaced by one with a changed pod, until `restorePod`; the other nodes keep theirs. */
  async changePod(node: string, change: (pod: AgentPod) => void): Promise<void> {
    this.#daemonSet ??= ((await this.#lab.get(DAEMONSET, ...NAMESPACE)) as { spec: DaemonSetSpec }).spec
    const pod = structuredClone(this.#daemonSet.template.spec)
    change(pod)
    await this.#setPods({ type: 'OnDelete' }, pod)
    await this.restart(node)
  }

  async restorePod(node: string): Promise<void> {
    const { updateStrategy, template } = this.#daemonSet!
    await this.#setPods(updateStrategy, template.spec)
    await this.restart(node)
    await this.#rolledOut()
    await this.agentAnswers(node)
  }

  /** Whether kubelet has the agent's pod of a node for ready. */
  async podIsReady(node: string): Promise<boolean> {
    const path = 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'
    return (await this.#lab.must(['get', await this.#podOf(node), ...NAMESPACE, '-o', path])) === 'True'
  }

  async #setPods(updateStrategy: unknown, pod: AgentPod): Promise<void> {
    const patch = [
      { op: 'replace', path: '/spec/updateStrategy', value: updateStrategy },
      { op: 'replace', path: '/spec/template/spec', value: pod },
    ]
    await this.#lab.must([...patchWords(DAEMONSET, patch), ...NAMESPACE])
  }

  async agentAnswers(name: string): Promise<void> {
    await this.#lab.reached(`the agent of ${name} to answer`, 60, async () => (await this.status(name)) !== undefined)
  }

  /** What the agent says of itself; undefined when it does not answer. */
  async status(name: string): Promise<unknown> {
    return await askAgent(this.#lab.machine(name).path('/run/margay/agent.sock'), '/status')
  }

  /** The agent's pod of one node is replaced at once, however often it has failed. */
  async restart(node: string): Promise<void> {
    await this.#lab.must(['delete', ...PODS, '--field-selector', `spec.nodeName=${node}`, '--now'])
  }

  /** The log of the agent that runs on a node. */
  async log(name: string): Promise<string> {
    return await this.#lab.must(['logs', await this.#podOf(name), ...NAMESPACE])
  }

  /** Of the agent that was made for a node last. */
  async #podOf(name: string): Promise<string> {
    const which = ['--field-selector', `spec.nodeName=${name}`, '--sort-by=.metadata.creationTimestamp']
    return (await this.#lab.must(['get', ...PODS, ...which, '-o', 'name'])).trim().split('\n').at(-1)!
  }

  /** The logs of all containers of a node's agent, also of their runs before the last one; '' while there are none. */
  async allLogs(name: string): Promise<string> {
    const args = ['logs', await this.#podOf(name), ...NAMESPACE, '--all-containers']
    const runs = await Promise.all([[], ['--previous']].map(more => this.#lab.kubectl([...args, ...more])))
    return runs.map(({ stdout }) => stdout).join('')
  }

  async #rolledOut(): Promise<void> {
    await this.#lab.must(['rollout', 'status', DAEMONSET, ...NAMESPACE, '--timeout=180s'], { limitMs: 190_000 })
  }

  /** The agent's processes of one node, as this machine counts: they are in the node's network, in containers. */
  #pids(name: string): number[] {
    const netns = readlinkSync(`/proc/${this.#lab.machine(name).init}/ns/net`)
    return readdirSync('/proc').flatMap(entry => {
      try {
        const ours =
          readFileSync(`/proc/${entry}/cmdline`, 'utf8').split('\0')[1] === PROGRAM &&
          readlinkSync(`/proc/${entry}/ns/net`) === netns
        return ours ? [Number(entry)] : []
      } catch {
        return [] // no process, or it has just ended
      }
    })
  }
}

/** The archive that `npm run image` makes of the source as it is now. It takes a while, so it is begun before the cluster. */
export async function makeImage(): Promise<Buffer> {
  const folder = mkdtempSync(join(tmpdir(), 'margay-image-'))
  try {
    const argv = [process.execPath, join(root, 'image/main.ts'), '--arch', MACHINE, '--output', folder]
    const run = await runProgram(argv, { limitMs: 600_000 })
    if (run.code !== 0) throw new LabFailure(`npm run image: ${run.stderr.trim()}`)
    return readFileSync(join(folder, `margay-${MACHINE}.tar`))
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** Tunnels only between the LANs, by VXLAN: many kernels of container hosts have no IP-in-IP. */
const POOL = {
  apiVersion: 'projectcalico.org/v3',
  kind: 'IPPool',
  metadata: { name: 'default-ipv4-ippool' },
  spec: { cidr: POD_CIDR, blockSize: 26, ipipMode: 'Never', vxlanMode: 'CrossSubnet', natOutgoing: true },
}

const POOL6 = {
  ...POOL,
  metadata: { name: 'default-ipv6-ippool' },
  spec: { ...POOL.spec, cidr: POD_CIDR6, blockSize: 122 },
}
