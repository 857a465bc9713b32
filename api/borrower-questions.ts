// Whether a node to which an address of a block was lent still lives: asked in the IPAMBlock before its owner frees that address. An agent
// that lives takes its entry out (`ipam/borrower-answers.ts`).
import type { Resource } from './kinds.ts'
import { entriesOf, withEntries } from './node-entries.ts'

type BlockObject = Resource<'IPAMBlock'>

/** Annotation of an IPAMBlock: JSON, node names and who asks each of them, and when. */
export const BORROWERS_ASKED_ANNOTATION = 'margay.io/BorrowersAsked'

/** An agent that lives answers in this time, also where it is restarted or upgraded meanwhile. */
export const BORROWER_ANSWER_MS = 60_000

/** Who asks a node whether it lives; undefined: nobody, or it has answered. */
export function borrowerAsked(item: BlockObject, node: string): string | undefined {
  const by = entriesOf(item, BORROWERS_ASKED_ANNOTATION)[node]
  return by === undefined ? undefined : String(by)
}

/** The block with that question to each of these nodes in it; `by` says who asks, and when, for people, and no two are the same. */
export function askBorrowers(item: BlockObject, nodes: readonly string[], by: string): BlockObject {
  const entries = { ...entriesOf(item, BORROWERS_ASKED_ANNOTATION) }
  for (const node of nodes) entries[node] = by
  return withEntries(item, BORROWERS_ASKED_ANNOTATION, entries)
}

/** The block with those questions alone that `stays` allows, by the node that is asked. */
export function keepBorrowersAsked(item: BlockObject, stays: (node: string) => boolean): BlockObject {
  const entries = Object.entries(entriesOf(item, BORROWERS_ASKED_ANNOTATION)).filter(([node]) => stays(node))
  return withEntries(item, BORROWERS_ASKED_ANNOTATION, Object.fromEntries(entries))
}
