// `completion`: what a shell offers on Tab. The shells' scripts only hand the words to `margayctl __complete`, so that the
// table of commands, the table of kinds and the server are asked in one place.
import { type Kind, type KindRow, kinds } from '../api/kinds.ts'
import type { Command, CommandOption, Context } from './command.ts'
import { globalOptions } from './connection.ts'
import { EXIT, type ExitCode } from './failure.ts'
import { parseKind } from './manifest.ts'
import { visible } from './visible.ts'

const SHELLS = ['bash', 'zsh', 'fish'] as const

const SCRIPTS: Readonly<Record<(typeof SHELLS)[number], string>> = {
  bash: `_margayctl() {
  local IFS=$'\\n'
  COMPREPLY=($(margayctl __complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
  [ "\${COMPREPLY[0]-}" != ':files' ] || COMPREPLY=($(compgen -f -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o nosort -F _margayctl margayctl 2>/dev/null || complete -F _margayctl margayctl
`,
  zsh: `_margayctl() {
  local -a found
  found=("\${(@f)$(margayctl __complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ "\${found[1]}" == ':files' ]]; then _files; else compadd -- "\${(@)found:#}"; fi
}
compdef _margayctl margayctl
`,
  fish: `function __margayctl_complete
  set -l words (commandline -opc) (commandline -ct)
  set -l found (margayctl __complete -- $words[2..-1] 2>/dev/null)
  if test "$found[1]" = ':files'
    __fish_complete_path (commandline -ct)
  else
    printf '%s\\n' $found
  end
end
complete -c margayctl -f -a '(__margayctl_complete)'
`,
}

/** The two commands; `all` gives every command, these included. */
export function completionCommands(all: () => readonly Command[]): Command[] {
  return [
    {
      name: 'completion',
      summary: 'Print the script that makes a shell complete the words of margayctl',
      arguments: [{ name: '<shell>', summary: SHELLS.join(', '), choices: SHELLS }],
      options: [],
      run: async ([shell], _options, context) => {
        context.out(SCRIPTS[shell as (typeof SHELLS)[number]])
        return EXIT.fine
      },
    },
    {
      name: '__complete',
      summary: 'Print what the last word can become, for the scripts of `completion`',
      hidden: true,
      arguments: [{ name: '[words...]', summary: 'as typed so far, after --' }],
      options: [],
      run: (words, _options, context) => complete(words, all(), context),
    },
  ]
}

async function complete(words: readonly string[], all: readonly Command[], context: Context): Promise<ExitCode> {
  const known = candidates(words, all)
  const last = words.at(-1) ?? ''
  const values = known.kind === undefined ? known.values : await namesOf(known.kind, words, context)
  if (known.files) context.out(':files\n')
  else for (const value of values) if (value.startsWith(last)) context.out(`${visible(value)}\n`)
  return EXIT.fine
}

type Candidates = { values: readonly string[]; files?: true; kind?: Kind }

/** What the last of the words can be: commands, options, their values, kinds, or names of objects of a kind. Pure. */
function candidates(words: readonly string[], all: readonly Command[]): Candidates {
  const visible = all.filter(({ hidden }) => hidden !== true)
  const before = words.slice(0, -1)
  const last = words.at(-1) ?? ''
  const command = visible.find(({ name }) => isPrefix(name.split(' '), plainWords(before, globalOptions)))
  const options = [...(command?.options ?? []), ...globalOptions]
  const open = options.find(({ flags }) => takesValue(flags) && flagsOf(flags).includes(before.at(-1) ?? ''))
  if (open !== undefined) return valuesOf(open)
  if (last.startsWith('-')) return { values: options.flatMap(({ flags }) => flagsOf(flags)) }
  if (command === undefined) return { values: nextWords(visible, plainWords(before, globalOptions)) }
  const given = plainWords(before, options).slice(command.name.split(' ').length)
  const argument = command.arguments[Math.min(given.length, command.arguments.length - 1)]
  if (argument === undefined) return { values: [] }
  if (argument.choices !== undefined) return { values: argument.choices }
  if (given.length === 0 && argument.name.includes('kind'))
    return { values: (Object.values(kinds) as KindRow[]).map(({ plural }) => plural) }
  const kind = given[0] === undefined ? undefined : kindOf(given[0])
  return kind === undefined ? { values: [] } : { values: [], kind }
}

function isPrefix(name: readonly string[], words: readonly string[]): boolean {
  return name.every((word, i) => words[i] === word)
}

/** The words that are neither options nor their values. */
function plainWords(words: readonly string[], options: readonly CommandOption[]): string[] {
  return words.filter((word, i) => {
    const before = options.find(({ flags }) => takesValue(flags) && flagsOf(flags).includes(words[i - 1] ?? ''))
    return before === undefined && !word.startsWith('-')
  })
}

function nextWords(commands: readonly Command[], before: readonly string[]): string[] {
  const names = commands.map(({ name }) => name.split(' ')).filter(name => isPrefix(before, name))
  return [...new Set(names.map(name => name[before.length]).filter(word => word !== undefined))]
}

function flagsOf(flags: string): string[] {
  return flags.split(/[ ,]+/).filter(word => word.startsWith('-'))
}

function takesValue(flags: string): boolean {
  return flags.includes('<')
}

function valuesOf({ flags, choices }: CommandOption): Candidates {
  if (choices !== undefined) return { values: choices }
  return /<(file|folder|path)>/.test(flags) ? { values: [], files: true } : { values: [] }
}

function kindOf(word: string): Kind | undefined {
  try {
    return parseKind(word)
  } catch {
    return undefined // a word that names no kind has no objects to offer
  }
}

/** Names at the server; none where it cannot be asked: a shell has no place for a message. */
async function namesOf(kind: Kind, words: readonly string[], context: Context): Promise<string[]> {
  const at = words.findIndex(word => word === '-n' || word === '--namespace')
  try {
    const namespace = at < 0 ? await context.namespace() : words[at + 1]
    const objects = await (await context.objects()).list(kind, kinds[kind].namespaced ? { namespace } : {})
    return objects.map(({ metadata }) => metadata.name).filter(name => !words.slice(0, -1).includes(name))
  } catch {
    return []
  }
}
