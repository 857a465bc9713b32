// Keeps a peer's routes while it restarts: graceful restart (RFC 4724 §4.2) and long-lived graceful restart (RFC 9494). Also
// enhanced route refresh (RFC 7313 §4), which marks and removes paths in the same way within one session.
import type { Clock } from '../../lib/clock.ts'
import { type AddressFamily, FAMILIES } from '../family.ts'
import type { RibPeerState } from './peer-state.ts'
import { MARK } from './store/path-table.ts'
import type { FamilyTable } from './table.ts'
import type { PeerDown, RibEvent } from './types.ts'

/** How long stale routes wait for the End-of-RIB of a peer that came back. */
const END_OF_RIB_WAIT_SECONDS = 360

type RestartDeps = {
  clock: Clock
  tables: Readonly<Record<AddressFamily, FamilyTable>>
  report(event: RibEvent): void
  /** Routes of the peer were removed; it may have none left. */
  swept(peer: RibPeerState): void
}

export class Restart {
  readonly #deps: RestartDeps

  constructor(deps: RestartDeps) {
    this.#deps = deps
  }

  /** Marks or removes the routes of a peer whose session ended. */
  down(peer: RibPeerState, how: PeerDown): void {
    for (const family of FAMILIES) {
      const counts = peer.family(family)
      counts.timer?.()
      counts.timer = undefined
      counts.warned = false
      if (!how.retain || !how.families.includes(family)) this.#drop(peer, family, 0)
      else this.#retain(peer, family, how)
    }
  }

  /** A session is up again. Routes that the peer did not keep are removed at once, the others if End-of-RIB does not confirm them. */
  up(peer: RibPeerState): void {
    const { gracefulRestart, longLived, families } = peer.peer
    for (const family of FAMILIES) {
      const counts = peer.family(family)
      counts.timer?.()
      counts.timer = undefined
      if (counts.stale === 0) continue
      const kept =
        gracefulRestart?.forwarding.includes(family) === true ||
        longLived?.some(entry => entry.family === family && entry.forwarding) === true
      if (kept && families.includes(family))
        counts.timer = this.#deps.clock.after(END_OF_RIB_WAIT_SECONDS * 1000, () =>
          this.sweep(peer, family, MARK.stale),
        )
      else this.sweep(peer, family, MARK.stale)
    }
  }

  /** The peer has sent its whole table (End-of-RIB or EoRR): removes the paths that still carry `mark`. */
  sweep(peer: RibPeerState, family: AddressFamily, mark: number): void {
    const counts = peer.family(family)
    if (mark === MARK.stale) {
      counts.timer?.()
      counts.timer = undefined
    }
    const count = this.#drop(peer, family, mark)
    if (count > 0) this.#deps.report({ type: 'stale-removed', key: peer.peer.key, family, count })
    this.#deps.swept(peer)
  }

  /** The peer begins to send its table again (BoRR). */
  beginRefresh(peer: RibPeerState, family: AddressFamily): void {
    const table = this.#deps.tables[family]
    table.eachOf(peer.index, slot => table.paths.addMarks(slot, MARK.unrefreshed))
  }

  close(peer: RibPeerState): void {
    for (const { timer } of peer.families.values()) timer?.()
  }

  /**
   * The session of a peer that restarts may end again before its End-of-RIB. RFC 4724 §4.2 has the paths that are still stale
   * removed then, so that they cannot stay for ever. With `keepOverRestarts` they stay to the end of the first restart time.
   */
  #retain(peer: RibPeerState, family: AddressFamily, how: Extract<PeerDown, { retain: true }>): void {
    const table = this.#deps.tables[family]
    const counts = peer.family(family)
    counts.longLivedSeconds = how.longLivedSeconds?.[family] ?? 0
    const nowMs = this.#deps.clock.monotonicMs()
    const goesOn = counts.stale > 0 && keepsOverRestarts(peer)
    if (!goesOn) counts.staleUntilMs = nowMs + how.staleSeconds * 1000
    table.eachOf(peer.index, (slot, marks) => {
      if ((marks & MARK.stale) === 0) {
        table.paths.addMarks(slot, MARK.stale)
        counts.stale++
        // RFC 4724 §4.2: paths that are still stale from an earlier restart are removed, unless they are long-lived
      } else if (counts.longLivedSeconds === 0 && !goesOn) table.remove(slot, peer)
    })
    // a peer without routes is forgotten: what waited for it would end its next session
    if (counts.stale === 0) return
    const ms = Math.max(0, counts.staleUntilMs - nowMs)
    if (ms === 0) this.#expire(peer, family)
    else counts.timer = this.#deps.clock.after(ms, () => this.#expire(peer, family))
  }

  /** The restart time is over: the long-lived stale time begins (RFC 9494 §4.2), or the routes are removed. */
  #expire(peer: RibPeerState, family: AddressFamily): void {
    const table = this.#deps.tables[family]
    const counts = peer.family(family)
    if (counts.longLivedSeconds === 0) {
      this.sweep(peer, family, MARK.stale)
      return
    }
    table.eachOf(peer.index, (slot, marks) => {
      if ((marks & MARK.stale) !== 0 && (marks & MARK.longLived) === 0) table.makeLongLived(slot, peer)
    })
    const ms = counts.longLivedSeconds * 1000
    counts.timer = this.#deps.clock.after(ms, () => this.sweep(peer, family, MARK.stale))
  }

  /** Removes the paths that carry `mark` (0: all of them). Returns how many. */
  #drop(peer: RibPeerState, family: AddressFamily, mark: number): number {
    const table = this.#deps.tables[family]
    let count = 0
    table.eachOf(peer.index, (slot, marks) => {
      if ((marks & mark) !== mark) return
      table.remove(slot, peer)
      count++
    })
    return count
  }
}

function keepsOverRestarts({ peer: { config } }: RibPeerState): boolean {
  return typeof config.gracefulRestart === 'object' && config.gracefulRestart.keepOverRestarts === true
}
