// What tells paths apart beyond the steps of the decision: the next hop as a number, so that one that is there twice is seen at once,
// the AS path, and the bandwidth that a path tells. Read from the octets of a set when first asked for: a speaker that uses one
// path of each prefix and does not track next hops never asks.
import { isLinkLocalOctets } from '../../lib/ip.ts'
import { linkBandwidth } from '../wire/communities.ts'
import { ATTRIBUTE, FLAG } from '../wire/iana.ts'
import { usedNextHop } from './next-hop.ts'
import type { AttributeStore } from './store/attribute-store.ts'
import { widened } from './store/prefix-table.ts'

/** Told of next hops that the first set has, and the last one has no more. `octets`: 4 or 16. */
type HopWatcher = {
  added(hop: number, octets: Uint8Array, link: string | undefined): void
  removed(octets: Uint8Array, link: string | undefined): void
}

export class HopFacts {
  readonly #store: Pick<AttributeStore, 'view' | 'capacity'>
  readonly #linkOf: (set: number) => string | undefined
  /** By set: number of its next hop; 0: not read yet. */
  #hops = new Uint32Array(1024)
  readonly #numbers = new Map<string, number>()
  /** By number: what it stands for, and how many sets have it. */
  readonly #held: (Held | undefined)[] = [undefined]
  readonly #users: number[] = [0]
  readonly #free: number[] = []
  #watcher: HopWatcher | undefined

  /** `linkOf`: the interface of the peer that a set came from, which tells link-local next hops apart. */
  constructor(store: Pick<AttributeStore, 'view' | 'capacity'>, linkOf: (set: number) => string | undefined) {
    this.#store = store
    this.#linkOf = linkOf
  }

  watch(watcher: HopWatcher): void {
    this.#watcher = watcher
  }

  /** Number of the next hop of a set, at least 1. Sets have the same one as long as they are held and have the same next hop. */
  nextHop(set: number): number {
    return (set < this.#hops.length ? this.#hops[set]! : 0) || this.#read(set)
  }

  /** Octets per second by the link bandwidth community (RFC 10005); 0: none. */
  bandwidth(set: number): number {
    const value = attributeIn(this.#store.view(set), ATTRIBUTE.extendedCommunities)
    return value === undefined ? 0 : linkBandwidth(value)
  }

  /** Whether two sets have the same AS_PATH. */
  samePath(a: number, b: number): boolean {
    const one = attributeIn(this.#store.view(a), ATTRIBUTE.asPath) ?? NOTHING
    return Buffer.compare(one, attributeIn(this.#store.view(b), ATTRIBUTE.asPath) ?? NOTHING) === 0
  }

  /** Called when a set is about to be freed, or when its peer may have another interface. */
  forget(set: number): void {
    const hop = set < this.#hops.length ? this.#hops[set]! : 0
    if (hop === 0) return
    this.#hops[set] = 0
    if (--this.#users[hop]! > 0) return
    const { key, octets, link } = this.#held[hop]!
    this.#numbers.delete(key)
    this.#held[hop] = undefined
    this.#free.push(hop)
    this.#watcher?.removed(octets, link)
  }

  #read(set: number): number {
    if (set >= this.#hops.length) this.#hops = widened(this.#hops, new Uint32Array(this.#store.capacity))
    const octets = nextHopIn(this.#store.view(set))
    const link = isLinkLocalOctets(octets) ? this.#linkOf(set) : undefined
    const text = Buffer.from(octets.buffer, octets.byteOffset, octets.length).toString('latin1')
    const key = link === undefined ? text : `${text}%${link}`
    const hop = this.#numbers.get(key) ?? this.#add({ key, octets: octets.slice(), link })
    this.#users[hop]!++
    this.#hops[set] = hop
    return hop
  }

  #add(held: Held): number {
    const hop = this.#free.pop() ?? this.#held.length
    this.#numbers.set(held.key, hop)
    this.#held[hop] = held
    this.#users[hop] = 0
    this.#watcher?.added(hop, held.octets, held.link)
    return hop
  }
}

/** `key`: its key in `#numbers`. */
type Held = { key: string; octets: Uint8Array; link: string | undefined }

const NOTHING = new Uint8Array(0)

/** The next hop of a stored set, as `usedNextHop`; empty for one without. */
function nextHopIn(set: Uint8Array): Uint8Array {
  // afi u16 | safi u8 | length u8 | next hop
  const reach = attributeIn(set, ATTRIBUTE.mpReach)
  if (reach !== undefined) return usedNextHop(reach.subarray(4, 4 + reach[3]!))
  return attributeIn(set, ATTRIBUTE.nextHop) ?? NOTHING
}

/** The value of an attribute in a well-formed set; undefined: it has none of that type. */
function attributeIn(set: Uint8Array, code: number): Uint8Array | undefined {
  for (let at = 0; at < set.length; ) {
    const extended = (set[at]! & FLAG.extended) !== 0
    const value = at + (extended ? 4 : 3)
    const end = value + (extended ? (set[at + 2]! << 8) | set[at + 3]! : set[at + 2]!)
    if (set[at + 1] === code) return set.subarray(value, end)
    at = end
  }
  return undefined
}
