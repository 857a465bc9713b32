// Which objects of a kind a list, a watch or a deletecollection means: its label and field selectors as one test.
import {
  ListSelectorError,
  parseFieldSelector,
  parseFieldSelectorForMetadata,
  parseFieldSelectorForText,
  parseLabelSelector,
} from '../api/list-selectors.ts'
import { ApiError } from './status.ts'
import type { Stored } from './stored.ts'

export type Selection = (stored: Stored) => boolean

/** The test of a request's `labelSelector` and `fieldSelector`. Throws a BadRequest that names the faulty part. */
export function selectionFrom(query: URLSearchParams): Selection {
  try {
    const byLabel = parseLabelSelector(query.get('labelSelector') ?? '')
    const fields = query.get('fieldSelector') ?? ''
    if (fields === '') return byLabel
    const byField = parseFieldSelector(fields)
    const byText = parseFieldSelectorForText(fields)
    // of 5,000 agents each watches its own Node: for each of them each event costs one comparison of names
    const byMetadata = parseFieldSelectorForMetadata(fields)
    return stored =>
      byLabel(stored) &&
      byMetadata.test(stored) &&
      (byMetadata.decides || (byText(stored.text) && byField(stored.read())))
  } catch (error) {
    if (error instanceof ListSelectorError) throw new ApiError('BadRequest', error.message)
    throw error
  }
}
