// How lists of policies look in nftables.
import test from 'ava'
import type { PolicyList } from '../../../felix/policy/active.ts'
import { chainsOfList, sourcesOfList } from '../../../felix/policy/chains.ts'
import { dispatch } from '../../../felix/policy/dispatch.ts'
import type { Policy, PolicyRule, RuleSide } from '../../../felix/policy/model.ts'
import { sourceKey } from '../../../felix/policy/sources.ts'
import { commandText } from '../../../kernel/netlink/nftables/command-text.ts'
import type { NftChainProgram } from '../../../kernel/reconcile/nft-state.ts'
import { TABLE } from './kept-table.ts'

/** The rules as nft prints them, under the names of their chains. */
function text({ chain, rules, inline = [] }: NftChainProgram): string[] {
  const elementsOf = ({ setId }: { setId?: number }) => {
    const set = inline.find(({ id }) => id === setId)
    return (
      set &&
      ({ kind: 'elements', ...TABLE, set: '', type: set.type, flags: set.flags, elements: set.elements } as const)
    )
  }
  return rules.map(rule =>
    commandText({ verb: 'add', object: rule }, elementsOf)
      .replace('add rule inet margay ', '')
      .replace(' packets 0 bytes 0', '')
      .replace(chain.name, `${chain.name}:`),
  )
}

const rule = (action: PolicyRule['action'], source: RuleSide = {}, more: Partial<PolicyRule> = {}): PolicyRule => ({
  action,
  source,
  destination: {},
  ...more,
})
const ports = (...ranges: [number, number][]): RuleSide => ({
  ports: { ranges: ranges.map(([first, last]) => ({ first, last })), names: [] },
})

function policy(name: string, ingress: readonly PolicyRule[], more: Partial<Policy> = {}): Policy {
  const ref = { kind: 'NetworkPolicy', namespace: 'shop', name } as const
  return {
    ref,
    tier: 'default',
    order: 1,
    sortName: `${name}/shop/NetworkPolicy`,
    selector: 'all()',
    ingress,
    hostStage: 'normal',
    ...more,
  }
}

function list(tiers: readonly { name: string; defaultAction: 'deny' | 'pass'; policies: Policy[] }[]): PolicyList {
  const allowAll = { ingress: [rule('allow')], egress: [] }
  return { key: 'k', direction: 'ingress', tiers, profiles: [{ name: 'kns.shop', profile: allowAll }] }
}

/** Every selector has addresses of IPv4, the one of networks CIDRs too. */
const setsOf = (key: string) => ({
  ipv4: [{ set: `s4-${key.length}` }, ...(key.includes('far') ? [{ set: `n4-${key.length}` }] : [])],
  ipv6: [],
})
const shown = (of: PolicyList) => chainsOfList(of, setsOf, TABLE).flatMap(text)

test('a policy reads as nft would have it: known connections first, sets of addresses, ports in the rule, its end', t => {
  const web = policy('web', [
    rule('allow', { selector: 'a' }, { protocol: 6, destination: ports([80, 80], [443, 450]) }),
    rule('allow', { selector: 'far' }, { protocol: 17, destination: ports([53, 53]) }),
    rule('deny', { nets: ['10.0.0.0/8'], notNets: ['10.1.0.0/17'] }),
    rule('log', { notSelector: 'far' }),
    rule('allow', {}, { protocol: 1, icmp: { type: 8 } }),
    rule('allow', {}, { never: true }),
  ])
  t.deepEqual(shown(list([{ name: 'default', defaultAction: 'deny', policies: [web] }])), [
    'to-k: ct state established,related accept',
    'to-k: ip saddr @s4-10 tcp dport 80 counter accept comment "NetworkPolicy shop/web ingress 0 allow"',
    'to-k: ip saddr @s4-10 tcp dport 443-450 counter accept comment "NetworkPolicy shop/web ingress 0 allow"',
    'to-k: ip saddr @s4-12 udp dport 53 counter accept comment "NetworkPolicy shop/web ingress 1 allow"',
    'to-k: ip saddr @n4-12 udp dport 53 counter accept comment "NetworkPolicy shop/web ingress 1 allow"',
    'to-k: ip saddr 10.0.0.0/8 ip saddr != 10.1.0.0/17 limit rate 10/second burst 20 packets log prefix "NetworkPolicy shop/web ingress 2 deny" group 80',
    'to-k: ip saddr 10.0.0.0/8 ip saddr != 10.1.0.0/17 counter drop comment "NetworkPolicy shop/web ingress 2 deny"',
    'to-k: ip saddr != @s4-12 ip saddr != @n4-12 counter limit rate 100/second burst 100 packets log prefix "NetworkPolicy shop/web ingress 3 log" group 80 comment "NetworkPolicy shop/web ingress 3 log"',
    'to-k: meta nfproto ipv6 counter limit rate 100/second burst 100 packets log prefix "NetworkPolicy shop/web ingress 3 log" group 80 comment "NetworkPolicy shop/web ingress 3 log"',
    'to-k: icmp type echo-request counter accept comment "NetworkPolicy shop/web ingress 4 allow"',
    'to-k: limit rate 10/second burst 20 packets log prefix "tier default ingress deny" group 80',
    'to-k: counter drop comment "tier default ingress deny"',
  ])
})

