// What a client does with a change of a session, RFC 5882 §3.2, §4.2 and §4.3.
import type { BfdChange } from './config.ts'

/**
 * Whether the path to the neighbour has failed, so that what was learned over it ends (RFC 5882 §4.2). It has not where one of
 * the two took the session down for administrative reasons: that says nothing about the path, and a BGP session has its hold
 * timer (§3.2). Nor has it where the neighbour has begun another session: its packets come, and it forgot ours when it started anew. `restarting`: the neighbour's control plane restarts gracefully, and its routes are kept meanwhile. Then a
 * session that shares its fate (the C bit is clear, as in ours) has to go down, and only one that does not tells of the
 * path (§4.3).
 */
export function isPathFailure(change: BfdChange, { restarting }: { restarting: boolean }): boolean {
  const { from, to, remote, neighborRestarted } = change
  if (from !== 'Up' || to !== 'Down' || remote.state === 'AdminDown' || neighborRestarted) return false
  return !restarting || remote.controlPlaneIndependent
}
