// `ui`: the map in the browser of whoever starts it, on this machine alone (docs/map.md).
import { systemClock } from '../lib/clock.ts'
import { pageAssets } from '../ui/assets.ts'
import { serveMap } from '../ui/server.ts'
import { agentOptions } from './agents.ts'
import type { Command, Context, Options } from './command.ts'
import { EXIT, type ExitCode, UsageError } from './failure.ts'
import { askForMap, Collected, MAP_THERE, MAP_WORDS, type MapWord } from './map-source.ts'
import { wholeNumberOf } from './numbers.ts'
import { socketOption } from './socket.ts'

export const uiCommands: readonly Command[] = [
  {
    name: 'ui',
    summary:
      'Show the cluster as a live map in a browser of this machine: nodes, paths, pods, what is wrong, and why A cannot reach B',
    arguments: [],
    options: [
      {
        flags: '--node-sockets <list>',
        summary: 'NODE=PATH,...: ask the agents by these sockets of this machine, not by the API server',
      },
      { flags: '-n, --namespace <name>', summary: 'of bare names; default: that of the kubeconfig, else default' },
      { flags: '--port <port>', summary: 'of 127.0.0.1; 0: any that is free', default: '0' },
      ...agentOptions,
    ],
    run: ui,
  },
  {
    name: MAP_THERE,
    summary: 'Print what the map shows of this node, as a line of JSON',
    arguments: [{ name: '<what>', summary: 'what', choices: MAP_WORDS }],
    hidden: true,
    options: [socketOption],
    run: mapThere,
  },
]

async function ui(_words: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const port = wholeNumberOf(options, 'port', 0, 65_535)
  const source = new Collected(options, context)
  context.note('The nodes are asked…\n')
  await source.start()
  try {
    const server = await serveMap(source, await pageAssets(), port, () => systemClock.wallMs()).catch(
      (error: unknown) => {
        throw new UsageError(
          `127.0.0.1:${port} cannot be listened at: ${(error as Error).message}. Choose another --port.`,
        )
      },
    )
    context.out(`${server.url}\n`)
    context.note('Open it in a browser of this machine; it counts once. Ctrl-C ends the map.\n')
    await context.interrupted()
    await server.close()
  } finally {
    source.close()
  }
  return EXIT.fine
}

async function mapThere([word]: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const told = await askForMap(String(options['socket']), word as MapWord, systemClock.wallMs())
  context.out(`${JSON.stringify(told)}\n`)
  return EXIT.fine
}
