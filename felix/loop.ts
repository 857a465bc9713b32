// Felix's shell: takes in what the other rooms know, works out the desired state, brings the kernel there and keeps
// it there. Updates cost memory only; one pass at a time touches the kernel, and what arrives during a pass is taken
// together in the next. Closing leaves the kernel as it is: pods outlive their agent.
import { isDeepStrictEqual } from 'node:util'
import { KernelError } from '../kernel/port/error.ts'
import type { Kernel, KernelMonitor } from '../kernel/port/kernel.ts'
import { Backoff } from '../lib/backoff.ts'
import type { Cancel, Clock } from '../lib/clock.ts'
import type { Log } from '../lib/log.ts'
import { Applier, type Readiness, STRAY_GRACE_MS } from './apply/applier.ts'
import { NoInterface } from './apply/link-view.ts'
import { ApplyError, type Outcome, type Refusal } from './apply/reconciler.ts'
import { Calculator } from './calc/calculator.ts'
import { hostCidr } from './calc/routes.ts'
import type { DesiredState, Notice } from './desired.ts'
import type { InputKind, Inputs, Settings } from './input.ts'

/** Somebody else changed or removed what was right, and it is right again. `at` is milliseconds since the epoch. */
export type FelixEvent = { type: 'healed'; object: string; at: number }

export type FelixDeps = {
  clock: Clock
  log: Log
  /** All notices that hold now, whenever they change. */
  onNotice: (notices: readonly Notice[]) => void
  onEvent?: (event: FelixEvent) => void
  /** How long learned routes of an earlier run are kept without a word from the speaker. */
  bgpGraceMs?: number
}

/** Everything is read anew this often, for changes that the kernel never told of. */
export const REFRESH_MS = 90_000
/** Graceful restart's usual patience; RFC 4724 §4.1 leaves the value to the node. */
const BGP_GRACE_MS = 120_000
/** Healing passes a second, above which somebody is taken to be fighting us and gets answered more slowly. */
const FIGHT_LIMIT = 20

type Waiter = { generation: number; endpoint?: string; resolve: () => void; reject: (error: Error) => void }

/** What holds before anything is told. */
const UNTOLD: Settings = {
  node: undefined,
  config: { vxlanPort: 4789, vxlanVni: 4096, ipipMtu: 0, vxlanMtu: 0, workloadRouteProtocol: 3 },
  capabilities: { ipip: false, vxlan: false },
  uplinkMtu: 1500,
}

