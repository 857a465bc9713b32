// `npm run bench:mesh`: the full mesh of whole agents, each in a network namespace of its own on one bridge, with margay-api. How
// long until all `--nodes N` (100) have a session with each other and a route to each other's block, memory, processor time at rest
// for `--seconds N` (60), and what the others notice when one agent is killed and when a node is cut off. Needs root.
import { loadavg } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { openKernel } from '../../kernel/linux/kernel.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { cpuNanoseconds, memoryMib } from '../process-use.ts'
import { nodeName } from '../scale/objects.ts'
import { writeBundle } from '../scale/programs.ts'
import { fromArguments, HELP_OPTION, WrongUsage } from '../usage.ts'
import { buildGround, enterGround, FOLDER, setPort } from './ground.ts'
import { Mesh } from './programs.ts'

const HERE = fileURLToPath(new URL('../..', import.meta.url))
/** A bridge has 1,023 ports; memory ends before. */
const MOST_NODES = 500
const POLL_MS = 200
const READY_POLL_MS = 500
const NOTE_MS = 10_000
const SETTLE_MS = 10_000
const MOST_MS = 900_000

const HELP = `Usage: npm run bench:mesh [-- [--nodes N] [--seconds N]]

The full mesh of whole agents in network namespaces with one API server: how long until all have a session and a route to each other,
memory, processor time at rest, one agent that is killed and started again, one node that is cut off until all have withdrawn its block
(the hold time and the restart time: 210 s) and comes back. Needs root, and 60 MiB of memory for each node. Nothing outlives it.

  --nodes N     how many, 2 to ${MOST_NODES} (default 100)
  --seconds N   how long the processor time at rest is measured (default 60)
  --bundled     the programs as the container image has them (npm run bench:mesh gives it)
  --help        this text

Exit codes: 0 all came up, none lost a route while an agent was killed, and all withdrew and learned the node that was cut off; 1 not so,
or it could not be measured; 2 wrong usage.
`

const startedMs = performance.now()
/** Progress goes to stderr, figures to stdout. */
function note(text: string): void {
  process.stderr.write(`mesh ${seconds(startedMs).padStart(6)}  ${text}\n`)
}

async function main(options: ReturnType<typeof usage>): Promise<boolean> {
  const nodes = Array.from({ length: options.nodes }, (_, i) => i + 1)
  using host = openKernel()
  note(`making ${nodes.length} namespaces`)
  await buildGround(host, nodes)
  const bundle = options.bundled ? join(FOLDER, 'programs') : undefined
  if (bundle !== undefined) await writeBundle(bundle)
  const mesh = new Mesh(nodes, { path: HERE, ...(bundle && { bundle }) })
  note('starting margay-api and writing the cluster')
  await mesh.startApi()
  console.log(`${nodes.length} nodes, ${(nodes.length * (nodes.length - 1)) / 2} sessions`)
  const isUp = await comeUp(mesh)
  await atRest(mesh, options.seconds)
  const [victim] = nodes.slice(nodes.length >> 1)
  const isKept = await killOne(mesh, victim!)
  const isBack = await cutOne(host, mesh, victim!)
  return isUp && isKept && isBack
}

/** Starts all agents, one after the other as fast as the machine makes processes. */
async function comeUp(mesh: Mesh): Promise<boolean> {
  const { nodes } = mesh
  const [atMs, apiNs] = [performance.now(), cpuNanoseconds(mesh.apiPid)]
  for (const n of nodes) mesh.startAgent(n)
  console.log(`all agents started: ${seconds(atMs)}`)
  let ready = 0
  const allReady = Promise.all(
    nodes.map(async n => {
      while (!(await mesh.isReady(n))) await sleep(READY_POLL_MS)
      ready++
      return performance.now()
    }),
  )
  const [done, routesMs] = await reached(
    () => nodes.filter(n => mesh.learned(n).length < nodes.length - 1).length,
    left => `${ready} agents are ready, ${nodes.length - left} have all routes`,
    atMs,
  )
  if (!done) return false
  const readyMs = Math.max(...(await allReady))
  const sessions = (await Promise.all(nodes.map(n => mesh.sessions(n)))).flat()
  const up = sessions.filter(({ state }) => state === 'Established')
  const lastMs = Math.max(...up.map(({ sinceMs }) => sinceMs)) - performance.timeOrigin
  const cpu = mesh.agentPids.map(pid => cpuNanoseconds(pid) / 1e9)
  console.log(`all agents ready: ${seconds(atMs, readyMs)}`)
  console.log(`all sessions Established: ${seconds(atMs, lastMs)} (${up.length / 2})`)
  console.log(`all ${nodes.length * (nodes.length - 1)} routes in the kernels: ${seconds(atMs, routesMs)}`)
  console.log(
    `processor time for it: agents ${sum(cpu).toFixed(1)} s, each ${spread(cpu, 2)}; margay-api ${((cpuNanoseconds(mesh.apiPid) - apiNs) / 1e9).toFixed(1)} s; load ${load()}`,
  )
  return up.length === nodes.length * (nodes.length - 1)
}

async function atRest(mesh: Mesh, forSeconds: number): Promise<void> {
  note(`at rest for ${forSeconds} s`)
  await sleep(SETTLE_MS)
  const pids = [...mesh.agentPids, mesh.apiPid]
  const before = pids.map(cpuNanoseconds)
  await sleep(forSeconds * 1000)
  const cpu = pids.map((pid, i) => ((cpuNanoseconds(pid) - before[i]!) * 60) / 1e9 / forSeconds)
  const api = cpu.pop()!
  console.log(
    `processor time a minute at rest: agents ${sum(cpu).toFixed(1)} s, each ${spread(cpu, 2)}; margay-api ${api.toFixed(2)} s; load ${load()}`,
  )
  const resident = mesh.agentPids.map(pid => memoryMib(pid, 'VmRSS'))
  const share = mesh.agentPids.map(pid => memoryMib(pid, 'Pss'))
  console.log(
    `memory: agents ${sum(share).toFixed(0)} MiB (PSS), each ${spread(resident, 0)} MiB (RSS); margay-api ${memoryMib(mesh.apiPid, 'VmRSS').toFixed(0)} MiB`,
  )
}

