// A node for the CNI tests: a network namespace of its own, the verbs behind a unix socket as in the agent, and the
// plugin as it is installed, executed as a runtime does. The store is in memory; the kernel is this machine's.
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import type { CniDeps } from '../../cni/deps.ts'
import { EndpointStore } from '../../cni/endpoints.ts'
import { answerCni } from '../../cni/http.ts'
import { installPlugin } from '../../cni/install.ts'
import { Limiter } from '../../cni/limiter.ts'
import { OldFlows } from '../../cni/old-flows.ts'
import { Pins } from '../../cni/pins.ts'
import { PodRepair } from '../../cni/pod-repair.ts'
import { openCaches } from '../../datastore/cache.ts'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import type { Felix } from '../../felix/loop.ts'
import { NodeAllocator } from '../../ipam/allocator.ts'
import { Journal } from '../../ipam/journal.ts'
import { openKernel } from '../../kernel/linux/kernel.ts'
import { addNetns, listNetns, netnsPath, removeNetns } from '../../kernel/netns.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { systemClock } from '../../lib/clock.ts'
import { openDatabase } from '../../lib/database.ts'
import { silentLog } from '../../lib/log.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { checkAgent } from '../ipam/calico-check.ts'
import { aPool } from '../ipam/world.ts'
import { felixFor } from './host-side.ts'

export type PluginAnswer = { code: number; stdout: string; stderr: string; json?: Record<string, unknown> }

export type TestNode = {
  kernel: Kernel
  store: FakeStore
  deps: CniDeps
  /** What was put right in pods. */
  healed: readonly string[]
  /** From now on nothing is put right in pods. */
  stopRepairs(): void
  ipam: NodeAllocator
  felix: Felix
  socket: string
  folder: string
  plugin: string
  /** Makes a namespace for a pod; returns its path. */
  pod(): string
  dropPod(path: string): void
  /** Executes the installed plugin. `env` values override; `conf` is the configuration or raw text. */
  run(command: string, env?: Record<string, string | undefined>, conf?: unknown): Promise<PluginAnswer>
  /** Runs a command inside a namespace, by its path. */
  exec(netns: string, command: string, ...args: string[]): Promise<{ code: number; stdout: string }>
  netns: string
  stopAgent(): Promise<void>
  startAgent(): Promise<void>
  close(): Promise<void>
}

const PREFIX = 'mgcni'
const NAME = /^mgcni-(\d+)-/
let count = 0

/** Removes namespaces that killed runs left behind. */
export function sweep(): void {
  for (const name of listNetns()) {
    const pid = Number(NAME.exec(name)?.[1])
    if (!Number.isInteger(pid) || pid === process.pid) continue
    try {
      process.kill(pid, 0)
    } catch {
      removeNetns(name)
    }
  }
}

export function newNetns(): string {
  const name = `${PREFIX}-${process.pid}-${count++}`
  addNetns(name)
  return name
}

export function conf(more: Record<string, unknown> = {}): Record<string, unknown> {
  return { cniVersion: '1.0.0', name: 'net', type: 'margay', ...more }
}

