// `flows`: which packets policies denied or logged, by both ends' names and by what decided; `policy counters`: how many packets
// each rule decided about. Of this node from its agent's socket; flows of other nodes by cluster-flows.ts.
// Names and texts are others': they are shown escaped.
import { existsSync } from 'node:fs'
import * as z from 'zod'
import {
  FLOW_VERDICTS,
  type Flow,
  type FlowLine,
  flow,
  flowLine,
  MOST_FLOWS,
  ruleCountsAnswer,
} from '../api/answers.ts'
import { agentOptions } from './agents.ts'
import { clusterFlows, FLOWS_THERE } from './cluster-flows.ts'
import { type Command, type CommandOption, type Context, type Options, outputOption } from './command.ts'
import { EXIT, type ExitCode } from './failure.ts'
import { isWanted, lineOf, namespaceOf, showFlows } from './flow-view.ts'
import { LinePrinter, noteLeft, noteLost } from './line-print.ts'
import { wholeNumberOf } from './numbers.ts'
import { type Format, renderTable, show } from './render.ts'
import { ask, followLines, socketOption } from './socket.ts'
import { visible } from './visible.ts'

const FILTERS: readonly CommandOption[] = [
  { flags: '-f, --follow', summary: 'show what comes from now on, until it is interrupted' },
  { flags: '-n, --namespace <name>', summary: 'only flows of which an end or the policy is in this namespace' },
  {
    flags: '--verdict <verdict>',
    summary: 'only those; staged: what staged policies would deny, or have no rule for',
    choices: ['deny', 'log', 'staged', ...FLOW_VERDICTS.filter(each => each.startsWith('staged-'))],
  },
  { flags: '--count <n>', summary: 'without --follow: at most so many, 1-10000', default: '100' },
  socketOption,
]

export const flowCommands: readonly Command[] = [
  {
    name: 'flows',
    summary:
      'Show which packets policies of this node denied or logged, by pods, policy and rule, the newest last; without an agent here, or with names or --all, those of all nodes',
    arguments: [{ name: '[nodes...]', summary: 'nodes of the cluster, asked by the API server' }],
    options: [
      { flags: '-a, --all', summary: 'all nodes of the cluster, asked by the API server' },
      ...FILTERS,
      ...agentOptions,
      outputOption,
    ],
    run: flows,
  },
  {
    name: FLOWS_THERE,
    summary: 'Print flows as lines of JSON',
    arguments: [],
    hidden: true,
    options: FILTERS,
    run: flowsThere,
  },
  {
    name: 'policy counters',
    summary: 'Show how many packets each rule of policies decided about on this node; of a connection the first counts',
    arguments: [],
    options: [
      { flags: '-n, --namespace <name>', summary: 'only rules of policies in this namespace' },
      socketOption,
      outputOption,
    ],
    run: counters,
  },
]

async function counters(_words: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const { namespace } = options
  const all = await ask(options, ruleCountsAnswer, { method: 'GET', path: '/policy-counters', owner: 'margay-node' })
  const found = all.filter(({ policy }) => typeof namespace !== 'string' || namespaceOf(policy) === namespace)
  context.out(
    show({ counters: found }, options['output'] as Format, () =>
      renderTable(
        ['RULE', 'PACKETS', 'OCTETS'],
        found.map(({ rule, packets, octets }) => [visible(rule), `${packets}`, `${octets}`]),
      ),
    ),
  )
  return EXIT.fine
}

async function flows(words: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  if (words.length > 0 || options['all'] === true) return clusterFlows(words, options, context)
  if (options['socket'] === socketOption.default && !existsSync(socketOption.default ?? '')) {
    context.note(`There is no agent here (${socketOption.default}): the nodes are asked by the API server.\n`)
    return clusterFlows(words, options, context)
  }
  const format = options['output'] as Format
  if (options['follow'] !== true) {
    context.out(showFlows(await late(options), format))
    return EXIT.fine
  }
  const print = (line: FlowLine) =>
    'lost' in line ? noteLost(context, line.lost, 'packets') : context.out(lineOf(line.flow, format))
  const printer = new LinePrinter<FlowLine>(context.unread, print, count => noteLeft(context, count, 'flows'))
  return await follow(options, printer, context.interrupted())
}

/** For this program at another machine: lines of JSON as the agent has them. Ends with its standard input too, which is open as long as somebody reads. */
async function flowsThere(_words: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const print = (line: FlowLine) => context.out(`${JSON.stringify(line)}\n`)
  const printer = new LinePrinter<FlowLine>(context.unread, print, lost => print({ lost }))
  if (options['follow'] === true)
    return await follow(options, printer, Promise.race([context.interrupted(), context.inputEnded()]))
  for (const flow of await late(options)) print({ flow })
  return EXIT.fine
}

/** What this node's agent keeps of what the options ask for. */
async function late(options: Options): Promise<Flow[]> {
  const count = wholeNumberOf(options, 'count', 1, MOST_FLOWS)
  const all = await ask(options, z.array(flow), { method: 'GET', path: '/flows', owner: 'margay-node' })
  return all.filter(each => isWanted(each, options)).slice(-count)
}

/** Tells what comes until `ended`: 0. Rejects with NoAnswer when the agent ends. */
async function follow(options: Options, printer: LinePrinter<FlowLine>, ended: Promise<void>): Promise<ExitCode> {
  const question = { method: 'GET', path: '/flows?follow', owner: 'margay-node' } as const
  const take = (line: FlowLine) => ('lost' in line || isWanted(line.flow, options) ? printer.take(line) : undefined)
  try {
    await followLines(options, flowLine, question, take, ended)
  } finally {
    printer.end()
  }
  return EXIT.fine
}
