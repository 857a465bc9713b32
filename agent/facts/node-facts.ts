// All that this node knows about the way of a packet, for `margayctl explain`: a few questions to the kernel and to memory, each of
// which may fail for itself. Answering changes nothing in the kernel and starts no program; names of pods and of nodes are compared
// and never part of a path. Bounds: four at a time, 2 s and 256 KiB for each.
import type { NodeFacts, PathFacts, Question } from '../../api/explain.ts'
import type { Condition, Event } from '../../api/status.ts'
import type { FelixView } from '../../felix/view.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Family } from '../../lib/ip.ts'
import { blockFacts, type ClusterDeps, sessionFacts } from './cluster-facts.ts'
import { connectionsOf, connectionTable } from './connections.ts'
import { Gathering } from './gathering.ts'
import { hooksOf } from './hooks.ts'
import { type FactKernel, Host } from './host.ts'
import { type PodDeps, podFacts, podsWith } from './pods.ts'
import { policyFacts } from './policies.ts'
import { waysOf } from './ways.ts'

export type NodeFactsDeps = ClusterDeps & {
  version: string
  startedMs: number
  clock: Clock
  kernel: FactKernel
  cni(): PodDeps
  felix: { view(): FelixView }
  /** The address of a pod here that a floating address is translated to. */
  floating: { targetOf(address: string): string | undefined }
  /** Whether a table of nftables is one of this program. */
  isOwnTable(name: string): boolean
  conditions(): readonly Condition[]
  /** What probes say of the way to another node. Absent: this node sends none. */
  pathTo?: ((node: string, family: Family) => PathFacts | undefined) | undefined
  events: { last(count: number): Event[] }
}

const AT_ONCE = 4
const BUDGET_MS = 2000
const MOST_OCTETS = 256 << 10
const RECENT_MS = 15 * 60_000
const MOST_RECENT = 50
/** Events that are looked at for those: the last minutes may have more. */
const LOOKED_AT = 500
const MOST_CONDITIONS = 100

export class FactsOfNode {
  readonly #deps: NodeFactsDeps
  #running = 0

  constructor(deps: NodeFactsDeps) {
    this.#deps = deps
  }

  /** Undefined: as many as may be are answered now. */
  async answer(question: Question): Promise<NodeFacts | undefined> {
    if (this.#running >= AT_ONCE) return undefined
    this.#running++
    try {
      return bounded(await this.#gather(question))
    } finally {
      this.#running--
    }
  }

  async #gather(question: Question): Promise<NodeFacts> {
    const { clock, kernel, felix, node, version, startedMs } = this.#deps
    const gathering = new Gathering(clock, BUDGET_MS)
    try {
      const cni = this.#deps.cni()
      const view = felix.view()
      const links = await gathering.fact('kernel', () => kernel.links())
      const host = new Host(kernel, view, 'value' in links ? links.value : [])
      const seen = this.#translated(question)
      const { source, destination } = seen.packet
      const pods = podsWith(cni, [source, destination])
      const interfaceOf = (address: string) => pods.find(pod => pod.addresses.includes(address))?.interfaceName
      const nameOf = (interfaceName: string) => {
        const pod = pods.find(each => each.interfaceName === interfaceName)?.pod
        const index = host.link(interfaceName)?.index
        const protectedBy = index === undefined ? undefined : view.policy?.hostEndpointAt(index)
        if (pod !== undefined) return `Pod ${pod.namespace}/${pod.name}`
        return protectedBy === undefined ? interfaceName : `HostEndpoint ${protectedBy}`
      }
      const explain = (prefix: string) => this.#deps.explain(prefix)
      const [{ ways, crossings }, endpoints, connections] = await Promise.all([
        waysOf(host, seen, { node, interfaceOf, gathering, explain }),
        podFacts(cni, pods, gathering),
        gathering.fact('kernel', () => connectionsOf(kernel, question, gathering)),
      ])
      return {
        ...{ node, version, atMs: clock.wallMs(), startedMs, modelAgeMs: this.#modelAgeMs(), endpoints, ways },
        policies: policyFacts(view, question, crossings, { interfaceOf, nameOf, translated: seen.packet }),
        masqueraded: masqueradedFact(view.masquerades(source, destination)),
        connections,
        connectionTable: await gathering.fact('kernel', () => connectionTable(kernel)),
        sessions: await gathering.fact('model', () => sessionFacts(this.#deps, question)),
        blocks: await gathering.fact('model', () => blockFacts(this.#deps, question)),
        path: await this.#path(question, gathering),
        hooks: await gathering.fact('kernel', () => hooksOf(kernel, crossings, name => this.#deps.isOwnTable(name))),
        conditions: this.#deps
          .conditions()
          .filter(({ status }) => status !== 'True')
          .slice(0, MOST_CONDITIONS),
        recent: this.#recent(),
      }
    } finally {
      gathering.finish()
    }
  }

  /** As packets are here behind the translation of floating addresses of this node, which routes and policies of pods are about. */
  #translated(question: Question): Question {
    const { packet, back } = question
    const target = this.#deps.floating.targetOf(packet.destination)
    if (target === undefined) return question
    return { ...question, packet: { ...packet, destination: target }, back: { ...back, source: target } }
  }

  async #path({ from, to, packet }: Question, gathering: Gathering): Promise<NodeFacts['path']> {
    const { pathTo, node } = this.#deps
    if (pathTo === undefined) return { absent: 'this node sends no probes', of: 'probe', ageMs: 0 }
    const far = [to.node, from.node].find(each => each !== undefined && each !== node)
    return gathering.fact('probe', () => (far === undefined ? undefined : pathTo(far, packet.family)))
  }

  /** While the API server is away, since when it is. */
  #modelAgeMs(): number {
    const away = this.#deps.conditions().find(({ type, status }) => type === 'ApiServerConnected' && status !== 'True')
    return away?.sinceMs === undefined ? 0 : Math.max(0, this.#deps.clock.wallMs() - away.sinceMs)
  }

  #recent(): Event[] {
    const { clock, events } = this.#deps
    const sinceMs = clock.wallMs() - RECENT_MS
    return events
      .last(LOOKED_AT)
      .filter(({ at }) => Date.parse(at) >= sinceMs)
      .slice(0, MOST_RECENT)
  }
}

function masqueradedFact(value: boolean | undefined): NodeFacts['masqueraded'] {
  const of = { of: 'model', ageMs: 0 } as const
  return value === undefined ? { absent: 'the pools are not known yet', ...of } : { value, ...of }
}

/** What does not fit into an answer is left out: parts that can be long are told to be, the oldest events and the last conditions go. */
function bounded(facts: NodeFacts): NodeFacts {
  let octets = sizeOf(facts)
  for (const part of ['hooks', 'connections', 'sessions'] as const) {
    if (octets <= MOST_OCTETS) return facts
    const { of, ageMs } = facts[part]
    octets -= sizeOf(facts[part])
    facts[part] = { absent: 'too much to tell', of, ageMs }
    octets += sizeOf(facts[part])
  }
  for (const list of ['recent', 'conditions'] as const)
    while (octets > MOST_OCTETS && facts[list].length > 0) octets -= sizeOf(facts[list].pop()) + ','.length
  return facts
}

function sizeOf(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value))
}
