#!/usr/bin/env node
// The program `margayctl`: parses the command line by the table of commands, opens the store when a command asks for it,
// and ends with 0 fine, 1 the answer is no, 2 wrong usage, 3 out of reach.
import { Command as Parser } from 'commander'
import type { Store } from '../datastore/port.ts'
import { addCommand, type Command, type Context, type Options } from './command.ts'
import { commands } from './commands.ts'
import { EXIT, failureOf, UsageError } from './failure.ts'
import { MANAGER } from './resources.ts'
import { fileText, readSources } from './sources.ts'

const program = new Parser('margayctl')
  .description('Shows and changes the resources of Margay')
  .option('--kubeconfig <file>', 'kubeconfig of the API server; default: $KUBECONFIG, ~/.kube/config, the pod')
  .option('--server <url>', 'API server without a kubeconfig, such as http://127.0.0.1:6480')
  .option('--token-file <file>', 'bearer token for --server')
  .option('--ca-file <file>', 'certificate authority for --server, PEM')
  .exitOverride(error => process.exit(error.exitCode === 0 ? EXIT.fine : EXIT.usage))

for (const command of commands) addCommand(program, command, act)
for (const parser of [...program.commands, ...program.commands.flatMap(group => group.commands)])
  parser.exitOverride(error => process.exit(error.exitCode === 0 ? EXIT.fine : EXIT.usage))
await program.parseAsync()

async function act(command: Command, words: readonly string[], options: Options): Promise<void> {
  let store: Store | undefined
  try {
    const connection = await connectionOf(options)
    const context: Context = {
      store: async () => (store ??= await openedStore(connection)),
      out: line => void process.stdout.write(line),
      err: line => void process.stderr.write(`margayctl: ${line}`),
      read: readSources,
    }
    process.exitCode = await command.run(words, options, context)
  } catch (error) {
    const { code, message } = failureOf(error)
    process.stderr.write(`margayctl: ${message}\n`)
    process.exitCode = code
  } finally {
    await store?.close()
  }
}

type ServerOptions = { kubeconfig?: string; server?: string; token?: string; caData?: string }

async function connectionOf({ kubeconfig, server, tokenFile, caFile }: Options): Promise<ServerOptions> {
  if (kubeconfig !== undefined && server !== undefined) throw new UsageError('give --kubeconfig or --server, not both')
  if (typeof server === 'string' && !/^https?:\/\/[^/]/.test(server))
    throw new UsageError(`--server ${server}: give a URL such as http://127.0.0.1:6480`)
  return {
    ...(typeof kubeconfig === 'string' ? { kubeconfig } : {}),
    ...(typeof server === 'string' ? { server } : {}),
    ...(typeof tokenFile === 'string' ? { token: (await fileText(tokenFile)).trim() } : {}),
    ...(typeof caFile === 'string' ? { caData: await fileText(caFile) } : {}),
  }
}

async function openedStore(connection: ServerOptions): Promise<Store> {
  // the store takes longer to load than all the rest: not before it is needed
  const { openStore } = await import('../datastore/kube.ts')
  try {
    return openStore({ ...connection, program: MANAGER })
  } catch (error) {
    throw new UsageError(`the kubeconfig cannot be used: ${(error as Error).message}. Give --kubeconfig or --server.`)
  }
}
