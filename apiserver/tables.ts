// Server-side tables: what kubectl asks for to print columns (meta/v1 Table). Pure; columns come from the table of kinds.
import { cellOf } from '../api/cells.ts'
import { type Column, type Kind, type KindRow, kinds } from '../api/kinds.ts'
import type { AnyObject } from '../api/lifecycle.ts'

export type TableOptions = {
  /** `v1` or `v1beta1` of meta.k8s.io, as the client asked. */
  version: string
  includeObject: 'None' | 'Metadata' | 'Object'
  /** Off for every event of a watch but the first. */
  withColumns: boolean
  nowMs: number
}

/** A Table of the given objects. `metadata` is that of the list: resourceVersion and the token to continue. */
export function tableOf(
  kind: Kind,
  objects: readonly AnyObject[],
  metadata: Record<string, unknown>,
  options: TableOptions,
): Record<string, unknown> {
  return { ...tableHead(kind, metadata, options), rows: objects.map(object => tableRow(kind, object, options)) }
}

/** A Table without its rows. */
export function tableHead(kind: Kind, metadata: Record<string, unknown>, options: TableOptions): object {
  const { columns }: KindRow = kinds[kind]
  const columnDefinitions = options.withColumns ? definitionsOf(columns) : []
  return { kind: 'Table', apiVersion: `meta.k8s.io/${options.version}`, metadata, columnDefinitions }
}

/** The row of one object. */
export function tableRow(kind: Kind, object: AnyObject, options: TableOptions): object {
  const { columns }: KindRow = kinds[kind]
  const { name, creationTimestamp } = object.metadata
  return {
    cells: [name, ...columns.map(column => cellOf(object, column)), ageOf(creationTimestamp, options.nowMs)],
    ...includedObject(object, options),
  }
}

function definitionsOf(columns: readonly Column[]): Record<string, unknown>[] {
  const definition = (name: string, wide: boolean, format = ''): Record<string, unknown> => ({
    name,
    type: 'string',
    format,
    description: '',
    priority: wide ? 1 : 0,
  })
  return [
    definition('Name', false, 'name'),
    ...columns.map(({ name, wide }) => definition(name, wide === true)),
    definition('Age', false),
  ]
}

function includedObject(object: AnyObject, { includeObject, version }: TableOptions): Record<string, unknown> {
  if (includeObject === 'None') return {}
  if (includeObject === 'Object') return { object }
  const { metadata } = object
  return { object: { kind: 'PartialObjectMetadata', apiVersion: `meta.k8s.io/${version}`, metadata } }
}

const DAY = 86_400
const UNITS = [
  ['d', DAY],
  ['h', 3600],
  ['m', 60],
  ['s', 1],
] as const

/** How long ago, in kubectl's short form: `45s`, `3m10s`, `5h`, `12d`. */
function ageOf(timestamp: string | undefined, nowMs: number): string {
  const then = Date.parse(timestamp ?? '')
  if (Number.isNaN(then)) return '<unknown>'
  let seconds = Math.max(0, Math.floor((nowMs - then) / 1000))
  if (seconds < 120) return `${seconds}s`
  if (seconds >= 3 * 3600 && seconds < 2 * DAY) return `${Math.floor(seconds / 3600)}h`
  if (seconds >= 8 * DAY) return `${Math.floor(seconds / DAY)}d`
  let text = ''
  let parts = 0
  for (const [unit, size] of UNITS) {
    const count = Math.floor(seconds / size)
    seconds %= size
    if (count > 0 && parts < 2) text += `${count}${unit}`
    if (count > 0 || parts > 0) parts++
  }
  return text
}
