// The cluster of these measures: 100,000 pods, of which a node has 250, and policies for those that each let the ten pods of one
// program in. No two policies name the same program, which is the worst there is: a selector, and ten addresses, for each.
import type { PolicyEnforcer } from '../../felix/enforcer.ts'
import type { Policy, PolicyEndpoint, PolicyRule } from '../../felix/policy/model.ts'

const CLUSTER = 100_000
export const LOCAL = 250
/** Pods that send to each other; no policy but their own is about them. */
export const CLIENT = 0
export const SERVER = 1
const PROGRAMS = 10_000
const NAMESPACES = 1_000
const PROFILE = 'kns.all'

export const podName = (i: number) => `namespace-${i % NAMESPACES}/pod-${i}`

/** 10.0.1.1 is the first. */
export function podAddress(i: number): string {
  const n = i + 257
  return `10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`
}

export function pod(i: number, more = ''): PolicyEndpoint {
  const program = i % PROGRAMS
  return {
    kind: 'pod',
    labels: {
      app: `app-${Math.floor(program / NAMESPACES)}${more}`,
      'pod-template-hash': `hash-${program}`,
      'projectcalico.org/namespace': `namespace-${program % NAMESPACES}`,
      'projectcalico.org/orchestrator': 'k8s',
      'pcns.kubernetes.io/metadata.name': `namespace-${program % NAMESPACES}`,
    },
    addresses: [podAddress(i)],
    ports: [],
  }
}

/** What chooses the pods of a program. */
function programOf(i: number): string {
  const program = i % PROGRAMS
  return `app == "app-${Math.floor(program / NAMESPACES)}" && projectcalico.org/namespace == "namespace-${program % NAMESPACES}" && projectcalico.org/orchestrator == "k8s"`
}

/** The pod of this node that the policy of a number is about: never one of the pair. */
export const subjectOf = (i: number) => 2 + (i % (LOCAL - 2))

/** The pods that the policy lets in. */
export function peersOf(i: number): number[] {
  return Array.from({ length: CLUSTER / PROGRAMS }, (_, n) => (i % PROGRAMS) + n * PROGRAMS)
}

export function policy(i: number): Policy {
  return policyOf(`p${i}`, subjectOf(i), i, [80, 80])
}

/** The same for nine ports, which no other policy names together. */
export function policyOfPorts(i: number): Policy {
  const of = policy(i)
  const ranges = Array.from({ length: 9 }, (_, n) => 1_000 + 3 * i + 2 * n).map(port => ({ first: port, last: port }))
  const ingress = of.ingress!.map(rule => ({ ...rule, destination: { ports: { ranges, names: [] } } }))
  return { ...of, ingress }
}

/** The same for nine CIDRs, which no other policy names. */
export function policyOfCidrs(i: number): Policy {
  const nets = Array.from({ length: 9 }, (_, n) => {
    const at = 2 * (9 * i + n)
    return `${20 + (at >> 16)}.${(at >> 8) & 255}.${at & 255}.0/24`
  })
  const of = policy(i)
  return { ...of, ingress: of.ingress!.map(rule => ({ ...rule, source: { nets } })) }
}

/** The pair's own: one port, or a range of them. */
export function pairPolicy(name: string, ports: readonly [number, number]): Policy {
  return policyOf(name, SERVER, CLIENT, ports)
}

function policyOf(name: string, subject: number, peer: number, [first, last]: readonly [number, number]): Policy {
  const ref = { kind: 'KubernetesNetworkPolicy', namespace: `namespace-${subject % NAMESPACES}`, name } as const
  const rule: PolicyRule = {
    action: 'allow',
    protocol: 17,
    source: { selector: programOf(peer) },
    destination: { ports: { ranges: [{ first, last }], names: [] } },
  }
  return {
    ...{ ref, tier: 'default', order: 1000, sortName: `${name}/${ref.namespace}/KubernetesNetworkPolicy` },
    ...{ selector: programOf(subject), ingress: [rule], hostStage: 'normal' },
  }
}

/** Tells the pods, those of this node as such, and so many policies. */
export function tellCluster(enforcer: PolicyEnforcer, policies: number, policyAt = policy): void {
  for (let i = 0; i < CLUSTER; i++) enforcer.set('endpoint', podName(i), pod(i))
  enforcer.set('profile', PROFILE, { ingress: [], egress: [{ action: 'allow', source: {}, destination: {} }] })
  for (let i = 0; i < LOCAL; i++) enforcer.setLocal(podName(i), { interfaceName: `cali${i}`, profiles: [PROFILE] })
  enforcer.set('tier', 'default', { name: 'default', order: 1_000_000, defaultAction: 'deny' })
  for (let i = 0; i < policies; i++) enforcer.set('policy', `p${i}`, policyAt(i))
}
