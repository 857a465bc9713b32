// The KubeControllersConfiguration as it is now, by a watch.
import type { Resource } from '../api/kinds.ts'
import type { Store, Watch, WatchEvent } from '../datastore/port.ts'

type Configuration = Resource<'KubeControllersConfiguration'>

/** The name of the one object that counts. */
const NAME = 'default'

export class ConfigurationWatch {
  readonly #objects = new Map<string, Configuration>()
  #watch: Watch | undefined

  /** `changed` is called after each change. */
  start(store: Store, changed: () => void): void {
    const follow = (event: WatchEvent<'KubeControllersConfiguration'>): void => {
      if (event.type === 'sync') this.#objects.clear()
      for (const item of event.type === 'sync' ? event.items : [event.item])
        if (event.type === 'gone') this.#objects.delete(item.metadata.name)
        else this.#objects.set(item.metadata.name, item)
      changed()
    }
    this.#watch = store.watch('KubeControllersConfiguration', { event: follow })
  }

  close(): void {
    this.#watch?.close()
  }

  get current(): Configuration | undefined {
    return this.#objects.get(NAME)
  }

  /** All of them: another one than `default` has no effect, and is told. */
  all(): Configuration[] {
    return [...this.#objects.values()]
  }
}
