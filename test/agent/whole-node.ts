// One node of programs: margay-api and margay-node, in a network namespace with an uplink and namespaces for pods. The agent has
// a mount namespace of its own, so that its data directory can be made read-only.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
} from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import type { ExecutionContext } from 'ava'
import { openKernel } from '../../kernel/linux/kernel.ts'
import { addNetns, listNetns, netnsPath, removeNetns } from '../../kernel/netns.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { ROUTE_PROTOCOL, ROUTE_SCOPE, ROUTE_TABLE } from '../../kernel/port/routes.ts'
import { type ClusterObject, ClusterWriter } from '../../lab/cluster.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { aNode, aPool } from '../datastore/objects.ts'
import { blockProblems } from '../ipam/calico-check.ts'
import { programUnderTest } from '../program-file.ts'
import { ANSWER_MS } from '../slowness.ts'

const root = new URL('../..', import.meta.url).pathname
const ADDRESS = '192.0.2.11'
export const GATEWAY = '192.0.2.1'

export type RunningAgent = {
  child: ChildProcess
  pid: number
  socket: string
  log(): string
  ended: Promise<unknown[]>
}

export type WholeNode = {
  dir: string
  dataDir: string
  kernel: Kernel
  kubeconfig: string
  writer: ClusterWriter
  /**
   * `mount`: what lies at the data directory, as arguments of mount(8); else it is mounted on itself. `capabilities`: it has
   * these alone and /proc/sys is read-only, as in the container of a DaemonSet.
   */
  startAgent(
    name?: string,
    options?: { flags?: readonly string[]; mount?: readonly string[]; capabilities?: readonly string[] },
  ): RunningAgent
  /** Runs a program in the node's network namespace; what it says. */
  run(command: string, ...args: string[]): string
  ctl(...args: string[]): string
  /** Moves the data directory away, with what is in it, and makes a copy of it in its place. */
  moveData(to: string): void
  pod(index: number): string
  /** Kills the agents and takes away the pods' interfaces and the journal that a failed test left. */
  reset(): Promise<void>
  close(): Promise<void>
}

export async function aWholeNode(podCount: number, objects: readonly ClusterObject[] = []): Promise<WholeNode> {
  const name = `mgwhole-${process.pid}`
  sweep()
  const pods = Array.from({ length: podCount }, (_, index) => `${name}-p${index}`)
  for (const each of [name, ...pods]) addNetns(each)
  const host = openKernel()
  const kernel = host.inside(netnsPath(name))
  await kernel.setLink('lo', { up: true })
  await kernel.createLink({ kind: 'veth', name: 'eth0', peer: { name: 'lan0' } })
  for (const link of ['eth0', 'lan0']) await kernel.setLink(link, { up: true })
  const { index: ifindex } = (await kernel.link('eth0'))!
  await kernel.addAddress({ ifindex, address: ADDRESS, length: 24, scope: ROUTE_SCOPE.universe })
  const route = { dst: '0.0.0.0/0', table: ROUTE_TABLE.main, type: 'unicast', protocol: ROUTE_PROTOCOL.static } as const
  await kernel.changeRoutes([{ verb: 'add', route: { ...route, scope: 0, gateway: GATEWAY, ifindex } }])
  const dir = mkdtempSync(join(tmpdir(), 'margay-whole-'))
  const dataDir = join(dir, 'data')
  mkdirSync(dataDir, { mode: 0o700 })
  const running: ChildProcess[] = []
  const agents: { child: ChildProcess; ended: Promise<unknown> }[] = []
  const started = (child: ChildProcess): ChildProcess => {
    running.push(child)
    return child
  }
  const netns = `--net=${netnsPath(name)}`
  const node = (...args: string[]) => [netns, '--', process.execPath, ...args]
  const apiLog = openSync(join(dir, 'api.log'), 'a')
  const api = node(programUnderTest('apiserver/main'), '--data-dir', join(dir, 'api'), '--listen', '127.0.0.1:6443')
  started(spawn(systemProgram('nsenter'), api, { stdio: ['ignore', apiLog, apiLog] }))
  closeSync(apiLog)
  const kubeconfig = join(dir, 'api', 'kubeconfig')
  const ready = () => readFileSync(join(dir, 'api.log'), 'utf8').includes('ready on')
  for (let i = 0; i < 500 && !ready(); i++) await new Promise(resolve => setTimeout(resolve, 20))
  const writer = new ClusterWriter(name, [process.execPath, join(root, 'lab/objects.ts'), kubeconfig, '15'])
  await writer.put([
    { kind: 'IPPool', object: aPool('pool', { cidr: '10.244.0.0/16' }) },
    { kind: 'Node', object: aNode('n1') },
    ...objects,
  ])
  const run = (command: string, ...args: string[]): string =>
    execFileSync(systemProgram('nsenter'), [netns, '--', systemProgram(command), ...args], {
      encoding: 'utf8',
      timeout: 30_000,
    })
  const ctl = (...args: string[]): string =>
    run('env', `KUBECONFIG=${kubeconfig}`, process.execPath, programUnderTest('ctl/main'), ...args)
  return {
    ...{ dir, dataDir, kernel, kubeconfig, writer, run, ctl },
    moveData: to => {
      renameSync(dataDir, to)
      cpSync(to, dataDir, { recursive: true })
    },
    pod: index => netnsPath(pods[index]!),
    startAgent: (as = 'a', { flags = [], mount = ['--bind', dataDir], capabilities } = {}) => {
      const logFile = join(dir, `${as}.log`)
      const log = openSync(logFile, 'a')
      const settings = join(dir, 'sysctl')
      mkdirSync(settings, { recursive: true })
      const mounts = [
        [...mount, dataDir],
        ...(capabilities === undefined
          ? []
          : [
              ['--bind', '/proc/sys/net', settings],
              ['--bind', '/proc/sys', '/proc/sys'],
              ['-o', 'remount,bind,ro', '/proc/sys'],
            ]),
      ].map(args => `${systemProgram('mount')} ${args.join(' ')}`)
      const set = capabilities?.map(name => `+${name.toLowerCase()}`).join(',')
      const confined = set === undefined ? '' : `${systemProgram('setpriv')} --bounding-set=-all,${set} --`
      const mounted = `${mounts.join(' && ')} && exec ${confined} "$@"`
      const child = spawn(
        systemProgram('nsenter'),
        [
          ...[netns, '--', systemProgram('unshare'), '-m', '--propagation', 'private'],
          ...[systemProgram('sh'), '-c', mounted, 'sh', process.execPath, programUnderTest('agent/main')],
          ...['--node-name', 'n1', '--kubeconfig', kubeconfig, '--data-dir', dataDir, '--run-dir', join(dir, as)],
          ...(capabilities === undefined ? [] : ['--sysctl-dir', settings]),
          ...flags,
        ],
        { stdio: ['ignore', log, log] },
      )
      closeSync(log)
      started(child)
      const ended = once(child, 'exit')
      agents.push({ child, ended })
      return {
        ...{ child, pid: child.pid!, ended, socket: join(dir, as, 'agent.sock') },
        log: () => readFileSync(logFile, 'utf8'),
      }
    },
    reset: async () => {
      for (const { child, ended } of agents.splice(0)) {
        child.kill('SIGKILL')
        await ended
      }
      for (const link of await kernel.links()) if (link.name.startsWith('cali')) await kernel.deleteLink(link.name)
      rmSync(dataDir, { recursive: true, force: true })
      mkdirSync(dataDir, { mode: 0o700 })
    },
    close: async () => {
      const { items } = JSON.parse(ctl('get', 'ipamblocks', '-o', 'json'))
      const problems = blockProblems(items, Date.now())
      writer.close()
      for (const child of running) if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
      kernel.close()
      host.close()
      for (const each of [name, ...pods]) removeNetns(each)
      rmSync(dir, { recursive: true, force: true })
      if (items.length === 0 || problems.length > 0) throw new Error(`blocks: ${problems.join('; ') || 'none'}`)
    },
  }
}

