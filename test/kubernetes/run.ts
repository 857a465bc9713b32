// `npm run test:kubernetes [-- --short] [--only TEXT ...] [--proxy MODE] [--ipv6] [--kept [--install]] [--e2e SUITE [--minutes N]]`: the cases on a real Kubernetes with Margay as its
// network. Not part of `npm test`: it needs Kubernetes' programs, root and the machine for itself. One line per case, then
// `N passed, N failed`. `--ipv6` gives the cluster IPv6 too, which some cases need. `--kept` takes the cluster that `npm run lab -- --kubernetes --keep` left running, and leaves it;
// `--install` puts Margay there as the source is now. `--e2e` runs Kubernetes' own tests in place of the cases (SUITE: network,
// policy, cluster-policy) and writes a section of docs/conformance.md. Exit codes: 0 all passed, 1 one failed, 2 wrong usage, 3 what is needed is missing.
import { parseArgs } from 'node:util'
import { kubernetesProblem } from '../../lab/kubernetes/binaries.ts'
import { KubernetesLab } from '../../lab/kubernetes/cluster.ts'
import { KUBERNETES_DIR } from '../../lab/kubernetes/folder.ts'
import { Margay, makeImage } from '../../lab/kubernetes/margay.ts'
import type { ProxyMode } from '../../lab/kubernetes/programs.ts'
import { findLab } from '../../lab/remains.ts'
import { addressCases } from './addresses.ts'
import { agentCases } from './agents.ts'
import type { Case, Cluster } from './case.ts'
import { clusterPolicyConformance } from './cluster-policies.ts'
import { conformance, SUITES, type SuiteName } from './e2e.ts'
import { explainCases } from './explain.ts'
import { goneNodeCases } from './gone-nodes.ts'
import { hostAccessCases } from './host-access.ts'
import { loadBalancerCases } from './load-balancer.ts'
import { nodeCases } from './nodes.ts'
import { healthy } from './observe.ts'
import { pathCases } from './paths.ts'
import { podCases } from './pod-features.ts'
import { policyCases } from './policies.ts'
import { poolCases } from './pools.ts'
import { readinessCases } from './readiness.ts'
import { requestCases } from './requests.ts'
import { serviceCases } from './services.ts'
import { speedCases } from './speed.ts'
import { trafficCases } from './traffic.ts'

const CASES: readonly Case[] = [
  ...trafficCases,
  ...podCases,
  ...pathCases,
  ...poolCases,
  ...addressCases,
  ...loadBalancerCases,
  ...policyCases,
  ...requestCases,
  ...serviceCases,
  ...agentCases,
  ...readinessCases,
  ...hostAccessCases,
  ...nodeCases,
  ...goneNodeCases,
  ...explainCases,
  ...speedCases,
]

/** The machine has few processors: more would wait for each other. */
const BESIDE_EACH_OTHER = 3

const started = performance.now()
const seconds = (sinceMs: number) => ((performance.now() - sinceMs) / 1000).toFixed(1)
const say = (text: string) => process.stderr.write(`# ${seconds(started).padStart(5)} s  ${text}\n`)

type Asked = ReturnType<typeof parse>

function parse() {
  const { values } = parseArgs({
    options: {
      short: { type: 'boolean', default: false },
      only: { type: 'string', multiple: true },
      proxy: { type: 'string' },
      ipv6: { type: 'boolean', default: false },
      kept: { type: 'boolean', default: false },
      install: { type: 'boolean', default: false },
      e2e: { type: 'string' },
      minutes: { type: 'string', default: '90' },
    },
  })
  const { short, only = [''], proxy = 'nftables', ipv6, kept, install, e2e, minutes } = values
  if (kept && values.proxy !== undefined) throw new Error('--kept with --proxy: the kept cluster has its mode already')
  if (kept && ipv6) throw new Error('--kept with --ipv6: the kept cluster has its families already')
  if (install && !kept) throw new Error('--install without --kept: a new cluster gets Margay as it is now anyway')
  if (proxy !== 'nftables' && proxy !== 'iptables') throw new Error(`--proxy ${proxy}: give nftables or iptables`)
  if (!/^\d{1,3}$/.test(minutes)) throw new Error(`--minutes ${minutes}: give a number of minutes`)
  if (e2e !== undefined && !isSuite(e2e)) throw new Error(`--e2e ${e2e}: give ${E2E.join(' or ')}`)
  const mode: ProxyMode = proxy
  return {
    ...{ proxy: mode, ipv6, kept, install, e2e, minutes: Number(minutes) },
    cases: CASES.filter(each => (each.short || !short) && only.some(text => each.title.includes(text))),
  } as const
}

