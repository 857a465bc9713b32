// Tiers: those that every cluster has, whatever objects of these names say, and those of objects. Pure.
import { calicoTier, readPart } from '../../../api/policy-parts.ts'
import type { Tier } from '../../../felix/policy/model.ts'
import { type Converted, conditionsOf, Faults, type Named, refOf } from './faults.ts'

/** The names of the tiers that policies of Kubernetes are in. */
export const TIER = { admin: 'kube-admin', policies: 'default', baseline: 'kube-baseline' } as const

/** The tiers that every cluster has. */
export const BUILT_IN_TIERS: readonly Tier[] = [
  { name: TIER.admin, order: 1000, defaultAction: 'pass' },
  { name: TIER.policies, order: 1_000_000, defaultAction: 'deny' },
  { name: TIER.baseline, order: 10_000_000, defaultAction: 'pass' },
]

/** What a Tier says: one that cannot be read denies what its policies leave, and comes last. */
export function tierOf(object: Named & { spec: Readonly<Record<string, unknown>> }): Converted<Tier> {
  const { name } = object.metadata
  const builtIn = BUILT_IN_TIERS.find(tier => tier.name === name)
  if (builtIn !== undefined) return { value: builtIn, refused: [] }
  const faults = new Faults()
  const { part, problems = [] } = readPart(calicoTier, object.spec, 'spec')
  faults.addAll(problems)
  const { order = Number.POSITIVE_INFINITY, defaultAction } = part ?? {}
  return {
    value: { name, order, defaultAction: defaultAction === 'Pass' ? 'pass' : 'deny' },
    refused: conditionsOf(refOf('Tier', object), faults, 'left out'),
  }
}
