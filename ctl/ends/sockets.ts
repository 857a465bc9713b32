// Nodes asked by their agents' sockets on this machine: a lab, or one node. Pods and nodes are known from what the agents answer, so that
// no API server is needed; Services are not.
import { type Status, statusAnswer } from '../../api/answers.ts'
import { type End, nodeFacts, type Question } from '../../api/explain.ts'
import { type TraceAnswer, type TraceOrder, traceAnswer } from '../../api/trace.ts'
import type { NodeAnswer } from '../../explain/crossing.ts'
import type { AskedNode } from '../../explain/node.ts'
import { type Clock, systemClock } from '../../lib/clock.ts'
import { Denied, NoAnswer, UsageError } from '../failure.ts'
import { ask } from '../socket.ts'
import type { Directory, Ends } from './ends.ts'

/** `n1=/run/a.sock,n2=/run/b.sock`. Throws UsageError. */
export function parseSockets(text: string): ReadonlyMap<string, string> {
  const pairs = text.split(',').map(each => /^([^=]+)=(.+)$/.exec(each))
  const sockets = new Map<string, string>()
  for (const pair of pairs) {
    if (pair === null) throw new UsageError(`--node-sockets ${text}: write NODE=PATH, several with commas`)
    sockets.set(pair[1]!, pair[2]!)
  }
  return sockets
}

/** `directory`: who is who by an API server; absent: by what the agents themselves say. */
export function socketEnds(
  sockets: ReadonlyMap<string, string>,
  directory: Directory | undefined,
  clock: Clock = systemClock,
): Ends {
  const socketOf = (node: string) => sockets.get(node)
  return {
    directory: directory ?? statusDirectory(sockets),
    ask: (node, question) => askSocket(node, socketOf(node), question, clock),
    trace: (node, order) => orderTrace(socketOf(node), order),
    askNode: node => askStatus(node, socketOf(node), clock),
  }
}

async function askSocket(node: string, socket: string | undefined, body: Question, clock: Clock): Promise<NodeAnswer> {
  const start = clock.monotonicMs()
  const ms = () => Math.round(clock.monotonicMs() - start)
  if (socket === undefined) return { node, ms: 0, silent: 'no socket of it is named', away: false }
  try {
    const facts = await ask({ socket }, nodeFacts, { method: 'POST', path: '/facts', owner: 'margay-node', body })
    return { node, ms: ms(), facts }
  } catch (error) {
    return { node, ms: ms(), ...silenceOf(error) }
  }
}

async function orderTrace(socket: string | undefined, body: TraceOrder): Promise<TraceAnswer | { silent: string }> {
  if (socket === undefined) return { silent: 'no socket of it is named' }
  try {
    return await ask({ socket }, traceAnswer, { method: 'POST', path: '/trace', owner: 'margay-node', body })
  } catch (error) {
    return { silent: silenceOf(error).silent }
  }
}

async function askStatus(node: string, socket: string | undefined, clock: Clock): Promise<AskedNode> {
  const start = clock.monotonicMs()
  const ms = () => Math.round(clock.monotonicMs() - start)
  if (socket === undefined) return { node, ms: 0, silent: 'no socket of it is named', away: false }
  try {
    const { conditions } = await statusBehind(socket)
    return { node, ms: ms(), conditions }
  } catch (error) {
    return { node, ms: ms(), ...silenceOf(error) }
  }
}

/** Why a node gave no answer. Throws what is a fault of this program. */
function silenceOf(error: unknown): { silent: string; away: boolean } {
  if (error instanceof NoAnswer) return { silent: error.message, away: error.isAway }
  if (error instanceof Denied || error instanceof UsageError) return { silent: error.message, away: false }
  throw error
}

function statusBehind(socket: string): Promise<Status> {
  return ask({ socket }, statusAnswer, { method: 'GET', path: '/status', owner: 'margay-node' })
}

/** Each agent is asked once. What a silent one would know is not known: that nobody has a name is only said when all answered. */
function statusDirectory(sockets: ReadonlyMap<string, string>): Directory {
  let asked: Promise<{ node: string; status?: Status; silent?: string }[]> | undefined
  const all = () =>
    (asked ??= Promise.all(
      [...sockets].map(async ([node, socket]) => {
        try {
          return { node, status: await statusBehind(socket) }
        } catch (error) {
          return { node, silent: silenceOf(error).silent }
        }
      }),
    ))
  const found = async (match: (end: End) => boolean): Promise<End[]> => {
    const answers = await all()
    const ends = answers.flatMap(({ node, status }) => (status === undefined ? [] : endsOf(node, status))).filter(match)
    const silent = answers.filter(each => each.silent !== undefined)
    if (ends.length === 0 && silent.length > 0)
      throw new Denied(
        `nobody knows it of the nodes that answer, and ${silent.map(each => `${each.node} is silent (${each.silent})`).join('; ')}`,
      )
    return ends
  }
  const noService = async () => undefined
  return {
    pod: async (namespace, name) =>
      some(await found(({ pod }) => pod !== undefined && pod.namespace === namespace && pod.name === name)),
    node: async name => some(await found(end => end.role === 'node' && end.node === name)),
    at: async address =>
      (await found(end => end.address === address).catch(toOutside))[0] ?? { address, role: 'outside' },
    service: noService,
    serviceAt: noService,
    serviceOfNodePort: noService,
  }
}

/** An address of nobody that is known may be anybody's. */
function toOutside(error: unknown): End[] {
  if (error instanceof Denied) return []
  throw error
}

function some(ends: End[]): End[] | undefined {
  return ends.length === 0 ? undefined : ends
}

function endsOf(node: string, { address, tunnels, endpoints = [] }: Status): End[] {
  const own = [address, ...Object.values(tunnels ?? {})].filter(each => each !== undefined)
  return [
    ...own.map((each): End => ({ address: each, role: 'node', node })),
    ...endpoints.flatMap(({ addresses, pod }) =>
      addresses.map((each): End => ({ address: each, role: 'pod', node, ...(pod !== undefined && { pod }) })),
    ),
  ]
}
