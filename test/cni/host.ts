// A node for tests of the verbs without root: the kernel, the API server and the journal in memory.
import { takeOverPods } from '../../agent/earlier-pods.ts'
import type { Condition } from '../../api/status.ts'
import type { CniDeps } from '../../cni/deps.ts'
import { EndpointStore } from '../../cni/endpoints.ts'
import { type CniAnswer, handleCni } from '../../cni/handle.ts'
import type { HostSide } from '../../cni/host-side.ts'
import { Limiter } from '../../cni/limiter.ts'
import { OldFlows } from '../../cni/old-flows.ts'
import { Pins } from '../../cni/pins.ts'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import type { Store } from '../../datastore/port.ts'
import type { Felix } from '../../felix/loop.ts'
import type { NodeAllocator } from '../../ipam/allocator.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import type { ManualClock } from '../../lib/clock.ts'
import { type Database, openDatabase } from '../../lib/database.ts'
import { silentLog } from '../../lib/log.ts'
import { aNode, aPool, converge, drained } from '../ipam/world.ts'
import { felixFor } from './host-side.ts'

export const POD = '/run/netns/pod'

export type Host = {
  world: FakeWorld
  db: Database
  deps: CniDeps
  allocator: NodeAllocator
  felix: Felix
  clock: ManualClock
  /** Ends what runs. Kernel and database stay open. */
  close(): Promise<void>
}

type HostOptions = {
  store?: FakeStore
  /** Made in the store. */
  pools?: ReturnType<typeof aPool>[]
  /** How this host sees the store; absent: as it is. */
  writes?: Store
  /** As an agent starts: pods of an earlier run are adopted, and what ended is collected, before the API server is heard. */
  takesOver?: boolean
  /** Hears of pods that the journal did not know, as `takeOverPods` tells. */
  report?: (conditions: readonly Condition[]) => void
}

export async function aHost(
  db = openDatabase(':memory:'),
  world = new FakeWorld(),
  kernel = world.kernel(),
  { store = createFakeStore(), pools = [aPool('p', '10.0.0.0/24')], ...more }: HostOptions = {},
): Promise<Host> {
  for (const pool of pools) await store.create('IPPool', pool)
  const node = aNode(more.writes ?? store, 'n1', db)
  const endpoints = new EndpointStore(db)
  const base = {
    node: 'n1',
    bootId: 'boot',
    ipam: node.allocator,
    kernel,
    endpoints,
    oldFlows: new OldFlows({ kernel, clock: node.clock, log: silentLog }),
    pins: new Pins({ kernel, endpoints, clock: node.clock }),
    podCidrs: () => [],
    limiter: new Limiter(node.clock),
    mtu: () => 1500,
    clock: node.clock,
    log: silentLog,
    annotations: async () => ({ pod: {}, namespace: {} }),
    ready: () => undefined,
    status: () => undefined,
  }
  if (more.takesOver) {
    const { report = () => {} } = more
    await takeOverPods({ cni: { ...base, hostSide: NO_FELIX }, dataDir: '/var/lib/margay', report })
  }
  node.start()
  await (more.takesOver ? drained(store) : converge(store, node))
  const { felix, hostSide } = felixFor(kernel, endpoints, node.clock)
  const close = async (): Promise<void> => {
    await felix.close()
    await node.close()
  }
  return { world, db, deps: { ...base, hostSide }, allocator: node.allocator, felix, clock: node.clock, close }
}

const tooEarly = (): never => {
  throw new Error('felix does not run yet')
}
const NO_FELIX: HostSide = {
  applied: tooEarly,
  routeProtocol: tooEarly,
  isFloating: tooEarly,
  podsFiltered: tooEarly,
  filterDifferences: tooEarly,
}

export function call(
  { deps }: Host,
  verb: string,
  more: { id?: string; netns?: string; number?: number; ifname?: string; args?: string; conf?: object } = {},
): Promise<CniAnswer> {
  const { id = 'c1', netns = POD, number, ifname = 'eth0', args = '', conf = {} } = more
  const env = {
    ...{ CNI_COMMAND: verb, CNI_CONTAINERID: id, CNI_NETNS: netns, CNI_IFNAME: ifname, CNI_PATH: '/' },
    CNI_ARGS: args,
  }
  const stdin = JSON.stringify({ cniVersion: '1.1.0', name: 'net', ...conf })
  return handleCni({ env, stdin, ...(number !== undefined && { netns: number }) }, deps)
}

export async function added(host: Host, id = 'c1', netns = POD, conf = {}): Promise<{ ips: { address: string }[] }> {
  host.world.addNetns(netns)
  const { exitCode, stdout } = await call(host, 'ADD', { id, netns, conf })
  if (exitCode !== 0) throw new Error(stdout)
  return JSON.parse(stdout)
}
