// How many octets of bodies lie in memory at a time, in all and of one user, and how many are read before the sockets of
// others are looked at again: a slow or big sender can fill neither memory nor time.
import { ApiError } from './status.ts'

const IN_ALL = 256 * 1024 * 1024
const PER_USER = 96 * 1024 * 1024
const PER_ROUND = 1024 * 1024

export class BodyBudget {
  readonly #held = new Map<string, number>()
  #total = 0
  #leftOfRound = PER_ROUND
  #nextRound: Promise<void> | undefined

  /** Resolves when so many octets may be dealt with; those who wait go on in their order. */
  async pass(octets: number): Promise<void> {
    while (this.#leftOfRound <= 0) {
      this.#nextRound ??= this.#round()
      await this.#nextRound
    }
    this.#leftOfRound -= octets
  }

  #round(): Promise<void> {
    return new Promise(resolve =>
      setImmediate(() => {
        this.#leftOfRound = PER_ROUND
        this.#nextRound = undefined
        resolve()
      }),
    )
  }

  /** Throws TooManyRequests when it would be too much. */
  take(user: string, octets: number): void {
    const held = (this.#held.get(user) ?? 0) + octets
    if (held > PER_USER) throw new ApiError('TooManyRequests', `${user} sends too much at a time: wait for answers`)
    if (this.#total + octets > IN_ALL) throw new ApiError('TooManyRequests', 'too much is sent at a time: try again')
    this.#held.set(user, held)
    this.#total += octets
  }

  giveBack(user: string, octets: number): void {
    const held = (this.#held.get(user) ?? 0) - octets
    if (held > 0) this.#held.set(user, held)
    else this.#held.delete(user)
    this.#total -= octets
  }
}
