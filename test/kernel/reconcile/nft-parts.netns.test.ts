// One table of nftables in parts, in a real kernel: what is written is found again as it was wanted.
import { execFileSync, spawn } from 'node:child_process'
import test from 'ava'
import fc from 'fast-check'
import { openKernel } from '../../../kernel/linux/kernel.ts'
import type { NftablesPort, NftChange, NftExpression, NftRule, NftSet } from '../../../kernel/port/nftables.ts'
import { NftParts } from '../../../kernel/reconcile/nft-parts.ts'
import { INLINE_SET, type NftChainProgram } from '../../../kernel/reconcile/nft-state.ts'
import { noOutcome } from '../../../kernel/reconcile/outcome.ts'
import { systemProgram } from '../../../lib/system-program.ts'
import { nft } from '../nftables-programs.ts'
import { isRoot, scratchNetns } from '../scratch-netns.ts'

const netns = isRoot ? test : test.skip
if (!isRoot)
  test('tables are written by root only', t => {
    t.log('skipped: needs root')
    t.pass()
  })

const NAME = { family: 'inet', name: 'ours' } as const
const OF = { family: 'inet', table: 'ours' } as const
const set = (name: string, type: string, more: Partial<NftSet> = {}): NftSet => ({
  kind: 'set',
  ...OF,
  name,
  type,
  ...more,
})
const SETS = [
  set('to', 'ifname', { data: 'verdict' }),
  set('web', 'ipv4_addr'),
  set('nets', 'ipv4_addr', { flags: ['interval'] }),
  set('ports', 'ipv4_addr . inet_proto . inet_service'),
]
const IPV4: NftExpression[] = [
  { type: 'meta', key: 'nfproto', load: 1 },
  { type: 'cmp', op: 'eq', from: 1, value: '02' },
]
const source: NftExpression = { type: 'payload', base: 'network', offset: 12, length: 4, load: 1 }
const TCP_PORT: NftExpression[] = [
  { type: 'meta', key: 'l4proto', load: 1 },
  { type: 'cmp', op: 'eq', from: 1, value: '06' },
  { type: 'payload', base: 'transport', offset: 2, length: 2, load: 1 },
]
const RETURN: NftExpression = { type: 'immediate', load: 0, data: { verdict: 'return' } }
const DROP: NftExpression = { type: 'immediate', load: 0, data: { verdict: 'drop' } }

function profile(name: string, ports: readonly string[]): NftChainProgram {
  const rule = (comment: string, ...expressions: NftExpression[]): NftRule => {
    return { kind: 'rule', ...OF, chain: name, comment, expressions }
  }
  const peers = (of: string): NftExpression[] => [...IPV4, source, { type: 'lookup', set: of, from: 1 }]
  const portIn: NftExpression = { type: 'lookup', set: INLINE_SET, setId: 1, from: 1 }
  return {
    chain: { kind: 'chain', ...OF, name },
    rules: [
      rule('web', ...peers('web'), ...TCP_PORT, portIn, { type: 'counter' }, RETURN),
      rule('nets', ...peers('nets'), { type: 'counter' }, RETURN),
      rule('rest', { type: 'counter' }, DROP),
    ],
    inline: [{ id: 1, type: 'inet_service', flags: ['interval'], elements: ports.map(key => ({ key: [key] })) }],
  }
}

const HOOK: NftChainProgram = {
  chain: { kind: 'chain', ...OF, name: 'forward', base: { type: 'filter', hook: 'forward', priority: -5 } },
  rules: [
    {
      ...{ kind: 'rule', ...OF, chain: 'forward' },
      expressions: [
        { type: 'meta', key: 'oifname', load: 1 },
        { type: 'lookup', set: 'to', from: 1, load: 0 },
      ],
    },
  ],
}

function wantAll(parts: NftParts): void {
  for (const each of SETS) parts.wantSet(each.name, each)
  for (const [name, key] of [
    ['web', '10.0.0.1'],
    ['nets', '10.1.0.0/16'],
    ['nets', '192.0.2.0/24'],
    ['ports', '10.0.0.1 . tcp . 8080'],
  ] as const)
    parts.wantElement(name, key, 'member')
  parts.wantChain('p1', profile('p1', ['80', '443-450']))
  parts.wantChain('p2', profile('p2', ['53']))
  parts.wantChain('forward', HOOK)
  for (const [name, chain] of [
    ['cali1', 'p1'],
    ['cali2', 'p2'],
  ] as const)
    parts.wantElement('to', name, { verdict: 'goto', chain })
}

