// Random histories of a small cluster: Nodes that come, go and come again; agents that start, end, lose their disk or their
// line; pods; two programs that both believe that they lead, over old watches, killed between any two requests.
// Invariant: no block is freed whose node has a Node object, or whose agent runs and reaches the server; in the end the blocks
// of gone nodes are freed and all others are there.
import test from 'ava'
import fc from 'fast-check'
import { Chores } from '../../controllers/chores.ts'
import { Collector } from '../../controllers/collector.ts'
import { Nodes } from '../../controllers/nodes.ts'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import { isStoreError, type Store } from '../../datastore/port.ts'
import { silentLog } from '../../lib/log.ts'
import { aNode, aPool } from '../datastore/objects.ts'
import { calicoProblemsOf } from '../ipam/calico-check.ts'
import { type Agent, startAgent } from './agents.ts'
import { chanceOf, Line, lossyStore, ProcessClock } from './world.ts'

const NODES = ['n1', 'n2', 'n3'] as const
type Name = (typeof NODES)[number]
const GRACE_MS = 20_000
const ANSWER_MS = 20_000
/** An agent that ran for so long with a whole line must have answered. */
const ANSWERS_IN_MS = 10_000
const STEP_MS = 2_000
/** A request of `lossyStore` can be late by two of the model's turns. */
const LATE_TURNS = 2

type Op =
  | { do: 'register' | 'deregister' | 'start' | 'kill' | 'new machine' | 'cut' | 'join' | 'add' | 'remove'; node: Name }
  | { do: 'crash' | 'stop' | 'old watches' | 'good watches'; program: 0 | 1 }
  | { do: 'wait'; steps: number }
  /** The Node goes, and comes back while no program hears of it. */
  | { do: 'come back unseen'; node: Name; steps: number }

const op: fc.Arbitrary<Op> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constantFrom(
        ...([
          'register',
          'deregister',
          'deregister',
          'start',
          'kill',
          'new machine',
          'cut',
          'join',
          'add',
          'remove',
        ] as const),
      ),
      node: fc.constantFrom(...NODES),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constantFrom(...(['crash', 'stop', 'old watches', 'good watches'] as const)),
      program: fc.constantFrom(0, 1),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('come back unseen' as const),
      node: fc.constantFrom(...NODES),
      steps: fc.integer({ min: 1, max: 24 }),
    }),
  },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('wait' as const), steps: fc.integer({ min: 1, max: 15 }) }) },
)

const settled = async () => {
  for (let turn = 0; turn < 6; turn++) await new Promise(setImmediate)
}

class World {
  readonly store: FakeStore = createFakeStore()
  readonly agents = new Map<Name, Agent>()
  readonly disks = new Map<Name, Agent['db']>()
  /** Since when an agent runs with a whole line. */
  readonly #reachesSinceMs = new Map<Name, number>()
  readonly programs: Program[] = []
  /** Blocks that were freed although a machine still had pods in them: its agent was away for long, and it had no Node. */
  readonly fair = new Set<string>()
  readonly faults: string[] = []
  /** Since which turn of events each Node is there. One that comes while a delete is on its way comes too late for it. */
  #there = new Map<string, number>()
  #turns = 0
  nowMs = 0
  frees = 0
  #pods = 0

  constructor(seed: number) {
    this.programs.push(new Program(this, chanceOf(seed)), new Program(this, chanceOf(seed + 1)))
  }

  /** The store as a program sees it, before its line: each free is judged in the moment in which it happens. */
  readonly watched: Store = {
    ...this.store,
    delete: async (kind, name, options) => {
      const block = kind === 'IPAMBlock' ? await this.store.get('IPAMBlock', name).catch(() => undefined) : undefined
      const there = (await this.#nodes()).filter(
        node => this.#turns - (this.#there.get(node) ?? this.#turns) > LATE_TURNS,
      )
      await this.store.delete(kind, name, options)
      if (block?.metadata.annotations?.['margay/owner-asked'] === undefined)
        this.faults.push(`${name} was freed after its owner answered`)
      if (block !== undefined) this.#judge(block.spec.cidr, block.spec.affinity!.replace('host:', '') as Name, there)
    },
  }

