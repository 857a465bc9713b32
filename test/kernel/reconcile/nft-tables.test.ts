// Our tables of nftables and their elements: written whole, kept so, and never with a moment in between.
// Over 400 lines: one list of promises about one reconciler, in one bench.
import test from 'ava'
import fc from 'fast-check'
import { FakeWorld } from '../../../kernel/fake/world.ts'
import { ERRNO, KernelError } from '../../../kernel/port/error.ts'
import type { NftablesPort, NftChange, NftElements, NftNews, NftRule, NftSet } from '../../../kernel/port/nftables.ts'
import { NftTables } from '../../../kernel/reconcile/nft-tables.ts'
import { type NamedNftElement, type NftProgram, nftElementKey, nftTableKey } from '../../../kernel/reconcile/objects.ts'

const NAME = { family: 'inet', name: 'ours' } as const
const OF = { family: 'inet', table: 'ours' } as const
const set = (name: string): NftSet => ({ kind: 'set', ...OF, name, type: 'ifname . ipv4_addr' })
const dropped: NftRule['expressions'] = [{ type: 'counter' }, { type: 'immediate', load: 0, data: { verdict: 'drop' } }]
const dropRule = (comment: string) => ({ kind: 'rule', ...OF, chain: 'in', comment, expressions: dropped }) as const
const PROGRAM: NftProgram = {
  table: { kind: 'table', ...NAME },
  sets: [set('pods')],
  chains: [{ kind: 'chain', ...OF, name: 'in', base: { type: 'filter', hook: 'input', priority: 0 } }],
  rules: [dropRule('one')],
}
const KEY = nftTableKey(NAME)
const changed = (...tables: NftNews['tables']) => ({ generation: 2, tables })
const element = (interfaceName: string, address = '10.0.0.1'): NamedNftElement => {
  return { ...OF, set: 'pods', words: [interfaceName, address], interfaceName }
}

type Bench = {
  tables: NftTables
  otherProgram: NftablesPort
  sent: NftChange[][]
  /** What the kernel says of a change; undefined lets it pass. */
  refuse: (change: NftChange) => number | undefined
  want(...elements: NamedNftElement[]): void
}

function bench(program = PROGRAM, otherProgram: NftablesPort = new FakeWorld().kernel()): Bench {
  const it: Omit<Bench, 'tables' | 'want'> = { otherProgram, sent: [], refuse: () => undefined }
  const kernel: NftablesPort = {
    nftables: of => otherProgram.nftables(of),
    nftGeneration: () => otherProgram.nftGeneration(),
    monitorNftables: listen => otherProgram.monitorNftables(listen),
    ruleCounters: of => otherProgram.ruleCounters(of),
    baseChains: () => otherProgram.baseChains(),
    forwardChains: () => otherProgram.forwardChains(),
    legacyBaseChains: () => otherProgram.legacyBaseChains(),
    legacyForwardChains: () => otherProgram.legacyForwardChains(),
    async changeNftables(changes) {
      it.sent.push([...changes])
      const refusals = changes.flatMap((change, index) => {
        const errno = it.refuse(change)
        return errno === undefined ? [] : [{ index, error: new KernelError(errno, 'nft', change.verb) }]
      })
      return refusals.length > 0 ? refusals : otherProgram.changeNftables(changes)
    },
  }
  const tables = new NftTables(kernel)
  tables.wantTable(KEY, program)
  const want = (...elements: NamedNftElement[]) => {
    for (const each of elements) tables.wantElement(nftElementKey(each), each)
  }
  return Object.assign(it, { tables, want })
}

async function elements({ otherProgram }: Bench): Promise<string[]> {
  const ruleset = await otherProgram.nftables(NAME)
  const own = (ruleset?.elements ?? []).filter(each => each.set === 'pods')
  return own.flatMap(each => each.elements.map(({ key }) => key.join(' '))).sort()
}

const all = () => true

