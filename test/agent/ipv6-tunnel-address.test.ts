// The IPv6 address of a node's tunnels over a real allocator: used once other nodes know the way there, kept, moved.
import test, { type ExecutionContext } from 'ava'
import { TunnelAddresses } from '../../agent/tunnel-addresses.ts'
import { createFakeStore } from '../../datastore/fake.ts'
import type { Assigned } from '../../ipam/port.ts'
import { tunnelRequest } from '../../ipam/tunnel.ts'
import { silentLog } from '../../lib/log.ts'
import { aPool, aNode as aTestNode, converge } from '../ipam/world.ts'

const turns = async () => {
  for (let i = 0; i < 5; i++) await new Promise(setImmediate)
}

/** A node with a pool of IPv6, over a real allocator; other nodes know the way to a block once `arrive` was called. */
async function aNodeOfIpv6(t: ExecutionContext) {
  const store = createFakeStore()
  const six = (name: string, cidr: string) => aPool(name, cidr, 124, { vxlanMode: 'CrossSubnet' })
  await store.create('IPPool', six('old', 'fd00:1::/64'))
  const node = aTestNode(store, 'n1')
  node.start()
  await converge(store, node)
  const arrivals: { block: string; arrive: () => void }[] = []
  const begin = () => {
    const tunnels = new TunnelAddresses({
      ...{ nodeName: 'n1', kinds: ['vxlanV6'], allocator: node.allocator, clock: node.clock, log: silentLog },
      reached: block => new Promise<void>(arrive => arrivals.push({ block, arrive })),
      changed: () => undefined,
    })
    t.teardown(() => tunnels.close())
    return tunnels
  }
  const arrive = async () => {
    for (const each of arrivals.splice(0)) each.arrive()
    await turns()
  }
  const handles = () => [...node.allocator.held()].map(([handle, held]) => `${handle} ${held.length}`).sort()
  return { store, node, six, begin, arrive, arrivals, handles }
}

test('an IPv6 address is used once other nodes know the way to its block, and by then alone has its handle', async t => {
  const { store, node, begin, arrive, arrivals, handles } = await aNodeOfIpv6(t)
  const tunnels = begin()
  tunnels.need({ vxlanV6: true })
  await converge(store, node)
  t.deepEqual(tunnels.addresses, {})
  t.deepEqual(handles(), ['vxlan-v6-tunnel-addr-n1.next 1'])
  t.is(arrivals.length, 1)
  // what is looked for meanwhile is no left-over, however long it takes
  tunnels.retryNow()
  await turns()
  node.clock.advance(60_000)
  await turns()
  t.deepEqual(handles(), ['vxlan-v6-tunnel-addr-n1.next 1'])
  await arrive()
  t.regex(tunnels.addresses.vxlanV6!, /^fd00:1:/)
  t.deepEqual(handles(), ['vxlan-v6-tunnel-addr-n1 1'])
  t.deepEqual(begin().addresses, tunnels.addresses, 'kept over a restart')
  await converge(store, node)
})

test('an agent that ended before anybody knew the way begins again with the same address', async t => {
  const { store, node, begin, arrive, handles } = await aNodeOfIpv6(t)
  const tunnels = begin()
  tunnels.need({ vxlanV6: true })
  await converge(store, node)
  tunnels.close()
  await arrive()
  t.deepEqual(handles(), ['vxlan-v6-tunnel-addr-n1.next 1'], 'one that is closed takes nothing')
  const again = begin()
  t.deepEqual(again.addresses, {})
  again.need({ vxlanV6: true })
  await turns()
  node.clock.advance(60_000)
  await turns()
  t.deepEqual(handles(), ['vxlan-v6-tunnel-addr-n1.next 1'])
  await arrive()
  t.deepEqual(handles(), ['vxlan-v6-tunnel-addr-n1 1'])
})

test('an IPv6 address that the API server told of later is used, and no second one is taken', async t => {
  const { store, node, begin, arrivals, handles } = await aNodeOfIpv6(t)
  const tunnels = begin()
  const [told] = (await node.allocator.assign(tunnelRequest('vxlanV6', 'n1'))) as readonly Assigned[]
  t.like(node.allocator.holder('vxlan-v6-tunnel-addr-n1'), { node: 'n1', type: 'vxlanV6TunnelAddress' })
  tunnels.need({ vxlanV6: true })
  await converge(store, node)
  t.deepEqual(tunnels.addresses, { vxlanV6: told!.address })
  t.deepEqual(handles(), ['vxlan-v6-tunnel-addr-n1 1'])
  t.deepEqual(arrivals, [])
})

