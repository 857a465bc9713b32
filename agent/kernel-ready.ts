// Whether the kernel has taken what this node's own pods, blocks and tunnels need, once since the start. What another
// node caused (a route to its block, its VTEP) never counts: nobody else's object decides whether this node is ready.
import { type Condition, unknown } from '../api/status.ts'
import { ownRefusals } from '../felix/traffic-stops.ts'
import { ApplyError } from '../kernel/reconcile/outcome.ts'
import type { Cancel, Clock } from '../lib/clock.ts'

export type KernelReadyDeps = {
  felix: { applied(): Promise<void> }
  clock: Clock
  /** What the names of the pods' interfaces begin with. */
  interfacePrefix: string
  changed: () => void
}

const AGAIN_MS = 500

export class KernelReady {
  readonly #deps: KernelReadyDeps
  #state: 'not asked' | 'asking' | 'ready' = 'not asked'
  #closed = false
  #cancel: Cancel = () => undefined

  constructor(deps: KernelReadyDeps) {
    this.#deps = deps
  }

  /** Empty once the kernel has taken everything of this node. */
  refused(): Condition[] {
    return this.#state === 'ready' ? [] : [NOT_PROGRAMMED]
  }

  /** Everything that is wanted was told to felix: asks until the kernel has it. Later calls do nothing. */
  ask(): void {
    if (this.#state !== 'not asked' || this.#closed) return
    this.#state = 'asking'
    void this.#ask()
  }

  close(): void {
    this.#closed = true
    this.#cancel()
  }

  async #ask(): Promise<void> {
    const { felix, clock, interfacePrefix, changed } = this.#deps
    try {
      await felix.applied()
    } catch (error) {
      if (this.#closed) return // felix was closed too
      if (!(error instanceof ApplyError)) throw error
      if (ownRefusals(error.refusals, interfacePrefix).length > 0) {
        this.#cancel = clock.after(AGAIN_MS, () => void this.#ask())
        return
      }
    }
    if (this.#closed) return
    this.#state = 'ready'
    changed()
  }
}

const NOT_PROGRAMMED: Condition = unknown('KernelProgrammed', {
  reason: 'NotApplied',
  message: 'the kernel has not taken everything of this node since the start',
  remedy: 'wait a few seconds; then look at the KernelInSync conditions',
})
