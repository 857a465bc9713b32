// `npm run bench:policy [-- --short]`: what policy costs in a kernel, with what others write beside it in the same run. 250 pods
// of a node, up to 10,000 policies about them that name 100,000 addresses, in namespaces of its own. Needs root, iptables and nft.
// On a shared machine read what stands in one line together; the processor's time tells more than the clock's.
import { parseArgs } from 'node:util'
import { PolicyEnforcer } from '../../felix/enforcer.ts'
import { openKernel } from '../../kernel/linux/kernel.ts'
import { NlWriter } from '../../kernel/netlink/message.ts'
import { batchOf, NFNL_SUBSYSTEM } from '../../kernel/netlink/nfnetlink.ts'
import { requestsOf } from '../../kernel/netlink/nftables/changes.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import type { NftChange } from '../../kernel/port/nftables.ts'
import { fromArguments, HELP_OPTION } from '../usage.ts'
import {
  CLIENT,
  LOCAL,
  pairPolicy,
  pod,
  podAddress,
  podName,
  policyOfCidrs,
  policyOfPorts,
  SERVER,
  tellCluster,
} from './cluster.ts'
import { BenchNode, TookTooLong } from './node.ts'
import { PEERS, type Peer } from './peers.ts'

const HELP = `Usage: npm run bench:policy [-- --short]

Measures what policy costs in a kernel, beside what others write. Needs root, iptables and nft.

  --short  up to 1,000 policies instead of 10,000, and fewer rounds
  --help   this text

Exit codes: 0 measured, 1 it could not be, 2 wrong usage.
`

const { short } = fromArguments(
  HELP,
  () => parseArgs({ options: { short: { type: 'boolean', default: false }, ...HELP_OPTION } }).values,
)
const SIZES = short ? [10, 1_000] : [10, 1_000, 10_000]
const LARGEST = SIZES.at(-1)!
const TABLE = 'margay-policy'
const ROUNDS = short ? 10 : 40
const PEER_ROUNDS = 5
const LABELS = short ? 50 : 300
const BLASTS = short ? 4 : 12
const BLAST_MS = 500
const TRIPS = 1_000
const [FLOW, FAST, BLAST, FIRST] = [7_000, 7_001, 7_002, 20_000]

type Row = { name: string; unit: string; margay?: number; target?: string } & Record<
  string,
  string | number | undefined
>
const rows: Row[] = []
const server = podAddress(SERVER)

/** One node with our table. */
class Ours implements Disposable {
  readonly node: BenchNode
  readonly enforcer: PolicyEnforcer
  readonly policies: number
  counts = false
  messages = 0
  octets = 0
  firstChangeMs = 0
  /** What others did is heard. */
  heard = () => {}
  readonly #kernel: Kernel & Disposable

  constructor(host: ReturnType<typeof openKernel>, policies: number, name = `m${policies}`) {
    this.policies = policies
    this.node = new BenchNode(name)
    this.#kernel = host.inside(this.node.netns)
    const kernel = this.#kernel
    const counted = (changes: readonly NftChange[]) => this.#change(changes)
    this.enforcer = new PolicyEnforcer(
      new Proxy(kernel, {
        get: (_, name) => {
          if (name === 'changeNftables') return counted
          const value = kernel[name as keyof Kernel]
          return typeof value === 'function' ? (value as (...args: unknown[]) => unknown).bind(kernel) : value
        },
      }),
      { table: TABLE, interfacePrefix: 'cali' },
    )
    kernel.monitorNftables(news => {
      if (this.enforcer.observe(news)) this.heard()
    })
  }

  async #change(changes: readonly NftChange[]) {
    if (this.counts) {
      const batch = batchOf(NFNL_SUBSYSTEM.nftables, changes.flatMap(requestsOf))
      const writer = new NlWriter()
      for (const { type, flags = 0, body } of batch) writer.message(type, flags, 0, body)
      this.messages += batch.length
      this.octets += writer.length
    }
    const refusals = await this.#kernel.changeNftables(changes)
    if (this.firstChangeMs === 0) this.firstChangeMs = performance.now()
    return refusals
  }

  async put(): Promise<void> {
    const { refused } = await this.enforcer.put()
    if (refused.length > 0) throw new Error(`refused: ${JSON.stringify(refused[0])}`)
    await this.enforcer.remove()
  }

  /** An address of the set that holds most of them. */
  async member(): Promise<{ set: string; key: string }> {
    const { elements } = (await this.#kernel.nftables({ family: 'inet', name: TABLE }))!
    const largest = elements
      .filter(({ data }) => data === undefined)
      .toSorted((a, b) => a.elements.length - b.elements.length)
      .at(-1)!
    return { set: largest.set, key: largest.elements[0]!.key.join(' . ') }
  }

  [Symbol.dispose](): void {
    this.#kernel[Symbol.dispose]()
    this.node[Symbol.dispose]()
  }
}

