// What lists and watches are asked for, and how a page of a list is answered: for the store and for the command line alike.
import { isObject } from '../api/merge-patch.ts'
import { type ListOptions, Unreachable } from './port.ts'
import type { Wire } from './wire.ts'

/** `next` goes on after this page; `left` is how many objects come after it, where the server says so. */
export type Page = {
  items: readonly unknown[]
  resourceVersion: string
  next: string | undefined
  left: number | undefined
}

/** Reads an answer as a page of a list. Throws Unreachable for anything else. */
export function pageOf(answer: unknown, plural: string): Page {
  if (!isObject(answer) || !Array.isArray(answer['items']) || !isObject(answer['metadata']))
    throw new Unreachable(`the list of ${plural} is no list: is this an API server?`)
  const { resourceVersion, continue: next, remainingItemCount: left } = answer['metadata']
  return {
    items: answer['items'],
    resourceVersion: String(resourceVersion),
    next: next ? String(next) : undefined,
    left: typeof left === 'number' ? left : undefined,
  }
}

/** The query for one page. */
export function pageQuery(
  selection: Readonly<Record<string, string>>,
  limit: number,
  next: string | undefined,
): URLSearchParams {
  return new URLSearchParams({ ...selection, limit: String(limit), ...(next !== undefined && { continue: next }) })
}

/** The query for a watch of what comes after a version. */
export function watchQuery(wire: Wire, options: ListOptions, resourceVersion: string): URLSearchParams {
  const { query } = wire.selection(options)
  return new URLSearchParams({ ...query, watch: 'true', allowWatchBookmarks: 'true', resourceVersion })
}