/** The one writer of this namespace's pod, block and tunnel state. Nothing happens before `start`. */
export class Felix {
  readonly #kernel: Kernel
  readonly #deps: FelixDeps
  readonly #applier: Applier
  readonly #calculator = new Calculator()
  readonly #retry = new Backoff({ firstMs: 50, maxMs: 10_000 })
  readonly #fight = new Backoff({ firstMs: 200, maxMs: 5_000 })
  readonly #timers = new Map<string, Cancel>()
  readonly #items: { readonly [K in InputKind]: Map<string, Inputs[K]> } = {
    endpoint: new Map(),
    learned: new Map(),
    remote: new Map(),
    ownBlock: new Map(),
    pool: new Map(),
  }
  #settings = UNTOLD
  #ready: Readiness = { datastore: false, endpoints: false, bgp: false }
  #desired: DesiredState | undefined
  #notices = '[]'
  #generation = 0
  #appliedGeneration = -1
  #clean = false
  #waiters: Waiter[] = []
  #syncWaiters: Waiter[] = []
  #monitor: KernelMonitor | undefined
  #running: Promise<void> | undefined
  #again = false
  #closed = false
  #healing = { sinceMs: 0, passes: 0 }

  constructor(kernel: Kernel, deps: FelixDeps) {
    this.#kernel = kernel
    this.#deps = deps
    this.#applier = new Applier(kernel, () => deps.clock.monotonicMs())
  }

  /**
   * Tells one item: its value under its key (see `Inputs`), or undefined when it is gone. Memory only; the kernel
   * follows on a later turn, and all that is told in one turn is taken together. The same value again costs nothing.
   */
  set<K extends InputKind>(kind: K, key: string, value: Inputs[K] | undefined): void {
    const items: Map<string, Inputs[K]> = this.#items[kind]
    const before = items.get(key)
    if (before === value || (value !== undefined && isDeepStrictEqual(before, value))) return
    if (value === undefined) items.delete(key)
    else items.set(key, value)
    this.#changed()
  }

  /** Replaces parts of what exists once. Memory only, as with `set`. */
  configure(part: Partial<Settings>): void {
    const settings = { ...this.#settings, ...part }
    if (isDeepStrictEqual(settings, this.#settings)) return
    this.#settings = settings
    this.#changed()
  }

  /** Says that a source is complete: only then is anything removed that this source might still have named. */
  complete(source: keyof Readiness): void {
    if (this.#ready[source]) return
    this.#ready = { ...this.#ready, [source]: true }
    this.#cancel(source)
    this.#changed()
  }

  /** Listens to the kernel and begins. What an earlier run left is adopted. */
  start(): void {
    if (this.#monitor !== undefined || this.#closed) return
    this.#monitor = this.#kernel.monitor(event => {
      if (this.#applier.observe(event)) this.#heal()
    })
    this.#after('bgp', this.#deps.bgpGraceMs ?? BGP_GRACE_MS, () => this.complete('bgp'))
    this.#armRefresh()
    this.#kick()
  }

  /**
   * Resolves when a pass has taken in everything that was told so far, and the kernel was read back. Rejects with
   * `ApplyError` when the kernel refused something: of this endpoint alone, where one is named by its id.
   */
  applied(endpoint?: string): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(new Error('felix is closed'))
      this.#waiters.push({ generation: this.#generation, endpoint, resolve, reject })
      this.#kick()
    })
  }

  /** Resolves as soon as everything told so far is in the kernel and nothing is refused. */
  inSync(): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(new Error('felix is closed'))
      if (this.#clean && this.#appliedGeneration === this.#generation && !this.#again) return resolve()
      this.#syncWaiters.push({ generation: this.#generation, resolve, reject })
    })
  }

  /** What the kernel should hold now, for those who explain; undefined before the node is known. */
  desired(): DesiredState | undefined {
    return this.#desired
  }

  /** Ends after the pass under way; the kernel keeps what it has. */
  async close(): Promise<void> {
    this.#closed = true
    this.#monitor?.close()
    for (const cancel of this.#timers.values()) cancel()
    this.#timers.clear()
    await this.#running
    const waiters = [...this.#waiters, ...this.#syncWaiters]
    this.#waiters = []
    this.#syncWaiters = []
    for (const { reject } of waiters) reject(new Error('felix is closed'))
  }

  #changed(): void {
    this.#generation++
    this.#desired = undefined
    this.#kick()
  }

  #kick(): void {
    if (this.#monitor === undefined || this.#closed) return
    this.#again = true
    this.#running ??= this.#run()
  }

  async #run(): Promise<void> {
    // updates and events of the same turn are taken together
    await Promise.resolve()
    while (this.#again && !this.#closed) {
      this.#again = false
      await this.#pass()
    }
    this.#running = undefined
  }

  async #pass(): Promise<void> {
    const generation = this.#generation
    const { node, ...settings } = this.#settings
    if (node === undefined) return
    const { endpoint, learned, remote, ownBlock, pool } = this.#items
    this.#desired ??= this.#calculator.desired({
      ...settings,
      node,
      endpoints: [...endpoint.values()],
      remotes: [...remote.values()],
      ownBlocks: [...ownBlock.keys()],
      pools: [...pool.values()],
      // without its pool a block looks like a route of the world outside, and would be sent the wrong way
      learned: this.#ready.datastore ? [...learned.values()] : [],
    })
    const desired = this.#desired
    try {
      const outcome = await this.#applier.apply(desired, this.#ready)
      this.#report(desired, outcome)
      this.#settle(generation, desired, outcome.refused)
    } catch (error) {
      if (!(error instanceof KernelError)) throw error
      this.#deps.log.error({ err: error }, 'the kernel cannot be read; trying again')
      this.#applier.distrust()
      this.#clean = false
      this.#after('retry', this.#retry.next(), () => this.#kick())
    }
  }

  #report(desired: DesiredState, { written, healed, refused, withheld }: Outcome): void {
    const { clock, log, onNotice, onEvent } = this.#deps
    if (written.length > 0 || refused.length > 0)
      log.debug({ written: written.length, refused: refused.length, withheld: withheld.length }, 'applied')
    for (const object of healed) {
      log.warn({ object }, 'somebody changed it; put back')
      onEvent?.({ type: 'healed', object, at: clock.wallMs() })
    }
    if (healed.length > 0) this.#countHealing()
    const notices = [...desired.notices, ...refused.map(noticeOf)]
    const text = JSON.stringify(notices)
    if (text === this.#notices) return
    this.#notices = text
    onNotice(notices)
  }

  #settle(generation: number, desired: DesiredState, refused: readonly Refusal[]): void {
    this.#appliedGeneration = generation
    this.#clean = refused.length === 0
    if (this.#clean) {
      this.#retry.reset()
      this.#cancel('retry')
    } else this.#after('retry', this.#retry.next(), () => this.#kick())
    if (this.#applier.waitsForGrace && !this.#timers.has('grace'))
      this.#after('grace', STRAY_GRACE_MS, () => this.#kick())

    const due = this.#waiters.filter(waiter => waiter.generation <= generation)
    this.#waiters = this.#waiters.filter(waiter => waiter.generation > generation)
    for (const waiter of due) {
      const errors = waiter.endpoint === undefined ? refused : this.#refusalsOf(waiter.endpoint, desired, refused)
      if (errors.length === 0) waiter.resolve()
      else waiter.reject(new ApplyError(errors))
    }
    if (!this.#clean) return
    for (const waiter of this.#syncWaiters) if (waiter.generation <= generation) waiter.resolve()
    this.#syncWaiters = this.#syncWaiters.filter(waiter => waiter.generation > generation)
  }

  #refusalsOf(id: string, desired: DesiredState, refused: readonly Refusal[]): Refusal[] {
    const endpoint = this.#items.endpoint.get(id)
    if (endpoint === undefined) return [{ object: `endpoint ${id}`, error: new Error('felix was not told of it') }]
    const { interfaceName } = endpoint
    const routes = new Set(endpoint.addresses.map(hostCidr))
    const mine = refused.filter(
      ({ object }) => routes.has(object.replace(/^route /, '')) || object.split(/[ /]/).includes(interfaceName),
    )
    for (const { dst, interfaceName: holder } of desired.routes)
      if (routes.has(dst) && holder !== interfaceName)
        mine.push({ object: `route ${dst}`, error: new Error(`the address belongs to ${holder ?? 'a block'}`) })
    return mine
  }

  /** Answers a change by somebody else: at once, unless that somebody has been undoing our answers. */
  #heal(): void {
    if (this.#deps.clock.monotonicMs() - this.#healing.sinceMs > 1000) {
      this.#healing.passes = 0
      this.#fight.reset()
    }
    if (this.#healing.passes <= FIGHT_LIMIT) this.#kick()
    else if (!this.#timers.has('fight')) this.#after('fight', this.#fight.next(), () => this.#kick())
  }

  #countHealing(): void {
    const nowMs = this.#deps.clock.monotonicMs()
    const { sinceMs, passes } = this.#healing
    this.#healing = nowMs - sinceMs > 1000 ? { sinceMs: nowMs, passes: 1 } : { sinceMs, passes: passes + 1 }
    if (this.#healing.passes === FIGHT_LIMIT)
      this.#deps.log.warn('somebody keeps undoing these changes; answering more slowly')
  }

  #armRefresh(): void {
    this.#after('refresh', REFRESH_MS, () => {
      this.#applier.distrust()
      this.#kick()
      this.#armRefresh()
    })
  }

  #after(name: string, delayMs: number, fire: () => void): void {
    this.#cancel(name)
    if (this.#closed) return
    const cancel = this.#deps.clock.after(delayMs, () => {
      this.#timers.delete(name)
      fire()
    })
    this.#timers.set(name, cancel)
  }

  #cancel(name: string): void {
    this.#timers.get(name)?.()
    this.#timers.delete(name)
  }
}

function noticeOf({ object, error }: Refusal): Notice {
  if (error instanceof NoInterface)
    return { object, reason: 'NoInterface', message: `${error.message}; waiting for it` }
  return { object, reason: 'Refused', message: `${error.message}; trying again` }
}
