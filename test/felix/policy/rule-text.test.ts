import test from 'ava'
import { type NamedRule, parseRuleText, ruleText } from '../../../felix/policy/rule-text.ts'

const RULES: readonly [string, NamedRule][] = [
  [
    'NetworkPolicy shop/web ingress 2 deny',
    { of: 'policy', policy: 'NetworkPolicy shop/web', direction: 'ingress', index: 2, outcome: 'deny' },
  ],
  [
    'GlobalNetworkPolicy ingress egress 0 log',
    { of: 'policy', policy: 'GlobalNetworkPolicy ingress', direction: 'egress', index: 0, outcome: 'log' },
  ],
  [
    'staged StagedNetworkPolicy shop/new egress unmatched',
    { of: 'policy', policy: 'StagedNetworkPolicy shop/new', staged: true, direction: 'egress', outcome: 'unmatched' },
  ],
  ['tier default ingress deny', { of: 'tier', tier: 'default', direction: 'ingress', outcome: 'deny' }],
  [
    'Profile kns.shop ingress 0 allow',
    { of: 'profile', profile: 'kns.shop', index: 0, direction: 'ingress', outcome: 'allow' },
  ],
  ['no profile egress deny', { of: 'no profile', direction: 'egress', outcome: 'deny' }],
  ['pod without policies yet ingress deny', { of: 'pod without policies yet', direction: 'ingress', outcome: 'deny' }],
]

for (const [text, rule] of RULES)
  test(`"${text}" names its rule, both ways`, t => {
    t.is(ruleText(rule), text)
    t.deepEqual(parseRuleText(text), rule)
  })

test('a text that is too long is cut in its name alone, and other texts name no rule', t => {
  const rule: NamedRule = {
    ...{ of: 'policy', policy: `NetworkPolicy shop/${'x'.repeat(250)}`, staged: true, direction: 'ingress' },
    ...{ index: 8191, outcome: 'deny' },
  }
  const text = ruleText(rule)
  t.is(text.length, 127)
  t.like(parseRuleText(text), { of: 'policy', index: 8191, staged: true, direction: 'ingress', outcome: 'deny' })
  for (const other of ['', 'tier', 'ingress 0 deny', 'x ingress deny', 'a b ingress 12345 deny', 'a b sideways 1 deny'])
    t.is(parseRuleText(other), undefined, other)
})
