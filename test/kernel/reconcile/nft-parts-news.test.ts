// What others change of a table in parts is told, and only that is read again: the result is that of reading all.
// Over 400 lines: one list of promises about what is told, in one bench.
import test from 'ava'
import fc from 'fast-check'
import { ERRNO, KernelError } from '../../../kernel/port/error.ts'
import type { NftChange, NftRule } from '../../../kernel/port/nftables.ts'
import { NftParts } from '../../../kernel/reconcile/nft-parts.ts'
import {
  all,
  bench,
  DISPATCH,
  goto,
  HOOK,
  keysOf,
  NAME,
  OF,
  peers,
  profile,
  rule,
  TABLE,
  turn,
  wantUsual,
  withPorts,
} from './parts-world.ts'

type Bench = ReturnType<typeof bench>

const flushed = (kind: 'chain' | 'set', name: string): NftChange => ({ verb: 'flush', object: { kind, ...OF, name } })
const element = (verb: 'add' | 'delete', key: string): NftChange => {
  return { verb, object: { kind: 'elements', ...OF, set: 'web', type: 'ipv4_addr', elements: [{ key: [key] }] } }
}
const aTable: NftChange = { verb: 'add', object: { kind: 'table', family: 'ip', name: 'other' } }

async function pass({ parts }: Bench): Promise<string[]> {
  const outcomes = [await parts.put(), await parts.remove(all)]
  return outcomes.flatMap(({ refused }) => refused.map(({ kind, key }) => `${kind} ${key}`))
}

/** The usual table with a chain that has a set of its own, as the kernel has it and as it was told. */
async function written(): Promise<Bench> {
  const it = bench()
  wantUsual(it)
  it.parts.wantChain('p2', withPorts('p2', '80', '443-450'))
  await pass(it)
  await turn()
  it.read.length = 0
  it.sent.length = 0
  return it
}

test('a chain that others empty is put back after reading it alone, with the sets of its rules', async t => {
  const it = await written()
  await it.otherProgram.changeNftables([flushed('chain', 'p2')])
  await turn()
  const { healed, refused } = await it.parts.put()
  t.deepEqual(
    [healed, refused].map(some => some.map(({ key }) => key)),
    [['inet ours p2'], []],
  )
  t.deepEqual(it.read, [{ chains: ['p2'], sets: [], elements: [] }])
  await turn()
  await pass(it)
  t.is(it.read.length, 1, 'what was written for it is not read')
  t.is(it.sent.length, 1)
})

test('elements that others change are put back after reading them alone; what they add goes', async t => {
  const it = await written()
  await it.otherProgram.changeNftables([element('delete', '10.0.0.1'), element('add', '10.9.9.9')])
  await turn()
  t.deepEqual(await pass(it), [])
  const elements = ['10.0.0.1', '10.9.9.9'].map(key => ({ set: 'web', key }))
  t.deepEqual(it.read, [{ chains: [], sets: [], elements }])
  t.deepEqual(keysOf(await it.held(), 'web'), ['10.0.0.1'])
})

test('a set that others empty or make anew is put back after reading it alone', async t => {
  const it = await written()
  await it.otherProgram.changeNftables([flushed('set', 'web'), element('add', '10.9.9.9')])
  await turn()
  t.deepEqual(await pass(it), [])
  t.deepEqual(it.read, [{ chains: [], sets: ['web'], elements: [] }])
  t.deepEqual(keysOf(await it.held(), 'web'), ['10.0.0.1'])
})

test('a table that others delete is written whole', async t => {
  const it = await written()
  await it.otherProgram.changeNftables([{ verb: 'delete', object: TABLE }])
  await turn()
  t.deepEqual(await pass(it), [])
  t.deepEqual(it.read, ['all'])
  await turn()
  await it.otherProgram.changeNftables([flushed('chain', 'p1')])
  await turn()
  t.deepEqual(await pass(it), [])
  t.deepEqual(it.read.slice(1), [{ chains: ['p1'], sets: [], elements: [] }], 'from then on only what others change')
})

test('a table that others delete has its base chains again before anything is read or a pass begins', async t => {
  const it = await written()
  await it.otherProgram.changeNftables([{ verb: 'delete', object: TABLE }])
  await turn()
  const { chains, rules, sets, elements } = (await it.held())!
  t.deepEqual(
    [chains, rules, sets].map(some => some.length),
    [1, 1, 1],
  )
  t.deepEqual([chains[0]!.name, elements], ['forward', []])
  t.deepEqual(it.read, [])
  t.deepEqual(await pass(it), [])
  t.is((await it.held())!.rules.filter(({ chain }) => chain === 'forward').length, 1)
})

