// Blocks of messages that members of an export group have not read yet. Each member reads at its own speed. When the blocks
// need more memory than allowed, the members that have not read the oldest block skip all blocks and catch up otherwise.
import type { Member } from './member.ts'
import type { Packed } from './update-packer.ts'

export type MessageBlock = Packed & {
  /** Index of the peer that does not get it, or of the only one that does; 0: all. */
  except: number
  only: number
  /** Number of members that have not read it yet. */
  waiting: number
}

export class Backlog {
  readonly #limit: number
  readonly #members: ReadonlyMap<number, Member>
  readonly #fellBehind: (member: Member, unread: readonly MessageBlock[]) => void
  readonly #blocks: MessageBlock[] = []
  /** Number of the first block. */
  #start = 0
  #octets = 0

  /** `limit` in octets. `fellBehind` is called with a member that skips its unread blocks. */
  constructor(
    limit: number,
    members: ReadonlyMap<number, Member>,
    fellBehind: (member: Member, unread: readonly MessageBlock[]) => void,
  ) {
    this.#limit = limit
    this.#members = members
    this.#fellBehind = fellBehind
  }

  /** Number of the block that is written next. */
  get end(): number {
    return this.#start + this.#blocks.length
  }

  append(packed: Packed, except: number, only: number): MessageBlock {
    const block: MessageBlock = { ...packed, except, only, waiting: 0 }
    const { end } = this
    for (const member of this.#members.values()) {
      if (concerns(block, member)) block.waiting++
      else if (this.#placeOf(member) === end) member.cursor = end + 1
    }
    this.#blocks.push(block)
    this.#octets += packed.bytes.length
    while (this.#octets > this.#limit && this.#blocks.length > 1) this.#drop()
    this.#trim()
    return block
  }

  /** The next block for a member; undefined when it has read all of them. */
  read(member: Member): MessageBlock | undefined {
    for (member.cursor = this.#placeOf(member); member.cursor < this.end; member.cursor++) {
      const block = this.#blocks[member.cursor - this.#start]!
      if (!concerns(block, member)) continue
      member.cursor++
      block.waiting--
      this.#trim()
      return block
    }
    return undefined
  }

  /** The blocks that a member has not read yet. */
  unread(member: Member): MessageBlock[] {
    return this.#blocks.slice(this.#placeOf(member) - this.#start).filter(block => concerns(block, member))
  }

  /** A member that was taken out of the map gives up its unread blocks. */
  leave(member: Member): void {
    for (const block of this.unread(member)) block.waiting--
    member.cursor = this.end
    this.#trim()
  }

  /** Makes the members that have not read the oldest block skip all blocks. */
  #drop(): void {
    for (const member of this.#members.values()) {
      if (member.cursor > this.#start) continue
      const unread = this.unread(member)
      for (const block of unread) block.waiting--
      member.cursor = this.end
      this.#fellBehind(member, unread)
    }
    this.#trim()
  }

  /** The number of the first block that a member may not have read. No block that was dropped concerns it. */
  #placeOf(member: Member): number {
    return Math.max(member.cursor, this.#start)
  }

  /** Forgets the blocks that everybody has read. */
  #trim(): void {
    while (this.#blocks.length > 0 && this.#blocks[0]!.waiting === 0) {
      this.#octets -= this.#blocks.shift()!.bytes.length
      this.#start++
    }
  }
}

export function concerns({ except, only }: MessageBlock, { peer }: Member): boolean {
  return only === 0 ? except !== peer : only === peer
}
