// One table of nftables in parts: sets, chains and elements come, change and go, and the kernel has exactly what is wanted.
// Over 400 lines: every promise of one class, asked of one kernel that refuses what a test says.
import test from 'ava'
import fc from 'fast-check'
import { FakeWorld } from '../../../kernel/fake/world.ts'
import { ERRNO } from '../../../kernel/port/error.ts'
import type { NftChange, NftElements } from '../../../kernel/port/nftables.ts'
import type { NftParts } from '../../../kernel/reconcile/nft-parts.ts'
import type { NftChainProgram } from '../../../kernel/reconcile/nft-state.ts'
import {
  all,
  bench,
  DISPATCH,
  goto,
  HOOK,
  keysOf,
  OF,
  peers,
  profile,
  rule,
  TABLE,
  turn,
  wantUsual,
  withPorts,
  wordsOf,
} from './parts-world.ts'

test('a table comes whole in one transaction, base chains last, and a second pass sends nothing', async t => {
  const it = bench()
  wantUsual(it)
  t.deepEqual((await it.parts.put()).refused, [])
  t.is(it.sent.length, 1)
  const objects = it.sent[0]!.map(({ object }) => (object.kind === 'chain' ? object.name : object.kind))
  t.true(objects.indexOf('elements') < objects.indexOf('rule'))
  t.is(objects.indexOf('forward'), objects.length - 2)
  await it.parts.put()
  await it.parts.remove(all)
  t.is(it.sent.length, 1)
})

test('what an earlier run left is adopted without a write, with the sets of single rules', async t => {
  const first = bench()
  wantUsual(first)
  first.parts.wantChain('p2', withPorts('p2', '80', '443-450'))
  await first.parts.put()
  const it = bench(first.world)
  wantUsual(it)
  it.parts.wantChain('p2', withPorts('p2', '443-450', '80'))
  await it.parts.put()
  await it.parts.remove(all)
  t.deepEqual(it.sent, [])
  it.parts.wantChain('p2', withPorts('p2', '80'))
  await it.parts.put()
  t.deepEqual(it.sent.map(wordsOf), [['flush chain', 'add set', 'add elements', 'add rule']])
  const { sets } = (await it.held())!
  t.is(sets.filter(({ flags }) => flags?.includes('anonymous')).length, 1, 'the old one went with its rule')
})

test('a member that comes or goes is one element, and no rule is written', async t => {
  const it = bench()
  wantUsual(it)
  await it.parts.put()
  it.parts.wantElement('web', '10.0.0.2', 'member')
  it.parts.wantElement('web', '10.0.0.1', undefined)
  const { written } = await it.parts.put()
  const { written: removed } = await it.parts.remove(all)
  t.deepEqual(
    [...written, ...removed].map(({ key, members }) => [key.split(' ').at(-1), members]),
    [
      ['web', { came: 1, went: 0 }],
      ['web', { came: 0, went: 1 }],
    ],
    'how many came and went is told',
  )
  t.deepEqual(it.sent.slice(1).map(wordsOf), [['add elements'], ['delete elements']])
  t.deepEqual(keysOf(await it.held(), 'web'), ['10.0.0.2'])
})

test('a pod that gets other policies is led to their chain in the transaction that makes it', async t => {
  const it = bench()
  wantUsual(it)
  await it.parts.put()
  it.parts.wantSet('db', peers('db'))
  it.parts.wantChain('p2', profile('p2', 'db'))
  it.parts.wantElement('to', 'cali2', goto('p2'))
  await it.parts.put()
  t.is(it.sent.length, 2)
  t.deepEqual(wordsOf(it.sent[1]!), ['add set', 'add chain', 'add rule', 'delete elements', 'add elements'])
})

test('chains and sets that nothing needs go, in an order that the kernel takes, and only when they may', async t => {
  const it = bench()
  wantUsual(it)
  await it.parts.put()
  for (const name of ['cali1', 'cali2']) it.parts.wantElement('to', name, undefined)
  it.parts.wantChain('p1', undefined)
  it.parts.wantSet('web', undefined)
  await it.parts.put()
  t.deepEqual((await it.parts.remove(() => false)).withheld.map(({ kind }) => kind).sort(), [
    'nftChain',
    'nftElement',
    'nftSet',
  ])
  t.deepEqual((await it.parts.remove(all)).refused, [])
  const held = (await it.held())!
  t.deepEqual([held.chains.map(({ name }) => name), held.sets.map(({ name }) => name)], [['forward'], ['to']])
})