test('a table of which others empty more chains than are read one by one is closed at once, and whole with the next pass', async t => {
  const it = await written()
  const names = Array.from({ length: 501 }, (_, i) => `q${i}`)
  for (const name of names) it.parts.wantChain(name, profile(name, 'web'))
  t.deepEqual(await pass(it), [])
  await turn()
  it.read.length = 0
  await it.otherProgram.changeNftables(names.map(name => flushed('chain', name)))
  await turn()
  const { chains, elements } = (await it.held())!
  t.deepEqual([chains.map(({ name }) => name), elements], [['forward'], []])
  t.deepEqual(it.read, [])
  const { refused, healed } = await it.parts.put()
  t.deepEqual(refused, [])
  t.true(healed.length > 501)
  t.is((await it.held())!.chains.length, 504)
})

test('a table of which others empty chains of thousands of rules is closed before they are written', async t => {
  const it = await written()
  const names = Array.from({ length: 30 }, (_, i) => `q${i}`)
  const sets = Array.from({ length: 200 }, () => 'web')
  for (const name of names) it.parts.wantChain(name, profile(name, ...sets))
  it.parts.wantElement('to', 'cali1', goto('q1'))
  t.deepEqual(await pass(it), [])
  await turn()
  for (const [some, isClosed] of [
    [names.slice(0, 20), false],
    [names, true],
  ] as const) {
    it.sent.length = 0
    await it.otherProgram.changeNftables(some.map(name => flushed('chain', name)))
    await turn()
    const { refused, healed } = await it.parts.put()
    t.deepEqual(refused, [])
    t.true(healed.some(({ key }) => key === 'inet ours q1'))
    t.deepEqual([it.sent[0]![0]!.verb, it.sent.length], isClosed ? ['delete', 2] : ['flush', 1])
    await turn()
  }
  const { rules, elements } = (await it.held())!
  t.is(rules.filter(({ chain }) => chain === 'q1').length, 200)
  t.is(elements.find(({ set }) => set === 'to')?.elements.length, 2)
})

test('a table that others delete has its base chains again though something was missed before', async t => {
  const it = await written()
  it.parts.observe(undefined)
  await it.otherProgram.changeNftables([{ verb: 'delete', object: TABLE }])
  await turn()
  t.is((await it.held())?.chains[0]?.name, 'forward')
  t.deepEqual(await pass(it), [])
})

test('a table that others delete and make in the meantime is not written twice', async t => {
  const it = await written()
  await it.otherProgram.changeNftables([{ verb: 'delete', object: TABLE }])
  await it.otherProgram.changeNftables([
    { verb: 'add', object: TABLE },
    { verb: 'add', object: HOOK.chain },
  ])
  await turn()
  t.deepEqual(await pass(it), [])
  t.is((await it.held())!.rules.filter(({ chain }) => chain === 'forward').length, 1)
})

test('what others do to their own tables asks for no pass and no reading', async t => {
  const it = await written()
  t.false(it.parts.observe({ generation: (await it.kernel.nftGeneration()) + 1, tables: [{ ...NAME, name: 'other' }] }))
  await pass(it)
  t.deepEqual(it.read, [])
})

test('a refresh reads nothing while every transaction was told, and all where one was not', async t => {
  const it = await written()
  it.parts.wantElement('web', '10.0.0.2', 'member')
  await pass(it)
  await it.otherProgram.changeNftables([aTable])
  await turn()
  it.parts.invalidate()
  await pass(it)
  t.deepEqual(it.read, [])
  await it.otherProgram.changeNftables([flushed('chain', 'p1')])
  it.parts.invalidate()
  t.deepEqual(await pass(it), [])
  t.deepEqual(it.read, ['all'], 'it is under way')
  t.is(it.sent.length, 2)
})

test('with a transaction missed all is read: told as such, or seen by the next one', async t => {
  const it = await written()
  t.true(it.parts.observe(undefined))
  await pass(it)
  t.deepEqual(it.read, ['all'])
  const generation = await it.kernel.nftGeneration()
  t.true(it.parts.observe({ generation: generation + 2, tables: [] }))
  await pass(it)
  t.deepEqual(it.read, ['all', 'all'])
})

test('without a monitor a refresh reads nothing while nobody writes, and all after anybody did', async t => {
  const it = bench()
  const parts = new NftParts(it.kernel, TABLE)
  wantUsual({ ...it, parts })
  await parts.put()
  parts.invalidate()
  await parts.put()
  t.deepEqual(it.read, ['all', 'all'], 'what it wrote itself was not told')
  parts.invalidate()
  await parts.put()
  t.is(it.read.length, 2)
  await it.otherProgram.changeNftables([flushed('chain', 'p1')])
  parts.invalidate()
  await parts.put()
  t.is(it.read.length, 3)
})