  #judge(cidr: string, node: Name, there: readonly string[]): void {
    this.frees++
    if (there.includes(node)) this.faults.push(`${cidr} of ${node} was freed, which has a Node object`)
    const sinceMs = this.#reachesSinceMs.get(node)
    if (sinceMs !== undefined && this.nowMs - sinceMs >= ANSWERS_IN_MS)
      this.faults.push(`${cidr} of ${node} was freed, whose agent runs and reaches the server`)
    this.fair.add(cidr)
  }

  async #nodes(): Promise<string[]> {
    return (await this.store.list('Node')).map(({ metadata }) => metadata.name)
  }

  async #settle(): Promise<void> {
    await settled()
    this.#turns++
    this.#there = new Map((await this.#nodes()).map(node => [node, this.#there.get(node) ?? this.#turns]))
  }

  async apply(step: Op): Promise<void> {
    if (step.do === 'wait') return this.pass(step.steps)
    if (step.do === 'come back unseen') return this.#comeBack(step.node, step.steps)
    if ('program' in step) return this.programs[step.program]!.apply(step.do)
    const { node } = step
    const agent = this.agents.get(node)
    switch (step.do) {
      case 'register':
        await this.store.create('Node', aNode(node)).catch(known)
        break
      case 'deregister':
        await this.store.delete('Node', node).catch(known)
        break
      case 'start':
        if (agent === undefined) this.agents.set(node, startAgent(this.store, node, this.disks.get(node)))
        this.disks.set(node, this.agents.get(node)!.db)
        break
      case 'kill':
        this.agents.delete(node)
        await agent?.kill()
        break
      case 'new machine':
        this.agents.delete(node)
        this.disks.delete(node)
        await agent?.kill()
        break
      case 'cut':
        agent?.line.set('cut')
        break
      case 'join':
        agent?.line.set('whole')
        break
      case 'add':
        agent?.addPod(`p${++this.#pods}`)
        break
      case 'remove': {
        const [handle] = agent?.pods().keys() ?? []
        if (handle !== undefined) await agent!.allocator.release(handle)
      }
    }
    this.#noteReach()
    await this.#settle()
  }

  async #comeBack(node: Name, steps: number): Promise<void> {
    await this.apply({ do: 'kill', node })
    await this.apply({ do: 'deregister', node })
    await this.pass(steps)
    for (const program of this.programs) program.apply('old watches')
    await this.apply({ do: 'register', node })
    await this.pass(25)
    for (const program of this.programs) program.apply('good watches')
  }

  async pass(steps: number): Promise<void> {
    for (let i = 0; i < steps; i++) {
      this.nowMs += STEP_MS
      for (const { clock } of this.agents.values()) clock.advance(STEP_MS)
      for (const program of this.programs) program.advance(STEP_MS)
      await this.#settle()
      this.#noteReach()
    }
  }

  #noteReach(): void {
    for (const node of NODES) {
      const reaches = this.agents.get(node)?.line.whole === true
      if (!reaches) this.#reachesSinceMs.delete(node)
      else if (!this.#reachesSinceMs.has(node)) this.#reachesSinceMs.set(node, this.nowMs)
    }
  }

  /** Every line is whole, and one program is left; nodes without a Node object have no agent. */
  async end(): Promise<void> {
    for (const program of this.programs) program.apply('good watches')
    await this.programs.pop()!.close()
    for (const node of NODES) {
      this.agents.get(node)?.line.set('whole')
      const there = await this.store.get('Node', node).catch(() => undefined)
      if (there === undefined) await this.apply({ do: 'new machine', node })
      else await this.apply({ do: 'start', node })
    }
    await this.store.create('Node', aNode('n9')) // a cluster of no Node is one that lost them
    await this.pass(20)
    for (let i = 0; i < 60; i++) {
      for (const { clock } of this.agents.values()) clock.advance(20_000)
      for (const program of this.programs) program.advance(20_000)
      this.nowMs += 20_000
      await settled()
    }
    await this.pass(20)
  }

  async close(): Promise<void> {
    for (const program of this.programs) await program.close()
    for (const agent of this.agents.values()) await agent.kill()
  }
}

/** One margay-controllers without a lease: both always believe that they lead. */
class Program {
  readonly #world: World
  readonly #chance: ReturnType<typeof chanceOf>
  #clock!: ProcessClock
  #line!: Line
  #nodes!: Nodes
  #chores!: Chores
  #stopped = 0

