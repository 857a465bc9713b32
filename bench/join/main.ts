// `npm run bench:join`: the nodes of a cluster join one agent at once. `--speakers N` (2000) of them, simulated by threads of this
// process, dial within a second: how long until all sessions are Established, and until each has the agent's own prefix, what
// that costs the agent, and whether its KEEPALIVEs come on time in `--seconds N` (120) after it. Needs root. Ends with 1 where a
// session was lost or an own prefix came later than promised.
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempDisposableSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { Worker } from 'node:worker_threads'
import { ipv4Number } from '../../lib/ip.ts'
import { systemProgram } from '../../lib/system-program.ts'
import { cpuSeconds, memoryMib } from '../process-use.ts'
import { createAll, PATHS } from '../scale/client.ts'
import { enterNamespace, JOINED_ADDRESS } from '../scale/ground.ts'
import { bgpConfiguration, blockCidr, blockObject, nodeObject, poolObject } from '../scale/objects.ts'
import { startAgent, startApi, writeBundle } from '../scale/programs.ts'
import { fromArguments, HELP_OPTION, WrongUsage } from '../usage.ts'
import type { Joined, JoinerData, JoinerOrder, JoinerReport } from './joiner.ts'

const HERE = fileURLToPath(new URL('../..', import.meta.url))
const THREADS = 4
const WITHIN_MS = 1000
const OWN_MOST_MS = 100
const POLL_MS = 50
const MOST_MS = 120_000

const HELP = `Usage: npm run bench:join [-- [--speakers N] [--seconds N]]

Simulated nodes join one agent within a second: how long it takes, and what it costs the agent. Needs root.

  --speakers N  how many, 1 to 50000 (default 2000)
  --seconds N   how long the KEEPALIVEs are watched after it (default 120)
  --bundled     the agent as the container image has it (npm run bench:join gives it)
  --help        this text

Exit codes: 0 each own prefix came within ${OWN_MOST_MS} ms and no session was lost, 1 not so, 2 wrong usage.
`

async function main({ speakers, seconds, bundled }: ReturnType<typeof usage>): Promise<boolean> {
  if (process.getuid?.() !== 0) throw new Error('network namespaces need root')
  enterNamespace(JOINED_ADDRESS)
  await using stack = new AsyncDisposableStack()
  const { path: folder } = stack.use(mkdtempDisposableSync(join(tmpdir(), 'margay-join-')))
  if (bundled) await writeBundle(join(folder, 'bundle'))
  const checkout = { path: HERE, ...(bundled && { bundle: join(folder, 'bundle') }) }
  const api = await startApi(checkout, folder)
  stack.defer(() => api.stop())
  const numbers = Array.from({ length: speakers }, (_, i) => i + 1)
  await createAll(api.url, PATHS.pools, [poolObject('Always')])
  await createAll(api.url, PATHS.bgpConfigurations, [bgpConfiguration(true)])
  await createAll(api.url, PATHS.nodes, [0, ...numbers].map(nodeObject))
  await createAll(api.url, PATHS.blocks, [0, ...numbers].map(blockObject))
  const agent = await startAgent(checkout, folder, api.url, JOINED_ADDRESS)
  stack.defer(() => agent.stop())
  const { pid } = agent
  console.log(`${speakers} speakers; the agent was ready after ${agent.readySeconds.toFixed(1)} s`)
  const threads = Array.from({ length: THREADS }, (_, thread) =>
    startThread(numbers.filter(n => n % THREADS === thread)),
  )
  stack.defer(async () => void (await Promise.all(threads.map(thread => thread.terminate()))))
  await sleep(1000)
  await settled(pid)

  const before = { mib: memoryMib(pid, 'VmRSS'), cpu: cpuSeconds(pid) }
  const startMs = performance.timeOrigin + performance.now()
  for (const thread of threads) thread.postMessage({ joinWithinMs: WITHIN_MS } satisfies JoinerOrder)
  const all = await waitFor(threads, joined => joined.every(each => each.ownAt !== undefined), speakers)
  const routes = () => execFileSync(systemProgram('ip'), ['route', 'show', 'dev', 'vxlan.calico'], { encoding: 'utf8' })
  const inKernel = () =>
    routes()
      .split('\n')
      .filter(line => line.includes(' via ')).length
  for (const end = performance.now() + MOST_MS; inKernel() < speakers && performance.now() < end; ) await sleep(POLL_MS)
  const [kernelMs, known] = [performance.timeOrigin + performance.now() - startMs, inKernel()]
  const joinCpu = cpuSeconds(pid) - before.cpu
  const seconds3 = (ms: number) => (ms / 1000).toFixed(2)
  const up = all.filter(each => each.establishedAt !== undefined)
  const own = all.flatMap(({ establishedAt, ownAt }) => (ownAt === undefined ? [] : [ownAt - establishedAt!]))
  const dial = up.map(({ dialedAt, establishedAt }) => establishedAt! - dialedAt)
  console.log(
    `all Established: ${seconds3(Math.max(...up.map(each => each.establishedAt! - startMs)))} s (${up.length})`,
  )
  console.log(`from its dial to Established: ${spread(dial)}`)
  console.log(`from Established to the agent's own prefix: ${spread(own)}`)
  console.log(`all ${known} routes in the kernel: ${seconds3(kernelMs)} s`)
  console.log(
    `agent: ${joinCpu.toFixed(2)} s of CPU for it, ${before.mib.toFixed(0)} MiB before it, at most ${memoryMib(pid, 'VmHWM').toFixed(0)}`,
  )

  const restCpu = cpuSeconds(pid)
  await sleep(seconds * 1000)
  const rest = (await report(threads)).flat()
  const lost = rest.filter(each => each.lost !== undefined)
  console.log(
    `at rest: ${(((cpuSeconds(pid) - restCpu) * 60) / seconds).toFixed(2)} s of CPU a minute, ${memoryMib(pid, 'VmRSS').toFixed(0)} MiB`,
  )
  console.log(
    `longest silence of the agent in ${seconds} s: ${seconds3(Math.max(...rest.map(each => each.gapMs)))} s; sessions lost: ${lost.length}`,
  )
  for (const text of new Set(lost.map(each => each.lost))) console.log(`  ${text}`)
  return lost.length === 0 && own.length === speakers && Math.max(...own) < OWN_MOST_MS
}

