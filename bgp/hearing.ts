// Whether a peer has worked through what it was sent. BGP acknowledges no UPDATE; but a peer answers a request for its
// routes after all that came before the request, and marks the end of its answer (EoRR, RFC 7313 §4). Hazard: the mark does not
// say which request it ends, so one of a family is under way at a time.
import type { AddressFamily } from './family.ts'

/**
 * `heard`: the peer has worked through all that was announced when it was asked, and a Margay has it in its kernel too. `cannot`:
 * this peer, or this family, knows no such marks. `gone`: there is no session any more, or not yet.
 */
export type Heard = 'heard' | 'cannot' | 'gone'

type Waiter = (heard: Heard) => void

/** The questions to one peer. */
export class Hearing {
  readonly #waiting = new Map<AddressFamily, Waiter[]>()
  readonly #asked = new Map<AddressFamily, Waiter[]>()

  ask(family: AddressFamily, waiter: Waiter): void {
    this.#waiting.set(family, [...(this.#waiting.get(family) ?? []), waiter])
  }

  /** The families of which a request must be sent now; called when all that was announced so far is on its way. */
  take(): AddressFamily[] {
    const families = [...this.#waiting.keys()].filter(family => !this.#asked.has(family))
    for (const family of families) {
      this.#asked.set(family, this.#waiting.get(family)!)
      this.#waiting.delete(family)
    }
    return families
  }

  /** The peer's answer has ended. True when another request waits for that. */
  answered(family: AddressFamily): boolean {
    const waiters = this.#asked.get(family) ?? []
    this.#asked.delete(family)
    for (const waiter of waiters) waiter('heard')
    return this.#waiting.has(family)
  }

  /** The session has ended. */
  lost(): void {
    const waiters = [...this.#asked.values(), ...this.#waiting.values()].flat()
    this.#asked.clear()
    this.#waiting.clear()
    for (const waiter of waiters) waiter('gone')
  }
}
