// Connection collision, RFC 4271 §6.8 with the identifiers of RFC 6286 §2.3: both sides must close the same connection.
import type { BgpState } from './step.ts'

export type Side = 'outgoing' | 'incoming'

export type CollisionInput = {
  /** The connection on which an OPEN just arrived. */
  opened: Side
  /** State of the other connection of the same peer. */
  otherPhase: BgpState
  localId: number
  remoteId: number
  localAs: number
  remoteAs: number
}

/**
 * Which connection must be closed, if any. Two connections collide when both OPENs were received; an Established one is
 * always kept (§6.8: CollisionDetectEstablishedState is off). Of two others the one is kept that the speaker with the
 * higher identifier dialled, or with the higher AS when the identifiers are equal.
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
