// One table of nftables whose sets, chains and elements come and go: each is wanted by its name, read once, and written
// where it differs, in one transaction as far as its elements are not too many. A chain takes all its new rules in the
// transaction with the elements that lead to it.
// What a transaction did is believed without reading it back, and changes by others are told: of a table with 100,000 elements
// only the chains, sets and elements are read again that others changed. The generations of the transactions that are told have no gap,
// so it is known up to which one nothing happened unseen; where the kernel is still at that one, a refresh has nothing to read.
// Hazard: the kernel takes a transaction whole or not at all, so one bad object is left out with what needs it, and the
// rest is tried again.
import { isDeepStrictEqual } from 'node:util'
import { KernelError } from '../port/error.ts'
import type { Author } from '../port/kernel.ts'
import type { NftablesPort, NftChange, NftNews, NftRefusal, NftRuleset, NftSet, NftTable } from '../port/nftables.ts'
import { nextGeneration } from '../port/nftables.ts'
import type { NftDifference } from './nft-differences.ts'
import { failures, isWithin } from './nft-failures.ts'
import { lacksNftables } from './nft-lacks.ts'
import { type LedPart, ledDifferences, ledFrom } from './nft-led.ts'
import {
  additions,
  closing,
  damageOf,
  ELEMENTS_AT_ONCE,
  isOpenMeanwhile,
  type Part,
  type Plan,
  partsToAdd,
  removals,
  without,
  writtenBy,
} from './nft-plan.ts'
import { type NftChainProgram, type NftDatum, NftState } from './nft-state.ts'
import { mayAddUntold, TouchedParts } from './nft-touched.ts'
import { type Damage, failureOf, noOutcome, type ObjectName, type Outcome, type WriteFailure } from './outcome.ts'

/**
 * A refused transaction is tried again with what the kernel has then, and then without what it refuses. What it goes on
 * refusing is left out without a look, since the table may have 100,000 elements.
 */
const ATTEMPTS = 6
/**
 * Of so many refreshes one reads all although nothing is known to be other, where others write to their tables meanwhile: the
 * kernel does not tell of rules of more than some kilobytes.
 */
const REFRESHES = 10

export class NftParts {
  readonly #kernel: NftablesPort
  readonly #state: NftState
  /** What was right and then was not, by others, with what was found. */
  readonly #broken = new Map<string, Damage>()
  /** Whose transaction was the last about the table, until it is as wanted. */
  #author: Author | undefined
  /** What the last pass was refused, by the part's key. */
  #refused: ReadonlyMap<string, WriteFailure> = new Map()
  #unremoved: ReadonlyMap<string, WriteFailure> = new Map()
  /** The transaction that puts base chains back where the table was deleted, and what was put back so since the last pass. */
  #closing: Promise<void> | undefined
  readonly #closed = new Map<string, Part>()
  readonly #adopting: readonly string[]
  readonly #adopted = new Map<string, readonly string[]>()
  /** All may be other than it is known. */
  #stale = true
  /** It may be so unless the kernel is at the generation that was told last. */
  #doubted = false
  /** What others changed since it was read. */
  readonly #touched = new TouchedParts()
  /** The generation up to which all is known or in `#touched`; undefined when something was missed. */
  #heard: number | undefined
  /** The generation of the last transaction that was told to have changed the table. */
  #changed: number | undefined
  /** Refreshes since all was read, once others wrote something. */
  #refreshes = 0
  #othersWrite = false
  #wasRead = false
  #lacking: string | undefined

  /**
   * The table is this one's alone: what stands in it and is not wanted is removed. `adopting`: sets of which the elements that the
   * first reading finds are wanted from then on.
   */
  constructor(kernel: NftablesPort, table: NftTable, adopting: readonly string[] = []) {
    this.#kernel = kernel
    this.#adopting = adopting
    this.#state = new NftState(table)
  }

  /** Wants a set or map to be there, or to be gone with its elements. Memory only, as all of these. */
  wantSet(name: string, set: NftSet | undefined): void {
    this.#state.sets.want(name, set)
    if (set !== undefined) return
    const elements = this.#state.elements.get(name)
    if (elements === undefined) return
    for (const key of [...elements.wanted().keys()]) elements.want(key)
    this.#state.note(name, elements)
  }

