// What the IPAM tests build worlds from: nodes over a store, each with a journal of its own and a clock that only
// moves when a test moves it.
import type { Resource } from '../../api/kinds.ts'
import { kinds } from '../../api/kinds.ts'
import { openCaches } from '../../datastore/cache.ts'
import type { Store } from '../../datastore/port.ts'
import { NodeAllocator } from '../../ipam/allocator.ts'
import { Journal } from '../../ipam/journal.ts'
import type { AssignRequest } from '../../ipam/port.ts'
import type { Sets } from '../../ipam/resting.ts'
import { ManualClock } from '../../lib/clock.ts'
import { type Database, openDatabase } from '../../lib/database.ts'
import { silentLog } from '../../lib/log.ts'

export type TestNode = {
  name: string
  clock: ManualClock
  db: Database
  allocator: NodeAllocator
  /** Connects to the store. */
  start(): void
  close(): Promise<void>
  /** Stops without publishing and starts over from the journal. */
  restart(): Promise<TestNode>
}

export function aNode(
  store: Store,
  name: string,
  db: Database = openDatabase(':memory:'),
  mayWrite?: () => boolean,
  sets?: Sets,
): TestNode {
  const clock = new ManualClock()
  const selects = { node: (selector: string) => selector === 'all()' || selector === name }
  const caches = openCaches(store, { database: db, clock, log: silentLog })
  const journal = new Journal(db)
  const allocator = new NodeAllocator({
    node: name,
    store,
    mayWrite,
    caches,
    journal,
    clock,
    log: silentLog,
    selects,
    sets,
  })
  return {
    name,
    clock,
    db,
    allocator,
    start() {
      caches.start()
      allocator.start()
    },
    async close() {
      await allocator.close()
      caches.close()
    },
    async restart() {
      await this.close()
      const again = aNode(store, name, db, mayWrite, sets)
      again.start()
      return again
    },
  }
}

export function aPod(name: string): AssignRequest {
  const attributes = { pod: name, namespace: 'default', node: 'n1', containerID: name }
  return { handle: `net.${name}.eth0`, attributes, families: ['ipv4'], use: 'Workload' }
}

export function aPool(
  name: string,
  cidr: string,
  blockSize?: number,
  spec: Partial<Resource<'IPPool'>['spec']> = {},
): Resource<'IPPool'> {
  return kinds.IPPool.schema.parse({ metadata: { name }, spec: { cidr, blockSize, ...spec } })
}

/** Lets everything that waits happen, for longer than a change waits to be published: events are delivered and timers fire. */
export async function converge(store: { settled?(): Promise<void> }, ...nodes: TestNode[]): Promise<void> {
  for (let round = 0; round < 30; round++) {
    for (let i = 0; i < 20; i++) await new Promise(setImmediate)
    await store.settled?.()
    for (const { clock } of nodes) clock.advance(5_000)
  }
}
