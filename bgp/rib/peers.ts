// The peers of a RIB by key and by index. An index is a small number that every path holds. It is used again for another
// peer only when nothing in any queue can still belong to the last peer that had it.
import type { PeerFacts } from './decision.ts'
import { PeerRank } from './peer-rank.ts'
import { RibPeerState } from './peer-state.ts'
import type { SpeakerNumbers } from './speaker-numbers.ts'
import { MAX_PEER } from './store/path-table.ts'
import type { RibPeer } from './types.ts'

type Queues = {
  /** No queue of the RIB holds anything. */
  quiet(): boolean
  /** Who reads as slowly as it likes, which no hold time ends, is to go: `waiting` waits. */
  overflow(waiting: string): void
}

/** More indices than this should not be out of use: somebody has not read of their peers' ends for long. */
const MOST_RETIRED = MAX_PEER >> 2

export class Peers {
  /** What the decision process asks of a peer, by index. */
  readonly facts: PeerFacts = {
    external: new Uint8Array(MAX_PEER + 1),
    tracked: new Uint8Array(MAX_PEER + 1),
    routerId: new Uint32Array(MAX_PEER + 1),
    rank: new Uint32Array(MAX_PEER + 1),
  }
  readonly #speaker: SpeakerNumbers
  readonly #byKey = new Map<string, RibPeerState>()
  readonly #byIndex: (RibPeerState | undefined)[] = []
  /** Indices whose peer is gone: of which a queue may still hold something, and of which none does. */
  #retired: number[] = []
  #free: number[] = []
  readonly #queues: Queues
  readonly #rank = new PeerRank(this.facts.rank)

  /** `local` has the index 0 and no key. */
  constructor(local: RibPeerState, speaker: SpeakerNumbers, queues: Queues) {
    this.#byIndex[local.index] = local
    this.#speaker = speaker
    this.#queues = queues
  }

  get(key: string): RibPeerState | undefined {
    return this.#byKey.get(key)
  }

  values(): Iterable<RibPeerState> {
    return this.#byKey.values()
  }

  /** Every peer by its index, this speaker's own networks included; retired ones too, until their index is used again. */
  get byIndex(): readonly (RibPeerState | undefined)[] {
    return this.#byIndex
  }

  /** Enters a session; its peer may be known from an earlier one. Throws when there are no indices left. */
  add(peer: RibPeer): RibPeerState {
    let state = this.#byKey.get(peer.key)
    if (state === undefined) {
      state = new RibPeerState(this.#freeIndex(), peer, this.#speaker)
      this.#byIndex[state.index] = state
      this.#byKey.set(peer.key, state)
    } else state.set(peer, this.#speaker)
    this.facts.external[state.index] = peer.peerType === 'ebgp' ? 1 : 0
    this.track(state)
    this.facts.routerId[state.index] = peer.routerId
    this.#rank.place(state)
    return state
  }

  /** Its group, or which paths need a next hop that can be reached, may be another one. */
  track({ index, peer }: RibPeerState): void {
    this.facts.tracked[index] = this.#speaker.tracked.tracks(peer) ? 1 : 0
  }

  /** Forgets a peer that is down and has no routes left; any other one stays. */
  retire(state: RibPeerState): void {
    if (state.up) return
    for (const { received } of state.families.values()) if (received > 0) return
    if (!this.#byKey.delete(state.peer.key)) return
    this.#rank.remove(state.peer.key)
    this.#retired.push(state.index)
    if (this.#retired.length > MOST_RETIRED) this.#queues.overflow(`changes of ${MOST_RETIRED} peers that are gone`)
  }

  #freeIndex(): number {
    if (this.#retired.length > 0 && this.#queues.quiet()) {
      this.#free = this.#free.concat(this.#retired)
      this.#retired = []
    }
    const index = this.#free.pop() ?? this.#byIndex.length
    if (index > MAX_PEER) throw new Error('more peers than the RIB has numbers for')
    return index
  }
}
