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
import { askAgent } from './ask.ts'
import {
  type ClusterObject,
  ClusterWriter,
  type Credentials,
  clusterObjects,
  makeCredentials,
  podObject,
} from './cluster.ts'
import { measurePairs, type PairRow, type PodAt, pathTo } from './measure.ts'
import { type NodePlan, namespacesOf, type Plan, type PodPlan, planLab } from './plan.ts'
import { addPod, type CniDirs, deletePod } from './pods.ts'
import { isAlive, lastLines, type Program, readStartTicks, runProgram, startProgram, until } from './program.ts'
import { removeLab } from './remains.ts'
import { type LabState, writeState } from './state.ts'
import { buildTopology } from './topology.ts'

export const root = new URL('..', import.meta.url).pathname

const programPath = (path: string): string => fileURLToPath(programFile(path))

/** How often it is asked whether a step is done, times the patience: on an emulated machine asking is work itself. */
const ASK_MS = 20

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

/** A step failed or took too long. The message names the step, what was seen, and the log to read. */
export class LabFailure extends Error {
  override readonly name = 'LabFailure'
}

export type PeerRow = { node: string; address: string; type: string; state: string; since: string; reason: string }

export class Lab implements AsyncDisposable {
  readonly plan: Plan
  readonly dir: string
  readonly host: Kernel
  readonly pods: PodAt[] = []
  readonly #options: LabOptions
  /** Those that were not killed, by name; one that ended by itself stays. */
  readonly #running = new Map<string, Program>()
  #credentials: Credentials | undefined
  #writer: ClusterWriter | undefined
  #state: LabState
  #closing = false

