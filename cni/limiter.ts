// Who of the CNI requests has its turn: one per container and pod at a time, 16 ADDs at once per node in the order of their arrival, and 16
// others that never wait for a place of an ADD, nor behind one that has not begun. The specification forbids a runtime to call
// twice at once for one container, but a runtime that was killed and started again does it; such a call waits without a place.
// An ADD that could not begin before its runtime gives up is refused when it comes, not when it is too late.
import type { Clock } from '../lib/clock.ts'
import { CNI_CODE, CniError } from './error.ts'

type Limits = {
  /** Requests that run at the same time, of ADDs and of others. */
  running: number
  /** ADDs under way, and others that wait. */
  waiting: number
  /** Of the configurations of all ADDs under way: octets as they came. */
  octets: number
  /** How long after it came an ADD may begin. */
  patienceMs: number
}

/**
 * The plugin gives up after 100 s, and runtimes after two to four minutes; an ADD that has begun may take half a minute: 10 s for a
 * block, 5 s for its Pod, 10 s for the host side.
 */
const LIMITS: Limits = { running: 16, waiting: 2_000, octets: 64 << 20, patienceMs: 60_000 }

/** For how long ADDs begin later because more requests come: some hundred connections, also with a small share of a processor. */
const ARRIVALS_MS = 500
/** How much one more ADD counts in the mean of what they take. */
const SHARE = 1 / 8

/** An ADD from its arrival to its answer. */
export type Admission = Disposable & {
  /** Resolves when it waited for too long to begin. Never rejects. */
  late: Promise<CniError>
}

type Admitted = { sinceMs: number; tookMs: number | undefined }
/**
 * Whom a request is about: it has its turn when none of them is another one's. Asked whenever it may begin, since those before it
 * may have made known whose container it is, which a DEL need not say.
 */
export type Whom = () => readonly string[]

type Waiter = { whom: Whom; begin(keys: readonly string[]): void }
type Lane<W extends Waiter = Waiter> = { running: number; waiters: W[] }

export class Limiter {
  readonly #clock: Clock
  readonly #limits: Limits
  /** Containers and pods that a request is about. */
  readonly #busy = new Set<string>()
  readonly #adds: Lane<Waiter & { sinceMs: number }> = { running: 0, waiters: [] }
  /** What takes away (DEL, GC) or only looks never waits behind what makes: a full node must become empty. */
  readonly #others: Lane = { running: 0, waiters: [] }
  readonly #admitted = new Map<Admission, Admitted>()
  #octets = 0
  /** A request came since ADDs last could begin. */
  #arrived = false
  #isBeginning = false
  /** For how long an ADD has a place; undefined before the first. */
  #meanMs: number | undefined

  constructor(clock: Clock, limits: Partial<Limits> = {}) {
    this.#clock = clock
    this.#limits = { ...LIMITS, ...limits }
  }

