// `label`: sets and removes labels, by kubectl's words (`a=b`, `c-`) and calicoctl's (`c --remove`).

import type { AnyObject } from '../api/lifecycle.ts'
import { mergePatch } from '../api/merge-patch.ts'
import { isLabelValue, isQualifiedName } from '../api/names.ts'
import type { Command, Context, Options } from './command.ts'
import { forEach } from './each.ts'
import { Denied, type ExitCode, UsageError } from './failure.ts'
import { formatOption, templateOption } from './output/printer.ts'
import {
  allNamespacesOption,
  chosenTargets,
  selectorOption,
  targetArguments,
  targetOptions,
  titleOf,
} from './targets.ts'
import { dryRunOf, dryRunOption, tellerOf } from './writes.ts'

export const labelCommand: Command = {
  name: 'label',
  summary: 'Set or remove labels of resources: KEY=VALUE sets, KEY- removes',
  arguments: [targetArguments[0], { name: '[words...]', summary: 'names, then KEY=VALUE or KEY-' }],
  options: [
    ...targetOptions,
    allNamespacesOption,
    selectorOption,
    { flags: '--all', summary: 'all of the kind' },
    { flags: '--overwrite', summary: 'also where the label has another value' },
    { flags: '--remove', summary: 'remove the labels whose keys are given' },
    dryRunOption,
    formatOption,
    templateOption,
  ],
  run: label,
}

/** null removes the label. */
type Changes = Readonly<Record<string, string | null>>

async function label(words: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const { names, changes } = splitWords(words, options)
  const targets = await chosenTargets(names, options, context)
  const tell = await tellerOf(options, context)
  const removesOnly = Object.values(changes).every(value => value === null)
  return forEach(targets, context, titleOf, async ({ kind, name, namespace }) => {
    const server = await context.objects()
    const before = await server.get(kind, name, namespace)
    const patch = { metadata: { labels: differences(before, changes, options['overwrite'] === true) } }
    if (Object.keys(patch.metadata.labels).length === 0) return tell(kind, { word: 'not labeled', object: before })
    const after =
      options['dryRun'] === 'client'
        ? (mergePatch(before, patch) as AnyObject)
        : await server.patch(kind, name, patch, 'merge', { namespace, ...dryRunOf(options) })
    tell(kind, { word: removesOnly ? 'unlabeled' : 'labeled', object: after })
  })
}

/** What differs from the labels that an object has. Throws Denied where a label has another value and may not be changed. */
function differences({ metadata: { labels = {} } }: AnyObject, changes: Changes, overwrite: boolean): Changes {
  const different = Object.entries(changes).filter(([key, value]) => (labels[key] ?? null) !== value)
  const taken = different.filter(([key, value]) => value !== null && Object.hasOwn(labels, key))
  if (taken.length > 0 && !overwrite)
    throw new Denied(
      `${taken.map(([key]) => `'${key}' already has a value (${labels[key]})`).join(', ')}, and --overwrite is not given`,
    )
  return Object.fromEntries(different)
}

/** The changes are the last words: from the first on that has `=` or ends in `-`. */
function splitWords(words: readonly string[], options: Options): { names: readonly string[]; changes: Changes } {
  const remove = options['remove'] === true
  const from = remove ? words.length - 1 : words.findIndex(word => /=|-$/.test(word))
  const pairs = from < 0 ? [] : words.slice(from)
  if (pairs.length === 0) throw new UsageError('give labels after the names: KEY=VALUE, or KEY- to remove one')
  const changes = pairs.map(word => changeOf(word, remove))
  return { names: words.slice(0, from), changes: Object.fromEntries(changes) }
}

function changeOf(word: string, remove: boolean): [key: string, value: string | null] {
  const [key = '', ...rest] = word.split('=')
  const removed = rest.length === 0 && (remove || key.endsWith('-'))
  const name = removed && !remove ? key.slice(0, -1) : key
  if (!isQualifiedName(name)) throw new UsageError(`${JSON.stringify(name)} is no key of a label`)
  if (removed || remove) return [name, null]
  const value = rest.join('=')
  if (rest.length === 0) throw new UsageError(`${JSON.stringify(word)}: names come before labels, KEY=VALUE or KEY-`)
  if (!isLabelValue(value)) throw new UsageError(`${JSON.stringify(value)} is no value of a label`)
  return [name, value]
}
