// When the other nodes have a route to a block of this node: before, what they answer to its pods is lost. Each node of the mesh
// is asked once the block is announced (`Speaker.heard`). Hazards: a node whose agent is starting again is waited for, one that is
// down must not hold up pods; nodes behind route reflectors and routers cannot be asked.
import type { PeerStatus } from '../bgp/config.ts'
import type { AddressFamily } from '../bgp/family.ts'
import type { Heard } from '../bgp/hearing.ts'
import type { Clock } from '../lib/clock.ts'

/**
 * How long a block waits for a node, and how long after its session ended a node still counts: agents start again within that, and an
 * ADD waits longer (`BLOCK_PATIENCE_MS`).
 */
const PATIENCE_MS = 8_000

/** How long sessions of before may take to come back after an own restart, before it is looked who is there. */
const RESTART_MS = 3_000

type Asked = {
  heard(name: string, family: AddressFamily): Promise<Heard>
  onRestartComplete(listen: () => void): void
}

export class BlockSpread {
  readonly #speaker: Asked
  readonly #clock: Clock
  readonly #isNode: (peer: string) => boolean
  readonly #up = new Set<string>()
  readonly #leftMs = new Map<string, number>()
  /** Who waits for a session to come or go. */
  readonly #waiting = new Set<() => void>()
  /** The own restart is over, or sessions have had their time: until then some are missing that were there before. */
  readonly #restarted: Promise<void>

  /** `isNode`: whether a peer is another node of the mesh. */
  constructor(speaker: Asked, clock: Clock, isNode: (peer: string) => boolean) {
    this.#speaker = speaker
    this.#clock = clock
    this.#isNode = isNode
    const restarted = Promise.withResolvers<void>()
    this.#restarted = restarted.promise
    let isOver = false
    speaker.onRestartComplete(() => {
      isOver = true
      restarted.resolve()
    })
    if (!isOver) clock.after(RESTART_MS, restarted.resolve)
  }

  /** A session changed. */
  note({ name, state }: Pick<PeerStatus, 'name' | 'state'>): void {
    if (state === 'Established') this.#up.add(name)
    else if (this.#up.delete(name)) this.#leftMs.set(name, this.#clock.monotonicMs())
    else return
    for (const look of this.#waiting) look()
  }

  /**
   * Resolves once every other node has in its kernel what was announced so far: those with a session, and those whose session ended
   * a moment ago, when they are back. After eight seconds at the latest.
   */
  async reached(family: AddressFamily): Promise<void> {
    const late = Promise.withResolvers<void>()
    let isOver = false
    const cancel = this.#clock.after(PATIENCE_MS, () => late.resolve())
    const all = this.#restarted.then(() =>
      Promise.all(this.#expected().map(name => this.#heardBy(name, family, () => isOver))),
    )
    await Promise.race([all, late.promise])
    isOver = true
    cancel()
    for (const look of this.#waiting) look()
  }

  #expected(): string[] {
    const nowMs = this.#clock.monotonicMs()
    for (const [name, leftMs] of this.#leftMs) if (nowMs - leftMs > PATIENCE_MS) this.#leftMs.delete(name)
    return [...new Set([...this.#up, ...this.#leftMs.keys()])].filter(this.#isNode)
  }

  async #heardBy(name: string, family: AddressFamily, isOver: () => boolean): Promise<void> {
    while (!isOver() && this.#isNode(name)) {
      if (this.#up.has(name)) {
        // one that cannot say it is no agent of ours
        if ((await this.#speaker.heard(name, family)) !== 'gone') return
        // its end was told meanwhile
        if (!this.#up.has(name) && !this.#isNode(name)) return
      }
      if (!isOver()) await this.#change()
    }
  }

  #change(): Promise<void> {
    return new Promise(resolve => {
      const look = () => {
        this.#waiting.delete(look)
        resolve()
      }
      this.#waiting.add(look)
    })
  }
}
