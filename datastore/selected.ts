// Which objects of a list and of the watch after it are told, where the server does not select: one that is no longer selected is
// told as gone. And of two stored policies with one name (Calico 3.32 copies `default.x` to `x` and then deletes the old one)
// the newer one counts: neither a change nor the end of the old one is told while the new one is there.
import { isObject } from '../api/merge-patch.ts'
import { Gone } from './connection.ts'
import type { ListOptions } from './port.ts'
import type { Wire } from './wire.ts'

export class Selected {
  readonly wire: Wire
  readonly #matches: ((object: unknown) => boolean) | undefined
  /** Places of objects that were told. */
  #told = new Set<string>()
  /** By place, the stored names of an object that has more than one. */
  readonly #names = new Map<string, Set<string>>()

  constructor(wire: Wire, options: ListOptions) {
    this.wire = wire
    this.#matches = wire.selection(options).matches
  }

  /** A list begins. */
  begin(): void {
    this.#told = new Set()
    this.#names.clear()
  }

  /** How an object is told, by how the server tells it as stored; undefined: it is not. Throws Gone where only a new list can tell. */
  typeOf(type: 'set' | 'gone', stored: unknown, object: unknown): 'set' | 'gone' | undefined {
    if (!this.wire.isStoredForm) return type
    const [place, name] = [placeOf(object), nameOf(stored)]
    if (this.wire.names(nameOf(object)).length > 1 && !this.#isFirst(type, place, name, nameOf(object)))
      return undefined
    if (this.#matches === undefined) return type
    if (type === 'set' && this.#matches(object)) {
      this.#told.add(place)
      return 'set'
    }
    return this.#told.delete(place) ? 'gone' : undefined
  }

  /** A list without objects that have the name of a newer one in it. */
  withoutOlder<T extends { metadata: { name: string; namespace?: string } }>(items: readonly T[]): T[] {
    if (this.#names.size === 0) return [...items]
    return [...new Map(items.map(item => [placeOf(item), item])).values()]
  }

  #isFirst(type: 'set' | 'gone', place: string, stored: string, name: string): boolean {
    const names = this.#names.get(place) ?? new Set()
    if (type === 'set') names.add(stored)
    else names.delete(stored)
    if (names.size === 0) this.#names.delete(place)
    else this.#names.set(place, names)
    // the old one counts again, and is not at hand
    if (type === 'gone' && stored === name && names.size > 0)
      throw new Gone(`${name} is stored as ${[...names].join()}`)
    return stored === name || !names.has(name)
  }
}

function nameOf(object: unknown): string {
  return isObject(object) && isObject(object['metadata']) ? String(object['metadata']['name']) : ''
}

function placeOf(object: unknown): string {
  const namespace = isObject(object) && isObject(object['metadata']) ? object['metadata']['namespace'] : undefined
  return `${String(namespace ?? '')}/${nameOf(object)}`
}
