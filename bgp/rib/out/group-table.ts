// What export groups use of the table of their family.
import type { AddressFamily } from '../../family.ts'
import type { AttributeStore } from '../store/attribute-store.ts'
import type { PathTable } from '../store/path-table.ts'
import type { PrefixTable } from '../store/prefix-table.ts'

export type GroupTable = {
  readonly family: AddressFamily
  readonly prefixes: PrefixTable
  readonly paths: PathTable
  /** Selected set per prefix id. */
  readonly best: Uint32Array
  readonly store: AttributeStore
  readonly reach: {
    /** The set that a path can be used with; 0: none. */
    usable(slot: number): number
  }
  /** Index of the peer a stored set came from. */
  peerOf(set: number): number
  /** Makes room for what was added to `prefixes`. */
  fit(): void
  /** Frees the id of a prefix that nothing refers to any more. */
  releaseUnused(prefix: number): void
  /** A path's slot may be used again when no group has it as a path id. */
  releasePathId(slot: number): void
}
