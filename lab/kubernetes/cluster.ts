// A real Kubernetes on this machine: etcd, API server, controller manager and scheduler in the namespace behind the router,
// and per node a machine of its own with containerd, kubelet and kube-proxy, on two LANs. No pod network: nodes stay
// NotReady until one is installed. Everything it makes is in its state file first, or ends with a process that is.
import { randomBytes } from 'node:crypto'
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { openKernel } from '../../kernel/linux/kernel.ts'
import { netnsPath } from '../../kernel/netns.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { LabFailure } from '../lab-programs.ts'
import { type NodePlan, type Plan, planLab } from '../plan.ts'
import {
  type Finished,
  isAlive,
  keptProgram,
  lastLines,
  type Program,
  readStartTicks,
  runProgram,
  startProgram,
  stopAll,
  until,
  writtenDown,
} from '../program.ts'
import { type LabState, readState, writeState } from '../state.ts'
import { buildTopology, replugNode } from '../topology.ts'
import { binary, binaryPath } from './binaries.ts'
import { cgroupName, makeCgroup } from './cgroups.ts'
import { API_SERVICE, DNS_SERVICE, type KubernetesCredentials, makeKubernetesCredentials } from './credentials.ts'
import { KUBERNETES_DIR, makeDir, PREFIX, removeKubernetesLab } from './folder.ts'
import { imageArchive } from './image-archive.ts'
import { type KeptCluster, readKept, writeKept } from './kept.ts'
import { Machine } from './machine.ts'
import { dnsObjects } from './objects.ts'
import {
  AUDIT_POLICY,
  type AuditEvent,
  auditLog,
  CONTAINERD_SOCKET,
  type ControlPlaneName,
  containerdCommand,
  controlPlane,
  kubeletCommand,
  kubeProxyCommand,
  LAB_IMAGE,
  nodeFiles,
  type ProxyMode,
  SANDBOX_IMAGE,
} from './programs.ts'

const REFERENCE_PLUGINS = ['loopback', 'bridge', 'host-local', 'ptp']
/** On the last node alone: Debian's know no CNI 1.1, so a network that chains them is asked for no STATUS. */
const CHAINED_PLUGINS = ['portmap', 'bandwidth']

export type KubernetesOptions = {
  /** Nodes on LAN A and on LAN B. */
  nodes: readonly [number, number]
  proxy: ProxyMode
  /** Whether nodes, pods and Services have IPv6 beside IPv4; not when absent. */
  ipv6?: boolean
  /** Multiplies every time limit. */
  patience: number
  say: (text: string) => void
}

export class KubernetesLab implements AsyncDisposable {
  readonly plan: Plan
  readonly dir = KUBERNETES_DIR
  /** The address of the API server's Service. */
  readonly apiService = API_SERVICE
  readonly host: Kernel
  readonly machines = new Map<string, Machine>()
  readonly #options: KubernetesOptions
  readonly #control = new Map<string, Program>()
  readonly #renamed = new Map<string, string>()
  readonly #word: string
  readonly #state: LabState
  #credentials: KubernetesCredentials | undefined
  #closing = false

  constructor(options: KubernetesOptions, word = randomBytes(3).toString('hex')) {
    this.#options = options
    this.#word = word
    this.plan = planLab({ prefix: PREFIX, nodes: options.nodes, podsPerNode: 0, ipv6: options.ipv6 ?? false })
    this.host = openKernel()
    const owner = { name: 'lab', pid: process.pid, startTicks: readStartTicks(process.pid)! }
    this.#state = { prefix: PREFIX, owner, kept: false, namespaces: [], processes: [] }
  }

  /** How kube-proxy brings Services into the kernel. */
  get proxy(): ProxyMode {
    return this.#options.proxy
  }

  /** The one that was kept and is running, to go on with; undefined when there is none. */
  static kept(options: Omit<KubernetesOptions, 'nodes' | 'proxy' | 'ipv6'>): KubernetesLab | undefined {
    const [state, kept] = [readState(KUBERNETES_DIR), readKept(KUBERNETES_DIR)]
    if (state?.kept !== true || kept === undefined) return undefined
    const { nodes, proxy, ipv6, word } = kept
    const lab = new KubernetesLab({ ...options, nodes, proxy, ipv6 }, word)
    lab.#resume(state, kept)
    return lab
  }

