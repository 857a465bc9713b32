// The routing information base of one speaker: Adj-RIB-In, Loc-RIB and Adj-RIB-Out of RFC 4271 §3.2 behind one class.
// It has no socket and no thread of its own: `receive` takes bytes, `work` decides in slices, `pull` gives bytes.
import type { Clock } from '../../lib/clock.ts'
import type { Log } from '../../lib/log.ts'
import type { AddressFamily, Network, PeerConfig, SpeakerConfig } from '../config.ts'
import type { RouteSink } from '../port.ts'
import type { ProtocolError } from '../wire/errors.ts'
import type { PeerCounts, PeerDown, RibEvent, RibPeer } from './peer.ts'

export type RibDeps = {
  /** Absent: decisions are only passed on to peers (a route reflector), which saves a text per prefix. */
  sink?: RouteSink
  clock: Clock
  log: Log
}

/**
 * How a speaker drives it:
 * - `onWork(listen)`: called when decisions wait; the owner then calls `work()` from a fresh event-loop turn (setImmediate)
 *   until it returns false. One call is bounded (a few milliseconds by default), so keepalives stay on time.
 * - `onPending(listen)`: called with a peer's key when `pull` has something for it and it had nothing before (it returned
 *   undefined). The owner pulls and writes until undefined or until the connection is full.
 * - After `peerUp` the owner may pull at once: the first table and its End-of-RIB come that way.
 */
export class Rib {
  constructor(config: SpeakerConfig, deps: RibDeps) {
    void config
    void deps
    throw new Error('skeleton')
  }

  onWork(_listen: () => void): void {}
  onPending(_listen: (key: string) => void): void {}
  onEvent(_listen: (event: RibEvent) => void): void {}

  /** A session reached Established. Routes retained under its key stay stale until announced again or swept. */
  peerUp(_peer: RibPeer): void {}

  /** The session ended. Unknown keys are ignored. */
  peerDown(_key: string, _how: PeerDown): void {}

  /**
   * One UPDATE body. An error means: end the session with it (also Cease/Maximum Number of Prefixes Reached). All milder
   * faults are handled inside and reported as events. `bytes` may be reused after the call.
   */
  receive(_key: string, _bytes: Uint8Array, _start: number, _end: number): ProtocolError | undefined {
    return undefined
  }

  /**
   * An incoming ROUTE-REFRESH (RFC 2918) or its RFC 7313 subtypes. 'request' sends the family again through `pull`
   * (between BoRR and EoRR when the peer knows them); 'begin' and 'end' are the peer's BoRR and EoRR.
   */
  refresh(_key: string, _family: AddressFamily, _kind: 'request' | 'begin' | 'end'): void {}

  /** Decides up to `limit` prefixes; true while more are waiting. */
  work(_limit?: number): boolean {
    return false
  }

  /**
   * Bytes for a peer, at most about `maxBytes` (one message more at most): each element holds one or more whole messages
   * and may be shared with other peers, so it must not be changed. Undefined: the peer has everything.
   */
  pull(_key: string, _maxBytes: number): Uint8Array[] | undefined {
    return undefined
  }

  /** Originates a prefix, replacing an earlier announcement of it. Throws on text that is not a CIDR. */
  announce(_network: Network): void {}
  withdraw(_prefix: string): void {}

  /** Replaces policies and limits of a peer and evaluates its routes again, without a reset (soft reconfiguration). */
  setPolicies(_key: string, _config: PeerConfig): void {}

  /** Evaluates import policy again ('in') or sends everything again ('out'): an operator's soft clear. */
  soft(_key: string, _direction: 'in' | 'out'): void {}

  /**
   * While true (our own graceful restart, RFC 4724 §4.1) only prefixes that we originate are decided and announced and no
   * End-of-RIB is sent; switching it off decides the rest.
   */
  defer(_on: boolean): void {}

  counts(_key: string): PeerCounts | undefined {
    return undefined
  }

  /** Forgets everything and cancels every timer. */
  close(): void {}
}