test('while others write to their tables one refresh of ten reads all: the kernel does not tell of large rules', async t => {
  const it = await written()
  for (let i = 0; i < 20; i++) {
    await it.otherProgram.changeNftables([{ verb: 'add', object: { kind: 'table', family: 'ip', name: `other${i}` } }])
    await turn()
    it.parts.invalidate()
    await pass(it)
  }
  t.deepEqual(it.read, ['all', 'all'])
})

test('elements that packets add by a rule of others are told by nobody, and go with the next refresh', async t => {
  const it = await written()
  const adds = { type: 'dynset', set: 'web', op: 'add', from: 1 } as const
  await it.otherProgram.changeNftables([{ verb: 'add', object: rule('p1', 'foreign', adds) }])
  await turn()
  await pass(it)
  // as if it came from a packet: of what this port writes only the generation is told
  await it.kernel.changeNftables([element('add', '10.9.9.9')])
  await turn()
  it.parts.invalidate()
  await pass(it)
  t.deepEqual(keysOf(await it.held(), 'web'), ['10.0.0.1'])
  t.deepEqual(it.read.slice(1), ['all'])
  await turn()
  it.parts.invalidate()
  await pass(it)
  t.is(it.read.length, 2)
})

test('a transaction that was not done when all was read at its generation is read again', async t => {
  const it = await written()
  it.parts.observe(undefined)
  await pass(it)
  const generation = await it.kernel.nftGeneration()
  t.true(it.parts.observe({ generation, tables: [{ ...NAME, parts: { chains: ['p1'], sets: [], elements: [] } }] }))
  await pass(it)
  t.deepEqual(it.read, ['all', { chains: ['p1'], sets: [], elements: [] }])
})

test('what is told while the kernel is read is read again', async t => {
  const it = await written()
  const { nftables } = it.kernel
  it.kernel.nftables = async (of, options) => {
    it.kernel.nftables = nftables
    const found = await nftables(of, options)
    await it.otherProgram.changeNftables([flushed('chain', 'p1')])
    await turn()
    return found
  }
  await it.otherProgram.changeNftables([flushed('chain', 'p1')])
  await turn()
  await pass(it)
  await pass(it)
  t.is((await it.held())!.rules.filter(({ chain }) => chain === 'p1').length, 1)
  t.deepEqual(it.read, [
    { chains: ['p1'], sets: [], elements: [] },
    { chains: ['p1'], sets: [], elements: [] },
  ])
})

test('a reading of parts that fails refuses the table, so that it is tried again, and is one of all then', async t => {
  const it = await written()
  const { nftables } = it.kernel
  it.kernel.nftables = async () => {
    it.kernel.nftables = nftables
    throw new KernelError(ERRNO.ENOBUFS, 'read', 'nftables')
  }
  await it.otherProgram.changeNftables([flushed('chain', 'p1')])
  await turn()
  t.deepEqual(await pass(it), ['nftTable inet ours'])
  t.deepEqual(await pass(it), [])
  t.deepEqual(it.read, ['all'])
  t.is((await it.held())!.rules.filter(({ chain }) => chain === 'p1').length, 1)
})

test('of more parts than can be asked for one by one all is read', async t => {
  const it = await written()
  const added = Array.from({ length: 501 }, (_, i): NftChange => ({ verb: 'add', object: profile(`f${i}`).chain }))
  await it.otherProgram.changeNftables(added)
  await turn()
  t.deepEqual(await pass(it), [])
  t.deepEqual(it.read, ['all'])
  t.is((await it.held())!.chains.length, 3)
})

