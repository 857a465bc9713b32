// One lab, from nothing to pods that answer, and back to nothing. Used by `npm run lab` and by the tests. Everything
// it makes is written to its state file first, so that `removeLab` finds it after a crash as well.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { openKernel } from '../kernel/linux/kernel.ts'
import { netnsPath } from '../kernel/netns.ts'
import type { Kernel } from '../kernel/port/kernel.ts'
import { programFile } from '../lib/package-files.ts'
import { systemProgram } from '../lib/system-program.ts'
import { askAgent, askPeers, type PeerRow } from './ask.ts'
import {
  type ClusterObject,
  type ClusterPatch,
  ClusterWriter,
  type Credentials,
  clusterObjects,
  credentialFiles,
  makeCredentials,
  podObject,
} from './cluster.ts'
import { type KeptLab, readKept, writeKept } from './kept.ts'
import { LabFailure, LabPrograms, logsOf, NO_LAB } from './lab-programs.ts'
import { measurePairs, type PairRow, type PodAt, pathTo } from './measure.ts'
import { type NodePlan, namespacesOf, type Plan, type PodPlan, planLab } from './plan.ts'
import { addPod, type CniDirs, deletePod, installPlugin } from './pods.ts'
import { isAlive, type Program, readStartTicks } from './program.ts'
import { programIn, removeLab } from './remains.ts'
import { type LabState, readState, writeState } from './state.ts'
import { buildTopology } from './topology.ts'

export const root = new URL('..', import.meta.url).pathname

const programPath = (path: string): string => fileURLToPath(programFile(path))

const API = 'margay-api'
const CONTROLLERS = 'margay-controllers'
const agentOf = (node: string): string => `agent of ${node}`

export type LabOptions = {
  /** Of every namespace's name. */
  prefix: string
  /** Holds the state file, credentials, and each node's data, sockets and logs. Removed with the lab. */
  dir: string
  /** Nodes on LAN A and on LAN B. */
  nodes: readonly [number, number]
  /** Pods that are there from the start on each node; 2 when absent. */
  podsPerNode?: number
  /** Whether nodes and pods have IPv6 beside IPv4; not when absent. */
  ipv6?: boolean
  /** Of the spec of the pools, in place of what `clusterObjects` has; the block size is that of IPv4. */
  pool?: { blockSize?: number; natOutgoing?: boolean }
  /** Multiplies every time limit; above 1 on an emulated machine. */
  patience: number
  /** Told what is being done, one short sentence each. */
  say: (text: string) => void
}

export class Lab implements AsyncDisposable {
  readonly plan: Plan
  readonly dir: string
  readonly host: Kernel
  readonly pods: PodAt[] = []
  readonly #options: LabOptions
  readonly #programs: LabPrograms
  #credentials: Credentials | undefined
  #writer: ClusterWriter | undefined
  #state: LabState

  constructor(options: LabOptions) {
    this.#options = options
    this.dir = options.dir
    this.plan = planLab(options)
    this.host = openKernel()
    const owner = { name: 'lab', pid: process.pid, startTicks: readStartTicks(process.pid)! }
    const namespaces = namespacesOf(this.plan)
    this.#state = { prefix: options.prefix, owner, kept: false, namespaces, processes: [] }
    this.#programs = new LabPrograms(options.dir, this.#state, options.patience)
  }

  /**
   * The lab that was kept in `dir`, to go on with. Throws LabFailure when there is none, or it is one of another version of these
   * programs, which it would start its agents with.
   */
  static kept({ dir, ...options }: Pick<LabOptions, 'dir' | 'patience' | 'say'>): Lab {
    const [state, kept] = [readState(dir), readKept(dir)]
    if (state?.kept !== true || kept === undefined || !state.processes.some(isAlive)) throw new LabFailure(NO_LAB)
    if (kept.root !== root) throw new LabFailure(`the lab that was kept is one of ${kept.root}: say it there`)
    const lab = new Lab({ ...options, ...kept.options, dir, prefix: state.prefix })
    lab.#resume(state, kept.pods)
    return lab
  }