  /** Lets an ADD with so many octets of configuration in. Throws `CniError` tryLater with the reason when it could not begin in time. */
  admit(octets: number): Admission {
    this.#refuseIfTooMuch(octets)
    const { promise: late, resolve } = Promise.withResolvers<CniError>()
    const cancel = this.#clock.after(this.#limits.patienceMs, () =>
      resolve(overloaded(`this ADD has waited for ${this.#limits.patienceMs / 1000} s behind others`)),
    )
    const admission: Admission = {
      late,
      [Symbol.dispose]: () => {
        cancel()
        this.#learn(this.#admitted.get(admission)?.tookMs)
        this.#admitted.delete(admission)
        this.#octets -= octets
      },
    }
    this.#arrived = true
    this.#octets += octets
    this.#admitted.set(admission, { sinceMs: this.#clock.monotonicMs(), tookMs: undefined })
    return admission
  }

  /**
   * Runs `body`, or a part of an ADD, while nothing else runs for these, and returns what it returns. Of several that wait the
   * one that was admitted first begins. Rejects with what `ends` resolves to before that.
   */
  async runAdd<T>(whom: Whom, admission: Admission, ends: Promise<CniError>, body: () => Promise<T>): Promise<T> {
    const admitted = this.#admitted.get(admission)!
    const keys = await this.#waitForAdd(whom, admitted.sinceMs, ends)
    const startMs = this.#clock.monotonicMs()
    try {
      return await body()
    } finally {
      admitted.tookMs = (admitted.tookMs ?? 0) + this.#clock.monotonicMs() - startMs
      this.#end(this.#adds, keys)
    }
  }

  /** The same for what is no ADD, in the order of the calls. Rejects with `CniError` tryLater when too many wait already. */
  async run<T>(whom: Whom, body: () => Promise<T>): Promise<T> {
    const { length } = this.#others.waiters
    if (length >= this.#limits.waiting) throw overloaded(`${length} requests wait already`)
    this.#arrived = true
    const turn = Promise.withResolvers<readonly string[]>()
    this.#others.waiters.push({ whom, begin: turn.resolve })
    this.#beginWaiting(this.#others)
    const keys = await turn.promise
    try {
      return await body()
    } finally {
      this.#end(this.#others, keys)
    }
  }

  #refuseIfTooMuch(octets: number): void {
    const { waiting, patienceMs, running } = this.#limits
    const { size } = this.#admitted
    if (size >= waiting) throw overloaded(`${size} ADDs are under way already`)
    if (this.#octets + octets > this.#limits.octets)
      throw overloaded(`ADDs with ${this.#octets} octets of configuration are under way already`)
    if (size < running || this.#meanMs === undefined) return
    const waitMs = ((size - running + 1) * this.#meanMs) / running
    if (waitMs <= patienceMs) return
    const pace = `${size - running} ADDs wait, and ${running} at once take ${Math.round(this.#meanMs)} ms`
    throw overloaded(`${pace}: this one would begin in ${Math.ceil(waitMs / 1000)} s, when runtimes have given up`)
  }

  #learn(tookMs: number | undefined): void {
    if (tookMs === undefined) return
    this.#meanMs = this.#meanMs === undefined ? tookMs : this.#meanMs + (tookMs - this.#meanMs) * SHARE
  }

  #waitForAdd(whom: Whom, sinceMs: number, ends: Promise<CniError>): Promise<readonly string[]> {
    const { promise, resolve: begin, reject } = Promise.withResolvers<readonly string[]>()
    const waiter = { whom, sinceMs, begin }
    const { waiters } = this.#adds
    waiters.splice(waiters.findLastIndex(each => each.sinceMs <= sinceMs) + 1, 0, waiter)
    void ends.then(refusal => {
      const at = waiters.indexOf(waiter)
      if (at < 0) return
      waiters.splice(at, 1)
      reject(refusal)
    })
    this.#beginAdds()
    return promise
  }

  /**
   * In a round of the event loop of their own. Node takes one connection in each round, so behind a hundred that come at once a DEL
   * would wait for as many rounds with ADDs in them: while requests come, none begins, for a moment at most.
   */
  #beginAdds(sinceMs?: number): void {
    if (sinceMs === undefined && this.#isBeginning) return
    this.#isBeginning = true
    const nowMs = this.#clock.monotonicMs()
    setImmediate(() => {
      const startMs = sinceMs ?? nowMs
      const yields = this.#arrived && this.#clock.monotonicMs() - startMs < ARRIVALS_MS
      this.#arrived = false
      if (yields) return this.#beginAdds(startMs)
      this.#isBeginning = false
      this.#beginWaiting(this.#adds)
    })
  }

  #end(lane: Lane, keys: readonly string[]): void {
    lane.running--
    for (const key of keys) this.#busy.delete(key)
    this.#beginWaiting(this.#others)
    this.#beginAdds()
  }

  /** In their order, as far as they are about the same: who waits for one of its keys is overtaken at none. */
  #beginWaiting(lane: Lane): void {
    const taken = new Set(this.#busy)
    // a DEL that came before an ADD takes nothing of it away
    if (lane === this.#adds) for (const { whom } of this.#others.waiters) for (const key of whom()) taken.add(key)
    for (const waiter of [...lane.waiters]) {
      if (lane.running >= this.#limits.running) return
      const keys = waiter.whom()
      const isFree = !keys.some(key => taken.has(key))
      for (const key of keys) taken.add(key)
      if (!isFree) continue
      lane.waiters.splice(lane.waiters.indexOf(waiter), 1)
      lane.running++
      for (const key of keys) this.#busy.add(key)
      waiter.begin(keys)
    }
  }
}

function overloaded(why: string): CniError {
  return new CniError(CNI_CODE.tryLater, why, 'the node is overloaded: the runtime will try again')
}
