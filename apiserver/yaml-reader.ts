// Reads YAML in a thread of its own, one text at a time and fairly between users. A text that takes too long is given up
// with its thread, and the next one gets a new thread.
import { Worker } from 'node:worker_threads'
import type { Cancel, Clock } from '../lib/clock.ts'
import { programFile } from '../lib/package-files.ts'
import { FairQueue } from './fair-queue.ts'
import { ApiError } from './status.ts'
import type { Asker } from './turns.ts'
import type { YamlAnswer } from './yaml-worker.ts'

const LIMIT_MS = 3_000
const WAITING_PER_USER = 50
const HEAP_MIB = 128
const PROGRAM = programFile('apiserver/yaml-worker')

type Task = { text: string; resolve: (json: string) => void; reject: (error: Error) => void }

export class YamlReader {
  readonly #clock: Clock
  readonly #queue = new FairQueue<Task>(WAITING_PER_USER)
  #worker: Worker | undefined
  #current: { task: Task; cancel: Cancel } | undefined

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** The text as JSON. Rejects with BadRequest, RequestEntityTooLarge or TooManyRequests. */
  read({ user, connection }: Asker, text: string): Promise<string> {
    return new Promise((resolve, reject) => {
      if (this.#queue.push(user, connection, { text, resolve, reject })) this.#next()
      else reject(new ApiError('TooManyRequests', `${user} waits with ${WAITING_PER_USER} YAML texts: send JSON`))
    })
  }

  close(): void {
    this.#end('the server stops')
  }

  #next(): void {
    if (this.#current !== undefined) return
    const task = this.#queue.shift()
    if (task === undefined) return
    const cancel = this.#clock.after(LIMIT_MS, () => this.#end('the YAML takes too long to read: send JSON'))
    this.#current = { task, cancel }
    this.#worker ??= this.#start()
    this.#worker.postMessage(task.text)
  }

  #start(): Worker {
    const worker = new Worker(PROGRAM, { resourceLimits: { maxOldGenerationSizeMb: HEAP_MIB } })
    worker.unref()
    worker.on('message', (answer: YamlAnswer) => this.#done(answer))
    worker.on('error', error => this.#failed(worker, error))
    return worker
  }

  #done(answer: YamlAnswer): void {
    const current = this.#current
    if (current === undefined) return
    this.#current = undefined
    current.cancel()
    if ('json' in answer) current.task.resolve(answer.json)
    else current.task.reject(new ApiError('BadRequest', `the body cannot be read as YAML: ${answer.fault}`))
    this.#next()
  }

  #failed(worker: Worker, { message }: Error): void {
    if (worker === this.#worker) this.#end(`the YAML cannot be read: ${message}`)
  }

  /** Gives up the text that is being read, with its thread. */
  #end(why: string): void {
    const [current, worker] = [this.#current, this.#worker]
    this.#current = undefined
    this.#worker = undefined
    void worker?.terminate()
    current?.cancel()
    current?.task.reject(new ApiError('RequestEntityTooLarge', why))
    this.#next()
  }
}
