import test, { type ExecutionContext } from 'ava'
import { TunnelAddresses } from '../../agent/tunnel-addresses.ts'
import { createFakeStore } from '../../datastore/fake.ts'
import type { Assigned, AssignRefusal, AssignRequest } from '../../ipam/port.ts'
import { tunnelRequest } from '../../ipam/tunnel.ts'
import { ManualClock } from '../../lib/clock.ts'
import { DatabaseError } from '../../lib/database.ts'
import { silentLog } from '../../lib/log.ts'
import { aPool, aNode as aTestNode, converge, type TestNode } from '../ipam/world.ts'

const FULL: AssignRefusal = { refused: 'exhausted', message: 'no free block is left', remedy: 'add an IPPool' }

const turns = async () => {
  for (let i = 0; i < 5; i++) await new Promise(setImmediate)
}

const IPV4 = ['ipip', 'vxlan'] as const
const IDLE = { isServed: () => true, isCarried: () => true, rename: () => undefined, release: async () => [] }

function aNode(held: ReadonlyMap<string, readonly Assigned[]> = new Map()) {
  const clock = new ManualClock()
  const asked: string[] = []
  let full = false
  let changes = 0
  const assign = async ({ handle, tunnel }: AssignRequest): Promise<readonly Assigned[] | AssignRefusal> => {
    // pools of whatever encapsulation have no more than those of the tunnel's
    if (tunnel === undefined) return FULL
    asked.push(handle)
    return full ? FULL : [{ address: `10.0.0.${asked.length}`, family: 'ipv4', block: '10.0.0.0/26' }]
  }
  const tunnels = new TunnelAddresses({
    nodeName: 'n1',
    kinds: IPV4,
    allocator: { ...IDLE, assign, held: () => held },
    clock,
    log: silentLog,
    changed: () => changes++,
  })
  return { clock, asked, tunnels, changes: () => changes, fill: (value: boolean) => (full = value) }
}

test('an address is taken for each tunnel that is needed, once, and kept when the need goes', async t => {
  const { tunnels, asked, changes } = aNode()
  tunnels.need({ ipip: true, vxlan: false })
  tunnels.need({ ipip: true, vxlan: true })
  await turns()
  t.deepEqual(tunnels.addresses, { ipip: '10.0.0.1', vxlan: '10.0.0.2' })
  tunnels.need({ ipip: false, vxlan: false })
  tunnels.need({ ipip: true, vxlan: true })
  await turns()
  t.deepEqual(asked, ['ipip-tunnel-addr-n1', 'vxlan-tunnel-addr-n1'])
  t.true(changes() > 0)
})

test('after a restart the node has the addresses that IPAM holds for its tunnels, before any is needed', async t => {
  const held = [{ address: '10.0.0.9', family: 'ipv4', block: '10.0.0.0/26' }] as const
  const { tunnels, asked } = aNode(new Map([['vxlan-tunnel-addr-n1', held]]))
  t.deepEqual(tunnels.addresses, { vxlan: '10.0.0.9' })
  tunnels.need({ ipip: false, vxlan: true })
  await turns()
  t.deepEqual(tunnels.addresses, { vxlan: '10.0.0.9' })
  t.deepEqual(asked, [])
})

test('a refusal is a condition of the device with the remedy, and is tried again until it is given', async t => {
  const { tunnels, clock, fill, asked } = aNode()
  fill(true)
  tunnels.need({ ipip: true, vxlan: false })
  await turns()
  t.like(tunnels.refused()[0], {
    type: 'TunnelsAddressed',
    object: { kind: 'Link', name: 'tunl0' },
    message: 'tunl0: no free block is left',
    remedy: 'add an IPPool',
  })
  clock.advance(20_000)
  await turns()
  t.is(asked.length, 2)
  fill(false)
  clock.advance(20_000)
  await turns()
  t.deepEqual(tunnels.refused(), [])
  t.is(tunnels.addresses.ipip, '10.0.0.3')
  t.is(clock.pending, 0)
})

test('the same need again asks no sooner than the pause after a refusal ends', async t => {
  const { tunnels, fill, asked } = aNode()
  fill(true)
  for (let i = 0; i < 10; i++) {
    tunnels.need({ ipip: true, vxlan: false })
    await turns()
  }
  t.is(asked.length, 1)
})