test('a tier that is passed to has a chain of its own; what no tier decides is for the profiles, and denied behind them', t => {
  const first = policy('first', [rule('pass', { selector: 'a' }), rule('deny')])
  const none = policy('none', [])
  t.deepEqual(
    shown(
      list([
        { name: 'one', defaultAction: 'deny', policies: [first] },
        { name: 'two', defaultAction: 'pass', policies: [none] },
      ]),
    ),
    [
      'to-k: ct state established,related accept',
      'to-k: jump to-k-0',
      'to-k: counter accept comment "Profile kns.shop ingress 0 allow"',
      'to-k: limit rate 10/second burst 20 packets log prefix "no profile ingress deny" group 80',
      'to-k: counter drop comment "no profile ingress deny"',
      'to-k-0: ip saddr @s4-10 counter return comment "NetworkPolicy shop/first ingress 0 pass"',
      'to-k-0: limit rate 10/second burst 20 packets log prefix "NetworkPolicy shop/first ingress 1 deny" group 80',
      'to-k-0: counter drop comment "NetworkPolicy shop/first ingress 1 deny"',
      'to-k-0: limit rate 10/second burst 20 packets log prefix "tier one ingress deny" group 80',
      'to-k-0: counter drop comment "tier one ingress deny"',
    ],
  )
})

test('a staged policy counts what it would do, and neither decides nor ends its tier', t => {
  const staged = policy('new', [rule('deny', { selector: 'a' }), rule('allow')], { staged: true })
  t.deepEqual(shown(list([{ name: 'default', defaultAction: 'deny', policies: [staged] }])), [
    'to-k: ct state established,related accept',
    'to-k: jump to-k-0-0',
    'to-k: counter accept comment "Profile kns.shop ingress 0 allow"',
    'to-k: limit rate 10/second burst 20 packets log prefix "no profile ingress deny" group 80',
    'to-k: counter drop comment "no profile ingress deny"',
    'to-k-0-0: ip saddr @s4-10 limit rate 10/second burst 20 packets log prefix "staged NetworkPolicy shop/new ingress 0 deny" group 80',
    'to-k-0-0: ip saddr @s4-10 counter return comment "staged NetworkPolicy shop/new ingress 0 deny"',
    'to-k-0-0: counter return comment "staged NetworkPolicy shop/new ingress 1 allow"',
    'to-k-0-0: limit rate 10/second burst 20 packets log prefix "staged NetworkPolicy shop/new ingress unmatched" group 80',
    'to-k-0-0: counter comment "staged NetworkPolicy shop/new ingress unmatched"',
  ])
})

test('comments are as long as nft takes them, and differ where names differ only behind that', t => {
  const long = (end: string) => `${'x'.repeat(250)}${end}`
  const comments = ['a', 'b'].map(end => {
    const chains = chainsOfList(
      list([{ name: long('t'), defaultAction: 'deny', policies: [policy(long(end), [rule('allow')])] }]),
      setsOf,
      TABLE,
    )
    return chains[0]!.rules.map(({ comment = '' }) => comment)
  })
  t.true(comments.flat().every(comment => Buffer.byteLength(comment) <= 127))
  t.not(comments[0]![1], comments[1]![1])
  t.regex(comments[0]![1]!, /^NetworkPolicy shop\/x+~[0-9a-f]{8} ingress 0 allow$/)
})

test('names of domains are looked up for the pod that sends, and rules about what it receives are closed', t => {
  const rules = [
    { ...rule('allow'), destination: { domains: ['example.com'] } },
    { ...rule('deny'), destination: { domains: ['example.com'] } },
  ]
  const of = list([{ name: 'default', defaultAction: 'pass', policies: [policy('p', rules, { egress: rules })] }])
  t.is(shown(of)[2], 'to-k: counter drop comment "NetworkPolicy shop/p ingress 1 deny"')
  t.is(
    shown({ ...of, direction: 'egress' })[1],
    'from-k: ip saddr . ip daddr @s4-18 counter accept comment "NetworkPolicy shop/p egress 0 allow"',
  )
})

