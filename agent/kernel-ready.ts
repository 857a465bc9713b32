// Whether the kernel has taken what this node's own pods, blocks and tunnels need, once since the start. What another
// node caused (a route to its block, its VTEP) never counts: nobody else's object decides whether this node is ready.
import { type Condition, unknown } from '../api/status.ts'
import { ApplyError, type Refusal } from '../kernel/reconcile/outcome.ts'
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
      if (needsOwn(error.refusals, interfacePrefix)) {
        this.#cancel = clock.after(AGAIN_MS, () => void this.#ask())
        return
      }
    }
    if (this.#closed) return
    this.#state = 'ready'
    changed()
  }
}

/** A pod's interface that is gone is that pod's loss alone: a pod can delete its interface, and the node serves the others. */
function needsOwn(refusals: readonly Refusal[], interfacePrefix: string): boolean {
  const gone = new Set(
    refusals.map(({ reason, interfaceName }) => (reason === 'NoInterface' ? interfaceName : undefined)),
  )
  const onLostPod = (name: string | undefined) => name?.startsWith(interfacePrefix) === true && gone.has(name)
  return refusals.some(refusal => isOwn(refusal, interfacePrefix) && !onLostPod(refusal.interfaceName))
}

/**
 * Routes, neighbours and forwarding entries on another interface than a pod's lead to other nodes; elements of nftables
 * that name no interface are addresses of nodes.
 */
function isOwn({ kind, interfaceName }: Refusal, interfacePrefix: string): boolean {
  if (kind === 'nftElement') return interfaceName !== undefined
  const leadsAway = kind === 'route' || kind === 'neighbour' || kind === 'fdb'
  return !leadsAway || interfaceName === undefined || interfaceName.startsWith(interfacePrefix)
}

const NOT_PROGRAMMED: Condition = unknown('KernelProgrammed', {
  reason: 'NotApplied',
  message: 'the kernel has not taken everything of this node since the start',
  remedy: 'wait a few seconds; then look at the KernelInSync conditions',
})
