// ADD and DEL as a runtime sees them, from the start of the plugin to its end, beside Debian's ptp with host-local in
// the same run: 100 one at a time, and 100 with ten at once. And VERSION, which the plugin answers alone: the time that a
// process of it takes. Needs root and nsenter; all traffic and state stay in namespaces and a folder of its own. Ours
// writes a journal with fsync; host-local writes plain files.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { installPlugin } from '../cni/install.ts'
import { openKernel } from '../kernel/linux/kernel.ts'
import { addNetns, netnsPath, removeNetns, spawnInNetns } from '../kernel/netns.ts'
import { systemProgram } from '../lib/system-program.ts'
import type { Row } from './row.ts'

const COUNT = 100
const PTP = '/usr/lib/cni/ptp'

type Plugin = { path: string; cniPath: string; conf: Record<string, unknown> }
type Phase = { add: number[]; del: number[] }

/** Rows of milliseconds. Empty, with a line on standard error, where it cannot run. */
export async function benchCni(): Promise<Row[]> {
  if (process.getuid?.() !== 0) {
    process.stderr.write('cni: left out, it needs root\n')
    return []
  }
  const folder = mkdtempSync(join(tmpdir(), 'margay-bench-'))
  const names = [
    `mgbench-${process.pid}-node`,
    ...Array.from({ length: COUNT }, (_, i) => `mgbench-${process.pid}-${i}`),
  ]
  let agent: ChildProcess | undefined
  try {
    for (const name of names) addNetns(name)
    const [node = '', ...pods] = names.map(netnsPath)
    using root = openKernel()
    using kernel = root.inside(node)
    await kernel.setLink('lo', { up: true })
    agent = await startAgent(node, folder)
    const socket = join(folder, 'agent.sock')
    const { plugin } = installPlugin({ binDir: join(folder, 'bin'), socket })
    const common = { cniVersion: '1.0.0', name: 'bench' }
    const ours = {
      path: plugin,
      cniPath: join(folder, 'bin'),
      conf: { ...common, type: 'margay', agentSocket: socket },
    }
    const ipam = { type: 'host-local', dataDir: join(folder, 'host-local'), ranges: [[{ subnet: '10.245.0.0/16' }]] }
    const theirs = { path: PTP, cniPath: '/usr/lib/cni', conf: { ...common, type: 'ptp', ipMasq: false, ipam } }
    const peer = existsSync(PTP) ? theirs : undefined
    const rows: Row[] = []
    const alone = startMs(ours.path)
    for (const [name, path] of [
      ['true', systemProgram('true')],
      ['ptp', PTP],
    ] as const)
      if (existsSync(path))
        rows.push({
          name: 'CNI VERSION, one process',
          value: alone,
          unit: 'ms',
          peer: name,
          peerValue: startMs(path),
        })
    for (const atOnce of [1, 10]) {
      const mine = await phase(ours, node, pods, atOnce)
      const other = peer && (await phase(peer, node, pods, atOnce))
      const how = atOnce === 1 ? 'one at a time' : `${atOnce} at once`
      for (const verb of ['add', 'del'] as const)
        for (const percent of [50, 99])
          rows.push({
            name: `CNI ${verb.toUpperCase()} p${percent}, ${how}`,
            value: percentile(mine[verb], percent),
            unit: 'ms',
            ...(other && { peer: 'ptp + host-local', peerValue: percentile(other[verb], percent) }),
          })
    }
    return rows
  } finally {
    agent?.kill()
    for (const name of names) removeNetns(name)
    rmSync(folder, { recursive: true, force: true })
  }
}

async function startAgent(node: string, folder: string): Promise<ChildProcess> {
  const script = fileURLToPath(new URL('./cni-agent.ts', import.meta.url))
  const agent = spawnInNetns(node, process.execPath, [script, folder], { stdio: ['ignore', 'pipe', 'inherit'] })
  const ready = agent.stdout && once(agent.stdout, 'data')
  const ended = once(agent, 'exit').then(() => {
    throw new Error('the agent of the benchmark ended')
  })
  await Promise.race([ready, ended])
  ended.catch(() => {}) // its end is wanted from here on
  return agent
}

/** Milliseconds of one process from its start to its end, the mean of many that a shell starts one after the other. */
function startMs(program: string): number {
  const count = 300
  const script = `i=0; while [ $i -lt ${count} ]; do "${program}" </dev/null >/dev/null; i=$((i+1)); done`
  const before = performance.now()
  execFileSync(systemProgram('sh'), ['-c', script], { env: { CNI_COMMAND: 'VERSION' } })
  return (performance.now() - before) / count
}

async function phase(plugin: Plugin, node: string, pods: readonly string[], atOnce: number): Promise<Phase> {
  const verb = (command: string) => inParallel(pods, atOnce, (netns, i) => timed(plugin, node, command, netns, `c${i}`))
  return { add: await verb('ADD'), del: await verb('DEL') }
}

async function inParallel<T, R>(
  items: readonly T[],
  atOnce: number,
  work: (item: T, i: number) => Promise<R>,
): Promise<R[]> {
  const results: R[] = []
  const queue = [...items.entries()]
  const worker = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) results.push(await work(next[1], next[0]))
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
  return results
}

/** Milliseconds from starting the plugin to its end. */
async function timed(plugin: Plugin, node: string, command: string, netns: string, id: string): Promise<number> {
  const env = {
    PATH: process.env['PATH'],
    CNI_COMMAND: command,
    CNI_CONTAINERID: id,
    CNI_NETNS: netns,
    CNI_IFNAME: 'eth0',
    CNI_PATH: plugin.cniPath,
  }
  const before = performance.now()
  const child = spawn(systemProgram('nsenter'), [`--net=${node}`, '--', plugin.path], {
    env,
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  let stdout = ''
  child.stdout.on('data', chunk => {
    stdout += chunk
  })
  child.stdin.end(JSON.stringify(plugin.conf))
  const [code] = await once(child, 'close')
  if (code !== 0) throw new Error(`${plugin.path} ${command}: ${stdout}`)
  return performance.now() - before
}

function percentile(values: readonly number[], percent: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  const at = Math.min(sorted.length - 1, Math.ceil((percent / 100) * sorted.length) - 1)
  return Math.round((sorted[at] ?? 0) * 10) / 10
}