test('a table comes with its elements in one transaction, and a second pass sends nothing', async t => {
  const it = bench()
  it.want(element('cali1'), element('cali2', '10.0.0.2'))
  const { written, healed, refused } = await it.tables.put()
  t.is(written.length, 3)
  t.deepEqual([healed, refused], [[], []])
  t.is(it.sent.length, 1)
  t.true(it.tables.stands(KEY))
  t.deepEqual(await elements(it), ['cali1 10.0.0.1', 'cali2 10.0.0.2'])
  await it.tables.put()
  await it.tables.remove(all)
  t.is(it.sent.length, 1)
})

test('a table of an earlier run is adopted without a write, and what is not wanted goes when it may', async t => {
  const first = bench()
  first.want(element('cali1'), element('cali2'))
  await first.tables.put()
  const it = bench(PROGRAM, first.otherProgram)
  it.want(element('cali1'))
  await it.tables.put()
  t.true(it.tables.stands(KEY))
  t.is((await it.tables.remove(() => false)).withheld.length, 1)
  t.deepEqual(it.sent, [])
  t.deepEqual((await it.tables.remove(all)).healed, [])
  t.deepEqual(await elements(it), ['cali1 10.0.0.1'])
})

test('a table of another shape is made anew in one transaction that loses no element', async t => {
  const first = bench()
  first.want(element('cali1'), element('cali2'))
  await first.tables.put()
  const it = bench({ ...PROGRAM, sets: [...PROGRAM.sets, set('more')] }, first.otherProgram)
  it.want(element('cali1'), element('cali3'))
  await it.tables.put()
  t.is(it.sent.length, 1)
  t.deepEqual(await elements(it), ['cali1 10.0.0.1', 'cali2 10.0.0.1', 'cali3 10.0.0.1'])
  t.is((await it.otherProgram.nftables(NAME))?.sets.length, 2)
})

test('other rules of a chain are written in its place, and no element is touched', async t => {
  const first = bench()
  first.want(element('cali1'))
  await first.tables.put()
  const it = bench({ ...PROGRAM, rules: [dropRule('one'), dropRule('two')] }, first.otherProgram)
  it.want(element('cali1'))
  await it.tables.put()
  t.deepEqual(
    it.sent.flat().map(({ verb, object }) => `${verb} ${object.kind}`),
    ['flush chain', 'add rule', 'add rule'],
  )
})

test('what a counter has counted is no difference', async t => {
  const it = bench()
  await it.tables.put()
  const counted: NftRule = { ...dropRule('one'), expressions: dropRule('one').expressions }
  const { rules } = (await it.otherProgram.nftables(NAME))!
  const expressions = counted.expressions.map(step =>
    step.type === 'counter' ? { ...step, packets: 7n, bytes: 700n } : step,
  )
  const object = { ...counted, expressions, handle: rules[0]!.handle! }
  t.deepEqual(await it.otherProgram.changeNftables([{ verb: 'replace', object }]), [])
  it.tables.invalidate()
  await it.tables.put()
  t.is(it.sent.length, 1)
})

test('a table that others delete while a pod comes is whole again in the same pass, and told as healed once', async t => {
  const it = bench()
  it.want(element('cali1'))
  await it.tables.put()
  await it.otherProgram.changeNftables([{ verb: 'delete', object: PROGRAM.table }])
  // nobody was told of it yet
  it.want(element('cali2'))
  const { healed, refused } = await it.tables.put()
  t.deepEqual(healed, [{ kind: 'nftTable', key: KEY, gone: true }])
  t.deepEqual(refused, [])
  t.deepEqual(await elements(it), ['cali1 10.0.0.1', 'cali2 10.0.0.1'])
})

test('an element that others add is removed and told as such', async t => {
  const it = bench()
  it.want(element('cali1'))
  await it.tables.put()
  const foreign = element('cali1', '192.0.2.1')
  await it.otherProgram.changeNftables([
    {
      verb: 'add',
      object: { kind: 'elements', ...OF, set: 'pods', type: 'ifname . ipv4_addr', elements: [{ key: foreign.words }] },
    },
  ])
  t.false(it.tables.observe(changed({ family: 'inet', name: 'other' })))
  t.true(it.tables.observe(changed(NAME)))
  await it.tables.put()
  const { healed, removed } = await it.tables.remove(all)
  t.deepEqual(healed, [])
  t.deepEqual(removed, [{ kind: 'nftElement', key: nftElementKey(foreign), interfaceName: 'cali1' }])
  t.deepEqual(await elements(it), ['cali1 10.0.0.1'])
})

