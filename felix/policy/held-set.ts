// One set of the kernel as it must be: its elements, how often each is wanted, and which changed since it was last told.
// There are tens of thousands, of which many are empty.
import type { Family } from '../../lib/ip.ts'
import type { SetContent } from './sources.ts'

/** Elements of one set that come and go. The words of a key are joined by ` . `. */
export type ElementChanges = { added: readonly string[]; removed: readonly string[] }

/** In a set of its own, or in one that many share. */
export type Place = 'own' | 'shared'

const NO_ELEMENTS: ReadonlySet<string> = new Set<string>()

export class HeldSet {
  readonly content: SetContent
  readonly family: Family
  /** Where others know its elements to stand; undefined while they know of none. */
  toldIn: Place | undefined
  #elements: Set<string> | undefined
  /** How often an element is wanted beyond once: two endpoints can have one address for a moment. */
  #more: Map<string, number> | undefined
  /** Elements that were touched since the last `take`, and whether they were there then. */
  #before: Map<string, boolean> | undefined

  constructor(content: SetContent, family: Family) {
    this.content = content
    this.family = family
  }

  get size(): number {
    return this.#elements?.size ?? 0
  }

  add(element: string): void {
    if (this.#elements?.has(element)) {
      this.#more ??= new Map()
      this.#more.set(element, (this.#more.get(element) ?? 0) + 1)
      return
    }
    this.#touch(element, false)
    this.#elements ??= new Set()
    this.#elements.add(element)
  }

  /** Takes back one `add`. */
  remove(element: string): void {
    const more = this.#more?.get(element)
    if (more === undefined) {
      this.#touch(element, true)
      this.#elements?.delete(element)
    } else if (more === 1) this.#more?.delete(element)
    else this.#more?.set(element, more - 1)
  }

  has(element: string): boolean {
    return this.#elements?.has(element) ?? false
  }

  elements(): IterableIterator<string> {
    return (this.#elements ?? NO_ELEMENTS).values()
  }

  /** Every element that others know of, as of the last `take`, from the changes that it returned. */
  *told({ added, removed }: ElementChanges): Generator<string> {
    const isNew = new Set(added)
    for (const element of this.elements()) if (!isNew.has(element)) yield element
    yield* removed
  }

  /** What changed since the last call. */
  take(): ElementChanges {
    const added: string[] = []
    const removed: string[] = []
    for (const [element, wasThere] of this.#before ?? [])
      if ((this.#elements?.has(element) ?? false) !== wasThere) (wasThere ? removed : added).push(element)
    this.#before = undefined
    return { added, removed }
  }

  /** While nobody knows the set there is nothing to compare with. */
  #touch(element: string, wasThere: boolean): void {
    if (this.toldIn === undefined) return
    this.#before ??= new Map()
    if (!this.#before.has(element)) this.#before.set(element, wasThere)
  }
}