  constructor(options: LabOptions) {
    this.#options = options
    this.dir = options.dir
    this.plan = planLab(options)
    this.host = openKernel()
    const owner = { name: 'lab', pid: process.pid, startTicks: readStartTicks(process.pid)! }
    const namespaces = namespacesOf(this.plan)
    this.#state = { prefix: options.prefix, owner, kept: false, namespaces, processes: [] }
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
    const limit = String(this.#ms(15) / 1000)
    const argv = [process.execPath, programPath('lab/objects'), this.kubeconfig, limit]
    this.#writer = new ClusterWriter(this.plan.api.netns, argv)
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
    return this.#program(API).pid
  }

  /** The process of a node's agent. */
  agentPid(name: string): number {
    return this.#program(agentOf(name)).pid
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
    const logFile = join(this.nodeDir(name), 'agent.log')
    return this.#start(agentOf(name), this.agentCommand(name), this.node(name).netns, logFile)
  }

  /** Kills the agent with SIGKILL, so that it cannot close its BGP sessions. Resolves when the process is gone. */
  async killAgent(name: string): Promise<void> {
    await this.#kill(agentOf(name))
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
    this.#start(CONTROLLERS, argv, this.plan.api.netns, join(this.dir, 'controllers.log'))
  }

  /** The process of margay-controllers. */
  get controllersPid(): number {
    return this.#program(CONTROLLERS).pid
  }

  /** As `killAgent`. */
  async killControllers(): Promise<void> {
    await this.#kill(CONTROLLERS)
  }

  async agentReady(name: string): Promise<void> {
    const program = this.#program(agentOf(name))
    await this.#reached(`the agent of ${name} to be ready`, 15, [program], async () => {
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
    try {
      await this.#writer!.put(objects)
    } catch (error) {
      throw this.#notTaken(error)
    }
  }

  /** Deletes objects; one that is not there is fine. */
  async removeObjects(objects: readonly ClusterObject[]): Promise<void> {
    try {
      await this.#writer!.remove(objects)
    } catch (error) {
      throw this.#notTaken(error)
    }
  }

  #notTaken(error: unknown): LabFailure {
    const logs = this.#logsOf([...this.#running.values()].filter(({ name }) => name === API))
    return new LabFailure(`margay-api did not take the objects: ${(error as Error).message}\n${logs}`)
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
        await this.#reached(`${node.name} to know the way to every pod`, 30, this.#agents(), async () => {
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
    const rows = await Promise.all(this.plan.nodes.map(({ name }) => this.#peersOf(name)))
    return rows.flat()
  }

  async #peersOf(node: string): Promise<PeerRow[]> {
    const answer = (await askAgent(this.agentSocket(node), '/status', this.#ms(5))) as
      | { peers?: Omit<PeerRow, 'node'>[] }
      | undefined
    if (answer === undefined)
      throw new LabFailure(`the agent of ${node} did not say its status in ${this.#ms(5) / 1000} s`)
    return (answer.peers ?? []).map(({ address, type, state, since, reason }) => ({
      ...{ node, address, type, state, since, reason },
    }))
  }

  /** Lets the lab go on after this process ends; `removeLab` ends it. Leaves a script per node that starts its agent. */
  keep(): void {
    for (const { name, netns } of this.plan.nodes) {
      const command = ['exec', systemProgram('nsenter'), `--net=${netnsPath(netns)}`, '--', ...this.agentCommand(name)]
      writeFileSync(join(this.nodeDir(name), 'agent.sh'), `#!/bin/sh\n${command.join(' ')}\n`, { mode: 0o755 })
    }
    this.#state.kept = true
    writeState(this.dir, this.#state)
    this.#writer?.close()
    this.host.close()
  }

  /** Stops every program and removes every namespace and file. Safe to call at any point of `start`, and twice. */
  async stop(): Promise<void> {
    this.#closing = true
    this.#writer?.close()
    this.host.close()
    await removeLab(this.dir, this.plan.prefix)
  }

  /** The end of the scope that made it: a lab that is kept stays. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#state.kept) await this.stop()
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
    this.#start(API, argv, netns, join(this.dir, 'api', 'api.log'))
  }

  /** As `killAgent`. */
  async killApi(): Promise<void> {
    await this.#kill(API)
  }

  async #installPlugins(): Promise<void> {
    await Promise.all(
      this.plan.nodes.map(async ({ name }) => {
        mkdirSync(this.nodeDir(name), { recursive: true, mode: 0o700 })
        const { binDir, confDir } = this.cniDirs(name)
        const argv = [
          ...[process.execPath, programPath('agent/main'), 'install', '--bin-dir', binDir, '--conf-dir', confDir],
          ...['--socket', this.agentSocket(name)],
        ]
        const run = await runProgram(argv, { limitMs: this.#ms(20) })
        if (run.code !== 0) throw new LabFailure(`the CNI plugin could not be installed: ${run.stderr.trim()}`)
      }),
    )
  }

  #start(name: string, argv: readonly string[], netns: string, logFile: string): Program {
    if (this.#closing) throw new LabFailure('the lab is being removed')
    const program = startProgram(name, argv, { netns, logFile })
    this.#running.set(name, program)
    const others = this.#state.processes.filter(isAlive)
    this.#state.processes = [...others, { name, pid: program.pid, startTicks: program.startTicks }]
    writeState(this.dir, this.#state)
    return program
  }

  #program(name: string): Program {
    const program = this.#running.get(name)
    if (program === undefined) throw new Error(`${name} does not run`)
    return program
  }

  #agents(): Program[] {
    return [...this.#running.values()].filter(({ name }) => name !== API && name !== CONTROLLERS)
  }

  async #kill(name: string): Promise<void> {
    const program = this.#program(name)
    this.#running.delete(name)
    if (!isAlive(program)) throw new LabFailure(`${name} has ended by itself:\n${lastLines(program.logFile)}`)
    process.kill(program.pid, 'SIGKILL')
    await until(() => !isAlive(program), this.#ms(5), 2)
  }

  #ms(seconds: number): number {
    return seconds * 1000 * this.#options.patience
  }

  /** Waits for a condition; fails at once when one of the programs it depends on ends. */
  async #reached(
    what: string,
    seconds: number,
    programs: readonly Program[],
    condition: () => Promise<boolean>,
  ): Promise<void> {
    const dead = () => programs.find(each => each.ended !== undefined && !this.#closing)
    const done = await until(
      async () => dead() !== undefined || (await condition()),
      this.#ms(seconds),
      ASK_MS * this.#options.patience,
    )
    const gone = dead()
    if (gone !== undefined) throw new LabFailure(`${gone.name} ended (${gone.ended}):\n${this.#logsOf([gone])}`)
    if (!done) throw new LabFailure(`waited ${this.#ms(seconds) / 1000} s for ${what}\n${this.#logsOf(programs)}`)
  }

  #logsOf(programs: readonly Program[]): string {
    return programs.map(({ name, logFile }) => `--- ${name}: ${logFile}\n${lastLines(logFile)}`).join('\n')
  }
}
