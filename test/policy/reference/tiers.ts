// The tiers of a cluster, and what the policies in them say of a flow at one endpoint.
import { calicoFinds, calicoHas, calicoSelects, calicoStage, type Stage } from './calico.ts'
import { clusterFinds, clusterSelects, clusterTier } from './cluster.ts'
import type { Endpoint } from './endpoints.ts'
import type { Direction, Flow, Found } from './flow.ts'
import { kubernetesFinds, kubernetesHas, kubernetesSelects } from './kubernetes.ts'
import { type CalicoPolicy, ofKind, type World } from './objects.ts'

export type Reason =
  | { by: 'rule'; kind: string; namespace?: string; name: string; tier: string; rule: number }
  | { by: 'tier'; tier: string }
  | { by: 'profile'; profile: string }
  | { by: 'not judged'; why: string }

export type Decision = { verdict: 'allow' | 'deny'; reason: Reason }

export type Question = { endpoint: Endpoint; flow: Flow; direction: Direction; stages: readonly Stage[] }

/** Policies of these stages are followed by others: their tiers have no end of their own. */
const EARLY: readonly Stage[] = ['untracked', 'preDNAT']

/** What the first policy decides that is about the flow, or the end of its tier; undefined: no tier does. */
export function throughTiers(world: World, question: Question): Decision | undefined {
  const { flow, direction, stages } = question
  for (const tier of tiersOf(world)) {
    const asked = policiesAsked(world, tier.name, question)
    if (asked.length === 0) continue
    let passes = tier.action === 'pass' || stages.every(stage => EARLY.includes(stage))
    for (const policy of asked) {
      const found = policy.finds(flow, direction)
      if (found === undefined) continue
      const { kind, name, namespace } = policy
      const reason: Reason = { by: 'rule', kind, name, namespace, tier: tier.name, rule: found.rule }
      if (found.verdict !== 'pass') return { verdict: found.verdict, reason }
      passes = true
      break
    }
    if (!passes) return { verdict: 'deny', reason: { by: 'tier', tier: tier.name } }
  }
  return undefined
}

/** Whether any policy of these stages is asked about the endpoint in this direction. */
export function isAsked(world: World, question: Question): boolean {
  return tiersOf(world).some(({ name }) => policiesAsked(world, name, question).length > 0)
}

/** What is left to the profiles of an endpoint. The profile of a namespace is made of it: none without the other. */
export function byProfiles(world: World, profiles: readonly string[]): Decision {
  const allows = (profile: string) =>
    profile === 'projectcalico-default-allow' ||
    ofKind(world, 'Namespace').some(({ metadata: { name } }) => profile === `kns.${name}`)
  const profile = profiles.find(allows)
  const reason: Reason = { by: 'profile', profile: profile ?? profiles[0] ?? 'none' }
  return { verdict: profile === undefined ? 'deny' : 'allow', reason }
}

function policiesAsked(world: World, tier: string, { endpoint, direction, stages }: Question): Asked[] {
  return policiesOf(world, tier).filter(
    policy => stages.includes(policy.stage) && policy.has(direction) && policy.selects(endpoint),
  )
}

type TierPlace = { name: string; order: number; action: 'deny' | 'pass'; isObject: boolean }

/** What every cluster has, whatever objects of these names say. */
const BUILT_IN: readonly TierPlace[] = [
  { name: 'kube-admin', order: 1000, action: 'pass', isObject: true },
  { name: 'default', order: 1_000_000, action: 'deny', isObject: true },
  { name: 'kube-baseline', order: 10_000_000, action: 'pass', isObject: true },
]

/** All tiers, in the order in which they are asked. */
export function tiersOf(world: World): TierPlace[] {
  const tiers = [...BUILT_IN]
  const add = (tier: TierPlace) => {
    if (!tiers.some(({ name }) => name === tier.name)) tiers.push(tier)
  }
  for (const { metadata, spec } of ofKind(world, 'Tier'))
    add({
      name: metadata.name,
      order: spec.order ?? Number.POSITIVE_INFINITY,
      action: spec.defaultAction === 'Pass' ? 'pass' : 'deny',
      isObject: true,
    })
  for (const { spec } of calicoPolicies(world))
    add({ name: tierOf(spec.tier), order: Number.POSITIVE_INFINITY, action: 'deny', isObject: false })
  return tiers.sort(
    (a, b) => Number(b.isObject) - Number(a.isObject) || compare(a.order, b.order) || compare(a.name, b.name),
  )
}

type Asked = {
  stage: Stage
  kind: string
  name: string
  namespace?: string
  order: number
  has(direction: Direction): boolean
  selects(endpoint: Endpoint): boolean
  finds(flow: Flow, direction: Direction): Found
}

/** The policies of a tier that are enforced, in the order in which they are asked. */
function policiesOf(world: World, tier: string): Asked[] {
  const asked: Asked[] = []
  for (const policy of calicoPolicies(world))
    if (tierOf(policy.spec.tier) === tier)
      asked.push({
        stage: calicoStage(policy.spec),
        kind: policy.kind,
        name: policy.metadata.name,
        namespace: policy.kind === 'NetworkPolicy' ? policy.metadata.namespace : undefined,
        order: policy.spec.order ?? Number.POSITIVE_INFINITY,
        has: direction => calicoHas(policy.spec, direction),
        selects: of => calicoSelects(policy, of),
        finds: (flow, direction) => calicoFinds(world, policy, flow, direction),
      })
  for (const policy of ofKind(world, 'NetworkPolicy', 'networking.k8s.io/v1'))
    if (tier === 'default')
      asked.push({
        stage: 'normal',
        kind: 'KubernetesNetworkPolicy',
        name: policy.metadata.name,
        namespace: policy.metadata.namespace,
        order: 1000,
        has: direction => kubernetesHas(policy, direction),
        selects: of => of.kind === 'Pod' && kubernetesSelects(policy, of),
        finds: (flow, direction) => kubernetesFinds(world, policy, flow, direction),
      })
  for (const policy of ofKind(world, 'ClusterNetworkPolicy'))
    if (clusterTier(policy) === tier)
      asked.push({
        stage: 'normal',
        kind: 'KubernetesClusterNetworkPolicy',
        name: policy.metadata.name,
        order: policy.spec.priority,
        has: direction => (policy.spec[direction] ?? []).length > 0,
        selects: of => of.kind === 'Pod' && clusterSelects(world, policy, of),
        finds: (flow, direction) => clusterFinds(world, policy, flow, direction),
      })
  const place = ({ name, namespace = '', kind }: Asked) => `${name}/${namespace}/${kind}`
  return asked.sort((a, b) => compare(a.order, b.order) || compare(place(a), place(b)))
}

function calicoPolicies(world: World): CalicoPolicy[] {
  const versions = ['projectcalico.org/v3', 'crd.projectcalico.org/v1'] as const
  return [...ofKind(world, 'NetworkPolicy', ...versions), ...ofKind(world, 'GlobalNetworkPolicy', ...versions)]
}

const tierOf = (tier: string | undefined) => (tier === undefined || tier === '' ? 'default' : tier)

function compare<T>(a: T, b: T): number {
  return a < b ? -1 : a > b ? 1 : 0
}
