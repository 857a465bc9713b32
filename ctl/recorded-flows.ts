// The flows that nodes know of: connections that their pods have open, and packets that policies denied or logged. Of nodes by their
// sockets on this machine, or by the API server, which runs a hidden command at each.
import * as z from 'zod'
import { type Flow, flow, MOST_FLOWS } from '../api/answers.ts'
import { connectionsAnswer, type OpenConnection } from '../api/connection-answer.ts'
import { protocolNumber } from '../api/ports.ts'
import { Agents } from './agents.ts'
import type { Context, Options } from './command.ts'
import { inTurns } from './each.ts'
import { parseSockets } from './ends/sockets.ts'
import { ask } from './socket.ts'

/** The name of the command that runs at each node: it writes one line of JSON. */
export const RECORDED_THERE = '__recorded'

const recorded = z.object({ connections: connectionsAnswer, flows: z.array(flow) })

type Recorded = z.infer<typeof recorded>

/** A flow that was seen: the first packet of such connections, and how often. */
export type RecordedFlow = OpenConnection & { was: 'open' | Flow['verdict'] }

/** What the agent behind a socket knows. Rejects as `ask`. */
export async function recordedBehind(socket: string): Promise<Recorded> {
  const owner = 'margay-node' as const
  return {
    connections: await ask({ socket }, connectionsAnswer, { method: 'GET', path: '/connections', owner }),
    flows: await ask({ socket }, z.array(flow), { method: 'GET', path: `/flows?count=${MOST_FLOWS}`, owner }),
  }
}

/** Of all nodes that answer, each flow once; `silent`: why others did not. Rejects where nobody can say which nodes there are. */
export async function recordedFlows(
  options: Options,
  context: Context,
): Promise<{ flows: RecordedFlow[]; silent: { node: string; why: string }[] }> {
  const { nodeSockets } = options
  const nodes = typeof nodeSockets === 'string' ? bySockets(nodeSockets) : await byAgents(options, context)
  const [flows, silent] = [new Map<string, RecordedFlow>(), [] as { node: string; why: string }[]]
  await inTurns(nodes, async ({ node, read }) => {
    try {
      for (const each of flowsOf(await read())) {
        const key = JSON.stringify({ ...each, count: 0 })
        const known = flows.get(key)
        // both ends' nodes track a connection
        if (known === undefined || known.count < each.count) flows.set(key, each)
      }
    } catch (error) {
      silent.push({ node, why: (error as Error).message })
    }
  })
  return { flows: [...flows.values()], silent: silent.toSorted((a, b) => (a.node < b.node ? -1 : 1)) }
}

type Node = { node: string; read: () => Promise<Recorded> }

function bySockets(text: string): Node[] {
  return [...parseSockets(text)].map(([node, socket]) => ({ node, read: () => recordedBehind(socket) }))
}

async function byAgents(options: Options, context: Context): Promise<Node[]> {
  const agents = new Agents([], options, context)
  return (await agents.pods()).map(pod => ({
    node: pod.node,
    read: () => agents.answer(pod, [RECORDED_THERE], recorded),
  }))
}

function flowsOf({ connections, flows }: Recorded): RecordedFlow[] {
  return [
    ...connections.map(each => ({ ...each, was: 'open' as const })),
    ...flows.flatMap(({ source, destination, protocol, destinationPort, icmp, verdict, packets }) => {
      const number = protocolNumber(protocol)
      if (number === undefined) return []
      return [
        {
          ...{
            source: source.address,
            destination: destination.address,
            protocol: number,
            count: packets,
            was: verdict,
          },
          ...(destinationPort !== undefined && { destinationPort }),
          ...(icmp !== undefined && { icmp }),
        },
      ]
    }),
  ]
}
