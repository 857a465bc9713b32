import test from 'ava'
import { Policy, type PolicyRule, type PolicySubject, PRIORITY_BASE } from '../../bgp/policy.ts'
import type { Attributes } from '../../bgp/wire/attribute-values.ts'
import { addressBytes, cidr } from '../../lib/ip.ts'

function route(prefix: string, more: Partial<PolicySubject> = {}, attributes: Attributes = {}): PolicySubject {
  const { address, length } = cidr(prefix)
  return { octets: addressBytes(address), length, attributes, learned: true, peerType: 'ebgp', ...more }
}

/** Whether a single rule matches: it accepts, and what no rule matches is rejected. */
function matches(rule: Omit<PolicyRule, 'action'>, subject: PolicySubject): boolean {
  const policy = new Policy([{ action: 'accept', ...rule }], { external: true })
  return policy.evaluate(subject).action === 'accept'
}

type Match = NonNullable<PolicyRule['match']>
const prefixCases: readonly [Match, prefix: string, holds: boolean][] = [
  [{ operator: 'Equal', cidr: '10.1.0.0/16' }, '10.1.0.0/16', true],
  [{ operator: 'Equal', cidr: '10.1.0.0/16' }, '10.1.0.0/17', false],
  [{ operator: 'NotEqual', cidr: '10.1.0.0/16' }, '10.1.0.0/17', true],
  [{ operator: 'NotEqual', cidr: '10.1.0.0/16' }, '10.1.0.0/16', false],
  [{ operator: 'In', cidr: '10.0.0.0/9' }, '10.127.1.0/24', true],
  [{ operator: 'In', cidr: '10.0.0.0/9' }, '10.128.0.0/24', false],
  [{ operator: 'In', cidr: '10.0.0.0/9' }, '10.0.0.0/8', false],
  [{ operator: 'In', cidr: '10.0.0.0/8', lengths: { min: 16, max: 24 } }, '10.1.0.0/15', false],
  [{ operator: 'In', cidr: '10.0.0.0/8', lengths: { min: 16, max: 24 } }, '10.1.0.0/16', true],
  [{ operator: 'In', cidr: '10.0.0.0/8', lengths: { min: 16, max: 24 } }, '10.1.1.0/25', false],
  [{ operator: 'NotIn', cidr: '10.0.0.0/8', lengths: { min: 16, max: 24 } }, '10.1.1.0/25', true],
  [{ operator: 'NotIn', cidr: '10.0.0.0/8' }, '11.0.0.0/8', true],
  [{ operator: 'In', cidr: '10.1.0.0/16', lengths: { min: 8, max: 24 } }, '10.0.0.0/8', true],
  [{ operator: 'In', cidr: '10.1.0.0/16', lengths: { min: 8, max: 24 } }, '10.0.0.0/12', true],
  [{ operator: 'In', cidr: '10.1.0.0/16', lengths: { min: 8, max: 24 } }, '11.0.0.0/8', false],
  [{ operator: 'In', cidr: '10.1.0.0/16', lengths: { min: 8 } }, '10.0.0.0/7', false],
  [{ operator: 'Equal', cidr: '10.1.0.0/16', lengths: { min: 8 } }, '10.0.0.0/8', false],
  [{ operator: 'In', cidr: '0.0.0.0/0' }, '0.0.0.0/0', true],
  [{ operator: 'In', cidr: '2001:db8::/33' }, '2001:db8:7fff::/48', true],
  [{ operator: 'In', cidr: '2001:db8::/33' }, '2001:db8:8000::/48', false],
  [{ operator: 'NotIn', cidr: '10.0.0.0/8' }, '2001:db8::/32', false],
]
for (const [match, prefix, holds] of prefixCases) {
  const { min = '', max = '' } = match.lengths ?? {}
  test(`${prefix} is ${holds ? '' : 'not '}${match.operator} ${match.cidr} ${min}-${max}`, t => {
    t.is(matches({ match }, route(prefix)), holds)
  })
}

test('a rule with no condition matches everything', t => {
  t.true(matches({}, route('10.0.0.0/8')))
})

test('source, peer type and interface are compared as they are', t => {
  t.false(matches({ source: 'RemotePeers' }, route('10.0.0.0/8', { learned: false })))
  t.true(matches({ peerType: 'iBGP' }, route('10.0.0.0/8', { peerType: 'confed' })))
  t.false(matches({ peerType: 'iBGP' }, route('10.0.0.0/8')))
  t.true(matches({ interface: 'eth0' }, route('10.0.0.0/8', { interface: 'eth0' })))
  t.false(matches({ interface: 'eth0' }, route('10.0.0.0/8')))
})

test('a rule of one family matches no route of the other, whatever else it says', t => {
  t.true(matches({ family: 'ipv4' }, route('10.0.0.0/8')))
  t.false(matches({ family: 'ipv4' }, route('2001:db8::/32')))
  t.true(matches({ family: 'ipv6' }, route('2001:db8::/32')))
  t.false(matches({ family: 'ipv6' }, route('10.0.0.0/8')))
  t.true(new Policy([{ action: 'accept', family: 'ipv4' }], { external: true }).dependsOnPrefix)
})