netns(
  'what was written is adopted after a restart without a write, changed in place, and put back after a flush',
  async t => {
    using space = scratchNetns()
    using host = openKernel()
    using kernel = host.inside(space.path)
    const sent: (readonly NftChange[])[] = []
    const counting: NftablesPort = {
      nftables: (of, options) => kernel.nftables(of, options),
      nftGeneration: () => kernel.nftGeneration(),
      monitorNftables: listen => kernel.monitorNftables(listen),
      ruleCounters: of => kernel.ruleCounters(of),
      baseChains: () => kernel.baseChains(),
      forwardChains: () => kernel.forwardChains(),
      legacyBaseChains: () => kernel.legacyBaseChains(),
      legacyForwardChains: () => kernel.legacyForwardChains(),
      changeNftables(changes) {
        sent.push(changes)
        return kernel.changeNftables(changes)
      },
    }
    const first = new NftParts(counting, { kind: 'table', ...NAME })
    wantAll(first)
    t.deepEqual((await first.put()).refused, [])
    t.is(sent.length, 1)

    const parts = new NftParts(counting, { kind: 'table', ...NAME })
    wantAll(parts)
    t.deepEqual(await parts.put(), noOutcome())
    t.deepEqual((await parts.remove(() => true)).withheld, [])
    t.is(sent.length, 1, 'nothing is written again')

    parts.wantElement('web', '10.0.0.2', 'member')
    parts.wantElement('nets', '10.1.0.0/16', undefined)
    parts.wantElement('to', 'cali2', { verdict: 'goto', chain: 'p1' })
    parts.wantChain('p1', profile('p1', ['80']))
    parts.wantChain('p2', undefined)
    for (const outcome of [await parts.put(), await parts.remove(() => true)]) t.deepEqual(outcome.refused, [])
    t.is(sent.length, 3)
    const { chains, sets } = (await kernel.nftables(NAME))!
    t.deepEqual(chains.map(({ name }) => name).sort(), ['forward', 'p1'])
    t.is(sets.filter(({ flags }) => flags?.includes('anonymous')).length, 1)

    await kernel.changeNftables([{ verb: 'delete', object: { kind: 'table', ...NAME } }])
    parts.observe(undefined)
    const { healed, refused } = await parts.put()
    t.deepEqual(refused, [])
    t.true(healed.length >= 4)
    const again = new NftParts(counting, { kind: 'table', ...NAME })
    wantAll(again)
    const { written } = await again.put()
    t.deepEqual(
      written.map(({ kind }) => kind).sort(),
      ['nftChain', 'nftChain', 'nftElement', 'nftElement'],
      'only what was changed since',
    )
  },
)

/** The usual table, heard of as the agent does; `settled`: everything until now was told. */
async function listening(kernel: NftablesPort) {
  const parts = new NftParts(kernel, { kind: 'table', ...NAME })
  let told = 0
  let hears = () => {}
  kernel.monitorNftables(news => {
    parts.observe(news)
    told = news?.generation ?? told
    hears()
  })
  const settled = async () => {
    const generation = await kernel.nftGeneration()
    while (told < generation) await new Promise<void>(resolve => (hears = resolve))
  }
  wantAll(parts)
  await parts.put()
  const pass = async () => {
    await settled()
    return [await parts.put(), await parts.remove(() => true)]
  }
  return { parts, pass, settled }
}

/** What others do with nft, one script a transaction; nothing is done where one line of it is refused. */
const ofParts = fc.constantFrom(
  'flush chain inet ours p1',
  'flush chain inet ours p2',
  'flush chain inet ours forward',
  'add rule inet ours p1 tcp dport { 1, 2, 3 } drop',
  'insert rule inet ours p2 ip saddr @web drop',
  'add element inet ours web { 10.7.7.7 }',
  'delete element inet ours web { 10.0.0.1 }',
  'add element inet ours nets { 10.9.0.0/16 }',
  'flush set inet ours nets',
  'flush set inet ours ports',
  'add element inet ours to { "cali9" : goto p1 }',
  'delete element inet ours to { "cali1" }',
  'flush map inet ours to',
  'delete chain inet ours p1',
  'delete chain inet ours p2',
  'delete chain inet ours forward',
  'delete set inet ours web',
  'delete set inet ours ports',
  'add set inet ours ports { type ipv4_addr; }',
  'add set inet ours strange { type ipv4_addr; }',
  'add table ip strange',
)
/** After these all is read. */
const ofAll = fc.constantFrom(
  'add chain inet ours p1',
  'rename chain inet ours forward renamed',
  'rename chain inet ours p1 renamed',
  'add chain inet ours strange { type filter hook input priority 0; }',
)
const line = fc.oneof({ weight: 16, arbitrary: ofParts }, { weight: 1, arbitrary: ofAll })
const whole = fc.constantFrom('flush ruleset', 'flush table inet ours', 'delete table inet ours')
const script = fc.oneof(
  { weight: 9, arbitrary: fc.array(line, { minLength: 1, maxLength: 4 }).map(lines => lines.join('\n')) },
  { weight: 1, arbitrary: whole },
)

