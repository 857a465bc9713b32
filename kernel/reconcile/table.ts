// Brings one kind of kernel object to what is wanted: read, compare, write the difference, read back. Only objects that
// carry our mark are changed or removed. An object that was not read is added and never overwritten, since it may be
// another owner's. What is wanted is written before what is not wanted is removed. A refused object stays to be done
// and does not stop the others.
// Over 400 lines: what is known of a key, and when it is read, written and read back, is one state machine.
import { type Change, Delta } from '../../lib/delta.ts'
import { ERRNO } from '../port/error.ts'
import type { Author } from '../port/kernel.ts'
import { Authors } from './authors.ts'
import { KeysByInterface } from './keys-by-interface.ts'
import {
  type Damage,
  noOutcome,
  type ObjectKind,
  type ObjectName,
  type Outcome,
  type Refusal,
  type WriteFailure,
  type Written,
} from './outcome.ts'

/** `add` must be refused with EEXIST when the key is taken, where the kernel can do that for this kind. */
export type Write<V> = {
  verb: 'add' | 'replace' | 'delete'
  key: string
  value: V
  /** Set by the driver where what it wrote is `value` only as things are now: that. */
  shown?: V
}

/**
 * Which objects are read: all that there are, or at least those that may be ours, where others have so many of this kind that
 * the difference counts. What is not read of others is seen when a write is refused.
 */
export type Listed = 'all' | 'ours'

/** How objects of one kind are told apart, read and written. Every method that reads rejects with `KernelError`. */
export type TableDriver<V> = {
  kind: ObjectKind
  /** Whether the kernel's object is the wanted one. */
  same(wanted: V, seen: V, key: string): boolean
  interfaceOf(value: V): string | undefined
  /** Those of an object that is on several, which `interfaceOf` has none of; whether it is the wanted one depends on their links. */
  interfacesOf?(value: V): readonly string[] | undefined
  /** Whether an object carries our mark. */
  owns(seen: V): boolean
  /** What tells an object's owner, such as `protocol 12`. */
  ownerOf?(seen: V): string
  /** What others can change of an object, as people say it; absent: it can only be gone. */
  wordsOf?(value: V): string
  /** What makes us want such an object, where there are several reasons. */
  originOf?(value: V): Written['origin']
  /** Whether `wanted` may be written over an object that does not carry our mark. */
  mayTake(seen: V, wanted: V, key: string): boolean
  /** The objects there are; of several under one key the first one counts. `wanted`: what is wanted now, by key. */
  list(wanted: ReadonlyMap<string, V>, which: Listed): Promise<Iterable<readonly [string, V]>>
  /** All objects on one interface. Without it, the known objects of the interface are read with `look`. */
  listInterface?(interfaceName: string): Promise<Iterable<readonly [string, V]>>
  /** The present state of some objects. `like` is any value with the same key. Without it, all objects are read. */
  look?(objects: readonly { key: string; like: V }[]): Promise<Iterable<readonly [string, V | undefined]>>
  /** Carries out all of `writes`; the failure at `i` is that of write `i`. */
  write(writes: readonly Write<V>[]): Promise<readonly (WriteFailure | undefined)[]>
}

/**
 * Whether an object of ours that is not wanted may be removed now. `dropped`: it was wanted earlier in this process; `foreign`: the
 * kernel told that another process made it.
 */
export type MayRemove<V> = (removal: { key: string; seen: V; dropped: boolean; foreign: boolean }) => boolean

const CHANGES = { add: 'Came', replace: 'Changed', delete: 'Went' } as const

/** Above this many interfaces to read again, one dump of everything is cheaper. */
const FEW_INTERFACES = 16
/** One dump is cheaper than to look at more keys than this, */
const FEW_KEYS = 64
/** and than to look at more than one in this many objects. */
const OBJECTS_PER_LOOK = 16
/**
 * Objects that are written as one: all of an agent's. A speaker's million would be held once more as writes, requests and
 * answers, for as long as the kernel needs for all of them.
 */
const MOST_AT_ONCE = 1 << 14
/** So many objects of others that lie before one of ours are removed in one pass: who makes more of them has the next one. */
const MOST_COVERS = 16