test('an element that the kernel refuses is named with its interface and does not stop the others', async t => {
  const it = bench()
  it.want(element('cali1'), element('cali2'))
  it.refuse = ({ object }) =>
    object.kind === 'elements' && object.elements.some(({ key }) => key[0] === 'cali1') ? ERRNO.EINVAL : undefined
  const { refused } = await it.tables.put()
  t.deepEqual(
    refused.map(({ kind, interfaceName, errno }) => [kind, interfaceName, errno]),
    [['nftElement', 'cali1', ERRNO.EINVAL]],
  )
  t.true(it.tables.stands(KEY))
  t.deepEqual(await elements(it), ['cali2 10.0.0.1'])
})

test('a table that the kernel refuses is refused with every element in it', async t => {
  const it = bench()
  it.want(element('cali1'))
  it.refuse = ({ object }) => (object.kind === 'rule' ? ERRNO.ENOENT : undefined)
  const { refused } = await it.tables.put()
  t.deepEqual(
    refused.map(({ kind, interfaceName }) => [kind, interfaceName]),
    [
      ['nftTable', undefined],
      ['nftElement', 'cali1'],
    ],
  )
  t.false(it.tables.stands(KEY))
})

test('a kernel that cannot be read refuses all that is wanted; the next pass asks again', async t => {
  const it = bench()
  it.want(element('cali1'))
  const { nftables } = it.otherProgram
  it.otherProgram.nftables = () => Promise.reject(new KernelError(ERRNO.EINTR, 'read', 'table'))
  t.is((await it.tables.put()).refused.length, 2)
  it.otherProgram.nftables = nftables
  t.deepEqual((await it.tables.put()).refused, [])
  t.true(it.tables.stands(KEY))
})

test('a kernel that cannot be read refuses the table though nothing is known to lack, so that it is asked again', async t => {
  const it = bench()
  await it.tables.put()
  const { nftables } = it.otherProgram
  it.otherProgram.nftables = () => Promise.reject(new KernelError(ERRNO.EINTR, 'read', 'table'))
  it.tables.invalidate()
  const { refused } = await it.tables.put()
  t.deepEqual(
    refused.map(({ kind, key, errno }) => [kind, key, errno]),
    [['nftTable', KEY, ERRNO.EINTR]],
  )
  it.otherProgram.nftables = nftables
  t.deepEqual((await it.tables.put()).refused, [])
})

test('a kernel without nftables, or without a family of it, lacks the table and refuses nothing', async t => {
  const without = bench(PROGRAM, new FakeWorld({ nftables: false }).kernel())
  without.want(element('cali1'))
  t.deepEqual((await without.tables.put()).refused, [])
  t.deepEqual([...without.tables.lacking().keys()], [KEY])
  t.false(without.tables.stands(KEY))

  const it = bench()
  const other: NftProgram = { table: { kind: 'table', family: 'arp', name: 'ours' }, sets: [], chains: [], rules: [] }
  it.tables.wantTable('arp ours', other)
  it.want(element('cali1'))
  it.refuse = ({ object }) => (object.family === 'arp' ? ERRNO.EOPNOTSUPP : undefined)
  t.deepEqual((await it.tables.put()).refused, [])
  t.deepEqual([...it.tables.lacking().keys()], ['arp ours'])
  t.true(it.tables.stands(KEY))
  t.deepEqual(await elements(it), ['cali1 10.0.0.1'])
})

const ranges: NftSet = { ...set('ranges'), type: 'ipv4_addr', flags: ['interval'] }
const filled = (...keys: string[]): NftElements => {
  const { kind: _, name, ...types } = ranges
  return { ...types, kind: 'elements', set: name, elements: keys.map(key => ({ key: [key] })) }
}
const withRanges = (...keys: string[]): NftProgram => {
  return { ...PROGRAM, sets: [...PROGRAM.sets, ranges], contents: [filled(...keys)] }
}

