// Connection collision, RFC 4271 §6.8 with the identifiers of RFC 6286 §2.3: both sides must close the same connection.
import type { BgpState } from './step.ts'

export type Side = 'outgoing' | 'incoming'

export type CollisionInput = {
  /** The connection on which an OPEN just arrived. */
  opened: Side
  /** State of the other connection of the same peer. */
  otherPhase: BgpState
  /** How long ago our OPEN went out on the other connection; undefined: it did not. */
  otherSentMs: number | undefined
  localId: number
  remoteId: number
  localAs: number
  remoteAs: number
}

/** A peer that answers no OPEN for so long may never do so: something else may have taken that connection. */
const PATIENCE_MS = 5000

/**
 * Which connection must be closed, if any. Two connections collide when both OPENs were received; an Established one is
 * always kept (§6.8: CollisionDetectEstablishedState is off). Of two others the one is kept that the speaker with the
 * higher identifier dialled, or with the higher AS when the identifiers are equal. That speaker does not wait for the OPEN on
 * its own connection (§6.8: it may look at those in OpenSent): the other one could become Established here first, and then each
 * end would close the connection that the other end keeps.
 */
export function resolveCollision(input: CollisionInput): Side | undefined {
  const other: Side = input.opened === 'outgoing' ? 'incoming' : 'outgoing'
  if (input.otherPhase === 'Established') return input.opened
  const local = input.localId === input.remoteId ? input.localAs : input.localId
  const remote = input.localId === input.remoteId ? input.remoteAs : input.remoteId
  const stays: Side = local > remote ? 'outgoing' : 'incoming'
  const closes = stays === other ? input.opened : other
  if (input.otherPhase === 'OpenConfirm') return closes
  const isOurs = input.otherPhase === 'OpenSent' && stays === 'outgoing' && other === 'outgoing'
  return isOurs && (input.otherSentMs ?? 0) < PATIENCE_MS ? closes : undefined
}
