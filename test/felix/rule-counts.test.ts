import test from 'ava'
import { RuleCounts } from '../../felix/rule-counts.ts'

const ALLOW = 'NetworkPolicy shop/web ingress 0 allow'
const DENY = 'tier default ingress deny'
const counter = (chain: string, handle: number, comment: string, packets: number) => ({
  ...{ chain, handle, comment, packets: BigInt(packets), bytes: BigInt(100 * packets) },
})

test('a rule keeps its count when its chain is rewritten, and the same rule of two chains is one', t => {
  const counts = new RuleCounts()
  counts.takeAll([counter('to-a', 1, ALLOW, 5), counter('to-a', 2, DENY, 1), counter('to-b', 3, ALLOW, 2)])
  counts.take([counter('to-a', 1, ALLOW, 6), counter('to-a', 2, DENY, 1)], 'to-a')
  counts.takeAll([counter('to-a', 4, ALLOW, 1), counter('to-a', 5, DENY, 0), counter('to-b', 3, ALLOW, 2)])
  t.deepEqual(
    counts.byText(),
    new Map([
      [ALLOW, { packets: 9, octets: 900 }],
      [DENY, { packets: 1, octets: 100 }],
    ]),
  )
  t.deepEqual(
    counts.byOutcome(),
    new Map([
      ['allow ingress', 9],
      ['deny ingress', 1],
    ]),
  )
})

test('a chain that was read and rewritten while all were read is not taken back to what it had before', t => {
  const counts = new RuleCounts()
  counts.take([counter('to-a', 1, ALLOW, 9)], 'to-a')
  counts.takeAll([counter('to-a', 1, ALLOW, 7), counter('to-b', 2, DENY, 1)], new Set(['to-a']))
  counts.takeAll([counter('to-a', 3, ALLOW, 1), counter('to-b', 2, DENY, 1)])
  t.is(counts.byText().get(ALLOW)?.packets, 10)
  t.deepEqual(
    counts.byOutcome(),
    new Map([
      ['allow ingress', 10],
      ['deny ingress', 1],
    ]),
  )
})

test('counts of chains that go are kept, bounded, and what is forgotten of a text still counts by its outcome', t => {
  const counts = new RuleCounts(2)
  const texts = ['a', 'b', 'c'].map(name => `NetworkPolicy shop/${name} egress 0 deny`)
  counts.takeAll(texts.map((text, i) => counter('from-a', i, text, 10)))
  counts.takeAll([counter('from-z', 9, 'staged StagedNetworkPolicy shop/n egress 1 deny', 3)])
  t.deepEqual([...counts.byText().keys()], [texts[1], texts[2], 'staged StagedNetworkPolicy shop/n egress 1 deny'])
  t.deepEqual(
    counts.byOutcome(),
    new Map([
      ['deny egress', 30],
      ['staged-deny egress', 3],
    ]),
  )
})

test('a table that others flushed numbers its rules from 1 again: what was counted before is kept', t => {
  const counts = new RuleCounts()
  counts.takeAll([counter('to-a', 1, ALLOW, 5), counter('to-a', 2, DENY, 4)])
  counts.takeAll([counter('to-a', 1, DENY, 7), counter('to-a', 2, DENY, 1)])
  t.deepEqual([...counts.byText()].sort(), [
    [ALLOW, { packets: 5, octets: 500 }],
    [DENY, { packets: 12, octets: 1200 }],
  ])
})
