// One checkout through one life of a cluster: cold start, events, restart, a mesh of peers of which some do not answer,
// pods, memory over minutes, and many lists at once. Every figure is of the agent's process, or of margay-api's where it says so.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { askAgent } from '../../lab/ask.ts'
import { cpuNanoseconds, memoryMib } from '../process-use.ts'
import { createAll, PATHS, patch, read } from './client.ts'
import { answerProbes } from './ground.ts'
import {
  bgpConfiguration,
  blockName,
  blockObject,
  conditions,
  nodeName,
  nodeObject,
  poolObject,
  probeAddress,
  routerPeer,
  routerPool,
  vtepMac,
} from './objects.ts'
import { addPod, deletePod, medianAdd, PodNamespace } from './pods.ts'
import { type Agent, type Checkout, type SimulatedPeers, startAgent, startApi, startPeers } from './programs.ts'
import { openRelay } from './relay.ts'

export type Sizes = {
  nodes: number
  /** Events per measure, and how long the memory is watched. */
  events: number
  soakSeconds: number
  /** How long the agent's use without events is measured, before and after each measure. */
  idleSeconds: number
  /** How long the sessions of the mesh are watched while nothing but keepalives comes. */
  meshIdleSeconds: number
  /** How long the mesh is watched with path probes, and without; 0: they are not measured. */
  probeSeconds: number
  /** How often a pod is added. */
  pods: number
  /** How many lists of all Nodes at once. */
  lists: number
}

/** The rows of the table, with what they should be at 5,000 nodes where that was set. A row can be left unmeasured. */
export const ROWS = {
  'start, cold: ready': { unit: 's' },
  'start, cold: received': { unit: 'MB' },
  'start, cold: memory': { unit: 'MiB', target: 200 },
  'Node heartbeat, no peers: agent CPU': { unit: 'ms', target: 0.1 },
  'foreign IPAMBlock changes: agent CPU': { unit: 'ms', target: 0 },
  'one of 1,000 learned routes changes: agent CPU': { unit: 'ms', target: 0.3 },
  'restart: ready': { unit: 's', target: 0.7 },
  'restart: received': { unit: 'MB', target: 1 },
  'mesh: all that answer are up': { unit: 's' },
  'mesh, idle: memory': { unit: 'MiB' },
  'mesh, idle: agent CPU': { unit: 's/min' },
  'Node heartbeat, peers and VTEPs: agent CPU': { unit: 'ms', target: 0.1 },
  'VTEP of one node changes: agent CPU': { unit: 'ms', target: 'flat in N' },
  'path probes, of a core: agent CPU': { unit: '%', target: 0.1 },
  'ADD, VTEPs on every node, idle: median': { unit: 'ms', target: 10 },
  'ADD, VTEPs on every node, in heartbeats: median': { unit: 'ms', target: 10 },
  'log with peers that flap or never answer': { unit: 'lines/min', target: 'summed' },
  'memory after 20 events a second': { unit: 'MiB', target: 200 },
  'lists of all Nodes at once: margay-api memory': { unit: 'MiB', target: 400 },
} as const satisfies Readonly<Record<string, { unit: string; target?: number | string }>>
export type RowName = keyof typeof ROWS
export type Figures = Partial<Record<RowName, number>>

/** Events per second of a busy cluster. */
const RATE = 20
/** While processor time is measured: many, so that the rest counts for little, where one event costs little. */
const FAST_RATE = 100
/** With the sessions of a large cluster, which cost about 1 ms between two events. */
const CHEAP_MS = 6
/** Of a core: differences below it are noise. */
const IDLE_SHARE = 0.02
const BUSY_SHARE = 0.3
const SETTLE_MOST_MS = 60_000
const PROBES_SETTLE_MS = 10_000
const POLL_MS = 100
/** One in a hundred nodes ends its sessions. */
const MOST_UP = 0.98
const SESSIONS_MOST_MS = 180_000