const PATTERNS: readonly [pattern: string, yes: readonly string[], no: readonly string[]][] = [
  ['eth*', ['eth', 'eth0', 'eth0.5'], ['et', 'xeth0']],
  ['*.calico', ['vxlan.calico', '.calico'], ['vxlanxcalico', 'vxlan.calico0', 'calico']],
  ['a*a', ['aa', 'aba'], ['a', 'ab']],
  ['e*h*0', ['eth0', 'eh0', 'e-h-h-00'], ['e0h', 'he0']],
  ['*', ['eth0'], []],
  ['eth.', ['eth.'], ['eth0']],
]

test('* in the name of an interface stands for any characters, and nothing else does', t => {
  for (const [pattern, yes, no] of PATTERNS) {
    for (const name of yes) t.true(matches({ interface: pattern }, route('10.0.0.0/8', { interface: name })), name)
    for (const name of no) t.false(matches({ interface: pattern }, route('10.0.0.0/8', { interface: name })), name)
    t.false(matches({ interface: pattern }, route('10.0.0.0/8')))
  }
})

test('a route must carry all communities of a rule: standard, well-known and large ones', t => {
  const large = [{ global: 4200000000, local1: 1, local2: 2 }]
  const subject = route('10.0.0.0/8', {}, { communities: [0xfde80064, 0xffffff01], largeCommunities: large })
  t.true(matches({ communities: ['65000:100', 'no-export', '4200000000:1:2'] }, subject))
  t.false(matches({ communities: ['65000:100', '65000:101'] }, subject))
  t.throws(() => new Policy([{ action: 'accept', communities: ['x:y'] }], { external: true }), { message: /x:y/ })
})

test('an AS path prefix is compared across segments and stops at a set', t => {
  const asPath = [
    { type: 2, asns: [1, 2] },
    { type: 2, asns: [3] },
    { type: 1, asns: [4] },
  ]
  const subject = route('10.0.0.0/8', {}, { asPath })
  t.true(matches({ asPathPrefix: [1] }, subject))
  t.true(matches({ asPathPrefix: [1, 2, 3] }, subject))
  t.false(matches({ asPathPrefix: [1, 2, 3, 4] }, subject))
  t.false(matches({ asPathPrefix: [2] }, subject))
})

test('the priority of a route is 2147483647 minus its LOCAL_PREF, and one without LOCAL_PREF has none', t => {
  t.true(matches({ priority: 512 }, route('10.0.0.0/8', {}, { localPref: PRIORITY_BASE - 512 })))
  t.false(matches({ priority: 513 }, route('10.0.0.0/8', {}, { localPref: PRIORITY_BASE - 512 })))
  t.false(matches({ priority: PRIORITY_BASE - 100 }, route('10.0.0.0/8')))
})

test('the first rule that matches decides, and says which it was', t => {
  const rules: PolicyRule[] = [
    { action: 'reject', match: { operator: 'In', cidr: '10.0.0.0/8' } },
    { action: 'accept', peerType: 'eBGP' },
    { action: 'reject' },
  ]
  const policy = new Policy(rules, { external: true })
  t.deepEqual(policy.evaluate(route('10.1.0.0/16')), { action: 'reject', rule: 0, reason: 'rule 1 rejects' })
  t.deepEqual(policy.evaluate(route('11.0.0.0/8')), { action: 'accept', rule: 1, reason: 'rule 2 accepts' })
  t.is(new Policy([], { external: false }).evaluate(route('11.0.0.0/8')).reason, 'no rule matches')
})

test('without a policy an external peer gets nothing and an internal one everything', t => {
  const verdict = (external: boolean) => new Policy(undefined, { external }).evaluate(route('10.0.0.0/8'))
  t.regex(verdict(true).reason, /RFC 8212/)
  t.is(verdict(true).action, 'reject')
  t.is(verdict(false).action, 'accept')
})

test('operations are applied in order by an accepting rule, and adding twice adds once', t => {
  const rule: PolicyRule = {
    action: 'accept',
    operations: [
      { do: 'add-community', value: '65000:1' },
      { do: 'add-community', value: '65000:1' },
      { do: 'add-community', value: '1:2:3' },
      { do: 'prepend-as-path', asns: [9, 8] },
      { do: 'set-priority', value: 512 },
    ],
  }
  const policy = new Policy([rule], { external: true })
  const subject = route('10.0.0.0/8', {}, { asPath: [{ type: 2, asns: [7] }] })
  t.deepEqual(policy.apply(policy.evaluate(subject), subject.attributes), {
    asPath: [{ type: 2, asns: [9, 8, 7] }],
    communities: [0xfde80001],
    largeCommunities: [{ global: 1, local1: 2, local2: 3 }],
    localPref: PRIORITY_BASE - 512,
  })
})