test('a map of verdicts goes together with the chains that it leads to', async t => {
  const it = bench()
  wantUsual(it)
  await it.parts.put()
  it.parts.wantSet('to', undefined)
  it.parts.wantChain('forward', undefined)
  it.parts.wantChain('p1', undefined)
  t.deepEqual([...(await it.parts.put()).refused, ...(await it.parts.remove(all)).refused], [])
  const { chains, sets } = (await it.held())!
  t.deepEqual([chains, sets.map(({ name }) => name)], [[], ['web']])
})

test('what the kernel refuses is named, and left out with what needs it; the rest is written', async t => {
  const it = bench()
  wantUsual(it)
  it.parts.wantSet('bad', peers('bad'))
  it.parts.wantChain('p2', profile('p2', 'bad'))
  it.parts.wantElement('to', 'cali3', goto('p2'))
  it.refuse = ({ object }) => (object.kind === 'set' && object.name === 'bad' ? ERRNO.EINVAL : undefined)
  const { refused } = await it.parts.put()
  t.true(refused.some(({ kind, key, errno }) => kind === 'nftSet' && key === 'inet ours bad' && errno === ERRNO.EINVAL))
  const held = await it.held()
  t.deepEqual(held?.chains.map(({ name }) => name).sort(), ['forward', 'p1'])
  it.refuse = () => undefined
  t.deepEqual((await it.parts.put()).refused, [])
  t.deepEqual(keysOf(await it.held(), 'to').sort(), ['cali1', 'cali2', 'cali3'])
})

test('a table that others delete is whole again in one pass, and told as healed', async t => {
  const it = bench()
  wantUsual(it)
  await it.parts.put()
  await it.otherProgram.changeNftables([{ verb: 'delete', object: TABLE }])
  await turn()
  const { healed, refused } = await it.parts.put()
  t.deepEqual(refused, [])
  t.true(healed.some(({ kind, key }) => kind === 'nftChain' && key === 'inet ours forward'))
  t.true(healed.some(({ kind, key }) => kind === 'nftChain' && key === 'inet ours p1'))
  t.is(it.sent.length, 3)
})

for (const [how, changes] of [
  [
    'made anew without anything in it',
    [
      { verb: 'delete', object: TABLE },
      { verb: 'add', object: TABLE },
    ],
  ],
  [
    'left without its base chain and a large set',
    [
      { verb: 'flush', object: { kind: 'chain', ...OF, name: 'forward' } },
      { verb: 'delete', object: { kind: 'chain', ...OF, name: 'forward' } },
      { verb: 'flush', object: { kind: 'set', ...OF, name: 'web' } },
    ],
  ],
] satisfies [string, NftChange[]][])
  test(`a large table that others ${how} has its base chain again before all else`, async t => {
    const it = bench()
    wantUsual(it)
    for (let n = 0; n < 6_000; n++) it.parts.wantElement('web', `10.1.${n >> 8}.${n & 255}`, 'member')
    await it.parts.put()
    it.sent.length = 0
    await it.otherProgram.changeNftables(changes)
    await turn()
    t.deepEqual((await it.parts.put()).refused, [])
    t.true(it.sent.length > 1)
    const kinds = it.sent[0]!.map(({ object }) => object.kind)
    t.true(kinds.includes('chain'))
    t.false(kinds.includes('elements'))
    t.is(keysOf(await it.held(), 'web').length, 6_001)
  })

test('a set of another type under our name makes the table anew, in one transaction', async t => {
  const it = bench()
  await it.otherProgram.changeNftables([
    { verb: 'add', object: TABLE },
    { verb: 'add', object: { ...peers('web'), type: 'ipv6_addr' } },
  ])
  wantUsual(it)
  t.deepEqual((await it.parts.put()).refused, [])
  t.is(it.sent.length, 1)
  t.is(it.sent[0]![0]!.verb, 'delete')
  t.is((await it.held())?.sets.find(({ name }) => name === 'web')?.type, 'ipv4_addr')
})