/** Measures the programs of `checkout` in the namespace of this process. `note` tells what is going on. */
export async function runScenario(checkout: Checkout, sizes: Sizes, note: (text: string) => void): Promise<Figures> {
  await using stack = new AsyncDisposableStack()
  const folder = mkdtempSync(join(tmpdir(), 'margay-scale-'))
  stack.defer(() => rmSync(folder, { recursive: true, force: true }))
  const api = await startApi(checkout, folder)
  stack.defer(() => api.stop())
  note(`writing ${sizes.nodes} nodes`)
  const numbers = Array.from({ length: sizes.nodes }, (_, n) => n)
  await createAll(api.url, PATHS.pools, [poolObject('Never'), routerPool()])
  await createAll(api.url, PATHS.bgpConfigurations, [bgpConfiguration(false)])
  await createAll(api.url, PATHS.nodes, numbers.map(nodeObject))
  await createAll(api.url, PATHS.blocks, numbers.slice(1).map(blockObject))
  const relay = await openRelay(new URL(api.url))
  stack.defer(() => relay.close())

  note('cold start')
  const figures: Figures = {}
  let agent = await startAgent(checkout, folder, relay.url)
  stack.defer(() => agent.stop())
  await sleep(sizes.idleSeconds * 1000)
  figures['start, cold: ready'] = agent.readySeconds
  figures['start, cold: received'] = relay.bytes() / 1e6
  figures['start, cold: memory'] = memoryMib(agent.pid, 'VmRSS')

  note('heartbeats and blocks')
  const beat = (n: number): Promise<void> =>
    patch(api.url, `${PATHS.nodes}/${nodeName(1 + (n % (sizes.nodes - 1)))}/status`, { status: conditions(n) })
  const block = (n: number): Promise<void> =>
    patch(api.url, `${PATHS.blocks}/${blockName(1 + (n % (sizes.nodes - 1)))}`, {
      metadata: { annotations: { at: String(n) } },
    })
  figures['Node heartbeat, no peers: agent CPU'] = await cpuPerEvent(agent, sizes, beat)
  figures['foreign IPAMBlock changes: agent CPU'] = await cpuPerEvent(agent, sizes, block)

  note('learned routes')
  const peers = await startPeers(sizes.nodes)
  stack.defer(() => peers.stop())
  await createAll(api.url, PATHS.bgpPeers, [routerPeer()])
  await settled(agent, sizes)
  const change = async (n: number): Promise<void> => peers.changeRoute(n)
  figures['one of 1,000 learned routes changes: agent CPU'] = await cpuPerEvent(agent, sizes, change)

  note('restart')
  await agent.stop()
  const before = relay.bytes()
  agent = await startAgent(checkout, folder, relay.url)
  await sleep(sizes.idleSeconds * 1000)
  figures['restart: ready'] = agent.readySeconds
  figures['restart: received'] = (relay.bytes() - before) / 1e6

  note('mesh and VXLAN')
  const meshMs = performance.now()
  const lines = agent.logLines()
  await patch(api.url, `${PATHS.pools}/pods`, { spec: { vxlanMode: 'Always' } })
  await patch(api.url, `${PATHS.bgpConfigurations}/default`, bgpConfiguration(true))
  await sessionsUp(peers)
  figures['mesh: all that answer are up'] = (performance.now() - meshMs) / 1000
  await settled(agent, sizes)
  const idleFrom = cpuNanoseconds(agent.pid)
  await sleep(sizes.meshIdleSeconds * 1000)
  figures['mesh, idle: memory'] = memoryMib(agent.pid, 'VmRSS')
  figures['mesh, idle: agent CPU'] = ((cpuNanoseconds(agent.pid) - idleFrom) * 60) / 1e9 / sizes.meshIdleSeconds
  figures['Node heartbeat, peers and VTEPs: agent CPU'] = await cpuPerEvent(agent, sizes, beat)
  const vtep = (n: number): Promise<void> => {
    const [node, changes] = [1 + (n % (sizes.nodes - 1)), 1 + Math.floor(n / (sizes.nodes - 1))]
    return patch(api.url, `${PATHS.nodes}/${nodeName(node)}`, { metadata: { annotations: vtepMac(node, changes) } })
  }
  figures['VTEP of one node changes: agent CPU'] = await cpuPerEvent(agent, sizes, vtep)

  const pod = await PodNamespace.open()
  stack.defer(() => pod.close())
  if (sizes.probeSeconds > 0) {
    note('path probes')
    await addPod(agent.socketPath, pod.path)
    figures['path probes, of a core: agent CPU'] = await probesCost(agent, api.url, sizes)
    await deletePod(agent.socketPath, pod.path)
  }

  note('ADD')
  const add = (): Promise<number> => medianAdd(agent.socketPath, pod.path, sizes.pods)
  await settled(agent, sizes)
  figures['ADD, VTEPs on every node, idle: median'] = await add()
  const [median] = await Promise.all([add(), atRate(RATE, sizes.pods * 2, beat)])
  figures['ADD, VTEPs on every node, in heartbeats: median'] = median

  note(`${sizes.soakSeconds} s of ${RATE} events a second`)
  await atRate(RATE, sizes.soakSeconds * RATE, beat)
  figures['log with peers that flap or never answer'] =
    ((agent.logLines() - lines) * 60_000) / (performance.now() - meshMs)
  figures['memory after 20 events a second'] = memoryMib(agent.pid, 'VmRSS')
  await agent.stop()

  note(`${sizes.lists} lists at once`)
  forgetPeak(api.pid)
  await Promise.all(Array.from({ length: sizes.lists }, () => read(`${api.url}${PATHS.nodes}`)))
  figures['lists of all Nodes at once: margay-api memory'] = memoryMib(api.pid, 'VmHWM')
  return figures
}

/**
 * Milliseconds of the agent's processor time per event, less what it uses when nothing happens: measured before and after
 * the events, since sessions cost something too. Dear events come at a rate that the agent can follow.
 */
