// One run of the command line: parses the words by the table of commands, opens the server when a command asks for it,
// and turns what happens into an exit code. Everything that it touches of the process is in `Terminal`.
import { CommanderError, Command as Parser } from 'commander'
import type { PodExec } from '../datastore/exec.ts'
import type { Objects } from '../datastore/objects.ts'
import type { Store } from '../datastore/port.ts'
import { installedGroup } from './api-group.ts'
import { addCommand, addOption, type Command, type Context, type Options } from './command.ts'
import { commands } from './commands.ts'
import { connectionOf, globalOptions, type ServerOptions } from './connection.ts'
import { EXIT, type ExitCode, failureOf, UsageError } from './failure.ts'
import { readSources } from './sources.ts'
import { visibleLines } from './visible.ts'

export type Terminal = {
  /** What people call the program: `margayctl`, or `kubectl margay`. */
  name: string
  out(text: string): void
  err(text: string): void
  /** Octets of both that wait for whoever reads them. */
  unread(): number
  /** All of standard input. */
  input(): Promise<string>
  /** Resolves when the program is asked to end, or nobody reads what it prints any more. */
  interrupted(): Promise<void>
  /** Resolves when standard input ends. */
  inputEnded(): Promise<void>
}

/** What this program calls itself where the server notes who wrote a field. */
const MANAGER = 'margayctl'

/** Runs one command line, the words after the program's name. Rejects only for a fault of this program. */
export async function run(words: readonly string[], terminal: Terminal): Promise<ExitCode> {
  let code: ExitCode = EXIT.fine
  const parser = parserOf(terminal, async (command, given, options) => {
    code = await act(command, given, options, terminal)
  })
  try {
    await parser.parseAsync(translated(words), { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    return error.exitCode === 0 ? EXIT.fine : EXIT.usage
  }
  return code
}

/** Words of calicoctl that have others here: `datastore migrate export`, and `-a` for all namespaces. */
function translated(words: readonly string[]): string[] {
  const at = words.indexOf('datastore')
  const kept = words.filter((word, i) => !(at >= 0 && i === at + 1 && word === 'migrate'))
  return words[0] === 'get' ? kept.map(word => (word === '-a' ? '-A' : word)) : kept
}

/** The parser of the whole command line. */
function parserOf({ name, out, err }: Terminal, act: Parameters<typeof addCommand>[2]): Parser {
  const parser = new Parser(name).description('Shows and changes the resources of Margay')
  for (const option of globalOptions) addOption(parser, option)
  for (const command of commands) addCommand(parser, command, act)
  for (const each of [parser, ...parser.commands, ...parser.commands.flatMap(group => group.commands)])
    each.exitOverride().configureOutput({ writeOut: out, writeErr: err })
  return parser
}

async function act(
  command: Command,
  words: readonly string[],
  options: Options,
  terminal: Terminal,
): Promise<ExitCode> {
  let store: Store | undefined
  let objects: Objects | undefined
  try {
    const connection = { ...(await connectionOf(options)), program: MANAGER, groupOfBoth: installedGroup }
    const context: Context = {
      store: async () => (store ??= await openedStore(connection)),
      objects: async () => (objects ??= await openedObjects(connection, text => context.err(`${text}\n`))),
      exec: () => openedExec(connection),
      namespace: async () => {
        const { namespaceOf } = await import('../datastore/credentials.ts')
        return usable(() => namespaceOf(connection)) ?? 'default'
      },
      out: terminal.out,
      unread: terminal.unread,
      err: text => terminal.err(`${terminal.name}: ${visibleLines(text)}`),
      note: text => terminal.err(visibleLines(text)),
      read: (paths, how) => readSources(paths, terminal.input, how),
      interrupted: terminal.interrupted,
      inputEnded: terminal.inputEnded,
    }
    return await command.run(words, options, context)
  } catch (error) {
    const { code, message } = failureOf(error)
    terminal.err(`${terminal.name}: ${visibleLines(message)}\n`)
    return code
  } finally {
    objects?.close()
    await store?.close()
  }
}

type Connection = ServerOptions & { groupOfBoth: typeof installedGroup }

// the store takes longer to load than all the rest: not before it is needed
async function openedStore(connection: Connection): Promise<Store> {
  const { openStore } = await import('../datastore/kube.ts')
  return usable(() => openStore(connection))
}

async function openedObjects(connection: Connection, warn: (text: string) => void): Promise<Objects> {
  const { openObjects } = await import('../datastore/objects.ts')
  return usable(() => openObjects({ ...connection, manager: MANAGER, warn }))
}

async function openedExec(connection: Connection): Promise<PodExec> {
  const { openPodExec } = await import('../datastore/exec.ts')
  return usable(() => openPodExec(connection))
}

function usable<T>(open: () => T): T {
  try {
    return open()
  } catch (error) {
    throw new UsageError(`the kubeconfig cannot be used: ${(error as Error).message}. Give --kubeconfig or --server.`)
  }
}
