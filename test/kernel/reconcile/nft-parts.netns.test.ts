// One table of nftables in parts, in a real kernel: what is written is found again as it was wanted.
import test from 'ava'
import { openKernel } from '../../../kernel/linux/kernel.ts'
import type { NftablesPort, NftChange, NftExpression, NftRule, NftSet } from '../../../kernel/port/nftables.ts'
import { NftParts } from '../../../kernel/reconcile/nft-parts.ts'
import { INLINE_SET, type NftChainProgram } from '../../../kernel/reconcile/nft-state.ts'
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
      monitorNftables: listen => kernel.monitorNftables(listen),
      ruleCounters: of => kernel.ruleCounters(of),
      forwardChains: () => kernel.forwardChains(),
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
    t.deepEqual(await parts.put(), { written: [], healed: [], refused: [], withheld: [] })
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
    parts.observe(NAME)
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