test('ranges that go leave in the transaction in which others come: they may overlap', async t => {
  const it = bench()
  it.parts.wantSet('nets', { ...peers('nets'), flags: ['interval'] })
  it.parts.wantElement('nets', '10.0.0.0/8', 'member')
  await it.parts.put()
  it.parts.wantElement('nets', '10.0.0.0/8', undefined)
  for (const half of ['10.0.0.0/9', '10.128.0.0/9']) it.parts.wantElement('nets', half, 'member')
  await it.parts.put()
  t.deepEqual(wordsOf(it.sent[1]!), ['delete elements', 'add elements'])
})

test('ranges that go and those that come for them are one transaction however many they are: nothing is open between', async t => {
  const it = bench()
  const range = (n: number, last: number) => `10.${n >> 8}.${n & 255}.${last}/31`
  const change = (last: number, is: 'member' | undefined) => {
    for (let n = 0; n < 6_000; n++) it.parts.wantElement('nets', range(n, last), is)
  }
  it.parts.wantSet('nets', { ...peers('nets'), flags: ['interval'] })
  it.parts.wantSet('web', peers('web'))
  change(0, 'member')
  await it.parts.put()
  const before = it.sent.length
  for (let n = 0; n < 5_000; n++) it.parts.wantElement('web', `10.1.${n >> 8}.${n & 255}`, 'member')
  change(0, undefined)
  change(2, 'member')
  t.deepEqual((await it.parts.put()).refused, [])
  const changes = it.sent.slice(before).map(sent => wordsOf(sent.filter(({ object }) => object.kind === 'elements')))
  t.deepEqual(changes.filter(words => words.includes('delete elements')).length, 1)
  t.is(changes.flat().length, 5)
  t.true(changes.find(words => words.includes('delete elements'))!.length >= 4)
  t.is((await it.held())?.elements.find(({ set }) => set === 'nets')?.elements.length, 6_000)
})

test('many elements go in transactions of some thousand before the rules that look them up', async t => {
  const it = bench()
  wantUsual(it)
  for (let i = 0; i < 12_000; i++) it.parts.wantElement('web', `10.1.${i >> 8}.${i & 255}`, 'member')
  await it.parts.put()
  const counts = it.sent.map(changes =>
    changes.reduce(
      (sum, { object }) => sum + (object.kind === 'elements' ? (object as NftElements).elements.length : 0),
      0,
    ),
  )
  t.true(counts.length >= 3)
  t.true(
    counts.every(count => count <= 10_000),
    `${counts}`,
  )
  const rulesOf = (changes: readonly NftChange[]) => changes.filter(({ object }) => object.kind === 'rule')
  t.deepEqual(
    it.sent.map(changes => rulesOf(changes).length > 0),
    it.sent.map((_, i) => i === 0 || i === it.sent.length - 1),
  )
  const { object } = it.sent[0]!.at(-1)!
  t.is(object.kind === 'rule' && object.chain, 'forward', 'the base chains are there before: nothing is open meanwhile')
  t.is(counts[0], 0)
})

test('a kernel without nftables lacks the table and refuses nothing', async t => {
  const it = bench(new FakeWorld({ nftables: false }))
  wantUsual(it)
  t.deepEqual((await it.parts.put()).refused, [])
  t.not(it.parts.lacking, undefined)
})

const SETS = ['a', 'b'] as const
const CHAINS = ['p1', 'p2', 'p3'] as const
type Wish =
  | { do: 'chain'; name: (typeof CHAINS)[number]; sets: (typeof SETS)[number][]; ports: string[] }
  | { do: 'drop'; name: (typeof CHAINS)[number] }
  | { do: 'pod'; pod: string; chain: (typeof CHAINS)[number] | undefined }
  | { do: 'member'; set: (typeof SETS)[number]; key: string; wanted: boolean }
  | { do: 'damage'; change: NftChange; told: boolean }
  | { do: 'pass' }
