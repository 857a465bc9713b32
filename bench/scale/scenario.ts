// One checkout through one life of a cluster: cold start, events, restart, a mesh of peers that do not answer, memory
// over minutes, and many lists at once. Every figure is of the agent's process, or of margay-api's where it says so.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { cpuNanoseconds, memoryMib } from '../process-use.ts'
import { createAll, PATHS, patch, read } from './client.ts'
import { blockName, blockObject, conditions, nodeName, nodeObject, poolObject } from './objects.ts'
import { type Agent, startAgent, startApi } from './programs.ts'
import { openRelay } from './relay.ts'

export type Sizes = {
  nodes: number
  /** Events per measure, and how long the memory is watched. */
  events: number
  soakSeconds: number
  /** How long the agent's use without events is measured, before and after each measure. */
  idleSeconds: number
  /** How many lists of all Nodes at once. */
  lists: number
}

/** The rows of the table and their units; an absent one was not measured. */
export const ROWS = {
  'start, cold: ready': 's',
  'start, cold: received': 'MB',
  'start, cold: memory': 'MiB',
  'Node heartbeat, no peers: agent CPU': 'ms',
  'foreign IPAMBlock changes: agent CPU': 'ms',
  'restart: ready': 's',
  'restart: received': 'MB',
  'Node heartbeat, peers and VTEPs: agent CPU': 'ms',
  'peers that do not answer: log lines': '/min',
  'memory after 20 events a second': 'MiB',
  'lists of all Nodes at once: margay-api memory': 'MiB',
} as const
export type RowName = keyof typeof ROWS
export type Figures = Partial<Record<RowName, number>>

/** Events per second while the memory is watched. */
const RATE = 20
/** Events per second while processor time is measured: many, so that peers that are tried again count for little. */
const CPU_RATE = 100
const QUIET_MS = 3000
const SETTLE_MOST_MS = 60_000

/** Measures the programs of `checkout` in the namespace of this process. `note` tells what is going on. */
export async function runScenario(checkout: string, sizes: Sizes, note: (text: string) => void): Promise<Figures> {
  await using stack = new AsyncDisposableStack()
  const folder = mkdtempSync(join(tmpdir(), 'margay-scale-'))
  stack.defer(() => rmSync(folder, { recursive: true, force: true }))
  const api = await startApi(checkout, folder)
  stack.defer(() => api.stop())
  note(`writing ${sizes.nodes} nodes`)
  const numbers = Array.from({ length: sizes.nodes }, (_, n) => n)
  await createAll(api.url, PATHS.pools, [poolObject('Never')])
  await createAll(api.url, PATHS.bgpConfigurations, [bgpConfiguration(false)])
  await createAll(api.url, PATHS.nodes, numbers.map(nodeObject))
  await createAll(api.url, PATHS.blocks, numbers.slice(1).map(blockObject))
  const relay = await openRelay(new URL(api.url))
  stack.defer(() => relay.close())

  note('cold start')
  const figures: Figures = {}
  let agent = await startAgent(checkout, folder, relay.url)
  stack.defer(() => agent.stop())
  await sleep(QUIET_MS)
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

  note('restart')
  await agent.stop()
  const before = relay.bytes()
  agent = await startAgent(checkout, folder, relay.url)
  await sleep(QUIET_MS)
  figures['restart: ready'] = agent.readySeconds
  figures['restart: received'] = (relay.bytes() - before) / 1e6

  note('mesh and VXLAN')
  await patch(api.url, `${PATHS.pools}/pods`, { spec: { vxlanMode: 'Always' } })
  await patch(api.url, `${PATHS.bgpConfigurations}/default`, bgpConfiguration(true))
  await settled(agent)
  figures['Node heartbeat, peers and VTEPs: agent CPU'] = await cpuPerEvent(agent, sizes, beat)

  note(`${sizes.soakSeconds} s of ${RATE} events a second`)
  const lines = agent.logLines()
  await atRate(RATE, sizes.soakSeconds * RATE, beat)
  figures['peers that do not answer: log lines'] = ((agent.logLines() - lines) * 60) / sizes.soakSeconds
  figures['memory after 20 events a second'] = memoryMib(agent.pid, 'VmRSS')
  await agent.stop()

  note(`${sizes.lists} lists at once`)
  forgetPeak(api.pid)
  await Promise.all(Array.from({ length: sizes.lists }, () => read(`${api.url}${PATHS.nodes}`)))
  figures['lists of all Nodes at once: margay-api memory'] = memoryMib(api.pid, 'VmHWM')
  return figures
}

function bgpConfiguration(mesh: boolean): object {
  return { metadata: { name: 'default' }, spec: { nodeToNodeMeshEnabled: mesh } }
}

/**
 * Milliseconds of the agent's processor time per event, less what it uses when nothing happens: measured before and after
 * the events, since peers that are tried again cost something too.
 */
async function cpuPerEvent({ pid }: Agent, sizes: Sizes, event: (n: number) => Promise<void>): Promise<number> {
  const { events, idleSeconds } = sizes
  const used = async (body: () => Promise<unknown>): Promise<{ ms: number; seconds: number }> => {
    const [ns, startMs] = [cpuNanoseconds(pid), performance.now()]
    await body()
    return { ms: (cpuNanoseconds(pid) - ns) / 1e6, seconds: (performance.now() - startMs) / 1000 }
  }
  const quiet = () => used(() => sleep(idleSeconds * 1000))
  await atRate(CPU_RATE, events / 2, event) // the code that takes them is compiled by then
  const before = await quiet()
  const busy = await used(() => atRate(CPU_RATE, events, event))
  const after = await quiet()
  const idleMsPerSecond = (before.ms + after.ms) / (before.seconds + after.seconds)
  // less than nothing is less than can be told from the rest
  return Math.max(0, (busy.ms - idleMsPerSecond * busy.seconds) / events)
}

/** Waits until two spans in a row cost the agent about the same: it has taken in the change. Gives up after a minute. */
async function settled({ pid }: Agent): Promise<void> {
  let last = Number.POSITIVE_INFINITY
  for (let waitedMs = 0; waitedMs < SETTLE_MOST_MS; waitedMs += QUIET_MS) {
    const before = cpuNanoseconds(pid)
    await sleep(QUIET_MS)
    const used = cpuNanoseconds(pid) - before
    if (Math.abs(used - last) < 0.2 * last) return
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