using host = openKernel()
const open: Disposable[] = []
/** The nodes of others with the most policies. */
const loaded = new Map<string, BenchNode>()
try {
  for (const policies of SIZES) await measure(policies)
  await measureLists('ports', policyOfPorts)
  await measureLists('CIDRs', policyOfCidrs)
  await compareTraffic()
} finally {
  for (const each of open) each[Symbol.dispose]()
}
print()
process.exit(0)

async function measure(policies: number): Promise<void> {
  const at = `${policies.toLocaleString('en')} policies`
  note(at)
  const heapBefore = heapMib()
  const ours = new Ours(host, policies)
  const { node, enforcer } = ours
  await node.server.ask({ ask: 'listen', port: FLOW })
  await node.client.ask({ ask: 'send', to: server, port: FLOW })
  await node.server.ask({ ask: 'first', port: FLOW })
  const load: Row = { name: `first load, ${at}`, unit: 'ms', target: policies === 10_000 ? '10,000' : undefined }
  const stall: Row = { name: `longest time without a packet meanwhile, ${at}`, unit: 'ms', target: '50' }
  await node.server.ask({ ask: 'gap', port: FLOW })
  const before = process.cpuUsage()
  const startMs = performance.now()
  tellCluster(enforcer, policies)
  enforcer.set('policy', 'pair', pairPolicy('pair', [1, 19_999]))
  await ours.put()
  load.margay = performance.now() - startMs
  const { user, system } = process.cpuUsage(before)
  stall.margay = await node.server.ask<number>({ ask: 'gap', port: FLOW })
  await node.client.ask({ ask: 'stop' })
  rows.push(load, { name: `processor for it, ${at}`, unit: 'ms', margay: (user + system) / 1000 })
  rows.push({ name: `of that in the kernel, ${at}`, unit: 'ms', margay: system / 1000 }, stall)
  rows.push({ name: `heap with it, ${at}`, unit: 'MiB', margay: heapMib() - heapBefore })
  await labels(ours, at)
  const first = await firstPacket(node, ROUNDS, async port => {
    enforcer.set('policy', `first${port}`, pairPolicy(`first${port}`, [port, port]))
    await ours.put()
  })
  const median: Row = { name: `first packet after a policy, ${at}, median`, unit: 'ms', margay: part(first, 0.5) }
  if (policies === 10_000) median.target = '50'
  const worst: Row = { name: `first packet after a policy, ${at}, 99 of 100`, unit: 'ms', margay: part(first, 0.99) }
  rows.push(median, worst)
  await repairs(ours, at)
  for (const peer of PEERS) await measurePeer(peer, policies, { load, stall, median, worst })
  if (policies === LARGEST) open.push(ours)
  else ours[Symbol.dispose]()
}

async function measureLists(of: string, policyAt: typeof policyOfPorts): Promise<void> {
  const at = `${LARGEST.toLocaleString('en')} policies of nine ${of} each`
  note(at)
  using ours = new Ours(host, LARGEST, of)
  const before = process.cpuUsage()
  const startMs = performance.now()
  tellCluster(ours.enforcer, LARGEST, policyAt)
  await ours.put()
  const tookMs = performance.now() - startMs
  const { system } = process.cpuUsage(before)
  rows.push({ name: `first load, ${at}`, unit: 'ms', margay: tookMs, target: '10,000' })
  rows.push({ name: `of that in the kernel, ${at}`, unit: 'ms', margay: system / 1000 })
}

