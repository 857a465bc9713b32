// Requests to one family of netlink and their answers, over one socket. The kernel works a datagram off in order and before
// sendmsg returns, so a batch asks for an acknowledgement of its last message only: once that is there, every refusal
// before it was received, and whatever was not refused was done. Dumps run one at a time (a second one is EBUSY). For the
// same reason the answers to a few requests are taken right after sendmsg: turns of the event loop cost more than these.
import { setImmediate as nextTurn } from 'node:timers/promises'
import { ERRNO, KernelError } from '../port/error.ts'
import { type Acknowledgement, type Message, NlWriter, parseAcknowledgement, parseDone } from './message.ts'
import { NETLINK, NLM_F, NLMSG } from './numbers.ts'
import { NetlinkSocket, type NetlinkSocketOptions } from './socket.ts'

type RequestsOptions = Partial<Pick<NetlinkSocketOptions, 'family' | 'receiveBuffer' | 'messageSize'>> & {
  /** A dump of more than so many ends the socket with E2BIG: nobody else's table is to fill our memory. */
  mostObjects?: number
  /** What is sent takes the kernel long: a thread does it, and nobody else stands still meanwhile. */
  isSlow?: boolean
}

export type Request = {
  type: number
  flags?: number
  /** Writes the family's header and attributes. */
  body: (w: NlWriter) => void
}

/** What is done about a dump that a change interrupted: it may tell some objects twice and leave others out. */
export type DumpChanges = 'taken again' | 'left to the caller'

const DUMP_ATTEMPTS = 16
/** So many messages per sendmsg; their refusals, at under 1 KiB of buffer each, fit the receive buffer. */
const BATCH = 128
const RECEIVE_BUFFER = 1 << 20
/** Up to so many messages of one sendmsg are answered at once, */
const FEW = 16
/** and this often in one turn of the event loop, so that nobody waits long for the next turn. */
const MOST_AT_ONCE = 64
/** So many datagrams of a dump are taken at once: all of a pod's namespace, a few milliseconds of a large table. */
const DUMP_AT_ONCE = 4
/** A buffer that a large batch made larger than this is not kept. */
const KEPT_BUFFER = 1 << 16
const OK: Acknowledgement = { errno: 0 }

/** A request of a transaction that the kernel refused, by its place in it. */
type RefusedRequest = { index: number; acknowledgement: Acknowledgement }

type Waiting = { take(message: Message): void; fail(error: unknown): void }

export class Requests {
  readonly #socket: NetlinkSocket
  readonly #mostObjects: number
  readonly #isSlow: boolean
  readonly #waiting = new Map<number, Waiting>()
  #writer = new NlWriter()
  #seq = 0
  /** Requests of this turn of the event loop whose answers were taken at once. */
  #answeredNow = 0
  #dumps: Promise<unknown> = Promise.resolve()
  #overrun = false
  #closed = false

