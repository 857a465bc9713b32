// `node status` and `events`: what the agent of this node says of itself.
import { eventsAnswer, MOST_EVENTS, type NodeEvent, type Peer, type Status, statusAnswer } from '../api/answers.ts'
import { type Command, type Context, type Options, outputOption } from './command.ts'
import { EXIT, type ExitCode, UsageError } from './failure.ts'
import { type Format, renderTable, show } from './render.ts'
import { ask, type Question, socketOption } from './socket.ts'

export const nodeCommands: readonly Command[] = [
  {
    name: 'node status',
    summary: 'Show whether this node is ready, its BGP peers, and what is wrong',
    arguments: [],
    options: [socketOption, outputOption],
    run: status,
  },
  {
    name: 'events',
    summary: 'List what changed on this node and why, the newest last',
    arguments: [],
    options: [
      socketOption,
      outputOption,
      { flags: '--count <n>', summary: 'at most so many, 1-10000', default: '100' },
    ],
    run: events,
  },
]

/** Both programs know their peers; only the agent knows more. */
export const STATUS: readonly Question[] = [
  { method: 'GET', path: '/status', owner: 'margay-node' },
  { method: 'GET', path: '/peers', owner: 'margay-bgp' },
]

async function status(_words: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const found = await ask(options, statusAnswer, ...STATUS)
  context.out(show(found, options['output'] as Format, format => renderStatus(found, format)))
  return found.ready ? EXIT.fine : EXIT.no
}

async function events(_words: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const text = String(options['count'])
  const count = Number(text)
  if (!/^\d+$/.test(text) || count < 1 || count > MOST_EVENTS)
    throw new UsageError(`--count ${text}: give a whole number from 1 to ${MOST_EVENTS}`)
  const question = { method: 'GET', path: `/events?count=${count}`, owner: 'margay-node' } as const
  const found = (await ask(options, eventsAnswer, question)).toReversed()
  context.out(show({ events: found }, options['output'] as Format, () => renderEvents(found)))
  return EXIT.fine
}

/** Readiness in one line, the peers, then every condition that is not fine. Pure. */
export function renderStatus({ node, address, uplink, ready, conditions, peers }: Status, format: 'table' | 'wide') {
  const where = address === undefined ? '' : `: ${address}${uplink === undefined ? '' : ` on ${uplink}`}`
  const wrong = conditions.filter(({ status }) => status !== 'True')
  return [
    `${node === undefined ? 'margay-bgp' : `node ${node}`} is ${ready ? 'ready' : 'not ready'}${where}\n`,
    renderPeers(peers, format),
    ...(wrong.length === 0
      ? []
      : [
          renderTable(
            ['CONDITION', 'OBJECT', 'REASON', 'MESSAGE', 'REMEDY'],
            wrong.map(({ type, object, reason, message, remedy }) => [type, nameOf(object), reason, message, remedy]),
          ),
        ]),
  ].join('\n')
}

function nameOf(object: NodeEvent['object'] | undefined): string {
  if (object === undefined) return ''
  const { kind, name, namespace } = object
  return `${kind} ${namespace === undefined ? name : `${namespace}/${name}`}`
}

/** The peers in the words of `calicoctl node status`, with the reason of those that are not up. Pure. */
export function renderPeers(peers: readonly Peer[], format: 'table' | 'wide'): string {
  if (peers.length === 0) return 'No BGP peers.\n'
  const wide = format === 'wide'
  const more = ['NAME', 'AS', 'RECEIVED', 'ACCEPTED', 'ANNOUNCED', 'FLAPS']
  return renderTable(
    ['PEER ADDRESS', 'PEER TYPE', 'STATE', 'SINCE', ...(wide ? more : []), 'REASON'],
    peers
      .toSorted(byAddress)
      .map(({ name, address, type, asn, state, since, reason, detail, flaps, prefixes }) => [
        address,
        type,
        state,
        since.replace(/\.\d+Z$/, 'Z'),
        ...(wide
          ? [name, asn ?? '?', prefixes.received, prefixes.accepted, prefixes.announced, flaps].map(String)
          : []),
        detail === '' ? reason : `${reason}: ${detail}`,
      ]),
  )
}

function byAddress(a: Peer, b: Peer): number {
  return a.address.localeCompare(b.address, 'en', { numeric: true })
}

/** One line per event. Pure. */
export function renderEvents(events: readonly NodeEvent[]): string {
  return renderTable(
    ['TIME', 'TYPE', 'OBJECT', 'REASON', 'MESSAGE'],
    events.map(({ at, type, object, reason, message }) => [at, type, nameOf(object), reason, message]),
  )
}