export class KernelTable<V> {
  readonly #driver: TableDriver<V>
  readonly #confirms: boolean
  readonly #delta: Delta<V>
  readonly #onInterface: KeysByInterface<V>
  /** Keys that were right and then were not, each with what was found last. */
  readonly #broken = new Map<string, Damage>()
  /** Who made what nobody wants, where the kernel told. */
  readonly #makers = new Map<string, Author>()
  /** Who was told to have changed a wanted key last. */
  readonly #authors = new Authors()
  readonly #dropped = new Set<string>()
  /** Keys to read again, each with a value that has this key. */
  readonly #suspects = new Map<string, V>()
  /** Each with who made it so, where that was told. */
  readonly #staleInterfaces = new Map<string, Author | undefined>()
  #stale: Listed | undefined = 'all'

  /** `confirm`: read back what was written before it counts as done. */
  constructor(driver: TableDriver<V>, { confirm }: { confirm: boolean }) {
    this.#driver = driver
    this.#confirms = confirm
    this.#delta = new Delta((a, b, key) => driver.same(a, b, key))
    this.#onInterface = new KeysByInterface(driver)
  }

  /** Wants the object of `key` to be `value`, or to be gone. Memory only. */
  want(key: string, value?: V): void {
    const before = this.#delta.wanted().get(key)
    if (before === value) return
    const held = this.holds(key)
    this.#tracked(key, () => this.#delta.want(key, value))
    if (value !== undefined) {
      this.#dropped.delete(key)
      this.#makers.delete(key)
      return
    }
    this.#broken.delete(key)
    this.#authors.forget(key)
    const seen = this.#delta.seen().get(key)
    if (seen === undefined ? this.#stale !== undefined : held || this.#driver.owns(seen)) this.#dropped.add(key)
    else if (seen !== undefined) this.#saw(key, undefined)
  }

  wanted(): ReadonlyMap<string, V> {
    return this.#delta.wanted()
  }

  /** As of the last reading, and what was told and written since. */
  seen(): ReadonlyMap<string, V> {
    return this.#delta.seen()
  }

  /** What counts as the wanted object under a key may be another thing than it was. */
  checkAgain(key: string): void {
    this.#delta.checkAgain(key)
  }

  /** Whether anything on an interface is wanted or was seen. */
  concerns(interfaceName: string): boolean {
    return this.#onInterface.of(interfaceName) !== undefined
  }

  /** The kernel may have changed unseen: the next `apply` reads everything again. */
  invalidate(): void {
    this.#stale = 'all'
  }

  /** What the kernel told was lost: the next `apply` reads again what is ours, and what others did elsewhere waits. */
  lostEvents(): void {
    this.#stale ??= 'ours'
  }

  /** The same for the objects on one interface, which somebody may have changed. */
  invalidateInterface(interfaceName: string, by?: Author): void {
    // what the kernel does by itself follows on what somebody had it do
    if (this.concerns(interfaceName))
      this.#staleInterfaces.set(interfaceName, by ?? this.#staleInterfaces.get(interfaceName))
  }

  /** An interface was made anew by us: what was seen on it went with the old one, and nobody else took it. */
  forgetInterface(interfaceName: string): void {
    for (const key of [...(this.#onInterface.of(interfaceName) ?? [])])
      if (this.#onInterface.isOn(this.#delta.seen().get(key), interfaceName)) this.#saw(key, undefined)
    this.invalidateInterface(interfaceName)
  }

  /** The link of an interface is another way than it was; returns whether objects on several interfaces are not as wanted then. */
  linkChanged(interfaceName: string): boolean {
    let isWrong = false
    for (const key of this.#onInterface.of(interfaceName) ?? []) {
      const wanted = this.#delta.wanted().get(key)
      if (wanted === undefined || this.#driver.interfacesOf?.(wanted) === undefined) continue
      this.#delta.checkAgain(key)
      isWrong ||= !this.holds(key)
    }
    return isWrong
  }

  /** The same for the objects that `concerned` answers true to. Looks at every object that was seen. */
  invalidateWhere(concerned: (seen: V) => boolean, by?: Author): void {
    for (const [key, seen] of this.#delta.seen()) if (concerned(seen)) this.#suspect(key, seen, by)
  }

  /** Takes what the kernel tells of one key; returns whether that needs an `apply`. An echo of one's own write does not. */
  observe(key: string, value: V | undefined, by?: Author): boolean {
    const wanted = this.#delta.wanted().get(key)
    if (wanted === undefined) {
      const seen = this.#delta.seen().get(key)
      if (value === undefined) {
        // the echo of our removal, which may come before its answer, or somebody removed what waited for that
        if (seen !== undefined) this.#saw(key, undefined)
        return false
      }
      const owned = this.#driver.owns(value)
      if (!owned && seen === undefined) return false
      // another owner's object may have taken the place of ours that waits to be removed
      this.#suspects.set(key, value)
      if (owned && by !== undefined && !this.#dropped.has(key)) this.#makers.set(key, by)
      return owned
    }
    if (value !== undefined && this.#driver.owns(value) && this.#driver.same(wanted, value, key)) {
      // somebody made it before we did: it has to be removed when it is wanted no more
      if (!this.holds(key)) this.#saw(key, value)
      return false
    }
    this.#suspect(key, (value ?? wanted) as V, by)
    return true
  }

  #suspect(key: string, like: V, by: Author | undefined): void {
    this.#suspects.set(key, like)
    if (this.#delta.wanted().has(key)) this.#authors.changed(key, by)
  }

  /** Whether the next `apply` has to read the kernel. */
  get isStale(): boolean {
    return this.#stale !== undefined || this.#staleInterfaces.size + this.#suspects.size > 0
  }

  /**
   * Makes the kernel's objects the wanted ones; writes only differences. The only method that touches the kernel, and
   * never called again before it is through. Rejects with `KernelError` when the kernel could not be read or asked.
   */
  async apply(mayRemove: MayRemove<V>): Promise<Outcome> {
    const outcome = noOutcome()
    // most passes are about one table of the ten
    if (!this.isStale && this.#delta.inSync) return outcome
    try {
      await this.#read()
      await this.#write(mayRemove, outcome)
    } catch (error) {
      // what was done is not known: everything is read again, whatever went wrong
      this.#stale = 'all'
      throw error
    }
    return outcome
  }

  async #read(): Promise<void> {
    const suspects = [...this.#suspects]
    const interfaces = [...this.#staleInterfaces]
    this.#suspects.clear()
    this.#staleInterfaces.clear()
    if (this.#stale !== undefined || interfaces.length > FEW_INTERFACES) return this.#list(this.#stale ?? 'ours')
    for (const [name, by] of interfaces) await this.#readInterface(name, by)
    await this.#readKeys(suspects)
  }

  async #list(asked: Listed): Promise<void> {
    // a pass that needs ours only may be under way when it is time to look at everything
    const which = this.#stale === 'all' ? 'all' : asked
    const held = [...this.#delta.wanted().keys()].filter(key => this.holds(key))
    this.#stale = undefined
    const entries = await this.#driver.list(this.#delta.wanted(), which)
    const kept = new Map<string, V>()
    for (const [key, value] of entries) if (!kept.has(key) && this.#matters(key, value)) kept.set(key, value)
    this.#delta.resync(kept)
    this.#onInterface.clear()
    for (const values of [this.#delta.wanted(), kept])
      for (const [key, value] of values) this.#onInterface.add(key, value)
    for (const key of held) this.#compare(key, { held: true })
    for (const key of this.#dropped) if (!kept.has(key)) this.#dropped.delete(key)
    for (const key of this.#makers.keys()) if (!kept.has(key)) this.#makers.delete(key)
  }

  async #readInterface(name: string, by: Author | undefined): Promise<void> {
    const known = [...(this.#onInterface.of(name) ?? [])]
    for (const key of known) if (this.holds(key) || this.#broken.has(key)) this.#authors.changed(key, by)
    if (this.#driver.listInterface === undefined)
      return this.#readKeys(
        known.flatMap((key): [string, V][] => {
          const value = this.#anyValue(key)
          return value === undefined ? [] : [[key, value]]
        }),
      )
    const found = new Map<string, V>()
    for (const [key, value] of await this.#driver.listInterface(name)) if (!found.has(key)) found.set(key, value)
    // what is on several interfaces may have left this one alone
    const elsewhere: [string, V][] = []
    for (const key of known) {
      const value = this.#anyValue(key)
      if (found.has(key)) continue
      // nobody wants it any more, and it went, while the interface was read
      if (value === undefined || this.#driver.interfacesOf?.(value) === undefined) this.#look(key, undefined)
      else elsewhere.push([key, value])
    }
    for (const [key, value] of found) this.#look(key, value)
    await this.#readKeys(elsewhere)
  }

  async #readKeys(objects: readonly (readonly [string, V])[]): Promise<void> {
    if (objects.length === 0) return
    const most = Math.max(FEW_KEYS, this.#delta.seen().size / OBJECTS_PER_LOOK)
    if (this.#driver.look === undefined || objects.length > most) return this.#list('ours')
    const found = await this.#driver.look(objects.map(([key, like]) => ({ key, like })))
    for (const [key, value] of found) this.#look(key, value)
  }

  /** Takes the present state of a key, as it was read. */
  #look(key: string, value: V | undefined): void {
    const held = this.holds(key)
    this.#saw(key, value !== undefined && this.#matters(key, value) ? value : undefined)
    this.#compare(key, { held })
    if (!this.#broken.has(key)) this.#authors.forget(key)
  }

  /** Notes what became of a key that was as wanted before it was read (`held`), or was found to be other already. */
  #compare(key: string, { held }: { held: boolean }): void {
    if ((!held && !this.#broken.has(key)) || this.holds(key)) return
    const seen = this.#delta.seen().get(key)
    this.#broken.set(key, seen === undefined ? { gone: true } : { found: this.#driver.wordsOf?.(seen) })
  }

  async #write(mayRemove: MayRemove<V>, outcome: Outcome): Promise<void> {
    let part: Change<V>[] = []
    // reading back may be reading all: once, however many parts there are
    const toConfirm: Write<V>[][] = []
    const next = async () => {
      const done = await this.#writePart(part, mayRemove, outcome)
      part = []
      if (this.#confirms) toConfirm.push(done)
      else await this.#confirm(done, outcome)
    }
    for (const change of this.#delta.pending()) if (part.push(change) >= MOST_AT_ONCE) await next()
    await next()
    await this.#confirm(toConfirm.flat(), outcome)
  }

  /** Returns what was done. */
  async #writePart(part: readonly Change<V>[], mayRemove: MayRemove<V>, outcome: Outcome): Promise<Write<V>[]> {
    const puts: Write<V>[] = []
    const removals: Write<V>[] = []
    for (const { key, value, seen } of part) {
      if (value === undefined && seen !== undefined) {
        if (mayRemove({ key, seen, dropped: this.#dropped.has(key), foreign: this.#makers.has(key) }))
          removals.push({ verb: 'delete', key, value: seen })
        else outcome.withheld.push(this.#name(key, seen))
      } else if (value !== undefined) {
        if (seen === undefined) puts.push({ verb: 'add', key, value })
        else if (this.#mayReplace(seen, value, key)) puts.push({ verb: 'replace', key, value })
        else outcome.refused.push(this.#foreign(key, value, seen))
      }
    }
    const done = await this.#put(puts, outcome)
    for (const [i, failure] of (await this.#send(removals)).entries()) {
      const { key, value } = removals[i]!
      const by = this.#makers.get(key)
      if (failure === undefined) {
        this.#saw(key, undefined)
        if (by !== undefined)
          outcome.removed.push({ ...this.#name(key, value), found: this.#driver.wordsOf?.(value), by })
      } else outcome.refused.push({ ...this.#name(key, value), ...failure })
    }
    const removed = removals.filter(({ key }) => !this.#delta.seen().has(key))
    return [...done, ...removed]
  }

  /**
   * Writes what is wanted; returns what the kernel took. A key that turns out to be taken is read and decided again. `covers`: how many
   * objects may still be removed from before each of ours.
   */
  async #put(puts: readonly Write<V>[], outcome: Outcome, covers = MOST_COVERS): Promise<Write<V>[]> {
    const done: Write<V>[] = []
    const taken: Write<V>[] = []
    for (const [i, failure] of (await this.#send(puts)).entries()) {
      const put = puts[i]!
      if (failure === undefined) {
        this.#saw(put.key, put.shown ?? put.value)
        done.push(put)
      } else if (failure.errno === ERRNO.EEXIST && (put.verb === 'add' || covers > 0)) taken.push(put)
      else outcome.refused.push({ ...this.#name(put.key, put.value), ...failure })
    }
    if (taken.length === 0) return done
    // IPv4 has several routes under one key, of which the first counts: ours lies behind the one that was to be replaced
    const covering = taken.flatMap(({ verb, key }): Write<V>[] => {
      const value = this.#delta.seen().get(key)
      return verb === 'add' || value === undefined || this.holds(key) ? [] : [{ verb: 'delete', key, value }]
    })
    await this.#send(covering)
    await this.#readKeys(taken.map(({ key, value }) => [key, value] as const))
    // a look may miss what lies elsewhere (the dropping route of a block of one address, in the place of its pod's route)
    if (taken.some(({ key }) => !this.#delta.seen().has(key))) await this.#list('all')
    const again: Write<V>[] = []
    for (const put of taken) {
      const seen = this.#delta.seen().get(put.key)
      if (this.holds(put.key)) done.push(put)
      else if (seen === undefined && put.verb === 'replace') again.push({ ...put, verb: 'add' })
      else if (seen === undefined) {
        const message = 'the kernel says that it exists, but does not show it'
        outcome.refused.push({ ...this.#name(put.key, put.value), reason: 'Refused', errno: ERRNO.EEXIST, message })
      } else if (this.#mayReplace(seen, put.value, put.key)) again.push({ ...put, verb: 'replace' })
      else outcome.refused.push(this.#foreign(put.key, put.value, seen))
    }
    return again.length === 0 ? done : [...done, ...(await this.#put(again, outcome, covers - 1))]
  }

  async #send(writes: readonly Write<V>[]): Promise<readonly (WriteFailure | undefined)[]> {
    return writes.length === 0 ? [] : this.#driver.write(writes)
  }

  /** Reads back what was written, where that is asked for, and says what is done. */
  async #confirm(done: readonly Write<V>[], outcome: Outcome): Promise<void> {
    if (done.length === 0) return
    if (this.#confirms) {
      await this.#readKeys(done.map(({ key, value }) => [key, value] as const))
      // before an object is said to be missing, everything is looked at
      if (done.some(({ key }) => !this.#isDone(key))) await this.#list('all')
    }
    for (const { verb, key, value } of done) {
      // somebody wants something else by now: the next `apply` says what became of that
      if (this.#delta.wanted().get(key) !== (verb === 'delete' ? undefined : value)) continue
      const name = this.#name(key, value)
      if (this.#isDone(key)) {
        const origin = this.#driver.originOf?.(value)
        outcome.written.push({ ...name, change: CHANGES[verb], ...(origin !== undefined && { origin }) })
        const damage = this.#broken.get(key)
        this.#broken.delete(key)
        if (damage !== undefined)
          outcome.healed.push(this.#authors.healed(name, { ...damage, is: this.#driver.wordsOf?.(value) }))
        this.#authors.forget(key)
      } else
        outcome.refused.push({ ...name, reason: 'NotShown', message: 'the kernel took it, but does not show it so' })
    }
  }

  #isDone(key: string): boolean {
    return this.#delta.wanted().has(key) ? this.holds(key) : !this.#delta.seen().has(key)
  }

  /** Whether this key is wanted and was last seen as wanted. */
  holds(key: string): boolean {
    const wanted = this.#delta.wanted().get(key)
    const seen = this.#delta.seen().get(key)
    return wanted !== undefined && seen !== undefined && (wanted === seen || this.#driver.same(wanted, seen, key))
  }

  #mayReplace(seen: V, wanted: V, key: string): boolean {
    return this.#driver.owns(seen) || this.#driver.mayTake(seen, wanted, key)
  }

  #matters(key: string, value: V): boolean {
    if (this.#delta.wanted().has(key) || this.#driver.owns(value)) return true
    // without a mark, what was wanted and is unchanged is still ours to remove
    const seen = this.#delta.seen().get(key)
    return seen !== undefined && this.#dropped.has(key) && this.#driver.same(seen, value, key)
  }

  #foreign(key: string, wanted: V, seen: V): Refusal {
    const owner = this.#driver.ownerOf?.(seen)
    const message = `one of another owner${owner === undefined ? '' : ` (${owner})`} is in its place; remove one of the two`
    return { ...this.#name(key, wanted), reason: 'ForeignOwner', errno: ERRNO.EEXIST, message }
  }

  #name(key: string, value: V): ObjectName {
    const interfaceName = this.#driver.interfaceOf(value)
    const { kind } = this.#driver
    return interfaceName === undefined ? { kind, key } : { kind, key, interfaceName }
  }

  #saw(key: string, value: V | undefined): void {
    this.#tracked(key, () => this.#delta.saw(key, value))
    if (value !== undefined) return
    this.#dropped.delete(key)
    this.#makers.delete(key)
  }

  /** Keeps the keys by interface while `change` alters what is wanted or seen under a key. */
  #tracked(key: string, change: () => void): void {
    const [wanted, seen] = [this.#delta.wanted(), this.#delta.seen()]
    const [wantedBefore, seenBefore] = [wanted.get(key), seen.get(key)]
    change()
    this.#onInterface.changed(key, wantedBefore, seenBefore, wanted.get(key), seen.get(key))
  }

  /** Some value that has this key; undefined where it is neither wanted nor seen. */
  #anyValue(key: string): V | undefined {
    return this.#delta.wanted().get(key) ?? this.#delta.seen().get(key)
  }
}
