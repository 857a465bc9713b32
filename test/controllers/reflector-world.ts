// A cluster on paper: nodes that hear of each state late and one after the other, with the sessions and routes that follow, and
// programs that lead, end and lead again at any point. Whatever happens, reflectors are moved one at a time, a thin mesh has two, and
// while one reflector lives no node lacks a route; what breaks that is noted in `faults`.
import type { NodeFacts } from '../../agent/cluster/nodes.ts'
import { Reflection } from '../../agent/cluster/reflection.ts'
import { BGP_ANNOTATION, NODE_ANNOTATION } from '../../api/core.ts'
import type { Resource } from '../../api/kinds.ts'
import type { PolicyReceipt } from '../../api/receipt-schemas.ts'
import { parseReflectors, REFLECTORS_ANNOTATION, type ReflectorState } from '../../api/reflectors.ts'
import { Reflectors, type ReflectorsDeps } from '../../controllers/reflectors.ts'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import { isStoreError } from '../../datastore/port.ts'
import { type Clock, ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { aResource } from '../datastore/objects.ts'
import { type Chance, lossyStore } from './world.ts'

const YEAR_MS = 365 * 86_400_000
const RACK = 'example.org/rack'
export const WISHES = ['above=6, per-rack=2, label=example.org/rack', 'above=3 per-rack=1', 'above=4', '']
const RECEIPT = { worked: {}, enforced: [], failing: [] }
export const NONE: ReflectorState = { step: 0, mesh: 'whole', nodes: [] }

/** An agent, as far as routes of the mesh go; one that is dead has no session, whatever its Node says. */
export type Agent = {
  name: string
  rack: string
  reflection: Reflection
  isReady: boolean
  isCordoned: boolean
  isDead: boolean
  /** It hears of nothing for a while. */
  isSlow: boolean
  /** It has followed a state since it started: it knows an old copy for what it is. */
  hasFollowed: boolean
  sinceMs: number
}

type Backup = { text: string | null; said: ReadonlyMap<string, PolicyReceipt> }

async function settled(): Promise<void> {
  for (let turn = 0; turn < 6; turn++) await new Promise(setImmediate)
}

export class World {
  readonly clock = new ManualClock()
  readonly store = createFakeStore()
  readonly chance: Chance
  readonly agents = new Map<string, Agent>()
  readonly faults: string[] = []
  wish = WISHES[0]!
  moves = 0
  thin = 0
  meddled = 0
  #programs: Reflectors[] = []
  #before: ReflectorState = NONE
  /** Others than programs that lead wrote since one of these did. */
  #isMeddled = false
  #isUneasy = false
  readonly #history: Backup[] = []
  /** What nodes said last. */
  readonly #said = new Map<string, PolicyReceipt>()
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
      ...{ store, clock: this.#clock(), log: silentLog, known: () => true, changed: () => undefined },
      configuration: this.#configuration(),
    })
    this.#programs.push(program)
    for (const agent of this.agents.values()) this.#tell(agent, program)
  }

  /** One may be wrong by years. */
  #clock(): Clock {
    const wrongMs = [0, 30 * YEAR_MS, -30 * YEAR_MS].find(() => this.chance(0.6)) ?? 0
    return {
      monotonicMs: () => this.clock.monotonicMs(),
      wallMs: () => this.clock.wallMs() + wrongMs,
      after: (delayMs, fire) => this.clock.after(delayMs, fire),
    }
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
    const well = { isReady: true, isCordoned: false, isDead: false, isSlow: false, hasFollowed: false }
    const agent: Agent = { name, rack, reflection: this.#reflection(name), ...well, sinceMs }
    await this.store.create('Node', this.#node(agent))
    this.agents.set(name, agent)
    await this.begin(agent)
  }

  #reflection(name: string): Reflection {
    const facts = (of: string): NodeFacts => ({ name: of, labels: {}, address: '192.0.2.1' }) as NodeFacts
    return new Reflection(name, {
      get: of => (this.agents.has(of) ? facts(of) : undefined),
      all: () => this.agents.keys().map(facts),
    })
  }

  /** It starts with what there is by now. */
  async begin(agent: Agent): Promise<void> {
    agent.reflection = this.#reflection(agent.name)
    const now = await this.#written()
    agent.reflection.set(now)
    agent.hasFollowed = now !== undefined
  }

  async change(agent: Agent, change: Partial<Agent>): Promise<void> {
    Object.assign(agent, change)
    const { resourceVersion } = (await this.store.get('Node', agent.name)).metadata
    const node = this.#node(agent)
    const next = { ...node, metadata: { ...node.metadata, resourceVersion } } as Resource<'Node'>
    const written = await this.store.update('Node', next)
    await this.store.updateStatus('Node', { ...written, status: node.status } as Resource<'Node'>)
  }

  async leave({ name }: Agent): Promise<void> {
    this.agents.delete(name)
    for (const { reflection } of this.agents.values()) reflection.nodeChanged(name)
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

  async #text(): Promise<string | undefined> {
    return (await this.store.get('ClusterInformation', 'default')).metadata.annotations?.[REFLECTORS_ANNOTATION]
  }

  async #written(): Promise<ReflectorState | undefined> {
    return parseReflectors(await this.#text())
  }

  async now(): Promise<ReflectorState> {
    return (await this.#written()) ?? NONE
  }

  /** Somebody deletes what the leader wrote, writes something else, or puts an old copy back; one after the other. */
  async meddle(): Promise<void> {
    const text = await this.#text()
    if (this.#isUneasy || (text === undefined && this.#history.length === 0)) return
    const isKnown = this.#living().every(({ hasFollowed }) => hasFollowed)
    const old = isKnown ? this.#history.findLast(() => this.chance(0.1)) : undefined
    if (old !== undefined && this.chance(0.2)) return this.restore(old)
    const edits = [null, old?.text ?? null, text?.replace('mesh=', 'mesh '), text?.replace(/nodes=.*/, 'nodes=x,y')]
    await this.write(edits.find(() => this.chance(0.4)) ?? null)
    if (this.chance(0.3)) this.loseReceipts()
  }

  async write(text: string | null): Promise<void> {
    const annotations = { [REFLECTORS_ANNOTATION]: text }
    await this.store.patch('ClusterInformation', 'default', { metadata: { annotations } })
    this.meddled++
    this.#isMeddled = true
    this.#isUneasy = true
  }

  /** As where they are put back from a backup too: nodes say it again when they have other news. */
  loseReceipts(): void {
    for (const program of this.#programs) for (const name of this.agents.keys()) program.take(name, RECEIPT)
  }

  /** Of all that the API server has, receipts too. */
  async backup(): Promise<Backup> {
    return { text: (await this.#text()) ?? null, said: new Map(this.#said) }
  }

  async restore({ text, said }: Backup): Promise<void> {
    await this.write(text)
    for (const program of this.#programs)
      for (const name of this.agents.keys()) program.take(name, said.get(name) ?? RECEIPT)
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
  async hear(share: number, who: (agent: Agent) => boolean = () => true): Promise<void> {
    const now = await this.#written()
    for (const agent of [...this.agents.values()].filter(who)) {
      if (agent.isSlow && this.chance(0.15)) agent.isSlow = false
      if (agent.isDead || agent.isSlow || !this.chance(share)) continue
      agent.isSlow = this.chance(0.05)
      agent.reflection.set(now)
      agent.hasFollowed ||= now !== undefined
      this.#routes()
      for (const program of this.#programs) if (this.chance(0.8)) this.#tell(agent, program)
    }
    if (this.#isUneasy) await this.#calm()
  }

  #tell(agent: Agent, program: Reflectors): void {
    const receipt = this.#receipt(agent)
    this.#said.set(agent.name, receipt)
    program.take(agent.name, receipt)
  }

  #receipt(agent: Agent): PolicyReceipt {
    const asked = agent.reflection.asked()
    if (asked === undefined) return RECEIPT
    const others = this.#living().filter(each => each !== agent)
    const via = [...this.agents.values()].filter(each => {
      if (!asked.reflectors.has(each.name)) return false
      if (each === agent) return true
      return this.#gives(each, agent) && others.every(far => far === each || this.#hears(each, far))
    })
    const direct = others.every(each => this.#session(agent, each))
    const { step, held } = asked
    const reflection = { step, via: via.map(({ name }) => name), direct, ...(held && { held }) }
    return { ...RECEIPT, reflection }
  }

  #living(): Agent[] {
    return [...this.agents.values()].filter(({ isDead }) => !isDead)
  }

  /** Both ends want it. */
  #session(a: Agent, b: Agent): boolean {
    const [one, other] = [a, b].map(({ reflection }) => reflection.joins(a.name, b.name))
    return !a.isDead && !b.isDead && one! && other!
  }

  /** It has a session with the other one and reflects, by what it has heard. */
  #gives(reflector: Agent, to: Agent): boolean {
    return reflector.reflection.has(reflector.name) && this.#session(reflector, to)
  }

  /** From itself, or from another reflector that has it as a client. */
  #hears(reflector: Agent, far: Agent): boolean {
    const others = this.#living().filter(each => each !== reflector && each !== far)
    return (
      this.#session(reflector, far) || others.some(each => this.#gives(each, far) && this.#session(each, reflector))
    )
  }

  /** Notes who has no way to hear of whom. */
  #routes(): void {
    const all = this.#living()
    for (const a of all)
      for (const b of all) {
        if (a === b || this.#session(a, b)) continue
        if (!all.some(each => this.#gives(each, a) && this.#gives(each, b)))
          this.faults.push(
            `${a.name} lost ${b.name}: ${JSON.stringify([a, b].map(({ reflection }) => reflection.asked()))}`,
          )
      }
  }

  async #look(): Promise<void> {
    const [before, now] = [this.#before, await this.now()]
    this.#before = now
    if (now.step === before.step) return
    this.moves++
    this.#history.push(await this.backup())
    const alive = (names: readonly string[]) => names.filter(name => this.agents.has(name))
    const came = now.nodes.filter(name => !before.nodes.includes(name))
    const went = alive(before.nodes.filter(name => !now.nodes.includes(name)))
    const moves = came.length + went.length + Number(now.mesh !== before.mesh)
    if (moves > 1 && !this.#isUneasy) this.faults.push(`several moves: ${JSON.stringify([before, now])}`)
    if (now.mesh === 'thin') {
      this.thin++
      if (alive(now.nodes).length < 2) this.faults.push(`thin: ${JSON.stringify(now)}`)
    }
    this.#isMeddled = false
  }

  /** All other reflectors live, as far as anybody has heard of them, and all nodes go by what is written. */
  spares(agent: Agent): boolean {
    const all = [...this.agents.values()]
    const reflects = ({ name }: Agent) => all.some(({ reflection }) => reflection.has(name))
    return !this.isUneasy && all.every(each => each === agent || !each.isDead || !reflects(each))
  }

  /** Not all nodes that live go by what a leader has written since somebody meddled. */
  get isUneasy(): boolean {
    return this.#isUneasy
  }

  async #calm(): Promise<void> {
    const now = await this.#written()
    const follows = ({ reflection }: Agent) =>
      reflection.asked()?.held !== true && reflection.asked()?.step === now?.step
    if (!this.#isMeddled && this.#living().every(follows)) this.#isUneasy = false
  }

  close(): void {
    for (const program of this.#programs) program.close()
  }
}
