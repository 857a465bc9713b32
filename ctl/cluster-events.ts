// `events` of all nodes, from any machine: `margayctl __events` runs at each (cluster-lines.ts) and writes lines of JSON, which are put
// together by time.
import { MOST_EVENTS } from '../api/answers.ts'
import { type RecordLine, recordLine } from '../api/record-line.ts'
import { type Clock, systemClock } from '../lib/clock.ts'
import { Agents } from './agents.ts'
import { type Asking, followNodes, listNodes } from './cluster-lines.ts'
import type { Context, Options } from './command.ts'
import { EventMerge } from './event-merge.ts'
import { eventLine, merged, type ShownEvent, showEvents } from './event-view.ts'
import type { ExitCode } from './failure.ts'
import { LinePrinter, noteLeft, noteLost } from './line-print.ts'
import { wholeNumberOf } from './numbers.ts'
import type { Format } from './render.ts'
import { parsedJson } from './socket.ts'

/** The name of the command that runs at each node. */
export const EVENTS_THERE = '__events'

const USUAL = '100'

/** Lists or follows the events of all nodes, or of those in `names`. Exit code 1 unless each of them was asked. Rejects with UsageError for a node without an agent. */
export async function clusterEvents(
  names: readonly string[],
  options: Options,
  context: Context,
  clock: Clock = systemClock,
): Promise<ExitCode> {
  const words = [
    EVENTS_THERE,
    ...['since', 'object', 'count'].flatMap(name => {
      const value = options[name]
      return typeof value === 'string' ? [`--${name}=${value}`] : []
    }),
    ...(options['follow'] === true ? ['--follow'] : []),
  ]
  const asking: Asking<RecordLine> = {
    ...{ agents: new Agents(names, options, context, clock), words },
    // a later version may tell more
    read: text => recordLine.safeParse(parsedJson(text)).data,
  }
  const format = options['output'] as Format
  if (options['follow'] !== true) return await listed(asking, options, context)
  const printer = printerOf(context, format)
  const waits = options['since'] === undefined ? 0 : wholeNumberOf(options, 'timeout', 1, 600) * 1000
  return await followNodes(asking, new EventMerge(printer, waits, clock), context, clock)
}

async function listed(asking: Asking<RecordLine>, options: Options, context: Context): Promise<ExitCode> {
  const count = countOf(options)
  const ofNode = new Map<string, ShownEvent[]>()
  const found: ShownEvent[] = []
  const code = await listNodes(asking, context, {
    take(line, node) {
      const events = ofNode.get(node) ?? []
      if ('record' in line && events.length < count) events.push({ node, ...line.record })
      ofNode.set(node, events)
    },
    told(node) {
      for (const event of ofNode.get(node) ?? []) found.push(event)
      ofNode.delete(node)
    },
  })
  context.out(showEvents(merged(found).slice(-count), options['output'] as Format))
  return code
}

/** Prints what is followed. */
export function printerOf(context: Context, format: Format): LinePrinter<RecordLine> {
  const print = (line: RecordLine, node: string | undefined) => {
    if ('lost' in line) noteLost(context, line.lost, 'events', node)
    else if ('record' in line) context.out(eventLine({ ...(node !== undefined && { node }), ...line.record }, format))
  }
  return new LinePrinter<RecordLine>(context.unread, print, count => noteLeft(context, count, 'events'))
}

/** How many events are shown. Throws UsageError. */
export function countOf(options: Options): number {
  const isPlain = options['since'] === undefined && options['object'] === undefined
  const count = options['count'] ?? (isPlain ? USUAL : `${MOST_EVENTS}`)
  return wholeNumberOf({ ...options, count }, 'count', 1, MOST_EVENTS)
}
