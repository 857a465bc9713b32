// A program that is killed between any two transactions: what stands is closed or whole, and the next run makes it whole.
import test from 'ava'
import { FakeWorld } from '../../../kernel/fake/world.ts'
import type { NftablesPort, NftRule, NftRuleset } from '../../../kernel/port/nftables.ts'
import { NftParts } from '../../../kernel/reconcile/nft-parts.ts'

const OF = { family: 'inet', table: 'ours' } as const
const NAME = { family: 'inet', name: 'ours' } as const
const rule = (chain: string, ...expressions: NftRule['expressions']): NftRule => {
  return { kind: 'rule', ...OF, chain, expressions }
}
const DROP = { type: 'immediate', load: 0, data: { verdict: 'drop' } } as const
const ACCEPT = { type: 'immediate', load: 0, data: { verdict: 'accept' } } as const

class Killed extends Error {}

/** A kernel whose writer is killed behind so many transactions, before it hears of the last one. */
function killedAfter(kernel: NftablesPort, count: number): NftablesPort {
  let left = count
  return {
    nftables: (of, options) => kernel.nftables(of, options),
    nftGeneration: () => kernel.nftGeneration(),
    monitorNftables: listen => kernel.monitorNftables(listen),
    ruleCounters: of => kernel.ruleCounters(of),
    baseChains: () => kernel.baseChains(),
    forwardChains: () => kernel.forwardChains(),
    legacyBaseChains: () => kernel.legacyBaseChains(),
    legacyForwardChains: () => kernel.legacyForwardChains(),
    async changeNftables(changes) {
      if (left === 0) throw new Killed()
      const refused = await kernel.changeNftables(changes)
      if (--left === 0) throw new Killed()
      return refused
    },
  }
}

/** A pod whose list looks up a set of 12,000 addresses; `later`: it has another list by now, of another set. */
function want(parts: NftParts, later: boolean): void {
  const [list, set] = later ? ['p2', 'db'] : ['p1', 'web']
  parts.wantSet('to', { kind: 'set', ...OF, name: 'to', type: 'ifname', data: 'verdict' })
  parts.wantSet(set, { kind: 'set', ...OF, name: set, type: 'ipv4_addr' })
  for (let i = 0; i < 12_000; i++) parts.wantElement(set, `10.${later ? 2 : 1}.${i >> 8}.${i & 255}`, 'member')
  const chains = {
    [list]: [rule(list, { type: 'lookup', set, from: 1 }, ACCEPT), rule(list, DROP)],
    judged: [rule('judged', { type: 'lookup', set: 'to', from: 1, load: 0 }), rule('judged', DROP)],
  }
  for (const [name, rules] of Object.entries(chains))
    parts.wantChain(name, { chain: { kind: 'chain', ...OF, name }, rules })
  const base = { type: 'filter', hook: 'forward', priority: 0 } as const
  const jump = { type: 'immediate', load: 0, data: { verdict: 'jump', chain: 'judged' } } as const
  parts.wantChain('forward', { chain: { kind: 'chain', ...OF, name: 'forward', base }, rules: [rule('forward', jump)] })
  parts.wantElement('to', 'cali1', { verdict: 'goto', chain: list })
}

/** What packets to the pod meet: `open` without base chains, `closed` where nothing leads on, else the whole list. */
function meets(held: NftRuleset | undefined): string {
  const rulesOf = (name: string) => (held?.rules ?? []).filter(({ chain }) => chain === name).length
  if (rulesOf('forward') === 0 || rulesOf('judged') < 2) return 'open'
  const countOf = (name: string) =>
    (held?.elements ?? []).reduce((sum, { set, elements }) => sum + (set === name ? elements.length : 0), 0)
  const [to] = (held?.elements ?? []).find(({ set }) => set === 'to')?.elements ?? []
  if (to?.data === undefined || !('chain' in to.data)) return 'closed'
  const { chain = '' } = to.data
  const set = { p1: 'web', p2: 'db' }[chain] ?? ''
  return rulesOf(chain) === 2 && countOf(set) === 12_000 ? `whole ${chain}` : `a part of ${chain}`
}

async function runs(kernel: NftablesPort, later: boolean): Promise<'killed' | 'done'> {
  const parts = new NftParts(kernel, { kind: 'table', ...NAME })
  want(parts, later)
  try {
    await parts.put()
    await parts.remove(() => true)
    return 'done'
  } catch (error) {
    if (error instanceof Killed) return 'killed'
    throw error
  }
}

test('whoever is killed behind any transaction leaves a table that is closed or whole, and the next run makes it whole', async t => {
  const met = new Set<string>()
  for (let count = 1, end: string = 'killed'; end === 'killed'; count++) {
    const kernel = new FakeWorld().kernel()
    end = await runs(killedAfter(kernel, count), false)
    met.add(meets(await kernel.nftables(NAME)))
    t.is(await runs(kernel, false), 'done')
    t.is(meets(await kernel.nftables(NAME)), 'whole p1')
  }
  t.deepEqual([...met], ['closed', 'whole p1'])
  met.clear()
  for (let count = 1, end: string = 'killed'; end === 'killed'; count++) {
    const kernel = new FakeWorld().kernel()
    await runs(kernel, false)
    end = await runs(killedAfter(kernel, count), true)
    met.add(meets(await kernel.nftables(NAME)))
    await runs(kernel, true)
    const held = await kernel.nftables(NAME)
    t.is(meets(held), 'whole p2')
    t.deepEqual(held!.sets.map(({ name }) => name).sort(), ['db', 'to'])
  }
  t.deepEqual([...met], ['whole p1', 'whole p2'])
})
