// A cluster on paper: nodes that hear of each state late and one after the other, with the sessions and routes that follow, and
// programs that lead, end and lead again at any point. Whatever happens, reflectors are moved one at a time, a thin mesh has two, and
// while one reflector lives no node lacks a route.
import test from 'ava'
import { BGP_ANNOTATION, NODE_ANNOTATION } from '../../api/core.ts'
import type { Resource } from '../../api/kinds.ts'
import { parseReflectors, REFLECTORS_ANNOTATION, type ReflectorState } from '../../api/reflectors.ts'
import { Reflectors, type ReflectorsDeps } from '../../controllers/reflectors.ts'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import { isStoreError } from '../../datastore/port.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { aResource } from '../datastore/objects.ts'
import { type Chance, chanceOf, lossyStore } from './world.ts'

const RACK = 'example.org/rack'
const WISHES = ['above=6, per-rack=2, label=example.org/rack', 'above=3 per-rack=1', 'above=4', '']
const RECEIPT = { worked: {}, enforced: [], failing: [] }
const NONE: ReflectorState = { step: 0, mesh: 'whole', nodes: [] }

/** An agent, as far as routes of the mesh go; one that is dead has no session, whatever its Node says. */
type Agent = {
  name: string
  rack: string
  state: ReflectorState
  isReady: boolean
  isCordoned: boolean
  isDead: boolean
  /** It hears of nothing for a while. */
  isSlow: boolean
  sinceMs: number
}

async function settled(): Promise<void> {
  for (let turn = 0; turn < 6; turn++) await new Promise(setImmediate)
}

class World {
  readonly clock = new ManualClock()
  readonly store = createFakeStore()
  readonly chance: Chance
  readonly agents = new Map<string, Agent>()
  readonly faults: string[] = []
  wish = WISHES[0]!
  moves = 0
  thin = 0
  #programs: Reflectors[] = []
  #before: ReflectorState = NONE
  #names = 0

  constructor(chance: Chance) {
    this.chance = chance
  }

  async start(): Promise<void> {
    const metadata = { name: 'default' }
    await this.store.create('ClusterInformation', aResource('ClusterInformation', { metadata, spec: {} }))
    for (let i = 0; i < 9; i++) await this.join()
    this.lead()
  }

  lead(): void {
    const store = lossyStore(this.#seen(), this.chance, 0.1)
    const program = new Reflectors({
      ...{ store, clock: this.clock, log: silentLog, known: () => true, changed: () => undefined },
      configuration: this.#configuration(),
    })
    this.#programs.push(program)
    for (const agent of this.agents.values()) this.#tell(agent, program)
  }

  #configuration(): ReflectorsDeps['configuration'] {
    const wish = () => this.wish
    return {
      unknown: undefined,
      get current() {
        const annotations = wish() === '' ? {} : { [BGP_ANNOTATION.autoReflectors]: wish() }
        return aResource('BGPConfiguration', { metadata: { name: 'default', annotations }, spec: {} })
      },
    }
  }