const PER_POD: NftProgram = { ...PROGRAM, sets: [{ ...set('pods'), flags: ['interval'] }] }

test('ranges of an interface that change are exchanged in one transaction, which deletes the old ones first', async t => {
  const it = bench(PER_POD)
  it.want(element('cali1', '10.0.0.0/8'), element('cali2', '10.0.0.0/8'))
  await it.tables.put()
  it.tables.wantElement(nftElementKey(element('cali1', '10.0.0.0/8')), undefined)
  it.tables.wantElement(nftElementKey(element('cali2', '10.0.0.0/8')), undefined)
  it.want(element('cali1', '10.1.0.0/16'))
  it.sent.length = 0
  const { written, refused } = await it.tables.put()
  t.deepEqual([written.length, refused], [2, []])
  const keys = (change: NftChange) =>
    'elements' in change.object ? change.object.elements.map(({ key }) => key.join(' ')) : []
  t.deepEqual(
    it.sent.map(changes => changes.map(change => [change.verb, ...keys(change)])),
    [
      [
        ['delete', 'cali1 10.0.0.0/8'],
        ['add', 'cali1 10.1.0.0/16'],
      ],
    ],
  )
  t.true(it.sent.flat().every(({ object }) => object.kind === 'elements' && object.flags?.includes('interval')))
  t.deepEqual(await elements(it), ['cali1 10.1.0.0/16', 'cali2 10.0.0.0/8'], 'what nothing takes the place of waits')
  t.deepEqual((await it.tables.remove(() => false)).withheld.length, 1)
  t.deepEqual(await it.tables.differences('cali2'), [], 'nor is it a difference while it waits')
  await it.tables.remove(all)
  t.deepEqual(await elements(it), ['cali1 10.1.0.0/16'])
})

test('a table that is made anew keeps ranges that may not be removed yet, but none in whose place others are wanted', async t => {
  const first = bench(PER_POD)
  first.want(element('cali1', '10.0.0.0/8'), element('cali2', '10.0.0.0/8'))
  await first.tables.put()
  const it = bench({ ...PER_POD, sets: [...PER_POD.sets, set('more')] }, first.otherProgram)
  it.want(element('cali1', '10.1.0.0/16'))
  t.deepEqual((await it.tables.put()).refused, [])
  t.is(it.sent.length, 1)
  t.deepEqual(await elements(it), ['cali1 10.1.0.0/16', 'cali2 10.0.0.0/8'])
})

const ABSENT: NftProgram = { table: PROGRAM.table, sets: [], chains: [], rules: [], absent: true }
const rangesOf = async ({ otherProgram }: Bench) => {
  const found = (await otherProgram.nftables(NAME))?.elements.filter(each => each.set === 'ranges') ?? []
  return found.flatMap(each => each.elements.map(({ key }) => key.join(' ')))
}

test('the elements that are part of a table are exchanged as a whole, with its rules, in one transaction', async t => {
  const it = bench(withRanges('10.0.0.0/8'))
  it.want(element('cali1'))
  await it.tables.put()
  t.is(it.sent.length, 1)
  t.deepEqual(await rangesOf(it), ['10.0.0.0/8'])
  it.tables.wantTable(KEY, { ...withRanges('10.0.0.0/9', '11.0.0.0/8'), rules: [dropRule('two')] })
  t.deepEqual((await it.tables.put()).refused, [])
  t.is(it.sent.length, 2)
  t.deepEqual(await rangesOf(it), ['10.0.0.0/9', '11.0.0.0/8'])
  t.deepEqual(await elements(it), ['cali1 10.0.0.1'])
  // a restart adopts them, in any order
  const again = bench(withRanges('11.0.0.0/8', '10.0.0.0/9'), it.otherProgram)
  again.tables.wantTable(KEY, { ...withRanges('11.0.0.0/8', '10.0.0.0/9'), rules: [dropRule('two')] })
  again.want(element('cali1'))
  await again.tables.put()
  await again.tables.remove(all)
  t.is(again.sent.length, 0)
})

