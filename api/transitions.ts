// What an object may not become: fields that never change once they are written, because nodes rely on them. The CRDs say
// the same in CEL, so that a Kubernetes API server refuses it too.
import { sameJson } from './json.ts'
import type { Kind } from './kinds.ts'
import type { AnyObject } from './lifecycle.ts'
import type { Problem } from './validate.ts'

/** Fields of the spec, and why they stay. */
export const IMMUTABLE: Partial<Record<Kind, { fields: readonly string[]; remedy: string }>> = {
  IPPool: {
    fields: ['cidr', 'blockSize'],
    remedy: 'pods and blocks lie in the pool as it is: make another pool, move what lives in this one, then delete it',
  },
  IPAMBlock: { fields: ['cidr'], remedy: 'the name of a block is its CIDR: make another block' },
  BlockAffinity: { fields: ['cidr'], remedy: 'make another object' },
}

/** The problems of a change of a validated object to another; none when it may be made. */
export function transitionProblems(kind: Kind, before: AnyObject, after: AnyObject): Problem[] {
  const { fields, remedy } = IMMUTABLE[kind] ?? { fields: [], remedy: '' }
  const old = (before.spec ?? {}) as Record<string, unknown>
  const next = (after.spec ?? {}) as Record<string, unknown>
  return [
    ...fields
      .filter(field => !sameJson(old[field], next[field]))
      .map(field => ({
        path: `spec.${field}`,
        message: `cannot change from ${String(old[field])} to ${String(next[field])}: ${remedy}`,
      })),
    ...finalizerProblems(before, after),
  ]
}

/** As Kubernetes has it: what is being deleted gets no new reason to stay. */
function finalizerProblems(before: AnyObject, after: AnyObject): Problem[] {
  if (before.metadata.deletionTimestamp === undefined) return []
  const known = new Set(before.metadata.finalizers)
  const fresh = (after.metadata.finalizers ?? []).filter(each => !known.has(each))
  if (fresh.length === 0) return []
  return [
    { path: 'metadata.finalizers', message: `no new ones while the object is being deleted: ${fresh.join(', ')}` },
  ]
}
