// What is not as policies have it, as one condition. Pure.
import type { Condition } from '../../../api/status.ts'
import { broken } from '../../../api/status.ts'

/** What is not as policies have it. */
export type Gap = { message: string; remedy: string }

/** One condition for all of them; none when there is nothing to tell. */
export function notEnforced(gaps: readonly Gap[]): Condition[] {
  if (gaps.length === 0) return []
  const both = (field: keyof Gap) => gaps.map(gap => gap[field]).join('; ')
  return [broken('PoliciesEnforced', { reason: 'NotEnforced', message: both('message'), remedy: both('remedy') })]
}
