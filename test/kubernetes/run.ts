// `npm run test:kubernetes [-- --short] [--only TEXT ...] [--proxy MODE]`: the cases on a real Kubernetes with Margay as its
// network. Not part of `npm test`: it needs Kubernetes' programs, root and the machine for itself. One line per case, then
// `N passed, N failed`. Exit codes: 0 all passed, 1 one failed, 2 wrong usage, 3 what is needed is missing.
import { parseArgs } from 'node:util'
import { kubernetesProblem } from '../../lab/kubernetes/binaries.ts'
import { KUBERNETES_DIR, KubernetesLab } from '../../lab/kubernetes/cluster.ts'
import { Margay } from '../../lab/kubernetes/margay.ts'
import { findLab } from '../../lab/lab.ts'
import { addressCases } from './addresses.ts'
import { agentCases } from './agents.ts'
import type { Case, Cluster } from './case.ts'
import { nodeCases } from './nodes.ts'
import { healthy } from './observe.ts'
import { readinessCases } from './readiness.ts'
import { requestCases } from './requests.ts'
import { speedCases } from './speed.ts'
import { trafficCases } from './traffic.ts'

const CASES: readonly Case[] = [
  ...trafficCases,
  ...addressCases,
  ...requestCases,
  ...agentCases,
  ...readinessCases,
  ...nodeCases,
  ...speedCases,
]

const started = performance.now()
const seconds = (sinceMs: number) => ((performance.now() - sinceMs) / 1000).toFixed(1)
const say = (text: string) => process.stderr.write(`# ${seconds(started).padStart(5)} s  ${text}\n`)

function parse() {
  const { values } = parseArgs({
    options: {
      short: { type: 'boolean', default: false },
      only: { type: 'string', multiple: true },
      proxy: { type: 'string' },
    },
  })
  const { short, only = [''], proxy = 'nftables' } = values
  if (proxy !== 'nftables' && proxy !== 'iptables') throw new Error(`--proxy ${proxy}: give nftables or iptables`)
  return {
    proxy,
    cases: CASES.filter(each => (each.short || !short) && only.some(text => each.title.includes(text))),
  } as const
}

async function main(): Promise<number> {
  let asked: ReturnType<typeof parse>
  try {
    asked = parse()
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`)
    return 2
  }
  const running = findLab(KUBERNETES_DIR)
  const problem =
    kubernetesProblem() ??
    (running === undefined || running.status === 'crashed'
      ? undefined
      : 'a Kubernetes of the lab is running; remove it first: npm run lab -- down')
  if (problem !== undefined) {
    say(problem)
    return 3
  }
  await using lab = new KubernetesLab({ nodes: [2, 1], proxy: asked.proxy, patience: 2, say })
  endOnSignals(lab)
  await lab.start()
  const margay = new Margay(lab)
  say('installing Margay')
  await margay.install()
  return await runCases({ lab, margay }, asked.cases)
}

function endOnSignals(lab: KubernetesLab): void {
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.once(name, async () => {
      say('interrupted: removing everything')
      await lab.stop()
      process.exit(130)
    })
}

async function runCases(cluster: Cluster, cases: readonly Case[]): Promise<number> {
  const counts = { passed: 0, failed: 0, awaited: 0 }
  for (const each of cases) {
    const startedMs = performance.now()
    const error = await outcome(each, cluster)
    const took = `${seconds(startedMs)} s`
    if (typeof error === 'string' || error === undefined) {
      counts.passed++
      const mark = each.awaits === undefined ? '' : ` [its mark can go: ${each.awaits}]`
      console.log(`ok - ${each.title} (${took}${error === undefined ? '' : `; ${error}`})${mark}`)
      continue
    }
    if (each.awaits === undefined) counts.failed++
    else counts.awaited++
    const verdict = each.awaits === undefined ? 'not ok' : 'awaited'
    console.log(`${verdict} - ${each.title} (${took})\n  ${error.message.replaceAll('\n', '\n  ')}`)
    await healthy(cluster).catch((left: Error) => console.log(`  and it left the cluster broken: ${left.message}`))
  }
  const awaited = counts.awaited === 0 ? '' : `, ${counts.awaited} for what is not there yet`
  console.log(`${counts.passed} passed, ${counts.failed} failed${awaited}`)
  return counts.failed > 0 || counts.passed === 0 ? 1 : 0
}

/** What the case says of itself, or why it failed. */
async function outcome({ run }: Case, cluster: Cluster): Promise<string | Error | undefined> {
  try {
    const said = await run(cluster)
    await healthy(cluster)
    return said
  } catch (error) {
    return error as Error
  }
}

try {
  process.exitCode = await main()
} catch (error) {
  say(`failed: ${(error as Error).message}`)
  process.exitCode = 3
}