  /** `key`: the words of nft with ` . ` between them. */
  wantElement(set: string, key: string, datum: NftDatum | undefined): void {
    const elements = this.#state.elementsOf(set)
    elements.want(key, datum)
    this.#state.note(set, elements)
  }

  /** The rules of a chain may look up wanted sets, and lead to wanted chains. */
  wantChain(name: string, program: NftChainProgram | undefined): void {
    this.#state.chains.want(name, program)
  }

  /** The kernel may have changed unseen: the next pass reads the table again, unless all transactions since were told. */
  invalidate(): void {
    this.#doubted = true
  }

  /** Takes in a transaction of anybody, or that some were missed (undefined). Returns whether a pass is needed. */
  observe(news: NftNews | undefined): boolean {
    const { family, name } = this.#state.table
    const changed = news?.tables.find(table => table.family === family && table.name === name)
    if (changed !== undefined) this.#author = news?.by
    const heard = this.#heard
    const isOld = news !== undefined && heard !== undefined && isAfter(heard, news.generation)
    if (!isOld && changed?.isGone === true) this.#close('gone')
    else if (!isOld && changed?.isMost === true) this.#close('there')
    if (news !== undefined && heard !== undefined) {
      // all was read since
      if (isOld) return false
      // the kernel is at a generation before all of the transaction is done: what was read at it may lack some
      if (news.generation === heard || news.generation === nextGeneration(heard)) {
        this.#heard = news.generation
        if (news.tables.length > 0) this.#othersWrite = true
        if (changed === undefined) return false
        this.#changed = news.generation
        if (!this.#touched.add(changed.parts)) this.#stale = true
        return true
      }
    }
    this.#heard = undefined
    this.#stale = true
    return news === undefined || heard !== undefined || changed !== undefined
  }

  /** Before anything is read or calculated: until the table is whole again nobody judges packets, or by chains that are empty. */
  #close(now: 'there' | 'gone'): void {
    if (!this.#state.isThere) return
    const steps = closing(this.#state, now)
    this.#closing = this.#change(steps.map(({ change }) => change)).then(refusals => {
      // refused where somebody was faster; the next pass looks
      if (refusals.length === 0) for (const [key, { part }] of writtenBy(steps)) this.#closed.set(key, part)
    })
  }

  /** Why this kernel cannot have the table; undefined where it can. */
  get lacking(): string | undefined {
    return this.#lacking
  }

  /** What was adopted at the first reading, by set; undefined before it. */
  get adopted(): ReadonlyMap<string, readonly string[]> | undefined {
    return this.#wasRead ? this.#adopted : undefined
  }

  /** Whether an element is there as it is wanted, and so are the base chains of the table, as of the last pass. */
  holds(set: string, key: string): boolean {
    const { elements, chains } = this.#state
    const of = elements.get(set)
    const wanted = of?.wanted().get(key)
    if (wanted === undefined || !isDeepStrictEqual(wanted, of?.seen().get(key))) return false
    for (const { value } of chains.pending()) if (value?.chain.base !== undefined) return false
    return true
  }

