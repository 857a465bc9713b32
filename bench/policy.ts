// What policy costs felix in a large cluster: 100,000 pods in 1,000 namespaces, 250 of them on this node, and 10,000 policies,
// each of which lets some pods of its namespace in. From what is told to the differences for the kernel.
import { PolicyCalculator } from '../felix/policy/calculator.ts'
import type { Policy, PolicyEndpoint } from '../felix/policy/model.ts'
import type { Row } from './row.ts'

const PODS = 100_000
const LOCAL = 250
const POLICIES = 10_000
const NAMESPACES = 1_000
const ROUNDS = 500
const TABLE = { family: 'inet', table: 'margay' } as const

export async function benchPolicy(): Promise<Row[]> {
  const rows: Row[] = []
  const row = (name: string, value: number, unit: string) => rows.push({ name: `policy: ${name}`, value, unit })
  const heapMib = () => {
    globalThis.gc?.()
    return process.memoryUsage().heapUsed / 2 ** 20
  }
  const before = heapMib()
  const calculator = new PolicyCalculator(TABLE)
  const startMs = performance.now()
  for (let i = 0; i < PODS; i++) calculator.set('endpoint', podName(i), pod(i))
  for (let i = 0; i < LOCAL; i++) calculator.setLocal(podName(i), { interfaceName: `cali${i}`, profiles: ['kns.n'] })
  calculator.set('tier', 'default', { name: 'default', order: 1_000_000, defaultAction: 'deny' })
  for (let i = 0; i < POLICIES; i++) calculator.set('policy', `p${i}`, policy(i))
  const { sets, elements, chains } = calculator.step()
  row('100,000 pods and 10,000 policies, from nothing', performance.now() - startMs, 'ms')
  row('sets of this node', sets.size, 'sets')
  row(
    'elements of this node',
    [...elements.values()].reduce((sum, { added }) => sum + added.length, 0),
    'elements',
  )
  row('chains of this node', chains.size, 'chains')
  if (globalThis.gc !== undefined) row('memory with all of it', heapMib() - before, 'MiB')
  const event = (name: string, run: (n: number) => void) => {
    const times = Array.from({ length: ROUNDS }, (_, n) => {
      const fromMs = performance.now()
      run(n)
      calculator.step()
      return performance.now() - fromMs
    }).sort((a, b) => a - b)
    row(`${name}, median`, times[ROUNDS / 2]!, 'ms')
    row(`${name}, 99 of 100`, times[Math.floor(ROUNDS * 0.99)]!, 'ms')
  }
  event('labels of a pod change', n => calculator.set('endpoint', podName(n * 7), pod(n * 7, `x${n % 3}`)))
  event('a pod of this node is added', n => {
    calculator.set('endpoint', `new-${n}`, { ...pod(n), addresses: [address(PODS + n)] })
    calculator.setLocal(`new-${n}`, { interfaceName: `calin${n}`, profiles: ['kns.n'] })
  })
  event('a policy of a pod of this node is added', n => calculator.set('policy', `new${n}`, policy(n % LOCAL, 8080)))
  event('a policy of other nodes is added', n => calculator.set('policy', `far${n}`, policy(LOCAL + n)))
  return rows
}

/** The pods of a namespace are of ten programs. */
function pod(i: number, more = ''): PolicyEndpoint {
  const [namespace, program] = [i % NAMESPACES, Math.floor(i / NAMESPACES) % 10]
  return {
    kind: 'pod',
    labels: {
      app: `app-${program}${more}`,
      tier: `tier-${program % 3}`,
      'pod-template-hash': `${namespace}-${program}`,
      'app.kubernetes.io/part-of': `part-${namespace % 100}`,
      'projectcalico.org/namespace': `namespace-${namespace}`,
      'projectcalico.org/orchestrator': 'k8s',
      'projectcalico.org/serviceaccount': 'default',
      'pcns.kubernetes.io/metadata.name': `namespace-${namespace}`,
      'pcns.team': `team-${namespace % 50}`,
    },
    addresses: [address(i)],
    ports: [],
  }
}

function podName(i: number): string {
  return `namespace-${i % NAMESPACES}/pod-${i}`
}

function address(i: number): string {
  return `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`
}

function policy(i: number, port = 80): Policy {
  const [namespace, program] = [i % NAMESPACES, Math.floor(i / NAMESPACES)]
  const ofNamespace = `projectcalico.org/namespace == "namespace-${namespace}" && projectcalico.org/orchestrator == "k8s"`
  const ref = { kind: 'KubernetesNetworkPolicy', namespace: `namespace-${namespace}`, name: `p${i}` } as const
  return {
    ref,
    tier: 'default',
    order: 1000,
    sortName: `p${i}/${ref.namespace}/KubernetesNetworkPolicy`,
    selector: `app == "app-${program}" && ${ofNamespace}`,
    ingress: [
      {
        action: 'allow',
        protocol: 6,
        source: { selector: `app == "app-${(program + 1) % 10}" && ${ofNamespace}` },
        destination: { ports: { ranges: [{ first: port, last: port }], names: [] } },
      },
    ],
    hostStage: 'normal',
  }
}
