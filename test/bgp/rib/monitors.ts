// Monitors of a RIB in random walks: each holds what it was told, and compares it with what there should be.
import { type AddressFamily, FAMILIES, unicastFamily } from '../../../bgp/family.ts'
import type { Feed, Replayed } from '../../../bgp/rib/feed.ts'
import type { LocRibFeed } from '../../../bgp/rib/loc-rib.ts'
import type { OfferedFeed } from '../../../bgp/rib/offered.ts'
import { withUnspecifiedNextHop } from '../../../bgp/rib/own-networks.ts'
import type { Rib } from '../../../bgp/rib/rib.ts'
import type { RouteAttributes } from '../../../bgp/rib/store/attribute-set.ts'
import type { RibPeer } from '../../../bgp/rib/types.ts'
import { familyOf } from '../../../lib/ip.ts'
import { describe, type NaiveRib } from './naive.ts'
import { aPeer, Downstream } from './sessions.ts'

/** A router cannot use a network of our own without a next hop; a monitor only shows it. */
const NO_NEXT_HOP = /^nextHop has the malformed value 0+$|^NEXT_HOP is missing$|^the next hop is no host address$/

/** A network of our own: its next hop is unspecified, which counts as none where there is a field for it. */
function asTold(set: RouteAttributes, family: AddressFamily): RouteAttributes {
  return family === 'ipv4-unicast' ? set : withUnspecifiedNextHop(set, family)
}

/** What a monitor of all that peers are sent holds, from a replay that takes its time and what peers read meanwhile. */
export class SentMonitor {
  readonly #held = new Map<string, Downstream>()
  readonly #replay: Generator<Replayed>

