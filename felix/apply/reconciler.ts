// Brings one kind of kernel object to what is wanted: read, compare, write the difference, read back. One refused
// object stays dirty and does not stop the rest. Remembers which objects were right before, so that it can tell an
// object somebody broke from one that was never there.
import { KernelError } from '../../kernel/port/error.ts'
import { type Change, Delta } from '../../lib/delta.ts'
import { NoInterface } from './link-view.ts'

export type ObjectKind = 'link' | 'address' | 'sysctl' | 'neighbour' | 'fdb' | 'route'

/** Names one kernel object: its kind, its key within the kind, and the interface that it is on where it has one. */
export type ObjectName = { kind: ObjectKind; key: string; interfaceName?: string }

/**
 * Why an object is not as wanted. `Refused`: the kernel said no, with `errno`; `NoInterface`: its interface does not
 * exist; `ForeignOwner`: an object of another owner is in its place; `NotShown`: the kernel took it and does not show it.
 */
export type RefusalReason = 'Refused' | 'NoInterface' | 'ForeignOwner' | 'NotShown'

/** One object that is not as wanted; `message` is for people. */
export type Refusal = ObjectName & { reason: RefusalReason; errno?: number; message: string }

/** Some of what was wanted is not in the kernel; everything else is. */
export class ApplyError extends Error {
  override readonly name = 'ApplyError'
  readonly refusals: readonly Refusal[]
  constructor(refusals: readonly Refusal[]) {
    super(refusals.map(({ kind, key, message }) => `${kind} ${key}: ${message}`).join('; '))
    this.refusals = refusals
  }
}

/** What one apply did: `healed` were right before and had been changed by somebody else. */
export type Outcome = { written: ObjectName[]; healed: ObjectName[]; refused: Refusal[]; withheld: ObjectName[] }

/** One kind of kernel object. Keys are unique within the kind. */
export type Surface<V> = {
  kind: ObjectKind
  same(a: V, b: V): boolean
  /** Names an object for those who do not know the table's own keys. */
  nameOf(key: string, value: V | undefined): ObjectName
  /** Everything there is that carries our mark, or that is wanted. */
  read(wanted: ReadonlyMap<string, V>): Promise<Iterable<readonly [string, V]>>
  /** The refusal of each change, or undefined. */
  write(changes: readonly Change<V>[]): Promise<readonly (Error | undefined)[]>
  /** The present state of a few keys, where that is cheaper than reading all; undefined: read all. */
  readSome?(keys: readonly string[]): Promise<Iterable<readonly [string, V | undefined]>> | undefined
}

/** A failed write, as what it means for its object. */
export function refusal(object: ObjectName, error: Error): Refusal {
  const { message } = error
  if (error instanceof NoInterface) return { ...object, reason: 'NoInterface', message }
  if (error instanceof ForeignOwner) return { ...object, reason: 'ForeignOwner', message }
  return { ...object, reason: 'Refused', message, ...(error instanceof KernelError ? { errno: error.errno } : {}) }
}

/** An object of another owner is in the place of a wanted one. */
export class ForeignOwner extends Error {
  override readonly name = 'ForeignOwner'
}

/** Wanted and seen objects of one surface. `want` is memory, `apply` is the kernel. */
export class Reconciler<V> {
  readonly #surface: Surface<V>
  readonly #delta: Delta<V>
  readonly #broken = new Set<string>()
  readonly #suspects = new Set<string>()
  #trusted = false

  constructor(surface: Surface<V>) {
    this.#surface = surface
    this.#delta = new Delta(surface.same)
  }

  /** Wants exactly these; returns the keys that were wanted before and are not now. */
  wantAll(wanted: ReadonlyMap<string, V>): ReadonlySet<string> {
    const before = this.#delta.wanted()
    const dropped = new Set<string>()
    for (const key of before.keys()) if (!wanted.has(key)) dropped.add(key)
    for (const key of dropped) this.#forget(key)
    for (const [key, value] of wanted) if (before.get(key) !== value) this.#delta.want(key, value)
    return dropped
  }

