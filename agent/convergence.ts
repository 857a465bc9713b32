// When the routes of an earlier run may be judged: only after the speaker has heard what its peers have, or given up on
// them. One rule for margay-node and margay-bgp.
import type { PeerStatus } from '../bgp/config.ts'
import type { RibEvent } from '../bgp/rib/types.ts'
import type { Cancel, Clock } from '../lib/clock.ts'

/** Time for the decisions of the last table to reach the kernel. */
const SETTLE_MS = 2_000
/** Peers that did not send their table by then are not waited for. */
const FIRST_TABLES_MS = 30_000
/** How often, at most, the peers are asked whether they are complete. */
const ASK_MS = 500

/** What is asked of the speaker. */
type Tables = {
  onRestartComplete(listen: () => void): void
  onRibEvent(listen: (event: RibEvent) => void): () => void
  peers(): Pick<PeerStatus, 'name' | 'state' | 'families'>[]
}

/**
 * Calls `converged` once: `SETTLE_MS` after this speaker's graceful restart is over and no table is missing, also of a peer
 * that could not be reached, within the restart time; without a restart `SETTLE_MS` after
 * every peer is Established and has sent an End-of-RIB for each family (RFC 4724 §2), or after `FIRST_TABLES_MS`.
 */
export function whenConverged(
  speaker: Tables,
  { clock, restarting }: { clock: Clock; restarting: boolean },
  converged: () => void,
): Cancel {
  let over = false
  let stopListening: (() => void) | undefined
  const stop = () => {
    stopListening?.()
    stopListening = undefined
  }
  const timers = new Set<Cancel>()
  const end = () => {
    if (over) return
    over = true
    stop()
    for (const cancel of timers) cancel()
  }
  const after = (delayMs: number, fire: () => void) => {
    if (!over) timers.add(clock.after(delayMs, fire))
  }
  const settle = () => {
    stop()
    after(SETTLE_MS, () => {
      end()
      converged()
    })
  }
  if (restarting) {
    speaker.onRestartComplete(settle)
    return end
  }
  const ended = new Set<string>()
  let asking = false
  const ask = () => {
    asking = false
    const complete = speaker
      .peers()
      .every(({ name, state, families }) => state === 'Established' && families.every(f => ended.has(`${name} ${f}`)))
    if (complete) settle()
  }
  stopListening = speaker.onRibEvent(event => {
    if (event.type !== 'end-of-rib') return
    ended.add(`${event.key} ${event.family}`)
    // thousands of peers end at about the same time, and asking all of them costs
    if (asking) return
    asking = true
    after(ASK_MS, ask)
  })
  after(FIRST_TABLES_MS, () => {
    end()
    converged()
  })
  return end
}