test('the sources of a list are the sets that its rules look up: names of ports on the own side are of this node', t => {
  const named = { ranges: [], names: ['web'] }
  const web = policy('web', [
    rule('allow', { selector: 'a', ports: named }, { protocol: 6, destination: { ports: named } }),
    rule('allow', { selector: 'b' }, { never: true }),
  ])
  const sources = sourcesOfList(list([{ name: 'default', defaultAction: 'deny', policies: [web] }]))
  t.deepEqual(sources.map(sourceKey), ['selector a', 'ports web 6 a', 'local ports web 6 all()'])
})

test('packets of pods are led to their lists by one look-up, and dropped where there is none', t => {
  const { sets, chains } = dispatch(TABLE, 'cali')
  t.deepEqual(
    sets.map(({ name, type, data }) => `${name} ${type} : ${data}`),
    [
      'from_pod ifname : verdict',
      'to_pod ifname : verdict',
      'cut ifname : undefined',
      'cut_forwarded ifname : undefined',
    ],
  )
  t.deepEqual(chains.flatMap(text), [
    'from_pods: ct state new tcp flags 0x0 / syn iifname @cut counter drop comment "TCP connection that was cut"',
    'from_pods: iifname vmap @from_pod',
    'from_pods: ct state established,related accept',
    'from_pods: iifname "caliprobe" icmp type echo-request accept comment "path probes"',
    'from_pods: iifname "caliprobe" icmpv6 type echo-request accept comment "path probes"',
    'from_pods: limit rate 10/second burst 20 packets log prefix "pod without policies yet egress deny" group 80',
    'from_pods: counter drop comment "pod without policies yet egress deny"',
    'to_pods: ct state new tcp flags 0x0 / syn oifname @cut counter drop comment "TCP connection that was cut"',
    'to_pods: oifname vmap @to_pod',
    'to_pods: ct state established,related accept',
    'to_pods: oifname "caliprobe" icmp type echo-request accept comment "path probes"',
    'to_pods: oifname "caliprobe" icmpv6 type echo-request accept comment "path probes"',
    'to_pods: limit rate 10/second burst 20 packets log prefix "pod without policies yet ingress deny" group 80',
    'to_pods: counter drop comment "pod without policies yet ingress deny"',
    'forward_from: iifname "cali*" jump from_pods',
    'forward_to: oifname "cali*" jump to_pods',
    'input: iifname "cali*" icmpv6 type nd-neighbor-solicit accept',
    'input: iifname "cali*" icmpv6 type nd-neighbor-advert accept',
    'input: iifname "cali*" jump from_pods',
  ])
})

test('many names of ports on both sides are one rule for each family, and one set for each side', t => {
  const names = (of: string) => ({ ranges: [], names: Array.from({ length: 300 }, (_, i) => `${of}${i}`) })
  const web = policy('web', [
    { ...rule('allow'), source: { ports: names('s') }, destination: { ports: names('d'), notPorts: names('n') } },
  ])
  const of = list([{ name: 'default', defaultAction: 'deny', policies: [web] }])
  t.is(sourcesOfList(of).length, 3)
  const sets = (key: string) => ({ ipv4: [{ set: `p4-${key.length}` }], ipv6: [{ set: `p6-${key.length}` }] })
  t.is(chainsOfList(of, sets, TABLE)[0]!.rules.length, 5)
})

test('a rule about packets without ports asks for none: nothing is a port of a name or of a Service, and all is none of them', t => {
  const service = { namespace: 'shop', name: 'web' }
  const names = { ranges: [{ first: 80, last: 80 }], names: ['http'] }
  const echo = { type: 8 }
  const of = list([
    {
      ...{ name: 'default', defaultAction: 'deny' },
      policies: [
        policy('closed', [
          rule('allow', {}, { ipVersion: 4, icmp: echo, destination: { service } }),
          rule('allow', {}, { ipVersion: 4, protocol: 47, destination: { ports: names } }),
        ]),
        policy('open', [rule('allow', { service }, { ipVersion: 4, protocol: 47, destination: { notPorts: names } })]),
        policy('both', [rule('allow', {}, { ipVersion: 4, notIcmp: echo, destination: { service } })]),
      ],
    },
  ])
  const rules = shown(of)
  t.deepEqual(
    sourcesOfList(of).map(sourceKey),
    ['service shop/web addresses', 'service shop/web ports'],
    'and needs no set of them',
  )
  const ofPolicy = (name: string) => rules.filter(each => each.includes(`${name} ingress`))
  t.deepEqual(ofPolicy('closed'), [])
  t.deepEqual(ofPolicy('open'), [
    'to-k: meta l4proto gre ip saddr @s4-26 counter accept comment "NetworkPolicy shop/open ingress 0 allow"',
  ])
  t.deepEqual(ofPolicy('both'), [
    'to-k: meta l4proto != icmp ip daddr . meta l4proto . th dport @s4-22 counter accept comment "NetworkPolicy shop/both ingress 0 allow"',
  ])
})

