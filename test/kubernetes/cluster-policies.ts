// The conformance tests of ClusterNetworkPolicy (sigs.k8s.io/network-policy-api) on the lab's cluster. Kernels of container hosts
// have no SCTP, and those tests cannot be told so: the program is built without what asks for SCTP (its servers and its
// connections), and tests that are about nothing else are left out here.
import { binary, binaryPath } from '../../lab/kubernetes/binaries.ts'
import type { KubernetesLab } from '../../lab/kubernetes/cluster.ts'
import type { Margay } from '../../lab/kubernetes/margay.ts'
import { LabFailure } from '../../lab/lab-programs.ts'
import { runProgram } from '../../lab/program.ts'
import { type Outcome, writeSection } from './conformance.ts'
import { importE2eImages } from './e2e-images.ts'

const IMAGE = 'registry.k8s.io/e2e-test-images/agnhost:2.45'
const CRD = 'clusternetworkpolicies.policy.networking.k8s.io'

/** True when every test that ran passed. Writes its section of docs/conformance.md. */
export async function clusterPolicyConformance(
  { lab, margay }: { lab: KubernetesLab; margay: Margay },
  { minutes, say }: { minutes: number; say: (text: string) => void },
): Promise<boolean> {
  await lab.must(['apply', '--server-side', '--filename', binary('cnp-crd.yaml')])
  await lab.must(['wait', '--for=condition=Established', `crd/${CRD}`, '--timeout=30s'], { limitMs: 40_000 })
  say('making the images of the tests')
  await importE2eImages(lab, [IMAGE])
  // agents ask ever more rarely for a kind that is not served
  await margay.roll()
  say('running the conformance tests of ClusterNetworkPolicy')
  const { stdout, stderr } = await runProgram(
    [
      binary('cnp-conformance.test'),
      '-test.v',
      '-test.run=^TestConformance$',
      `-test.timeout=${minutes}m`,
      '-all-features',
    ],
    {
      netns: lab.plan.api.netns,
      env: { PATH: binaryPath(), KUBECONFIG: lab.kubeconfig, HOME: lab.dir },
      limitMs: (minutes + 2) * 60_000,
    },
  )
  const outcomes = outcomesOf(stdout)
  if (outcomes.length === 0) throw new LabFailure(`no test ended: ${(stdout + stderr).trim().slice(-800)}`)
  return writeSection(lab, {
    ...{ title: 'ClusterNetworkPolicy', outcomes },
    command: `--e2e cluster-policy --minutes ${minutes}`,
    what: 'the conformance tests of policy.networking.k8s.io/v1alpha2 with all features, built without their connections by SCTP',
  })
}

/** From what `go test -v` prints. A test that has others is told by these. */
function outcomesOf(output: string): Outcome[] {
  const ends = [...output.matchAll(/^ *--- (PASS|FAIL|SKIP): TestConformance\/(\S+) /gm)].map(
    ([, end, path]) => ({ end, path }) as { end: string; path: string },
  )
  return ends
    .filter(({ path }) => !ends.some(other => other.path.startsWith(`${path}/`)))
    .map(({ end, path }): Outcome => {
      const name = path.replaceAll('_', ' ')
      if (path.includes('SCTP')) return { name, state: 'left out', why: 'needs SCTP' }
      if (end === 'PASS') return { name, state: 'passed' }
      if (end === 'SKIP') return { name, state: 'left out', why: 'left out by the tests themselves' }
      return { name, state: 'failed', why: saidBy(output, path) }
    })
}

/** What a test printed while it ran. */
function saidBy(output: string, path: string): string {
  const parts = output.split(/^=== (?:RUN|CONT|NAME) +(\S+)$/m)
  return parts
    .filter((_, i) => parts[i - 1] === `TestConformance/${path}`)
    .join('')
    .trim()
}
