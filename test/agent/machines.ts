// Machines of a small cluster for tests of whole agents: kernels in memory, one store, TCP in memory. When a test ends, what its
// agents have published is held to what `calicoctl ipam check` counts as a problem.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { NodeAgent, type NodeAgentDeps } from '../../agent/node-agent.ts'
import { MemoryNetwork } from '../../bgp/simulation/memory-transport.ts'
import { handleCni } from '../../cni/handle.ts'
import { createFakeStore } from '../../datastore/fake.ts'
import type { Store } from '../../datastore/port.ts'
import { FakeWorld } from '../../kernel/fake/world.ts'
import type { Kernel } from '../../kernel/port/kernel.ts'
import { ROUTE_PROTOCOL, ROUTE_SCOPE, ROUTE_TABLE } from '../../kernel/port/routes.ts'
import { type Clock, systemClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { aNode, aPool } from '../datastore/objects.ts'
import { checkAgent } from '../ipam/calico-check.ts'

export type Machine = { name: string; address: string; world: FakeWorld; dataDir: string }

export async function aMachine(t: ExecutionContext, name: string, address: string): Promise<Machine> {
  const world = new FakeWorld()
  const kernel = world.kernel()
  const eth0 = await kernel.createLink({ kind: 'dummy', name: 'eth0' })
  await kernel.setLink('eth0', { up: true })
  await kernel.addAddress({ ifindex: eth0.index, address, length: 24, scope: ROUTE_SCOPE.universe })
  const gateway = address.replace(/\d+$/, '1')
  const route = { dst: '0.0.0.0/0', table: ROUTE_TABLE.main, type: 'unicast', protocol: ROUTE_PROTOCOL.static } as const
  await kernel.changeRoutes([{ verb: 'add', route: { ...route, scope: 0, gateway, ifindex: eth0.index } }])
  const dataDir = mkdtempSync(join(tmpdir(), 'margay-agent-'))
  t.teardown(() => rmSync(dataDir, { recursive: true, force: true }))
  for (const container of ['c0', 'c1', 'c2', 'c3', 'c4', 'old', 'new']) world.addNetns(`/run/netns/${container}`)
  return { name, address, world, dataDir }
}

/** Later than what is told by sessions in memory. */
const SLOW_MS = 150

/** A kernel that writes routes late. */
export function slowRoutes(kernel: Kernel): Kernel {
  return new Proxy(kernel, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name)
      if (typeof value !== 'function') return value
      if (name !== 'changeRoutes') return value.bind(target)
      return async (...args: Parameters<Kernel['changeRoutes']>) => {
        await new Promise(resolve => setTimeout(resolve, SLOW_MS))
        return await target.changeRoutes(...args)
      }
    },
  })
}

class TestAgent extends NodeAgent {
  isClosed = false

  override close(): Promise<void> {
    this.isClosed = true
    return super.close()
  }
}

export async function startAgent(
  t: ExecutionContext,
  at: Machine,
  store: Store,
  network: MemoryNetwork,
  clock: Clock = systemClock,
  more: Partial<NodeAgentDeps> = {},
  { nodeIp = 'auto' }: { nodeIp?: string } = {},
): Promise<NodeAgent> {
  const agent = new TestAgent(
    { nodeName: at.name, dataDir: at.dataDir, nodeIp, routeProtocol: 80 },
    {
      ...{
        kernel: at.world.kernel(),
        store,
        transport: network.host(at.address),
        clock,
        log: silentLog,
        lost: endTest,
      },
      ...more,
    },
  )
  await agent.start()
  t.teardown(async () => {
    if (!agent.isClosed && t.passed) await checkAgent(agent, at.name, store)
    await agent.close()
  })
  return agent
}

/** In place of the end of the program. */
function endTest(message: string): never {
  throw new Error(message)
}

/** Polls, since two agents settle over many turns; fails with what it last saw. */
export async function eventually<T>(
  t: ExecutionContext,
  what: string,
  look: () => T | Promise<T>,
  good: (seen: T) => boolean,
  seconds = 15,
) {
  const deadline = performance.now() + seconds * 1000
  let seen = await look()
  while (!good(seen) && performance.now() < deadline) {
    await new Promise(resolve => setTimeout(resolve, 10))
    seen = await look()
  }
  t.true(good(seen), `${what}: ${JSON.stringify(seen)}`)
  return seen
}

export function cni(agent: NodeAgent, command: 'ADD' | 'DEL' | 'STATUS', container: string, conf: object = {}) {
  const env = {
    CNI_COMMAND: command,
    CNI_CONTAINERID: container,
    CNI_NETNS: `/run/netns/${container}`,
    CNI_IFNAME: 'eth0',
    CNI_PATH: '/opt/cni/bin',
  }
  const stdin = JSON.stringify({ cniVersion: '1.1.0', name: 'net', type: 'margay', ...conf })
  return handleCni({ env, stdin }, agent.cni())
}

export async function aCluster(t: ExecutionContext) {
  const store = createFakeStore()
  await store.create('Node', aNode('n1'))
  await store.create('Node', aNode('n2'))
  await store.create('IPPool', aPool('pool', { cidr: '10.244.0.0/16', ipipMode: 'CrossSubnet' }))
  const network = new MemoryNetwork()
  const machines = [await aMachine(t, 'n1', '192.0.2.11'), await aMachine(t, 'n2', '192.0.2.12')] as const
  return { store, network, machines }
}

export const ownRoutes = async (machine: Machine) =>
  (await machine.world.kernel().routes({ table: ROUTE_TABLE.main, protocol: ROUTE_PROTOCOL.blocks })).map(r => r.type)

export const learnedRoutes = async (machine: Machine) =>
  (await machine.world.kernel().routes({ table: ROUTE_TABLE.main, protocol: ROUTE_PROTOCOL.blocks }))
    .filter(({ gateway }) => gateway !== undefined)
    .map(({ dst, gateway }) => `${dst} via ${gateway}`)
