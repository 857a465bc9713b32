// What chains of other programs do with packets between pods: pure rules first, then the watch on the fake kernel.
import test from 'ava'
import type { Condition } from '../../api/status.ts'
import { ChainWatch } from '../../felix/chain-watch.ts'
import { acceptChanges } from '../../felix/foreign-accepts.ts'
import { judge } from '../../felix/foreign-chains.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import type {
  ForwardChain,
  NftChain,
  NftChange,
  NftExpression,
  NftFamily,
  NftNews,
  NftRefusal,
  NftRule,
} from '../../kernel/port/nftables.ts'
import { toHex } from '../../lib/bytes.ts'
import { ManualClock } from '../../lib/clock.ts'

const TRAFFIC = { interfacePrefix: 'cali', devices: ['eth0', 'vxlan.calico'], pools: ['10.244.0.0/16'] }

const name = (text: string, whole = true): string =>
  whole ? toHex(Buffer.from(text.padEnd(16, '\0'))) : toHex(Buffer.from(text))
const when = (key: 'iifname' | 'oifname', text: string, op: 'eq' | 'neq' = 'eq'): NftExpression[] => [
  { type: 'meta', key, load: 1 },
  { type: 'cmp', op, from: 1, value: text.endsWith('*') ? name(text.slice(0, -1), false) : name(text) },
]
/** `ct state established,related` is mask 06, `new` is 08. */
const state = (mask: string): NftExpression[] => [
  { type: 'ct', key: 'state', load: 1 },
  { type: 'bitwise', from: 1, load: 1, length: 4, mask: `${mask}000000`, xor: '00000000' },
  { type: 'cmp', op: 'neq', from: 1, value: '00000000' },
]
/** The first two octets of the source (12) or the destination (16), as iptables asks for a /16. */
const within = (offset: 12 | 16, octets: string): NftExpression[] => [
  { type: 'payload', base: 'network', offset, length: octets.length / 2, load: 1 },
  { type: 'cmp', op: 'eq', from: 1, value: octets },
]
const verdict = (word: 'accept' | 'drop' | 'return'): NftExpression => ({
  type: 'immediate',
  load: 0,
  data: { verdict: word },
})
const jump = (chain: string): NftExpression => ({ type: 'immediate', load: 0, data: { verdict: 'jump', chain } })
const xtMatch: NftExpression = { type: 'opaque', name: 'match', octets: '' }
const reject: NftExpression = { type: 'opaque', name: 'reject', octets: '' }

const forward = (policy: 'accept' | 'drop', family: NftFamily = 'ip'): NftChain => ({
  ...{ kind: 'chain', family, table: 'filter', name: 'FORWARD' },
  base: { type: 'filter', hook: 'forward', priority: 0, policy },
})
const rule = (chain: string, ...parts: (NftExpression | NftExpression[])[]): NftRule => ({
  ...{ kind: 'rule', family: 'ip', table: 'filter', chain },
  expressions: parts.flat(),
})
const inForward = (...parts: (NftExpression | NftExpression[])[]) => rule('FORWARD', ...parts)

const FROM_PODS = inForward(when('iifname', 'cali*'), verdict('accept'))
const TO_PODS = inForward(when('oifname', 'cali*'), verdict('accept'))