test('a full disk is a refusal like any other', async t => {
  const clock = new ManualClock()
  const assign = () => Promise.reject(new DatabaseError('disk is full', 13))
  const tunnels = new TunnelAddresses({
    nodeName: 'n1',
    kinds: IPV4,
    allocator: { ...IDLE, assign, held: () => new Map() },
    clock,
    log: silentLog,
    changed: () => undefined,
  })
  tunnels.need({ ipip: true, vxlan: false })
  await turns()
  t.regex(tunnels.refused()[0]!.message, /tunl0: the address cannot be journaled: disk is full/)
})

test('a tunnel that is not needed any more has nothing to complain of', async t => {
  const { tunnels, fill } = aNode()
  fill(true)
  tunnels.need({ ipip: true, vxlan: false })
  await turns()
  tunnels.need({ ipip: false, vxlan: false })
  t.deepEqual(tunnels.refused(), [])
})

test('while IPAM has not answered it is asking, and every end of asking is told', async t => {
  const answer = Promise.withResolvers<AssignRefusal>()
  const clock = new ManualClock()
  const asking: boolean[] = []
  const tunnels: TunnelAddresses = new TunnelAddresses({
    ...{ nodeName: 'n1', kinds: IPV4, clock, log: silentLog },
    allocator: { ...IDLE, assign: () => answer.promise, held: () => new Map() },
    changed: () => asking.push(tunnels.asking),
  })
  tunnels.need({ ipip: true, vxlan: false })
  await turns()
  t.true(tunnels.asking)
  tunnels.need({ ipip: false, vxlan: false })
  answer.resolve(FULL)
  await turns()
  t.deepEqual(asking, [false])
  t.deepEqual(tunnels.refused(), [], 'nothing is needed any more')
})

test('closed, it asks no more', async t => {
  const { tunnels, fill, clock } = aNode()
  fill(true)
  tunnels.need({ ipip: true, vxlan: false })
  await turns()
  tunnels.close()
  t.is(clock.pending, 0)
})

test('what was refused is asked for at once when it may be given now, not after the pause of an old refusal', async t => {
  const { tunnels, clock, fill, asked } = aNode()
  tunnels.retryNow()
  t.is(asked.length, 0)
  fill(true)
  tunnels.need({ ipip: true, vxlan: false })
  await turns()
  for (let i = 0; i < 5; i++) {
    clock.advance(10_000)
    await turns()
  }
  fill(false)
  tunnels.retryNow()
  await turns()
  t.is(tunnels.addresses.ipip, `10.0.0.${asked.length}`)
  t.is(clock.pending, 0)
})

/** A node with an address of the pool `old` for its VXLAN device, over a real allocator, and a pool `new`. */
async function aNodeWithTwoPools(t: ExecutionContext) {
  const store = createFakeStore()
  await store.create('IPPool', aPool('old', '10.0.0.0/24', 28, { vxlanMode: 'Always' }))
  const node = aTestNode(store, 'n1')
  node.start()
  await converge(store, node)
  let changes = 0
  const begin = () => {
    const tunnels = new TunnelAddresses({
      ...{ nodeName: 'n1', kinds: IPV4, allocator: node.allocator, clock: node.clock, log: silentLog },
      changed: () => changes++,
    })
    t.teardown(() => tunnels.close())
    return tunnels
  }
  const tunnels = begin()
  tunnels.need({ ipip: false, vxlan: true })
  await converge(store, node)
  await store.create('IPPool', aPool('new', '10.1.0.0/24', 28, { vxlanMode: 'Always' }))
  await converge(store, node)
  tunnels.retryNow()
  await turns()
  t.regex(tunnels.addresses.vxlan!, /^10\.0\./, 'a pool that is added moves nothing')
  return { store, node, tunnels, begin, changes: () => changes }
}

const addressesOf = ({ allocator }: TestNode) =>
  [...allocator.held()]
    .flatMap(([handle, held]) => held.map(({ address }) => `${handle} ${address.slice(0, 5)}`))
    .sort()

