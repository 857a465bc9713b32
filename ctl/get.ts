// `get`: shows objects as they are at the server, once or as they change, in any format of kubectl's.

import { isCustom, type Kind, kinds } from '../api/kinds.ts'
import type { AnyObject } from '../api/lifecycle.ts'
import { hasReceipts } from '../api/policy-receipts.ts'
import { NotFound } from '../datastore/port.ts'
import type { Command, Context, Options } from './command.ts'
import { forEach } from './each.ts'
import { EXIT, type ExitCode, UsageError } from './failure.ts'
import type { Shown } from './output/columns.ts'
import { parseJsonPath, relaxedPath } from './output/jsonpath.ts'
import {
  formatOption,
  type Printer,
  printerOf,
  tableOptions,
  templateOption,
  usageOf,
  type View,
} from './output/printer.ts'
import { followNodes, withNodes } from './policy-nodes.ts'
import { textOf } from './sources.ts'
import {
  allNamespacesOption,
  fieldSelectorOption,
  namespaceFor,
  parseTargets,
  type Selection,
  selectionOf,
  selectorOption,
  type Target,
  type Targets,
  targetArguments,
  targetOptions,
  targetsOfFiles,
  titleOf,
} from './targets.ts'

export const getCommand: Command = {
  name: 'get',
  summary: "Show resources of one or several kinds, all or by name; with -A alone of all of Calico's kinds",
  arguments: targetArguments,
  options: [
    formatOption,
    templateOption,
    ...targetOptions,
    allNamespacesOption,
    selectorOption,
    fieldSelectorOption,
    { flags: '--ignore-not-found', summary: 'what is not there is fine' },
    { flags: '--sort-by <path>', summary: 'in the order of a field, such as .spec.cidr' },
    { flags: '-w, --watch', summary: 'go on and show what changes, until it is interrupted' },
    { flags: '--watch-only', summary: 'show what changes, and not what is there' },
    ...tableOptions,
  ],
  run: get,
}

async function get(words: readonly string[], options: Options, context: Context): Promise<ExitCode> {
  const printer = await printerOf(options, path => textOf(path, context))
  const namespace = await namespaceFor(options, context)
  const all = options['allNamespaces'] === true
  const byFile = options['filename'] !== undefined
  if (byFile && words.length > 0) throw new UsageError('give either KIND and names, or -f FILE')
  const isWhole = all && words.length === 0 && !byFile
  const targets: Targets = isWhole
    ? { by: 'kinds', kinds: (Object.keys(kinds) as Kind[]).filter(isCustom) }
    : byFile
      ? { by: 'names', objects: await targetsOfFiles(options, context) }
      : parseTargets(words, namespace)
  const watches = options['watch'] === true || options['watchOnly'] === true
  if (targets.by === 'names') {
    for (const flag of ['allNamespaces', 'selector', 'fieldSelector'] as const)
      if (options[flag] !== undefined)
        throw new UsageError(`names cannot be combined with ${FLAG_OF[flag]}: names say which ones already`)
    if (!watches) return showNamed(targets.objects, printer, options, context)
    const [only, ...more] = targets.objects
    if (only === undefined || more.length > 0) throw new UsageError('--watch takes one kind, or one name')
    const selection = {
      ...(only.namespace && { namespace: only.namespace }),
      fieldSelector: `metadata.name=${only.name}`,
    }
    return watch(only.kind, selection, { printer, view: { single: true, withNamespace: false } }, options, context)
  }
  const selection = selectionOf(options)
  const view = { single: false, withNamespace: all }
  const [kind, ...others] = targets.kinds
  if (!watches)
    return showAll(
      targets.kinds,
      { selection, namespace: all ? undefined : namespace, printer, view },
      options,
      context,
    )
  if (kind === undefined || others.length > 0) throw new UsageError('--watch takes one kind')
  const placed = { ...selection, ...(kinds[kind].namespaced && !all ? { namespace } : {}) }
  return watch(kind, placed, { printer, view }, options, context)
}

const FLAG_OF = { allNamespaces: '--all-namespaces', selector: '--selector', fieldSelector: '--field-selector' }

async function showNamed(
  objects: readonly Target[],
  printer: Printer,
  options: Options,
  context: Context,
): Promise<ExitCode> {
  const server = await context.objects()
  const found: Shown[] = []
  const code = await forEach(objects, context, titleOf, async ({ kind, name, namespace }) => {
    try {
      found.push({ kind, object: await server.get(kind, name, namespace) })
    } catch (error) {
      if (!(error instanceof NotFound) || options['ignoreNotFound'] !== true) throw error
    }
  })
  const view = { single: objects.length === 1, withNamespace: false }
  if (found.length > 0) context.out(printer.print(sorted(await shownBy(printer, found, context), options), view))
  return code
}