for (const [title, policy, rules, expected] of [
  ['the policy drop and no rule', 'drop', [], 'drops'],
  ['the policy accept and no rule', 'accept', [], 'passes'],
  [
    'what docker writes',
    'drop',
    [
      inForward(jump('DOCKER-USER')),
      inForward(jump('DOCKER-FORWARD')),
      rule('DOCKER-FORWARD', when('oifname', 'docker0'), xtMatch, verdict('accept')),
      rule('DOCKER-FORWARD', when('iifname', 'docker0'), when('oifname', 'docker0', 'neq'), verdict('accept')),
    ],
    'drops',
  ],
  ['a way for established connections alone', 'drop', [inForward(state('06'), verdict('accept'))], 'drops'],
  ['a way for new connections', 'drop', [inForward(state('0e'), verdict('accept'))], 'passes'],
  ['a way in for pods, but none out', 'drop', [TO_PODS], 'drops'],
  ['both ways open', 'drop', [FROM_PODS, TO_PODS], 'passes'],
  ['a way for one pod alone', 'drop', [inForward(when('iifname', 'calia'), verdict('accept')), TO_PODS], 'may drop'],
  ['the pool let through by its source', 'drop', [inForward(within(12, '0af4'), verdict('accept'))], 'passes'],
  ['another network let through', 'drop', [inForward(within(12, '0a01'), verdict('accept'))], 'drops'],
  ['a part of the pool let through', 'drop', [inForward(within(12, '0af407'), verdict('accept'))], 'may drop'],
  ['a match that Margay does not know', 'drop', [inForward(xtMatch, verdict('accept'))], 'may drop'],
  ['the policy accept and a reject of all at the end', 'accept', [inForward(reject)], 'drops'],
  [
    'the same behind a match that Margay does not know',
    'accept',
    [inForward(xtMatch, verdict('accept')), inForward(reject)],
    'may drop',
  ],
  ['the policy accept and a drop of invalid packets', 'accept', [inForward(state('01'), verdict('drop'))], 'passes'],
  [
    'a chain that returns before its drop',
    'accept',
    [inForward(jump('X')), rule('X', verdict('return')), rule('X', verdict('drop'))],
    'passes',
  ],
  [
    'chains that lead to each other',
    'drop',
    [inForward(jump('X')), rule('X', jump('Y')), rule('Y', jump('X'))],
    'may drop',
  ],
] as const)
  test(`a forward chain with ${title} ${expected === 'drops' ? 'drops packets between pods' : expected}`, t => {
    t.is(judge({ chain: forward(policy), rules }, TRAFFIC), expected)
  })

test('a chain for IPv6 says nothing about a cluster that has IPv4 only', t => {
  t.is(judge({ chain: forward('drop', 'ip6'), rules: [] }, TRAFFIC), 'passes')
  t.is(judge({ chain: forward('drop', 'ip6'), rules: [] }, { ...TRAFFIC, pools: ['fd00::/48'] }), 'drops')
  t.is(judge({ chain: forward('drop', 'inet'), rules: [] }, TRAFFIC), 'drops')
})

/** A watch of an empty kernel with what it tells; `settle` lets it look. Each reading of chains waits for `ready` at its end. */
function aWatch(
  ready: (chains: 'nft' | 'legacy') => Promise<void> = async () => undefined,
  change: (changes: readonly NftChange[]) => NftRefusal[] | undefined = () => undefined,
) {
  const world = new FakeWorld()
  const clock = new ManualClock()
  const told = new Map<string, Condition | undefined>()
  const letPass: unknown[] = []
  let looks = 0
  let legacy: ForwardChain[] = []
  const kernel = world.kernel()
  const watch = new ChainWatch({
    kernel: {
      forwardChains: async () => {
        looks++
        const chains = await kernel.forwardChains()
        await ready('nft')
        return chains
      },
      legacyForwardChains: async () => {
        await ready('legacy')
        return legacy
      },
      changeNftables: async changes => change(changes) ?? (await kernel.changeNftables(changes)),
    },
    ...{ clock, ownTable: 'margay', traffic: () => TRAFFIC },
    onConditions: changes => {
      for (const [key, condition] of changes) told.set(key, condition)
    },
    onLetPass: ({ name }, by) => letPass.push([name, by]),
  })
  const settle = async (ms: number) => {
    clock.advance(ms)
    for (let i = 0; i < 5; i++) await new Promise(setImmediate)
  }
  const write = (chain: NftChain) =>
    kernel.changeNftables([
      { verb: 'add', object: { kind: 'table', family: chain.family, name: chain.table } },
      { verb: 'add', object: chain },
    ])
  const rulesOf = async () => (await kernel.forwardChains()).flatMap(({ rules }) => rules)
  return {
    watch,
    clock,
    told,
    letPass,
    settle,
    write,
    kernel,
    rulesOf,
    looks: () => looks,
    setLegacy: (now: ForwardChain[]) => (legacy = now),
  }
}