const CHAINS = ['p1', 'p2', 'forward', 'foreign'] as const
const SETS = ['web', 'nets', 'foreign'] as const
/** A change, or one of the rule that is there at this place. */
type Foreign = NftChange | { rule: number; is: 'gone' | 'other' }
const often: fc.Arbitrary<Foreign> = fc.oneof(
  fc.constantFrom(...CHAINS).map(name => flushed('chain', name)),
  fc.constantFrom(...SETS, 'to').map(name => flushed('set', name)),
  fc.constantFrom(...CHAINS).map((name): NftChange => ({ verb: 'delete', object: { kind: 'chain', ...OF, name } })),
  fc.constantFrom(...CHAINS).map((name): NftChange => ({ verb: 'add', object: profile(name).chain })),
  fc.constantFrom(...SETS).map((name): NftChange => ({ verb: 'delete', object: { kind: 'set', ...OF, name } })),
  fc.constantFrom(...SETS).map((name): NftChange => ({ verb: 'add', object: peers(name) })),
  fc.constant<NftChange>({ verb: 'add', object: { ...peers('web'), type: 'ipv6_addr' } }),
  fc
    .tuple(fc.constantFrom('add' as const, 'delete' as const), fc.constantFrom('10.0.0.1', '10.0.0.2', '10.0.0.3'))
    .map(([verb, key]) => element(verb, key)),
  fc.constantFrom(...CHAINS).map((chain): NftChange => ({ verb: 'add', object: rule(chain, 'foreign') })),
  fc.record({ rule: fc.nat({ max: 4 }), is: fc.constantFrom('gone' as const, 'other' as const) }),
)
const foreign: fc.Arbitrary<Foreign> = fc.oneof(
  { weight: 20, arbitrary: often },
  { weight: 1, arbitrary: fc.constantFrom<NftChange>({ verb: 'delete', object: TABLE }, aTable) },
)
type Happening = { foreign: Foreign[] } | { member: string; wanted: boolean } | { ports: string[] } | 'turn' | 'pass'
const happening: fc.Arbitrary<Happening> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ foreign: fc.array(foreign, { minLength: 1, maxLength: 4 }) }) },
  fc.record({ member: fc.constantFrom('10.0.0.1', '10.0.0.2'), wanted: fc.boolean() }),
  fc.record({ ports: fc.uniqueArray(fc.constantFrom('80', '443-450', '8080'), { minLength: 1, maxLength: 3 }) }),
  fc.constant('turn' as const),
  { weight: 2, arbitrary: fc.constant('pass' as const) },
)

/** Wants the same of `it` as of all others to which the same happened. */
function want({ parts }: Pick<Bench, 'parts'>, members: ReadonlySet<string>, ports: readonly string[]): void {
  parts.wantSet('to', DISPATCH)
  parts.wantSet('web', peers('web'))
  parts.wantSet('nets', { ...peers('nets'), flags: ['interval'] })
  parts.wantElement('nets', '10.8.0.0/16', 'member')
  for (const key of ['10.0.0.1', '10.0.0.2']) parts.wantElement('web', key, members.has(key) ? 'member' : undefined)
  parts.wantChain('p1', profile('p1', 'web', 'nets'))
  parts.wantChain('p2', withPorts('p2', ...ports))
  parts.wantChain('forward', HOOK)
  for (const name of ['cali1', 'cali2']) parts.wantElement('to', name, goto(name === 'cali1' ? 'p1' : 'p2'))
}

async function changesOf(it: Bench, some: readonly Foreign[]): Promise<NftChange[]> {
  const rules = (await it.held())?.rules ?? []
  return some.flatMap((each): NftChange[] => {
    if ('verb' in each) return [each]
    const found = rules[each.rule] as (NftRule & { handle: number }) | undefined
    if (found === undefined) return []
    const { family, table, chain, handle } = found
    if (each.is === 'gone') return [{ verb: 'delete', object: { kind: 'rule', family, table, chain, handle } }]
    return [{ verb: 'replace', object: { ...rule(chain, 'other'), handle } }]
  })
}

test('after any changes of others and of what is wanted, told early or late, the table is as whoever reads all of it wants it', async t => {
  let partly = 0
  await fc.assert(
    fc.asyncProperty(fc.array(happening, { maxLength: 20 }), async happenings => {
      const it = bench()
      const members = new Set<string>()
      let ports = ['80']
      want(it, members, ports)
      await pass(it)
      await turn()
      for (const each of happenings)
        if (each === 'turn') await turn()
        else if (each === 'pass') await pass(it)
        else if ('foreign' in each) await it.otherProgram.changeNftables(await changesOf(it, each.foreign))
        else {
          if ('ports' in each) ports = each.ports
          else if (each.wanted) members.add(each.member)
          else members.delete(each.member)
          want(it, members, ports)
        }
      // what a pass writes may meet what was not told yet, and is tried again
      for (let i = 0; i < 3; i++) {
        await turn()
        await pass(it)
      }
      const fresh = bench(it.world)
      want(fresh, members, ports)
      t.deepEqual(await pass(fresh), [])
      t.deepEqual(fresh.sent, [])
      partly += it.read.filter(each => each !== 'all').length
    }),
    { numRuns: 1_000 },
  )
  t.true(partly > 150, `${partly}`)
})
