// `npm run bench:watch`: what many agents cost an API server: their watches, what it sends them at rest and for each heartbeat
// of a Node, and their writes per pod. `--agents 10,100,500,1000,2000` (where margay-api's 10,000 connections are
// too few for all watches, those of Nodes and blocks alone), `--beats N` (20), `--quiet SECONDS` (20). The tables and curves of docs/scale.md are its output.
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { cpuSeconds, memoryMib } from '../process-use.ts'
import { createAll, PATHS, patch, TOKEN } from '../scale/client.ts'
import { bgpConfiguration, blockObject, conditions, nodeName, nodeObject, poolObject } from '../scale/objects.ts'
import { type Api, startApi } from '../scale/programs.ts'
import { fromArguments, HELP_OPTION, WrongUsage } from '../usage.ts'
import type { AgentsOrder, AgentsReport } from './agents.ts'
import { recordAgent } from './recorder.ts'
import { writesPerPod } from './writes.ts'

const HERE = fileURLToPath(new URL('../..', import.meta.url))
/** What margay-api takes, with some for the bench itself. */
const MOST_CONNECTIONS = 9_900
/** Each heartbeat of Kubernetes' nodes that changes nothing: one Node object every five minutes. */
const BEAT_MINUTES = 5
const MOST_BEAT_MS = 10_000

type Row = {
  agents: number
  watches: number
  openSeconds: number
  quietBytes: number
  quietRequests: number
  beatBytes: number
  beatMs: number
  beatCpuMs: number
  memoryMib: number
}

const HELP = `Usage: npm run bench:watch [-- [--agents N,...] [--beats N] [--quiet SECONDS]]

Measures what many agents cost an API server: watches, what it sends for them, and their writes.

  --agents N,...   how many, one run for each (default 10,100,500,1000,2000)
  --beats N        heartbeats of a Node in each (default 20)
  --quiet SECONDS  how long it is at rest (default 20)
  --help           this text

Exit codes: 0 measured, 1 it could not be, 2 wrong usage.
`

const { agentCounts, beats, quietSeconds } = fromArguments(HELP, () => {
  const { values } = parseArgs({
    options: {
      agents: { type: 'string', default: '10,100,500,1000,2000' },
      beats: { type: 'string', default: '20' },
      quiet: { type: 'string', default: '20' },
      ...HELP_OPTION,
    },
  })
  const number = (name: 'agents' | 'beats' | 'quiet', text: string): number => {
    if (/^[1-9]\d*$/.test(text)) return Number(text)
    throw new WrongUsage(`--${name} ${text}: give a whole number from 1 on`)
  }
  return {
    agentCounts: values.agents.split(',').map(text => number('agents', text)),
    beats: number('beats', values.beats),
    quietSeconds: number('quiet', values.quiet),
    help: values.help,
  }
})
const rows: Row[] = []
for (const agents of agentCounts) {
  rows.push(await measure(agents))
  process.stderr.write(`${JSON.stringify(rows.at(-1))}\n`)
}
const rates = [1, 6, 12, 20, 60, 120]
const writes: [number, number][] = []
for (const rate of rates) writes.push([rate, await writesPerPod(rate, rate < 20 ? 60 : 10)])
printWatches(rows)
printWrites(writes)
process.exit(0)

async function measure(agents: number): Promise<Row> {
  const folder = mkdtempSync(join(tmpdir(), 'margay-bench-'))
  mkdirSync(join(folder, 'api'))
  const users = Array.from({ length: agents }, (_, i) => `${tokenOf(i)},watcher-${i},${i},"system:masters"\n`)
  writeFileSync(join(folder, 'api', 'tokens.csv'), users.join(''), { mode: 0o600 })
  const api = await startApi({ path: HERE }, folder)
  const child = fork(fileURLToPath(new URL('./agents.ts', import.meta.url)))
  child.once('exit', (_code, signal) => {
    if (signal === null) process.exit(1) // it has said why
  })
  try {
    const numbers = Array.from({ length: agents }, (_, i) => i)
    await createAll(api.url, PATHS.pools, [poolObject('Never')])
    await createAll(api.url, PATHS.bgpConfigurations, [bgpConfiguration(false)])
    await createAll(api.url, PATHS.nodes, numbers.map(nodeObject))
    await createAll(api.url, PATHS.blocks, numbers.slice(1).map(blockObject))
    const recording = await recordAgent(api.url, TOKEN, nodeName(0))
    process.stderr.write(
      `${agents} agents: one starts with ${recording.requests} requests and ${mb(recording.bytes)} MB, and has ${recording.watches.length} watches\n`,
    )
    return { agents, watches: recording.watches.length, ...(await watch(api, child, recording.watches)) }
  } finally {
    child.kill('SIGKILL')
    await api.stop()
    rmSync(folder, { recursive: true })
  }

  async function watch(server: Api, clients: ChildProcess, recorded: readonly string[]) {
    // of more agents than the server has connections for, the watches whose objects change
    const all = recorded.length * agents <= MOST_CONNECTIONS
    const used = all ? recorded : recorded.filter(path => /\/nodes\?|\/ipamblocks\?/.test(path))
    const version = await newestVersion(server.url)
    const paths = Array.from({ length: agents }, (_, i) =>
      used.map(path => ({ path: pathOf(path, nodeName(i), version), token: tokenOf(i) })),
    ).flat()
    const { hostname: host, port } = new URL(server.url)
    const startMs = performance.now()
    clients.send({ open: { host, port: Number(port), paths, parallel: 64 } } satisfies AgentsOrder)
    let report = await reportOf(clients)
    while (report.open < paths.length) {
      if (performance.now() - startMs > 240_000) throw new Error(`${report.open} of ${paths.length} watches are open`)
      await sleep(100)
      report = await reportOf(clients)
    }
    const openSeconds = (performance.now() - startMs) / 1000
    await sleep(2_000)
    const before = await reportOf(clients)
    const cpuBefore = cpuSeconds(server.pid)
    await sleep(quietSeconds * 1000)
    const quiet = await reportOf(clients)
    const perMinute = 60 / quietSeconds / agents
    const cpu = cpuSeconds(server.pid)
    const restCpu = (cpu - cpuBefore) / quietSeconds
    const restBytes = (quiet.bytes - before.bytes) / quietSeconds
    const beatsMs = performance.now()
    const latencies: number[] = []
    for (let beat = 0; beat < beats; beat++) {
      // each agent hears of it, and the node's own one twice
      const wanted = (await reportOf(clients)).changes + agents + 1
      const sentMs = performance.now()
      await patch(server.url, `${PATHS.nodes}/${nodeName(beat % agents)}/status`, { status: conditions(beat + 1) })
      while ((await reportOf(clients)).changes < wanted && performance.now() - sentMs < MOST_BEAT_MS) await sleep(5)
      latencies.push(performance.now() - sentMs)
      await sleep(200)
    }
    const after = await reportOf(clients)
    const [cpuAfter, beatsSeconds] = [cpuSeconds(server.pid), (performance.now() - beatsMs) / 1000]
    return {
      openSeconds,
      quietBytes: ((quiet.bytes - before.bytes) * perMinute * recorded.length) / used.length,
      quietRequests: (quiet.ended - before.ended) * perMinute,
      beatBytes: (after.bytes - quiet.bytes - restBytes * beatsSeconds) / beats / agents,
      beatMs: latencies.sort((a, b) => a - b)[Math.floor(beats / 2)]!,
      // without what the watches cost at rest
      beatCpuMs: ((cpuAfter - cpu - restCpu * beatsSeconds) / beats) * 1000,
      memoryMib: memoryMib(server.pid, 'VmRSS'),
    }
  }
}