test('an element of a map that is part of a table and leads elsewhere is a difference, and is exchanged', async t => {
  const map: NftSet = { ...set('map'), type: 'ipv4_addr', data: 'ipv4_addr' }
  const leads = (to: string): NftProgram => {
    const { kind: _, name, ...types } = map
    const elements = [{ key: ['10.0.0.1'], data: [to] }]
    return { ...PROGRAM, sets: [...PROGRAM.sets, map], contents: [{ ...types, kind: 'elements', set: name, elements }] }
  }
  const it = bench(leads('10.0.0.2'))
  await it.tables.put()
  const ledTo = async () => {
    const found = (await it.otherProgram.nftables(NAME))?.elements.find(each => each.set === 'map')
    return found?.elements.map(({ data }) => data)
  }
  it.tables.wantTable(KEY, leads('10.0.0.3'))
  t.deepEqual((await it.tables.put()).refused, [])
  t.deepEqual(await ledTo(), [['10.0.0.3']])
  const again = bench(leads('10.0.0.3'), it.otherProgram)
  await again.tables.put()
  t.is(again.sent.length, 0)
  const other = bench(leads('10.0.0.4'), it.otherProgram)
  t.deepEqual(await other.tables.differences('cali1'), [{ object: 'elements of set inet ours map', is: 'changed' }])
})

test('what others do to the elements that are part of a table is a difference, and is put back and told', async t => {
  const it = bench(withRanges('10.0.0.0/8'))
  await it.tables.put()
  await it.otherProgram.changeNftables([{ verb: 'add', object: filled('11.0.0.0/8') }])
  t.deepEqual(await it.tables.differences('cali1'), [{ object: 'elements of set inet ours ranges', is: 'changed' }])
  it.tables.observe(changed(NAME))
  t.deepEqual((await it.tables.put()).healed, [
    { kind: 'nftTable', key: KEY, found: 'elements of set inet ours ranges changed' },
  ])
  t.deepEqual(await rangesOf(it), ['10.0.0.0/8'])
  t.deepEqual(await it.tables.differences('cali1'), [])
})

test('a table that shall not be there is removed, also one of an earlier run, and is no damage then', async t => {
  const it = bench()
  it.want(element('cali1'))
  await it.tables.put()
  it.tables.wantElement(nftElementKey(element('cali1')), undefined)
  it.tables.wantTable(KEY, ABSENT)
  t.deepEqual((await it.tables.put()).healed, [])
  t.is(await it.otherProgram.nftables(NAME), undefined)
  await it.tables.remove(all)
  t.is(it.sent.length, 2, 'its elements went with it')
  await it.otherProgram.changeNftables([{ verb: 'add', object: PROGRAM.table }])
  const later = bench(ABSENT, it.otherProgram)
  t.deepEqual((await later.tables.put()).healed, [])
  t.is(await it.otherProgram.nftables(NAME), undefined)
  t.deepEqual(await later.tables.differences('cali1'), [])
  await it.otherProgram.changeNftables([{ verb: 'add', object: PROGRAM.table }])
  t.deepEqual(await later.tables.differences('cali1'), [{ object: `table ${KEY}`, is: 'added' }])
  later.tables.observe(changed(NAME))
  t.deepEqual((await later.tables.put()).healed, [{ kind: 'nftTable', key: KEY, found: 'table inet ours added' }])
})

test('a kernel without NAT lacks the table that needs it, and has the others', async t => {
  const it = bench()
  const of = { family: 'ip', table: 'ours' } as const
  const base = { type: 'nat', hook: 'postrouting', priority: 100 } as const
  const nat: NftProgram = {
    ...{ table: { kind: 'table', family: 'ip', name: 'ours' }, sets: [] },
    chains: [{ kind: 'chain', ...of, name: 'out', base }],
    rules: [{ kind: 'rule', ...of, chain: 'out', expressions: [{ type: 'masq' }] }],
  }
  for (const lacking of ['chain', 'rule']) {
    it.tables.wantTable('ip ours', nat)
    it.refuse = ({ object }) => (object.kind === lacking && object.family === 'ip' ? ERRNO.ENOENT : undefined)
    t.deepEqual((await it.tables.put()).refused, [])
    t.deepEqual([...it.tables.lacking().keys()], ['ip ours'])
    t.true(it.tables.stands(KEY))
    it.tables.invalidate()
  }
})

