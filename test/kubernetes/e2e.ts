// Kubernetes' own end-to-end tests of networking and of NetworkPolicy on the lab's cluster, with a section of docs/conformance.md
// from their report. What is left out is left out by a pattern with its reason, or says its reason itself. Specs of different
// kinds run beside each other.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { binary, binaryPath } from '../../lab/kubernetes/binaries.ts'
import type { KubernetesLab } from '../../lab/kubernetes/cluster.ts'
import { LabFailure } from '../../lab/lab-programs.ts'
import { isMissing, runProgram } from '../../lab/program.ts'
import { type Outcome, writeSection } from './conformance.ts'
import { importE2eImages } from './e2e-images.ts'
import { blocksOf } from './observe.ts'

/** `shares` name every spec of `kinds` together, each once. One start of e2e.test runs its specs one after another. */
type Suite = { title: string; kinds: readonly string[]; shares: readonly string[]; leftOut: readonly LeftOut[] }
/** Specs that are not run, by a part of their name, with the reason. The first that fits is told. */
type LeftOut = readonly [pattern: string, reason: string]

const BESIDE_EACH_OTHER = 4

const NO_SCTP = 'needs SCTP, which few kernels of container hosts have'

const NETWORK_LEFT_OUT: readonly LeftOut[] = [
  ['LoadBalancer', 'needs the load balancer of a cloud'],
  ['\\[Feature:Networking-IPv6\\]', 'the lab’s cluster is IPv4'],
  ['\\[Feature:IPv6DualStack\\]', 'the lab’s cluster is IPv4'],
  ['\\[Feature:Networking-IPv4\\]', 'asks a server in the Internet'],
  ['\\[Feature:Networking-DNS\\]', 'asks a server in the Internet'],
  ['\\[Feature:GPUDevicePlugin\\]', 'not of the network'],
  ['\\[Feature:SCTP', NO_SCTP],
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

/** What `--e2e` takes. */
export const SUITES = {
  network: {
    title: 'Networking, Services and DNS',
    kinds: ['Networking', 'Services', 'DNS'],
    shares: [
      'Services should [a-h]',
      'Networking Granular Checks: Services',
      'Services should [i-z]',
      'Networking Granular Checks: Pods',
      'DNS',
      'Services [^s]',
      'Networking [^G]',
    ],
    leftOut: NETWORK_LEFT_OUT,
  },
  policy: {
    title: 'NetworkPolicy',
    kinds: ['Netpol'],
    shares: [
      'Netpol API',
      'Netpol \\[',
      'Netpol NetworkPolicy between server and client should [a-d]',
      'Netpol NetworkPolicy between server and client should enforce [a-o]',
      'Netpol NetworkPolicy between server and client should enforce p',
      'Netpol NetworkPolicy between server and client should (e[^n]|en[^f]|enforce [q-z]|[f-z])',
    ],
    leftOut: [['\\[Feature:SCTP', NO_SCTP]],
  },
} as const satisfies Record<string, Suite>

export type SuiteName = keyof typeof SUITES

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

/** True when every spec of the suite that ran passed. Writes its section of docs/conformance.md. */
export async function conformance(
  lab: KubernetesLab,
  { suite: suiteName, minutes, say }: { suite: SuiteName; minutes: number; say: (text: string) => void },
): Promise<boolean> {
  const suite: Suite = SUITES[suiteName]
  say('making the images of the tests')
  await importE2eImages(lab, await imageNames(lab))
  await lab.must(['rollout', 'status', '-n', 'kube-system', 'deployment/coredns', '--timeout=120s'], {
    limitMs: 130_000,
  })
  await routePods(lab)
  say(`running the specs of ${suite.kinds.join(', ')}`)
  const outcomes = (await runAll(lab, suite, minutes)).map(spec => outcomeOf(spec, suite.leftOut))
  const specs = suite.kinds.map(kind => `\`[sig-network] ${kind}\``).join(', ')
  return writeSection(lab, {
    ...{ title: suite.title, outcomes },
    command: `--e2e ${suiteName} --minutes ${minutes}`,
    what: `the specs of ${specs} of e2e.test ${await version(lab)}`,
  })
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

/** Every spec of the suite, with what the share said that ran it. Each report also names the specs of the other shares, as skipped. */
async function runAll(lab: KubernetesLab, suite: Suite, minutes: number): Promise<Spec[]> {
  const found = new Map<string, Spec>()
  const left = suite.shares.map((share, i) => ({ share, file: `${i}` }))
  const endMs = performance.now() + minutes * 60_000
  const work = async () => {
    for (let next = left.shift(); next !== undefined; next = left.shift())
      for (const spec of await runShare(
        lab,
        suite,
        next,
        Math.max(1, Math.floor((endMs - performance.now()) / 1000)),
      )) {
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
  { kinds, leftOut }: Suite,
  { share, file }: { share: string; file: string },
  limitSeconds: number,
): Promise<Spec[]> {
  const folder = join(lab.dir, 'e2e')
  mkdirSync(folder, { recursive: true })
  const reportFile = join(folder, `${file}.json`)
  rmSync(reportFile, { force: true }) // one of an earlier run on a cluster that was kept
  const startedMs = performance.now()
  const skip = leftOut.map(([pattern]) => pattern).join('|')
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
    .filter(({ name }) => kinds.some(kind => name.startsWith(`[sig-network] ${kind} `)))
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

function outcomeOf({ name, state, said }: Spec, leftOut: readonly LeftOut[]): Outcome {
  const short = name.replace('[sig-network] ', '')
  if (state === 'passed') return { name: short, state }
  if (state !== 'skipped' && state !== 'pending') return { name: short, state: 'failed', why: said }
  const known = leftOut.find(([pattern]) => new RegExp(pattern).test(name))
  const why =
    known?.[1] ?? (state === 'pending' ? 'not finished in Kubernetes itself' : said.split('\n')[0] || NOT_REACHED)
  return { name: short, state: 'left out', why }
}