for (const [what, spec] of [
  ['is disabled', { disabled: true }],
  ['has no VXLAN any more', { vxlanMode: 'Never' }],
] as const)
  test(`an IPv6 address makes room when its pool ${what}, not before other nodes know the way to the new one`, async t => {
    const { store, node, six, begin, arrive, handles } = await aNodeOfIpv6(t)
    const tunnels = begin()
    tunnels.need({ vxlanV6: true })
    await converge(store, node)
    await arrive()
    const { vxlanV6: before } = tunnels.addresses
    await store.create('IPPool', six('new', 'fd00:2::/64'))
    await store.patch('IPPool', 'old', { spec })
    await converge(store, node)
    tunnels.retryNow()
    await converge(store, node)
    t.deepEqual(tunnels.addresses, { vxlanV6: before })
    t.deepEqual(handles(), ['vxlan-v6-tunnel-addr-n1 1', 'vxlan-v6-tunnel-addr-n1.next 1'])
    await arrive()
    t.regex(tunnels.addresses.vxlanV6!, /^fd00:2:/)
    t.deepEqual(handles(), ['vxlan-v6-tunnel-addr-n1 1', 'vxlan-v6-tunnel-addr-n1.before 1'])
    node.clock.advance(30_000)
    await turns()
    t.deepEqual(handles(), ['vxlan-v6-tunnel-addr-n1 1'])
    await converge(store, node)
  })

test('where the pools with VXLAN are full the node has no IPv6 address of its tunnels rather than one of another pool', async t => {
  const { store, node, begin, handles } = await aNodeOfIpv6(t)
  await store.create('IPPool', aPool('plain', 'fd00:9::/64', 124))
  await store.create('IPReservation', { metadata: { name: 'all' }, spec: { reservedCIDRs: ['fd00:1::/64'] } })
  await converge(store, node)
  const tunnels = begin()
  tunnels.need({ vxlanV6: true })
  await converge(store, node)
  t.deepEqual(tunnels.addresses, {})
  t.deepEqual(handles(), [])
  t.like(tunnels.refused()[0], { type: 'TunnelsAddressed', object: { kind: 'Node', name: 'n1' } })
})

for (const [what, spec] of [
  ['has no VXLAN any more', { vxlanMode: 'Never' }],
  ['is gone', undefined],
] as const)
  test(`an IPv6 address whose pool ${what} is given up where no other pool gives one: nothing would be answered to it`, async t => {
    const { store, node, six, begin, arrive, handles } = await aNodeOfIpv6(t)
    const tunnels = begin()
    tunnels.need({ vxlanV6: true })
    await converge(store, node)
    await arrive()
    t.is(handles().length, 1)
    // by which the tunnels are needed still
    const pods = six('pods', 'fd00:2::/64')
    await store.create('IPPool', { ...pods, spec: { ...pods.spec, allowedUses: ['Workload'] } })
    if (spec !== undefined) await store.patch('IPPool', 'old', { spec })
    else await store.delete('IPPool', 'old')
    await converge(store, node)
    tunnels.retryNow()
    await turns()
    await converge(store, node)
    t.deepEqual(tunnels.addresses, {})
    t.like(tunnels.refused()[0], { type: 'TunnelsAddressed', object: { kind: 'Node', name: 'n1' } })
    node.clock.advance(30_000)
    await turns()
    t.deepEqual(handles(), [])
    await store.create('IPPool', six('new', 'fd00:3::/64'))
    await converge(store, node)
    tunnels.retryNow()
    await converge(store, node)
    await arrive()
    t.regex(tunnels.addresses.vxlanV6!, /^fd00:3:/)
    t.deepEqual(tunnels.refused(), [])
  })

test('an IPv6 address of a disabled pool is kept where no other pool gives one: other nodes know the way there', async t => {
  const { store, node, begin, arrive } = await aNodeOfIpv6(t)
  const tunnels = begin()
  tunnels.need({ vxlanV6: true })
  await converge(store, node)
  await arrive()
  await store.patch('IPPool', 'old', { spec: { disabled: true } })
  await converge(store, node)
  tunnels.retryNow()
  await converge(store, node)
  t.regex(tunnels.addresses.vxlanV6!, /^fd00:1:/)
  node.clock.advance(120_000)
  await turns()
  t.regex(tunnels.addresses.vxlanV6!, /^fd00:1:/)
})

test('a pool whose VXLAN is switched on and off many times leaves its node one IPv6 address, and nothing else held', async t => {
  const { store, node, begin, arrive, handles } = await aNodeOfIpv6(t)
  const tunnels = begin()
  for (let i = 0; i < 21; i++) {
    const isOn = i % 2 === 0
    await store.patch('IPPool', 'old', { spec: { vxlanMode: isOn ? 'Always' : 'Never' } })
    await converge(store, node)
    tunnels.need({ vxlanV6: isOn })
    tunnels.retryNow()
    await turns()
    if (i % 3 === 0) await arrive()
    await converge(store, node)
  }
  for (let i = 0; i < 5; i++) {
    await arrive()
    tunnels.retryNow()
    await converge(store, node)
  }
  t.regex(tunnels.addresses.vxlanV6!, /^fd00:1:/)
  node.clock.advance(60_000)
  await turns()
  t.deepEqual(handles(), ['vxlan-v6-tunnel-addr-n1 1'])
  t.deepEqual(tunnels.refused(), [])
})