const PROGRAMS = [
  PROGRAM,
  withRanges('10.0.0.0/8'),
  withRanges('10.0.0.0/9', '10.128.0.0/9'),
  ABSENT,
  { ...PROGRAM, rules: [dropRule('two'), dropRule('one')] },
  { ...PROGRAM, sets: [...PROGRAM.sets, set('more')] },
] as const
const anyElement = fc
  .tuple(fc.constantFrom('cali1', 'cali2'), fc.constantFrom('10.0.0.1', '10.0.0.2'))
  .map(([interfaceName, address]) => element(interfaceName, address))
const asChange = (verb: 'add' | 'delete', { words }: NamedNftElement): NftChange => ({
  verb,
  object: { kind: 'elements', ...OF, set: 'pods', type: 'ifname . ipv4_addr', elements: [{ key: words }] },
})
/** What another program does; some of it is refused. */
const damage = fc.oneof(
  anyElement.map(each => asChange('add', each)),
  anyElement.map(each => asChange('delete', each)),
  fc.constantFrom<NftChange[]>(
    { verb: 'delete', object: PROGRAM.table },
    { verb: 'flush', object: { kind: 'chain', ...OF, name: 'in' } },
    { verb: 'flush', object: { kind: 'set', ...OF, name: 'pods' } },
    { verb: 'flush', object: { kind: 'set', ...OF, name: 'ranges' } },
    { verb: 'add', object: filled('192.0.2.1') },
    { verb: 'add', object: { kind: 'chain', ...OF, name: 'foreign' } },
    { verb: 'add', object: dropRule('foreign') },
  ),
)
type Step =
  | { do: 'want' | 'drop'; element: NamedNftElement }
  | { do: 'program'; program: NftProgram }
  | { do: 'damage'; change: NftChange; told: boolean }
  | { do: 'pass' }
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ do: fc.constantFrom('want' as const, 'drop' as const), element: anyElement }),
  fc.record({ do: fc.constant('program' as const), program: fc.constantFrom(...PROGRAMS) }),
  fc.record({ do: fc.constant('damage' as const), change: damage, told: fc.boolean() }),
  fc.constant({ do: 'pass' as const }),
)

test('after any wishes and any changes of others the kernel has exactly what is wanted', async t => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 20 }), async steps => {
      const it = bench()
      const wanted = new Map<string, NamedNftElement>()
      let program: NftProgram = PROGRAM
      const pass = async () => {
        const { refused } = await it.tables.put()
        await it.tables.remove(all)
        return refused
      }
      for (const each of steps) {
        if (each.do === 'want' || each.do === 'drop') {
          const key = nftElementKey(each.element)
          if (each.do === 'want') wanted.set(key, each.element)
          else wanted.delete(key)
          it.tables.wantElement(key, wanted.get(key))
        } else if (each.do === 'program') {
          program = each.program
          it.tables.wantTable(KEY, program)
        } else if (each.do === 'damage') {
          await it.otherProgram.changeNftables([each.change])
          if (each.told) it.tables.observe(changed(NAME))
        } else await pass()
      }
      it.tables.invalidate()
      t.deepEqual(await pass(), [])
      const ruleset = await it.otherProgram.nftables(NAME)
      t.is(ruleset === undefined, program.absent === true)
      if (ruleset === undefined) return
      t.deepEqual(
        await rangesOf(it),
        (program.contents ?? []).flatMap(each => each.elements.map(({ key }) => key.join(' '))),
      )
      t.deepEqual(await elements(it), [...wanted.values()].map(({ words }) => words.join(' ')).sort())
      t.deepEqual(
        ruleset.rules.map(({ comment }) => comment),
        program.rules.map(({ comment }) => comment),
      )
      t.deepEqual([ruleset.chains.length, ruleset.sets.length], [program.chains.length, program.sets.length])
      const sent = it.sent.length
      await pass()
      t.is(it.sent.length, sent)
    }),
    { numRuns: 300 },
  )
})
