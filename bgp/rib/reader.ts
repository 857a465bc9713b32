// The RIB for those who only read it: table dumps, monitors, users of the library. Nothing here changes a route.
import type { AddressFamily } from '../family.ts'
import type { DumpedPath } from './dump.ts'
import type { Feed, Follower, Replayed } from './feed.ts'
import type { LocRibFeed } from './loc-rib.ts'
import type { OfferedFeed } from './offered.ts'
import type { FamilyCounts, PeerCounts, RibPeer } from './types.ts'

export type RibReader = {
  /** The peers with a session, and the open sources of routes. */
  peers(): RibPeer[]
  /** Undefined when there is no such peer. */
  counts(key: string): PeerCounts | undefined
  /** The same by family; empty when there is no such peer. */
  familyCounts(key: string): ReadonlyMap<AddressFamily, FamilyCounts>
  /** The prefixes of a peer's paths that loop rules or import policy keep from being used. */
  unused(key: string): Generator<string>
  /** Every path of a family, in no order; the table may change between two steps. */
  dump(family: AddressFamily): Generator<DumpedPath>
  /** As `dump`, all paths of one prefix at a time. */
  dumpPrefixes(family: AddressFamily): Generator<DumpedPath[]>
  /** The paths of all peers with a session, written as UPDATEs, in steps of a few milliseconds. */
  replay(family: AddressFamily): Generator<Replayed | undefined>
  /** The same of what these peers have been sent; a message that is on its way to a peer meanwhile may come after what replaces it. */
  replaySent(family: AddressFamily): Generator<Replayed>
  /** Withdrawals of the paths that a peer has not sent again since its last route refresh began. */
  unrefreshed(key: string, family: AddressFamily): Uint8Array
  /** Prefixes of a family for which a route is selected (Loc-RIB). */
  selectedCount(family: AddressFamily): number
  /** The selected routes of all families, written as UPDATEs: the whole table, then what changes. */
  followSelected(follower: Follower): LocRibFeed
  /** The paths of each peer that import accepts, as they are used, with four-octet AS numbers: first as they are, then what changes. */
  followAccepted(follower: Follower): Feed<Replayed>
  /** What each peer would be sent if all its routes were accepted for export (`offered.ts`): first as it is, then what changes. */
  followOffered(follower: Follower): OfferedFeed
}