async function cpuPerEvent({ pid }: Agent, sizes: Sizes, event: (n: number) => Promise<void>): Promise<number> {
  const { events, idleSeconds } = sizes
  const used = async (body: () => Promise<unknown>): Promise<{ ms: number; seconds: number }> => {
    const [ns, startMs] = [cpuNanoseconds(pid), performance.now()]
    await body()
    return { ms: (cpuNanoseconds(pid) - ns) / 1e6, seconds: (performance.now() - startMs) / 1000 }
  }
  const quiet = () => used(() => sleep(idleSeconds * 1000))
  const few = events / 10
  const cheap = (await used(() => atRate(RATE, few, event))).ms < few * CHEAP_MS
  const rate = cheap ? FAST_RATE : RATE
  const count = cheap ? events : few
  let n = few
  const next = (): Promise<void> => event(n++)
  await atRate(rate, count / 2, next) // the code that takes them is compiled by then
  const before = await quiet()
  const busy = await used(() => atRate(rate, count, next))
  const after = await quiet()
  const idleMsPerSecond = (before.ms + after.ms) / (before.seconds + after.seconds)
  // less than nothing is less than can be told from the rest
  return Math.max(0, (busy.ms - idleMsPerSecond * busy.seconds) / count)
}

/**
 * What path probes of all nodes take of a core, in percent: all nodes tell an address that answers, and probes are switched on and
 * off in turns, since what else the agent does differs from minute to minute by more than they cost.
 */
async function probesCost({ pid, socketPath }: Agent, url: string, { nodes, probeSeconds }: Sizes): Promise<number> {
  answerProbes()
  await createAll(url, PATHS.felixConfigurations, [{ metadata: { name: 'default' }, spec: {} }])
  const tell = async (n: number) =>
    patch(url, `${PATHS.nodes}/${nodeName(n)}`, {
      metadata: { annotations: { 'margay.io/ProbeAddress': probeAddress(n) } },
    })
  for (let n = 1; n < nodes; n++) await tell(n)
  const used = { on: 0, off: 0 }
  for (const turn of ['on', 'off', 'on', 'off'] as const) {
    const annotations = { 'margay.io/Probes': turn === 'on' ? null : 'Disabled' }
    await patch(url, `${PATHS.felixConfigurations}/default`, { metadata: { annotations } })
    const passes = async () => {
      const paths = ((await askAgent(socketPath, '/paths')) ?? []) as { state: string }[]
      return paths.filter(({ state }) => state === 'passes').length
    }
    for (let waitedMs = 0; (await passes()) > 0 !== (turn === 'on'); waitedMs += POLL_MS) {
      if (waitedMs > SETTLE_MOST_MS) throw new Error(`path probes are not ${turn}`)
      await sleep(POLL_MS)
    }
    // what follows from the change itself
    await sleep(PROBES_SETTLE_MS)
    const before = cpuNanoseconds(pid)
    await sleep((probeSeconds * 1000) / 2)
    used[turn] += cpuNanoseconds(pid) - before
  }
  return ((used.on - used.off) / 1e9 / probeSeconds) * 100
}

/** Waits until the agent has a session with each node that answers, but for those that ended one. Gives up after minutes. */
async function sessionsUp(peers: SimulatedPeers): Promise<void> {
  for (let waitedMs = 0; waitedMs < SESSIONS_MOST_MS; waitedMs += POLL_MS) {
    const { up, answering } = peers.report()
    if (up >= answering * MOST_UP) return
    await sleep(POLL_MS)
  }
}

/** Waits until two spans in a row cost the agent about the same: it has taken in the change. Gives up after a minute. */
async function settled({ pid }: Agent, { idleSeconds }: Sizes): Promise<void> {
  const spanMs = idleSeconds * 1000
  let last = Number.POSITIVE_INFINITY
  for (let waitedMs = 0; waitedMs < SETTLE_MOST_MS; waitedMs += spanMs) {
    const before = cpuNanoseconds(pid)
    await sleep(spanMs)
    const used = (cpuNanoseconds(pid) - before) / 1e6
    // two spans in a row are alike, too, while it is busy all the time
    const isQuiet = used < BUSY_SHARE * spanMs
    if (isQuiet && Math.abs(used - last) < Math.max(0.2 * last, IDLE_SHARE * spanMs)) return
    last = used
  }
}

/** Events `rate` a second, each waited for; a slow server makes them fewer. */
async function atRate(rate: number, count: number, event: (n: number) => Promise<void>): Promise<void> {
  const startMs = performance.now()
  for (let n = 0; n < count; n++) {
    await event(n)
    await sleep(Math.max(0, startMs + ((n + 1) * 1000) / rate - performance.now()))
  }
}

/** From now on VmHWM is the peak since now (proc(5), clear_refs). */
function forgetPeak(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, '5')
}
