// A node for tests of the verbs without root: the kernel, the API server and the journal in memory.
import type { CniDeps } from '../../cni/deps.ts'
import { EndpointStore } from '../../cni/endpoints.ts'
import { type CniAnswer, handleCni } from '../../cni/handle.ts'
import { Limiter } from '../../cni/limiter.ts'
import { OldFlows } from '../../cni/old-flows.ts'
import { createFakeStore } from '../../datastore/fake.ts'
import type { Felix } from '../../felix/loop.ts'
import type { NodeAllocator } from '../../ipam/allocator.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import type { ManualClock } from '../../lib/clock.ts'
import { type Database, openDatabase } from '../../lib/database.ts'
import { silentLog } from '../../lib/log.ts'
import { aNode, aPool, converge } from '../ipam/world.ts'
import { felixFor } from './host-side.ts'

export const POD = '/run/netns/pod'

export type Host = {
  world: FakeWorld
  db: Database
  deps: CniDeps
  allocator: NodeAllocator
  felix: Felix
  clock: ManualClock
}

export async function aHost(
  db = openDatabase(':memory:'),
  world = new FakeWorld(),
  kernel = world.kernel(),
  { store = createFakeStore(), pool = aPool('p', '10.0.0.0/24') } = {},
): Promise<Host> {
  await store.create('IPPool', pool)
  const node = aNode(store, 'n1', db)
  node.start()
  await converge(store, node)
  const endpoints = new EndpointStore(db)
  const { felix, hostSide } = felixFor(kernel, endpoints, node.clock)
  const deps: CniDeps = {
    node: 'n1',
    ipam: node.allocator,
    kernel,
    endpoints,
    hostSide,
    oldFlows: new OldFlows({ kernel, log: silentLog }),
    limiter: new Limiter(),
    mtu: () => 1500,
    clock: node.clock,
    log: silentLog,
    annotations: async () => ({ pod: {}, namespace: {} }),
    ready: () => undefined,
    status: () => undefined,
  }
  return { world, db, deps, allocator: node.allocator, felix, clock: node.clock }
}

export function call(
  { deps }: Host,
  verb: string,
  more: { id?: string; netns?: string; conf?: object } = {},
): Promise<CniAnswer> {
  const { id = 'c1', netns = POD, conf = {} } = more
  const env = { CNI_COMMAND: verb, CNI_CONTAINERID: id, CNI_NETNS: netns, CNI_IFNAME: 'eth0', CNI_PATH: '/' }
  return handleCni({ env, stdin: JSON.stringify({ cniVersion: '1.1.0', name: 'net', ...conf }) }, deps)
}

export async function added(host: Host, id = 'c1', netns = POD, conf = {}): Promise<{ ips: { address: string }[] }> {
  host.world.addNetns(netns)
  const { exitCode, stdout } = await call(host, 'ADD', { id, netns, conf })
  if (exitCode !== 0) throw new Error(stdout)
  return JSON.parse(stdout)
}
