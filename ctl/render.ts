// Objects as a person or a program wants to read them. Pure.
import { cellOf } from '../api/cells.ts'
import { emitJson } from '../api/json.ts'
import { apiVersion, type Kind, type KindRow, kinds, type Resource } from '../api/kinds.ts'
import { emitYaml } from './yaml.ts'

export const FORMATS = ['table', 'wide', 'yaml', 'json'] as const

export type Format = (typeof FORMATS)[number]

/** Rows under headings, each column as wide as its widest cell, two blanks between. Ends with a newline. */
export function renderTable(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [headings, ...rows]
  const widths = headings.map((_, i) => Math.max(...all.map(row => row[i]!.length)))
  return all
    .map(
      row =>
        `${row
          .map((cell, i) => cell.padEnd(widths[i]!))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('')
}

/** Names and values below each other, the values in one column; what is undefined is left out. */
export function renderFields(fields: readonly (readonly [name: string, value: string | undefined])[]): string {
  const known = fields.filter(([, value]) => value !== undefined)
  const width = Math.max(0, ...known.map(([name]) => name.length))
  return known.map(([name, value]) => `${`${name}:`.padEnd(width + 1)} ${value}`.trimEnd().concat('\n')).join('')
}

/** A value as `-o` asks: as JSON or YAML, or as the text that `table` makes of it. */
export function show(value: unknown, format: Format, table: (format: 'table' | 'wide') => string): string {
  return format === 'json' || format === 'yaml' ? renderValue(value, format) : table(format)
}

/** Any value as JSON or YAML, ending with a newline. */
function renderValue(value: unknown, format: 'yaml' | 'json'): string {
  return format === 'json' ? `${emitJson(value, 2)}\n` : emitYaml(value)
}

/** A resource as it stands in a manifest: `apiVersion` and `kind` first, and not who owns its fields. */
function manifestOf<K extends Kind>(kind: K, object: Resource<K>): object {
  const { managedFields: _owners, ...metadata } = object.metadata
  return { apiVersion: apiVersion(kinds[kind]), kind, ...object, metadata }
}

export type ResourceView = {
  format: Format
  /** Show the object itself, not a list of one. */
  single: boolean
  withNamespace: boolean
}

/** Resources of one kind in the format that was asked for. */
export function renderResources<K extends Kind>(kind: K, objects: readonly Resource<K>[], view: ResourceView): string {
  const row: KindRow = kinds[kind]
  if (view.format === 'yaml' || view.format === 'json') {
    const items = objects.map(object => manifestOf(kind, object))
    const list = { apiVersion: apiVersion(row), kind: `${kind}List`, items }
    return renderValue(view.single ? items[0] : list, view.format)
  }
  const columns = row.columns.filter(({ wide }) => wide === undefined || view.format === 'wide')
  const namespaced = row.namespaced && view.withNamespace
  return renderTable(
    [...(namespaced ? ['NAMESPACE'] : []), 'NAME', ...columns.map(({ name }) => name)],
    objects.map(object => [
      ...(namespaced ? [object.metadata.namespace ?? ''] : []),
      object.metadata.name,
      ...columns.map(column => cellOf(object, column)),
    ]),
  )
}
