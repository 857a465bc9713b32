import test from 'ava'
import { TunnelAddresses } from '../../agent/tunnel-addresses.ts'
import type { Assigned, AssignRefusal, AssignRequest } from '../../ipam/port.ts'
import { ManualClock } from '../../lib/clock.ts'
import { DatabaseError } from '../../lib/database.ts'

const FULL: AssignRefusal = { refused: 'exhausted', message: 'no free block is left', remedy: 'add an IPPool' }

const turns = async () => {
  for (let i = 0; i < 5; i++) await new Promise(setImmediate)
}

function aNode(held: ReadonlyMap<string, readonly Assigned[]> = new Map()) {
  const clock = new ManualClock()
  const asked: string[] = []
  let full = false
  let changes = 0
  const assign = async ({ handle }: AssignRequest): Promise<readonly Assigned[] | AssignRefusal> => {
    asked.push(handle)
    return full ? FULL : [{ address: `10.0.0.${asked.length}`, family: 'ipv4', block: '10.0.0.0/26' }]
  }
  const tunnels = new TunnelAddresses({
    nodeName: 'n1',
    allocator: { assign, held: () => held },
    clock,
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
    allocator: { assign, held: () => new Map() },
    clock,
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
    ...{ nodeName: 'n1', allocator: { assign: () => answer.promise, held: () => new Map() }, clock },
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
