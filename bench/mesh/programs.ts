// margay-api and one agent per node, each agent in its node's namespace with credentials of its own, and what can be seen of them from
// outside: the kernel's files in /proc cost an agent nothing, what it says over its socket costs it an answer.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs'
import { setPriority } from 'node:os'
import { join } from 'node:path'
import type { Kind, Resource } from '../../api/kinds.ts'
import { openStore } from '../../datastore/kube.ts'
import { netnsPath, spawnInNetns } from '../../kernel/netns.ts'
import { askAgent } from '../../lab/ask.ts'
import { type Credentials, makeCredentials } from '../../lab/cluster.ts'
import { lastLines, until } from '../../lab/program.ts'
import { ipv4Number } from '../../lib/ip.ts'
import { bgpConfiguration, blockCidr, blockObject, nodeAddress, nodeName, poolObject } from '../scale/objects.ts'
import { type Checkout, environment, programFile } from '../scale/programs.ts'
import { API, FOLDER } from './ground.ts'

const READY_MOST_MS = 60_000
const STATUS_MOST_MS = 60_000
const API_NICE = -10
/** Of a route in /proc/PID/net/route: RTF_GATEWAY. */
const VIA = 2
/** The mask of a /26 there, in the byte order of this machine. */
const MASK26 = 'C0FFFFFF'

/** `sinceMs`: of the wall clock. */
type Session = { state: string; sinceMs: number }

export class Mesh {
  readonly nodes: readonly number[]
  readonly #checkout: Checkout
  readonly #agents = new Map<number, ChildProcess>()
  #api: ChildProcess | undefined
  #credentials: Credentials | undefined

  constructor(nodes: readonly number[], checkout: Checkout) {
    this.nodes = nodes
    this.#checkout = checkout
  }

  /** Starts margay-api and writes what the cluster has before its first agent: a pool, the full mesh, a Node and a block per node. */
  async startApi(): Promise<void> {
    const names = this.nodes.map(n => ({ name: nodeName(n) }))
    this.#credentials = await makeCredentials(join(FOLDER, 'credentials'), { api: API, nodes: names })
    const { certFile, keyFile, tokenFile, usersFile, kubeconfig } = this.#credentials
    const argv = [
      ...['--data-dir', join(FOLDER, 'api'), '--listen', `${API.address}:${API.port}`, '--token-file', tokenFile],
      ...['--tls-cert', certFile, '--tls-key', keyFile, '--token-auth-file', usersFile],
    ]
    const [log, logFile] = openLog('margay-api')
    this.#api = spawn(process.execPath, [programFile(this.#checkout, 'api'), ...argv], {
      stdio: ['ignore', log, log],
      env: environment(this.#checkout),
    })
    closeSync(log)
    const ready = () => lastLines(logFile).includes('ready on')
    if (!(await until(ready, READY_MOST_MS))) throw new Error(`margay-api is not ready:\n${lastLines(logFile)}`)
    // it has a machine of its own elsewhere: here a hundred agents would leave it a hundredth of this one
    setPriority(this.apiPid, API_NICE)
    const store = openStore({ kubeconfig })
    const create = <K extends Kind>(kind: K, object: object) => store.create(kind, object as Resource<K>)
    await create('IPPool', poolObject('Never'))
    await create('BGPConfiguration', bgpConfiguration(true))
    for (const n of this.nodes) {
      await create('Node', { metadata: { name: nodeName(n) }, spec: {} })
      await create('IPAMBlock', blockObject(n))
    }
    await store.close()
  }

  startAgent(n: number): void {
    const name = nodeName(n)
    const argv = [
      ...['--node-name', name, '--node-ip', nodeAddress(n)],
      ...['--kubeconfig', this.#credentials!.nodeKubeconfigs.get(name)!],
      ...['--data-dir', join(FOLDER, name, 'data'), '--run-dir', join(FOLDER, name, 'run')],
    ]
    mkdirSync(join(FOLDER, name, 'run'), { recursive: true })
    const [log, logFile] = openLog(name)
    const command = [programFile(this.#checkout, 'agent'), ...argv]
    const child = spawnInNetns(netnsPath(name), process.execPath, command, {
      stdio: ['ignore', log, log],
      env: environment(this.#checkout),
    })
    closeSync(log)
    child.once('exit', code => {
      if (this.#agents.get(n) !== child) return
      process.stderr.write(`the agent of ${name} ended with ${code}:\n${lastLines(logFile)}\n`)
      process.exit(1)
    })
    this.#agents.set(n, child)
  }

  /** With SIGKILL, so that it says nothing to anyone. */
  async killAgent(n: number): Promise<void> {
    const child = this.#agents.get(n)!
    this.#agents.delete(n)
    child.kill('SIGKILL')
    await once(child, 'exit')
  }

  get apiPid(): number {
    return this.#api!.pid!
  }

  agentPid(n: number): number {
    return this.#agents.get(n)!.pid!
  }

  get agentPids(): number[] {
    return this.nodes.map(n => this.agentPid(n))
  }

  async isReady(n: number): Promise<boolean> {
    return (await askAgent(socketOf(n), '/readyz')) !== undefined
  }

  /** What an agent says of its sessions with the other nodes. */
  async sessions(n: number): Promise<Session[]> {
    const answer = (await askAgent(socketOf(n), '/status', STATUS_MOST_MS)) as
      | { peers: { state: string; since: string }[] }
      | undefined
    if (answer === undefined) throw new Error(`the agent of ${nodeName(n)} did not say its status`)
    return answer.peers.map(({ state, since }) => ({ state, sinceMs: Date.parse(since) }))
  }

  /** The nodes whose block a node's kernel routes to, itself left out. */
  learned(n: number): number[] {
    const routes = readFileSync(`/proc/${this.agentPid(n)}/net/route`, 'utf8')
    const found = new Set<string>()
    for (const line of routes.split('\n').slice(1)) {
      const [, destination, , flags, , , , mask] = line.split('\t')
      if (mask === MASK26 && Number.parseInt(flags!, 16) & VIA) found.add(destination!)
    }
    return this.nodes.filter(other => other !== n && found.has(inProc(blockCidr(other))))
  }
}

function socketOf(n: number): string {
  return join(FOLDER, nodeName(n), 'run', 'agent.sock')
}

function openLog(name: string): [descriptor: number, path: string] {
  mkdirSync(FOLDER, { recursive: true })
  const path = join(FOLDER, `${name}.log`)
  return [openSync(path, 'a'), path]
}

/** The address of a network as /proc/PID/net/route has it: hexadecimal, in the byte order of x86 and arm64. */
function inProc(cidr: string): string {
  const octets = Buffer.alloc(4)
  octets.writeUInt32LE(ipv4Number(cidr.split('/')[0]!))
  return octets.toString('hex').toUpperCase()
}
