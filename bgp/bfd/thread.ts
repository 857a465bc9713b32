// BFD as its clients see it: sessions by name, at work in a thread of their own.
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { SessionBook } from './book.ts'
import type { BfdChange, BfdSessionConfig, BfdStatus } from './config.ts'
import { BfdError } from './error.ts'
import type { BfdReport, BfdRequest } from './messages.ts'

/** The garbage of packets is collected often, so that each time is short. */
const HEAP = { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 4 }

export class BfdThread {
  readonly #worker: Worker
  readonly #book = new SessionBook()
  readonly #listeners = new Set<(change: BfdChange) => void>()
  readonly #questions = new Map<number, PromiseWithResolvers<BfdStatus>>()
  #asked = 0
  #ended: Promise<unknown> | undefined

  /**
   * Starts the thread, which does not keep the process alive. `program` is what it runs: the file to which
   * `margay/bgp/bfd-worker` leads. A bug in it ends the process, as one in this thread does. Have the process run with V8's
   * `--no-parallel-scavenge`: else a collection in the thread waits for helpers that have no priority, 200 ms on a busy machine.
   */
  constructor(program: URL) {
    // flags of this process may be wrong for a program in a file, as --input-type is
    this.#worker = new Worker(program, { resourceLimits: HEAP, execArgv: [] })
    this.#worker.unref()
    this.#worker.on('message', (report: BfdReport) => this.#hear(report))
    this.#worker.on('error', error => {
      throw error
    })
  }

  /** Calls `listener` with every change of a session's state, in their order. The returned function ends that. */
  onChange(listener: (change: BfdChange) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /**
   * Begins a session, or changes the one of this name: with another path it begins anew, else it goes on. Throws `BfdError`.
   * What the kernel refuses, such as an address that this host does not have yet, is tried again with every packet, and told
   * by `status`.
   */
  setSession(name: string, config: BfdSessionConfig): void {
    this.#mustBeOpen()
    const refusal = this.#book.set(name, config)
    if (refusal !== undefined) throw new BfdError('bad-session', `session ${name}: ${refusal}`)
    this.#ask({ do: 'set', name, config })
  }

  /** Ends a session; its neighbour is told that it ends on purpose. Nothing when there is none. */
  removeSession(name: string): void {
    this.#mustBeOpen()
    if (this.#book.delete(name)) this.#ask({ do: 'remove', name })
  }

  /** Takes a session to AdminDown, which no client takes for a failure (RFC 5882 §3.2), until `enable`. */
  disable(name: string): void {
    this.#mustBeOpen()
    this.#ask({ do: 'disable', name })
  }

  enable(name: string): void {
    this.#mustBeOpen()
    this.#ask({ do: 'enable', name })
  }

  /** All sessions as they are when the thread has done what was asked before. Rejects with `BfdError` when it is closed. */
  async status(): Promise<BfdStatus> {
    this.#mustBeOpen()
    const id = this.#asked++
    const question = Promise.withResolvers<BfdStatus>()
    this.#questions.set(id, question)
    this.#ask({ do: 'status', id })
    return question.promise
  }

  /** Tells every neighbour once that its session ends on purpose, and ends the thread. */
  async close(): Promise<void> {
    if (this.#ended === undefined) {
      this.#ended = once(this.#worker, 'exit')
      // somebody waits for the end
      this.#worker.ref()
      this.#ask({ do: 'close' })
    }
    await this.#ended
    for (const { reject } of this.#questions.values()) reject(closed())
    this.#questions.clear()
  }

  #mustBeOpen(): void {
    if (this.#ended !== undefined) throw closed()
  }

  #ask(request: BfdRequest): void {
    this.#worker.postMessage(request)
  }

  #hear(report: BfdReport): void {
    if (report.type === 'change') {
      for (const listener of this.#listeners) listener(report.change)
      return
    }
    this.#questions.get(report.id)?.resolve(report.status)
    this.#questions.delete(report.id)
  }
}

function closed(): BfdError {
  return new BfdError('closed', 'the thread of BFD is closed')
}