  /** Looks at each state that is written. */
  #seen(): FakeStore {
    return {
      ...this.store,
      patch: async (kind, name, patch, options) => {
        const written = await this.store.patch(kind, name, patch, options)
        await this.#look()
        return written
      },
    }
  }

  /** One of two that believe to lead goes on, or none. */
  dethrone(): void {
    this.#programs.shift()?.close()
    if (this.#programs.length === 0 || this.chance(0.3)) this.lead()
  }

  async join(): Promise<void> {
    const name = `n${this.#names++}`
    const rack = `r${this.#names % 3}`
    const sinceMs = this.clock.wallMs()
    const well = { isReady: true, isCordoned: false, isDead: false, isSlow: false }
    const agent: Agent = { name, rack, state: NONE, ...well, sinceMs }
    await this.store.create('Node', this.#node(agent))
    agent.state = await this.now()
    this.agents.set(name, agent)
  }

  async change(agent: Agent, change: Partial<Agent>): Promise<void> {
    Object.assign(agent, change)
    const { resourceVersion } = (await this.store.get('Node', agent.name)).metadata
    const node = this.#node(agent)
    await this.store.update('Node', { ...node, metadata: { ...node.metadata, resourceVersion } } as Resource<'Node'>)
  }

  async leave({ name }: Agent): Promise<void> {
    this.agents.delete(name)
    await this.store.delete('Node', name)
    for (const program of this.#programs) program.take(name, undefined)
  }

  #node({ name, rack, isReady, isCordoned, sinceMs }: Agent): Resource<'Node'> {
    const lastTransitionTime = new Date(sinceMs).toISOString()
    return aResource('Node', {
      metadata: { name, labels: { [RACK]: rack }, annotations: { [NODE_ANNOTATION.ipv4Address]: '192.0.2.1/24' } },
      spec: isCordoned ? { unschedulable: true } : {},
      status: { conditions: [{ type: 'Ready', status: isReady ? 'True' : 'Unknown', lastTransitionTime }] },
    })
  }

  async now(): Promise<ReflectorState> {
    const { annotations = {} } = (await this.store.get('ClusterInformation', 'default')).metadata
    return parseReflectors(annotations[REFLECTORS_ANNOTATION]) ?? NONE
  }

  /** Programs that both believe to lead do so at the same time. */
  async work(): Promise<void> {
    const runs = this.#programs.map(program =>
      program.run().catch(error => {
        if (!isStoreError(error)) throw error
      }),
    )
    await Promise.all(runs)
    await settled()
  }

  /** Some agents hear of what is there by now, and say what they have. */
  async hear(share: number): Promise<void> {
    const now = await this.now()
    for (const agent of this.agents.values()) {
      if (agent.isSlow && this.chance(0.15)) agent.isSlow = false
      if (agent.isDead || agent.isSlow || !this.chance(share)) continue
      agent.isSlow = this.chance(0.05)
      agent.state = now
      this.#routes()
      for (const program of this.#programs) if (this.chance(0.8)) this.#tell(agent, program)
    }
  }

  #tell(agent: Agent, program: Reflectors): void {
    const { state } = agent
    const others = this.#living().filter(each => each !== agent)
    const via = [...this.agents.values()].filter(each => {
      if (!state.nodes.includes(each.name)) return false
      if (each === agent) return true
      return this.#gives(each, agent) && others.every(far => far === each || this.#session(each, far))
    })
    const direct = others.every(each => this.#session(agent, each))
    const reflection = { step: state.step, via: via.map(({ name }) => name), direct }
    program.take(agent.name, state === NONE ? RECEIPT : { ...RECEIPT, reflection })
  }

  #living(): Agent[] {
    return [...this.agents.values()].filter(({ isDead }) => !isDead)
  }

  /** Both ends want it. */
  #session(a: Agent, b: Agent): boolean {
    const wants = ({ state: { mesh, nodes } }: Agent) => {
      const there = nodes.filter(name => this.agents.has(name))
      return mesh === 'whole' || there.length < 2 || [a, b].some(({ name }) => there.includes(name))
    }
    return !a.isDead && !b.isDead && wants(a) && wants(b)
  }

  /** It has a session with the other one and reflects, by what it has heard. */
  #gives(reflector: Agent, to: Agent): boolean {
    return reflector.state.nodes.includes(reflector.name) && this.#session(reflector, to)
  }

  /** Notes who has no way to hear of whom. */
  #routes(): void {
    const all = this.#living()
    for (const a of all)
      for (const b of all) {
        if (a === b || this.#session(a, b)) continue
        if (!all.some(each => this.#gives(each, a) && this.#gives(each, b)))
          this.faults.push(`${a.name} lost ${b.name}: ${JSON.stringify([a.state, b.state])}`)
      }
  }

  async #look(): Promise<void> {
    const [before, now] = [this.#before, await this.now()]
    this.#before = now
    if (now.step === before.step) return
    this.moves++
    const alive = (names: readonly string[]) => names.filter(name => this.agents.has(name))
    const came = now.nodes.filter(name => !before.nodes.includes(name))
    const went = alive(before.nodes.filter(name => !now.nodes.includes(name)))
    const moves = came.length + went.length + Number(now.mesh !== before.mesh)
    if (moves > 1) this.faults.push(`several moves: ${JSON.stringify([before, now])}`)
    if (now.mesh === 'thin') {
      this.thin++
      if (alive(now.nodes).length < 2) this.faults.push(`thin: ${JSON.stringify(now)}`)
    }
  }

  /** All other reflectors live, as far as anybody has heard of them. */
  spares(agent: Agent): boolean {
    const named = new Set([...this.agents.values()].flatMap(({ state }) => state.nodes))
    return [...this.agents.values()].every(each => each === agent || !each.isDead || !named.has(each.name))
  }

  close(): void {
    for (const program of this.#programs) program.close()
  }
}

async function shake(world: World): Promise<void> {
  const { chance } = world
  const all = [...world.agents.values()]
  const one = all.find(() => chance(1 / all.length)) ?? all[0]!
  if (chance(0.15)) world.dethrone()
  if (chance(0.1) && all.length < 14) await world.join()
  if (chance(0.08) && all.length > 5 && world.spares(one)) return world.leave(one)
  if (chance(0.06) && world.spares(one)) one.isDead = true
  if (chance(one.isReady ? 0.05 : 0.5))
    await world.change(one, { isReady: !one.isReady, sinceMs: world.clock.wallMs() })
  // its agent starts with what there is by now
  for (const each of all)
    if (each.isDead && chance(0.15)) Object.assign(each, { isDead: false, state: await world.now() })
  if (chance(one.isCordoned ? 0.5 : 0.05)) await world.change(one, { isCordoned: !one.isCordoned })
  if (chance(0.05)) await world.change(one, { rack: `r${chance(0.5) ? 0 : 1}` })
  if (chance(0.08)) world.wish = ['', ...WISHES].find(() => chance(0.3)) ?? WISHES[2]!
}

test('reflectors are moved one at a time, never fewer than two, and no node lacks a route, whatever ends between two steps', async t => {
  let [moves, thin] = [0, 0]
  for (let seed = 1; seed <= 12; seed++) {
    const world = new World(chanceOf(seed * 7919))
    await world.start()
    for (let step = 0; step < 250; step++) {
      world.clock.advance(world.chance(0.1) ? 130_000 : 2_000)
      if (world.chance(0.4)) await shake(world)
      await world.hear(world.chance(0.5) ? 1 : 0.3)
      await world.work()
      if (world.faults.length > 0) break
    }
    t.deepEqual(world.faults.slice(0, 3), [], `seed ${seed}`)
    moves += world.moves
    thin += world.thin
    world.close()
  }
  t.true(moves > 200 && thin > 40, `${moves} moves, ${thin} of them while the mesh was thin`)
})

test('what is left alone comes to rest: with reflectors in each rack, and after the wish goes without any', async t => {
  for (const seed of [1, 2, 3]) {
    const world = new World(chanceOf(seed))
    await world.start()
    const rest = async () => {
      for (let step = 0; step < 200; step++) {
        world.clock.advance(2_000)
        await world.hear(0.6)
        await world.work()
      }
      return world.now()
    }
    const { mesh, nodes } = await rest()
    t.is(mesh, 'thin')
    t.is(nodes.length, 6)
    const racks = nodes.map(name => world.agents.get(name)!.rack).sort()
    t.deepEqual(racks, ['r0', 'r0', 'r1', 'r1', 'r2', 'r2'])
    // one that is about to be rebooted is replaced, and the others stay
    await world.change(world.agents.get(nodes[0]!)!, { isCordoned: true })
    const after = await rest()
    t.false(after.nodes.includes(nodes[0]!))
    t.deepEqual(
      nodes.filter(name => !after.nodes.includes(name)),
      [nodes[0]],
    )
    world.wish = ''
    t.deepEqual(await rest(), NONE)
    t.deepEqual(world.faults, [])
    world.close()
  }
})
