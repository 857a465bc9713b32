// What `-o` of the commands on resources means: objects as a table, as YAML or JSON, by name, or by a template.

import { apiVersion, type Kind, kindName, kinds } from '../../api/kinds.ts'
import type { AnyObject } from '../../api/lifecycle.ts'
import type { CommandOption, Options } from '../command.ts'
import { UsageError } from '../failure.ts'
import { renderValue } from '../render.ts'
import { escapedControls } from '../visible.ts'
import { parseColumns, parseColumnsFile, refOf, renderColumns, renderObjects, type Shown } from './columns.ts'
import { parseGoTemplate } from './go-template.ts'
import { goJson } from './go-values.ts'
import { parseJsonPath, TemplateError } from './jsonpath.ts'

export type View = {
  /** Show the object itself, not a list of one. */
  single: boolean
  /** Names are shown with their namespaces in tables. */
  withNamespace: boolean
}

/** Text of objects; the same for each. Throws UsageError where a template does not fit them. */
export type Printer = {
  /** Whether this is a table, in which lines may follow others. */
  table: boolean
  /** Whether it is one that shows what else is known of its objects. */
  wide: boolean
  print(found: readonly Shown[], view: View): string
  /** Objects of a watch, each by itself; `before` are lines that they follow. */
  line(shown: Shown, view: View, before: readonly Shown[]): string
}

const FORMATS = [
  'table',
  'wide',
  'yaml',
  'json',
  'name',
  'jsonpath=',
  'jsonpath-file=',
  'jsonpath-as-json=',
  'go-template=',
  'go-template-file=',
  'custom-columns=',
  'custom-columns-file=',
] as const

export const formatOption: CommandOption = {
  flags: '-o, --output <format>',
  summary: `how to show it: ${FORMATS.join(', ')}`,
}

export const templateOption: CommandOption = {
  flags: '--template <text>',
  summary: 'the template of -o jsonpath or -o go-template, or its file',
}

export const tableOptions: readonly CommandOption[] = [
  { flags: '--no-headers', summary: 'tables without their headings' },
  { flags: '--show-labels', summary: 'a last column with the labels' },
  { flags: '--show-kind', summary: 'the kind before each name' },
  { flags: '--show-managed-fields', summary: 'YAML and JSON with the owners of the fields' },
  { flags: '--export', summary: 'YAML and JSON without what belongs to this cluster: uid, version, times' },
]

/** Reads `-o` and the options beside it. `file` gives the text of a file. Rejects with UsageError. */
export async function printerOf(options: Options, file: (path: string) => Promise<string>): Promise<Printer> {
  const given = options['output'] === undefined ? 'table' : String(options['output'])
  const [format = '', ...rest] = given.split('=')
  const argument = rest.length > 0 ? rest.join('=') : (options['template'] as string | undefined)
  const needed = (): string => {
    if (argument !== undefined && argument !== '') return argument
    throw new UsageError(`template format specified but no template given: write -o ${format}=TEMPLATE`)
  }
  const shaped = (object: AnyObject) => manifestOf(object, options)
  try {
    switch (format) {
      case 'table':
      case 'ps':
      case '':
      case 'wide':
        return tablePrinter(options, format === 'wide')
      case 'json':
        return valuePrinter(shaped, value => renderValue(value, 'json'))
      case 'yaml':
        return valuePrinter(shaped, value => renderValue(value, 'yaml'), '---\n')
      case 'name':
        return linePrinter(({ kind, object }) => `${refOf(kind, object.metadata.name)}\n`)
      case 'jsonpath':
        return valuePrinter(shaped, parseJsonPath(needed()).render)
      case 'jsonpath-file':
        return valuePrinter(shaped, parseJsonPath(await file(needed())).render)
      case 'jsonpath-as-json': {
        const path = parseJsonPath(needed())
        return valuePrinter(shaped, value =>
          path
            .find(value)
            .map(found => `${escapedControls(goJson(found, 4))}\n`)
            .join(''),
        )
      }
      case 'go-template':
      case 'template':
        return valuePrinter(shaped, parseGoTemplate(needed()).render)
      case 'go-template-file':
      case 'templatefile':
        return valuePrinter(shaped, parseGoTemplate(await file(needed())).render)
      case 'custom-columns':
        return columnsPrinter(parseColumns(needed()), options)
      case 'custom-columns-file':
        return columnsPrinter(parseColumnsFile(await file(needed())), options)
    }
  } catch (error) {
    throw usageOf(error)
  }
  throw new UsageError(`there is no format ${JSON.stringify(format)}: give -o with one of ${FORMATS.join(', ')}`)
}