  constructor(world: World, chance: ReturnType<typeof chanceOf>) {
    this.#world = world
    this.#chance = chance
    queueMicrotask(() => this.#begin())
  }

  #begin(): void {
    this.#clock = new ProcessClock()
    this.#line = new Line(lossyStore(this.#world.watched, this.#chance, 0.1))
    const { store } = this.#line
    const clock = this.#clock
    const nodes: Nodes = new Nodes({ store, clock, gone: () => chores.hurry('blocks') })
    const collector = new Collector({
      ...{
        store,
        nodes,
        clock,
        log: silentLog,
        identity: 'c',
        answerMs: ANSWER_MS,
        freed: () => undefined,
        counted: () => undefined,
      },
      pools: () => [],
      settings: () => ({ graceMs: GRACE_MS, periodMs: 30_000 }),
    })
    const chores: Chores = new Chores([collector], { clock, log: silentLog })
    this.#nodes = nodes
    this.#chores = chores
    this.#stopped = 0
    nodes.start()
    chores.lead(true)
  }

  apply(what: 'crash' | 'stop' | 'old watches' | 'good watches'): void {
    if (what === 'stop') this.#stopped = 60_000
    else if (what === 'old watches') this.#line.set('no watches')
    else if (what === 'good watches') this.#line.set('whole')
    else {
      // whatever was under way gets no further
      this.#line.end()
      this.#nodes.close()
      this.#chores.lead(false)
      this.#begin()
    }
  }

  advance(ms: number): void {
    if (this.#stopped <= 0) this.#clock.advance(ms)
    else this.#clock.advanceStopped(ms)
    this.#stopped -= ms
  }

  async close(): Promise<void> {
    this.#nodes.close()
    await this.#chores.close()
  }
}

function known(error: unknown): void {
  if (!isStoreError(error)) throw error
}

async function play(seed: number, history: readonly Op[]): Promise<World> {
  const world = new World(seed)
  await world.store.create('IPPool', aPool('p', { cidr: '10.9.0.0/23', blockSize: 29 }))
  for (const node of NODES) {
    await world.apply({ do: 'register', node })
    await world.apply({ do: 'start', node })
  }
  await world.pass(10)
  for (const node of NODES) await world.apply({ do: 'add', node })
  for (const step of history) await world.apply(step)
  await world.end()
  return world
}

/** What is wrong at the end. */
async function faultsOf(world: World): Promise<string[]> {
  const faults = [...world.faults]
  const blocks = new Map((await world.store.list('IPAMBlock')).map(({ spec }) => [spec.cidr, spec.affinity]))
  for (const [cidr, affinity] of blocks)
    if (!world.agents.has(affinity!.replace('host:', '') as Name)) faults.push(`${cidr} of ${affinity} is not freed`)
  for (const [node, agent] of world.agents)
    for (const [handle, held] of agent.pods())
      for (const { block } of held)
        if (blocks.get(block) !== `host:${node}` && !world.fair.has(block))
          faults.push(`${block} with ${handle} of ${node} is of ${blocks.get(block)}`)
  // pods of blocks that were fairly freed have addresses that nobody knows of, unless their agent got the block back
  const isFair = (block: string) => world.fair.has(block) && !blocks.has(block)
  // an agent that misses most Nodes does not believe the server, and publishes nothing
  const believes = ({ allocator }: Agent) =>
    !allocator.conditions().some(({ message }) => /nothing is written to the API server: its list/.test(message))
  const publishing = [...world.agents].filter(([, agent]) => believes(agent))
  const running = publishing.map(([name, agent]) => ({
    name,
    addresses: [...agent.pods()].flatMap(([handle, held]) =>
      held.flatMap(({ address, block }) => (isFair(block) ? [] : [[address, handle] as const])),
    ),
  }))
  faults.push(...(await calicoProblemsOf(world.store, running, Date.now())))
  return faults
}

test('no block of a node that lives is freed, and those of gone nodes are in the end, whatever happens', async t => {
  t.timeout(100_000)
  let frees = 0
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0 }), fc.array(op, { minLength: 15, maxLength: 40 }), async (seed, history) => {
      const world = await play(seed, history)
      frees += world.frees
      const faults = await faultsOf(world)
      await world.close()
      for (const fault of faults) t.log(fault)
      if (faults.length > 0) throw new Error(faults.join('\n'))
    }),
    { numRuns: Number(process.env['MARGAY_RUNS'] ?? 12), endOnFailure: true },
  )
  t.true(frees > 0)
})
