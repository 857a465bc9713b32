// Who changed what is ours, from the moment that the kernel tells it until it is put back.
import type { Author } from '../port/kernel.ts'
import type { Damage, Healed, ObjectName } from './outcome.ts'

export class Authors {
  readonly #of = new Map<string, Author>()

  /** Whoever was told last of a key counts; what the kernel did by itself (undefined) changes nothing. */
  changed(key: string, by: Author | undefined): void {
    if (by !== undefined) this.#of.set(key, by)
  }

  forget(key: string): void {
    this.#of.delete(key)
  }

  clear(): void {
    this.#of.clear()
  }

  /** What was put back, with whoever had changed `key`. */
  healed(name: ObjectName, { key = name.key, ...damage }: Damage & { key?: string } = {}): Healed {
    const by = this.#of.get(key)
    return { ...name, ...damage, ...(by !== undefined && { by }) }
  }
}
