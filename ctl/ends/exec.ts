// Nodes of a cluster asked from any machine: the API server runs a hidden command of margayctl in the pod of each agent, which asks the
// agent by its socket. An agent that is not ready is asked as well: that is when it matters.
import * as z from 'zod'
import { type NodeFacts, nodeFacts } from '../../api/explain.ts'
import { condition } from '../../api/status-answers.ts'
import { type TraceAnswer, traceAnswer } from '../../api/trace.ts'
import type { AskedNode } from '../../explain/node.ts'
import { type Clock, systemClock } from '../../lib/clock.ts'
import { type AgentPod, Agents, NotUnderstood } from '../agents.ts'
import type { Context, Options } from '../command.ts'
import type { Directory, Ends } from './ends.ts'

/** The name of the command that runs at each node: with a question it writes facts, without one the node's conditions. */
export const FACTS_THERE = '__facts'
/** That of the one that carries out an order about a probe, and writes the answer. */
export const TRACE_THERE = '__trace'

/** The one line that it writes. */
const nodeConditions = z.object({ conditions: z.array(condition) })

export function execEnds(directory: Directory, options: Options, context: Context, clock: Clock = systemClock): Ends {
  const agents = new Agents([], options, context, clock)
  let pods: Promise<AgentPod[]> | undefined
  const asked = async <T>(node: string, words: readonly string[], schema: z.ZodType<T>) => {
    const start = clock.monotonicMs()
    const ms = () => Math.round(clock.monotonicMs() - start)
    pods ??= agents.pods()
    const pod = (await pods).find(each => each.node === node)
    if (pod === undefined) return { node, ms: ms(), silent: 'no agent runs on it', away: true }
    try {
      return { node, ms: ms(), data: await agents.answer({ ...pod, ready: true }, words, schema) }
    } catch (error) {
      const away = !pod.ready && !(error instanceof NotUnderstood)
      return { node, ms: ms(), silent: (error as Error).message, away }
    }
  }
  return {
    directory,
    ask: async (node, question) => {
      const { data, ...answer } = {
        data: undefined,
        ...(await asked<NodeFacts>(node, [FACTS_THERE, JSON.stringify(question)], nodeFacts)),
      }
      return data === undefined ? silent(answer) : { node, ms: answer.ms, facts: data }
    },
    trace: async (node, order) => {
      const { data, silent = '' } = {
        ...{ data: undefined, silent: undefined },
        ...(await asked<TraceAnswer>(node, [TRACE_THERE, JSON.stringify(order)], traceAnswer)),
      }
      return data ?? { silent }
    },
    askNode: async (node): Promise<AskedNode> => {
      const { data, ...answer } = { data: undefined, ...(await asked(node, [FACTS_THERE], nodeConditions)) }
      const isKnown = (await directory.node(node)) !== undefined
      return data === undefined
        ? { ...silent(answer), isKnown }
        : { node, ms: answer.ms, conditions: data.conditions, isKnown }
    },
  }
}

function silent(answer: { node: string; ms: number; silent?: string; away?: boolean }) {
  const { node, ms, silent = '', away = false } = answer
  return { node, ms, silent, away }
}
