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
  const [word, name] = subjectOf(rule)
  return `${word}${cut(name, COMMENT_OCTETS - word.length - rest.length)}${rest}`
}

function subjectOf(rule: NamedRule): readonly [word: string, name: string] {
  switch (rule.of) {
    case 'policy':
      return [rule.staged === true ? STAGED : '', rule.policy]
    case 'tier':
      return ['tier ', rule.tier]
    case 'profile':
      return ['Profile ', rule.profile]
    default:
      return [rule.of, '']
  }
}

const STAGED = 'staged '
const TEXT = /^(.+) (ingress|egress)(?: (\d{1,4}))? (allow|deny|pass|log|unmatched)$/

/** The rule that a text names; undefined where it is none of `ruleText`. */
export function parseRuleText(text: string): NamedRule | undefined {
  const [, subject, direction, digits, outcome] = TEXT.exec(text) ?? []
  if (subject === undefined) return undefined
  const common = { direction: direction as Direction, outcome: outcome as RuleOutcome }
  const index = digits === undefined ? undefined : Number(digits)
  if (subject === 'no profile' || subject === 'pod without policies yet') return { of: subject, ...common }
  const [word = '', name] = subject.split(' ', 2)
  if (name === undefined) return undefined
  if (word === 'tier') return { of: 'tier', tier: name, ...common }
  if (word === 'Profile') return index === undefined ? undefined : { of: 'profile', profile: name, index, ...common }
  const staged = subject.startsWith(STAGED)
  const policy = staged ? subject.slice(STAGED.length) : subject
  return { of: 'policy', policy, ...(index !== undefined && { index }), ...(staged && { staged }), ...common }
}
