// `node status` and others: what the agent of this node says of itself.
import { existsSync } from 'node:fs'
import { acceptAnswer, logLevelAnswer, statusAnswer } from '../api/answers.ts'
import { agentOptions } from './agents.ts'
import { clusterStatus } from './cluster-status.ts'
import { type Command, type Context, type Options, outputOption } from './command.ts'
import { drainNode } from './drain.ts'
import { EXIT, type ExitCode } from './failure.ts'
import { renderStatus } from './node-view.ts'
import { type Format, renderTable, show } from './render.ts'
import { ask, type SocketRequest, socketOption } from './socket.ts'
import { visible } from './visible.ts'

export const nodeCommands: readonly Command[] = [
  {
    name: 'node status',
    summary:
      'Show whether this node is ready, its BGP peers, what is wrong, and dropped packets; without an agent here, or with names or --all, how all nodes are',
    arguments: [{ name: '[nodes...]', summary: 'nodes of the cluster, asked by the API server' }],
    options: [
      { flags: '-a, --all', summary: 'all nodes of the cluster, asked by the API server' },
      { flags: '--timeout <seconds>', summary: 'how long nodes of the cluster may take to answer', default: '10' },
      socketOption,
      outputOption,
    ],
    run: status,
  },
  {
    name: 'node accept-cluster',
    summary: 'Confirm what the API server says after it lost what this node knew; see the condition ClusterRecognised',
    arguments: [],
    options: [socketOption],
    run: acceptCluster,
  },
  {
    name: 'node drain-bgp',
    summary:
      'Before maintenance: make all BGP peers of a node take other paths where there are any (RFC 8326), and wait until they know; it still carries packets, and no session ends',
    arguments: [{ name: '<node>', summary: 'a node of the cluster' }],
    options: [
      { flags: '--undo', summary: 'after the maintenance: make the paths by this node count again' },
      ...agentOptions,
      outputOption,
    ],
    run: (words, options, context) => drainNode(words, options, context),
  },
  {
    name: 'node log-level',
    summary:
      'Show or set how much the agent of this node writes, by room, until it starts again; ROOM= takes back what was set',
    arguments: [{ name: '[levels...]', summary: 'ROOM=LEVEL, or LEVEL for all rooms; none: show them' }],
    options: [socketOption, outputOption],
    run: logLevel,
  },
]

/** Both programs know their peers; only the agent knows more. */
export const STATUS: readonly SocketRequest[] = [
  { method: 'GET', path: '/status', owner: 'margay-node' },
  { method: 'GET', path: '/peers', owner: 'margay-bgp' },
]

async function status(words: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  if (words.length > 0 || options['all'] === true) return clusterStatus(words, options, context)
  if (options['socket'] === socketOption.default && !existsSync(socketOption.default ?? '')) {
    context.note(`There is no agent here (${socketOption.default}): the nodes are asked by the API server.\n`)
    return clusterStatus(words, options, context)
  }
  const found = await ask(options, statusAnswer, ...STATUS)
  context.out(show(found, options['output'] as Format, format => renderStatus(found, format)))
  return found.ready ? EXIT.fine : EXIT.no
}

async function acceptCluster(_words: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const question = { method: 'POST', path: '/accept-cluster', owner: 'margay-node' } as const
  const { doubt } = await ask(options, acceptAnswer, question)
  context.out(
    doubt === ''
      ? 'The API server was not in doubt.\n'
      : `The API server is believed again, although ${visible(doubt)}.\n`,
  )
  return EXIT.fine
}

async function logLevel(words: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const owner = 'margay-node' as const
  for (const word of words) {
    const [room, level] = word.includes('=') ? word.split('=', 2) : ['', word]
    const query = new URLSearchParams({ room: room ?? '', level: level ?? '' })
    await ask(options, logLevelAnswer, { method: 'POST', path: `/log-level?${query}`, owner })
  }
  const levels = await ask(options, logLevelAnswer, { method: 'GET', path: '/log-level', owner })
  context.out(
    show(levels, options['output'] as Format, () =>
      renderTable(
        ['ROOM', 'LEVEL', 'FROM'],
        levels.map(({ room, level, from }) => [room, level, from]),
      ),
    ),
  )
  return EXIT.fine
}