/** `name`, and `store` where it is that of other nodes too, which has the pools then. */
export async function startNode(
  options: { pools?: ReturnType<typeof aPool>[]; name?: string; store?: FakeStore } = {},
): Promise<TestNode> {
  sweep()
  const folder = mkdtempSync(join(tmpdir(), 'margay-cni-'))
  const names = [newNetns()]
  const netns = netnsPath(names[0]!)
  const root = openKernel()
  const kernel = root.inside(netns)
  await kernel.setLink('lo', { up: true })
  kernel.writeSysctl('ipv4', ['ip_forward'], '1')
  kernel.writeSysctl('ipv6', ['conf', 'all', 'forwarding'], '1')
  const store = options.store ?? createFakeStore()
  const own = options.store === undefined ? [aPool('v4', '10.244.0.0/24'), aPool('v6', 'fd00:244::/112')] : []
  for (const pool of options.pools ?? own) await store.create('IPPool', pool)
  const db = openDatabase(join(folder, 'node.db'))
  const selects = { node: () => true }
  const base = { node: options.name ?? 'n1', clock: systemClock, log: silentLog }
  const caches = openCaches(store, { ...base, database: db })
  const ipam = new NodeAllocator({ ...base, store, caches, journal: new Journal(db), selects })
  caches.start()
  ipam.start()
  const endpoints = new EndpointStore(db)
  const { felix, hostSide } = felixFor(kernel, endpoints, systemClock, { onLink: link => repair.linkChanged(link) })
  const deps: CniDeps = {
    ...base,
    bootId: 'boot',
    ipam,
    kernel,
    endpoints,
    hostSide,
    oldFlows: new OldFlows({ ...base, kernel }),
    pins: new Pins({ kernel, endpoints, clock: systemClock }),
    podCidrs: () => [],
    limiter: new Limiter(systemClock),
    mtu: () => 1450,
    annotations: async () => ({ pod: {}, namespace: {} }),
    ready: () => undefined,
    status: () => undefined,
  }
  const healed: string[] = []
  const repair = new PodRepair({ ...deps, healed: (_endpoint, what) => healed.push(what) })
  const socket = join(folder, 'agent.sock')
  const { plugin } = installPlugin({ binDir: join(folder, 'bin'), socket })
  let server: Server | undefined

  const execIn = (
    file: string,
    args: readonly string[],
    env: NodeJS.ProcessEnv,
    input: string,
  ): Promise<PluginAnswer> =>
    new Promise(resolve => {
      const child = execFile(file, args, { env, maxBuffer: 1 << 24 }, (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1
        let json: Record<string, unknown> | undefined
        try {
          json = JSON.parse(stdout)
        } catch {} // not every answer is JSON
        resolve({ code, stdout, stderr, json })
      })
      child.stdin?.on('error', () => {}) // a plugin that does not read is its own affair
      child.stdin?.end(input)
    })

  const node: TestNode = {
    kernel,
    store,
    deps,
    healed,
    stopRepairs: () => repair.close(),
    ipam,
    felix,
    socket,
    folder,
    plugin,
    netns,
    pod() {
      const name = newNetns()
      names.push(name)
      return netnsPath(name)
    },
    dropPod(path) {
      removeNetns(path.slice(path.lastIndexOf('/') + 1))
    },
    run(command, env = {}, config = conf()) {
      const input = typeof config === 'string' ? config : JSON.stringify({ agentSocket: socket, ...(config as object) })
      const all = { CNI_COMMAND: command, CNI_CONTAINERID: 'c1', CNI_IFNAME: 'eth0', CNI_PATH: folder, CNI_ARGS: '' }
      return execIn(plugin, [], { ...all, ...env }, input)
    },
    exec: (inside, command, ...args) =>
      execIn(
        systemProgram('nsenter'),
        [`--net=${inside}`, systemProgram(command), ...args],
        { PATH: process.env['PATH'] ?? '' },
        '',
      ),
    async startAgent() {
      server = createServer((request, response) => {
        void answerCni(request, response, deps, request.url === '/ipam' ? 'another' : 'our')
      })
      await new Promise<void>(resolve => server?.listen(socket, resolve))
    },
    async stopAgent() {
      server?.closeAllConnections()
      await new Promise(resolve => (server === undefined ? resolve(undefined) : server.close(resolve)))
      server = undefined
    },
    async close() {
      await node.stopAgent()
      repair.close()
      await felix.close()
      await ipam.close()
      caches.close()
      kernel.close()
      root.close()
      db.close()
      for (const name of names) removeNetns(name)
      rmSync(folder, { recursive: true, force: true })
    },
  }
  await node.startAgent()
  return node
}

export type Result = {
  cniVersion: string
  interfaces: { name: string; mac: string; mtu?: number; sandbox?: string }[]
  ips: { version?: string; address: string; gateway: string; interface: number }[]
  ip4?: { ip: string; gateway: string }
}

/** Runs `body` on a node of its own, which is closed afterwards. `calicoctl ipam check` must find nothing in what it leaves. */
export async function withNode(
  body: (node: TestNode) => Promise<void>,
  options?: Parameters<typeof startNode>[0],
): Promise<void> {
  const node = await startNode(options)
  try {
    await body(node)
    await checkAgent({ allocator: node.ipam, endpoints: node.deps.endpoints }, 'n1', node.store)
  } finally {
    await node.close()
  }
}

/** The result of a successful ADD. */
export function resultOf(t: ExecutionContext, answer: PluginAnswer): Result {
  t.is(answer.code, 0, answer.stdout + answer.stderr)
  return answer.json as Result
}

export const addressOf = ({ ips }: Result, i = 0): string => ips[i]!.address.replace(/\/.*/, '')
