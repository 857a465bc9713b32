// Kubernetes' own end-to-end tests of networking on the lab's cluster, and docs/conformance.md from their report. What is left
// out is left out by a pattern with its reason, or says its reason itself. Specs of different kinds run beside each other.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { binary, binaryPath } from '../../lab/kubernetes/binaries.ts'
import type { KubernetesLab } from '../../lab/kubernetes/cluster.ts'
import { LabFailure, root } from '../../lab/lab.ts'
import { isMissing, runProgram } from '../../lab/program.ts'
import { importE2eImages } from './e2e-images.ts'
import { blocksOf } from './observe.ts'

const KINDS = ['Networking', 'Services', 'DNS'] as const
/** Together they name every spec of `KINDS`, each once. One start of e2e.test runs its specs one after another. */
const SHARES = [
  'Services should [a-h]',
  'Networking Granular Checks: Services',
  'Services should [i-z]',
  'Networking Granular Checks: Pods',
  'DNS',
  'Services [^s]',
  'Networking [^G]',
] as const
const BESIDE_EACH_OTHER = 4

/** Specs that are not run, by a part of their name, each with the reason. The first that fits is told. */
const LEFT_OUT: readonly (readonly [pattern: string, reason: string])[] = [
  ['LoadBalancer', 'needs the load balancer of a cloud'],
  ['\\[Feature:Networking-IPv6\\]', 'the lab’s cluster is IPv4'],
  ['\\[Feature:IPv6DualStack\\]', 'the lab’s cluster is IPv4'],
  ['\\[Feature:Networking-IPv4\\]', 'asks a server in the Internet'],
  ['\\[Feature:Networking-DNS\\]', 'asks a server in the Internet'],
  ['\\[Feature:GPUDevicePlugin\\]', 'not of the network'],
  ['\\[Feature:SCTP', 'needs SCTP, which few kernels of container hosts have'],
  ['\\[Feature:PerformanceDNS\\]', 'a load test of the DNS server'],
  [
    '\\[Feature:NoSNAT\\]',
    'asks that pods outside of every pool keep their address, which natOutgoing of this cluster changes',
  ],
  ['\\[Feature:', 'needs a feature that this cluster does not switch on'],
  ['\\[Alpha\\]', 'needs a feature that is off by default'],
  ['\\[Disruptive\\]', 'stops nodes by the means of a cloud; test/kubernetes/nodes.ts does it here'],
  ['\\[Serial\\]', 'may not run beside others'],
  ['\\[Slow\\]', 'takes more than some minutes'],
  ['\\[sig-network\\] Networking IPerf', 'needs the image of iperf'],
  [' for evicted pods', 'needs a kubelet that evicts pods; those of the lab share this machine’s disk and evict none'],
]

const NOT_REACHED = 'not finished in the time that was given (`--minutes`)'

type SpecReport = {
  ContainerHierarchyTexts: string[] | null
  LeafNodeType: string
  LeafNodeText: string
  State: 'passed' | 'skipped' | 'failed' | 'pending' | 'timedout' | 'panicked' | 'interrupted' | 'aborted'
  RunTime: number
  Failure?: { Message: string }
}

type Spec = { name: string; state: SpecReport['State']; seconds: number; said: string }

/** True when every spec that ran passed. Writes docs/conformance.md. */
export async function conformance(
  lab: KubernetesLab,
  { minutes, say }: { minutes: number; say: (text: string) => void },
): Promise<boolean> {
  say('making the images of the tests')
  await importE2eImages(lab, await imageNames(lab))
  await lab.must(['rollout', 'status', '-n', 'kube-system', 'deployment/coredns', '--timeout=120s'], {
    limitMs: 130_000,
  })
  await routePods(lab)
  say(`running the specs of ${KINDS.join(', ')}`)
  const specs = await runAll(lab, minutes)
  const text = report(specs, { kubernetes: await version(lab), minutes })
  writeFileSync(join(root, 'docs/conformance.md'), text)
  const ran = specs.filter(({ state }) => state !== 'skipped' && state !== 'pending')
  const failed = ran.filter(({ state }) => state !== 'passed')
  for (const { name, said } of failed) console.log(`not ok - ${name}\n  ${said.slice(0, 600).replaceAll('\n', '\n  ')}`)
  console.log(`${ran.length - failed.length} passed, ${failed.length} failed, ${specs.length - ran.length} left out`)
  return ran.length > 0 && failed.length === 0
}

/** Some specs ask pods through the API server, which is behind the lab's router here and on a node of the network elsewhere. */
async function routePods(lab: KubernetesLab): Promise<void> {
  for (const { name, address } of lab.plan.nodes)
    for (const cidr of await blocksOf({ lab }, name))
      await lab.inNetns(lab.plan.router.netns, ['ip', 'route', 'replace', cidr, 'via', address])
}

/** Names of images that are the tools' image here. */
async function imageNames(lab: KubernetesLab): Promise<string[]> {
  const { stdout } = await e2e(lab, ['--list-images'], 120_000)
  const names = stdout.split('\n').filter(line => /\/(agnhost|glibc-dns-testing|pause):/.test(line))
  if (names.length === 0) throw new LabFailure('e2e.test --list-images names no image of agnhost')
  return names.map(name => name.trim()).sort()
}

