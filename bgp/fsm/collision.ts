// Connection collision, RFC 4271 §6.8 with the identifiers of RFC 6286 §2.3: both sides must reach the same verdict.
import type { BgpState } from './step.ts'

export type Side = 'outgoing' | 'incoming'

export type CollisionInput = {
  /** The connection on which an OPEN just arrived. */
  opened: Side
  /** Where the other connection of the same peer stands. */
  otherPhase: BgpState
  localId: number
  remoteId: number
  localAs: number
  remoteAs: number
}

/**
 * Which connection must go, if any. Two connections collide once both OPENs were seen; an Established one always
 * stays (§6.8: CollisionDetectEstablishedState is off). The one that stays was dialled by the higher identifier,
 * or by the higher AS when the identifiers are equal.
 */
export function resolveCollision(input: CollisionInput): Side | undefined {
  const other: Side = input.opened === 'outgoing' ? 'incoming' : 'outgoing'
  if (input.otherPhase === 'Established') return input.opened
  if (input.otherPhase !== 'OpenConfirm') return undefined
  const local = input.localId === input.remoteId ? input.localAs : input.localId
  const remote = input.localId === input.remoteId ? input.remoteAs : input.remoteId
  const stays: Side = local > remote ? 'outgoing' : 'incoming'
  return stays === other ? input.opened : other
}