  #resume(state: LabState, pods: KeptLab['pods']): void {
    Object.assign(this.#state, state)
    this.#credentials = credentialFiles(join(this.dir, 'api'), this.plan.nodes)
    for (const { name, ...process } of state.processes) this.#programs.resume({ name, ...process }, this.#logFile(name))
    for (const node of this.plan.nodes) {
      const name = agentOf(node.name)
      const byHand = this.#programs.runs(name)
        ? undefined
        : programIn(node.netns, join(this.nodeDir(node.name), 'data'))
      if (byHand !== undefined) this.#programs.resume({ ...byHand, name }, this.#logFile(name))
      for (const pod of node.pods) {
        const addresses = pods[pod.name]
        if (addresses?.[0] !== undefined) this.pods.push({ pod, node, address: addresses[0], addresses })
      }
    }
  }

  /** Builds everything and returns with every agent ready and every pod added. */
  async start(): Promise<void> {
    const { say, dir, prefix } = this.#options
    if (await removeLab(dir, prefix)) say('removed what an earlier lab left behind')
    writeState(dir, this.#state)
    say(`making ${this.plan.nodes.length} nodes, a router and their LANs in namespaces ${prefix}*`)
    const credentials = makeCredentials(join(dir, 'api'), this.plan)
    await Promise.all([buildTopology(this.host, this.plan), credentials, this.#installPlugins()])
    this.#credentials = await credentials
    say('starting margay-api and one agent per node')
    this.startApi()
    const objects = this.putObjects(clusterObjects(this.plan, this.#options.pool))
    for (const node of this.plan.nodes) this.startAgent(node.name)
    await Promise.all([objects, ...this.plan.nodes.map(node => this.agentReady(node.name))])
    say(`adding ${this.plan.nodes.reduce((sum, node) => sum + node.pods.length, 0)} pods by executing the CNI plugin`)
    await Promise.all(this.plan.nodes.flatMap(node => node.pods.map(pod => this.addPod(node.name, pod))))
    this.pods.sort((a, b) => a.pod.name.localeCompare(b.pod.name, 'en', { numeric: true }))
  }

  /** Every file and socket of one node. */
  nodeDir(name: string): string {
    return join(this.dir, name)
  }

  agentSocket(name: string): string {
    return join(this.nodeDir(name), 'run', 'agent.sock')
  }

  cniDirs(name: string): CniDirs {
    return { binDir: join(this.nodeDir(name), 'bin'), confDir: join(this.nodeDir(name), 'net.d') }
  }

  get kubeconfig(): string {
    return this.#credentials!.kubeconfig
  }

  node(name: string): NodePlan {
    const found = this.plan.nodes.find(node => node.name === name)
    if (found === undefined) throw new Error(`no node ${name} in this lab`)
    return found
  }

  /** The kernel of a node's, a pod's or the router's namespace; the caller closes it. */
  kernel(netns: string): Kernel {
    return this.host.inside(netnsPath(netns))
  }

  /** The process of the API server; its mount namespace is the lab's. */
  get apiPid(): number {
    return this.#programs.get(API).pid
  }

  /** The process of a node's agent. */
  agentPid(name: string): number {
    return this.#programs.get(agentOf(name)).pid
  }

  /** How to start the agent of a node: what a service file would hold. */
  agentCommand(name: string): string[] {
    const dir = this.nodeDir(name)
    return [
      ...[process.execPath, programPath('agent/main'), '--node-name', name],
      ...['--kubeconfig', this.#credentials!.nodeKubeconfigs.get(name)!],
      ...['--data-dir', join(dir, 'data'), '--run-dir', join(dir, 'run'), '--node-ip', 'auto', '--log-level', 'info'],
    ]
  }

  startAgent(name: string): Program {
    return this.#start(agentOf(name), this.agentCommand(name), this.node(name).netns)
  }

  /** Kills the agent with SIGKILL, so that it cannot close its BGP sessions. Resolves when the process is gone. */
  async killAgent(name: string): Promise<void> {
    await this.#programs.kill(agentOf(name))
  }

  /** Ends the agent, where it runs, as a machine does that goes down in order, and starts it again. */
  async restartAgent(name: string): Promise<void> {
    await this.#programs.end(agentOf(name))
    await this.runAgent(name)
  }

  /** Starts the agent unless it runs. Resolves when it is ready. */
  async runAgent(name: string): Promise<void> {
    if (!this.#programs.runs(agentOf(name))) this.startAgent(name)
    await this.agentReady(name)
  }

  /** Stops the agent where it is, as a machine does that has no time for it, or lets it go on. */
  pauseAgent(name: string, isPaused: boolean): void {
    process.kill(this.agentPid(name), isPaused ? 'SIGSTOP' : 'SIGCONT')
  }

  /** Starts margay-controllers beside the API server. */
  startControllers(): void {
    const argv = [
      ...[process.execPath, programPath('controllers/main'), '--kubeconfig', this.kubeconfig],
      ...['--lease-namespace', 'default', '--first-pools', 'none'],
    ]
    this.#start(CONTROLLERS, argv, this.plan.api.netns)
  }

  /** The process of margay-controllers. */
  get controllersPid(): number {
    return this.#programs.get(CONTROLLERS).pid
  }

  /** Starts a program beside the lab's own, such as a server in a pod, unless it runs. It ends with the lab. */
  runBeside(name: string, argv: readonly string[], netns: string): void {
    if (!this.#programs.runs(name)) this.#start(name, argv, netns)
  }

  endBeside(name: string): Promise<void> {
    return this.#programs.end(name)
  }

  /** As `killAgent`. */
  async killControllers(): Promise<void> {
    await this.#programs.kill(CONTROLLERS)
  }

  async agentReady(name: string): Promise<void> {
    const program = this.#programs.get(agentOf(name))
    await this.#programs.reached(`the agent of ${name} to be ready`, 15, [program], async () => {
      return (await askAgent(this.agentSocket(name), '/readyz')) !== undefined
    })
  }

  /** Executes ADD. */
  async addPod(nodeName: string, pod: PodPlan): Promise<PodAt> {
    const node = this.node(nodeName)
    // on an emulated machine an agent may say nothing for ten seconds; elsewhere that is a fault
    const calls = this.#options.patience > 1 ? 3 : 1
    const addresses = await addPod(node, pod, this.cniDirs(nodeName), { limitMs: this.#ms(20), calls })
    const at = { pod, node, address: addresses[0], addresses }
    this.pods.push(at)
    return at
  }

  async deletePod(at: PodAt): Promise<void> {
    await deletePod(at.node, at.pod, this.cniDirs(at.node.name), this.#ms(20))
    this.pods.splice(this.pods.indexOf(at), 1)
  }

  /** Puts objects into the API; one that exists keeps its spec and gets the status. */
  async putObjects(objects: readonly ClusterObject[]): Promise<void> {
    await this.#write(writer => writer.put(objects))
  }

  /** Changes objects that are there. */
  async patchObjects(patches: readonly ClusterPatch[]): Promise<void> {
    await this.#write(writer => writer.patch(patches))
  }

  /** Deletes objects; one that is not there is fine. */
  async removeObjects(objects: readonly ClusterObject[]): Promise<void> {
    await this.#write(writer => writer.remove(objects))
  }

  async #write(what: (writer: ClusterWriter) => Promise<void>): Promise<void> {
    const limit = String(this.#ms(15) / 1000)
    const argv = [process.execPath, programPath('lab/objects'), this.kubeconfig, limit]
    this.#writer ??= new ClusterWriter(this.plan.api.netns, argv)
    try {
      await what(this.#writer)
    } catch (error) {
      const logs = logsOf(this.#programs.of([API]))
      throw new LabFailure(`margay-api did not take the objects: ${(error as Error).message}\n${logs}`)
    }
  }

  /** Writes the pods' addresses to the API, as a kubelet does. */
  async reportPods(): Promise<void> {
    await this.putObjects(this.pods.map(({ pod, node, addresses }) => podObject(pod.name, node.name, addresses)))
  }

  /** Resolves when every node has a route to every pod, as its kernel says. */
  async routesKnown(): Promise<void> {
    await Promise.all(
      this.plan.nodes.map(async node => {
        using kernel = this.kernel(node.netns)
        await this.#programs.reached(`${node.name} to know the way to every pod`, 30, this.#agents(), async () => {
          const addresses = this.pods.flatMap(at => at.addresses)
          const paths = await Promise.all(addresses.map(address => pathTo(kernel, address)))
          return !paths.includes('none')
        })
      }),
    )
  }

  /** Pings every pair once. */
  pingPairs(row: (row: PairRow) => void = () => {}): Promise<PairRow[]> {
    const points = this.pods.map(({ pod, node, address }) => {
      return { name: pod.name, address, netns: netnsPath(pod.netns), nodeNetns: netnsPath(node.netns) }
    })
    return measurePairs(this.host, points, { limitSeconds: Math.ceil(this.#ms(2) / 1000), row })
  }

  /** What every agent says of its BGP peers. Rejects with LabFailure when one does not answer. */
  async peers(): Promise<PeerRow[]> {
    const rows = await Promise.all(
      this.plan.nodes.map(async ({ name }) => {
        const answer = await askPeers(name, this.agentSocket(name), this.#ms(5))
        if (answer !== undefined) return answer
        throw new LabFailure(`the agent of ${name} did not say its status in ${this.#ms(5) / 1000} s`)
      }),
    )
    return rows.flat()
  }

  /** Lets the lab go on after this process ends; `removeLab` ends it. Leaves a script per node that starts its agent. */
  keep(): void {
    for (const { name, netns } of this.plan.nodes) {
      const command = ['exec', systemProgram('nsenter'), `--net=${netnsPath(netns)}`, '--', ...this.agentCommand(name)]
      writeFileSync(join(this.nodeDir(name), 'agent.sh'), `#!/bin/sh\n${command.join(' ')}\n`, { mode: 0o755 })
    }
    const { nodes, podsPerNode, ipv6 } = this.#options
    const pods = Object.fromEntries(this.pods.map(({ pod, addresses }) => [pod.name, addresses]))
    writeKept(this.dir, { root, options: { nodes, podsPerNode, ipv6 }, pods })
    this.#state.kept = true
    writeState(this.dir, this.#state)
    this.#close()
  }

  #close(): void {
    this.#writer?.close()
    this.host.close()
  }

  /** Stops every program and removes every namespace and file. Safe to call at any point of `start`, and twice. */
  async stop(): Promise<void> {
    this.#programs.close()
    this.#close()
    await removeLab(this.dir, this.plan.prefix)
  }

  /** The end of the scope that made it: a lab that is kept stays. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#state.kept) this.#close()
    else await this.stop()
  }

  /** Starts the API server, on the objects that it had. */
  startApi(): void {
    const { certFile, keyFile, tokenFile, usersFile } = this.#credentials!
    const { netns, address, port } = this.plan.api
    const argv = [
      ...[process.execPath, programPath('apiserver/main'), '--data-dir', join(this.dir, 'api', 'data')],
      ...['--listen', `${address}:${port}`, '--tls-cert', certFile, '--tls-key', keyFile, '--token-file', tokenFile],
      ...['--token-auth-file', usersFile],
    ]
    this.#start(API, argv, netns)
  }

  /** As `killAgent`. */
  async killApi(): Promise<void> {
    await this.#programs.kill(API)
  }

  async #installPlugins(): Promise<void> {
    await Promise.all(
      this.plan.nodes.map(async ({ name }) => {
        mkdirSync(this.nodeDir(name), { recursive: true, mode: 0o700 })
        const install = [process.execPath, programPath('agent/main'), 'install']
        await installPlugin(install, this.cniDirs(name), this.agentSocket(name), this.#ms(20))
      }),
    )
  }

  #start(name: string, argv: readonly string[], netns: string): Program {
    return this.#programs.start(name, argv, { netns, logFile: this.#logFile(name) })
  }

  #logFile(name: string): string {
    if (name === API) return join(this.dir, 'api', 'api.log')
    const node = this.plan.nodes.find(each => agentOf(each.name) === name)
    return node === undefined ? join(this.dir, `${name}.log`) : join(this.nodeDir(node.name), 'agent.log')
  }

  #agents(): Program[] {
    return this.#programs.of(this.plan.nodes.map(({ name }) => agentOf(name)))
  }

  #ms(seconds: number): number {
    return this.#programs.ms(seconds)
  }
}