function startThread(nodes: readonly number[]): Worker {
  const own = prefixOctets(blockCidr(0))
  return new Worker(new URL('./joiner.ts', import.meta.url), {
    workerData: { nodes, agent: JOINED_ADDRESS, own } satisfies JoinerData,
  })
}

/** As NLRI: the length, and the octets that it needs (RFC 4271 §4.3). */
function prefixOctets(cidr: string): Uint8Array {
  const [address, length] = cidr.split('/')
  const octets = Buffer.alloc(4)
  octets.writeUInt32BE(ipv4Number(address!))
  return Uint8Array.of(Number(length), ...octets.subarray(0, Math.ceil(Number(length) / 8)))
}

function report(threads: readonly Worker[]): Promise<JoinerReport[]> {
  return Promise.all(
    threads.map(async thread => {
      const answer = once(thread, 'message')
      thread.postMessage('report' satisfies JoinerOrder)
      return (await answer)[0] as JoinerReport
    }),
  )
}

/** What all say once `done` holds of them, or when minutes are over. */
async function waitFor(
  threads: readonly Worker[],
  done: (joined: JoinerReport) => boolean,
  count: number,
): Promise<Joined[]> {
  const end = performance.now() + MOST_MS
  for (;;) {
    const joined = (await report(threads)).flat()
    if ((joined.length === count && done(joined)) || performance.now() > end) return joined
    await sleep(POLL_MS)
  }
}

/** Waits until the agent does nothing to speak of; gives up after a minute. */
async function settled(pid: number): Promise<void> {
  for (let i = 0; i < 60; i++) {
    const before = cpuSeconds(pid)
    await sleep(1000)
    if (cpuSeconds(pid) - before < 0.1) return
  }
}

function spread(ms: readonly number[]): string {
  const sorted = ms.toSorted((a, b) => a - b)
  const at = (share: number) => (sorted[Math.floor(share * (sorted.length - 1))] ?? Number.NaN).toFixed(1)
  return `median ${at(0.5)} ms, 99 of 100 ${at(0.99)} ms, most ${at(1)} ms`
}

function usage() {
  return fromArguments(HELP, () => {
    const { values } = parseArgs({
      options: {
        speakers: { type: 'string', default: '2000' },
        seconds: { type: 'string', default: '120' },
        bundled: { type: 'boolean', default: false },
        ...HELP_OPTION,
      },
    })
    const [speakers, seconds] = [Number(values.speakers), Number(values.seconds)]
    if (!Number.isInteger(speakers) || speakers < 1 || speakers > 50_000)
      throw new WrongUsage(`--speakers ${values.speakers}: give a whole number from 1 to 50000`)
    if (!(seconds > 0)) throw new WrongUsage(`--seconds ${values.seconds}: give a number of seconds`)
    return { ...values, speakers, seconds }
  })
}

process.exitCode = (await main(usage())) ? 0 : 1
