// The CNI side of an agent alone, for the benchmark: run inside the node's namespace, with the folder for its journal
// and socket as argument. Prints `ready` when it listens.
import { createServer } from 'node:http'
import { join } from 'node:path'
import { kinds } from '../api/kinds.ts'
import type { CniDeps } from '../cni/deps.ts'
import { EndpointStore } from '../cni/endpoints.ts'
import { answerCni } from '../cni/http.ts'
import { Limiter } from '../cni/limiter.ts'
import { OldFlows } from '../cni/old-flows.ts'
import { openCaches } from '../datastore/cache.ts'
import { createFakeStore } from '../datastore/fake.ts'
import { Felix } from '../felix/loop.ts'
import { nodeMarks } from '../felix/marks.ts'
import { NodeAllocator } from '../ipam/allocator.ts'
import { Journal } from '../ipam/journal.ts'
import { openKernel } from '../kernel/linux/kernel.ts'
import { systemClock } from '../lib/clock.ts'
import { openDatabase } from '../lib/database.ts'
import { silentLog } from '../lib/log.ts'

const [folder = '.'] = process.argv.slice(2)
const base = { node: 'bench', clock: systemClock, log: silentLog }
const db = openDatabase(join(folder, 'node.db'))
const store = createFakeStore()
const pool = { metadata: { name: 'pods' }, spec: { cidr: '10.244.0.0/16' } }
await store.create('IPPool', kinds.IPPool.schema.parse(pool))
const caches = openCaches(store, { ...base, database: db })
const ipam = new NodeAllocator({ ...base, store, caches, journal: new Journal(db), selects: { node: () => true } })
const claimed = new Promise(resolve => ipam.onBlocks(resolve))
caches.start()
ipam.start()
await claimed
const kernel = openKernel()
const endpoints = new EndpointStore(db)
const marks = nodeMarks({ routeProtocol: 80, interfacePrefix: 'cali' })
const felix = new Felix(kernel, { ...base, marks, onConditions: () => {} })
felix.configure({ node: { name: 'bench', ipv4: '192.168.10.11/24', uplink: 'eth0' } })
endpoints.onChange(({ type, endpoint }) => felix.set('endpoint', endpoint.id, type === 'set' ? endpoint : undefined))
felix.complete('endpoints')
felix.complete('datastore')
felix.start()
const deps: CniDeps = {
  ...base,
  ipam,
  kernel,
  endpoints,
  hostSide: {
    applied: id => felix.applied(id),
    routeProtocol: () => felix.podRouteProtocol,
    podsFiltered: () => felix.podsFiltered,
    filterDifferences: name => felix.filterDifferences(name),
  },
  limiter: new Limiter(),
  oldFlows: new OldFlows({ kernel, log: silentLog }),
  mtu: () => 1500,
  annotations: async () => ({ pod: {}, namespace: {} }),
  ready: () => undefined,
  status: () => undefined,
}
createServer((request, response) => void answerCni(request, response, deps)).listen(join(folder, 'agent.sock'), () =>
  process.stdout.write('ready\n'),
)
