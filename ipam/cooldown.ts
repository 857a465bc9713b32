// How long released addresses rest before another pod may have them (`ipCooldownSeconds`): other nodes may have one in their sets
// and connections for a moment after its pod has gone. In memory: what rested when the agent ended rests by its place in the
// queue of its block alone.
import type { Clock } from '../lib/clock.ts'
import { contains } from '../lib/ip.ts'

/** Calico's limit of the field. */
const MOST_MS = 1200_000

export class Cooldown {
  readonly #clock: Pick<Clock, 'monotonicMs'>
  /** When each was released, the earliest first. */
  readonly #released = new Map<string, number>()

  constructor(clock: Pick<Clock, 'monotonicMs'>) {
    this.#clock = clock
  }

  /** These addresses were released just now. */
  begin(addresses: readonly string[]): void {
    const now = this.#clock.monotonicMs()
    for (const [address, at] of this.#released) {
      if (now - at < MOST_MS) break
      this.#released.delete(address)
    }
    for (const address of addresses) {
      this.#released.delete(address)
      this.#released.set(address, now)
    }
  }

  /** Whether an address rests, where it must for so many seconds. */
  has(address: string, seconds: number): boolean {
    const at = seconds === 0 ? undefined : this.#released.get(address)
    return at !== undefined && this.#clock.monotonicMs() - at < seconds * 1000
  }

  /** How many addresses rest, of a block or of all. */
  count(seconds: number, block?: string): number {
    if (seconds === 0) return 0
    const isIn = (address: string) => block === undefined || contains(block, address)
    return [...this.#released.keys()].filter(address => this.has(address, seconds) && isIn(address)).length
  }
}
