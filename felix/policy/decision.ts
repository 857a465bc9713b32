// Which rule, end of a tier or profile decides about a packet, and what was asked before: the loop of verdict.ts with somebody who
// writes down what it meets, so that what a person is told is what holds. Pure.
import type { PolicyDecision } from '../../api/explain.ts'
import { formatRef } from '../../api/status.ts'
import type { Direction, PolicyList } from './active.ts'
import type { Policy, PolicyRule, RuleAction } from './model.ts'
import { ruleText } from './rule-text.ts'
import { type HasMember, type JudgedPacket, judge, type RuleOwner, type Witness } from './verdict.ts'

/** Of what was asked before, so much is told: a list may have ten thousand policies. */
const MOST_PASSED = 50

/** In a stage of host endpoints where nothing decides the packet goes on: it is allowed there, by no policy. */
export function decisionOf(list: PolicyList, packet: JudgedPacket, has: HasMember): PolicyDecision {
  const asked = new Asked(list.direction)
  const action = judge(list, packet, has, asked)
  return { action: action ?? 'allow', by: asked.by, passed: asked.passed }
}

/** Of a pod whose interface leads to no list: until its labels are known all is dropped. */
export function closedDecision(direction: Direction): PolicyDecision {
  const text = ruleText({ of: 'pod without policies yet', direction, outcome: 'deny' })
  return { action: 'deny', by: { of: 'no policy', text }, passed: [] }
}

class Asked implements Witness {
  readonly #direction: Direction
  readonly passed: PolicyDecision['passed'] = []
  by: PolicyDecision['by'] = { of: 'no policy', text: 'no policy decides' }

  constructor(direction: Direction) {
    this.#direction = direction
  }

  matched(of: RuleOwner, index: number, { of: place = index }: PolicyRule, action: RuleAction): void {
    const rule = place + 1
    if ('profile' in of) {
      // as its rule in the kernel, which drops what a rule of a profile passes on
      const text = ruleText({ of: 'profile', profile: of.profile, index, ...this.#outcome(action) })
      if (action !== 'log') this.by = { of: 'profile rule', policy: `Profile ${of.profile}`, rule, text }
      return
    }
    const policy = formatRef(of.policy.ref)
    if (action === 'log' || action === 'pass') this.#pass({ tier: of.tier, policy, rule, why: action })
    else {
      const text = ruleText({ of: 'policy', policy, index, ...this.#outcome(action) })
      this.by = { of: 'rule', tier: of.tier, policy, rule, text }
    }
  }

  unmatched(tier: string, { ref }: Policy): void {
    this.#pass({ tier, policy: formatRef(ref), why: 'no match' })
  }

  staged(tier: string, { ref }: Policy): void {
    this.#pass({ tier, policy: formatRef(ref), why: 'staged' })
  }

  tierEnded(tier: string): void {
    this.by = { of: 'tier end', tier, text: ruleText({ of: 'tier', tier, ...this.#outcome('deny') }) }
  }

  unallowed(): void {
    this.by = { of: 'no profile allows', text: ruleText({ of: 'no profile', ...this.#outcome('deny') }) }
  }

  #outcome(outcome: RuleAction): { direction: Direction; outcome: RuleAction } {
    return { direction: this.#direction, outcome }
  }

  #pass(of: PolicyDecision['passed'][number]): void {
    if (this.passed.length < MOST_PASSED) this.passed.push(of)
  }
}
