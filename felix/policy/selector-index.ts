// Which items (endpoints, sets of networks, nodes) each registered selector chooses. Items with the same labels are one
// class, which is asked once. A selector is looked up by a label that it demands, and so are classes, so that a change of
// one item asks only the selectors that could choose it, and a new selector only the classes that it could choose.
// Nothing is kept about who chose whom: that follows from the labels at any time.
// Hazard: in a large cluster some labels are the same for all (the orchestrator, often the namespace). A selector takes
// the demand that the fewest others took and the fewest classes satisfy.
import { hash } from 'node:crypto'
import { evaluate, type Labels, parseSelector, type Selector } from '../../api/selector.ts'
import { type Demand, demandsOf } from './demands.ts'
import { LABEL, type SelectorText } from './model.ts'
import { SmallSet } from './small-set.ts'

type LabelClass<T> = {
  readonly id: string
  readonly labels: Labels
  readonly items: SmallSet<T>
  /** The last walk that met it. */
  seen: number
}

type Registered = {
  readonly text: SelectorText
  readonly selector: Selector
  /** Where it stands in the index; undefined when it must always be asked. */
  demands: readonly Demand[] | undefined
  uses: number
  /** The last walk that met it. */
  seen: number
}

/** Everything about one value of a label. */
type Bucket<T> = { classes: SmallSet<LabelClass<T>>; selectors: SmallSet<Registered> }

/** Everything about one label; `any` are the selectors that take every value of it. */
type LabelIndex<T> = { values: Map<string, Bucket<T>>; any: SmallSet<Registered>; classes: number; selectors: number }

/** What the index of a label that has none yet is taken to cost, in classes and selectors to be asked. */
const COST_OF_NEW = 100

/** Who is told of items that enter or leave what a selector chooses. */
type Listener<T> = { entered(selector: SelectorText, item: T): void; left(selector: SelectorText, item: T): void }

/** How many texts are remembered to be shared: of so many for each class that is there. Pods that come and go have ever new ones. */
const SHARED_TEXTS = { least: 1_000, most: 20_000, eachClass: 4 }

export class SelectorIndex<T extends object> {
  readonly #changed: Listener<T>
  readonly #classes = new Map<string, LabelClass<T>>()
  readonly #classOf = new Map<T, LabelClass<T>>()
  readonly #selectors = new Map<SelectorText, Registered>()
  readonly #always = new Set<Registered>()
  readonly #labels = new Map<string, LabelIndex<T>>()
  readonly #texts = new Map<string, string>()
  #walk = 0

  /** `changed` is called while items are set, never while selectors are registered. */
  constructor(changed: Listener<T>) {
    this.#changed = changed
  }

