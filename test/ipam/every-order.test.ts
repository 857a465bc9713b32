// Every order in which calls, answers and events of three nodes and two blocks can come, with writes that are lost, late or
// repeated, agents that crash and machines that are replaced: no two nodes ever have the same address, and when all has ended,
// journals and server agree. `npm run test:claims` allows more to go wrong.
import test from 'ava'
import type { Plan } from './claim-node.ts'
import { World } from './claim-world.ts'

type Scene = {
  title: string
  blocks: readonly string[]
  plans: readonly [Plan, Plan, Plan]
  /** Of calls and agents in the whole run: here, and in the long form. */
  faults: readonly [short: number, long: number]
  /** What has happened before. */
  begun?: readonly string[]
}

const IS_LONG = process.env['MARGAY_CLAIMS'] === 'long'

/**
 * Looks at every point that a run can come to; those that differ only in the order of steps that do not touch each other are
 * one. A point that was seen is not gone on from. Throws with the run where something is wrong.
 */
async function explore({ blocks, plans, begun = [] }: Scene, faults: number) {
  const seen = new Set<string>()
  const count = { points: 0, steps: 0, ends: 0, owned: [0, 0, 0] }
  const at = async (run: readonly string[]): Promise<World> => {
    const world = new World(blocks, plans, faults)
    await world.begin()
    for (const choice of run) await world.take(choice)
    count.steps += run.length
    return world
  }
  const check = (found: string | undefined, run: readonly string[]) => {
    if (found !== undefined) throw new Error([found, ...run].join('\n'))
  }
  const open: (readonly string[])[] = [begun]
  for (let from = open.pop(); from !== undefined; from = open.pop()) {
    const run = [...from]
    for (const world = await at(run); ; count.steps++) {
      check(world.clash, run)
      const key = world.key()
      if (seen.has(key)) break
      seen.add(key)
      count.points++
      const { must, may, first } = world.choices()
      if (must.length === 0) {
        count.ends++
        count.owned[world.owned]!++
        const [fault] = await (may.length === 0 ? world : await at(run)).settledFaults()
        check(fault, run)
      }
      const [next, ...others] = first.length > 0 ? first : [...must, ...may]
      if (next === undefined) break
      for (const other of others) open.push([...run, other])
      run.push(next)
      await world.take(next)
    }
  }
  return count
}

const NOTHING: Plan = { claims: 0, pods: 0, gives: 0, asks: 0, wants: 0, looks: 0, ticks: 0, ends: 0 }
const CLAIMS = { ...NOTHING, claims: 1 }
const BLOCKS = ['10.0.0.0/31', '10.0.0.2/31']
/** One has the addresses of the other. */
const TWO_SIZES = ['10.0.0.0/30', '10.0.0.2/31']
/** The first node has the first block, and has heard so. */
const HAS_ONE = ['claim 0 0', 'land 0 0', 'answer 0 0', 'hear 0 0']

const WANTS = { ...NOTHING, wants: 1 }
/** The second node has written that it needs an address of it. */
const HAS_ASKED = ['want 1 0', 'land 1 0', 'answer 1 0', 'land 1 1', 'answer 1 1']
/** The first one has lent it one, the second has read that, and a pod of it has the address. */
const HAS_BORROWED = [
  ...[...HAS_ASKED, 'hear 0 0', 'land 0 1', 'answer 0 1', 'land 0 2', 'answer 0 2'],
  ...['look 1 0', 'land 1 2', 'answer 1 2', 'use 1 0'],
]