async function labels(ours: Ours, at: string): Promise<void> {
  ours.counts = true
  const before = process.cpuUsage()
  const times: number[] = []
  for (let i = 0; i < LABELS; i++) {
    const startMs = performance.now()
    const of = LOCAL + i
    ours.enforcer.set('endpoint', podName(of), pod(of, 'x'))
    await ours.put()
    times.push(performance.now() - startMs)
  }
  const { system } = process.cpuUsage(before)
  ours.counts = false
  rows.push(
    { name: `messages of a change of labels, ${at}`, unit: 'messages', margay: ours.messages / LABELS },
    { name: `octets of a change of labels, ${at}`, unit: 'octets', margay: ours.octets / LABELS },
    { name: `a change of labels, ${at}, median`, unit: 'ms', margay: part(times, 0.5) },
    { name: `of that in the kernel, ${at}`, unit: 'ms', margay: system / 1000 / LABELS, target: '1' },
  )
}

/** The times from a change until the first packet that it allows came, where one comes each ms. */
async function firstPacket(node: BenchNode, rounds: number, allow: (port: number) => Promise<void> | void) {
  const times: number[] = []
  for (let n = 0; n < rounds; n++) {
    const port = FIRST + n
    await node.server.ask({ ask: 'listen', port })
    await node.client.ask({ ask: 'send', to: server, port })
    const startMs = Number(process.hrtime.bigint()) / 1e6
    await allow(port)
    times.push((await node.server.ask<number>({ ask: 'first', port })) - startMs)
    await node.client.ask({ ask: 'stop' })
  }
  return times
}

async function repairs(ours: Ours, at: string): Promise<void> {
  const { node, enforcer } = ours
  const broken = async (script: string) => {
    const heard = new Promise<void>(resolve => {
      ours.heard = resolve
    })
    node.run(script)
    ours.firstChangeMs = 0
    const startMs = performance.now()
    await heard
    await ours.put()
    return [ours.firstChangeMs - startMs, performance.now() - startMs] as const
  }
  const [closedMs, wholeMs] = await broken('nft flush ruleset')
  rows.push({ name: `closed again after "flush ruleset", ${at}`, unit: 'ms', margay: closedMs, target: '100' })
  rows.push({ name: `whole again after it, ${at}`, unit: 'ms', margay: wholeMs })
  const [, chainMs] = await broken(`nft flush chain inet ${TABLE} to_pods`)
  rows.push({ name: `repaired after another emptied a chain, ${at}`, unit: 'ms', margay: chainMs, target: '100' })
  const [, foreignMs] = await broken(`nft add rule inet ${TABLE} to_pods ip saddr ${podAddress(CLIENT)} drop`)
  rows.push({ name: `repaired after another added a rule, ${at}`, unit: 'ms', margay: foreignMs, target: '100' })
  const { set, key } = await ours.member()
  const [, memberMs] = await broken(`nft delete element inet ${TABLE} ${set} { ${key} }`)
  rows.push({ name: `repaired after another deleted an address, ${at}`, unit: 'ms', margay: memberMs, target: '100' })
  const refresh = async () => {
    // what was just written is told in the next turn
    await new Promise(setImmediate)
    const before = process.cpuUsage()
    enforcer.invalidate()
    await ours.put()
    const { user, system } = process.cpuUsage(before)
    return (user + system) / 1000
  }
  rows.push({ name: `processor for a refresh (each 90 s), ${at}`, unit: 'ms', margay: await refresh() })
  enforcer.observe(undefined)
  rows.push({ name: `processor for reading all again, ${at}`, unit: 'ms', margay: await refresh() })
}

type Blast = { sent: number; tookMs: number }
type Beside = { load: Row; stall: Row; median: Row; worst: Row }

async function measurePeer(peer: Peer, policies: number, { load, stall, median, worst }: Beside): Promise<void> {
  note(`${peer.name}, ${policies} policies`)
  const node = new BenchNode(`${PEERS.indexOf(peer)}p${policies}`)
  await node.server.ask({ ask: 'listen', port: FLOW })
  await node.client.ask({ ask: 'send', to: server, port: FLOW })
  await node.server.ask({ ask: 'first', port: FLOW })
  const text = peer.all(policies)
  await node.server.ask({ ask: 'gap', port: FLOW })
  const startMs = performance.now()
  try {
    node.run(peer.load, text)
  } catch (error) {
    load[peer.name] = error instanceof TookTooLong ? 'over 2 minutes' : 'failed'
    node[Symbol.dispose]()
    return
  }
  load[peer.name] = performance.now() - startMs
  stall[peer.name] = await node.server.ask<number>({ ask: 'gap', port: FLOW })
  await node.client.ask({ ask: 'stop' })
  const times = await firstPacket(node, PEER_ROUNDS, port => node.run(peer.load, peer.one(port)))
  median[peer.name] = part(times, 0.5)
  worst[peer.name] = part(times, 0.99)
  if (policies === LARGEST) {
    open.push(node)
    loaded.set(peer.name, node)
  } else node[Symbol.dispose]()
}

