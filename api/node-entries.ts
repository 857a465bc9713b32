// Annotations with an entry for each of several nodes, as JSON: what one node changes in them is its own.
import type { Resource } from './kinds.ts'

type Annotated = Pick<Resource<'IPAMBlock'>, 'metadata'>

/** What an annotation has for each node. What cannot be read has nothing. */
export function entriesOf({ metadata }: Annotated, annotation: string): Readonly<Record<string, unknown>> {
  return parsed(metadata.annotations?.[annotation])
}

/** The object with these entries alone; without any, without the annotation. */
export function withEntries<T extends Annotated>(item: T, annotation: string, entries: Record<string, unknown>): T {
  const { [annotation]: _before, ...annotations } = item.metadata.annotations ?? {}
  const own = Object.keys(entries).length > 0 && { [annotation]: JSON.stringify(entries) }
  return { ...item, metadata: { ...item.metadata, annotations: { ...annotations, ...own } } }
}

/** Whether an annotation differs from what it was in the entry of this node, or not at all. */
export function changesOwnEntry(before: string | undefined, after: string | undefined, node: string): boolean {
  const rest = (value: string | undefined) => {
    const { [node]: _own, ...others } = parsed(value)
    return JSON.stringify(Object.entries(others).toSorted(([a], [b]) => (a < b ? -1 : 1)))
  }
  return before === after || rest(before) === rest(after)
}

function parsed(value: string | undefined): Readonly<Record<string, unknown>> {
  try {
    const json: unknown = JSON.parse(value ?? '{}')
    return typeof json === 'object' && json !== null && !Array.isArray(json) ? { ...json } : {}
  } catch {
    return {}
  }
}