const damage = fc.constantFrom<NftChange[]>(
  { verb: 'delete', object: TABLE },
  { verb: 'flush', object: { kind: 'chain', ...OF, name: 'forward' } },
  { verb: 'flush', object: { kind: 'chain', ...OF, name: 'p1' } },
  { verb: 'flush', object: { kind: 'set', ...OF, name: 'a' } },
  { verb: 'flush', object: { kind: 'set', ...OF, name: 'to' } },
  { verb: 'add', object: { kind: 'chain', ...OF, name: 'foreign' } },
  { verb: 'add', object: peers('foreign') },
  { verb: 'add', object: rule('p2', 'foreign') },
)
const wish: fc.Arbitrary<Wish> = fc.oneof(
  fc.record({
    do: fc.constant('chain' as const),
    name: fc.constantFrom(...CHAINS),
    sets: fc.uniqueArray(fc.constantFrom(...SETS)),
    ports: fc.uniqueArray(fc.constantFrom('80', '443-450', '8080'), { maxLength: 2 }),
  }),
  fc.record({ do: fc.constant('drop' as const), name: fc.constantFrom(...CHAINS) }),
  fc.record({
    do: fc.constant('pod' as const),
    pod: fc.constantFrom('cali1', 'cali2'),
    chain: fc.option(fc.constantFrom(...CHAINS), { nil: undefined }),
  }),
  fc.record({
    do: fc.constant('member' as const),
    set: fc.constantFrom(...SETS),
    key: fc.constantFrom('10.0.0.1', '10.0.0.2'),
    wanted: fc.boolean(),
  }),
  fc.record({ do: fc.constant('damage' as const), change: damage, told: fc.boolean() }),
  fc.constant({ do: 'pass' as const }),
)

/** What is wanted, as the room above keeps it: sets live while a chain looks them up, pods lead to chains that are there. */
class Model {
  readonly chains = new Map<string, NftChainProgram>()
  readonly members = new Map<string, Set<string>>(SETS.map(name => [name, new Set()]))
  readonly pods = new Map<string, string>()

  take(each: Wish): void {
    if (each.do === 'chain') {
      const { chain, rules } = profile(each.name, ...each.sets)
      const own = each.ports.length === 0 ? undefined : withPorts(each.name, ...each.ports)
      this.chains.set(each.name, {
        chain,
        rules: [...rules, ...(own?.rules ?? [])],
        ...(own && { inline: own.inline! }),
      })
    } else if (each.do === 'drop') {
      if (![...this.pods.values()].includes(each.name)) this.chains.delete(each.name)
    } else if (each.do === 'pod') {
      if (each.chain === undefined || !this.chains.has(each.chain)) this.pods.delete(each.pod)
      else this.pods.set(each.pod, each.chain)
    } else if (each.do === 'member') {
      if (each.wanted) this.members.get(each.set)!.add(each.key)
      else this.members.get(each.set)!.delete(each.key)
    }
  }

  get sets(): string[] {
    const used = [...this.chains.values()].flatMap(({ rules }) => rules.map(({ comment }) => comment!))
    return SETS.filter(name => used.includes(name))
  }

  tell(parts: NftParts): void {
    parts.wantSet('to', DISPATCH)
    parts.wantChain('forward', HOOK)
    for (const name of SETS) parts.wantSet(name, this.sets.includes(name) ? peers(name) : undefined)
    for (const name of this.sets)
      for (const key of ['10.0.0.1', '10.0.0.2'])
        parts.wantElement(name, key, this.members.get(name)!.has(key) ? 'member' : undefined)
    for (const name of CHAINS) parts.wantChain(name, this.chains.get(name))
    for (const pod of ['cali1', 'cali2']) {
      const chain = this.pods.get(pod)
      parts.wantElement('to', pod, chain === undefined ? undefined : goto(chain))
    }
  }
}

