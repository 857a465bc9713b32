// Which objects of a kind a list, a watch or a deletecollection means: its label and field selectors as one test.
import type { AnyObject } from '../api/lifecycle.ts'
import { ListSelectorError, parseFieldSelector, parseLabelSelector } from '../api/list-selectors.ts'
import { ApiError } from './status.ts'

export type Selection = (object: AnyObject) => boolean

/** The test of a request's `labelSelector` and `fieldSelector`. Throws a BadRequest that names the faulty part. */
export function selectionFrom(query: URLSearchParams): Selection {
  try {
    const byLabel = parseLabelSelector(query.get('labelSelector') ?? '')
    const byField = parseFieldSelector(query.get('fieldSelector') ?? '')
    return object => byLabel(object) && byField(object)
  } catch (error) {
    if (error instanceof ListSelectorError) throw new ApiError('BadRequest', error.message)
    throw error
  }
}
