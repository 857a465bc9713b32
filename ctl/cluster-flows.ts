// `flows` of all nodes, from any machine: `margayctl __flows` runs at each (agents.ts) and writes lines of JSON. Each node that was not
// asked is named, and the exit code is then 1, since a list with a hole would look whole.
import { type FlowLine, flowLine, MOST_FLOWS } from '../api/answers.ts'
import type { PodRun } from '../datastore/exec.ts'
import { isStoreError } from '../datastore/port.ts'
import { type Clock, keepProcess, systemClock } from '../lib/clock.ts'
import { type AgentPod, Agents } from './agents.ts'
import type { Context, Options } from './command.ts'
import { inTurns } from './each.ts'
import { Denied, EXIT, type ExitCode, UsageError } from './failure.ts'
import { FlowPrinter, noteLeft, noteLost } from './flow-print.ts'
import { lineOf, type ShownFlow, showFlows } from './flow-view.ts'
import { wholeNumberOf } from './numbers.ts'
import type { Format } from './render.ts'
import { parsedJson } from './socket.ts'
import { visible } from './visible.ts'

/** The name of the command that runs at each node. */
export const FLOWS_THERE = '__flows'

/** Nodes that one program follows. */
const MOST_FOLLOWED = 256
/** While flows are followed pods are listed so often, for new nodes and agents that started again. */
const LIST_AGAIN_MS = 30_000

/** Lists or follows the flows of all nodes, or of those in `names`. Exit code 1 unless each of them was asked. Rejects with UsageError for a node without an agent. */
export async function clusterFlows(
  names: readonly string[],
  options: Options,
  context: Context,
  clock: Clock = systemClock,
): Promise<ExitCode> {
  const { namespace, verdict, follow } = options
  const words = [
    FLOWS_THERE,
    ...(follow === true ? ['--follow'] : [`--count=${wholeNumberOf(options, 'count', 1, MOST_FLOWS)}`]),
    ...(typeof namespace === 'string' ? [`--namespace=${namespace}`] : []),
    ...(typeof verdict === 'string' ? [`--verdict=${verdict}`] : []),
  ]
  const asking = { agents: new Agents(names, options, context, clock), words, format: options['output'] as Format }
  return follow === true ? await followed(asking, context, clock) : await listed(asking, options, context)
}

/** How nodes are asked in one run of the command. */
type Asking = { agents: Agents; words: readonly string[]; format: Format }

async function listed({ agents, words, format }: Asking, options: Options, context: Context): Promise<ExitCode> {
  const count = wholeNumberOf(options, 'count', 1, MOST_FLOWS)
  let [found, code]: [ShownFlow[], ExitCode] = [[], EXIT.fine]
  await inTurns(await agents.pods(), async pod => {
    const flows: ShownFlow[] = []
    try {
      await agents.all(pod, words, text => {
        const line = lineIn(text)
        if (line !== undefined && 'flow' in line && flows.length < count) flows.push({ node: pod.node, ...line.flow })
      })
      found = [...found, ...flows].toSorted((a, b) => compared(a.last, b.last)).slice(-count)
    } catch (error) {
      context.err(`node ${visible(pod.node)} is not asked: ${(error as Error).message}\n`)
      code = EXIT.no
    }
  })
  context.out(showFlows(found, format))
  return code
}

/** Ends when it is interrupted, or at once where not one node can be followed. */
async function followed({ agents, words, format }: Asking, context: Context, clock: Clock): Promise<ExitCode> {
  const [runs, told] = [new Map<string, PodRun>(), new Map<string, string>()]
  let isOver = false
  const over = context.interrupted().then(() => {
    isOver = true
  })
  const fails = (node: string, error: Error): void => {
    if (!isOver && told.get(node) !== error.message)
      context.err(`node ${visible(node)} is not followed: ${error.message}\n`)
    told.set(node, error.message)
  }
  const print = (line: FlowLine, node: string | undefined) => {
    if ('lost' in line) noteLost(context, line.lost, node)
    else context.out(lineOf({ ...(node !== undefined && { node }), ...line.flow }, format))
  }
  const printer = new FlowPrinter(context.unread, print, count => noteLeft(context, count))
  const start = async (pod: AgentPod): Promise<void> => {
    const { node } = pod
    if (isOver) return
    try {
      if (runs.size >= MOST_FOLLOWED)
        throw new Error(`${MOST_FOLLOWED} nodes are followed at the most: name those that matter`)
      const run = await agents.begin(pod, words, text => {
        const line = lineIn(text)
        if (line !== undefined && !isOver) printer.take(line, node)
      })
      if (isOver) return run.close()
      runs.set(node, run)
      told.delete(node)
      void run.ended.then(why => {
        run.close()
        runs.delete(node)
        fails(node, new Error(why ?? 'it ended'))
      })
    } catch (error) {
      fails(node, error as Error)
    }
  }
  const look = async (): Promise<void> => {
    const pods = await agents.pods()
    for (const node of told.keys()) if (!pods.some(pod => pod.node === node)) told.delete(node)
    await inTurns(
      pods.filter(({ node }) => !runs.has(node)),
      start,
    )
  }
  const letGo = keepProcess()
  try {
    await Promise.race([look(), over])
    if (!isOver && runs.size === 0) return EXIT.no
    while (!isOver) {
      const { promise, resolve } = Promise.withResolvers<void>()
      const cancel = clock.after(LIST_AGAIN_MS, resolve)
      await Promise.race([promise, over])
      cancel()
      if (!isOver) await Promise.race([look().catch(error => notListed(error, context)), over])
    }
    return told.size === 0 ? EXIT.fine : EXIT.no
  } finally {
    isOver = true
    letGo()
    printer.end()
    for (const run of runs.values()) run.close()
  }
}

/** What is followed goes on without a new list. Rejects for a fault of this program. */
function notListed(error: unknown, context: Context): void {
  if (!isStoreError(error) && !(error instanceof Denied) && !(error instanceof UsageError)) throw error
  context.err(`new nodes are not known: ${error.message}. It is tried again.\n`)
}

/** A later version may tell more, and what it is not a line of flows is nothing. */
function lineIn(text: string): FlowLine | undefined {
  return flowLine.safeParse(parsedJson(text)).data
}

function compared(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