/** A fault of a template as wrong usage; any other error as it is. */
export function usageOf(error: unknown): unknown {
  return error instanceof TemplateError ? new UsageError(`the template is wrong: ${error.message}`) : error
}

function tablePrinter(options: Options, wide: boolean): Printer {
  const tableOf = (view: View, withKind: boolean, withHeadings: boolean) => ({
    ...{ wide, withHeadings, withNamespace: view.withNamespace, withLabels: options['showLabels'] === true },
    withKind: withKind || options['showKind'] === true,
  })
  return {
    ...{ table: true, wide },
    print: (found, view) => {
      const groups = [...Map.groupBy(found, ({ kind }) => kind)]
      return groups
        .map(([kind, shown]) =>
          renderObjects(kind, shown, tableOf(view, groups.length > 1, options['headers'] !== false)),
        )
        .join('\n')
    },
    line: (shown, view, before) => {
      return lastLine(renderObjects(shown.kind, [...before, shown], tableOf(view, false, options['headers'] !== false)))
    },
  }
}

function lastLine(text: string): string {
  return `${text.trimEnd().split('\n').at(-1)}\n`
}

function columnsPrinter(columns: ReturnType<typeof parseColumns>, options: Options): Printer {
  const print: Printer['print'] = found => tried(() => renderColumns(columns, found, options['headers'] !== false))
  return {
    ...{ table: true, wide: false },
    print,
    line: (shown, _view, before) => lastLine(tried(() => renderColumns(columns, [...before, shown], true))),
  }
}

function linePrinter(line: (shown: Shown) => string): Printer {
  return { table: false, wide: false, print: found => found.map(line).join(''), line }
}

function valuePrinter(
  shaped: (object: AnyObject) => object,
  render: (value: unknown) => string,
  between = '',
): Printer {
  return {
    ...{ table: false, wide: false },
    print: (found, { single }) => {
      const items = found.map(({ object }) => shaped(object))
      return tried(() => render(single && items.length === 1 ? items[0] : listOf(found, items)))
    },
    line: ({ object }, _view, before) => (before.length > 0 ? between : '') + tried(() => render(shaped(object))),
  }
}

function tried(print: () => string): string {
  try {
    return print()
  } catch (error) {
    throw usageOf(error)
  }
}

/** A list of one kind has that kind's name, as calicoctl's; one of several is Kubernetes' List. */
function listOf(found: readonly Shown[], items: readonly object[]): object {
  const all = new Set(found.map(({ kind }) => kind))
  const [kind] = all
  if (kind === undefined || all.size > 1) return { apiVersion: 'v1', kind: 'List', metadata: {}, items }
  return { apiVersion: apiVersion(kinds[kind as Kind]), kind: `${kindName(kind as Kind)}List`, metadata: {}, items }
}

/** What one cluster gave an object, and another would refuse or ignore. */
const OF_THE_CLUSTER = ['uid', 'resourceVersion', 'creationTimestamp', 'generation', 'selfLink', 'managedFields']

/** A resource as it stands in a manifest: `apiVersion` and `kind` first, and not who owns its fields. */
function manifestOf({ apiVersion: version, kind, metadata, ...rest }: AnyObject, options: Options): object {
  const hidden =
    options['export'] === true ? OF_THE_CLUSTER : options['showManagedFields'] === true ? [] : ['managedFields']
  const shown = Object.fromEntries(Object.entries(metadata).filter(([field]) => !hidden.includes(field)))
  return { apiVersion: version, kind, metadata: shown, ...rest }
}