  /** Returns with the API server answering, every node registered, and DNS waiting for a network. */
  async start(): Promise<void> {
    const { say } = this.#options
    if (await removeKubernetesLab()) say('removed what an earlier Kubernetes left behind')
    await makeDir(this.dir)
    writeState(this.dir, this.#state)
    say(`making ${this.plan.nodes.length} nodes, a router and their LANs in namespaces ${PREFIX}*`)
    const [credentials] = await Promise.all([
      makeKubernetesCredentials(join(this.dir, 'control'), this.plan),
      buildTopology(this.host, this.plan),
    ])
    this.#credentials = credentials
    writeFileSync(join(this.dir, 'control', 'audit-policy.json'), JSON.stringify(AUDIT_POLICY))
    this.#writeImages()
    say('starting etcd, the API server, the controller manager and the scheduler')
    for (const name of ['etcd', 'kube-apiserver'] as const) this.startControl(name)
    const nodes = Promise.all(this.plan.nodes.map(node => this.#bootNew(node)))
    await this.apiReady()
    for (const name of ['kube-controller-manager', 'kube-scheduler'] as const) this.startControl(name)
    await nodes
    say('waiting for the nodes to register')
    await this.apply(dnsObjects(LAB_IMAGE, DNS_SERVICE))
    for (const { name } of this.plan.nodes)
      await this.reached(`${name} to register`, 60, async () => (await this.get(`node/${name}`)) !== undefined)
  }

  /** By the name of the plan, or by the one that it has in the cluster after `rename`. */
  node(name: string): NodePlan {
    const found = this.plan.nodes.find(node => node.name === name || this.#renamed.get(node.name) === name)
    if (found === undefined) throw new Error(`no node ${name} in this lab`)
    return found
  }

  machine(name: string): Machine {
    return this.machines.get(this.node(name).name)!
  }

  /** The administrator's kubeconfig. */
  get kubeconfig(): string {
    return this.#credentials!.adminFile
  }

  /** What every node sees at /mnt. */
  get shared(): string {
    return join(this.dir, 'shared')
  }

  startControl(name: ControlPlaneName): void {
    const argv = controlPlane(this.dir, this.plan, this.#credentials!)[name]
    const logFile = join(this.dir, 'control', `${name}.log`)
    const program = startProgram(name, argv, {
      netns: this.plan.api.netns,
      logFile,
      env: { PATH: binaryPath() },
    })
    this.#control.set(name, program)
    this.#started(program)
  }

  /** After `graceMs` it is killed. */
  async stopControl(name: ControlPlaneName, graceMs = 5000): Promise<void> {
    const program = this.#control.get(name)!
    this.#control.delete(name)
    await stopAll([program], graceMs)
  }

  async apiReady(): Promise<void> {
    await this.reached('the API server to be ready', 60, async () => {
      return (await this.kubectl(['get', '--raw', '/readyz'])).code === 0
    })
  }

  /** Runs kubectl as the administrator, in the API server's namespace. */
  kubectl(args: readonly string[], options: { stdin?: string; limitMs?: number } = {}): Promise<Finished> {
    const env = { PATH: binaryPath(), KUBECONFIG: this.kubeconfig, HOME: this.dir }
    return runProgram([binary('kubectl'), ...args], { ...options, netns: this.plan.api.netns, env })
  }

  /** As `kubectl`, and throws what it says when it fails. */
  async must(args: readonly string[], options: { stdin?: string; limitMs?: number } = {}): Promise<string> {
    const { code, stdout, stderr } = await this.kubectl(args, options)
    if (code !== 0) throw new LabFailure(`kubectl ${args.join(' ')}: ${stderr.trim() || stdout.trim()}`)
    return stdout
  }

  async apply(objects: readonly unknown[]): Promise<void> {
    const list = { apiVersion: 'v1', kind: 'List', items: objects }
    await this.must(['apply', '-f', '-'], { stdin: JSON.stringify(list) })
  }

  /** One object (`node/n1`) or the list of a kind; undefined when it is not there. */
  async get(what: string, ...args: string[]): Promise<unknown> {
    const { code, stdout, stderr } = await this.kubectl(['get', what, '-o', 'json', ...args])
    if (code === 0) return JSON.parse(stdout)
    if (/not found/i.test(stderr)) return undefined
    throw new LabFailure(`kubectl get ${what}: ${stderr.trim()}`)
  }

  /** Every process of the node ends without a word, its links and routes with them; then it starts as after a boot. */
  async reboot(name: string): Promise<void> {
    const machine = this.machine(name)
    await machine.powerOff()
    await replugNode(this.host, this.plan, this.node(name))
    await this.#boot(machine)
  }

  /** The node has another name in the cluster: its Node object is deleted, and another one registers. */
  async rename(name: string, as: string): Promise<void> {
    const machine = this.machine(name)
    await Promise.all([machine.stop('kubelet'), machine.stop('kube-proxy')])
    await this.must(['delete', 'node', this.#renamed.get(name) ?? name, '--ignore-not-found'])
    this.#renamed.set(name, as)
    await this.startKubelet(name)
    await this.startProxy(name)
    await this.reached(`${as} to register`, 60, async () => (await this.get(`node/${as}`)) !== undefined)
  }

  async startKubelet(name: string): Promise<void> {
    const as = this.#renamed.get(name) ?? name
    // the node's own token is for its own name
    const config = as === name ? 'kubelet.conf' : 'kube-proxy.conf'
    await this.machine(name).start(
      'kubelet',
      kubeletCommand(this.plan, this.node(name), as, `/etc/kubernetes/${config}`),
    )
  }

  async startProxy(name: string): Promise<void> {
    const as = this.#renamed.get(name) ?? name
    const command = kubeProxyCommand(this.plan, as, this.#options.proxy, '/etc/kubernetes/kube-proxy.conf')
    await this.machine(name).start('kube-proxy', command)
  }

  async startContainerd(name: string): Promise<void> {
    const machine = this.machine(name)
    await machine.start('containerd', containerdCommand())
    await this.reached(`containerd of ${name} to answer`, 30, async () => {
      return (await machine.run([binary('ctr'), '-a', CONTAINERD_SOCKET, 'version'])).code === 0
    })
  }

  /** What service accounts of kube-system asked the API server since it started, the stages of each request apart. */
  audit(): AuditEvent[] {
    const lines = readFileSync(auditLog(this.dir), 'utf8').split('\n')
    return lines.flatMap(line => (line === '' ? [] : [JSON.parse(line) as AuditEvent]))
  }

  /** Starts a program outside of the cluster, beside the API server. */
  startOutside(name: string, argv: readonly string[]): { stop(): Promise<void> } {
    const logFile = join(this.dir, 'control', `${name}.log`)
    const program = startProgram(name, argv, { netns: this.plan.api.netns, logFile, env: { PATH: binaryPath() } })
    this.#started(program)
    return { stop: () => stopAll([program], 1000) }
  }

  /** The kernel of a node's or the router's namespace; the caller closes it. */
  kernel(netns: string): Kernel {
    return this.host.inside(netnsPath(netns))
  }

  /** Runs a short program in a namespace, with this machine's files. */
  inNetns(netns: string, argv: readonly string[]): Promise<Finished> {
    return runProgram(argv, { netns })
  }

  /** Imports an image from an archive in the shared folder. */
  async importImage(name: string, archive: string): Promise<void> {
    const argv = [binary('ctr'), '-a', CONTAINERD_SOCKET, '-n', 'k8s.io', 'images', 'import', `/mnt/${archive}`]
    const run = await this.machine(name).run(argv, { limitMs: 120_000 })
    if (run.code !== 0) throw new LabFailure(`${name} does not take the image ${archive}: ${run.stderr.trim()}`)
  }

  /** Waits for a condition; fails at once when a program of the lab has ended by itself. */
  async reached(what: string, seconds: number, condition: () => Promise<boolean>): Promise<void> {
    const ms = seconds * 1000 * this.#options.patience
    let dead: string | undefined
    const done = await until(
      async () => {
        dead = this.#ended()
        return dead !== undefined || (await condition())
      },
      ms,
      200,
    )
    if (dead !== undefined) throw new LabFailure(dead)
    if (!done) throw new LabFailure(`waited ${ms / 1000} s for ${what}`)
  }

  /** Lets it go on after this process ends; `removeKubernetesLab` ends it. */
  keep(): void {
    const { nodes, proxy } = this.#options
    const control = [...this.#control].map(([name, program]) => [name, writtenDown(program)] as const)
    const machines = [...this.machines].map(([name, machine]) => [name, machine.written()] as const)
    writeKept(this.dir, {
      ...{ nodes, proxy, ipv6: this.plan.ipv6, word: this.#word, credentials: this.#credentials! },
      ...{ control: Object.fromEntries(control), machines: Object.fromEntries(machines) },
    })
    this.#state.kept = true
    writeState(this.dir, this.#state)
    this.host.close()
  }

  async stop(): Promise<void> {
    this.#closing = true
    this.host.close()
    await removeKubernetesLab()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#state.kept) await this.stop()
  }

  /** One image for all: its programs are in it side by side, and a pod names the one that it wants. */
  #writeImages(): void {
    mkdirSync(this.shared, { recursive: true })
    const tools = [
      { from: binary('agnhost'), to: '/agnhost' },
      { from: binary('coredns'), to: '/coredns' },
    ]
    writeFileSync(join(this.shared, 'tools.tar'), imageArchive(LAB_IMAGE, tools, ['/agnhost']))
    writeFileSync(join(this.shared, 'pause.tar'), imageArchive(SANDBOX_IMAGE, tools.slice(0, 1), ['/agnhost', 'pause']))
  }

  #resume(state: LabState, { credentials, control, machines }: KeptCluster): void {
    this.#state.processes.push(...state.processes.filter(isAlive))
    writeState(this.dir, this.#state)
    this.#credentials = credentials
    for (const [name, program] of Object.entries(control)) this.#control.set(name, keptProgram(program))
    for (const node of this.plan.nodes) this.#newMachine(node).resume(machines[node.name]!)
  }

  #newMachine({ name, netns }: NodePlan): Machine {
    const dir = join(this.dir, name)
    const machine = new Machine({ name, netns, dir, shared: this.shared, started: program => this.#started(program) })
    this.machines.set(name, machine)
    return machine
  }

  async #bootNew(node: NodePlan): Promise<void> {
    const cgroup = cgroupName(this.#word, node.name)
    const machine = this.#newMachine(node)
    const { kubelets } = this.#credentials!
    const files = nodeFiles(node, cgroup, kubelets[node.name]!, this.plan.api.gateway)
    const admin = readFileSync(this.kubeconfig)
    for (const [path, text] of Object.entries({ ...files, 'kubernetes/kube-proxy.conf': admin })) {
      const file = join(machine.layer('etc'), path)
      mkdirSync(dirname(file), { recursive: true })
      writeFileSync(file, text)
    }
    // as Kubernetes' package of the reference plugins puts them there; containerd itself wants `loopback`
    const plugins = join(machine.layer('opt'), 'cni/bin')
    const chained = node === this.plan.nodes.at(-1) ? CHAINED_PLUGINS : []
    for (const name of [...REFERENCE_PLUGINS, ...chained]) cpSync(join('/usr/lib/cni', name), join(plugins, name))
    await this.#boot(machine)
  }

  /** From power on to a running kubelet. */
  async #boot(machine: Machine): Promise<void> {
    const { name } = machine
    makeCgroup(cgroupName(this.#word, name))
    await machine.boot()
    await this.startContainerd(name)
    if (!existsSync(join(machine.dir, 'imported'))) {
      for (const archive of ['pause.tar', 'tools.tar']) await this.importImage(name, archive)
      writeFileSync(join(machine.dir, 'imported'), '')
    }
    await this.startKubelet(name)
    await this.startProxy(name)
  }

  #started(program: Program): void {
    if (this.#closing) throw new LabFailure('the lab is being removed')
    this.#state.processes.push({ name: program.name, pid: program.pid, startTicks: program.startTicks })
    writeState(this.dir, this.#state)
  }

  #ended(): string | undefined {
    if (this.#closing) return undefined
    for (const { name, ended, logFile } of this.#control.values())
      if (ended !== undefined) return `${name} ended (${ended}):\n${lastLines(logFile)}`
    for (const machine of this.machines.values()) {
      const ended = machine.ended()
      if (ended !== undefined) return ended
    }
    return undefined
  }
}
