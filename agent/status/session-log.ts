// BGP sessions that come up, go down or have another reason, in the log and among the events. One line for the first
// change, then one per minute with the sum of the others: when a fabric fails, thousands of sessions change at once.
import type { EventRecord } from '../../api/status.ts'
import type { PeerStatus } from '../../bgp/config.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Log } from '../../lib/log.ts'

export type SessionLogDeps = {
  clock: Clock
  log: Log
  record?: (event: EventRecord) => void
}

const WINDOW_MS = 60_000
/** Changes of one minute that are an event each; the others are one event at the end of it. */
const MOST_EVENTS = 20
/** Peers that the line of a minute names. */
const MOST_NAMED = 3

type SessionChange = { peer: string; state: 'Established' | 'Down'; reason: string; detail: string }

export class SessionLog {
  readonly #deps: SessionLogDeps
  /** What was told of each session, by key: `Established`, or why it is down. */
  readonly #told = new Map<string, string>()
  /** Changes since the window began, the last one of each peer; undefined: no window. */
  #window: { changes: Map<string, SessionChange>; events: number; total: number } | undefined

  constructor(deps: SessionLogDeps) {
    this.#deps = deps
  }

  /**
   * Takes each status that the speaker tells; a peer that is down for the same reason as before is left out. `key`: what a session
   * keeps that gets another name.
   */
  note({ name: peer, state, reason }: Pick<PeerStatus, 'name' | 'state' | 'reason'>, key: string = peer): void {
    // a peer that was never tried is not down for a reason yet
    if (state !== 'Established' && (reason === undefined || reason.code === 'never-tried')) return
    const news = state === 'Established' ? state : reason!.code
    if (this.#told.get(key) === news) return
    this.#told.set(key, news)
    this.#add({
      peer,
      state: state === 'Established' ? state : 'Down',
      reason: news,
      detail: state === 'Established' ? '' : reason!.detail,
    })
  }

  /** Forgets a session that was removed. */
  forget(key: string): void {
    this.#told.delete(key)
  }

  #add(change: SessionChange): void {
    if (this.#window === undefined) {
      this.#begin(1)
      this.#deps.log.info(change, 'BGP session changed')
      this.#record(change)
      return
    }
    this.#window.changes.set(change.peer, change)
    this.#window.total++
    if (++this.#window.events <= MOST_EVENTS) this.#record(change)
  }

  #begin(events: number): void {
    this.#window = { changes: new Map(), events, total: 0 }
    this.#deps.clock.after(WINDOW_MS, () => this.#end())
  }

  #end(): void {
    const window = this.#window
    this.#window = undefined
    if (window === undefined || window.total === 0) return
    this.#begin(0)
    const changes = [...window.changes.values()]
    const count = (of: (change: SessionChange) => string) =>
      Object.fromEntries([...Map.groupBy(changes, of)].map(([key, all]) => [key, all.length]))
    const few = changes.length <= MOST_NAMED && { names: changes.map(({ peer }) => peer) }
    const sums = { changes: window.total, peers: changes.length, ...few, now: count(({ reason }) => reason) }
    this.#deps.log.info(sums, 'BGP sessions changed in the last minute')
    if (window.events > MOST_EVENTS) {
      const texts = Object.entries(count(({ reason }) => reason)).map(([reason, number]) => `${number} ${reason}`)
      this.#deps.record?.({
        type: 'SessionChanged',
        object: { kind: 'BGPSession', name: '*' },
        reason: 'Summed',
        message: `${window.events - MOST_EVENTS} more changes within a minute; ${changes.length} peers are now: ${texts.join(', ')}`,
      })
    }
  }

  #record({ peer, state, reason, detail }: SessionChange): void {
    this.#deps.record?.({
      type: 'SessionChanged',
      object: { kind: 'BGPSession', name: peer },
      reason,
      message: detail === '' ? state : `${state}: ${detail}`,
    })
  }
}
