// The order of peers by address: the last step of the decision process that compares peers (RFC 4271 §9.1.2.2 g).
// With thousands of peers sessions come and go all the time, so only what moved is put in its place again.
import { addressBytes } from '../../lib/ip.ts'
import type { RibPeerState } from './peer-state.ts'

type Entry = { index: number; key: string; octets: Buffer }

/**
 * Keeps every peer's place in `rank`, by its index: lower address first, IPv6 before IPv4, then by key. Of two sessions with one router
 * that over IPv6 has the IPv6 next hops, which need no way round over IPv4.
 */
export class PeerRank {
  readonly #rank: Uint32Array
  readonly #sorted: Entry[] = []
  readonly #byKey = new Map<string, Entry>()

  constructor(rank: Uint32Array) {
    this.#rank = rank
  }

  /** Gives a peer its place; one that has the same address as before keeps it. */
  place({ index, peer }: RibPeerState): void {
    const entry: Entry = { index, key: peer.key, octets: Buffer.from(addressBytes(peer.remoteAddress)) }
    const before = this.#byKey.get(peer.key)
    if (before !== undefined && before.index === index && before.octets.equals(entry.octets)) return
    if (before !== undefined) this.remove(peer.key)
    const place = this.#placeOf(entry)
    this.#sorted.splice(place, 0, entry)
    this.#byKey.set(peer.key, entry)
    this.#number(place)
  }

  remove(key: string): void {
    const entry = this.#byKey.get(key)
    if (entry === undefined) return
    const place = this.#placeOf(entry)
    this.#sorted.splice(place, 1)
    this.#byKey.delete(key)
    this.#number(place)
  }

  /** Number of the peers that come before `entry`. */
  #placeOf(entry: Entry): number {
    let [low, high] = [0, this.#sorted.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if (compare(this.#sorted[middle]!, entry) < 0) low = middle + 1
      else high = middle
    }
    return low
  }

  #number(from: number): void {
    for (let place = from; place < this.#sorted.length; place++) this.#rank[this.#sorted[place]!.index] = place + 1
  }
}

function compare(a: Entry, b: Entry): number {
  return (
    b.octets.length - a.octets.length ||
    Buffer.compare(a.octets, b.octets) ||
    (a.key < b.key ? -1 : a.key > b.key ? 1 : 0)
  )
}