const changed = (name: string): NftNews => ({ generation: 2, tables: [{ family: 'ip', name }] })

/** What the kernel says to whoever changes a table that belongs to one program alone (firewalld 2.1). */
const owned = (): NftRefusal[] => [
  { index: 0, error: new KernelError(ERRNO.EPERM, 'nft add rule', 'ip filter FORWARD') },
]

test('a foreign chain that drops and takes no rule is named with its table, its cause and what to do, and is forgotten when it lets pods pass', async t => {
  const { watch, told, settle, write } = aWatch(undefined, owned)
  await write(forward('drop'))
  watch.observe(changed('filter'))
  await settle(500)
  const [[key, condition]] = [...told] as [[string, Condition]]
  t.is(key, 'PodTrafficPasses NftChain ip filter FORWARD')
  t.like(condition, { status: 'False', reason: 'ForeignChainDrops' })
  t.regex(
    condition.message,
    /another program has the policy drop, and takes no rule of ours \(.*EPERM.*\), and no rule/,
  )
  t.regex(condition.remedy, /nft insert rule ip filter FORWARD iifname "cali\*" accept.*iptables.*-i cali\+/)
  await write(forward('accept'))
  watch.observe(changed('filter'))
  await settle(5000)
  t.is(told.get(key), undefined)
  watch.close()
})

test('a chain that drops takes one rule for each direction, which go when it would let pods pass without them', async t => {
  const { watch, told, settle, write, rulesOf, looks } = aWatch()
  await write(forward('drop'))
  watch.observe(changed('filter'))
  await settle(500)
  t.is(told.size, 0)
  const [first, second] = await rulesOf()
  t.deepEqual(
    [first?.expressions[1], second?.expressions[0], first?.comment],
    [
      { type: 'cmp', op: 'eq', from: 1, value: toHex(Buffer.from('cali')) },
      { type: 'meta', key: 'oifname', load: 1 },
      'margay: packets of pods',
    ],
  )
  t.is(looks(), 2, 'read for what is to be done, and for what came of it')
  watch.changed()
  await settle(5000)
  t.is(looks(), 3)
  t.deepEqual(
    (await rulesOf()).map(({ handle }) => handle),
    [first?.handle, second?.handle],
    'they stay as they are',
  )
  await write(forward('accept'))
  watch.changed()
  await settle(5000)
  t.deepEqual(await rulesOf(), [])
  watch.close()
})

test('letting pods pass is told once, with whoever was last told to have changed that chain, and with nobody else', async t => {
  const by = (pid: number) => ({ pid, name: 'iptables' })
  const news = (pid: number, chains?: string[]): NftNews => ({
    ...{ generation: 2, by: by(pid) },
    tables: [{ family: 'ip', name: 'filter', ...(chains && { parts: { chains, sets: [], elements: [] } }) }],
  })
  const whole = news(1)
  const other = news(3, ['KUBE-FORWARD'])
  const cases: [NftNews[], unknown][] = [
    [[whole], by(1)],
    [[whole, news(2, ['FORWARD']), other], by(2)],
    [[other], undefined],
    [[news(2, ['FORWARD']), { ...news(2, ['FORWARD']), by: undefined }], undefined],
  ]
  for (const [told, who] of cases) {
    const { watch, letPass, settle, write } = aWatch()
    await write(forward('drop'))
    for (const each of told) watch.observe(each)
    await settle(500)
    watch.changed()
    await settle(5000)
    t.deepEqual(letPass, [['FORWARD', who]])
    watch.close()
  }
  const { watch, letPass, settle, write } = aWatch()
  await write(forward('drop'))
  watch.observe(whole)
  watch.observe(undefined)
  await settle(500)
  t.deepEqual(letPass, [['FORWARD', undefined]], 'something was missed since')
  watch.close()
})

