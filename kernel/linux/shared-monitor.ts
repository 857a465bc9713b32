// One monitor of a namespace for all who listen to it: each event is received and parsed once.
import type { KernelEvent, KernelMonitor } from '../port/kernel.ts'

type Listener = (event: KernelEvent) => void

export class SharedMonitor {
  readonly #open: (listen: Listener) => KernelMonitor
  readonly #listeners = new Set<Listener>()
  #monitor: KernelMonitor | undefined

  /** `open` opens the monitor when the first listens; it is closed when the last one stops. */
  constructor(open: (listen: Listener) => KernelMonitor) {
    this.#open = open
  }

  /** Calls `listen` with each event from now on, until the result is closed. Throws as `open`. */
  listen(listen: Listener): KernelMonitor {
    this.#monitor ??= this.#open(event => this.#tell(event))
    const listener: Listener = event => listen(event)
    this.#listeners.add(listener)
    return {
      close: () => {
        this.#listeners.delete(listener)
        if (this.#listeners.size > 0) return
        this.#monitor?.close()
        this.#monitor = undefined
      },
    }
  }

  /** What a listener throws is a fault in it, and keeps nothing from the others. */
  #tell(event: KernelEvent): void {
    for (const listen of this.#listeners)
      try {
        listen(event)
      } catch (error) {
        setImmediate(() => {
          throw error
        })
      }
  }
}