/** Removes the namespaces of tests that were killed. */
function sweep(): void {
  for (const name of listNetns()) {
    const pid = /^mgwhole-(\d+)/.exec(name)?.[1]
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) removeNetns(name)
  }
}

/** Asks the agent; the status and text of its answer, or why there was none. */
export function ask(
  socketPath: string,
  method: string,
  path: string,
  body = '',
): Promise<{ code: number; body: string }> {
  return new Promise(resolve => {
    const asked = request({ socketPath, method, path, timeout: ANSWER_MS, agent: false }, response => {
      text(response).then(
        said => resolve({ code: response.statusCode!, body: said }),
        error => resolve({ code: 0, body: String(error) }),
      )
    })
    asked.on('timeout', () => asked.destroy())
    asked.on('error', error => resolve({ code: 0, body: String(error) }))
    asked.end(body)
  })
}

/** ADD or DEL, as the plugin hands it to the agent. */
export async function cniCall(
  socket: string,
  command: 'ADD' | 'DEL',
  container: string,
  netns: string,
  more: object = {},
) {
  const env = {
    ...{ CNI_COMMAND: command, CNI_CONTAINERID: container, CNI_NETNS: netns },
    ...{ CNI_IFNAME: 'eth0', CNI_PATH: '/opt/cni/bin' },
  }
  const config = { cniVersion: '1.0.0', name: 'net', type: 'margay', ...more }
  return ask(socket, 'POST', '/cni', JSON.stringify({ env, stdin: JSON.stringify(config) }))
}

/** Looks every few milliseconds; fails with what it last saw. */
export async function until<T>(
  t: ExecutionContext,
  what: string,
  look: () => T | Promise<T>,
  good: (seen: T) => boolean,
  limitMs = ANSWER_MS,
): Promise<T> {
  const endMs = performance.now() + limitMs
  let seen = await look()
  while (!good(seen) && performance.now() < endMs) {
    await new Promise(resolve => setTimeout(resolve, 50))
    seen = await look()
  }
  t.true(good(seen), `${what}: ${JSON.stringify(seen)}`)
  return seen
}