/** Packets through the pair, beside nothing and beside the most policies: in turns, the best of each. */
async function compareTraffic(): Promise<void> {
  const nodes: [who: string, policies: number, node: BenchNode][] = []
  for (const policies of [0, 100]) {
    note(`${policies} policies elsewhere`)
    const ours = new Ours(host, policies)
    open.push(ours)
    tellCluster(ours.enforcer, policies)
    ours.enforcer.set('policy', 'pair', pairPolicy('pair', [1, 19_999]))
    await ours.put()
    nodes.push(['margay', policies, ours.node])
  }
  nodes.push(['margay', LARGEST, (open.find(each => each instanceof Ours) as Ours).node])
  const plain = new BenchNode('plain')
  open.push(plain)
  nodes.push(['none', 0, plain])
  for (const [name, node] of loaded) nodes.push([name, LARGEST, node])
  const best = new Map(nodes.map(([, , node]) => [node, { rate: 0, trip: Number.POSITIVE_INFINITY }]))
  for (const [, , node] of nodes) {
    await node.server.ask({ ask: 'listen', port: FAST })
    await node.client.ask({ ask: 'open', to: server, port: BLAST })
    await node.server.ask({ ask: 'reply', to: podAddress(CLIENT), port: BLAST })
  }
  for (let n = 0; n < BLASTS; n++)
    for (const [, , node] of nodes) {
      const found = best.get(node)!
      const before = await node.server.ask<number>({ ask: 'received' })
      const { sent, tookMs } = await node.client.ask<Blast>({ ask: 'blast', ms: BLAST_MS })
      const came = (await node.server.ask<number>({ ask: 'received' })) - before
      if (came < sent * 0.99) throw new Error(`${came} of ${sent} packets came`)
      found.rate = Math.max(found.rate, (sent / tookMs) * 1000)
      const times = await node.client.ask<number[]>({ ask: 'trips', to: server, port: FAST, count: TRIPS })
      found.trip = Math.min(found.trip, part(times, 0.5))
    }
  const of = (who: string, policies: number) =>
    best.get(nodes.find(([name, count]) => name === who && count === policies)![2])!
  for (const policies of [0, 100, LARGEST]) {
    const at = `${policies.toLocaleString('en')} policies elsewhere`
    const rate: Row = { name: `packets a second, ${at}`, unit: 'packets/s', margay: of('margay', policies).rate }
    const trip: Row = { name: `round trip, ${at}`, unit: 'µs', margay: of('margay', policies).trip * 1000 }
    if (policies === LARGEST)
      for (const name of loaded.keys()) {
        rate[name] = of(name, policies).rate
        trip[name] = of(name, policies).trip * 1000
      }
    rows.push(rate, trip)
  }
  rows.push({ name: 'packets a second without any table', unit: 'packets/s', margay: of('none', 0).rate })
  rows.push({
    name: `packets a second, ${LARGEST.toLocaleString('en')} to 0 policies elsewhere`,
    ...{ unit: 'ratio', margay: of('margay', LARGEST).rate / of('margay', 0).rate, target: '0.97 or more' },
  })
}

function note(what: string): void {
  process.stderr.write(`measuring: ${what}\n`)
}

function heapMib(): number {
  globalThis.gc?.()
  const { heapUsed, external } = process.memoryUsage()
  return (heapUsed + external) / 2 ** 20
}

function part(values: readonly number[], of: number): number {
  return values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * of))]!
}

function print(): void {
  const shown = (value: string | number | undefined) =>
    value === undefined ? '-' : typeof value === 'string' ? value : digits(value)
  const names = ['margay', 'target', ...PEERS.map(({ name }) => name)]
  console.log(`| measure | unit | ${names.join(' | ')} |\n|---|---|${names.map(() => '--:|').join('')}`)
  for (const row of rows) console.log(`| ${[row.name, row.unit, ...names.map(name => shown(row[name]))].join(' | ')} |`)
}

function digits(value: number): string {
  return value >= 100 ? Math.round(value).toLocaleString('en') : value.toPrecision(3)
}