test('names of ports that have a comma in them are no other names', t => {
  const keyOf = (names: readonly string[]) => sourceKey({ of: 'ports', selector: 'a', names })
  t.not(keyOf(['x,y']), keyOf(['x', 'y']))
})

test('equal lists of ports have one source of members, in whatever order and forms they are written', t => {
  const sourcesFor = (...side: [number, number][]) => {
    const web = policy('web', [rule('allow', {}, { protocol: 6, destination: ports(...side) })])
    return sourcesOfList(list([{ name: 'default', defaultAction: 'deny', policies: [web] }]))
  }
  const odd = Array.from({ length: 9 }, (_, i): [number, number] => [2 * i + 1, 2 * i + 1])
  t.deepEqual(sourcesFor(...odd), [{ of: 'list', ports: odd.map(([first]) => first) }])
  t.deepEqual(sourcesFor(...odd.toReversed(), [3, 3]), sourcesFor(...odd))
  t.deepEqual(sourcesFor([1, 17]), [], 'a range is none')
  t.deepEqual(sourcesFor(...odd.slice(1)), [], 'nor are a few ports')
})

test('up to eight ports or CIDRs are a rule for each, and none of them one rule; more are a set: of ports one with others', t => {
  const some = (n: number, size = 2) =>
    ports(...Array.from({ length: n }, (_, i): [number, number] => [200 * i + 1, 200 * i + size]))
  const rulesFor = (side: Partial<PolicyRule>) => {
    const web = policy('web', [rule('allow', {}, { protocol: 6, ...side })])
    const of = list([{ name: 'default', defaultAction: 'deny', policies: [web] }])
    const told = new Set(sourcesOfList(of).map(sourceKey))
    // a set that is not told counts as empty
    const [main] = chainsOfList(of, key => (told.has(key) ? setsOf(key) : { ipv4: [], ipv6: [] }), TABLE)
    return [main!.rules.filter(({ comment = '' }) => comment.includes('allow')).length, main!.inline?.length ?? 0]
  }
  t.deepEqual(rulesFor({ destination: some(8) }), [8, 0])
  t.deepEqual(rulesFor({ destination: some(9) }), [1, 0])
  const wide = [...some(9).ports!.ranges, { first: 5000, last: 6000 }, { first: 7000, last: 8000 }]
  t.deepEqual(rulesFor({ destination: { ports: { ranges: wide, names: [] } } }), [3, 0], 'wide ranges have their rules')
  t.deepEqual(rulesFor({ destination: { notPorts: { ranges: wide, names: [] } } }), [1, 0])
  t.deepEqual(rulesFor({ destination: some(9, 65) }), [1, 1], 'many wide ranges have a set of their own')
  t.deepEqual(rulesFor({ destination: some(17, 64) }), [1, 1], 'and so have more ports than a set of them holds')
  t.deepEqual(rulesFor({ destination: { notPorts: some(8).ports } }), [1, 0])
  const nets = (n: number) => Array.from({ length: n }, (_, i) => `10.${2 * i}.0.0/16`)
  t.deepEqual(rulesFor({ source: { nets: nets(8) } }), [8, 0])
  t.deepEqual(rulesFor({ source: { nets: nets(9) } }), [1, 0])
  const lengths = Array.from({ length: 9 }, (_, i) => `10.${2 * i}.0.0/${16 + i}`)
  t.deepEqual(rulesFor({ source: { nets: lengths } }), [1, 1], 'of more than eight lengths they are a set of the rule')
  t.deepEqual(rulesFor({ source: { nets: [...nets(9), '10.100.0.0/24'] } }), [2, 0], 'each length has its rule')
  t.deepEqual(rulesFor({ source: { nets: ['10.0.0.0/7'], notNets: [...nets(9), '10.100.0.0/24'] } }), [1, 0])
  t.deepEqual(rulesFor({ source: { nets: ['10.0.0.0/7'], notNets: nets(8) } }), [1, 0])
})
