// `flows`: which packets policies denied or logged, by both ends' names and by what decided; `policy counters`: how many packets
// each rule decided about. Of this node from its agent's socket.
// Names and texts are others': they are shown escaped.
import * as z from 'zod'
import {
  FLOW_VERDICTS,
  type Flow,
  type FlowEnd,
  type FlowLine,
  flow,
  flowLine,
  MOST_FLOWS,
  ruleCountsAnswer,
} from '../api/answers.ts'
import { type Command, type Context, type Options, outputOption } from './command.ts'
import { EXIT, type ExitCode } from './failure.ts'
import { wholeNumberOf } from './numbers.ts'
import { type Format, renderTable, show } from './render.ts'
import { ask, followLines, socketOption } from './socket.ts'
import { visible } from './visible.ts'

export const flowCommands: readonly Command[] = [
  {
    name: 'flows',
    summary: 'Show which packets policies of this node denied or logged, by pods, policy and rule; the newest last',
    arguments: [],
    options: [
      { flags: '-f, --follow', summary: 'show what comes from now on, until it is interrupted' },
      { flags: '-n, --namespace <name>', summary: 'only flows of which an end or the policy is in this namespace' },
      {
        flags: '--verdict <verdict>',
        summary: 'only those; staged: what staged policies would deny, or have no rule for',
        choices: ['deny', 'log', 'staged', ...FLOW_VERDICTS.filter(each => each.startsWith('staged-'))],
      },
      { flags: '--count <n>', summary: 'without --follow: at most so many, 1-10000', default: '100' },
      socketOption,
      outputOption,
    ],
    run: flows,
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

/** Of `KIND NAMESPACE/NAME`. */
function namespaceOf(policy: string | undefined): string | undefined {
  const parts = policy?.split(' ')[1]?.split('/') ?? []
  return parts.length > 1 ? parts[0] : undefined
}

async function flows(_words: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const format = options['output'] as Format
  const wanted = (each: Flow) => isWanted(each, options)
  if (options['follow'] === true) return await follow(options, context, wanted)
  const count = wholeNumberOf(options, 'count', 1, MOST_FLOWS)
  const all = await ask(options, z.array(flow), { method: 'GET', path: '/flows', owner: 'margay-node' })
  const found = all.filter(wanted).slice(-count)
  context.out(
    show({ flows: found }, format, () => (found.length === 0 ? 'No flows.\n' : renderTable(HEADS, found.map(cellsOf)))),
  )
  return EXIT.fine
}

/** Ends when it is interrupted: 0. Rejects with NoAnswer when the agent ends. */
async function follow(options: Options, context: Context, wanted: (flow: Flow) => boolean): Promise<ExitCode> {
  const format = options['output'] as Format
  const question = { method: 'GET', path: '/flows?follow', owner: 'margay-node' } as const
  const take = (line: FlowLine) => {
    if ('lost' in line) context.note(`${line.lost} packets are told nowhere: there were too many.\n`)
    else if (wanted(line.flow)) context.out(lineOf(line.flow, format))
  }
  await followLines(options, flowLine, question, take, context.interrupted())
  return EXIT.fine
}

/** What the options ask for. */
function isWanted({ verdict, source, destination, policy }: Flow, options: Options): boolean {
  const { namespace, verdict: asked } = options
  const verdicts = [verdict, verdict.startsWith('staged-') ? 'staged' : verdict]
  if (typeof asked === 'string' && !verdicts.includes(asked)) return false
  if (typeof namespace !== 'string') return true
  return [source.namespace, destination.namespace, namespaceOf(policy)].includes(namespace)
}

const HEADS = ['LAST', 'VERDICT', 'DIRECTION', 'SOURCE', 'DESTINATION', 'PROTOCOL', 'PACKETS', 'BY']

function cellsOf(each: Flow): string[] {
  const { last, verdict, direction = '', source, destination, protocol, destinationPort, icmp, packets } = each
  const port = destinationPort ?? (icmp === undefined ? undefined : `${icmp.type}/${icmp.code}`)
  return [
    ...[last.replace(/\.\d+Z$/, 'Z'), verdict, direction, endText(source), endText(destination)],
    ...[port === undefined ? protocol : `${protocol} ${port}`, `${packets}`, causeText(each)],
  ].map(visible)
}

/** `shop/web (10.244.0.7)`; `Node n1 (192.168.10.11)`. */
function endText({ address, kind, namespace, name }: FlowEnd): string {
  if (name === undefined) return address
  const whole = namespace === undefined ? name : `${namespace}/${name}`
  return kind === 'Pod' ? `${whole} (${address})` : `${kind} ${whole} (${address})`
}

function causeText({ policy, tier, rule, profile, because }: Flow): string {
  if (policy !== undefined)
    return [
      policy,
      ...(rule === undefined ? [] : [`rule ${rule}`]),
      ...(tier === undefined ? [] : [`tier ${tier}`]),
    ].join(', ')
  if (tier !== undefined) return `end of tier ${tier}`
  return profile === undefined ? because : `Profile ${profile}, rule ${rule}`
}

/** One line of text, or of JSON; of YAML a document. */
function lineOf(each: Flow, format: Format): string {
  if (format === 'json') return `${JSON.stringify(each)}\n`
  if (format !== 'table' && format !== 'wide') return show(each, format, () => '')
  return `${cellsOf(each).join('  ')}\n`
}
