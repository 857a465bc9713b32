// Agents of nodes for the tests of the controllers: the real allocator with its journal, as an agent wires it. While there is no
// Node object, or the server is not believed, it writes nothing but its answers.
import { openCaches } from '../../datastore/cache.ts'
import type { FakeStore } from '../../datastore/fake.ts'
import { guardedStore } from '../../datastore/guarded.ts'
import { NodeAllocator } from '../../ipam/allocator.ts'
import { Journal } from '../../ipam/journal.ts'
import { ManualClock } from '../../lib/clock.ts'
import { type Database, openDatabase } from '../../lib/database.ts'
import { silentLog } from '../../lib/log.ts'
import { Line } from './world.ts'

export type Agent = {
  readonly clock: ManualClock
  readonly line: Line
  /** The node's disk, which outlives the agent. */
  readonly db: Database
  readonly allocator: NodeAllocator
  /** Starts a pod; whether it has an address. */
  addPod(pod: string): boolean
  /** Handles and their addresses. */
  pods(): ReadonlyMap<string, readonly { address: string; block: string }[]>
  kill(): Promise<void>
}

export function startAgent(shared: FakeStore, node: string, db: Database = openDatabase(':memory:')): Agent {
  const clock = new ManualClock()
  const line = new Line(shared)
  const { store } = line
  const caches = openCaches(store, { database: db, clock, log: silentLog, self: node })
  const nodes = caches.of('Node')
  const refusal = () => {
    if (caches.doubt !== undefined) return caches.doubt.reason
    return nodes.synced && nodes.get(node) === undefined ? 'there is no Node' : undefined
  }
  const guarded = guardedStore(store, refusal)
  const allocator = new NodeAllocator({
    ...{ node, store: guarded, answers: store, caches, journal: new Journal(db), clock, log: silentLog },
    selects: { node: () => true },
    mayWrite: () => refusal() === undefined,
  })
  caches.start()
  allocator.start()
  nodes.onChange(() => allocator.retryNow())
  nodes.onState(() => allocator.retryNow())
  return {
    ...{ clock, line, db, allocator },
    addPod: pod => {
      const attributes = { pod, namespace: 'default', node, containerID: pod }
      const answer = allocator.assignNow({ handle: `net.${pod}.eth0`, attributes, families: ['ipv4'], use: 'Workload' })
      return Array.isArray(answer)
    },
    pods: () => allocator.held(),
    async kill() {
      line.end()
      await allocator.close()
      caches.close()
    },
  }
}
