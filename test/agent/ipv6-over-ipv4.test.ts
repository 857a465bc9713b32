// Whole agents in a cluster of IPv6 pods whose nodes have no IPv6 address, or IPv6 addresses that do not reach each other.
import test, { type ExecutionContext } from 'ava'
import type { NodeAgent } from '../../agent/node-agent.ts'
import { NODE_ANNOTATION } from '../../api/core.ts'
import type { Transport } from '../../bgp/port.ts'
import { MemoryNetwork } from '../../bgp/simulation/memory-transport.ts'
import { createFakeStore } from '../../datastore/fake.ts'
import { vtepMac } from '../../felix/calc/tunnels.ts'
import { ROUTE_SCOPE } from '../../kernel/port/routes.ts'
import { linkLocal } from '../../lib/ip.ts'
import { aNode, aPool } from '../datastore/objects.ts'
import { aMachine, cni, eventually, learnedRoutes, type Machine, startAgent } from './machines.ts'

const POOL = { cidr: 'fd00:10::/48', vxlanMode: 'CrossSubnet', natOutgoing: true }

/** Two nodes on two subnets, an IPv6 pool alone, and a pod on the second. `ipv6`: the nodes have such addresses, over which no session comes up. */
async function twoAgents(t: ExecutionContext, { ipv6 = false, pool = {} } = {}) {
  const store = createFakeStore()
  for (const name of ['n1', 'n2']) await store.create('Node', aNode(name))
  await store.create('IPPool', aPool('six', { ...POOL, ...pool }))
  const network = new MemoryNetwork()
  const machines = [await aMachine(t, 'n1', '192.0.2.11'), await aMachine(t, 'n2', '198.51.100.12')] as const
  const agents: NodeAgent[] = []
  for (const [i, at] of machines.entries()) {
    const kernel = at.world.kernel()
    const { index: ifindex } = (await kernel.link('eth0'))!
    if (ipv6) await kernel.addAddress({ ifindex, address: `2001:db8:${i}::1`, length: 64, scope: ROUTE_SCOPE.universe })
    agents.push(
      await startAgent(t, at, store, network, undefined, { transport: withoutIpv6(network.host(at.address)) }),
    )
  }
  const added = await cni(agents[1]!, 'ADD', 'c1', {
    ipam: { type: 'margay-ipam', assign_ipv4: 'auto', assign_ipv6: 'auto' },
  })
  t.is(added.exitCode, 0, JSON.stringify(added))
  return { store, network, machines, agents: agents as [NodeAgent, NodeAgent] }
}

/** TCP over IPv4 alone. */
function withoutIpv6(host: ReturnType<MemoryNetwork['host']>): Transport {
  return {
    listen: (at, accept) => host.listen(at, accept),
    dial: (options, signal) =>
      options.address.includes(':') ? Promise.reject(new Error('no route to host')) : host.dial(options, signal),
  }
}

/** The IPv6 addresses of its tunnels that a node has on its device. */
async function tunnelAddresses({ world }: Machine): Promise<string[]> {
  const kernel = world.kernel()
  const link = await kernel.link('vxlan.calico')
  const all = link === undefined ? [] : await kernel.addresses(link.index)
  return all.map(({ address, length }) => `${address}/${length}`).filter(text => text.startsWith('fd00:10:'))
}

async function onTunnel({ world }: Machine): Promise<{ neighbours: string[]; fdb: string[] }> {
  const kernel = world.kernel()
  const link = await kernel.link('vxlan.calico')
  if (link === undefined) return { neighbours: [], fdb: [] }
  const neighbours = await kernel.neighbours(link.index)
  return {
    neighbours: neighbours.map(({ address, mac }) => `${address} ${mac}`),
    fdb: (await kernel.fdb(link.index)).map(({ mac, dst }) => `${mac} ${dst}`),
  }
}

for (const ipv6 of [false, true]) {
  const nodes = ipv6 ? 'whose IPv6 addresses do not reach each other' : 'with IPv4 addresses alone'
  test(`IPv6 blocks of nodes ${nodes} are learned over IPv4 and led through its VXLAN, and go with the node`, async t => {
    const { store, machines, agents } = await twoAgents(t, { ipv6 })
    const gateway = linkLocal(vtepMac('n2'))
    const routes = await eventually(
      t,
      'a route to the block of n2',
      () => learnedRoutes(machines[0]),
      all => all.length > 0,
    )
    t.true(
      routes.every(route => route.startsWith('fd00:10:') && route.endsWith(` via ${gateway}`)),
      `${routes}`,
    )
    t.deepEqual(await onTunnel(machines[0]), {
      neighbours: [`${gateway} ${vtepMac('n2')}`],
      fdb: [`${vtepMac('n2')} 198.51.100.12`],
    })
    const annotations = (await store.get('Node', 'n2')).metadata.annotations
    t.is(annotations?.[NODE_ANNOTATION.vxlanTunnelMac], vtepMac('n2'))
    t.is(annotations?.[NODE_ANNOTATION.vxlanTunnelAddress], undefined)
    await eventually(
      t,
      'each node has the address that its Node object tells, and its block the handle',
      async () => {
        const nodes = await store.list('Node')
        const told = nodes.map(({ metadata }) => metadata.annotations?.[NODE_ANNOTATION.vxlanTunnelAddressV6])
        const held = agents.map(
          ({ allocator }, i) => allocator.held().get(`vxlan-v6-tunnel-addr-n${i + 1}`)?.[0]?.address,
        )
        return { told, held, has: await Promise.all(machines.map(tunnelAddresses)) }
      },
      ({ told, held, has }) =>
        told.every((text, i) => text !== undefined && text === held[i] && `${has[i]}` === `${text}/128`),
    )
    t.false(agents[0].status().conditions.some(({ type, status }) => type === 'TunnelsAddressed' && status !== 'True'))
    await agents[1].close()
    await store.delete('Node', 'n2')
    await eventually(
      t,
      'nothing of n2',
      async () => ({ routes: await learnedRoutes(machines[0]), ...(await onTunnel(machines[0])) }),
      left => left.routes.length + left.neighbours.length + left.fdb.length === 0,
    )
  })
}

test('a node that restarts takes its IPv6 routes through VXLAN over and removes none meanwhile', async t => {
  const { store, network, machines, agents } = await twoAgents(t)
  await eventually(
    t,
    'a route to the block of n2',
    () => learnedRoutes(machines[0]),
    all => all.length > 0,
  )
  await eventually(
    t,
    'the address of the tunnels',
    () => tunnelAddresses(machines[0]),
    all => all.length > 0,
  )
  const [tunnelAddress] = await tunnelAddresses(machines[0])
  const gone: string[] = []
  const monitor = machines[0].world.kernel().monitor(event => {
    if (event.type === 'route-gone') gone.push(event.route.dst)
    if (event.type === 'address-gone') gone.push(event.address.address)
    if (event.type === 'neighbour-gone' || event.type === 'fdb-gone') gone.push(event.type)
    // an agent that starts makes links to see what the kernel has
    if (event.type === 'link-gone' && !event.link.name.startsWith('margay-probe')) gone.push(event.link.name)
  })
  await agents[0].close()
  const again = await startAgent(t, machines[0], store, network)
  await eventually(
    t,
    'ready and in session again',
    () => again.status().peers.map(({ state }) => state),
    states => again.ready() && `${states}` === 'Established',
  )
  t.is((await learnedRoutes(machines[0])).length, 1)
  t.deepEqual(gone, [])
  t.deepEqual(await tunnelAddresses(machines[0]), [tunnelAddress])
  monitor.close()
})
