// The objects of a cluster as they are, and as they would be with a manifest applied: what previews work on. Only valid ones count, as
// for agents.
import { type Kind, kinds, type Resource } from '../api/kinds.ts'
import { mergePatch } from '../api/merge-patch.ts'
import { validate } from '../api/validate.ts'
import { UsageError } from './failure.ts'
import type { Item } from './manifest.ts'

/** By kind, then by `nameOf`. */
export class KnownObjects<K extends Kind> {
  readonly #byKind: ReadonlyMap<Kind, ReadonlyMap<string, Resource<Kind>>>

  constructor(byKind: ReadonlyMap<Kind, ReadonlyMap<string, Resource<Kind>>>) {
    this.#byKind = byKind
  }

  all<T extends K>(kind: T): readonly Resource<T>[] {
    return [...this.named(kind).values()]
  }

  named<T extends K>(kind: T): ReadonlyMap<string, Resource<T>> {
    return (this.#byKind.get(kind) ?? new Map()) as ReadonlyMap<string, Resource<T>>
  }

  /** All of them, under the names of `named`. */
  *entries(): Generator<[K, string, Resource<K>]> {
    for (const [kind, objects] of this.#byKind)
      for (const [name, object] of objects) yield [kind as K, name, object as Resource<K>]
  }

  /** With the objects of a manifest in their place, or without them. Throws UsageError where that cannot be. */
  with(items: readonly Item[], { deletes }: { deletes: boolean }): KnownObjects<K> {
    const byKind = new Map([...this.#byKind].map(([kind, objects]) => [kind, new Map(objects)]))
    for (const { kind, object, named } of items) {
      const objects = byKind.get(kind) ?? new Map<string, Resource<Kind>>()
      byKind.set(kind, objects)
      const name = nameOf(object)
      if (deletes && !objects.has(name)) throw new UsageError(`there is no ${kinds[kind].singular} ${name} to delete`)
      if (deletes) objects.delete(name)
      else objects.set(name, applied(kind, objects.get(name), named) ?? object)
    }
    return new KnownObjects(byKind)
  }
}

/** Those that are valid, by name. */
export function validOnes<K extends Kind>(kind: K, listed: readonly object[]): Map<string, Resource<Kind>> {
  const found = listed.map(object => validate(kind, object)).filter(each => !Array.isArray(each))
  return new Map((found as Resource<Kind>[]).map(object => [nameOf(object), object]))
}

/** `namespace/name` where it has a namespace. */
function nameOf({ metadata: { namespace, name } }: Resource<Kind>): string {
  return namespace === undefined ? name : `${namespace}/${name}`
}

/** As `apply` leaves it: fields stay that the manifest does not name. Undefined where it is new. */
function applied(kind: Kind, before: Resource<Kind> | undefined, named: Item['named']): Resource<Kind> | undefined {
  if (before === undefined) return undefined
  const after = validate(kind, mergePatch(before, named))
  if (Array.isArray(after))
    throw new UsageError(
      `${kinds[kind].singular} ${before.metadata.name}: with what is there it would not be valid: ${after.map(({ path, message }) => `${path} ${message}`).join(', ')}`,
    )
  return after
}
