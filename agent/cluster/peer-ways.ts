// By which routers the peers of this node are reached (`reachableBy`), address by address. Pure. Of two sessions with one address the
// first by key says it, so that the order in which they came never decides.
import { isDeepStrictEqual } from 'node:util'
import type { PeerWay } from '../../felix/input.ts'
import { addressBits, familyOf } from '../../lib/ip.ts'
import type { PeerChange } from './session-requests.ts'

export class PeerWays {
  /** By the key of the session. */
  readonly #sessions = new Map<string, { cidr: string; way: PeerWay }>()
  readonly #told = new Map<string, PeerWay>()

  /** Takes in what changed of the sessions. The addresses, as CIDRs, whose way is another one; undefined: none of its own any more. */
  take(changes: readonly PeerChange[]): [cidr: string, way: PeerWay | undefined][] {
    const touched = new Set<string>()
    for (const { key, peer, way } of changes) {
      const before = this.#sessions.get(key)?.cidr
      if (before !== undefined) touched.add(before)
      this.#sessions.delete(key)
      if (peer?.address === undefined || way === undefined) continue
      const cidr = `${peer.address}/${addressBits(familyOf(peer.address))}`
      this.#sessions.set(key, { cidr, way })
      touched.add(cidr)
    }
    return [...touched].flatMap(cidr => {
      const [, first] = [...this.#sessions].filter(([, each]) => each.cidr === cidr).sort(byKey)[0] ?? []
      const way = first?.way
      if (isDeepStrictEqual(way, this.#told.get(cidr))) return []
      if (way === undefined) this.#told.delete(cidr)
      else this.#told.set(cidr, way)
      return [[cidr, way]]
    })
  }
}

function byKey([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number {
  return a < b ? -1 : 1
}
