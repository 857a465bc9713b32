// What names a rule in the kernel: the comment that its counter is known by, and the prefix of the copies of packets that it
// hands out. One text for both, which says all by itself: whatever an agent that started a moment ago reads, it can name.
// Hazard: a name that is too long for it is cut, and told by the digits at its end (`cut`).
import type { Direction } from './active.ts'
import type { RuleAction } from './model.ts'
import { COMMENT_OCTETS, cut } from './sources.ts'

/** What a rule did to a packet. `unmatched`: no rule of a staged policy matched. */
export type RuleOutcome = RuleAction | 'unmatched'

/**
 * A rule by its names, which may be cut. `policy` is `KIND NAME` or `KIND NAMESPACE/NAME`. Of what is no rule of an object: the
 * end of a tier that denies, `no profile` that allowed, and a pod whose policies are not there yet.
 */
export type NamedRule = {
  direction: Direction
  outcome: RuleOutcome
} & (
  | { of: 'policy'; policy: string; index?: number; staged?: true }
  | { of: 'tier'; tier: string }
  | { of: 'profile'; profile: string; index: number }
  | { of: 'no profile' | 'pod without policies yet' }
)

/** The text of 127 octets at most; names are cut, never the rest. */
export function ruleText(rule: NamedRule): string {
  const { direction, outcome } = rule
  const index = 'index' in rule && rule.index !== undefined ? ` ${rule.index}` : ''
  const rest = ` ${direction}${index} ${outcome}`
  return `${cut(subjectOf(rule), COMMENT_OCTETS - rest.length)}${rest}`
}

function subjectOf(rule: NamedRule): string {
  switch (rule.of) {
    case 'policy':
      return `${rule.staged === true ? STAGED : ''}${rule.policy}`
    case 'tier':
      return `tier ${rule.tier}`
    case 'profile':
      return `Profile ${rule.profile}`
    default:
      return rule.of
  }
}

const STAGED = 'staged '
