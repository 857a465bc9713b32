// Our tables of nftables and the elements of their sets: read, compare, and write the difference in one transaction, so
// that packets never meet half of it. The tables are known as ours by their names, and nobody else may write into them.
// Elements are added before rules that look them up, and removed at the end of a pass, when nothing sends any more. Ranges may not
// overlap: where those of an interface in a set change, the old ones go in the transaction in which the new ones come.
// What a transaction did is believed without reading it back: it is all or nothing, and changes by others are told.
import { Delta } from '../../lib/delta.ts'
import { KernelError } from '../port/error.ts'
import type { NftablesPort, NftChange, NftElements, NftNews, NftRefusal, NftRuleset, NftSet } from '../port/nftables.ts'
import { typesOf } from '../port/nftables.ts'
import { Authors } from './authors.ts'
import { countersOf } from './nft-counters.ts'
import { elementDifferences, type NftDifference, tableDamage, tableDifference } from './nft-differences.ts'
import { elementName, elementsOf, grouped, groupOf, seenProgram, tableIn, tableOf } from './nft-elements.ts'
import { isLacking, lacksNat, lacksNftables } from './nft-lacks.ts'
import { setEssence, tableChanges } from './nft-match.ts'
import { namesOf, type Part, stepsOf } from './nft-table-steps.ts'
import { type NamedNftElement, type NftProgram, nftElementKey, nftTableKey } from './objects.ts'
import { type Damage, failureOf, noOutcome, type ObjectName, type Outcome, type WriteFailure } from './outcome.ts'

/** A refused transaction is tried again with what the kernel has then, and then without what it refuses. */
const ATTEMPTS = 5
/** Elements of one transaction; the kernel holds a lock that all writers share while it works. */
const ELEMENTS_AT_ONCE = 5_000

/** `lacks`: this kernel cannot have it. */
type Refused = { error: KernelError; lacks: boolean }

export class NftTables {
  readonly #kernel: NftablesPort
  readonly #programs = new Map<string, NftProgram>()
  readonly #elements = new Delta<NamedNftElement>(() => true)
  /** Tables as they were last read or written. */
  readonly #seen = new Map<string, NftProgram>()
  /** Tables that were read once. */
  readonly #known = new Set<string>()
  /** Tables that were as wanted and then were not, and elements that went by others, each with what was found. */
  readonly #broken = new Map<string, Damage>()
  /** Elements that came by others. */
  readonly #foreign = new Set<string>()
  /** Whose transaction was the last about each of our tables. */
  readonly #authors = new Authors()
  readonly #lacking = new Map<string, string>()
  /** Elements that are not wanted and could not be removed in the last pass. */
  readonly #withheld = new Set<string>()
  #stale = true
  #wasRead = false

  constructor(kernel: NftablesPort) {
    this.#kernel = kernel
  }

