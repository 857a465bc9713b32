// What a command is: a row of data that main.ts turns into a parser, help and a call. A new command is a file with its
// rows and one line in commands.ts.
import { Argument, Option, type Command as Parser } from 'commander'
import type { PodExec } from '../datastore/exec.ts'
import type { Objects } from '../datastore/objects.ts'
import type { Store } from '../datastore/port.ts'
import type { ExitCode } from './failure.ts'
import { FORMATS } from './render.ts'

/** What commands may touch. */
export type Context = {
  /** Opened at the first call: commands that need no server do not ask for one. Rejects with UsageError. */
  store(): Promise<Store>
  /** The same server's objects as they are, not validated. Opened at the first call. Rejects with UsageError. */
  objects(): Promise<Objects>
  /** Runs programs in containers of the same server's pods. Rejects with UsageError. */
  exec(): Promise<PodExec>
  /** The namespace of the kubeconfig's context, else `default`. Rejects with UsageError. */
  namespace(): Promise<string>
  out(text: string): void
  /** Octets that were printed, here or on standard error, and that nobody has read yet. */
  unread(): number
  /** A fault or a warning, after the program's name. */
  err(text: string): void
  /** What people should read and programs should not. */
  note(text: string): void
  /** Resolves when the program is asked to end (SIGINT, SIGTERM), or nobody reads what it prints any more. */
  interrupted(): Promise<void>
  /** Resolves when whoever started the program closes its standard input. */
  inputEnded(): Promise<void>
  /** The texts of files, of the manifests in folders, and of standard input for `-`. Rejects with UsageError. */
  read(paths: readonly string[], how?: { recursive?: boolean; skipEmpty?: boolean }): Promise<Source[]>
}

/** Where a text is from, as messages name it. */
export type Source = { name: string; text: string }

/** A `repeated` option may be given several times; its value is then a list. */
export type CommandOption = {
  flags: string
  summary: string
  default?: string
  choices?: readonly string[]
  repeated?: true
}

export type Command = {
  /** One or two words, such as `get` or `ipam show`. */
  name: string
  summary: string
  /** As commander writes them: `<kind>`, `[names...]`. */
  arguments: readonly { name: string; summary: string; choices?: readonly string[] }[]
  /** For programs alone: it stands in no help. */
  hidden?: true
  options: readonly CommandOption[]
  /** `words` are the arguments in order, variadic ones flattened; `options` is keyed by the long flag in camelCase. */
  run(words: readonly string[], options: Options, context: Context): Promise<ExitCode>
}

export type Options = Readonly<Record<string, string | boolean | readonly string[] | undefined>>

/** The option of every command that shows something. */
export const outputOption: CommandOption = {
  flags: '-o, --output <format>',
  summary: 'how to show it',
  default: 'table',
  choices: FORMATS,
}

/** Adds a command to the program, under its group's word when it has two; `act` runs when it is called. */
export function addCommand(
  program: Parser,
  command: Command,
  act: (command: Command, words: readonly string[], options: Options) => Promise<void>,
): void {
  const [first, second] = command.name.split(' ') as [string, string | undefined]
  const parent = second === undefined ? program : groupOf(program, first)
  const parser = parent.command(second ?? first, { hidden: command.hidden === true }).description(command.summary)
  for (const { name, summary, choices } of command.arguments) {
    const argument = new Argument(name, summary)
    parser.addArgument(choices === undefined ? argument : argument.choices(choices))
  }
  for (const option of command.options) addOption(parser, option)
  parser.action(() =>
    act(
      command,
      parser.processedArgs.flat().filter(word => word !== undefined),
      parser.optsWithGlobals(),
    ),
  )
}

/** Adds an option to a program or a command. */
export function addOption(
  parser: Parser,
  { flags, summary, default: byDefault, choices, repeated }: CommandOption,
): void {
  const option = new Option(flags, summary)
  if (choices !== undefined) option.choices(choices)
  if (repeated) option.argParser((value: string, before: readonly string[] = []) => [...before, value])
  if (byDefault !== undefined) option.default(byDefault)
  parser.addOption(option)
}

function groupOf(program: Parser, name: string): Parser {
  return program.commands.find(child => child.name() === name) ?? program.command(name).description(`${name} commands`)
}