  #forget(key: string): void {
    this.#delta.want(key)
    this.#broken.delete(key)
  }

  wanted(): ReadonlyMap<string, V> {
    return this.#delta.wanted()
  }

  /** The kernel may have moved on unseen: the next apply reads everything again. */
  distrust(): void {
    this.#trusted = false
  }

  /** The kernel told of this key; returns whether that differs from what is wanted and so needs an apply. */
  observe(key: string, value: V | undefined): boolean {
    const wanted = this.#delta.wanted().get(key)
    if (wanted === undefined ? value === undefined : value !== undefined && this.#surface.same(wanted, value)) {
      // an echo of our own write, or a stranger who did our work
      return false
    }
    this.#suspects.add(key)
    return true
  }

  /** The only method that touches the kernel. `mayRemove` withholds the removal of a key for now. */
  async apply(mayRemove: (key: string, seen: V) => boolean): Promise<Outcome> {
    await this.#look()
    const outcome: Outcome = { written: [], healed: [], refused: [], withheld: [] }
    const changes: Change<V>[] = []
    for (const change of this.#delta.pending()) {
      if (change.value === undefined && !mayRemove(change.key, change.seen as V))
        outcome.withheld.push(this.#object(change.key))
      else changes.push(change)
    }
    if (changes.length === 0) return outcome
    const errors = await this.#surface.write(changes)
    const done: string[] = []
    for (const [i, { key, value }] of changes.entries()) {
      const error = errors[i]
      if (error === undefined) {
        this.#delta.saw(key, value)
        done.push(key)
      } else outcome.refused.push(refusal(this.#object(key), error))
    }
    await this.#readBack(done, outcome)
    return outcome
  }

  /** Whether this key is wanted and was last seen as wanted. */
  holds(key: string): boolean {
    const wanted = this.#delta.wanted().get(key)
    const seen = this.#delta.seen().get(key)
    return wanted !== undefined && seen !== undefined && this.#surface.same(wanted, seen)
  }

  async #look(): Promise<void> {
    const suspects = [...this.#suspects]
    this.#suspects.clear()
    if (!this.#trusted) return this.#readAll()
    if (suspects.length === 0) return
    const some = this.#surface.readSome?.(suspects)
    if (some === undefined) return this.#readAll()
    for (const [key, value] of await some) {
      if (this.holds(key) && !this.#isWanted(key, value)) this.#broken.add(key)
      this.#delta.saw(key, value)
    }
  }

  async #readAll(): Promise<void> {
    const held = [...this.#delta.wanted().keys()].filter(key => this.holds(key))
    this.#trusted = true
    try {
      this.#delta.resync(await this.#surface.read(this.#delta.wanted()))
    } catch (error) {
      this.#trusted = false
      throw error
    }
    for (const key of held) if (!this.holds(key)) this.#broken.add(key)
  }

  async #readBack(keys: readonly string[], outcome: Outcome): Promise<void> {
    if (keys.length === 0) return
    const some = this.#surface.readSome?.(keys)
    if (some !== undefined) for (const [key, value] of await some) this.#delta.saw(key, value)
    // before an object is said to be missing, everything is looked at
    if (some === undefined || keys.some(key => !this.#isWanted(key, this.#delta.seen().get(key))))
      this.#delta.resync(await this.#surface.read(this.#delta.wanted()))
    for (const key of keys) {
      const object = this.#object(key)
      if (this.#isWanted(key, this.#delta.seen().get(key))) {
        outcome.written.push(object)
        if (this.#broken.delete(key)) outcome.healed.push(object)
      } else
        outcome.refused.push({ ...object, reason: 'NotShown', message: 'the kernel took it, but does not show it' })
    }
  }

  #isWanted(key: string, value: V | undefined): boolean {
    const wanted = this.#delta.wanted().get(key)
    return wanted === undefined || value === undefined ? wanted === value : this.#surface.same(wanted, value)
  }

  #object(key: string): ObjectName {
    return this.#surface.nameOf(key, this.#delta.wanted().get(key) ?? this.#delta.seen().get(key))
  }
}