/** What a printer shows of objects. */
async function shownBy({ wide }: Printer, found: readonly Shown[], context: Context): Promise<readonly Shown[]> {
  return wide ? withNodes(found, context) : found
}

type Showing = { selection: Selection; namespace: string | undefined; printer: Printer; view: View }

async function showAll(
  wanted: readonly Kind[],
  { selection, namespace, printer, view }: Showing,
  options: Options,
  context: Context,
): Promise<ExitCode> {
  const server = await context.objects()
  const found: Shown[] = []
  const code = await forEach(
    wanted,
    context,
    kind => kinds[kind].plural,
    async kind => {
      const where = kinds[kind].namespaced ? { ...selection, namespace } : selection
      const objects = await server.list(kind, where)
      for (const object of objects.toSorted(byName)) found.push({ kind, object })
    },
  )
  if (code !== EXIT.fine && found.length === 0) return code
  if (found.length > 0 || !printer.table)
    context.out(printer.print(sorted(await shownBy(printer, found, context), options), view))
  else if (options['ignoreNotFound'] !== true) {
    const place = namespace !== undefined && wanted.every(kind => kinds[kind].namespaced)
    context.note(`No resources found${place ? ` in ${namespace} namespace` : ''}.\n`)
  }
  return code
}

function byName(a: AnyObject, b: AnyObject): number {
  const key = ({ metadata }: AnyObject): string => `${metadata.namespace ?? ''}\0${metadata.name}`
  return key(a) < key(b) ? -1 : 1
}

/** By the field of --sort-by, numbers as numbers; what has none comes first, as with kubectl. */
function sorted(found: readonly Shown[], options: Options): readonly Shown[] {
  const field = options['sortBy']
  if (typeof field !== 'string') return found
  try {
    const path = parseJsonPath(relaxedPath(field))
    const keyed = found.map(shown => ({ shown, key: path.find(shown.object).flat()[0] }))
    return keyed.toSorted((a, b) => compare(a.key, b.key)).map(({ shown }) => shown)
  } catch (error) {
    throw usageOf(error)
  }
}

function compare(a: unknown, b: unknown): number {
  if (a === undefined || b === undefined) return Number(a !== undefined) - Number(b !== undefined)
  if (typeof a === 'bigint' && typeof b === 'bigint') return a < b ? -1 : Number(a > b)
  return String(a).localeCompare(String(b), 'en', { numeric: true })
}

/** Shows what is there and then each change, until the program is interrupted. */
async function watch(
  kind: Kind,
  selection: Selection,
  { printer, view }: Pick<Showing, 'printer' | 'view'>,
  options: Options,
  context: Context,
): Promise<ExitCode> {
  const server = await context.objects()
  let shownBefore: readonly Shown[] = []
  const versions = new Map<string, string | undefined>()
  const nodes = printer.wide && hasReceipts(kind) ? await followNodes(kind, context, object => show(object)) : undefined
  const shownOf = (object: AnyObject): Shown => nodes?.shown(object) ?? { kind, object }
  const show = (object: AnyObject): void => {
    const shown = shownOf(object)
    context.out(printer.line(shown, view, shownBefore))
    shownBefore = [shown]
  }
  const keyOf = ({ metadata }: AnyObject): string => `${metadata.namespace ?? ''}/${metadata.name}`
  const isNew = ({ metadata, ...rest }: AnyObject): boolean => {
    const key = keyOf({ metadata, ...rest })
    if (versions.get(key) === metadata.resourceVersion) return false
    versions.set(key, metadata.resourceVersion)
    return true
  }
  let first = true
  const running = server.watch(
    kind,
    event => {
      if (event.type === 'gone') {
        versions.delete(keyOf(event.item))
        show(event.item)
        nodes?.forget(event.item)
        return
      }
      const changed = (event.type === 'sync' ? event.items.toSorted(byName) : [event.item]).filter(isNew)
      if (!first) {
        for (const object of changed) show(object)
        return
      }
      first = false
      // also what is not shown now: its nodes are followed
      const found = changed.map(shownOf)
      if (options['watchOnly'] === true || found.length === 0) return
      if (printer.table) context.out(printer.print(found, view))
      else for (const object of changed) show(object)
      shownBefore = found
    },
    selection,
  )
  await context.interrupted()
  running.close()
  nodes?.close()
  return EXIT.fine
}