/** Of the user as whom an agent watches: margay-api gives each its share of connections. */
function tokenOf(agent: number): string {
  return `bench-watch-token-of-agent-${agent}`
}

/** A recorded watch as another node has it, from now on. */
function pathOf(recorded: string, node: string, version: string): string {
  const url = new URL(recorded, 'http://x')
  url.searchParams.set('resourceVersion', version)
  const selector = url.searchParams.get('fieldSelector')
  if (selector !== null) url.searchParams.set('fieldSelector', selector.replace(nodeName(0), node))
  return url.pathname + url.search
}

async function newestVersion(url: string): Promise<string> {
  const response = await fetch(url + PATHS.pools, { headers: { authorization: `Bearer ${TOKEN}` } })
  return ((await response.json()) as { metadata: { resourceVersion: string } }).metadata.resourceVersion
}

async function reportOf(child: ChildProcess): Promise<AgentsReport> {
  child.send('report')
  return (await once(child, 'message'))[0] as AgentsReport
}

function printWatches(all: readonly Row[]): void {
  const head = [
    'agents',
    'watches each',
    'all open after',
    'at rest, each',
    'one heartbeat, each',
    'until the last has it',
  ]
  const more = ['server CPU', 'server memory', `heartbeats every ${BEAT_MINUTES} min, each`, 'all']
  table([
    [...head, ...more],
    ...all.map(row => {
      const kbPerMinute = (row.beatBytes * row.agents) / BEAT_MINUTES / 1000
      return [
        ...[`${row.agents}`, `${row.watches}`, `${row.openSeconds.toFixed(1)} s`],
        `${row.quietRequests.toFixed(1)} requests, ${(row.quietBytes / 1000).toFixed(1)} kB a minute`,
        ...[`${(row.beatBytes / 1000).toFixed(1)} kB`, `${row.beatMs.toFixed(0)} ms`, `${row.beatCpuMs.toFixed(0)} ms`],
        ...[`${row.memoryMib.toFixed(0)} MiB`, `${kbPerMinute.toFixed(0)} kB a minute`],
        `${((kbPerMinute * row.agents) / 60_000).toFixed(1)} MB/s`,
      ]
    }),
  ])
  plot(
    'server CPU of one heartbeat, ms',
    all.map(row => [`${row.agents} agents`, row.beatCpuMs]),
  )
}

function printWrites(all: readonly [number, number][]): void {
  table([
    ['pods a minute on a node', 'writes per pod', 'writes a minute'],
    ...all.map(([rate, each]) => [`${rate}`, each.toFixed(3), (rate * each).toFixed(1)]),
  ])
  plot(
    'writes per pod',
    all.map(([rate, each]) => [`${rate} a minute`, each]),
  )
}

/** A table of Markdown. */
function table(cells: readonly (readonly string[])[]): void {
  const [head, ...body] = cells
  for (const row of [head!, head!.map(() => '---'), ...body]) console.log(`| ${row.join(' | ')} |`)
  console.log()
}

/** A bar for each value, the longest of 50 characters. */
function plot(title: string, points: readonly (readonly [string, number])[]): void {
  const most = Math.max(...points.map(([, value]) => value))
  const width = Math.max(...points.map(([name]) => name.length))
  console.log(`\`\`\`\n${title}`)
  for (const [name, value] of points)
    console.log(`${name.padStart(width)} ${'█'.repeat(Math.round((value / most) * 50))} ${value.toPrecision(2)}`)
  console.log('```\n')
}

function mb(bytes: number): string {
  return (bytes / 1e6).toFixed(1)
}
