// `flows` of all nodes, from any machine: `margayctl __flows` runs at each (cluster-lines.ts) and writes lines of JSON.
import { type FlowLine, flowLine, MOST_FLOWS } from '../api/answers.ts'
import { type Clock, systemClock } from '../lib/clock.ts'
import { Agents } from './agents.ts'
import { type Asking, followNodes, listNodes } from './cluster-lines.ts'
import type { Context, Options } from './command.ts'
import type { ExitCode } from './failure.ts'
import { lineOf, type ShownFlow, showFlows } from './flow-view.ts'
import { LinePrinter, noteLeft, noteLost } from './line-print.ts'
import { wholeNumberOf } from './numbers.ts'
import type { Format } from './render.ts'
import { parsedJson } from './socket.ts'

/** The name of the command that runs at each node. */
export const FLOWS_THERE = '__flows'

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
  const asking = { agents: new Agents(names, options, context, clock), words, read: lineIn }
  const format = options['output'] as Format
  if (follow !== true) return await listed(asking, options, context)
  const print = (line: FlowLine, node: string | undefined) => {
    if ('lost' in line) noteLost(context, line.lost, 'packets', node)
    else context.out(lineOf({ ...(node !== undefined && { node }), ...line.flow }, format))
  }
  const printer = new LinePrinter<FlowLine>(context.unread, print, count => noteLeft(context, count, 'flows'))
  return await followNodes(asking, printer, context, clock)
}

async function listed(asking: Asking<FlowLine>, options: Options, context: Context): Promise<ExitCode> {
  const count = wholeNumberOf(options, 'count', 1, MOST_FLOWS)
  const ofNode = new Map<string, ShownFlow[]>()
  let found: ShownFlow[] = []
  const code = await listNodes(asking, context, {
    take(line, node) {
      const flows = ofNode.get(node) ?? []
      if ('flow' in line && flows.length < count) flows.push({ node, ...line.flow })
      ofNode.set(node, flows)
    },
    told(node) {
      found = [...found, ...(ofNode.get(node) ?? [])].toSorted((a, b) => compared(a.last, b.last)).slice(-count)
    },
  })
  context.out(showFlows(found, options['output'] as Format))
  return code
}

/** A later version may tell more, and what is not a line of flows is nothing. */
function lineIn(text: string): FlowLine | undefined {
  return flowLine.safeParse(parsedJson(text)).data
}

function compared(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