for (const [title, policy, theirs, place] of [
  ['at the end of a chain with the policy drop', 'drop', [inForward(when('iifname', 'eth1'), verdict('drop'))], 1],
  ['before the rule that rejects all', 'accept', [inForward(state('06'), verdict('accept')), inForward(reject)], 1],
  [
    'before the jump to a chain that drops all',
    'accept',
    [inForward(when('iifname', 'eth1'), verdict('drop')), inForward(jump('X')), rule('X', verdict('drop'))],
    1,
  ],
] as const)
  test(`what lets pods pass stands ${title}`, t => {
    const rules = theirs.map((each, handle) => ({ ...each, handle: handle + 1 }))
    const changes = acceptChanges({ chain: forward(policy), rules }, TRAFFIC)
    t.deepEqual(
      changes.map(({ verb, object }) => [verb, 'position' in object ? object.position : undefined]),
      policy === 'drop'
        ? [
            ['add', undefined],
            ['add', undefined],
          ]
        : [
            ['insert', place + 1],
            ['insert', place + 1],
          ],
    )
  })

test('a chain of iptables-legacy takes no rule', t => {
  t.deepEqual(acceptChanges({ chain: forward('drop'), rules: [], legacy: true }, TRAFFIC), [])
})

test('a burst of changes leads to one look, and a busy program to one look in five seconds', async t => {
  const { watch, clock, settle, looks } = aWatch()
  for (let i = 0; i < 100; i++) watch.observe(changed('nat'))
  await settle(500)
  t.is(looks(), 1)
  for (let i = 0; i < 50; i++) {
    watch.observe(undefined)
    await settle(100)
  }
  t.is(looks(), 2)
  watch.observe(changed('margay'))
  watch.close()
  t.is(clock.pending, 0)
})

test('a chain of legacy iptables, whose changes nobody tells, is found within seconds and named with its own command', async t => {
  const { watch, told, settle, setLegacy, looks } = aWatch()
  await watch.pollLegacy()
  await settle(5000)
  t.is(looks(), 0, 'without a change no chain of nftables is read')
  setLegacy([{ chain: forward('drop'), rules: [], legacy: true }])
  await watch.pollLegacy()
  await settle(500)
  const [[key, condition]] = [...told] as [[string, Condition]]
  t.is(key, 'PodTrafficPasses IptablesChain iptables-legacy filter FORWARD')
  t.is(condition.reason, 'ForeignChainDrops')
  t.regex(condition.remedy, /iptables-legacy -t filter -I FORWARD -i cali\+ -j ACCEPT; .* -o cali\+ -j ACCEPT/)
  setLegacy([])
  await watch.pollLegacy()
  await settle(5000)
  t.is(told.get(key), undefined)
  watch.close()
})

test('while the kernel refuses to be read, what its chains did before counts', async t => {
  let refuses = false
  const { watch, told, settle, write, setLegacy } = aWatch(async () => {
    if (refuses) throw new KernelError(ERRNO.EAGAIN, 'read', 'chains')
  }, owned)
  await write(forward('drop'))
  setLegacy([{ chain: forward('drop'), rules: [], legacy: true }])
  watch.changed()
  await settle(500)
  t.is(told.size, 2)
  refuses = true
  await watch.pollLegacy()
  watch.changed()
  await settle(5000)
  for (const [key, condition] of told) t.is(condition?.status, 'False', key)
  watch.close()
})

test('a change in the middle of a look that takes long is looked at after it', async t => {
  let slow = Promise.withResolvers<void>()
  const { watch, told, settle, write } = aWatch(async chains => (chains === 'nft' ? slow.promise : undefined), owned)
  slow.resolve()
  await write(forward('accept'))
  watch.changed()
  slow = Promise.withResolvers()
  await settle(500)
  await settle(6000)
  await write(forward('drop'))
  watch.changed()
  await settle(6000)
  slow.resolve()
  await settle(0)
  await settle(6000)
  t.is([...told.values()][0]?.reason, 'ForeignChainDrops')
  watch.close()
})
