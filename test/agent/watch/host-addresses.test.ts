// Which addresses of a machine are told as a pod's, and which are there by right.
import test from 'ava'
import { type AddressClaims, claimantOf } from '../../../agent/watch/address-claims.ts'
import { HostAddresses } from '../../../agent/watch/host-addresses.ts'
import type { Condition } from '../../../api/status.ts'
import { FakeWorld } from '../../../kernel/fake/world.ts'
import { ManualClock } from '../../../lib/clock.ts'
import { settle } from '../../bgp/settle.ts'

const POD = '10.244.1.5'

/** A cluster whose pool has a block of n1, from which a pod has 10.244.1.5. */
function claims(more: Partial<AddressClaims> = {}): AddressClaims {
  return {
    pools: ['10.244.0.0/16', 'fd00:244::/48'],
    isReserved: () => false,
    isOfNode: () => false,
    ownNetworks: [],
    isHeldHere: () => false,
    podAt: address => (address === POD || address === 'fd00:244::5' ? 'default/n1-p1' : undefined),
    blockWith: address => (address.startsWith('10.244.1.') ? { cidr: '10.244.1.0/26', node: 'n1' } : undefined),
    ...more,
  }
}

test('an address of a pod, of this node or another one, or of the block of another node, is somebody’s', t => {
  t.is(claimantOf(POD, claims()), 'the address of Pod default/n1-p1')
  t.is(claimantOf('fd00:244::5', claims()), 'the address of Pod default/n1-p1')
  t.regex(claimantOf('10.244.1.9', claims())!, /an address of 10\.244\.1\.0\/26, from which node n1/)
  t.is(claimantOf('10.244.2.9', claims({ isHeldHere: () => true })), 'the address of a pod of this node')
})

for (const [what, address, more] of [
  ['an address of the LAN', '192.0.2.11', {}],
  ['an address of Services that kube-proxy in IPVS mode or kube-vip has put on the machine', '10.96.0.10', {}],
  ['that of a Service of a pool for load balancers', '10.50.0.1', {}],
  ['the gateway of a bridge in a part of the pool that no node has', '10.244.200.1', {}],
  ['the bridge of a network of ours', '10.244.1.1', { ownNetworks: ['10.244.1.0/26'] }],
  ['an address on a LAN from which pods of macvlan have theirs', '10.244.1.77', { ownNetworks: ['10.244.1.64/26'] }],
  ['the address of a node inside the pool, or of its tunnel', '10.244.1.0', { isOfNode: () => true }],
  ['a floating address that leads here', POD, { isOfNode: (each: string) => each === POD }],
  ['a virtual address of keepalived that is reserved', '10.244.1.9', { isReserved: () => true }],
  ['an address of this node’s block that no pod has', '10.244.2.9', {}],
] as const)
  test(`silent: ${what}`, t => {
    t.is(claimantOf(address, claims(more)), undefined)
  })

async function aMachine() {
  const kernel = new FakeWorld().kernel()
  const clock = new ManualClock()
  const { index: eth0 } = await kernel.createLink({ kind: 'dummy', name: 'eth0' })
  const { index: vxlan } = await kernel.createLink({ kind: 'dummy', name: 'vxlan.calico' })
  let told: readonly Condition[] = []
  let now = claims()
  const watch = new HostAddresses({ kernel, clock, claims: () => now, report: conditions => (told = conditions) })
  const pass = async (ms: number) => {
    await settle(8)
    clock.advance(ms)
    await settle(8)
  }
  const at = (address: string, ifindex = eth0) => ({ ifindex, address, length: 32, scope: 0 })
  return { kernel, clock, watch, pass, at, vxlan, told: () => told, know: (next: AddressClaims) => (now = next) }
}

test('an address of a pod on the host is told within two seconds with its interface and how to remove it, until it is gone', async t => {
  const { kernel, clock, watch, pass, at, told } = await aMachine()
  watch.start()
  await pass(0)
  await kernel.addAddress(at(POD))
  await pass(2000)
  const [condition, ...others] = told()
  t.deepEqual(others, [])
  t.like(condition, { type: 'AddressesUnique', status: 'False', reason: 'HostTookAddress' })
  t.deepEqual(condition?.object, { kind: 'Address', name: POD })
  t.regex(condition!.message, /10\.244\.1\.5 on eth0.*Pod default\/n1-p1/)
  t.regex(condition!.remedy, /ip address del 10\.244\.1\.5\/32 dev eth0/)
  await kernel.deleteAddress(at(POD))
  await pass(0)
  t.deepEqual(told(), [])
  watch.close()
  t.is(clock.pending, 0)
})

test('an address that moves away at once is not told, nor one on a device of ours', async t => {
  const { kernel, watch, pass, at, vxlan, told } = await aMachine()
  watch.start()
  await pass(0)
  await kernel.addAddress(at(POD, vxlan))
  await kernel.addAddress(at('10.244.1.9'))
  await pass(1000)
  await kernel.deleteAddress(at('10.244.1.9'))
  await pass(20_000)
  t.deepEqual(told(), [])
  watch.close()
})

test('an address that was there before is told when a pod gets it, also from before this start', async t => {
  const { kernel, watch, pass, at, told, know } = await aMachine()
  know(claims({ podAt: () => undefined, blockWith: () => undefined }))
  await kernel.addAddress(at(POD))
  watch.start()
  await pass(2000)
  t.deepEqual(told(), [])
  know(claims())
  await pass(10_000)
  t.is(told()[0]?.reason, 'HostTookAddress')
  watch.close()
})
