// How often a node writes to the API server for pods that come and go, by how many there are. On a clock of its own, so that an
// hour passes at once; the allocator and its journal are those of the agent.
import { kinds } from '../../api/kinds.ts'
import { openCaches } from '../../datastore/cache.ts'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import { NodeAllocator } from '../../ipam/allocator.ts'
import { Journal } from '../../ipam/journal.ts'
import { ManualClock } from '../../lib/clock.ts'
import { openDatabase } from '../../lib/database.ts'
import { silentLog } from '../../lib/log.ts'

const LIFE_SECONDS = 30
const STEP_MS = 250

/** Writes per pod on one node where `perMinute` pods come, each of which lives for half a minute, for so many minutes. */
export async function writesPerPod(perMinute: number, minutes: number): Promise<number> {
  const fake = createFakeStore()
  let writes = 0
  const count = <T>(write: Promise<T>): Promise<T> => write.finally(() => writes++)
  const store: FakeStore = {
    ...fake,
    create: (kind, object) => count(fake.create(kind, object)),
    update: (kind, object) => count(fake.update(kind, object)),
    patch: (kind, ...rest) => count(fake.patch(kind, ...rest)),
    delete: (kind, ...rest) => count(fake.delete(kind, ...rest)),
  }
  await fake.create('IPPool', kinds.IPPool.schema.parse({ metadata: { name: 'p' }, spec: { cidr: '10.0.0.0/16' } }))
  const [clock, db] = [new ManualClock(), openDatabase(':memory:')]
  const base = { clock, log: silentLog }
  const caches = openCaches(store, { ...base, database: db })
  const selects = { node: () => true }
  const allocator = new NodeAllocator({ ...base, node: 'n', store, caches, journal: new Journal(db), selects })
  const pass = async (ms: number): Promise<void> => {
    for (let left = ms; left > 0; left -= STEP_MS) {
      clock.advance(Math.min(left, STEP_MS))
      for (let i = 0; i < 4; i++) await new Promise(setImmediate)
      await fake.settled()
    }
  }
  caches.start()
  allocator.start()
  await pass(5_000)
  writes = 0
  const apartMs = 60_000 / perMinute
  const living: { handle: string; endMs: number }[] = []
  let pods = 0
  for (const endMs = clock.monotonicMs() + minutes * 60_000; clock.monotonicMs() < endMs; pods++) {
    const handle = `net.c${pods}.eth0`
    const attributes = { node: 'n', containerID: `c${pods}` }
    await allocator.assign({ handle, attributes, families: ['ipv4'], use: 'Workload' })
    living.push({ handle, endMs: clock.monotonicMs() + LIFE_SECONDS * 1000 })
    await pass(apartMs)
    while (living.length > 0 && living[0]!.endMs <= clock.monotonicMs()) await allocator.release(living.shift()!.handle)
  }
  await allocator.close()
  caches.close()
  return writes / pods
}