const CLUSTER_POLICY = 'cluster-policy'
const E2E: readonly string[] = [...Object.keys(SUITES), CLUSTER_POLICY]

function isSuite(name: string): name is SuiteName | typeof CLUSTER_POLICY {
  return E2E.includes(name)
}

async function main(): Promise<number> {
  let asked: Asked
  try {
    asked = parse()
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`)
    return 2
  }
  const problem = kubernetesProblem() ?? (asked.kept ? undefined : runningProblem())
  if (problem !== undefined) {
    say(problem)
    return 3
  }
  return asked.kept ? await playOnKept(asked) : await playOnNew(asked)
}

function runningProblem(): string | undefined {
  const running = findLab(KUBERNETES_DIR)
  if (running === undefined || running.status === 'crashed') return undefined
  return 'a Kubernetes of the lab is running; take it with --kept, or remove it first: npm run lab -- down'
}

async function playOnNew(asked: Asked): Promise<number> {
  await using lab = new KubernetesLab({ nodes: [2, 1], proxy: asked.proxy, ipv6: asked.ipv6, patience: 2, say })
  onSignals(() => lab.stop(), 'removing everything')
  const image = makeImage()
  await Promise.all([lab.start(), image])
  const margay = new Margay(lab)
  say('installing Margay')
  await margay.install(image)
  return await playAll({ lab, margay }, asked)
}

async function playOnKept(asked: Asked): Promise<number> {
  const lab = KubernetesLab.kept({ patience: 2, say })
  if (lab === undefined) {
    say('no Kubernetes of the lab was kept: npm run lab -- --kubernetes --keep')
    return 3
  }
  onSignals(async () => lab.keep(), 'the cluster stays')
  const margay = new Margay(lab)
  try {
    if (asked.install) {
      say('installing Margay')
      await margay.install(makeImage())
      await margay.roll()
    }
    return await playAll({ lab, margay }, asked)
  } finally {
    lab.keep()
  }
}

async function playAll(cluster: Cluster, { e2e, minutes, cases }: Asked): Promise<number> {
  if (e2e === CLUSTER_POLICY) return (await clusterPolicyConformance(cluster, { minutes, say })) ? 0 : 1
  if (e2e !== undefined) return (await conformance(cluster.lab, { suite: e2e, minutes, say })) ? 0 : 1
  return await runCases(
    cluster,
    cases.filter(each => each.ipv6 !== true || cluster.lab.plan.ipv6),
  )
}

function onSignals(end: () => Promise<void>, what: string): void {
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.once(name, async () => {
      say(`interrupted: ${what}`)
      await end()
      process.exit(130)
    })
}

type Counts = { passed: number; failed: number; awaited: number }

async function runCases(cluster: Cluster, cases: readonly Case[]): Promise<number> {
  const counts: Counts = { passed: 0, failed: 0, awaited: 0 }
  const beside = cases.filter(each => each.beside === true)
  const work = async () => {
    for (let next = beside.shift(); next !== undefined; next = beside.shift()) await play(next, cluster, counts)
  }
  await Promise.all(Array.from({ length: BESIDE_EACH_OTHER }, work))
  for (const each of cases) if (each.beside !== true) await play(each, cluster, counts)
  const awaited = counts.awaited === 0 ? '' : `, ${counts.awaited} for what is not there yet`
  console.log(`${counts.passed} passed, ${counts.failed} failed${awaited}`)
  return counts.failed > 0 || counts.passed === 0 ? 1 : 0
}

/** Plays one case, shows what came of it, and counts it. */
async function play(each: Case, cluster: Cluster, counts: Counts): Promise<void> {
  const startedMs = performance.now()
  const error = await outcome(each, cluster)
  const took = `${seconds(startedMs)} s`
  if (typeof error === 'string' || error === undefined) {
    counts.passed++
    const mark = each.awaits === undefined ? '' : ` [its mark can go: ${each.awaits}]`
    console.log(`ok - ${each.title} (${took}${error === undefined ? '' : `; ${error}`})${mark}`)
    return
  }
  if (each.awaits === undefined) counts.failed++
  else counts.awaited++
  const verdict = each.awaits === undefined ? 'not ok' : 'awaited'
  console.log(`${verdict} - ${each.title} (${took})\n  ${error.message.replaceAll('\n', '\n  ')}`)
  await healthy(cluster).catch((left: Error) => console.log(`  and it left the cluster broken: ${left.message}`))
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
