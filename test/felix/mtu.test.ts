// The MTUs of tunnel devices and pods.
import test from 'ava'
import fc from 'fast-check'
import { mtus } from '../../felix/calc/mtu.ts'
import { calculated, EMPTY, FULL, IPIP_POOL, IPV6_ALONE, learned, N4, VXLAN_POOL, type World } from './worlds.ts'

const config = (part: Partial<World['config']>) => ({ ...EMPTY.config, ...part })
const podMtu = (world: Partial<World>) => calculated({ ...EMPTY, ...world }).podMtu()

test('a pod has the MTU of its uplink without a tunnel, and what the tunnel leaves with one', t => {
  t.is(podMtu({}).now, 1500)
  t.is(podMtu({ pools: [IPIP_POOL] }).now, 1480)
  t.is(podMtu({ pools: [VXLAN_POOL] }).now, 1450)
  t.is(podMtu({ pools: [IPIP_POOL, VXLAN_POOL], uplinkMtu: 9000 }).now, 8950)
})

test('a configured MTU of a tunnel device is the MTU of the pods too', t => {
  const world = { ...FULL, pools: [VXLAN_POOL], config: config({ vxlanMtu: 1300 }) }
  t.is(calculated(world).wanted().link.get('vxlan.calico')?.mtu, 1300)
  t.is(calculated(world).podMtu().now, 1300)
  t.is(podMtu({ pools: [IPIP_POOL], config: config({ ipipMtu: 1400 }) }).now, 1400)
  t.is(podMtu({ pools: [IPIP_POOL], config: config({ vxlanMtu: 1300 }) }).now, 1480)
})

test('VXLAN over IPv6 costs 20 octets more than over IPv4, and has a configured MTU of its own', t => {
  const of = (part: Partial<World['config']>) => calculated({ ...IPV6_ALONE, config: config(part) })
  t.is(of({}).podMtu().now, 1430)
  const configured = of({ vxlanMtu: 1300, vxlanOverIpv6Mtu: 1400 })
  t.is(configured.wanted().link.get('vxlan-v6.calico')?.mtu, 1400)
  t.is(configured.podMtu().now, 1400)
})

test('a node without IP-in-IP makes pods smaller, and the part that is by configuration stays', t => {
  const world = { pools: [IPIP_POOL], learned: [learned('10.244.4.0/26', N4.address, [8])] }
  t.deepEqual(podMtu(world), { now: 1450, byConfiguration: 1480 })
})

test('property: a packet of a pod fits the uplink and every device that is needed, and no smaller MTU is given', t => {
  const size = fc.integer({ min: 1280, max: 9216 })
  const configured = fc.oneof(fc.constant(0), size)
  fc.assert(
    fc.property(
      fc.record({ ipip: fc.boolean(), vxlan: fc.boolean(), vxlanOverIpv6: fc.boolean() }),
      size,
      fc.record({ ipipMtu: configured, vxlanMtu: configured, vxlanOverIpv6Mtu: configured }),
      (needed, uplinkMtu, given) => {
        const found = mtus(needed, { uplinkMtu, config: config(given) })
        const devices = (['ipip', 'vxlan', 'vxlanOverIpv6'] as const).filter(device => needed[device])
        const limits = [uplinkMtu, ...devices.map(device => found[device])]
        return limits.every(limit => found.pod <= limit) && limits.includes(found.pod)
      },
    ),
  )
  t.pass()
})
