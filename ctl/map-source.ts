// What the map shows, from the agents of a cluster: asked in turns by whichever way leads there, and again as long as somebody looks.
import * as z from 'zod'
import type { PaperPolicies } from '../agent/simulation/policies.ts'
import { eventsAnswer, type Flow, flow, type NodeEvent, pathsAnswer, statusAnswer } from '../api/answers.ts'
import type { Explanation } from '../api/explanation.ts'
import { recordLine } from '../api/record-line.ts'
import { EVENT_TYPES } from '../api/status.ts'
import { type Cancel, type Clock, systemClock } from '../lib/clock.ts'
import { familyOf } from '../lib/ip.ts'
import { nodeSnapshot, type PolicyPeer, type SeenNode, type SnapshotPath, snapshotOf } from '../ui/model.ts'
import type { MapSource } from '../ui/server.ts'
import { Agents } from './agents.ts'
import type { Context, Options } from './command.ts'
import { inTurns } from './each.ts'
import { parseSockets } from './ends/sockets.ts'
import { endsOf, explanationsOf, namespaceOf } from './explain.ts'
import { firstPacket, judge, policiesNow } from './explain-policy.ts'
import { parseProtocol } from './explain-words.ts'
import { failureOf } from './failure.ts'
import { ask, followLines } from './socket.ts'

/** The name of the hidden command that runs at each node: `snapshot`, `flows` or `events`, as one line of JSON. */
export const MAP_THERE = '__map'

/** What is asked of a node. */
export const MAP_WORDS = ['snapshot', 'flows', 'events'] as const

export type MapWord = (typeof MAP_WORDS)[number]

/** Between two rounds over all nodes. */
const PAUSE_MS = 3_000
/** Pods that are told of one, and how old what is known of policies may be. */
const MOST_PEERS = 1_000
const POLICIES_MS = 10_000
/** How far back the time line goes. */
const EVENTS_MS = 24 * 3_600_000
/** Flows and events of one node, and of all together. */
const [MOST_OF_NODE, MOST_OF_ALL] = [300, 3_000]

/** Asks the agent behind a socket. Rejects as `ask` of socket.ts. */
export async function askForMap(socket: string, word: MapWord, nowMs: number): Promise<unknown> {
  const owner = 'margay-node' as const
  if (word === 'flows')
    return ask({ socket }, z.array(flow), { method: 'GET', path: `/flows?count=${MOST_OF_NODE}`, owner })
  if (word === 'events') return eventsSince(socket, nowMs - EVENTS_MS)
  const status = await ask({ socket }, statusAnswer, { method: 'GET', path: '/status', owner })
  return snapshotOf(status, await pathsOf(socket), nowMs)
}

/** None where the agent has no probes. */
async function pathsOf(socket: string): Promise<SnapshotPath[]> {
  try {
    const paths = await ask({ socket }, pathsAnswer, { method: 'GET', path: '/paths', owner: 'margay-node' })
    return paths.map(({ node, encapsulation, state, sinceMs }) => ({ node, encapsulation, state, sinceMs }))
  } catch {
    return []
  }
}

/** Events alone, the newest first: changes of the kernel are many, and `margayctl events --since` has them. */
async function eventsSince(socket: string, sinceMs: number): Promise<NodeEvent[]> {
  const found: NodeEvent[] = []
  const path = `/events?since=${new Date(sinceMs).toISOString()}`
  await followLines({ socket }, recordLine, { method: 'GET', path, owner: 'margay-node' }, line => {
    if (!('record' in line) || !Object.hasOwn(EVENT_TYPES, line.record.type)) return
    found.push(line.record)
    if (found.length >= 2 * MOST_OF_NODE) found.splice(0, found.length - MOST_OF_NODE)
  })
  return found.slice(-MOST_OF_NODE).toReversed()
}

/** How one node is asked; rejects with an Error that says why it was not. */
type AskNode = (node: string, word: MapWord) => Promise<unknown>

/** All nodes, and how they are asked. */
type Nodes = { names(): Promise<readonly string[]>; ask: AskNode }

export class Collected implements MapSource {
  readonly #nodes: Nodes
  readonly #options: Options
  readonly #context: Context
  readonly #clock: Clock
  readonly #seen = new Map<string, SeenNode>()
  #policies: { atMs: number; asked: Promise<PaperPolicies> } | undefined
  #wait: Cancel = () => undefined
  #isClosed = false

  constructor(options: Options, context: Context, clock: Clock = systemClock) {
    const { nodeSockets } = options
    this.#options = options
    this.#context = context
    this.#clock = clock
    this.#nodes =
      typeof nodeSockets === 'string'
        ? bySockets(nodeSockets, clock)
        : byAgents(new Agents([], options, context, clock))
  }

  /** Asks all nodes once, and from then on again and again. Rejects where nobody can say which nodes there are. */
  async start(): Promise<void> {
    await this.#round()
    this.#again()
  }

  close(): void {
    this.#isClosed = true
    this.#wait()
  }

