// `delete`: by name, by manifest, by labels, or all of a kind when that is said.
import { NotFound } from '../datastore/port.ts'
import type { Command, Context, Options } from './command.ts'
import { forEach } from './each.ts'
import { EXIT, type ExitCode } from './failure.ts'
import { refOf, typeOf } from './output/columns.ts'
import {
  allNamespacesOption,
  chosenTargets,
  fieldSelectorOption,
  selectorOption,
  targetArguments,
  targetOptions,
  titleOf,
} from './targets.ts'
import { visible } from './visible.ts'
import { dryRunNote, dryRunOf, dryRunOption } from './writes.ts'

export const deleteCommand: Command = {
  name: 'delete',
  summary: 'Delete resources by name, by labels, or those of a manifest',
  arguments: targetArguments,
  options: [
    ...targetOptions,
    allNamespacesOption,
    selectorOption,
    fieldSelectorOption,
    { flags: '--all', summary: 'all of the kind' },
    { flags: '--ignore-not-found', summary: 'what is not there is fine' },
    { flags: '-s, --skip-not-exists', summary: 'the same, and say which were skipped' },
    dryRunOption,
    { flags: '-o, --output <format>', summary: 'name: print names alone', choices: ['name'] },
  ],
  run: remove,
}

async function remove(words: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const doomed = await chosenTargets(words, options, context)
  if (doomed.length === 0) {
    context.note('No resources found.\n')
    return EXIT.fine
  }
  const note = dryRunNote(options)
  return forEach(doomed, context, titleOf, async each => {
    const { kind, name, namespace } = each
    const line = options['output'] === 'name' ? refOf(kind, name) : `${typeOf(kind)} "${visible(name)}" deleted${note}`
    try {
      const server = await context.objects()
      if (options['dryRun'] === 'client') await server.get(kind, name, namespace)
      else await server.delete(kind, name, { namespace, ...dryRunOf(options) })
      context.out(`${line}\n`)
    } catch (error) {
      if (!(error instanceof NotFound)) throw error
      if (options['skipNotExists'] === true) context.out(`${refOf(kind, name)} skipped\n`)
      else if (options['ignoreNotFound'] !== true) throw error
    }
  })
}