/** Kills the agent of a node and starts it again: its neighbours keep its routes meanwhile (RFC 4724). */
async function killOne(mesh: Mesh, victim: number): Promise<boolean> {
  note(`killing the agent of ${nodeName(victim)}, and starting it again`)
  const others = mesh.nodes.filter(n => n !== victim)
  const atMs = performance.now()
  const lost = new Set<number>()
  await mesh.killAgent(victim)
  mesh.startAgent(victim)
  let lastMs = atMs
  const [done] = await reached(
    async () => {
      for (const n of others) if (!mesh.learned(n).includes(victim)) lost.add(n)
      if (!(await mesh.isReady(victim))) return others.length
      const up = (await mesh.sessions(victim)).filter(({ state }) => state === 'Established')
      lastMs = Math.max(...up.map(({ sinceMs }) => sinceMs)) - performance.timeOrigin
      return others.length - up.length
    },
    left => `${left} sessions are missing`,
    atMs,
  )
  const known = mesh.learned(victim).length
  console.log(
    `an agent is killed and started again: all its sessions after ${done ? seconds(atMs, lastMs) : 'too long'}, its kernel has ${known} routes, ${lost.size} others lost its route`,
  )
  return done && known === others.length && lost.size === 0
}

/** Cuts a node off until all others have withdrawn its block, and plugs it in again. */
async function cutOne(host: Kernel, mesh: Mesh, victim: number): Promise<boolean> {
  note(`cutting ${nodeName(victim)} off`)
  const others = mesh.nodes.filter(n => n !== victim)
  const having = () => others.filter(n => mesh.learned(n).includes(victim)).length
  const cutMs = performance.now()
  let firstMs: number | undefined
  await setPort(host, victim, { up: false })
  const [gone, lastMs] = await reached(
    () => {
      const left = having()
      if (left < others.length) firstMs ??= performance.now()
      return left
    },
    left => `${left} others have its route`,
    cutMs,
  )
  if (!gone) return false
  console.log(
    `a node is cut off: withdrawn by the first after ${seconds(cutMs, firstMs)}, by all ${others.length} after ${seconds(cutMs, lastMs)}`,
  )
  note(`plugging ${nodeName(victim)} in again`)
  const backMs = performance.now()
  await setPort(host, victim, { up: true })
  let theirsMs: number | undefined
  const [back, allMs] = await reached(
    () => {
      const left = others.length - having()
      if (left === 0) theirsMs ??= performance.now()
      return left + others.length - mesh.learned(victim).length
    },
    left => `${left} routes are missing`,
    backMs,
  )
  if (!back) return false
  console.log(
    `it is plugged in again: all others have its route after ${seconds(backMs, theirsMs)}, and it theirs too after ${seconds(backMs, allMs)}; load ${load()}`,
  )
  return true
}

/** Asks until nothing is left, tells the progress now and then, and gives up after a quarter of an hour; with the time of the last answer. */
async function reached(
  left: () => number | Promise<number>,
  progress: (left: number) => string,
  fromMs: number,
): Promise<[done: boolean, atMs: number]> {
  let notedMs = performance.now()
  for (;;) {
    const [count, nowMs] = [await left(), performance.now()]
    if (count === 0) return [true, nowMs]
    if (nowMs - fromMs > MOST_MS) {
      console.log(`given up after ${seconds(fromMs)}: ${progress(count)}`)
      return [false, nowMs]
    }
    if (nowMs - notedMs >= NOTE_MS) {
      notedMs = nowMs
      note(progress(count))
    }
    await sleep(POLL_MS)
  }
}

function seconds(fromMs: number, toMs = performance.now()): string {
  return `${((toMs - fromMs) / 1000).toFixed(1)} s`
}

function sum(values: readonly number[]): number {
  return values.reduce((all, each) => all + each, 0)
}

function spread(values: readonly number[], digits: number): string {
  const sorted = values.toSorted((a, b) => a - b)
  return `${sorted[sorted.length >> 1]!.toFixed(digits)} (median), ${sorted.at(-1)!.toFixed(digits)} (most)`
}

/** Of the machine, over the last minute. */
function load(): string {
  return loadavg()[0]!.toFixed(1)
}

function usage() {
  return fromArguments(HELP, () => {
    const { values } = parseArgs({
      options: {
        nodes: { type: 'string', default: '100' },
        seconds: { type: 'string', default: '60' },
        bundled: { type: 'boolean', default: false },
        ...HELP_OPTION,
      },
    })
    const [nodes, forSeconds] = [Number(values.nodes), Number(values.seconds)]
    if (!Number.isInteger(nodes) || nodes < 2 || nodes > MOST_NODES)
      throw new WrongUsage(`--nodes ${values.nodes}: give a whole number from 2 to ${MOST_NODES}`)
    if (!(forSeconds > 0)) throw new WrongUsage(`--seconds ${values.seconds}: give a number of seconds`)
    return { ...values, nodes, seconds: forSeconds }
  })
}

const options = usage()
if (process.getuid?.() !== 0) throw new Error('network namespaces need root')
await enterGround()
// it is the first process of its namespace: with it all programs end
process.exit((await main(options)) ? 0 : 1)
