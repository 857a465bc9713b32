// How many paths and prefixes of one peer there are in one table.
import type { RibPeerState } from './peer-state.ts'
import type { FamilyTable } from './table.ts'
import type { FamilyCounts } from './types.ts'

export function countsIn(table: FamilyTable, peer: RibPeerState): FamilyCounts & { messagesOut: number } {
  const { received, stale } = peer.family(table.family)
  const membership = table.groups.membership(peer.index)
  return {
    ...{ received, accepted: table.accepted[peer.index]!, stale },
    announced: membership?.group.announcedTo(peer.index) ?? 0,
    messagesOut: membership?.member.messages ?? 0,
  }
}
