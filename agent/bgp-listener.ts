// One address and port where the speaker takes connections, tried again until the system gives it: the port may be another
// program's for a while, and an address may come later. Sessions that this node dials do not need it.
import { broken, type Condition, type ReasonOf } from '../api/status.ts'
import type { Listener, ListenOptions } from '../bgp/port.ts'
import type { Speaker } from '../bgp/speaker.ts'
import { Backoff } from '../lib/backoff.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import { formatSocketAddress, type SocketAddress } from '../lib/ip.ts'
import type { Log } from '../lib/log.ts'

type Deps = { speaker: Pick<Speaker, 'listen'>; clock: Clock; log: Log }

const FIRST_RETRY_MS = 500
/** Whoever has the port may go without a word. */
const MAX_RETRY_MS = 5_000

export class BgpListener {
  readonly #deps: Deps
  readonly #at: ListenOptions
  readonly #backoff = new Backoff({ firstMs: FIRST_RETRY_MS, maxMs: MAX_RETRY_MS })
  #listener: Listener | undefined
  #cause: Error | undefined
  #cancel: Cancel = () => undefined
  #closed = false

  constructor(at: ListenOptions, deps: Deps) {
    this.#at = at
    this.#deps = deps
  }

  /** Resolves after the first try, whatever came of it. */
  async open(): Promise<void> {
    const { speaker, clock, log } = this.#deps
    const where = formatSocketAddress(this.#at)
    try {
      const listener = await speaker.listen(this.#at)
      this.#listener = listener
      if (this.#closed) return this.close()
      if (this.#cause !== undefined) log.info(`listens for BGP on ${where} now`)
      this.#cause = undefined
    } catch (error) {
      // whatever the system refuses may pass: a port in use, an address that went
      if (this.#closed) return
      if (this.#cause === undefined)
        log.error({ err: error }, `cannot listen for BGP on ${where}; tried again, and sessions that it dials come up`)
      this.#cause = error as Error
      this.#cancel = clock.after(this.#backoff.next(), () => void this.open())
    }
  }

  /** What keeps peers from connecting; undefined when nothing does. */
  condition(): Condition | undefined {
    return this.#cause && closed(this.#at, this.#cause)
  }

  /** Takes no connection any more. Those that are there stay, and nobody waits for their end: only the speaker ends them. */
  close(): void {
    this.#closed = true
    this.#cancel()
    void this.#listener?.close()
  }
}

type Why = { reason: ReasonOf<'SessionsAccepted'>; remedy: string }

/** By the code of the error of Node. */
const BY_CODE: Readonly<Record<string, Why>> = {
  EADDRINUSE: {
    reason: 'PortInUse',
    remedy: 'stop the program that listens there, or set another listenPort in the BGPConfiguration default',
  },
  EADDRNOTAVAIL: {
    reason: 'NoSuchAddress',
    remedy:
      'this machine does not have the address, or not yet: look at ip address and at the condition NodeAddressKnown',
  },
  EMFILE: {
    reason: 'NoDescriptor',
    remedy: 'raise the limit of open files of margay-node: look at the condition DescriptorsLeft',
  },
  EACCES: {
    reason: 'Forbidden',
    remedy: 'run margay-node as root, or give it CAP_NET_BIND_SERVICE',
  },
}

function closed(at: SocketAddress, cause: Error & { code?: string }): Condition {
  const { reason, remedy } = BY_CODE[cause.code ?? ''] ?? {
    reason: 'CannotListen',
    remedy: 'look at what the system says, and at the log of margay-node',
  }
  return broken('SessionsAccepted', {
    object: { kind: 'Address', name: formatSocketAddress(at) },
    reason,
    message: `peers cannot connect to this node: ${cause.message}; it is tried again every few seconds`,
    remedy,
  })
}