  /**
   * What packets of one interface pass in this table, and is not in the kernel now as it is wanted (`nft-led.ts`). Reads and
   * changes nothing; nothing is found in a table that this kernel cannot have. Rejects with `KernelError`.
   */
  async differences(interfaceName: string, part: LedPart): Promise<NftDifference[]> {
    if (this.#lacking !== undefined) return []
    const { family, name } = this.#state.table
    const led = ledFrom(this.#state, interfaceName, part)
    return ledDifferences(led, await this.#kernel.nftables({ family, name }, { only: led.only }, this.#isQuiet))
  }

  /** Writes what is wanted and not there, or other there. Never rejects with `KernelError`, as `NftTables.put`. */
  async put(): Promise<Outcome> {
    const outcome = noOutcome()
    await this.#closing
    const refused = new Map<string, WriteFailure>()
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const failure = await this.#look()
      if (failure !== undefined) {
        const pending = partsToAdd(this.#state)
        for (const key of pending.keys()) refused.set(key, failure)
        // whoever is refused something tries again
        if (pending.size === 0) outcome.refused.push({ ...this.#nameOf(this.#tablePart), ...failure })
        break
      }
      if (this.#lacking !== undefined) return outcome
      const plan = without(additions(this.#state), refused.keys(), this.#state)
      if (attempt === 0 && isOpenMeanwhile(plan, this.#broken, this.#state)) {
        this.#close('there')
        await this.#closing
        this.#stale = true
        continue
      }
      const failed = await this.#write(plan, outcome)
      if (failed.size === 0) break
      const isOld = isWithin(failed, this.#refused)
      if (!isOld) this.#stale = true
      if (attempt > 0 || isOld) for (const [key, why] of failed) refused.set(key, why)
    }
    this.#refused = refused
    for (const part of this.#closed.values()) this.#healed(part, { gone: true }, outcome)
    this.#closed.clear()
    if (refused.size === 0) this.#author = undefined
    for (const [key, part] of partsToAdd(this.#state))
      outcome.refused.push({ ...this.#nameOf(this.#lostWith(part)), ...(refused.get(key) ?? UNSETTLED) })
    return outcome
  }

  /** Removes what is not wanted, as far as `mayRemove` lets it. Nothing is removed before the table was read. */
  async remove(mayRemove: (name: ObjectName) => boolean): Promise<Outcome> {
    const outcome = noOutcome()
    if (this.#isUnsure || this.#lacking !== undefined) return outcome
    const steps = removals(this.#state).filter(({ part }) => mayRemove(this.#nameOf(part)))
    const failed = await this.#write({ first: [], elements: [], rules: steps, anew: false }, outcome)
    // it is still in use, or somebody removed it first: the next pass sees what is left
    if (!isWithin(failed, this.#unremoved)) this.#stale = true
    this.#unremoved = failed
    for (const [key, { part }] of writtenBy(removals(this.#state))) {
      const failure = failed.get(key)
      if (failure === undefined) outcome.withheld.push(this.#nameOf(part))
      else outcome.refused.push({ ...this.#nameOf(part), ...failure })
    }
    return outcome
  }

  /** Whether the table has what is wanted and nothing else, as of the last pass. A kernel without nftables has no other table. */
  get isInSync(): boolean {
    if (this.#lacking !== undefined) return true
    return !this.#isUnsure && partsToAdd(this.#state).size === 0 && removals(this.#state).length === 0
  }

  get #isUnsure(): boolean {
    return this.#stale || this.#doubted || this.#touched.count > 0
  }

  /** Reads what may be other than it is known. Why that could not be; undefined when it was, or the kernel has no nftables. */
  async #look(): Promise<WriteFailure | undefined> {
    if (!this.#isUnsure) return undefined
    try {
      const isDoubted = this.#doubted
      this.#doubted = false
      if (isDoubted && !(await this.#knowsAll())) this.#stale = true
      await (this.#stale ? this.#readAll() : this.#readTouched())
      return undefined
    } catch (error) {
      if (!(error instanceof KernelError)) throw error
      this.#stale = true
      return failureOf(error)
    }
  }

  /** Whether all that happened until now was told, and so need not be read. */
  async #knowsAll(): Promise<boolean> {
    if (this.#stale || this.#heard === undefined) return false
    if (this.#othersWrite && ++this.#refreshes >= REFRESHES) return false
    return (await this.#kernel.nftGeneration()) === this.#heard
  }

  async #readAll(): Promise<void> {
    const { family, name } = this.#state.table
    let ruleset: NftRuleset | undefined
    this.#lacking = undefined
    this.#touched.take()
    this.#stale = false
    try {
      // what happens from now on is told
      this.#heard ??= await this.#kernel.nftGeneration()
      ruleset = await this.#kernel.nftables({ family, name }, undefined, this.#isQuiet)
      if (ruleset !== undefined && isAfter(ruleset.generation, this.#heard)) this.#heard = ruleset.generation
    } catch (error) {
      if (!(error instanceof KernelError) || !lacksNftables(error)) throw error
      this.#lacking = error.message
    }
    this.#othersWrite = false
    this.#refreshes = 0
    this.#takeIn(ruleset, () => this.#state.takeIn(ruleset))
  }

  async #readTouched(): Promise<void> {
    const { family, name } = this.#state.table
    if (this.#touched.count === 0) return
    const only = this.#touched.take()
    const ruleset = await this.#kernel.nftables({ family, name }, { only }, this.#isQuiet)
    this.#takeIn(ruleset, () => this.#state.takeInParts(only, ruleset))
  }

  /** As `NftablesPort.nftables` asks for it. A transaction of the generation `since` may not have been done by then. */
  readonly #isQuiet = (since: number, until: number): boolean => {
    if (this.#heard === undefined || isAfter(until, this.#heard)) return false
    return this.#changed === undefined || isAfter(since, this.#changed)
  }

  /** Notes what was right and is not, as the kernel says now. */
  #takeIn(ruleset: NftRuleset | undefined, take: () => void): void {
    if (ruleset !== undefined && mayAddUntold(ruleset)) {
      this.#othersWrite = true
      this.#refreshes = REFRESHES
    }
    const before = partsToAdd(this.#state)
    take()
    if (!this.#wasRead) this.#adopt()
    if (this.#wasRead)
      for (const [key, part] of partsToAdd(this.#state))
        if (!before.has(key)) this.#broken.set(key, damageOf(part, this.#state))
    this.#wasRead = true
  }

  #adopt(): void {
    for (const set of this.#adopting) {
      const found = [...(this.#state.elements.get(set)?.seen() ?? [])]
      for (const [key, datum] of found) this.wantElement(set, key, datum)
      this.#adopted.set(
        set,
        found.map(([key]) => key),
      )
    }
  }

  /** Writes a plan, in one transaction where its elements are not too many; refusals by the part's key. */
  async #write({ first, elements, rules, anew }: Plan, outcome: Outcome): Promise<Map<string, WriteFailure>> {
    const steps = [...first, ...elements, ...rules]
    const rulesFrom = steps.length - rules.length
    for (let from = 0, to = 0; from < steps.length; from = to) {
      for (let weight = 0; to < steps.length; to++) {
        if (from < first.length && to === first.length) break
        // the rules and what leads to them stay together
        if (!anew && to < rulesFrom && weight >= ELEMENTS_AT_ONCE && steps[to]!.joined !== true) break
        weight += steps[to]!.weight
      }
      const some = steps.slice(from, to)
      const refusals = await this.#change(some.map(({ change }) => change))
      if (refusals.length > 0) return failures(some, refusals)
      for (const { took } of some) took()
    }
    for (const [key, { part, ...members }] of writtenBy(steps)) {
      const damage = this.#broken.get(key)
      this.#broken.delete(key)
      if (damage !== undefined) this.#healed(part, damage, outcome)
      else outcome.written.push({ ...this.#nameOf(part), ...members })
    }
    return new Map()
  }

  async #change(changes: readonly NftChange[]): Promise<NftRefusal[]> {
    try {
      return await this.#kernel.changeNftables(changes)
    } catch (error) {
      if (!(error instanceof KernelError)) throw error
      // its answers were lost, and it may have been done
      this.#stale = true
      return [{ error }]
    }
  }

  get #tablePart(): Part {
    return { kind: 'nftTable', name: this.#state.table.name }
  }

  /** Without a base chain nothing that the table says is done: as if the table were not there. */
  #lostWith(part: Part): Part {
    const isBase = part.kind === 'nftChain' && this.#state.chains.wanted().get(part.name)?.chain.base !== undefined
    return isBase ? this.#tablePart : part
  }

  #healed(part: Part, damage: Damage, { written, healed }: Outcome): void {
    const name = { ...this.#nameOf(part), ...damage }
    written.push(this.#nameOf(part))
    healed.push(this.#author === undefined ? name : { ...name, by: this.#author })
  }

  #nameOf({ kind, name }: Part): ObjectName {
    const { family, name: table } = this.#state.table
    return { kind, key: kind === 'nftTable' ? `${family} ${table}` : `${family} ${table} ${name}` }
  }
}

/** Generations count around the 32 bits that they have. */
function isAfter(a: number, b: number | undefined): boolean {
  return b === undefined || ((a - b) | 0) > 0
}

const UNSETTLED: WriteFailure = {
  reason: 'Refused',
  message: `the table was changed by others ${ATTEMPTS} times while it was written`,
}
