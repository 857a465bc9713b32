// The object `default` of a kind as it is now, by a watch. Hazard: what was not read is not the same as what is not there: a
// KubeControllersConfiguration may say that no block is ever freed, a ClusterInformation that the datastore is locked.
import type { Kind, Resource } from '../api/kinds.ts'
import { formatProblems } from '../api/validate.ts'
import { Refused, type Watch, type WatchEvent, type WatchHandlers } from '../datastore/port.ts'

/** Why nobody can tell what an object says. */
export type UnknownObject = { reason: 'NotRead' | 'Forbidden' | 'Invalid'; message: string }

/** The name of the one object that counts. */
const NAME = 'default'

export class DefaultObject<K extends Kind> {
  readonly #objects = new Map<string, Resource<K>>()
  #watch: Watch | undefined
  #synced = false
  /** Why it is not known what the object says now. */
  #away: Error | undefined
  #invalid: string | undefined

  /** Follows what `watch` opens. `changed` is called after each change. */
  start(watch: (handlers: WatchHandlers<K>) => Watch, changed: () => void): void {
    const follow = (event: WatchEvent<K>): void => {
      if (event.type === 'sync') {
        this.#objects.clear()
        this.#synced = true
      }
      for (const item of event.type === 'sync' ? event.items : [event.item]) {
        if (item.metadata.name === NAME) this.#invalid = undefined
        if (event.type === 'gone') this.#objects.delete(item.metadata.name)
        else this.#objects.set(item.metadata.name, item)
      }
      changed()
    }
    this.#watch = watch({
      event: follow,
      refused: event => {
        if (event.type === 'sync') this.#invalid = undefined
        for (const { name, problems } of event.type === 'sync' ? event.objects : [event.object])
          if (name === NAME) this.#invalid = event.type === 'gone' ? undefined : formatProblems(problems)
        changed()
      },
      connection: ({ connected, cause }) => {
        this.#away = connected ? undefined : (cause ?? new Error('there is no connection'))
        changed()
      },
    })
  }

  close(): void {
    this.#watch?.close()
  }

  /** The one that counts; undefined where there is none. Says nothing while it is `unknown`. */
  get current(): Resource<K> | undefined {
    return this.#objects.get(NAME)
  }

  /** Why it cannot be told what the object says now; undefined when it can. */
  get unknown(): UnknownObject | undefined {
    if (this.#away !== undefined)
      return { reason: this.#away instanceof Refused ? 'Forbidden' : 'NotRead', message: this.#away.message }
    if (!this.#synced) return { reason: 'NotRead', message: 'the API server did not answer yet' }
    return this.#invalid === undefined ? undefined : { reason: 'Invalid', message: this.#invalid }
  }

  /** All of them: another one than `default` has no effect, and is told. */
  all(): Resource<K>[] {
    return [...this.#objects.values()]
  }
}
