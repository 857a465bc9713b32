// Fields that an object keeps for its life. What lives in a pool is found by its CIDR and block size, so a change of them
// is refused at the API server; where it got through all the same, readers go on with the old values.
import type { Kind, Resource } from './kinds.ts'
import type { Problem } from './validate.ts'

const FIXED: Partial<Record<Kind, readonly string[]>> = { IPPool: ['cidr', 'blockSize'] }

/** `after` with the fixed fields of `before`, where both are the same object (by uid), and what somebody changed of them. */
export function keepFixedFields<K extends Kind>(
  kind: K,
  before: Resource<K> | undefined,
  after: Resource<K>,
): { item: Resource<K>; problems: readonly Problem[] } {
  const fields = FIXED[kind]
  const uid = before?.metadata.uid
  if (fields === undefined || uid === undefined || uid !== after.metadata.uid) return { item: after, problems: [] }
  const [was, is] = [before, after].map(
    object => ({ ...(object?.spec as object | undefined) }) as Record<string, unknown>,
  )
  const changed = fields.filter(field => was?.[field] !== is?.[field])
  if (changed.length === 0) return { item: after, problems: [] }
  const kept = Object.fromEntries(changed.map(field => [field, was?.[field]]))
  return {
    item: { ...after, spec: { ...is, ...kept } } as unknown as Resource<K>,
    problems: changed.map(field => ({
      path: `spec.${field}`,
      message: `cannot change from ${was?.[field]} to ${is?.[field]} while the object lives: the old value counts; put it back, or make another ${kind}`,
    })),
  }
}