/** Every spec of `KINDS`, with what the share said that ran it. Each report also names the specs of the other shares, as skipped. */
async function runAll(lab: KubernetesLab, minutes: number): Promise<Spec[]> {
  const found = new Map<string, Spec>()
  const left = SHARES.map((share, i) => ({ share, file: `${i}` }))
  const endMs = performance.now() + minutes * 60_000
  const work = async () => {
    for (let next = left.shift(); next !== undefined; next = left.shift())
      for (const spec of await runShare(lab, next, Math.max(1, Math.floor((endMs - performance.now()) / 1000)))) {
        const known = found.get(spec.name)
        if (known === undefined || known.state === 'skipped')
          found.set(spec.name, { ...spec, said: spec.said || (known?.said ?? '') })
      }
  }
  await Promise.all(Array.from({ length: BESIDE_EACH_OTHER }, work))
  return [...found.values()]
}

/** What came of the specs of a share; none when its time ended within a spec: e2e.test writes no report then. */
async function runShare(
  lab: KubernetesLab,
  { share, file }: { share: string; file: string },
  limitSeconds: number,
): Promise<Spec[]> {
  const folder = join(lab.dir, 'e2e')
  mkdirSync(folder, { recursive: true })
  const reportFile = join(folder, `${file}.json`)
  rmSync(reportFile, { force: true }) // one of an earlier run on a cluster that was kept
  const startedMs = performance.now()
  const skip = LEFT_OUT.map(([pattern]) => pattern).join('|')
  const run = await e2e(
    lab,
    [
      ...['--provider=skeleton', '--kubeconfig', lab.kubeconfig, '--kubectl-path', binary('kubectl')],
      ...[`--ginkgo.focus=\\[sig-network\\] ${share}`, `--ginkgo.skip=${skip}`, '--ginkgo.no-color'],
      ...[`--ginkgo.timeout=${limitSeconds}s`, `--ginkgo.json-report=${reportFile}`, '--disable-log-dump'],
    ],
    (limitSeconds + 120) * 1000,
  )
  writeFileSync(join(folder, `${file}.log`), run.stdout + run.stderr)
  const suites = readReport(reportFile)
  if (suites === undefined) {
    if (performance.now() - startedMs >= limitSeconds * 1000) return []
    throw new LabFailure(`e2e.test wrote no whole report: ${run.stderr.trim().slice(-600)}`)
  }
  return suites
    .flatMap(({ SpecReports }) => SpecReports)
    .filter(({ LeafNodeType }) => LeafNodeType === 'It')
    .map(specOf)
    .filter(({ name }) => KINDS.some(kind => name.startsWith(`[sig-network] ${kind} `)))
}

/** Undefined when the file is not there, or holds no whole report. */
function readReport(file: string): { SpecReports: SpecReport[] }[] | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as { SpecReports: SpecReport[] }[]
  } catch (error) {
    if (isMissing(error) || error instanceof SyntaxError) return undefined
    throw error
  }
}

function specOf(each: SpecReport): Spec {
  const { ContainerHierarchyTexts: texts, LeafNodeText, State, RunTime, Failure } = each
  const name = [...(texts ?? []), LeafNodeText].join(' ')
  if (['timedout', 'interrupted'].includes(State) && /suite timeout|interrupted/i.test(Failure?.Message ?? ''))
    return { name, state: 'skipped', seconds: RunTime / 1e9, said: NOT_REACHED }
  return { name, state: State, seconds: RunTime / 1e9, said: Failure?.Message ?? '' }
}

function e2e(lab: KubernetesLab, args: readonly string[], limitMs: number) {
  const env = { PATH: binaryPath(), KUBECONFIG: lab.kubeconfig, HOME: lab.dir }
  return runProgram([binary('e2e.test'), ...args], { netns: lab.plan.api.netns, env, limitMs })
}

async function version(lab: KubernetesLab): Promise<string> {
  const { serverVersion } = JSON.parse(await lab.must(['version', '-o', 'json'])) as {
    serverVersion: { gitVersion: string }
  }
  return serverVersion.gitVersion
}

/** Why a spec was left out. */
function reasonOf({ name, state, said }: Spec): string {
  const known = LEFT_OUT.find(([pattern]) => new RegExp(pattern).test(name))
  if (known !== undefined) return known[1]
  if (state === 'pending') return 'not finished in Kubernetes itself'
  return said.split('\n')[0] || NOT_REACHED
}

function report(specs: readonly Spec[], { kubernetes, minutes }: { kubernetes: string; minutes: number }): string {
  const passed = specs.filter(({ state }) => state === 'passed')
  const leftOut = specs.filter(({ state }) => state === 'skipped' || state === 'pending')
  const failed = specs.filter(spec => !passed.includes(spec) && !leftOut.includes(spec))
  const rows = (list: readonly Spec[], cell?: (spec: Spec) => string) =>
    [...list]
      .sort((a, b) => a.name.localeCompare(b.name))
      .map(spec => (cell === undefined ? `- ${short(spec)}` : `| ${short(spec)} | ${cell(spec)} |`))
  const lines = [
    '# Kubernetes’ own tests of networking',
    '',
    `Written by \`npm run test:kubernetes -- --e2e --minutes ${minutes}\`: the specs of ${KINDS.map(kind => `\`[sig-network] ${kind}\``).join(', ')} of e2e.test ${kubernetes},`,
    'on the lab’s cluster of three nodes on two LANs (tunnels by VXLAN between the LANs, kube-proxy in nftables mode, no image pulled).',
    `${passed.length} passed, ${failed.length} failed, ${leftOut.length} left out.`,
    '',
    '## Passed',
    ...rows(passed),
    '',
    ...(failed.length === 0 ? [] : ['## Failed', ...rows(failed), '']),
    '## Left out',
    '| spec | reason |',
    '|---|---|',
    ...rows(leftOut, reasonOf),
    '',
  ]
  return lines.join('\n')
}

const short = ({ name }: Spec) => name.replace('[sig-network] ', '').replaceAll('|', '\\|')