  /** Opens its socket in the network namespace of the calling thread. Throws `KernelError`. */
  constructor({
    family = NETLINK.route,
    receiveBuffer = RECEIVE_BUFFER,
    messageSize,
    mostObjects = Number.POSITIVE_INFINITY,
    isSlow = false,
  }: RequestsOptions = {}) {
    this.#mostObjects = mostObjects
    this.#isSlow = isSlow
    this.#socket = new NetlinkSocket({
      family,
      receiveBuffer,
      messageSize,
      received: messages => {
        for (const message of messages) this.#waiting.get(message.seq)?.take(message)
        if (this.#overrun) this.#endOverrun()
      },
      lost: () => {
        this.#overrun = true
        this.#endOverrun()
      },
    })
    this.#socket.hold(false)
  }

  /** The port of the socket, which notifications about its changes carry. */
  get port(): number {
    return this.#socket.port
  }

  /** Sends requests that change something; the answer at `i` is that to request `i`. Rejects when answers were lost. */
  async change(requests: readonly Request[]): Promise<Acknowledgement[]> {
    const answers: Acknowledgement[] = []
    for (let from = 0; from < requests.length; from += BATCH)
      for (const answer of await this.#batch(requests.slice(from, from + BATCH))) answers.push(answer)
    return answers
  }

  /** Asks for one object; resolves to the message that has it, or to why there is none. */
  async read(request: Request): Promise<{ answer: Acknowledgement; reply?: Message }> {
    // no acknowledgement is asked for: it would be one datagram more after the object
    const { answer, replies } = await this.#exchange(request, 0, message => message)
    return { answer, reply: replies[0] }
  }

  /**
   * All objects that a dump tells, each as `parse` makes of it (undefined: left out). A dump that was interrupted by
   * a change is taken again, unless `changes` are looked after by the caller. The answer is that of the kernel to the dump as a
   * whole.
   */
  dump<T>(
    request: Request,
    parse: (message: Message) => T | undefined,
    changes: DumpChanges = 'taken again',
  ): Promise<{ answer: Acknowledgement; objects: T[] }> {
    const taken = this.#dumps.then(() => this.#dump(request, parse, changes))
    this.#dumps = taken.catch(() => undefined)
    return taken
  }

  /**
   * Sends requests that the kernel does all or none of, in one datagram that is never split. Request 0 opens the
   * transaction and the last one closes it. Resolves to what was refused, in order: nothing means that all is done. A
   * refusal of request 0 is one of the transaction as a whole. Rejects when the answers were lost.
   */
  transaction(requests: readonly Request[]): Promise<RefusedRequest[]> {
    return new Promise((resolve, reject) => {
      const refused: RefusedRequest[] = []
      const first = this.#next()
      for (let i = 1; i < requests.length; i++) this.#next()
      // kernels before 6.10 acknowledge neither the opening nor the closing request
      const marked = requests.length - 2
      const finish = () => {
        this.#forget(first, requests.length)
        resolve(refused)
      }
      this.#send(
        first,
        requests,
        { ackOf: marked },
        {
          take: message => {
            if (message.type !== NLMSG.error) return
            const index = (message.seq - first) >>> 0
            const acknowledgement = parseAcknowledgement(message)
            if (acknowledgement.errno !== 0) refused.push({ index, acknowledgement })
            if (index === marked || index === 0) finish()
          },
          // what is missing then are refusals like the first
          fail: error => (refused.length > 0 ? resolve(refused) : reject(error)),
        },
      )
    })
  }

  close(): void {
    this.#end(new KernelError(ERRNO.ECANCELED, 'wait for', 'netlink', 'closed'))
  }

  #end(error: KernelError): void {
    this.#closed = true
    this.#socket.close()
    this.#fail(error)
  }

  async #dump<T>(request: Request, parse: (message: Message) => T | undefined, changes: DumpChanges) {
    for (let attempt = 0; attempt < DUMP_ATTEMPTS; attempt++) {
      const { answer, replies, interrupted } = await this.#exchange(request, NLM_F.dump, parse)
      if (!interrupted || changes === 'left to the caller') return { answer, objects: replies }
      // a dump may have its answers at once, and others wait for their turn
      await nextTurn()
    }
    throw new KernelError(ERRNO.EINTR, 'dump', `netlink ${request.type}`, `interrupted ${DUMP_ATTEMPTS} times`)
  }

  /** Each reply is read as it comes: of a long table most are left out, and none is kept until the last one is there. */
  #exchange<T>(request: Request, flags: number, parse: (message: Message) => T | undefined) {
    type Exchange = { answer: Acknowledgement; replies: T[]; interrupted: boolean }
    return new Promise<Exchange>((resolve, reject) => {
      const replies: T[] = []
      let [interrupted, count] = [false, 0]
      const faults: unknown[] = []
      const seq = this.#next()
      const finish = (answer: Acknowledgement) => {
        this.#forget(seq, 1)
        if (faults.length > 0) reject(faults[0])
        else resolve({ answer, replies, interrupted })
      }
      const take = (message: Message) => {
        try {
          const reply = parse(message)
          if (reply !== undefined) replies.push(reply)
        } catch (error) {
          // the rest of the dump comes all the same
          faults.push(error)
        }
      }
      this.#send(
        seq,
        [request],
        { flags },
        {
          take: message => {
            if (message.flags & NLM_F.dumpInterrupted) interrupted = true
            if (message.type === NLMSG.error) finish(parseAcknowledgement(message))
            else if (message.type === NLMSG.done) finish(parseDone(message))
            else if (++count > this.#mostObjects)
              this.#end(new KernelError(ERRNO.E2BIG, 'list', 'objects', `there are more than ${this.#mostObjects}`))
            else {
              take(message)
              if (flags !== NLM_F.dump) finish(OK)
            }
          },
          fail: reject,
        },
      )
    })
  }

  #batch(requests: readonly Request[]): Promise<Acknowledgement[]> {
    return new Promise((resolve, reject) => {
      const answers: Acknowledgement[] = requests.map(() => OK)
      const first = this.#next()
      const last = requests.length - 1
      for (let i = 0; i < last; i++) this.#next()
      this.#send(
        first,
        requests,
        { ackOf: last },
        {
          take: message => {
            const i = (message.seq - first) >>> 0
            if (message.type !== NLMSG.error) return
            answers[i] = parseAcknowledgement(message)
            if (i !== last) return
            this.#forget(first, requests.length)
            resolve(answers)
          },
          fail: reject,
        },
      )
    })
  }

  #send(
    first: number,
    requests: readonly Request[],
    { flags = 0, ackOf }: { flags?: number; ackOf?: number },
    waiting: Waiting,
  ): void {
    if (this.#closed) {
      waiting.fail(new KernelError(ERRNO.ECANCELED, 'send', 'netlink', 'closed'))
      return
    }
    const w = this.#emptyWriter()
    try {
      for (const [i, request] of requests.entries()) {
        const ack = i === ackOf ? NLM_F.ack : 0
        w.message(request.type, (request.flags ?? 0) | flags | ack | NLM_F.request, (first + i) >>> 0, request.body)
      }
    } catch (error) {
      waiting.fail(error)
      return
    }
    const now = !this.#isSlow && requests.length <= FEW && this.#waiting.size === 0
    for (let i = 0; i < requests.length; i++) this.#waiting.set((first + i) >>> 0, waiting)
    const refused = (error: unknown) => {
      this.#forget(first, requests.length)
      waiting.fail(error)
    }
    if (now && this.#mayAnswerNow()) {
      try {
        if (this.#sendNow(w.done(), flags === NLM_F.dump ? DUMP_AT_ONCE : Number.POSITIVE_INFINITY)) return
      } catch (error) {
        if (!(error instanceof KernelError)) throw error
        refused(error)
        return
      }
    }
    this.#socket.hold(true)
    // the package keeps what it cannot send at once, and the writer is used again
    const bytes = Buffer.from(w.done())
    if (this.#isSlow) this.#socket.sendApart(bytes, refused)
    else this.#socket.send(bytes, refused)
  }

  /**
   * Sends and takes the answers, `datagrams` of them at most; those that are not there yet come in later turns. False:
   * nothing was sent.
   */
  #sendNow(bytes: Buffer, datagrams: number): boolean {
    if (!this.#socket.sendNow(bytes)) return false
    for (let left = datagrams; left > 0 && this.#waiting.size > 0 && this.#socket.receiveNow(); left--);
    if (this.#waiting.size > 0) this.#socket.hold(true)
    return true
  }

  #mayAnswerNow(): boolean {
    if (this.#answeredNow === 0)
      setImmediate(() => {
        this.#answeredNow = 0
      })
    return this.#answeredNow++ < MOST_AT_ONCE
  }

  #emptyWriter(): NlWriter {
    if (this.#writer.length > KEPT_BUFFER) this.#writer = new NlWriter()
    else this.#writer.clear()
    return this.#writer
  }

  /**
   * Fails whatever waits: whose answer was lost nobody knows. Not before the queue is empty, because until then there is
   * no room for the answers to new requests either.
   */
  #endOverrun(): void {
    if (this.#socket.waiting > 0) return
    this.#overrun = false
    this.#fail(new KernelError(ERRNO.ENOBUFS, 'wait for', 'netlink', 'answers were lost'))
  }

  #fail(error: KernelError): void {
    const waiting = new Set(this.#waiting.values())
    this.#waiting.clear()
    this.#socket.hold(false)
    for (const { fail } of waiting) fail(error)
  }

  #forget(first: number, count: number): void {
    for (let i = 0; i < count; i++) this.#waiting.delete((first + i) >>> 0)
    if (this.#waiting.size === 0) this.#socket.hold(false)
  }

  #next(): number {
    this.#seq = (this.#seq + 1) >>> 0
    return this.#seq
  }
}
