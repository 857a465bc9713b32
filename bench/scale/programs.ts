// margay-api and margay-node of a checkout as processes, known by their command lines alone, so that another version of
// them can be measured beside this one.
import { type ChildProcess, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { dirname, join } from 'node:path'
import { arch } from 'node:process'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { bundlePrograms, ENV, NATIVE } from '../../image/bundle.ts'
import { packageFile } from '../../lib/package-files.ts'
import { TOKEN } from './client.ts'
import { NODE_ADDRESS } from './ground.ts'
import { nodeName } from './objects.ts'
import type { PeersOrder, PeersReport } from './peers.ts'

const READY_DEADLINE_MS = 180_000
const POLL_MS = 10
const KILL_AFTER_MS = 15_000

export type Program = { pid: number; stop(): Promise<void> }
export type Api = Program & { url: string }
export type Agent = Program & {
  /** From the start of the process to the first 200 of /readyz. */
  readySeconds: number
  socketPath: string
  /** Lines of the log so far. */
  logLines(): number
}

export type SimulatedPeers = Program & {
  /** Sessions with nodes that are up, and nodes that answer; up to a second old. */
  report(): PeersReport
  /** Moves one route of the router, by number, to another next hop. */
  changeRoute(n: number): void
}

/** Programs of a checkout: its sources, or in `bundle`, a folder that `writeBundle` filled. */
export type Checkout = { path: string; bundle?: string }

const PROGRAMS = { agent: ['agent/main.ts', 'margay-node.js'], api: ['apiserver/main.ts', 'margay-api.js'] } as const

/** The file that Node runs. */
export function programFile({ path, bundle }: Checkout, program: keyof typeof PROGRAMS): string {
  const [source, bundled] = PROGRAMS[program]
  return bundle === undefined ? join(path, source) : join(bundle, bundled)
}

/** That of the image; NODE_OPTIONS of the bench go on, for profiles. */
export function environment({ bundle }: Checkout): NodeJS.ProcessEnv {
  if (bundle === undefined) return process.env
  const { NODE_OPTIONS } = process.env
  return { ...ENV, ...(NODE_OPTIONS && { NODE_OPTIONS }) }
}

/** Writes the programs of this checkout into a folder, as the container image has them. */
export async function writeBundle(folder: string): Promise<void> {
  const { files } = await bundlePrograms()
  const imports = Object.fromEntries(NATIVE.map(name => [`#${name}`, `./${name}.node`]))
  const all = new Map<string, string | Uint8Array>([
    ...files,
    ['package.json', JSON.stringify({ type: 'module', imports })],
    ['netlink.node', readFileSync(packageFile(`node_modules/netlink/prebuilds/linux-${arch}/node.napi.node`))],
    ['koffi.node', readFileSync(packageFile(`node_modules/@koromix/koffi-linux-${arch}/linux_${arch}/koffi.node`))],
  ])
  for (const [path, content] of all) {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    writeFileSync(join(folder, path), content)
  }
}

/** Starts the speakers of all simulated nodes. They are of this checkout, whatever is measured. */
export async function startPeers(nodes: number): Promise<SimulatedPeers> {
  const child = fork(fileURLToPath(new URL('./peers.ts', import.meta.url)), [String(nodes)])
  const [first] = (await Promise.race([once(child, 'message'), endOf(child)])) as [PeersReport]
  let last = first
  child.on('message', message => {
    last = message as PeersReport
  })
  return {
    ...programOf(child),
    report: () => last,
    changeRoute: n => void child.send({ change: n } satisfies PeersOrder),
  }
}

async function endOf(child: ChildProcess): Promise<never> {
  await once(child, 'exit')
  throw new Error('the simulated peers ended')
}

/** Starts margay-api with its data in `folder`. */
export async function startApi(checkout: Checkout, folder: string): Promise<Api> {
  const tokenFile = join(folder, 'token')
  writeFileSync(tokenFile, TOKEN, { mode: 0o600 })
  const places = ['--data-dir', join(folder, 'api'), '--listen', '127.0.0.1:0', '--token-file', tokenFile]
  const args = [programFile(checkout, 'api'), ...places]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'], env: environment(checkout) })
  const [line] = (await Promise.race([
    once(createInterface({ input: child.stdout! }), 'line'),
    once(child, 'exit').then(() => ['it ended']),
  ])) as [string]
  const url = /ready on (\S+),/.exec(line)?.[1]
  if (url === undefined) throw new Error(`margay-api of ${checkout.path} is not ready: ${line}`)
  return { ...programOf(child), url }
}

/** Starts the agent of node 0, with its address, against the API server at `url`, and waits until it can serve pods. */
export async function startAgent(
  checkout: Checkout,
  folder: string,
  url: string,
  address = NODE_ADDRESS,
): Promise<Agent> {
  const kubeconfig = join(folder, 'kubeconfig')
  writeFileSync(kubeconfig, kubeconfigText(url))
  const run = join(folder, 'run')
  mkdirSync(run, { recursive: true })
  const names = ['--node-name', nodeName(0), '--node-ip', address, '--kubeconfig', kubeconfig]
  const places = ['--data-dir', join(folder, 'node'), '--run-dir', run]
  const startMs = performance.now()
  const child = spawn(process.execPath, [programFile(checkout, 'agent'), ...names, ...places], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: environment(checkout),
  })
  let lines = 0
  let last = ''
  createInterface({ input: child.stderr! }).on('line', line => {
    lines++
    last = line
  })
  const socketPath = join(run, 'agent.sock')
  while (!(await isReady(socketPath))) {
    if (child.exitCode !== null) throw new Error(`the agent of ${checkout.path} ended: ${last}`)
    if (performance.now() - startMs > READY_DEADLINE_MS) throw new Error(`the agent is not ready: ${last}`)
    await sleep(POLL_MS)
  }
  const readySeconds = (performance.now() - startMs) / 1000
  return { ...programOf(child), readySeconds, socketPath, logLines: () => lines }
}

const running = new Set<ChildProcess>()
// whatever ends this process, but for SIGKILL: nothing of it runs on
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

function programOf(child: ChildProcess): Program {
  running.add(child)
  child.once('exit', () => running.delete(child))
  return {
    pid: child.pid!,
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return
      const timer = setTimeout(() => child.kill('SIGKILL'), KILL_AFTER_MS)
      child.kill('SIGTERM')
      await once(child, 'exit')
      clearTimeout(timer)
    },
  }
}

function isReady(socketPath: string): Promise<boolean> {
  return new Promise(resolve => {
    const asked = request({ socketPath, path: '/readyz' }, response => {
      response.resume()
      resolve(response.statusCode === 200)
    })
    // not there yet, or gone
    asked.once('error', () => resolve(false))
    asked.end()
  })
}

function kubeconfigText(server: string): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'bench', cluster: { server } }],
    users: [{ name: 'bench', user: { token: TOKEN } }],
    contexts: [{ name: 'bench', context: { cluster: 'bench', user: 'bench' } }],
    'current-context': 'bench',
  })
}
