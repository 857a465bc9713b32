// The paths that are used together as small numbers: many prefixes have the same ones, since what comes over two sessions comes
// over both with few sets. A group is there as long as a prefix has it, and holds its sets, so there are never more groups than
// prefixes. 0 is no group: the best path alone.
import { MOST_PATHS } from '../../config.ts'
import { AttributeStore } from './attribute-store.ts'

/** Octets of a member: set u32, least octet first | weight u8. */
const MEMBER = 5

/** `weight`: the path's share in relation to the others, 1-255; 0: all have the same. */
export type GroupMember = { set: number; weight: number }

export class PathGroups {
  /** Lists of members, kept as attribute sets are. */
  readonly #lists: AttributeStore
  readonly #sets: Pick<AttributeStore, 'hold' | 'release'>
  readonly #bytes = new Uint8Array(MOST_PATHS * MEMBER)

  /** `freed` is called with every group that no prefix has any more. */
  constructor(sets: Pick<AttributeStore, 'hold' | 'release'>, freed: (group: number) => void) {
    this.#sets = sets
    this.#lists = new AttributeStore(group => {
      freed(group)
      for (const { set } of this.members(group)) sets.release(set)
    })
  }

  /** The group of the first `count` (2 to `MOST_PATHS`) of these sets in this order, with one more reference, which the caller releases. */
  intern(sets: ArrayLike<number>, weights: ArrayLike<number> | undefined, count: number): number {
    const bytes = this.#bytes
    for (let i = 0, at = 0; i < count; i++, at += MEMBER) {
      const set = sets[i]!
      bytes[at] = set
      bytes[at + 1] = set >>> 8
      bytes[at + 2] = set >>> 16
      bytes[at + 3] = set >>> 24
      bytes[at + 4] = weights?.[i] ?? 0
    }
    const before = this.#lists.size
    const group = this.#lists.intern(bytes, 0, count * MEMBER, 0)
    if (this.#lists.size > before) for (let i = 0; i < count; i++) this.#sets.hold(sets[i]!)
    return group
  }

  /** Gives one reference back. */
  release(group: number): void {
    this.#lists.release(group)
  }

  /** The best first. */
  members(group: number): GroupMember[] {
    const bytes = this.#lists.view(group)
    const members: GroupMember[] = []
    for (let at = 0; at < bytes.length; at += MEMBER) {
      const set = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
      members.push({ set: set >>> 0, weight: bytes[at + 4]! })
    }
    return members
  }
}
