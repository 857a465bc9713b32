// The kernel numbers the copies of each reader from 0: a gap is what was dropped, whatever the reason.
import type { NflogPacket } from '../../port/nflog.ts'
import type { Message } from '../message.ts'
import { Malformed } from '../nftables/fields.ts'
import { parsePacket } from './packet.ts'

/** Copies as they come, and how many are missing between them. */
export class Numbered {
  #next = 0

  /** What makes no sense counts as missing. */
  take(messages: readonly Message[]): { packets: NflogPacket[]; missing: number } {
    const packets: NflogPacket[] = []
    let missing = 0
    for (const message of messages) {
      const parsed = parsePacket(message)
      if (parsed instanceof Malformed) {
        missing++
        this.#next = (this.#next + 1) >>> 0
        continue
      }
      const { sequence, ...packet } = parsed
      // a number from before is no gap of four thousand millions
      const gap = (sequence - this.#next) | 0
      if (gap > 0) missing += gap
      this.#next = (sequence + 1) >>> 0
      packets.push(packet)
    }
    return { packets, missing }
  }
}
