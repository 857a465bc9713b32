// The tables of policy in a real kernel: every step of a walk is taken, and what stands is found again as it was wanted.
import test from 'ava'
import fc from 'fast-check'
import { PolicyCalculator } from '../../../felix/policy/calculator.ts'
import { dispatch } from '../../../felix/policy/dispatch.ts'
import { openKernel } from '../../../kernel/linux/kernel.ts'
import { NftParts } from '../../../kernel/reconcile/nft-parts.ts'
import { isRoot, scratchNetns } from '../../kernel/scratch-netns.ts'
import { KeptTable, TABLE } from './kept-table.ts'
import { someChange } from './worlds.ts'

const netns = isRoot ? test : test.skip
if (!isRoot)
  test('tables are written by root only', t => {
    t.log('skipped: needs root')
    t.pass()
  })

const NAME = { family: TABLE.family, name: TABLE.table }

/** Wants all of a table. */
function wantAll(parts: NftParts, kept: KeptTable): void {
  const { sets, chains } = dispatch(TABLE, 'cali')
  for (const set of [...sets, ...kept.sets.values()]) parts.wantSet(set.name, set)
  for (const program of [...chains, ...kept.chains.values()]) parts.wantChain(program.chain.name, program)
  for (const [name, keys] of kept.elements) for (const key of keys) parts.wantElement(name, key, 'member')
  for (const [map, verdicts] of kept.interfaces)
    for (const [name, verdict] of verdicts) parts.wantElement(map, name, verdict)
}

/** Wants what a step told. */
function want(parts: NftParts, { sets, elements, chains, interfaces }: ReturnType<PolicyCalculator['step']>): void {
  for (const [name, set] of sets) parts.wantSet(name, set)
  for (const [name, { added, removed }] of elements) {
    for (const key of removed) parts.wantElement(name, key, undefined)
    for (const key of added) parts.wantElement(name, key, 'member')
  }
  for (const [name, program] of chains) parts.wantChain(name, program)
  for (const [map, verdicts] of interfaces)
    for (const [name, verdict] of verdicts) parts.wantElement(map, name, verdict)
}

netns('a kernel takes every step of a walk of policies, and holds after it what is wanted', async t => {
  using host = openKernel()
  const walks = fc.sample(fc.array(someChange, { minLength: 30, maxLength: 30 }), { seed: 1, numRuns: 20 })
  for (const [n, walk] of walks.entries()) {
    using space = scratchNetns()
    using kernel = host.inside(space.path)
    // in some, sources share sets
    const calculator = new PolicyCalculator(TABLE, [undefined, 0, 2][n % 3])
    const kept = new KeptTable()
    const parts = new NftParts(kernel, { kind: 'table', ...NAME })
    wantAll(parts, kept)
    for (const [i, { kind, key, value }] of walk.entries()) {
      if (kind === 'local') calculator.setLocal(key, value)
      else if (kind === 'answer') calculator.setAnswer(key, value)
      else calculator.set(kind, key, value as never)
      if (i % 3 !== 0) continue
      const differences = calculator.step()
      kept.apply(differences)
      want(parts, differences)
      t.deepEqual((await parts.put()).refused, [])
      t.deepEqual((await parts.remove(() => true)).refused, [])
    }
    kept.apply(calculator.step())
    wantAll(parts, kept)
    await parts.put()
    const again = new NftParts(kernel, { kind: 'table', ...NAME })
    wantAll(again, kept)
    const { written, refused } = await again.put()
    t.deepEqual(
      { written, refused, left: (await again.remove(() => true)).withheld },
      { written: [], refused: [], left: [] },
    )
  }
})

netns('CIDRs that hold one another come and go in the kernel as their union does', async t => {
  using host = openKernel()
  using space = scratchNetns()
  using kernel = host.inside(space.path)
  const calculator = new PolicyCalculator(TABLE)
  const parts = new NftParts(kernel, { kind: 'table', ...NAME })
  calculator.set('endpoint', 'ns/a', { kind: 'pod', labels: { app: 'a' }, addresses: ['10.0.0.1'], ports: [] })
  calculator.setLocal('ns/a', { interfaceName: 'cali1', profiles: [] })
  calculator.set('policy', 'p', {
    ref: { kind: 'GlobalNetworkPolicy', name: 'p' },
    tier: 'default',
    order: 1,
    sortName: 'p//GlobalNetworkPolicy',
    selector: 'all()',
    ingress: [{ action: 'allow', source: { selector: 'net == "far"' }, destination: {} }],
    hostStage: 'normal',
  })
  const nets = async (...all: string[]) => {
    calculator.set('networkSet', 'n', { labels: { net: 'far' }, nets: all })
    want(parts, calculator.step())
    t.deepEqual((await parts.put()).refused, [])
    t.deepEqual((await parts.remove(() => true)).refused, [])
    const { elements, sets } = (await kernel.nftables(NAME))!
    const found = sets.find(({ flags }) => flags?.includes('interval'))
    return elements.filter(({ set }) => set === found?.name).flatMap(each => each.elements.flatMap(({ key }) => key))
  }
  t.deepEqual(await nets('10.0.0.0/16', '10.1.0.0/16', '10.2.0.1/32'), ['10.0.0.0/16', '10.1.0.0/16', '10.2.0.1'])
  t.deepEqual(await nets('10.0.0.0/16', '10.1.0.0/16', '10.2.0.1/32', '10.0.0.0/8'), ['10.0.0.0/8'])
  t.deepEqual(await nets('10.0.0.0/16', '10.2.0.0/24'), ['10.0.0.0/16', '10.2.0.0/24'])
  t.deepEqual(await nets('0.0.0.0/0'), ['0.0.0.0/0'])
  t.deepEqual(await nets(), [])
})

netns('a kernel takes lists of many tiers that pass to each other, as it takes 16 chains deep at most', async t => {
  using host = openKernel()
  using space = scratchNetns()
  using kernel = host.inside(space.path)
  const calculator = new PolicyCalculator(TABLE)
  const kept = new KeptTable()
  const parts = new NftParts(kernel, { kind: 'table', ...NAME })
  calculator.set('endpoint', 'ns/a', { kind: 'pod', labels: { app: 'a' }, addresses: ['10.0.0.1'], ports: [] })
  calculator.setLocal('ns/a', { interfaceName: 'cali1', profiles: [] })
  for (let i = 0; i < 40; i++) {
    calculator.set('tier', `t${i}`, { name: `t${i}`, order: i, defaultAction: i % 2 === 0 ? 'deny' : 'pass' })
    calculator.set('policy', `p${i}`, {
      ...{ ref: { kind: 'GlobalNetworkPolicy', name: `p${i}` }, tier: `t${i}`, order: 1, sortName: `p${i}` },
      ...{ selector: 'all()', hostStage: 'normal' },
      ingress: [{ action: 'pass', source: { nets: [`10.${i}.0.0/16`] }, destination: {} }],
    })
  }
  kept.apply(calculator.step())
  wantAll(parts, kept)
  t.deepEqual((await parts.put()).refused, [])
})