for (const [what, spec] of [
  ['is disabled', { disabled: true }],
  ['is for pods alone', { allowedUses: ['Workload'] }],
  ['selects this node no longer', { nodeSelector: '!all()' }],
  ['is deleted', undefined],
] as const)
  test(`the address of a tunnel makes room for one of another pool when its own ${what}, and is nobody's for 30 s`, async t => {
    const { store, node, tunnels, changes } = await aNodeWithTwoPools(t)
    const before = changes()
    if (spec === undefined) await store.delete('IPPool', 'old')
    else await store.patch('IPPool', 'old', { spec })
    await turns()
    tunnels.retryNow()
    await turns()
    t.regex(tunnels.addresses.vxlan!, /^10\.1\./)
    t.true(changes() > before)
    t.deepEqual(addressesOf(node), ['vxlan-tunnel-addr-n1 10.1.', 'vxlan-tunnel-addr-n1.before 10.0.'])
    tunnels.retryNow()
    await turns()
    node.clock.advance(29_999)
    await turns()
    t.is(addressesOf(node).length, 2)
    node.clock.advance(1)
    await turns()
    t.deepEqual(addressesOf(node), ['vxlan-tunnel-addr-n1 10.1.'])
    await converge(store, node)
    if (spec === undefined)
      t.deepEqual(
        (await store.list('IPPool')).map(({ metadata }) => metadata.name),
        ['new'],
      )
    const blocks = (await store.list('IPAMBlock')).filter(({ spec: { cidr } }) => cidr.startsWith('10.0.'))
    t.deepEqual(blocks, [])
  })

test('while no other pool is for tunnels, or has an address, a tunnel keeps the one that it has', async t => {
  const { store, node, tunnels } = await aNodeWithTwoPools(t)
  await store.create('IPReservation', { metadata: { name: 'all' }, spec: { reservedCIDRs: ['10.1.0.0/24'] } })
  await store.patch('IPPool', 'old', { spec: { disabled: true } })
  await turns()
  const kept = tunnels.addresses.vxlan
  tunnels.retryNow()
  await turns()
  t.is(tunnels.addresses.vxlan, kept)
  await store.patch('IPPool', 'new', { spec: { disabled: true } })
  await turns()
  tunnels.retryNow()
  await turns()
  t.is(tunnels.addresses.vxlan, kept)
  t.deepEqual(addressesOf(node), ['vxlan-tunnel-addr-n1 10.0.'])
  await store.patch('IPPool', 'new', { spec: { disabled: false } })
  await turns()
  tunnels.retryNow()
  await turns()
  await store.delete('IPReservation', 'all')
  await turns()
  t.is(tunnels.addresses.vxlan, kept)
  node.clock.advance(60_000)
  await turns()
  t.regex(tunnels.addresses.vxlan!, /^10\.1\./, 'it is asked again')
})

test('what an agent held for a move when it ended is released, also where its block comes from the API server later', async t => {
  const { store, node, tunnels, begin } = await aNodeWithTwoPools(t)
  const { handle, ...request } = tunnelRequest('vxlan', 'n1')
  await node.allocator.assign({ ...request, handle: `${handle}.before` })
  tunnels.retryNow()
  await turns()
  node.clock.advance(29_999)
  await turns()
  t.is(addressesOf(node).length, 2)
  node.clock.advance(1)
  await turns()
  t.is(addressesOf(node).length, 1)
  tunnels.close()
  await node.allocator.assign({ ...request, handle: `${handle}.next` })
  const again = begin()
  t.is(again.addresses.vxlan, tunnels.addresses.vxlan)
  t.is(addressesOf(node).length, 2)
  node.clock.advance(30_000)
  await turns()
  t.deepEqual(addressesOf(node), ['vxlan-tunnel-addr-n1 10.0.'])
  await converge(store, node)
})

test('where the pools with its encapsulation are full a tunnel has an address of another one', async t => {
  const store = createFakeStore()
  await store.create('IPPool', aPool('overlay', '10.0.0.0/32', 32, { vxlanMode: 'Always' }))
  await store.create('IPPool', aPool('plain', '10.1.0.0/24', 28))
  const [other, node] = [aTestNode(store, 'n0'), aTestNode(store, 'n1')]
  for (const each of [other, node]) each.start()
  await converge(store, other, node)
  const begin = ({ name, allocator, clock }: TestNode) => {
    const deps = { nodeName: name, kinds: IPV4, allocator, clock, log: silentLog, changed: () => undefined }
    const tunnels = new TunnelAddresses(deps)
    t.teardown(() => tunnels.close())
    tunnels.need({ ipip: false, vxlan: true })
    return tunnels
  }
  const first = begin(other)
  await converge(store, other, node)
  const second = begin(node)
  await converge(store, other, node)
  t.is(first.addresses.vxlan, '10.0.0.0')
  t.regex(second.addresses.vxlan!, /^10\.1\./)
})
