// margay-node as the container image has it, with an API server that knows every pod, beside ptp with host-local: pods one
// at a time in turn with the other, 50 at once, and a node that fills up. Ours writes a journal with fsync, judges packets by
// policy and tells the API server; host-local writes plain files.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { installPlugin } from '../../cni/install.ts'
import { addNetns, netnsPath } from '../../kernel/netns.ts'
import { memoryMib } from '../process-use.ts'
import { createAll, PATHS } from '../scale/client.ts'
import { nodeName, nodeObject, poolObject } from '../scale/objects.ts'
import { startAgent, startApi, writeBundle } from '../scale/programs.ts'
import { openRelay } from '../scale/relay.ts'
import { type Plugin, type RuntimePod, startMs, timed } from './runtime.ts'

export type Sizes = {
  /** Pods that are added one at a time. */
  alone: number
  /** Pods that are added at once, and how often. */
  atOnce: number
  rounds: number
  /** At how many pods the agent's memory is looked at, in rising order. */
  pods: readonly number[]
  /** How long the agent is left alone before that. */
  settleSeconds: number
}

/** `most` and `least` are in the unit of the row, `mostOfPeer` is the most of the peer's figure. */
export type Target = { most?: number; least?: number; mostOfPeer?: number }
export type Measured = { name: string; unit: string; value: number; peerValue?: number; target?: Target }

const CHECKOUT = fileURLToPath(new URL('../..', import.meta.url))
const PTP_FOLDER = '/usr/lib/cni'
/** How many plugins a kubelet that fills a node has under way. */
const FILLING = 10
/** The first ones compile the agent's code. */
const WARM = 10

/** Measures in the namespace of this process, where named namespaces are its own. `note` tells what is going on. */
export async function measureCni(sizes: Sizes, note: (text: string) => void): Promise<Measured[]> {
  if (!existsSync(join(PTP_FOLDER, 'ptp')))
    throw new Error('the peer is missing: apt-get install containernetworking-plugins')
  await using stack = new AsyncDisposableStack()
  const folder = mkdtempSync(join(tmpdir(), 'margay-cni-bench-'))
  stack.defer(() => rmSync(folder, { recursive: true, force: true }))
  const checkout = { path: CHECKOUT, bundle: join(folder, 'bundle') }
  mkdirSync(checkout.bundle)
  await writeBundle(checkout.bundle)

  note('starting margay-api and margay-node')
  const most = sizes.pods.at(-1)!
  const ours = netnsOf('ours', Math.max(most, sizes.alone, sizes.atOnce, WARM))
  const theirs = netnsOf('theirs', Math.max(sizes.alone, sizes.atOnce, WARM))
  const api = await startApi(checkout, folder)
  stack.defer(() => api.stop())
  await createAll(api.url, PATHS.pools, [poolObject('Never')])
  await createAll(api.url, PATHS.nodes, [nodeObject(0)])
  await createAll(api.url, PATHS.pods, ours.map(podObject))
  const relay = await openRelay(new URL(api.url))
  stack.defer(() => relay.close())
  const agent = await startAgent(checkout, folder, relay.url)
  stack.defer(() => agent.stop())
  const margay = installed(folder, agent.socketPath)
  const ptp = peerPlugin(folder)
  await sleep(sizes.settleSeconds * 1000)
  const sides = { margay, ptp, ours, theirs }
  const rows: Measured[] = [
    memoryRow(0, agent.pid),
    { name: 'VERSION, one process', unit: 'ms', value: startMs(margay.path), peerValue: startMs(ptp.path) },
  ]
  const writesBefore = relay.writes()
  note(`${sizes.alone} pods one at a time`)
  for (const verb of VERBS) await inTurn(sides, verb, WARM)
  for (const verb of VERBS) rows.push(...latencyRows(verb, await inTurn(sides, verb, sizes.alone)))
  note(`${sizes.atOnce} pods at once, ${sizes.rounds} times`)
  rows.push(...(await burstRows(sides, sizes)))
  let there = 0
  for (const count of sizes.pods) {
    note(`${count} pods`)
    await atOnce(FILLING, ours.slice(there, count), pod => timed(margay, 'ADD', pod))
    there = count
    await sleep(sizes.settleSeconds * 1000)
    rows.push(memoryRow(count, agent.pid))
  }
  note(`${most} pods at once`)
  await atOnce(FILLING, ours.slice(0, most), pod => timed(margay, 'DEL', pod))
  for (const verb of VERBS) rows.push(...(await floodRows(margay, verb, ours.slice(0, most))))
  await agent.stop() // what it has not told yet is written now
  const added = WARM + sizes.alone + sizes.atOnce * sizes.rounds + 2 * most
  const writes = (relay.writes() - writesBefore) / added
  rows.push({ name: `writes to the API server, ${added} pods`, unit: 'per pod', value: writes, target: { most: 0.1 } })
  return rows
}

/** Whether a figure is as it should be; undefined where nothing is demanded. */
export function isMet({ value, peerValue, target }: Measured): boolean | undefined {
  if (target === undefined) return undefined
  const { most, least, mostOfPeer } = target
  return (
    (most === undefined || value <= most) &&
    (least === undefined || value >= least) &&
    (mostOfPeer === undefined || value <= mostOfPeer * peerValue!)
  )
}

const VERBS = ['ADD', 'DEL'] as const
type Verb = (typeof VERBS)[number]