netns(
  'after any changes with nft the table is as whoever reads all of it wants it, and mostly a part of it was read',
  async t => {
    let [partly, entirely] = [0, 0]
    await fc.assert(
      fc.asyncProperty(fc.array(fc.array(script, { minLength: 1, maxLength: 3 }), { maxLength: 6 }), async rounds => {
        using space = scratchNetns()
        using host = openKernel()
        using kernel = host.inside(space.path)
        const counting: NftablesPort = {
          nftables: (of, options) => {
            if (options === undefined) entirely++
            else partly++
            return kernel.nftables(of, options)
          },
          nftGeneration: () => kernel.nftGeneration(),
          monitorNftables: listen => kernel.monitorNftables(listen),
          ruleCounters: of => kernel.ruleCounters(of),
          baseChains: () => kernel.baseChains(),
          forwardChains: () => kernel.forwardChains(),
          legacyBaseChains: () => kernel.legacyBaseChains(),
          legacyForwardChains: () => kernel.legacyForwardChains(),
          changeNftables: changes => kernel.changeNftables(changes),
        }
        const { pass } = await listening(counting)
        for (const scripts of rounds) {
          for (const each of scripts)
            try {
              execFileSync(systemProgram('nsenter'), [`--net=${space.path}`, '--', systemProgram('nft'), '-f', '-'], {
                input: each,
                stdio: ['pipe', 'ignore', 'ignore'],
              })
            } catch {
              // refused: what it would change is not there, or is in use
            }
          await pass()
        }
        await pass()
        const other = new NftParts(kernel, { kind: 'table', ...NAME })
        wantAll(other)
        const outcomes = [await other.put(), await other.remove(() => true)]
        for (const outcome of outcomes) t.deepEqual(outcome, noOutcome())
      }),
      { numRuns: 60 },
    )
    t.true(partly > entirely - 60, `${partly} ${entirely}`)
  },
)

netns(
  'a base chain that others give another name, of which the kernel tells the new one alone, is put back',
  async t => {
    using space = scratchNetns()
    using host = openKernel()
    using kernel = host.inside(space.path)
    const { pass } = await listening(kernel)
    nft(space.path, ['rename', 'chain', 'inet', 'ours', 'forward', 'strange'])
    await pass()
    const { chains } = (await kernel.nftables(NAME))!
    t.deepEqual(chains.map(({ name }) => name).sort(), ['forward', 'p1', 'p2'])
  },
)

netns('a table of which others flush all rules is closed before it is read, and whole with the next pass', async t => {
  using space = scratchNetns()
  using host = openKernel()
  using kernel = host.inside(space.path)
  const { parts, pass, settled } = await listening(kernel)
  for (let i = 0; i < 600; i++) parts.wantChain(`q${i}`, profile(`q${i}`, ['80']))
  await pass()
  nft(space.path, ['flush', 'table', 'inet', 'ours'])
  await settled()
  const { chains, rules, elements } = (await kernel.nftables(NAME))!
  t.deepEqual([chains.map(({ name }) => name), rules.length, elements], [['forward'], 1, []])
  t.deepEqual(
    (await pass()).flatMap(({ refused }) => refused),
    [],
  )
  const other = new NftParts(kernel, { kind: 'table', ...NAME })
  wantAll(other)
  for (let i = 0; i < 600; i++) other.wantChain(`q${i}`, profile(`q${i}`, ['80']))
  t.deepEqual((await other.put()).written, [])
})

netns(
  'a large table is read beside a program that writes to its own all the time, and what it does to ours meanwhile is put back',
  async t => {
    using space = scratchNetns()
    using host = openKernel()
    using kernel = host.inside(space.path)
    const members = Array.from({ length: 60_000 }, (_, i) => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`)
    const open = () => {
      const parts = new NftParts(kernel, { kind: 'table', ...NAME })
      wantAll(parts)
      for (const each of members) parts.wantElement('web', each, 'member')
      return parts
    }
    t.deepEqual((await open().put()).refused, [])
    const parts = open()
    let others = 0
    let hears = () => {}
    kernel.monitorNftables(news => {
      parts.observe(news)
      if (news !== undefined && news.tables.length > 0) others++
      hears()
    })
    const heard = () => new Promise<void>(resolve => (hears = resolve))
    const script = `i=0; while :; do ${systemProgram('nft')} add table ip other$i; i=$((i+1))
      [ $i != 4 ] || ${systemProgram('nft')} delete element inet ours web '{ 10.0.0.1 }'; done`
    const writer = spawn(systemProgram('nsenter'), [`--net=${space.path}`, '--', systemProgram('sh'), '-c', script])
    try {
      await heard()
      const before = others
      const { refused } = await parts.put()
      t.deepEqual(refused, [])
      t.log(`${others - before} transactions of others meanwhile`)
      t.true(others - before > 3)
      for (let passes = 0; others < 12; passes++) {
        await heard()
        if (passes % 3 === 0) await parts.put()
      }
    } finally {
      writer.kill('SIGKILL')
    }
    await parts.put()
    const held = (await kernel.nftables(NAME))!
    t.is(held.elements.find(({ set }) => set === 'web')!.elements.length, members.length)
  },
)
