// Tables, fields below each other, and values as JSON or YAML. Pure.
import { emitJson } from '../api/json.ts'
import { escapedControls, visible, visibleLines } from './visible.ts'
import { emitYaml } from './yaml.ts'

export const FORMATS = ['table', 'wide', 'yaml', 'json'] as const

export type Format = (typeof FORMATS)[number]

/** Rows under headings, each column as wide as its widest cell, `gap` blanks between. Control characters are escaped. Ends with a newline. */
export function renderTable(
  headings: readonly string[] | undefined,
  rows: readonly (readonly string[])[],
  { gap = 2 }: { gap?: number } = {},
): string {
  const all = (headings === undefined ? rows : [headings, ...rows]).map(row => row.map(visible))
  const widths = (all[0] ?? []).map((_, i) => all.reduce((width, row) => Math.max(width, row[i]!.length), 0))
  return all
    .map(
      row =>
        `${row
          .map((cell, i) => cell.padEnd(widths[i]!))
          .join(' '.repeat(gap))
          .trimEnd()}\n`,
    )
    .join('')
}

/** Names and values below each other, the values in one column; what is undefined is left out. */
export function renderFields(fields: readonly (readonly [name: string, value: string | undefined])[]): string {
  const known = fields.filter(([, value]) => value !== undefined)
  const width = known.reduce((most, [name]) => Math.max(most, visible(name).length), 0)
  return known
    .map(([name, value]) => `${`${visible(name)}:`.padEnd(width + 1)} ${visible(value ?? '')}`.trimEnd().concat('\n'))
    .join('')
}

/** A value as `-o` asks: as JSON or YAML, or as the text that `table` makes of it. */
export function show(value: unknown, format: Format, table: (format: 'table' | 'wide') => string): string {
  return format === 'json' || format === 'yaml' ? renderValue(value, format) : visibleLines(table(format))
}

/** Any value as JSON or YAML, control characters escaped. Ends with a newline. */
export function renderValue(value: unknown, format: 'yaml' | 'json'): string {
  return format === 'json' ? `${escapedControls(emitJson(value, 2))}\n` : emitYaml(value)
}