function netnsOf(whose: string, count: number): RuntimePod[] {
  return Array.from({ length: count }, (_, i) => {
    const name = `${whose}-${i}`
    addNetns(name)
    return { netns: netnsPath(name), name }
  })
}

function podObject({ name }: RuntimePod): object {
  return {
    metadata: { name, namespace: 'default', labels: { app: 'bench' } },
    spec: { nodeName: nodeName(0), containers: [{ name: 'c', image: 'registry.example.org/app:1' }] },
  }
}

/** Ours, with the configuration that `install` writes, as libcni hands it over. */
function installed(folder: string, socket: string): Plugin {
  const binDir = join(folder, 'bin')
  const { plugin, conf } = installPlugin({ binDir, confDir: join(folder, 'net.d'), socket, network: 'bench' })
  const { cniVersion, name, plugins } = JSON.parse(readFileSync(conf!, 'utf8'))
  return { path: plugin, folder: binDir, conf: { ...plugins[0], cniVersion, name } }
}

function peerPlugin(folder: string): Plugin {
  const ipam = { type: 'host-local', dataDir: join(folder, 'host-local'), ranges: [[{ subnet: '10.245.0.0/16' }]] }
  const conf = { cniVersion: '1.0.0', name: 'peer', type: 'ptp', ipMasq: false, ipam }
  return { path: join(PTP_FOLDER, 'ptp'), folder: PTP_FOLDER, conf }
}

/** Both plugins, and the pods of each. */
type Sides = { margay: Plugin; ptp: Plugin; ours: readonly RuntimePod[]; theirs: readonly RuntimePod[] }
type Both = { mine: number[]; peer: number[] }

/** One call of ours, one of the peer's, and so on, `count` of each: what else the machine does meets both. Milliseconds. */
async function inTurn({ margay, ptp, ours, theirs }: Sides, verb: Verb, count: number): Promise<Both> {
  const both: Both = { mine: [], peer: [] }
  for (let i = 0; i < count; i++) {
    both.mine.push(await timed(margay, verb, ours[i]!))
    both.peer.push(await timed(ptp, verb, theirs[i]!))
  }
  return both
}

function latencyRows(verb: Verb, { mine, peer }: Both): Measured[] {
  const row = (what: string, percent: number, target?: Target): Measured => ({
    ...{ name: `${verb}, one at a time: ${what}`, unit: 'ms' },
    ...{ value: percentile(mine, percent), peerValue: percentile(peer, percent), target },
  })
  return [row('median', 50, { mostOfPeer: 1.2 }), row('99 of 100', 99)]
}

async function burstRows({ margay, ptp, ours, theirs }: Sides, { rounds, atOnce: many }: Sizes): Promise<Measured[]> {
  const took = { ADD: noBursts(), DEL: noBursts() }
  for (let round = 0; round < rounds; round++)
    for (const verb of VERBS) {
      await burst(margay, verb, ours.slice(0, many), took[verb].mine)
      await burst(ptp, verb, theirs.slice(0, many), took[verb].peer)
    }
  return VERBS.flatMap(verb => {
    const { mine, peer } = took[verb]
    const row = (what: string, unit: string, of: (bursts: Bursts) => number, target: Target): Measured => ({
      ...{ name: `${verb}, ${many} at once: ${what}`, unit, value: of(mine), peerValue: of(peer), target },
    })
    return [
      row('99 of 100', 'ms', ({ times }) => percentile(times, 99), { most: 1000 }),
      row('rate', 'pods/s', ({ rates }) => percentile(rates, 50), { least: 60 }),
    ]
  })
}

/** A whole node at once, of ours alone: nobody is refused, and nobody waits until a runtime gives up. */
async function floodRows(margay: Plugin, verb: Verb, pods: readonly RuntimePod[]): Promise<Measured[]> {
  const took: Bursts = { times: [], rates: [] }
  await burst(margay, verb, pods, took)
  const name = `${verb}, ${pods.length} at once`
  return [
    { name: `${name}: the last one`, unit: 'ms', value: percentile(took.times, 100), target: { most: 60_000 } },
    { name: `${name}: rate`, unit: 'pods/s', value: took.rates[0]! },
  ]
}

/** Milliseconds of each call, and pods a second of each burst, until its last one was done. */
type Bursts = { times: number[]; rates: number[] }

function noBursts(): { mine: Bursts; peer: Bursts } {
  return { mine: { times: [], rates: [] }, peer: { times: [], rates: [] } }
}

async function burst(plugin: Plugin, verb: Verb, pods: readonly RuntimePod[], { times, rates }: Bursts): Promise<void> {
  const before = performance.now()
  times.push(...(await Promise.all(pods.map(pod => timed(plugin, verb, pod)))))
  rates.push((pods.length * 1000) / (performance.now() - before))
}

async function atOnce<T>(most: number, items: readonly T[], work: (item: T) => Promise<unknown>): Promise<void> {
  const queue = [...items]
  const worker = async (): Promise<void> => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item)
  }
  await Promise.all(Array.from({ length: most }, worker))
}

function memoryRow(pods: number, pid: number): Measured {
  return { name: `memory of the agent, ${pods} pods`, unit: 'MiB', value: memoryMib(pid, 'VmRSS') }
}

function percentile(values: readonly number[], percent: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.ceil((percent / 100) * sorted.length) - 1)]!
}