  /** Wants a table to be so, or not to be there (`absent`). Memory only. Without `program` it is left as it is. */
  wantTable(key: string, program: NftProgram | undefined): void {
    if (program === undefined) this.#programs.delete(key)
    else {
      if (!this.#programs.has(key)) this.#stale = true
      this.#programs.set(key, program)
    }
  }

  /** Wants an element to be there, or to be gone. Memory only. */
  wantElement(key: string, element: NamedNftElement | undefined): void {
    this.#elements.want(key, element)
  }

  /** The kernel may have changed unseen: the next pass reads our tables again. */
  invalidate(): void {
    this.#stale = true
  }

  /** Takes in a transaction of anybody, or that some were missed (undefined). Returns whether a pass is needed. */
  observe(news: NftNews | undefined): boolean {
    if (news?.tables.some(table => this.#programs.has(nftTableKey(table))) === false) return false
    if (!this.#stale) this.#authors.clear()
    this.#stale = true
    for (const table of news?.tables ?? []) this.#authors.changed(nftTableKey(table), news?.by)
    return true
  }

  /** Whether a table is in the kernel as it is wanted, as far as is known. */
  stands(key: string): boolean {
    const [program, seen] = [this.#programs.get(key), this.#seen.get(key)]
    if (program?.absent === true) return this.#known.has(key) && seen === undefined
    return program !== undefined && seen !== undefined && tableChanges(program, seen) === undefined
  }

  /** Tables that this kernel cannot have, each with what it said. */
  lacking(): ReadonlyMap<string, string> {
    return this.#lacking
  }

  /**
   * Brings tables and wanted elements into the kernel. Never rejects with `KernelError`: a kernel that cannot be read
   * counts as one that refuses everything, and elements that are not there then are refused, each with its interface.
   */
  async put(): Promise<Outcome> {
    const outcome = noOutcome()
    const excluded = new Map<string, WriteFailure>()
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const failure = this.#stale ? await this.#read() : undefined
      if (failure !== undefined) {
        for (const key of this.#programs.keys()) excluded.set(key, failure)
        break
      }
      const left = this.#parts()
      if (left.length === 0) return outcome
      const parts = left.filter(({ key, table }) => !excluded.has(key) && !this.#isShut(table, excluded))
      if (parts.length === 0) break
      const refusals = await this.#write(parts)
      if (refusals.size === 0) {
        this.#took(parts, outcome)
        break
      }
      if (this.#noteLacks(parts, refusals)) continue
      this.#stale = true
      if (attempt > 0) for (const [key, { error }] of refusals) excluded.set(key, failureOf(error))
    }
    for (const part of this.#parts()) {
      if (this.#lacking.has(part.table)) continue
      const failure = excluded.get(part.key) ?? excluded.get(part.table) ?? UNSETTLED
      for (const name of namesOf(part)) outcome.refused.push({ ...name, ...failure })
    }
    // whoever is refused something tries again
    if (this.#stale && outcome.refused.length === 0)
      for (const [key, failure] of excluded) outcome.refused.push({ kind: 'nftTable', key, ...failure })
    return outcome
  }

  /** Removes elements that are not wanted, as far as `mayRemove` lets it. */
  async remove(mayRemove: (element: NamedNftElement) => boolean): Promise<Outcome> {
    const outcome = noOutcome()
    const gone: NamedNftElement[] = []
    this.#withheld.clear()
    for (const { key, value, seen } of this.#elements.pending()) {
      if (value !== undefined || seen === undefined) continue
      if (mayRemove(seen)) gone.push(seen)
      else {
        outcome.withheld.push(elementName(seen))
        this.#withheld.add(key)
      }
    }
    for (let from = 0; from < gone.length; from += ELEMENTS_AT_ONCE) {
      const some = gone.slice(from, from + ELEMENTS_AT_ONCE)
      const changes = grouped(some).map(
        (elements): NftChange => ({ verb: 'delete', object: this.#asElements(elements) }),
      )
      const [refusal] = await this.#change(changes)
      if (refusal === undefined)
        for (const each of some) {
          this.#elements.saw(nftElementKey(each))
          this.#removed(elementName(each), outcome)
        }
      else {
        // somebody removed one of them first: the next pass sees what is left
        this.#stale = true
        const failure = failureOf(refusal.error)
        for (const each of some) outcome.refused.push({ ...elementName(each), ...failure })
      }
    }
    return outcome
  }

  /**
   * How many packets the rules of our tables have counted since they were written, by the comment of the rule. Empty while
   * the kernel cannot be read.
   */
  async counted(): Promise<Map<string, number>> {
    const counted = new Map<string, number>()
    for (const [key, { table, absent }] of this.#programs) {
      if (this.#lacking.has(key) || absent === true) continue
      for (const { comment = '', packets } of await countersOf(this.#kernel, table))
        counted.set(comment, (counted.get(comment) ?? 0) + Number(packets))
    }
    return counted
  }

  /**
   * What of our tables, and of the elements of one interface, is not in the kernel now as it is wanted: the first thing of
   * each table, and every element but those of which it is not known yet whether they may go. Reads and changes nothing; a
   * table that this kernel cannot have is passed over. Rejects with `KernelError`.
   */
  async differences(interfaceName: string): Promise<NftDifference[]> {
    const found: NftDifference[] = []
    const ofInterface = (each: NamedNftElement) => each.interfaceName === interfaceName
    const mayDiffer = (each: NamedNftElement) => ofInterface(each) && !this.#withheld.has(nftElementKey(each))
    const wanted = [...this.#elements.wanted().values()].filter(ofInterface)
    for (const [key, program] of this.#programs) {
      if (this.#lacking.has(key)) continue
      const { family, name } = program.table
      const ruleset = await this.#kernel.nftables({ family, name })
      const difference = tableDifference(program, ruleset && seenProgram(ruleset, program))
      if (difference !== undefined) found.push(difference)
      const inTable = wanted.filter(each => tableOf(each) === key)
      for (const each of elementDifferences(inTable, elementsOf(ruleset).filter(mayDiffer))) found.push(each)
    }
    return found
  }

  /** Why the kernel could not be read; undefined when it was, or when it has no nftables. */
  async #read(): Promise<WriteFailure | undefined> {
    const standing = [...this.#programs.keys()].filter(key => this.stands(key))
    const before = new Map(this.#elements.seen())
    const found: [string, NamedNftElement][] = []
    this.#lacking.clear()
    for (const [key, { table }] of this.#programs) {
      let ruleset: NftRuleset | undefined
      try {
        ruleset = await this.#kernel.nftables({ family: table.family, name: table.name })
      } catch (error) {
        if (!(error instanceof KernelError)) throw error
        if (lacksNftables(error)) this.#lacking.set(key, error.message)
        else return failureOf(error)
      }
      this.#known.add(key)
      if (ruleset === undefined) this.#seen.delete(key)
      else this.#seen.set(key, seenProgram(ruleset, this.#programs.get(key)!))
      for (const element of elementsOf(ruleset))
        if (this.#setOf(element) !== undefined) found.push([nftElementKey(element), element])
    }
    this.#elements.resync(found)
    this.#stale = false
    for (const key of standing)
      if (!this.stands(key)) this.#broken.set(key, tableDamage(this.#programs.get(key)!, this.#seen.get(key)))
    if (this.#wasRead) this.#compare(before)
    this.#wasRead = true
    return undefined
  }

  /** Notes which elements others removed or added since they were last known. A table that is gone stands for its own. */
  #compare(before: ReadonlyMap<string, NamedNftElement>): void {
    const [wanted, seen] = [this.#elements.wanted(), this.#elements.seen()]
    const isInWholeTable = (element: NamedNftElement) => !this.#broken.has(tableOf(element))
    for (const [key, element] of wanted)
      if (before.has(key) && !seen.has(key) && isInWholeTable(element)) this.#broken.set(key, { gone: true })
    for (const key of this.#foreign) if (!seen.has(key)) this.#foreign.delete(key)
    for (const [key, element] of seen)
      if (!before.has(key) && !wanted.has(key) && isInWholeTable(element)) this.#foreign.add(key)
  }

  /** What is left to write, tables first. */
  #parts(): Part[] {
    const parts: Part[] = []
    const anew = new Set<string>()
    for (const [key, program] of this.#programs) {
      const changes = tableChanges(program, this.#seen.get(key))
      if (changes === undefined) {
        if (program.absent !== true) this.#seen.set(key, program)
        continue
      }
      parts.push({ key, table: key, changes, elements: [], replaced: [] })
      if (changes.anew) anew.add(key)
    }
    const missing: NamedNftElement[] = []
    const surplus: NamedNftElement[] = []
    for (const { value, seen } of this.#elements.pending()) {
      const element = value ?? seen
      if (element === undefined || anew.has(tableOf(element)) || this.#setOf(element) === undefined) continue
      if (value !== undefined) missing.push(value)
      else if (this.#isRange(element)) surplus.push(element)
    }
    // with its table every element goes, also those that are not wanted and may not be removed yet
    if (anew.size > 0) {
      const wanted = this.#elements.wanted()
      const ranges = new Set([...wanted.values()].filter(each => this.#isRange(each)).map(groupOf))
      for (const [key, element] of new Map([...this.#elements.seen(), ...wanted]))
        if (anew.has(tableOf(element)) && this.#setOf(element) !== undefined)
          if (wanted.has(key) || (this.#keepsSet(element) && !ranges.has(groupOf(element)))) missing.push(element)
    }
    const replaced = Map.groupBy(surplus, groupOf)
    for (const elements of grouped(missing)) {
      const [first] = elements
      const key = `${tableOf(first!)} ${first!.set} ${nftElementKey(first!)}`
      const changes = { anew: false, before: [], after: [] }
      parts.push({ key, table: tableOf(first!), changes, elements, replaced: replaced.get(groupOf(first!)) ?? [] })
      replaced.delete(groupOf(first!))
    }
    return parts
  }

  /** Whether an element may overlap with another one of its set. */
  #isRange(element: NamedNftElement): boolean {
    return this.#setOf(element)?.flags?.includes('interval') === true
  }

  /** Carries out all changes of `parts`, in one transaction where they are not too many; refusals by the part's key. */
  async #write(parts: readonly Part[]): Promise<ReadonlyMap<string, Refused>> {
    const steps = stepsOf(parts, elements => this.#asElements(elements))
    const whole = parts.some(part => part.changes.anew)
    const refusals = new Map<string, Refused>()
    for (let from = 0, to = 0; from < steps.length; from = to) {
      for (let count = 0; to < steps.length && (whole || count <= ELEMENTS_AT_ONCE); to++)
        count += steps[to]!.part.elements.length
      const some = steps.slice(from, to).flatMap(({ part, changes }) => changes.map(change => ({ part, change })))
      for (const refusal of await this.#change(some.map(({ change }) => change))) {
        const refused = refusal.index === undefined ? undefined : some[refusal.index]!
        const lacks = isLacking(refusal.error) || lacksNat(refusal.error, refused?.change)
        for (const { key } of refused === undefined ? some.map(({ part }) => part) : [refused.part])
          if (!refusals.has(key)) refusals.set(key, { error: refusal.error, lacks })
      }
      if (refusals.size > 0) break
    }
    return refusals
  }

  async #change(changes: readonly NftChange[]): Promise<NftRefusal[]> {
    try {
      return await this.#kernel.changeNftables(changes)
    } catch (error) {
      if (error instanceof KernelError) return [{ error }]
      throw error
    }
  }

  /** Notes tables that this kernel cannot have; returns whether there are any. */
  #noteLacks(parts: readonly Part[], refusals: ReadonlyMap<string, Refused>): boolean {
    const before = this.#lacking.size
    for (const { key, table } of parts) {
      const refused = key === table ? refusals.get(key) : undefined
      if (refused?.lacks === true) this.#lacking.set(key, refused.error.message)
    }
    return this.#lacking.size > before
  }

  /** Whether nothing can be written into a table now. */
  #isShut(table: string, excluded: ReadonlyMap<string, WriteFailure>): boolean {
    return this.#lacking.has(table) || (excluded.has(table) && !this.#seen.has(table))
  }

  #took(parts: readonly Part[], outcome: Outcome): void {
    for (const part of parts) {
      if (part.changes.anew) this.#forgetElements(part.table)
      if (part.key === part.table) {
        const program = this.#programs.get(part.key)!
        if (program.absent === true) this.#seen.delete(part.key)
        else this.#seen.set(part.key, program)
      }
      for (const each of part.replaced) {
        this.#elements.saw(nftElementKey(each))
        this.#wrote(elementName(each), outcome)
      }
      for (const each of part.elements) this.#elements.saw(nftElementKey(each), each)
      for (const name of namesOf(part)) this.#wrote(name, outcome)
    }
  }

  #forgetElements(table: string): void {
    for (const [key, element] of [...this.#elements.seen()]) if (tableOf(element) === table) this.#elements.saw(key)
  }

  #wrote(name: ObjectName, outcome: Outcome): void {
    outcome.written.push(name)
    const damage = this.#broken.get(name.key)
    this.#broken.delete(name.key)
    if (damage !== undefined) outcome.healed.push(this.#authors.healed(name, { ...damage, key: tableIn(name) }))
  }

  #removed(name: ObjectName, outcome: Outcome): void {
    outcome.written.push(name)
    if (this.#foreign.delete(name.key)) outcome.removed.push(this.#authors.healed(name, { key: tableIn(name) }))
  }

  /** The set of an element that comes and goes by itself; undefined where the table has none. */
  #setOf({ family, table, set }: NamedNftElement): NftSet | undefined {
    const { sets = [], contents } = this.#programs.get(nftTableKey({ family, name: table })) ?? {}
    return contents?.some(each => each.set === set) === true ? undefined : sets.find(({ name }) => name === set)
  }

  /** Whether the set of an element in the kernel will be there as it was when its table is made anew. */
  #keepsSet(element: NamedNftElement): boolean {
    const seen = this.#seen.get(tableOf(element))?.sets.find(({ name }) => name === element.set)
    const wanted = this.#setOf(element)
    return (
      seen !== undefined &&
      wanted !== undefined &&
      JSON.stringify(setEssence(seen)) === JSON.stringify(setEssence(wanted))
    )
  }

  #asElements(elements: readonly NamedNftElement[]): NftElements {
    const { family, table, set } = elements[0]!
    const types = typesOf(this.#setOf(elements[0]!)!)
    return { kind: 'elements', family, table, set, ...types, elements: elements.map(({ words }) => ({ key: words })) }
  }
}

const UNSETTLED: WriteFailure = {
  reason: 'Refused',
  message: `the tables of nftables were changed by others ${ATTEMPTS} times while they were written`,
}
