// What runtimes send to one node, in any order and repetition, and what must come of it:
//   - Verbs about one container, or one pod, take effect in the order in which they came, whatever is still under way, and with
//     CNI_ARGS or without: a DEL that comes while ADD runs leaves nothing, an ADD that comes while DEL runs leaves the interface.
//   - An ADD that is answered with 0 has a complete interface, which stays until a DEL of it, a GC that does not list it, the end
//     of its namespace, an ADD of it in another namespace, or a newer sandbox of its pod. Asked again it gives the same addresses.
//   - An ADD that is refused leaves nothing of its own; in a namespace that is gone it is refused and changes nothing.
//   - DEL is answered with 0, always, and leaves nothing: twice, for what never was, without a namespace.
//   - GC takes what its list lacks, but for what is younger than a minute and has its namespace: the list may be older than that.
//   - CHECK and STATUS change nothing.
//   - A node that is killed and started again has what was answered. What was not is there as a whole or not at all.
//   - No address is had twice, none is held by nobody, and no interface is without its addresses, after any of that.
import { createFakeStore } from '../../datastore/fake.ts'
import type { FakeWorld } from '../../kernel/fake/world.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { openDatabase } from '../../lib/database.ts'
import { type Chance, chanceOf } from '../controllers/world.ts'
import { aPool } from '../ipam/world.ts'
import { aHost, call, type Host } from './host.ts'
import { Mortal } from './kill-points.ts'
import { faultsOf, mismatchesOf, settled } from './sound.ts'

/** Two sandboxes of one pod, another pod, and a container of no pod. */
export const CONTAINERS = ['a', 'b', 'c', 'd'] as const
type Container = (typeof CONTAINERS)[number]
const PODS: Partial<Record<Container, string>> = { a: 'db-0', b: 'db-0', c: 'web' }
const INTERFACES = [
  { network: 'net', ifname: 'eth0' },
  { network: 'second', ifname: 'net1' },
  { network: 'second', ifname: 'eth0' },
] as const

type Attachment = { id: string; container: Container; network: string; ifname: string }
const ATTACHMENTS: readonly Attachment[] = CONTAINERS.flatMap(container =>
  INTERFACES.map(each => ({ ...each, container, id: `${each.network}/${container}/${each.ifname}` })),
)

/** What comes before the list of a GC: a minute, by which it may be late. */
const GC_MS = 60_000

export type Verb =
  | { verb: 'ADD'; container: Container; interface: 0 | 1 | 2; netns: 0 | 1 }
  /** `bare`: without CNI_ARGS and namespace, as a runtime that lost its records. */
  | { verb: 'DEL' | 'CHECK'; container: Container; interface: 0 | 1 | 2; bare: boolean }
  /** `lists`: what is there by the runtime's records, what was before the last step, or nothing. */
  | { verb: 'GC'; network: 'net' | 'second'; lists: 'all' | 'old' | 'none' }
  | { verb: 'STATUS' }

/** `turns` of the event loop lie before each. */
export type Step =
  | { do: 'send'; verbs: readonly (readonly [turns: number, verb: Verb])[]; killAfter?: number | undefined }
  | { do: 'restart' }
  | { do: 'end namespace' | 'make namespace'; container: Container; netns: 0 | 1 }
  | { do: 'wait'; seconds: number }

/** What must be there of an attachment: all of it (its interface may be gone with its namespace), or either all or nothing. */
type State =
  | { is: 'there'; netns: string; linked: boolean; sinceMs: number; addresses?: string }
  | { is: 'either'; sinceMs: number }

type Expected = { exit: 0 | 1 | 'any'; touches: readonly Attachment[]; state?: State & { is: 'there' } }

/** What came since the last rest: what a GC took, and the ADDs, which may not have begun when it came. */
type Batch = { taken: Set<string>; adds: Map<string, Expected> }

/** How a world is: where its namespaces lie, and how long what is asked of it takes. */
export type WorldOptions = { prefix?: string; pause?: () => Promise<number> }

/** Some turns of the event loop, in which a kernel in memory does what it is asked for. What waits for time gets it then. */
async function manyTurns(): Promise<number> {
  for (let turn = 0; turn < 300; turn++) await new Promise(setImmediate)
  return 100
}

export class History {
  readonly faults: string[] = []
  /** How often what happened, so that a test sees that something did. */
  readonly counts = { added: 0, refused: 0, killed: 0, collected: 0 }
  readonly #world: FakeWorld
  readonly #prefix: string
  readonly #pause: () => Promise<number>
  readonly #store = createFakeStore()
  readonly #db = openDatabase(':memory:')
  readonly #chance: Chance
  readonly #states = new Map<string, State>()
  readonly #namespaces = new Set<string>()
  #listedBefore: readonly string[] = []
  #host!: Host
  #mortal = new Mortal()
  #nowMs = 0