  seen(): readonly SeenNode[] {
    return [...this.#seen.values()]
  }

  async explain(
    from: string,
    to: string,
    protocol: string | undefined,
  ): Promise<{ explanations: Explanation[] } | { error: string }> {
    try {
      const namespace = await namespaceOf(this.#options, this.#context)
      const ends = await endsOf(this.#options, this.#context)
      return { explanations: await explanationsOf({ from, to, protocol }, namespace, ends) }
    } catch (error) {
      return { error: failureOf(error).message }
    }
  }

  async policy(
    pod: string,
    text: string | undefined,
  ): Promise<{ peers: PolicyPeer[]; more: number } | { error: string }> {
    try {
      const { protocol = undefined, port = undefined } = parseProtocol(text) ?? {}
      const policies = await this.#policiesNow()
      const all = [...policies.pods()]
      const own = all.filter(([, each]) => each === pod)
      if (own.length === 0) return { error: `there is no pod ${pod} with an address: write NAMESPACE/POD` }
      // a pod of both families is told once
      const ends = new Map<string, { mine: string; theirs: string }>()
      for (const [theirs, other] of all) {
        const mine = own.find(([each]) => familyOf(each) === familyOf(theirs))
        if (mine !== undefined && other !== pod && !ends.has(other)) ends.set(other, { mine: mine[0], theirs })
      }
      const sorted = [...ends].toSorted(([a], [b]) => (a < b ? -1 : 1))
      const peers = sorted.slice(0, MOST_PEERS).map(([other, { mine, theirs }]): PolicyPeer => {
        const word = protocol ?? (familyOf(mine) === 'ipv4' ? 'icmp' : 'icmpv6')
        const judged = (from: string, to: string) => judge(policies, firstPacket(from, to, word, port))
        return { pod: other, to: judged(mine, theirs), from: judged(theirs, mine) }
      })
      return { peers, more: sorted.length - peers.length }
    } catch (error) {
      return { error: failureOf(error).message }
    }
  }

  /** Lists of a whole cluster are not read again and again. */
  async #policiesNow(): Promise<PaperPolicies> {
    const nowMs = this.#clock.monotonicMs()
    if (this.#policies === undefined || nowMs - this.#policies.atMs > POLICIES_MS) {
      const asked = policiesNow(this.#context)
      this.#policies = { atMs: nowMs, asked }
      asked.catch(() => {
        this.#policies = undefined
      })
    }
    return this.#policies.asked
  }

  async flows(): Promise<(Flow & { node: string })[]> {
    return newest(await this.#all('flows', z.array(flow)), ({ last }) => last)
  }

  async events(): Promise<(NodeEvent & { node: string })[]> {
    return newest(await this.#all('events', eventsAnswer), ({ at }) => at)
  }

  /** Of all nodes that answer. */
  async #all<T extends object>(word: MapWord, schema: z.ZodType<T[]>): Promise<(T & { node: string })[]> {
    const found: (T & { node: string })[] = []
    await inTurns([...this.#seen.keys()], async node => {
      const { data = [] } = await this.#nodes.ask(node, word).then(
        value => schema.safeParse(value),
        () => ({ data: undefined }),
      )
      for (const each of data) found.push({ ...each, node })
    })
    return found
  }

  async #round(): Promise<void> {
    const names = await this.#nodes.names()
    for (const known of this.#seen.keys()) if (!names.includes(known)) this.#seen.delete(known)
    await inTurns(names, async node => {
      if (this.#isClosed) return
      try {
        const { data } = nodeSnapshot.safeParse(await this.#nodes.ask(node, 'snapshot'))
        if (data === undefined) throw new Error('it answers what this margayctl does not understand')
        this.#seen.set(node, { node, last: { ...data, node } })
      } catch (error) {
        this.#seen.set(node, { node, silent: (error as Error).message, last: this.#seen.get(node)?.last })
      }
    })
  }

  #again(): void {
    if (this.#isClosed) return
    this.#wait = this.#clock.after(PAUSE_MS, () => {
      this.#round()
        // the nodes stay as they were seen; their age tells
        .catch((error: unknown) => this.#context.err(`the nodes cannot be listed: ${(error as Error).message}\n`))
        .finally(() => this.#again())
    })
  }
}

function bySockets(text: string, clock: Clock): Nodes {
  const sockets = parseSockets(text)
  return {
    names: async () => [...sockets.keys()],
    ask: async (node, word) => askForMap(sockets.get(node)!, word, clock.wallMs()),
  }
}

function byAgents(agents: Agents): Nodes {
  let pods: Awaited<ReturnType<Agents['pods']>> = []
  return {
    names: async () => {
      pods = await agents.pods()
      return pods.map(({ node }) => node)
    },
    ask: async (node, word) => {
      const pod = pods.find(each => each.node === node)
      if (pod === undefined) throw new Error('no agent runs on it')
      return agents.answer({ ...pod, ready: true }, [MAP_THERE, word], z.unknown())
    },
  }
}

function newest<T>(all: readonly T[], timeOf: (each: T) => string): T[] {
  return all.toSorted((a, b) => (timeOf(a) < timeOf(b) ? 1 : -1)).slice(0, MOST_OF_ALL)
}
