// `delete`: by name, by manifest, by labels, or all of a kind when that is said.
import { kinds } from '../api/kinds.ts'
import { NotFound } from '../datastore/port.ts'
import type { Command, Context, Options } from './command.ts'
import { forEach } from './each.ts'
import { EXIT, type ExitCode, UsageError } from './failure.ts'
import { refOf, typeOf } from './output/columns.ts'
import {
  allNamespacesOption,
  fieldSelectorOption,
  fileOption,
  folderOptions,
  namespaceFor,
  namespaceOption,
  parseTargets,
  selectorOption,
  type Target,
  target,
  targetArguments,
  titleOf,
} from './targets.ts'
import { visible } from './visible.ts'
import { dryRunOf, dryRunOption, namedTargets } from './writes.ts'

export const deleteCommand: Command = {
  name: 'delete',
  summary: 'Delete resources by name, by labels, or those of a manifest',
  arguments: targetArguments,
  options: [
    fileOption,
    ...folderOptions,
    namespaceOption,
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
  const doomed = await doomedOf(words, options, context)
  if (doomed.length === 0) {
    context.note('No resources found.\n')
    return EXIT.fine
  }
  const how = options['dryRun']
  const note = how === 'client' ? ' (dry run)' : how === 'server' ? ' (server dry run)' : ''
  return forEach(doomed, context, titleOf, async each => {
    const { kind, name, namespace } = each
    const line = options['output'] === 'name' ? refOf(kind, name) : `${typeOf(kind)} "${visible(name)}" deleted${note}`
    try {
      const server = await context.objects()
      if (how === 'client') await server.get(kind, name, namespace)
      else await server.delete(kind, name, { namespace, ...dryRunOf(options) })
      context.out(`${line}\n`)
    } catch (error) {
      if (!(error instanceof NotFound)) throw error
      if (options['skipNotExists'] === true) context.out(`${refOf(kind, name)} skipped\n`)
      else if (options['ignoreNotFound'] !== true) throw error
    }
  })
}

async function doomedOf(words: readonly string[], options: Options, context: Context): Promise<Target[]> {
  const { selector, fieldSelector, all } = options
  const chosen = selector !== undefined || fieldSelector !== undefined || all === true
  if (!chosen) return namedTargets(words, options, context)
  if (options['filename'] !== undefined) throw new UsageError('-f names its objects: give no selector and no --all')
  const namespace = await namespaceFor(options, context)
  const targets = parseTargets(words, namespace)
  if (targets.by === 'names') throw new UsageError('names cannot be combined with --all or a selector')
  const server = await context.objects()
  const doomed: Target[] = []
  for (const kind of targets.kinds) {
    const objects = await server.list(kind, {
      ...(kinds[kind].namespaced && options['allNamespaces'] !== true && { namespace }),
      ...(typeof selector === 'string' && { labelSelector: selector }),
      ...(typeof fieldSelector === 'string' && { fieldSelector }),
    })
    for (const { metadata } of objects) doomed.push(target(kind, metadata.name, metadata.namespace))
  }
  return doomed
}