  /** `pause` lets what is under way go on, and says how many milliseconds pass. */
  constructor(world: FakeWorld, seed: number, { prefix = '/run/netns/', pause = manyTurns }: WorldOptions = {}) {
    this.#world = world
    this.#chance = chanceOf(seed)
    this.#prefix = prefix
    this.#pause = pause
  }

  async begin(): Promise<void> {
    for (const container of CONTAINERS) this.#make(this.#netnsOf(container, 0))
    for (const pool of [aPool('v4', '10.0.0.0/24'), aPool('v6', 'fd00::/112')]) await this.#store.create('IPPool', pool)
    await this.#start()
  }

  async apply(step: Step): Promise<void> {
    const listed = [...this.#states.keys()]
    switch (step.do) {
      case 'send':
        await this.#send(step.verbs, step.killAfter)
        break
      case 'restart':
        await this.#restart()
        break
      case 'make namespace':
        this.#make(this.#netnsOf(step.container, step.netns))
        break
      case 'end namespace':
        await this.#end(this.#netnsOf(step.container, step.netns))
        break
      case 'wait':
        this.#host.clock.advance(step.seconds * 1000)
    }
    await this.#rest()
    this.#listedBefore = listed
    await this.#look(JSON.stringify(step))
  }

  /** DEL of everything: nothing may be left. */
  async end(): Promise<void> {
    const all = ATTACHMENTS.map(({ container, network, ifname }) => {
      const at = INTERFACES.findIndex(each => each.network === network && each.ifname === ifname)
      return [0, { verb: 'DEL', container, interface: at as 0 | 1 | 2, bare: false }] as const
    })
    await this.apply({ do: 'send', verbs: all })
    const { deps, felix, allocator } = this.#host
    if (deps.ipam.held().size > 0) this.faults.push(`${[...deps.ipam.held().keys()]} are held at the end`)
    await felix.close()
    await allocator.close()
  }

  /** For a world that outlives its test. */
  removeNamespaces(): void {
    for (const netns of this.#namespaces) this.#world.removeNetns(netns)
  }

  #netnsOf(container: Container, netns: 0 | 1): string {
    return `${this.#prefix}${container}${netns}`
  }

  #make(netns: string): void {
    if (this.#namespaces.has(netns)) return
    this.#namespaces.add(netns)
    this.#world.addNetns(netns)
  }

  async #end(netns: string): Promise<void> {
    if (!this.#namespaces.delete(netns)) return
    this.#world.removeNetns(netns)
    const { deps } = this.#host
    const links = deps.endpoints.all().flatMap(row => (row.netns === netns ? [row.interfaceName] : []))
    // a kernel takes the interfaces away a moment later
    for (const link of links) while ((await deps.kernel.link(link)) !== undefined) await this.#pause()
    for (const [id, state] of this.#states)
      if (state.is === 'there' && state.netns === netns) this.#states.set(id, { ...state, linked: false })
  }

  async #start(): Promise<void> {
    this.#mortal = new Mortal()
    if (this.#db.isTransaction) this.#db.exec('ROLLBACK') // as the next one to open the file does
    const kernel = this.#slow(this.#mortal.kernel(this.#world.kernel()))
    const options = { store: this.#store, pools: [], takesOver: true, writes: this.#mortal.store(this.#store) }
    this.#host = await aHost(this.#mortal.database(this.#db), this.#world, kernel, options)
    this.#host.clock.advance(this.#nowMs)
    await settled(this.#host)
  }

  async #restart(): Promise<void> {
    this.#nowMs = this.#host.clock.monotonicMs()
    this.#mortal.killAfter(-1)
    await this.#start()
    // what ended with its namespace is collected
    for (const [id, state] of this.#states) if (state.is === 'there' && !state.linked) this.#states.delete(id)
  }

  /** Everything that the kernel is asked for may be late. */
  #slow(kernel: Kernel): Kernel {
    return new Proxy(kernel, {
      get: (target, name) => {
        const method: unknown = Reflect.get(target, name)
        if (typeof method !== 'function') return method
        return (...args: unknown[]) => {
          const answer: unknown = method.apply(target, args)
          if (name === 'inside') return this.#slow(answer as Kernel)
          if (!(answer instanceof Promise) || this.#chance(0.5)) return answer
          return answer.finally(() => this.#turns(1 + Number(this.#chance(0.3)) * 8))
        }
      },
    })
  }

  async #turns(count: number): Promise<void> {
    for (let turn = 0; turn < count; turn++) await new Promise(setImmediate)
  }

  async #send(verbs: readonly (readonly [turns: number, verb: Verb])[], killAfter = Number.POSITIVE_INFINITY) {
    const mortal = this.#mortal
    mortal.killAfter(killAfter)
    const unanswered = new Set<Expected>()
    const batch: Batch = { taken: new Set(), adds: new Map() }
    const answers: Promise<void>[] = []
    for (const [turns, verb] of verbs) {
      await this.#turns(turns)
      if (mortal.isDead) break
      const expected = this.#expect(verb, batch)
      unanswered.add(expected)
      const answer = this.#ask(verb).then(({ exitCode, stdout }) => {
        if (mortal.isDead) return
        unanswered.delete(expected)
        this.#judge(verb, expected, exitCode, stdout)
      })
      answers.push(answer)
    }
    await Promise.race([this.#untilEnded(Promise.all(answers)), mortal.died])
    if (!mortal.isDead) return mortal.killAfter(Number.POSITIVE_INFINITY)
    this.counts.killed++
    for (const { id } of [...unanswered].flatMap(({ touches }) => touches)) this.#loosen(id)
    await this.#restart()
  }

  /** What waits for time gets it when nothing else is to be done. */
  async #untilEnded(all: Promise<unknown>): Promise<void> {
    let ended = false
    const done = all.finally(() => {
      ended = true
    })
    let passedMs = 0
    for (let rounds = 0; !ended && !this.#mortal.isDead; rounds++) {
      const ms = await this.#pause()
      if (rounds > 2) this.#host.clock.advance(ms)
      passedMs += ms
      if (passedMs > 100_000) throw new Error('a verb does not end')
    }
    await done
  }

  #ask(verb: Verb): ReturnType<typeof call> {
    if (verb.verb === 'STATUS') return call(this.#host, 'STATUS')
    const families = { ipam: { assign_ipv4: true, assign_ipv6: true } }
    if (verb.verb === 'GC') {
      const valid = this.#listOf(verb).map(({ container, ifname }) => ({ containerID: container, ifname }))
      return call(this.#host, 'GC', { conf: { ...families, name: verb.network, 'cni.dev/valid-attachments': valid } })
    }
    const { container } = verb
    const { network, ifname } = INTERFACES[verb.interface]
    const pod = PODS[container]
    const isBare = verb.verb !== 'ADD' && verb.bare
    const netns = this.#netnsOf(container, verb.verb === 'ADD' ? verb.netns : 0)
    return call(this.#host, verb.verb, {
      ...{ id: container, ifname, netns: verb.verb === 'DEL' && isBare ? '' : netns },
      args: isBare || pod === undefined ? '' : `K8S_POD_NAMESPACE=default;K8S_POD_NAME=${pod}`,
      conf: { ...families, name: network, ...(verb.verb === 'CHECK' && { prevResult: {} }) },
    })
  }

  #listOf({ network, lists }: Verb & { verb: 'GC' }): Attachment[] {
    const ids: readonly string[] = { all: [...this.#states.keys()], old: this.#listedBefore, none: [] }[lists]
    return ATTACHMENTS.filter(each => each.network === network && ids.includes(each.id))
  }

  /** What a verb must come to, if all before it in this node's order has: the states are those after it. */
  #expect(verb: Verb, batch: Batch): Expected {
    if (verb.verb === 'STATUS') return { exit: 0, touches: [] }
    if (verb.verb === 'GC') return this.#expectGc(verb, batch)
    const { network, ifname } = INTERFACES[verb.interface]
    const attachment = ATTACHMENTS.find(each => each.id === `${network}/${verb.container}/${ifname}`)!
    if (verb.verb === 'ADD') {
      const expected = this.#expectAdd(attachment, this.#netnsOf(verb.container, verb.netns), batch)
      batch.adds.set(attachment.id, expected)
      return expected
    }
    if (verb.verb === 'CHECK') return { exit: 'any', touches: [] }
    this.#states.delete(attachment.id)
    this.#overtake(attachment, batch)
    return { exit: 0, touches: [attachment] }
  }

  #expectAdd(attachment: Attachment, netns: string, { taken }: Batch): Expected {
    const { id, container, ifname } = attachment
    if (!this.#namespaces.has(netns)) return { exit: 1, touches: [] }
    const before = this.#states.get(id)
    const beside = ATTACHMENTS.filter(each => each.container === container && each.ifname === ifname && each.id !== id)
    const rivals = beside.flatMap(each => this.#states.get(each.id) ?? [])
    if (rivals.some(rival => rival.is === 'there' && rival.linked && rival.netns === netns)) {
      // what is elsewhere goes first
      if (before !== undefined) this.#loosen(id)
      return { exit: 1, touches: [attachment] }
    }
    const isSame = before?.is === 'there' && before.linked && before.netns === netns
    if (!isSame) this.#replaceSandboxes(container)
    if (taken.has(id) || rivals.some(({ is }) => is === 'either')) {
      this.#loosen(id)
      return { exit: 'any', touches: [attachment] }
    }
    const sinceMs = this.#host.clock.monotonicMs()
    const after: State & { is: 'there' } = isSame ? before : { is: 'there', netns, linked: true, sinceMs }
    this.#states.set(id, after)
    return { exit: 0, touches: [attachment, ...this.#ofOtherSandboxes(container)], state: after }
  }

  #expectGc(verb: Verb & { verb: 'GC' }, batch: Batch): Expected {
    const listed = this.#listOf(verb)
    const unlisted = ATTACHMENTS.filter(each => each.network === verb.network && !listed.includes(each))
    for (const attachment of unlisted) {
      const { id } = attachment
      const state = this.#states.get(id)
      const isYoung = state !== undefined && this.#host.clock.monotonicMs() - state.sinceMs < GC_MS
      if (state === undefined || (isYoung && (state.is === 'either' || state.linked))) continue
      this.#states.delete(id)
      if (batch.adds.has(id)) this.#loosen(id)
      this.#overtake(attachment, batch)
      this.counts.collected++
      // an ADD that comes next may find it still, and answer, or not
      batch.taken.add(id)
    }
    return { exit: 0, touches: unlisted }
  }

  /** What goes is gone before ADDs that came earlier and have not begun: one of it ends, one in its place may have room now. */
  #overtake({ id, container, ifname }: Attachment, { adds }: Batch): void {
    const own = adds.get(id)
    if (own !== undefined) own.exit = 'any'
    for (const other of ATTACHMENTS) {
      const adding = adds.get(other.id)
      if (other.id === id || other.container !== container || other.ifname !== ifname || adding === undefined) continue
      adding.exit = 'any'
      this.#loosen(other.id)
    }
  }

  /** A newer sandbox of a pod may have the place of an older one's interface. */
  #replaceSandboxes(container: Container): void {
    for (const { id } of this.#ofOtherSandboxes(container)) if (this.#states.has(id)) this.#loosen(id)
  }

  #ofOtherSandboxes(container: Container): Attachment[] {
    const pod = PODS[container]
    if (pod === undefined) return []
    return ATTACHMENTS.filter(each => each.container !== container && PODS[each.container] === pod)
  }

  #loosen(id: string): void {
    this.#states.set(id, { is: 'either', sinceMs: this.#host.clock.monotonicMs() })
  }

  #judge(verb: Verb, { exit, state }: Expected, exitCode: number, stdout: string): void {
    const said = `${JSON.stringify(verb)}: ${stdout}`
    if (exit !== 'any' && exitCode !== exit) this.faults.push(`answered ${exitCode}, not ${exit}: ${said}`)
    if (verb.verb !== 'ADD') return
    this.counts[exitCode === 0 ? 'added' : 'refused']++
    if (state === undefined || exitCode !== 0) return
    const addresses = (JSON.parse(stdout) as { ips: { address: string }[] }).ips.map(({ address }) => address).sort()
    state.addresses ??= `${addresses}`
    if (state.addresses !== `${addresses}`) this.faults.push(`had ${state.addresses}: ${said}`)
  }

  async #rest(): Promise<void> {
    await this.#turns(5)
    await settled(this.#host)
  }

  async #look(after: string): Promise<void> {
    const { deps } = this.#host
    const mayLack = (id: string): boolean => {
      const state = this.#states.get(id)
      return state !== undefined && (state.is === 'either' || !state.linked)
    }
    const found = await faultsOf(this.#host, mayLack)
    for (const { id, container, network, ifname } of ATTACHMENTS) {
      const state = this.#states.get(id)
      const row = deps.endpoints.get(network, { containerID: container, ifname })
      if (state === undefined && row !== undefined) found.push(`${id} is still there`)
      if (state?.is !== 'there' || !state.linked) continue
      if (row !== undefined && row.netns !== state.netns) found.push(`${id} is in ${row.netns}`)
      for (const mismatch of await mismatchesOf(this.#host, network, { containerID: container, ifname }))
        found.push(`${id}: ${mismatch}`)
    }
    this.faults.push(...found.map(fault => `${fault}, after ${after}`))
  }
}
