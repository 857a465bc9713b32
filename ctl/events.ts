// `events`: what happened on this node, and with --since, --object or --follow every change of it too; of this node from its agent's
// socket, of other nodes by cluster-events.ts.
import { existsSync } from 'node:fs'
import { eventsAnswer } from '../api/answers.ts'
import { type RecordLine, recordLine } from '../api/record-line.ts'
import { type Clock, systemClock } from '../lib/clock.ts'
import { agentOptions } from './agents.ts'
import { clusterEvents, countOf, EVENTS_THERE, printerOf } from './cluster-events.ts'
import { type Command, type CommandOption, type Context, type Options, outputOption } from './command.ts'
import { type ShownEvent, showEvents } from './event-view.ts'
import { EXIT, type ExitCode, UsageError } from './failure.ts'
import { LinePrinter } from './line-print.ts'
import type { Format } from './render.ts'
import { ask, followLines, type SocketRequest, socketOption } from './socket.ts'

const FILTERS: readonly CommandOption[] = [
  {
    flags: '-f, --follow',
    summary: 'show what comes from now on, until it is interrupted; with --since also what was before',
  },
  {
    flags: '--object <kind/name>',
    summary: 'only what is about this object, every change of it too: Route/10.244.1.0/26, NetworkPolicy/shop/web',
  },
  {
    flags: '--since <time>',
    summary: 'from this time on, every change too: 90s, 10m, 2h, 3d, or like 2026-11-27T12:03:00Z',
  },
  {
    flags: '--count <n>',
    summary: 'without --follow: the newest ones, 1-10000; 100 without other options, else 10000',
  },
  socketOption,
]

export const eventCommands: readonly Command[] = [
  {
    name: 'events',
    summary:
      'Show what happened on this node and why, the newest last; with --since, --object or --follow every change and who made it; without an agent here, or with names or --all, of all nodes',
    arguments: [{ name: '[nodes...]', summary: 'nodes of the cluster, asked by the API server' }],
    options: [
      { flags: '-A, --all', summary: 'all nodes of the cluster, asked by the API server' },
      ...FILTERS,
      ...agentOptions,
      outputOption,
    ],
    run: events,
  },
  {
    name: EVENTS_THERE,
    summary: 'Print events and changes as lines of JSON',
    arguments: [],
    hidden: true,
    options: FILTERS,
    run: eventsThere,
  },
]

async function events(words: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const question = questionOf(options, systemClock)
  if (words.length > 0 || options['all'] === true) return clusterEvents(words, options, context)
  if (options['socket'] === socketOption.default && !existsSync(socketOption.default ?? '')) {
    context.note(`There is no agent here (${socketOption.default}): the nodes are asked by the API server.\n`)
    return clusterEvents(words, options, context)
  }
  const format = options['output'] as Format
  if (options['follow'] === true && question !== undefined)
    return await follow(options, question, printerOf(context, format), context.interrupted())
  context.out(showEvents(await late(options, question), format))
  return EXIT.fine
}

/** For this program at another machine: lines of JSON. Ends with its standard input too, which is open as long as somebody reads. */
async function eventsThere(_words: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const question = questionOf(options, systemClock)
  const print = (line: RecordLine) => context.out(`${JSON.stringify(line)}\n`)
  const printer = new LinePrinter<RecordLine>(context.unread, print, lost => print({ lost }))
  if (options['follow'] === true && question !== undefined)
    return await follow(options, question, printer, Promise.race([context.interrupted(), context.inputEnded()]))
  for (const { node: _, seq = 0, ...event } of await late(options, question)) print({ record: { seq, ...event } })
  return EXIT.fine
}

/** What the agent here keeps of what the options ask for. */
async function late(options: Options, question: SocketRequest | undefined): Promise<ShownEvent[]> {
  const count = countOf(options)
  if (question === undefined) {
    const path = `/events?count=${count}`
    return (await ask(options, eventsAnswer, { method: 'GET', path, owner: 'margay-node' })).toReversed()
  }
  const found: ShownEvent[] = []
  await followLines(options, recordLine, question, line => {
    if ('record' in line) found.push(line.record)
    // those that are left out go at once, now and then
    if (found.length >= 2 * count) found.splice(0, found.length - count)
  })
  return found.slice(-count)
}

/** Tells what comes until `ended`: 0. Rejects with NoAnswer when the agent ends. */
async function follow(
  options: Options,
  question: SocketRequest,
  printer: LinePrinter<RecordLine>,
  ended: Promise<void>,
): Promise<ExitCode> {
  try {
    await followLines(options, recordLine, question, line => printer.take(line), ended)
  } finally {
    printer.end()
  }
  return EXIT.fine
}

/** Undefined where only the last events are asked for. Throws UsageError. */
function questionOf(options: Options, clock: Clock): SocketRequest | undefined {
  const { since, object, follow } = options
  if (since === undefined && object === undefined && follow !== true) return undefined
  const query = new URLSearchParams()
  if (typeof since === 'string') query.set('since', timeOf(since, clock))
  if (typeof object === 'string') query.set('object', object)
  if (typeof object === 'string' && !/^[^/]+\/./.test(object))
    throw new UsageError(`--object ${object}: write KIND/NAME, like Route/10.244.1.0/26`)
  if (follow === true) query.set('follow', '')
  return { method: 'GET', path: `/events?${query}`, owner: 'margay-node' }
}

const UNITS_MS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** RFC 3339, of that or of a time before now. Throws UsageError. */
function timeOf(text: string, clock: Clock): string {
  const [, count, unit = ''] = /^(\d{1,6})([smhd])$/.exec(text) ?? []
  const ms = count === undefined ? Date.parse(text) : clock.wallMs() - Number(count) * (UNITS_MS[unit] ?? 0)
  if (Number.isNaN(ms) || (count === undefined && !/^\d{4}-/.test(text)))
    throw new UsageError(
      `--since ${text}: write a time before now like 90s, 10m, 2h or 3d, or one like 2026-11-27T12:03:00Z`,
    )
  return new Date(ms).toISOString()
}
