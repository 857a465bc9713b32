// The KubeControllersConfiguration as it is now, by a watch. Hazard: what was not read is not the same as what is not there:
// it may say that no block is ever freed.
import type { Resource } from '../api/kinds.ts'
import { formatProblems } from '../api/validate.ts'
import { Refused, type Store, type Watch, type WatchEvent } from '../datastore/port.ts'

type Configuration = Resource<'KubeControllersConfiguration'>

/** Why nobody can tell what a configuration says. */
export type ConfigurationFault = { reason: 'NotRead' | 'Forbidden' | 'Invalid'; message: string }

/** The name of the one object that counts. */
const NAME = 'default'

export class ConfigurationWatch {
  readonly #objects = new Map<string, Configuration>()
  #watch: Watch | undefined
  #synced = false
  /** Why it is not known what the object says now. */
  #away: Error | undefined
  #invalid: string | undefined

  /** `changed` is called after each change. */
  start(store: Store, changed: () => void): void {
    const follow = (event: WatchEvent<'KubeControllersConfiguration'>): void => {
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
    this.#watch = store.watch('KubeControllersConfiguration', {
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
  get current(): Configuration | undefined {
    return this.#objects.get(NAME)
  }

  /** Why it cannot be told what the object says now; undefined when it can. */
  get unknown(): ConfigurationFault | undefined {
    if (this.#away !== undefined)
      return { reason: this.#away instanceof Refused ? 'Forbidden' : 'NotRead', message: this.#away.message }
    if (!this.#synced) return { reason: 'NotRead', message: 'the API server did not answer yet' }
    return this.#invalid === undefined ? undefined : { reason: 'Invalid', message: this.#invalid }
  }

  /** All of them: another one than `default` has no effect, and is told. */
  all(): Configuration[] {
    return [...this.#objects.values()]
  }
}