const scenes: readonly Scene[] = [
  {
    title: 'of three nodes that claim two blocks in any order no two ever have the same',
    ...{ blocks: BLOCKS, plans: [CLAIMS, CLAIMS, CLAIMS], faults: [0, 1] },
  },
  {
    title:
      'two nodes that claim blocks of a third one in any order never have them, whatever is lost and whoever crashes',
    ...{ blocks: BLOCKS, plans: [CLAIMS, CLAIMS, CLAIMS], faults: [1, 2], begun: HAS_ONE },
  },
  {
    title:
      'a block that is given back is never had by two, whoever claims it meanwhile, whatever is lost and whoever crashes',
    ...{ blocks: BLOCKS, plans: [{ ...CLAIMS, gives: 1 }, CLAIMS, NOTHING], faults: [1, 2], begun: HAS_ONE },
  },
  {
    title: 'a block that is given back while two nodes claim it goes to one of them at the most',
    ...{ blocks: BLOCKS, plans: [{ ...CLAIMS, gives: 1 }, CLAIMS, CLAIMS], faults: [0, 1], begun: HAS_ONE },
  },
  {
    title: 'a block whose first pod comes and goes stays with its node, whatever is lost and whoever crashes',
    ...{ blocks: BLOCKS, plans: [{ ...CLAIMS, pods: 1 }, CLAIMS, CLAIMS], faults: [1, 2], begun: HAS_ONE },
  },
  {
    title: 'a block that is given back or published while pods come and go keeps those that it has',
    ...{ blocks: BLOCKS, plans: [{ ...CLAIMS, pods: 2, gives: 1, ticks: 1 }, NOTHING, NOTHING], faults: [0, 1] },
    begun: HAS_ONE,
  },
  {
    title:
      'a block whose give-back may still land is had by one node at a time, while it takes the block back and others claim it',
    ...{ blocks: BLOCKS, plans: [{ ...CLAIMS, gives: 1, ticks: 2 }, CLAIMS, NOTHING], faults: [1, 2] },
    begun: [...HAS_ONE, 'give 0 0', 'fail 0 1'],
  },
  {
    title: 'a block whose claim may still land is had by one node at a time, whoever claims it meanwhile',
    ...{ blocks: BLOCKS, plans: [{ ...CLAIMS, ticks: 1 }, CLAIMS, NOTHING], faults: [1, 2] },
    begun: ['claim 0 0', 'fail 0 0'],
  },
  {
    title:
      'a block that another node asks for is given only while no pod has an address of it, and is had by one node at a time',
    ...{ blocks: BLOCKS, plans: [{ ...CLAIMS, pods: 1 }, { ...CLAIMS, asks: 1 }, NOTHING], faults: [0, 1] },
    begun: [...HAS_ONE, 'ask 1 0', 'land 1 0', 'answer 1 0'],
  },
  {
    title: 'of two nodes that claim a block which was asked for and is given one has it at the most',
    ...{ blocks: BLOCKS, plans: [CLAIMS, { ...CLAIMS, asks: 1 }, CLAIMS], faults: [0, 1] },
    begun: [...HAS_ONE, 'ask 1 0', 'land 1 0', 'answer 1 0', 'land 1 1'],
  },
  {
    title:
      'of two nodes that ask the owner of a block for an address no two ever have the same, nor one of them and the owner',
    ...{ blocks: BLOCKS, plans: [CLAIMS, WANTS, { ...WANTS, looks: 1 }], faults: [0, 1] },
    begun: [...HAS_ONE, ...HAS_ASKED, 'want 2 0', 'land 2 0', 'answer 2 0'],
  },
  {
    title: 'an address that is asked for is had by one node at a time, whatever is lost and whoever crashes',
    ...{ blocks: BLOCKS, plans: [CLAIMS, { ...WANTS, looks: 1 }, NOTHING], faults: [1, 2] },
    begun: [...HAS_ONE, ...HAS_ASKED],
  },
  {
    title:
      'a borrowed address goes back when its pod is gone, and is had by one node at a time, whatever is lost and whoever crashes',
    ...{ blocks: BLOCKS, plans: [CLAIMS, { ...WANTS, pods: 1, looks: 3 }, NOTHING], faults: [1, 2] },
    begun: [...HAS_ONE, ...HAS_BORROWED, 'leave 1 0'],
  },
  {
    title:
      'an address whose return may still land is had by one node at a time, while the same node asks for one again',
    ...{ blocks: BLOCKS, plans: [CLAIMS, { ...WANTS, wants: 2, pods: 1, looks: 4 }, NOTHING], faults: [1, 2] },
    begun: [...HAS_ONE, ...HAS_BORROWED, 'leave 1 0', 'look 1 0', 'land 1 3', 'answer 1 3', 'fail 1 4'],
  },
  {
    title:
      'an address of a borrower that is gone for good is free in the end, and is had by one node at a time, while another one asks for it',
    ...{ blocks: BLOCKS, plans: [CLAIMS, { ...WANTS, wants: 2, looks: 1, pods: 1, ends: 1 }, WANTS], faults: [0, 1] },
    begun: [...HAS_ONE, ...HAS_BORROWED],
  },
  {
    title: 'of two blocks of different sizes over the same addresses no two nodes ever have one each',
    ...{ blocks: TWO_SIZES, plans: [CLAIMS, CLAIMS, NOTHING], faults: [0, 1] },
  },
]

for (const scene of scenes)
  test.serial(scene.title, async t => {
    t.timeout(IS_LONG ? 3_600_000 : 110_000)
    const [short, long] = scene.faults
    const count = await explore(scene, IS_LONG ? long : short)
    t.log(JSON.stringify(count))
    t.true(count.points > 200 && count.ends > 10, 'there was something to look at')
  })

test('a claim that lands twice is given back like any other where a block of another size has its addresses', async t => {
  const run = [
    ...'claim 0 0, land 0 0, answer 0 0, land 0 1, claim 1 1, answer 0 1, repeat 1 0, land 1 1, land 1 0, answer 1 0'.split(
      ', ',
    ),
  ]
  const world = new World(TWO_SIZES, [CLAIMS, CLAIMS, NOTHING], 1)
  await world.begin()
  for (const choice of run) await world.take(choice)
  t.deepEqual(await world.settledFaults(), [])
  t.is(world.clash, undefined)
  t.is(world.owned, 1)
})

test('a new machine takes no address of which the one before has said that it is free, while its owner has that already', async t => {
  const plans = [CLAIMS, { ...WANTS, wants: 2, pods: 1, looks: 4 }, NOTHING] as const
  const world = new World(BLOCKS, plans, 2)
  await world.begin()
  const gone = [
    'leave 1 0',
    'look 1 0',
    'land 1 3',
    'answer 1 3',
    'land 1 4',
    'hear 0 0',
    'hear 0 0',
    'land 0 3',
    'answer 0 3',
  ]
  const again = ['replace 1 0', 'hear 1 0', 'want 1 0', 'land 1 5', 'answer 1 5', 'land 1 6', 'answer 1 6']
  for (const choice of [...HAS_ONE, ...HAS_BORROWED, ...gone, ...again]) await world.take(choice)
  t.is(world.clash, undefined)
  t.deepEqual(await world.settledFaults(), [])
  t.is(world.clash, undefined)
})
