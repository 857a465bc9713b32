// Tables of objects: the columns of a kind, and those that people ask for with `-o custom-columns`. Pure.
import { cellOf } from '../../api/cells.ts'
import { type Column, type Kind, type KindRow, kinds } from '../../api/kinds.ts'
import type { AnyObject } from '../../api/lifecycle.ts'
import { renderTable } from '../render.ts'
import { visible } from '../visible.ts'
import { goText } from './go-values.ts'
import { type JsonPath, parseJsonPath, relaxedPath, TemplateError } from './jsonpath.ts'

/** `beside`: columns of another object, in wide tables; the same of all objects of a kind. */
export type Shown = { kind: Kind; object: AnyObject; beside?: readonly { column: Column; of: object }[] }

export type TableView = {
  wide: boolean
  withNamespace: boolean
  withLabels: boolean
  withHeadings: boolean
  /** The kind before each name, as where several kinds are shown. */
  withKind: boolean
}

/** The table of objects of one kind. */
export function renderObjects(kind: Kind, shown: readonly Pick<Shown, 'object' | 'beside'>[], view: TableView): string {
  const row: KindRow = kinds[kind]
  const columns = row.columns.filter(({ wide }) => wide === undefined || view.wide)
  const namespaced = row.namespaced && view.withNamespace
  const headings = [
    ...(namespaced ? ['NAMESPACE'] : []),
    'NAME',
    ...columns.map(({ name }) => name),
    ...(shown[0]?.beside ?? []).map(({ column }) => column.name),
    ...(view.withLabels ? ['LABELS'] : []),
  ]
  const rows = shown.map(({ object, beside = [] }) => [
    ...(namespaced ? [object.metadata.namespace ?? ''] : []),
    view.withKind ? refOf(kind, object.metadata.name) : object.metadata.name,
    ...columns.map(column => cellOf(object, column)),
    ...beside.map(({ column, of }) => cellOf(of, column)),
    ...(view.withLabels ? [labelsOf(object)] : []),
  ])
  return renderTable(view.withHeadings ? headings : undefined, rows)
}

function labelsOf({ metadata: { labels = {} } }: AnyObject): string {
  const pairs = Object.entries(labels).map(([key, value]) => `${key}=${value}`)
  return pairs.length === 0 ? '<none>' : pairs.toSorted().join(',')
}

/** How kubectl names an object: `ippool.projectcalico.org/p1`, `node/n1`; control characters of its name are escaped. */
export function refOf(kind: Kind, name: string): string {
  return `${typeOf(kind)}/${visible(name)}`
}

/** How kubectl names a kind: `ippool.projectcalico.org`, `node`. */
export function typeOf(kind: Kind): string {
  const { singular, group }: KindRow = kinds[kind]
  return group === '' ? singular : `${singular}.${group}`
}

type CustomColumn = { heading: string; cell(shown: Shown): string }

/**
 * Columns of `NAME:path,NAME:path`, as kubectl takes them, or of names alone (`NAME,CIDR`), which are columns of the kind,
 * as calicoctl does. Throws TemplateError.
 */
export function parseColumns(text: string): CustomColumn[] {
  if (text.trim() === '') throw new TemplateError('custom-columns format specified but no custom columns given')
  return splitColumns(text).map(part => {
    const colon = part.indexOf(':')
    if (colon < 0) return { heading: part, cell: shown => columnCell(part, shown) }
    return pathColumn(part.slice(0, colon), part.slice(colon + 1))
  })
}

/** Columns of a file with two lines: the headings, and below each its path. Throws TemplateError. */
export function parseColumnsFile(text: string): CustomColumn[] {
  const [headings = [], paths = []] = text
    .split('\n')
    .filter(line => line.trim() !== '')
    .map(line => line.trim().split(/\s+/))
  if (headings.length === 0 || headings.length !== paths.length)
    throw new TemplateError('a file of custom columns has two lines, the headings and as many paths')
  return headings.map((heading, i) => pathColumn(heading, paths[i]!))
}

/** The table of custom columns, three blanks between them as kubectl prints it. */
export function renderColumns(
  columns: readonly CustomColumn[],
  found: readonly Shown[],
  withHeadings: boolean,
): string {
  return renderTable(
    withHeadings ? columns.map(({ heading }) => heading) : undefined,
    found.map(shown => columns.map(({ cell }) => cell(shown))),
    { gap: 3 },
  )
}

/** Commas in brackets belong to a path. */
function splitColumns(text: string): string[] {
  return text.split(/,(?![^[\]]*\])/)
}

function pathColumn(heading: string, path: string): CustomColumn {
  const read: JsonPath = parseJsonPath(relaxedPath(path))
  return {
    heading,
    cell: ({ object }) => {
      const values = read.find(object).flat()
      return values.length === 0 ? '<none>' : values.map(goText).join(',')
    },
  }
}

function columnCell(heading: string, { kind, object }: Shown): string {
  const row: KindRow = kinds[kind]
  const wanted = heading.toUpperCase()
  if (wanted === 'NAME') return object.metadata.name
  if (wanted === 'NAMESPACE') return object.metadata.namespace ?? '<none>'
  const column = row.columns.find(({ name }) => name.toUpperCase() === wanted)
  if (column !== undefined) return cellOf(object, column)
  const names = ['NAME', ...row.columns.map(({ name }) => name)].join(', ')
  throw new TemplateError(`${kind} has no column ${heading}: give one of ${names}, or HEADING:.path.of.the.field`)
}
