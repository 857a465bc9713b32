// Caches over a fake store, with what they asked of it.
import { type Caches, openCaches } from '../../datastore/cache.ts'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import { ManualClock } from '../../lib/clock.ts'
import { type Database, openDatabase } from '../../lib/database.ts'
import { silentLog } from '../../lib/log.ts'

export type World = { fake: FakeStore; database: Database; clock: ManualClock; asked: string[]; open(): Caches }

/** A store whose watches are written down, a database and a clock, from which caches can be opened again and again. */
export function aWorld(): World {
  const fake = createFakeStore()
  const [database, clock, asked] = [openDatabase(':memory:'), new ManualClock(), [] as string[]]
  const store = {
    ...fake,
    watch: ((kind, handlers, options) => {
      asked.push(`${kind} from ${options?.since ?? 'the start'}`)
      return fake.watch(kind, handlers, options)
    }) as FakeStore['watch'],
  }
  return { fake, database, clock, asked, open: () => openCaches(store, { database, clock, log: silentLog }) }
}
