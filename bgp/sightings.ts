// Who is seen on the interface of an unnumbered peer (RFC 4861 §4.2): mostly one router, the neighbour. Where there are several, the
// last one is whom the next session is with, and all others are told.
import type { Cancel, Clock } from '../lib/clock.ts'
import type { Discover } from './port.ts'

/** A router that says nothing for so long is gone: the most that routers wait by default (RFC 4861 §6.2.1, MaxRtrAdvInterval). */
const GONE_MS = 600_000
/** Routers advertise themselves every ten seconds where peers are found so, and when they are asked. */
const PATIENCE_MS = 15_000
const MOST_SEEN = 8

type Deps = { clock: Clock; discover?: Discover | undefined }

export class Sightings {
  readonly #deps: Deps
  readonly #told: { seen: () => void; hindered: () => void }
  /** By address, when it was told last, on the monotonic clock. */
  readonly #seen = new Map<string, number>()
  #last: string | undefined
  #hindered: string | undefined
  #cancel: (() => void) | undefined
  #cancelPatience: Cancel = () => undefined

  constructor(deps: Deps, told: { seen: () => void; hindered: () => void }) {
    this.#deps = deps
    this.#told = told
  }

  /** Who was seen last. */
  get last(): string | undefined {
    return this.#last
  }

  /** What keeps neighbours from being seen. */
  get hindered(): string | undefined {
    return this.#hindered
  }

  /** Everybody who was seen lately but this one; undefined: nobody. */
  others(address: string | undefined): string[] | undefined {
    if (this.#seen.size < 2) return undefined
    const sinceMs = this.#deps.clock.monotonicMs() - GONE_MS
    const others = [...this.#seen].filter(([each, atMs]) => each !== address && atMs > sinceMs).map(([each]) => each)
    return others.length === 0 ? undefined : others
  }

  /** Looks for neighbours, unless it does already; `unseen` is called where nobody is there for some time. */
  begin(interfaceName: string, unseen: () => void): void {
    const { clock, discover } = this.#deps
    if (this.#cancel !== undefined || discover === undefined) return
    this.#cancelPatience = clock.after(PATIENCE_MS, () => {
      if (this.#last === undefined) unseen()
    })
    this.#cancel = discover(
      interfaceName,
      address => {
        this.#hindered = undefined
        this.#last = address
        this.#note(address)
        this.#told.seen()
      },
      why => {
        if (why === this.#hindered) return
        this.#hindered = why
        this.#told.hindered()
      },
    )
  }

  /** Looks no more, and forgets everybody. */
  end(): void {
    this.#cancel?.()
    this.#cancel = undefined
    this.#cancelPatience()
    this.#seen.clear()
    this.#last = undefined
    this.#hindered = undefined
  }

  #note(address: string): void {
    const nowMs = this.#deps.clock.monotonicMs()
    for (const [each, atMs] of this.#seen) if (nowMs - atMs > GONE_MS) this.#seen.delete(each)
    this.#seen.set(address, nowMs)
    // whoever makes up senders fills no memory
    if (this.#seen.size > MOST_SEEN) this.#seen.delete(this.#seen.keys().find(each => each !== address)!)
  }
}