test('after any wishes and any changes of others the kernel has exactly what is wanted', async t => {
  await fc.assert(
    fc.asyncProperty(fc.array(wish, { maxLength: 25 }), async wishes => {
      const it = bench()
      const model = new Model()
      const pass = async () => {
        model.tell(it.parts)
        const refused = [...(await it.parts.put()).refused, ...(await it.parts.remove(all)).refused]
        return refused
      }
      for (const each of wishes)
        if (each.do === 'damage') {
          await it.otherProgram.changeNftables([each.change])
          if (each.told) await turn()
        } else if (each.do === 'pass') await pass()
        else model.take(each)
      it.parts.invalidate()
      t.deepEqual(await pass(), [])
      const held = (await it.held())!
      t.deepEqual(held.chains.map(({ name }) => name).sort(), ['forward', ...model.chains.keys()].sort())
      const inline = [...model.chains.values()].filter(each => each.inline !== undefined)
      t.is(held.sets.filter(({ flags }) => flags?.includes('anonymous')).length, inline.length)
      t.deepEqual(
        held.sets.flatMap(({ name, flags }) => (flags?.includes('anonymous') ? [] : [name])).sort(),
        ['to', ...model.sets].sort(),
      )
      for (const name of model.sets) t.deepEqual(keysOf(held, name).sort(), [...model.members.get(name)!].sort())
      t.deepEqual(keysOf(held, 'to').sort(), [...model.pods.keys()].sort())
      for (const [name, { rules }] of model.chains)
        t.deepEqual(
          held.rules.filter(({ chain }) => chain === name).map(({ comment }) => comment),
          rules.map(({ comment }) => comment),
        )
      const sent = it.sent.length
      await pass()
      t.is(it.sent.length, sent)
    }),
    { numRuns: 400 },
  )
})

test('an element holds while it and all base chains are there; a refused base chain is a refusal of the table', async t => {
  const it = bench()
  wantUsual(it)
  it.refuse = ({ object }) => ('chain' in object && object.chain === 'forward' ? ERRNO.EINVAL : undefined)
  const { refused } = await it.parts.put()
  t.deepEqual(
    refused.map(({ kind, key }) => `${kind} ${key}`),
    ['nftTable inet ours'],
  )
  t.false(it.parts.holds('to', 'cali1'))
  it.refuse = () => undefined
  await it.parts.put()
  t.true(it.parts.holds('to', 'cali1'))
  t.false(it.parts.holds('to', 'cali9'))
  it.parts.wantSet('bad', peers('bad'))
  it.refuse = ({ object }) => (object.kind === 'set' && object.name === 'bad' ? ERRNO.EINVAL : undefined)
  await it.parts.put()
  t.true(it.parts.holds('to', 'cali1'), 'what is refused of others is not about it')
})

test('what the kernel goes on refusing keeps nothing else, costs no reading of the table, and is there as soon as the kernel takes it', async t => {
  const it = bench()
  wantUsual(it)
  it.parts.wantSet('old', peers('old'))
  await it.parts.put()
  it.parts.wantSet('bad', peers('bad'))
  it.parts.wantChain('p2', profile('p2', 'bad'))
  it.parts.wantElement('to', 'cali5', goto('p2'))
  it.parts.wantElement('to', 'cali2', goto('p2'))
  it.parts.wantSet('old', undefined)
  const [isBad, isOld] = ['bad', 'old'].map(
    name => (object: NftChange['object']) => object.kind === 'set' && object.name === name,
  )
  it.refuse = ({ object }) => (isBad!(object) || isOld!(object) ? ERRNO.EINVAL : undefined)
  const pass = async () => [(await it.parts.put()).refused, (await it.parts.remove(all)).refused].flat()
  const first = await pass()
  t.deepEqual(
    first.map(({ key }) => key),
    ['inet ours bad', 'inet ours to cali2', 'inet ours to cali5', 'inet ours p2', 'inet ours old'],
  )
  await pass()
  const reads = it.read.length
  for (const address of ['10.0.0.7', '10.0.0.8']) {
    it.parts.wantElement('to', `cali${address}`, goto('p1'))
    t.is((await pass()).length, 5, 'a pod that is led to what is refused keeps no other from its chain')
    t.true(it.parts.holds('to', 'cali1'))
    t.true(it.parts.holds('to', `cali${address}`))
  }
  t.is(it.read.length, reads)
  it.refuse = () => undefined
  t.deepEqual(await pass(), [])
  t.deepEqual((await it.held())!.sets.map(({ name }) => name).sort(), ['bad', 'to', 'web'])
})