  /** Takes a selector in, once for each call. Throws SelectorError when it cannot be read. */
  register(text: SelectorText): void {
    const known = this.#selectors.get(text)
    if (known !== undefined) {
      known.uses++
      return
    }
    const selector = parseSelector(text)
    const registered = { text, selector, demands: this.#choose(selector), uses: 1, seen: 0 }
    this.#selectors.set(text, registered)
    if (registered.demands === undefined) this.#always.add(registered)
    for (const demand of registered.demands ?? []) {
      const index = this.#labels.get(demand.label)!
      index.selectors++
      if (demand.value === undefined) index.any.add(registered)
      else bucketOf(index, demand.value).selectors.add(registered)
    }
  }

  /** Takes back one `register`. */
  unregister(text: SelectorText): void {
    const registered = this.#selectors.get(text)
    if (registered === undefined || --registered.uses > 0) return
    this.#selectors.delete(text)
    this.#always.delete(registered)
    for (const { label, value } of registered.demands ?? []) {
      const index = this.#labels.get(label)!
      if (value === undefined) index.any.delete(registered)
      else {
        index.values.get(value)!.selectors.delete(registered)
        dropEmpty(index, value)
      }
      if (--index.selectors === 0) this.#labels.delete(label)
    }
  }

  /** Gives an item other labels, or takes it away. */
  set(item: T, labels: Labels | undefined): void {
    const before = this.#classOf.get(item)
    const now = labels === undefined ? undefined : this.#classFor(labels)
    if (before === now) return
    const entered = new Set(now === undefined ? [] : this.#selectorsOf(now))
    const left = before === undefined ? [] : this.#selectorsOf(before).filter(each => !entered.delete(each))
    if (now === undefined) this.#classOf.delete(item)
    else {
      now.items.add(item)
      this.#classOf.set(item, now)
    }
    if (before !== undefined) {
      before.items.delete(item)
      if (before.items.size === 0) this.#dropClass(before)
    }
    for (const { text } of left) this.#changed.left(text, item)
    for (const { text } of entered) this.#changed.entered(text, item)
  }

  /** The items that a registered selector chooses now. */
  *itemsOf(text: SelectorText): Generator<T> {
    const registered = this.#selectors.get(text)
    if (registered === undefined) return
    for (const each of [...this.#classesFor(registered)])
      if (evaluate(registered.selector, each.labels)) yield* each.items
  }

  /** The registered selectors that choose an item now. */
  selectorsOf(item: T): SelectorText[] {
    const of = this.#classOf.get(item)
    return of === undefined ? [] : this.#selectorsOf(of).map(({ text }) => text)
  }

  labelsOf(item: T): Labels | undefined {
    return this.#classOf.get(item)?.labels
  }

  #selectorsOf({ labels }: LabelClass<T>): Registered[] {
    const found: Registered[] = []
    const walk = ++this.#walk
    const ask = (each: Registered) => {
      if (each.seen === walk) return
      each.seen = walk
      if (evaluate(each.selector, labels)) found.push(each)
    }
    for (const each of this.#always) ask(each)
    for (const [label, index] of this.#indexesOf(labels)) {
      for (const each of index.any) ask(each)
      for (const each of index.values.get(labels[label]!)?.selectors ?? []) ask(each)
    }
    return found
  }

  /** The indexes of the labels that are there. */
  *#indexesOf(labels: Labels): Generator<readonly [label: string, index: LabelIndex<T>]> {
    for (const label of Object.keys(labels)) {
      const index = this.#labels.get(label)
      if (index !== undefined) yield [label, index]
    }
  }

  *#classesFor({ demands }: Registered): Generator<LabelClass<T>> {
    if (demands === undefined) {
      yield* this.#classes.values()
      return
    }
    const walk = ++this.#walk
    for (const { label, value } of demands) {
      const { values } = this.#labels.get(label)!
      const buckets = value === undefined ? values.values() : [values.get(value)!]
      for (const { classes } of buckets)
        for (const each of classes) {
          if (each.seen === walk) continue
          each.seen = walk
          yield each
        }
    }
  }

  /** The class of these labels, which is made where there is none. */
  #classFor(labels: Labels): LabelClass<T> {
    // labels come from the users of a cluster: nobody shall be able to make two maps of one class
    const id = hash('sha256', JSON.stringify(Object.entries(labels).sort(byName)), 'base64url')
    const known = this.#classes.get(id)
    if (known !== undefined) return known
    const made: LabelClass<T> = { id, labels: this.#shared(labels), items: new SmallSet(), seen: 0 }
    this.#classes.set(id, made)
    for (const [label, index] of this.#indexesOf(labels)) addClass(index, label, made)
    return made
  }

  /** The same labels, of texts that other classes have too: each object of the API brings its own copies. */
  #shared(labels: Labels): Labels {
    const { least, most, eachClass } = SHARED_TEXTS
    if (this.#texts.size > Math.min(most, Math.max(least, eachClass * this.#classes.size))) this.#texts.clear()
    const shared = (text: string) => {
      const known = this.#texts.get(text)
      if (known === undefined) this.#texts.set(text, text)
      return known ?? text
    }
    return Object.fromEntries(Object.entries(labels).map(([name, value]) => [shared(name), shared(value)]))
  }

  #dropClass(of: LabelClass<T>): void {
    this.#classes.delete(of.id)
    for (const [label, index] of this.#indexesOf(of.labels)) {
      const value = of.labels[label]!
      index.values.get(value)!.classes.delete(of)
      index.classes--
      dropEmpty(index, value)
    }
  }

  /** The cheapest demands. Their labels have an index from now on. */
  #choose(selector: Selector): readonly Demand[] | undefined {
    for (;;) {
      const demands = demandsOf(selector, demand => this.#costOf(demand))
      const label = demands?.find(each => !this.#labels.has(each.label))?.label
      if (label === undefined) return demands
      const index: LabelIndex<T> = { values: new Map(), any: new SmallSet(), classes: 0, selectors: 0 }
      this.#labels.set(label, index)
      for (const each of this.#classes.values()) if (Object.hasOwn(each.labels, label)) addClass(index, label, each)
    }
  }

  #costOf({ label, value }: Demand): number {
    // every pod has it
    if (label === LABEL.orchestrator) return 1e9
    const index = this.#labels.get(label)
    // the namespace first, where nothing else is known
    if (index === undefined) return label === LABEL.namespace ? COST_OF_NEW - 1 : COST_OF_NEW
    if (value === undefined) return index.classes + index.any.size
    const bucket = index.values.get(value)
    return bucket === undefined ? 0 : bucket.classes.size + bucket.selectors.size
  }
}

function byName([a]: readonly [string, string], [b]: readonly [string, string]): number {
  return a < b ? -1 : 1
}

function bucketOf<T>({ values }: LabelIndex<T>, value: string): Bucket<T> {
  let bucket = values.get(value)
  if (bucket === undefined) {
    bucket = { classes: new SmallSet(), selectors: new SmallSet() }
    values.set(value, bucket)
  }
  return bucket
}

function addClass<T>(index: LabelIndex<T>, label: string, of: LabelClass<T>): void {
  bucketOf(index, of.labels[label]!).classes.add(of)
  index.classes++
}

function dropEmpty<T>({ values }: LabelIndex<T>, value: string): void {
  const { classes, selectors } = values.get(value)!
  if (classes.size === 0 && selectors.size === 0) values.delete(value)
}