  constructor(rib: Rib, peers: Iterable<RibPeer>) {
    for (const peer of peers) this.up(peer)
    this.#replay = (function* () {
      for (const family of FAMILIES) yield* rib.replaySent(family)
    })()
  }

  up(peer: RibPeer): void {
    this.#held.set(peer.key, new Downstream(peer))
  }

  lost({ key }: RibPeer): void {
    this.#held.delete(key)
  }

  apply(key: string, blocks: readonly Uint8Array[]): void {
    this.#held.get(key)!.apply(blocks)
  }

  read(): boolean {
    const { value, done } = this.#replay.next()
    if (done === true) return false
    this.apply(value.key, [value.bytes])
    return true
  }

  compare(down: ReadonlyMap<string, Downstream>): void {
    while (this.read());
    const texts = ({ held }: Downstream) => new Map([...held].map(([name, set]) => [name, describe(set)]))
    for (const [key, has] of down) same(`sent to ${key} as monitored`, texts(this.#held.get(key)!), texts(has))
  }
}

/** What a monitor of the Loc-RIB holds, which reads only when it was told that there is something. */
export class LocRibMonitor {
  readonly told = new Downstream(aPeer(200, { peerType: 'ibgp' }), NO_NEXT_HOP)
  readonly feed: LocRibFeed
  #awake = true

  constructor(rib: Rib) {
    this.feed = rib.followSelected({
      wake: () => {
        this.#awake = true
      },
      overflowed: () => {
        throw new Error('more prefixes wait than there are')
      },
      most: 6,
    })
  }

  read(): boolean {
    if (!this.#awake) return false
    const bytes = this.feed.take()
    if (bytes === undefined) this.#awake = false
    else this.told.apply([bytes])
    return this.#awake
  }

  compare(naive: NaiveRib): void {
    while (this.read());
    const selected = new Map<string, string>()
    for (const prefix of naive.prefixes()) {
      const best = naive.best(prefix)
      const family = unicastFamily(familyOf(prefix))
      if (best !== undefined)
        selected.set(prefix, describe(best.from === undefined ? asTold(best.set, family) : best.set))
    }
    const told = [...this.told.held].map(([prefix, set]) => [prefix, describe(set)] as const)
    same('the monitor has', new Map(told), selected)
    if (this.told.markers.toSorted().join() !== 'end ipv4,end ipv6') throw new Error(this.told.markers.join())
  }
}

/** What a monitor of all that peers are offered holds, of all sessions that it was told of; it reads as the one above. */
export class OfferedMonitor {
  readonly feed: OfferedFeed
  readonly #held = new Map<string, Downstream>()
  #awake = true

  constructor(rib: Rib, peers: Iterable<RibPeer>) {
    for (const peer of peers) this.up(peer)
    this.feed = rib.followOffered({
      wake: () => {
        this.#awake = true
      },
      overflowed: () => {
        throw new Error('more prefixes wait than there are')
      },
      most: 12,
    })
  }

  up(peer: RibPeer): void {
    this.#held.set(peer.key, new Downstream(peer))
  }

  lost({ key }: RibPeer): void {
    this.#held.delete(key)
  }

  read(): boolean {
    if (!this.#awake) return false
    const told = this.feed.take()
    if (told === undefined) this.#awake = false
    else this.#held.get(told.key)!.apply([new Uint8Array(told.bytes)])
    return this.#awake
  }

  compare(naive: NaiveRib): void {
    while (this.read());
    if (!this.feed.complete) throw new Error('nothing is left to read and it is not complete')
    for (const [key, { held, markers }] of this.#held) {
      const offered = [...naive.heldBy(key, 'accept')].map(
        ([prefix, sets]) => [prefix, sets.map(describe).sort()] as const,
      )
      const told = byPrefix(held)
      same(`offered to ${key}`, told, new Map(offered))
      const counted = [...this.feed.counts(key).values()].reduce((sum, count) => sum + count, 0)
      if (counted !== held.size) throw new Error(`${counted} are counted as offered to ${key}, which has ${held.size}`)
      if (markers.toSorted().join() !== 'end ipv4,end ipv6') throw new Error(`${key}: ${markers.join()}`)
    }
  }
}

/** What a monitor of all that import accepts holds, of all sessions that it was told of. */
export class AcceptedMonitor {
  readonly feed: Feed<Replayed>
  readonly #rib: Rib
  readonly #held = new Map<string, Downstream>()
  #awake = true

  constructor(rib: Rib, peers: Iterable<RibPeer>) {
    this.#rib = rib
    for (const peer of peers) this.up(peer)
    this.feed = rib.followAccepted({
      wake: () => {
        this.#awake = true
      },
      overflowed: () => {
        throw new Error('more prefixes wait than there are')
      },
      most: 12,
    })
  }

  up({ key, receive: { addPath } }: RibPeer): void {
    // as inside an AS: routes have a LOCAL_PREF where rules set one
    this.#held.set(key, new Downstream(aPeer(200, { peerType: 'ibgp', addPath: { send: addPath.ipv4 } })))
  }

  lost({ key }: RibPeer): void {
    this.#held.delete(key)
  }

  read(): boolean {
    if (!this.#awake) return false
    const told = this.feed.take()
    if (told === undefined) this.#awake = false
    else if (told.bytes.length > 0) this.#held.get(told.key)!.apply([new Uint8Array(told.bytes)])
    return this.#awake
  }

  compare(): void {
    while (this.read());
    if (!this.feed.complete) throw new Error('nothing is left to read and it is not complete')
    const paths = FAMILIES.flatMap(family => [...this.#rib.dump(family)])
    for (const [key, { held, markers }] of this.#held) {
      const accepted = new Map<string, string[]>()
      for (const path of paths) {
        if (path.peer !== key || path.accepted === undefined) continue
        accepted.set(path.prefix, [...(accepted.get(path.prefix) ?? []), describe(path.accepted)].sort())
      }
      same(`accepted from ${key}`, byPrefix(held), accepted)
      if (markers.toSorted().join() !== 'end ipv4,end ipv6') throw new Error(`${key}: ${markers.join()}`)
    }
  }
}

/** Of names with or without a path id. */
export function byPrefix(held: ReadonlyMap<string, RouteAttributes>): Map<string, string[]> {
  const got = new Map<string, string[]>()
  for (const [name, set] of held) {
    const prefix = name.split(' ')[0]!
    got.set(prefix, [...(got.get(prefix) ?? []), describe(set)].sort())
  }
  return got
}

export function same(what: string, got: ReadonlyMap<string, unknown>, want: ReadonlyMap<string, unknown>): void {
  const text = (map: ReadonlyMap<string, unknown>) =>
    JSON.stringify(
      [...map].sort(([a], [b]) => (a < b ? -1 : 1)),
      null,
      1,
    )
  if (text(got) !== text(want)) throw new Error(`${what} ${text(got)}\nand should ${text(want)}`)
}
