// Sockets that answer as the agents of two nodes do, for `explain`.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { serveSocket } from '../../agent/socket/server.ts'
import type { NodeFacts, Question } from '../../api/explain.ts'
import { asJson, type HttpRoute, send } from '../../lib/http-routes.ts'
import { silentLog } from '../../lib/log.ts'
import { aNode, NODE, POD } from '../explain/worlds.ts'
import { runHere } from './run.ts'

type NodeName = 'n1' | 'n2'

const endpointsOf = (node: NodeName) =>
  Object.values(POD)
    .filter(end => end.node === node)
    .map(end => ({ id: end.pod!.name, interface: `cali-${end.pod!.name}`, addresses: [end.address], pod: end.pod }))

export async function body(request: AsyncIterable<Buffer>): Promise<Question> {
  const pieces: Buffer[] = []
  for await (const piece of request) pieces.push(piece)
  return JSON.parse(Buffer.concat(pieces).toString())
}

export type Agent = {
  conditions?: object[]
  facts?: (facts: NodeFacts) => void
  routes?: Readonly<Record<string, HttpRoute>>
}

/** Sockets of two agents, of which one may be away; `run` is explain with them. */
export async function agents(t: ExecutionContext, by: Partial<Record<NodeName, Agent>> = { n1: {}, n2: {} }) {
  const dir = mkdtempSync(join(tmpdir(), 'explain-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  const asked: Question[] = []
  for (const [node, { conditions = [], facts, routes }] of Object.entries(by) as [NodeName, Agent][]) {
    const status = {
      node,
      address: NODE[node].address,
      ready: true,
      conditions,
      peers: [],
      endpoints: endpointsOf(node),
    }
    const socket = await serveSocket(
      join(dir, node),
      {
        'GET /status': asJson(() => status),
        'POST /facts': async (request, response) => {
          const question = await body(request)
          asked.push(question)
          const answer = aNode(node, question)
          facts?.(answer)
          send(response, 200, answer)
        },
        ...routes,
      },
      silentLog,
    )
    t.teardown(() => socket.close())
  }
  const sockets = `n1=${join(dir, 'n1')},n2=${join(dir, 'n2')}`
  return { asked, run: (...words: string[]) => runHere(['explain', ...words, '--node-sockets', sockets]) }
}
