// Next hops on no link of this node: routes over them go as the kernel's routes lead there.
import test from 'ava'
import type { LearnedRoute, NextHopWay } from '../../felix/input.ts'
import type { NamedRoute } from '../../kernel/reconcile/objects.ts'
import { BARE_POOL, calculated, FULL, IPIP_POOL, learned, N3, type World } from './worlds.ts'

const LOOPBACK = '10.255.0.1'
const OUTSIDE = '198.51.100.0/24'
const BY_ETH0 = { gateway: '192.168.10.1', interfaceName: 'eth0' }
const BY_ETH1 = { gateway: '192.168.30.1', interfaceName: 'eth1' }

/** A node that learned routes and knows ways to their next hops; a change of the ways, and what there is then. */
function routed(ways: Record<string, NextHopWay>, routes: readonly LearnedRoute[], more: Partial<World> = {}) {
  const calculator = calculated({ ...FULL, pools: [BARE_POOL, IPIP_POOL], learned: routes, ...more })
  const lead = (nextHop: string, way: NextHopWay | undefined) => {
    calculator.set('nextHop', nextHop, way)
    return calculator.step()
  }
  for (const [nextHop, way] of Object.entries(ways)) lead(nextHop, way)
  const route = (dst: string) => {
    const found = calculator.wanted().route.get(dst)
    return found && waysOf(found)
  }
  const reasons = () =>
    [...calculator.wanted().condition.values()].map(({ object, reason }) => `${object?.name} ${reason}`)
  return { calculator, lead, route, reasons }
}

function waysOf({ gateway, interfaceName, onlink, nextHops }: NamedRoute) {
  return nextHops ?? { gateway, interfaceName, ...(onlink && { onlink }) }
}

test('a route over a next hop on no link goes by the gateway that leads there, follows it, and goes with what is known of it', t => {
  const { lead, route, reasons } = routed({}, [learned(OUTSIDE, LOOPBACK), learned('10.246.9.0/26', LOOPBACK)])
  const both = () => [route(OUTSIDE), route('10.246.9.0/26')]
  t.deepEqual(both(), [undefined, undefined])
  t.deepEqual(reasons(), [`${OUTSIDE} NextHopNotOnLink`, '10.246.9.0/26 NextHopNotOnLink'])
  lead(LOOPBACK, { hops: [BY_ETH0], over: '10.255.0.0/24' })
  t.deepEqual(both(), [BY_ETH0, BY_ETH0])
  t.deepEqual(reasons(), [])
  const { route: changed } = lead(LOOPBACK, { hops: [BY_ETH1], over: '10.255.0.0/24' })
  t.deepEqual(
    [...changed.values()].map(each => each && waysOf(each)),
    [BY_ETH1, BY_ETH1],
    'never without a route',
  )
  lead(LOOPBACK, { hops: [{ ...BY_ETH1, onlink: true }] })
  t.deepEqual(route(OUTSIDE), { ...BY_ETH1, onlink: true })
  lead(LOOPBACK, undefined)
  t.deepEqual(both(), [undefined, undefined])
})

test('several ways to one next hop share its packets by their weights, and so do several paths', t => {
  const other = '10.255.0.2'
  const both = {
    prefix: '198.51.101.0/24',
    ...path(LOOPBACK, 3),
    paths: [path(LOOPBACK, 3), path(other, 1), path('192.168.10.7', 4)],
  }
  const { lead, route } = routed({}, [learned(OUTSIDE, LOOPBACK), both])
  t.deepEqual(route(both.prefix), { gateway: '192.168.10.7', interfaceName: 'eth0' }, 'what is on a link goes')
  lead(LOOPBACK, { hops: [BY_ETH0, { ...BY_ETH1, weight: 2 }] })
  t.deepEqual(route(OUTSIDE), [BY_ETH0, { ...BY_ETH1, weight: 2 }])
  lead(other, { hops: [BY_ETH1] })
  t.deepEqual(route(both.prefix), [
    BY_ETH0,
    { ...BY_ETH1, weight: 3 },
    { gateway: '192.168.10.7', interfaceName: 'eth0', weight: 4 },
  ])
})

test('where a tunnel is asked for a route is no way past it, and a next hop on a link needs none', t => {
  const { lead, route, calculator } = routed({}, [
    learned('10.244.3.0/26', N3.address),
    learned(OUTSIDE, '192.168.10.1'),
  ])
  t.is(calculator.wanted().route.get('10.244.3.0/26')?.interfaceName, 'tunl0')
  t.is(lead(N3.address, { hops: [BY_ETH1], over: '192.168.20.0/24' }).route.size, 0)
  t.is(lead('192.168.10.1', { hops: [BY_ETH1] }).route.size, 0)
  t.deepEqual(route(OUTSIDE), BY_ETH0)
})

test('a next hop in the subnet of an interface that is down is reached by another one, if a route leads there', t => {
  const behind = '192.168.30.7'
  const connected = [
    { cidr: '192.168.10.11/24', interfaceName: 'eth0', isUp: true },
    { cidr: '192.168.30.11/24', interfaceName: 'eth1', isUp: false },
  ]
  const { lead, route, reasons, calculator } = routed({}, [learned(OUTSIDE, behind)], { connected })
  lead(behind, { hops: [{ gateway: behind, interfaceName: 'eth1' }] })
  t.is(route(OUTSIDE), undefined)
  t.true(reasons().includes(`${OUTSIDE} NextHopLinkDown`))
  lead(behind, { hops: [BY_ETH0], over: '192.168.0.0/16' })
  t.deepEqual(route(OUTSIDE), BY_ETH0)
  calculator.configure({ connected: connected.map(each => ({ ...each, isUp: true })) })
  calculator.step()
  t.deepEqual(route(OUTSIDE), { gateway: behind, interfaceName: 'eth1' })
})

test('a route that would take the place of the way to its own next hop is refused and named, and the others stand', t => {
  const own = `${LOOPBACK}/32`
  const { lead, route, reasons } = routed({}, [
    learned(own, LOOPBACK),
    learned('10.255.0.0/25', LOOPBACK),
    learned(OUTSIDE, LOOPBACK),
  ])
  lead(LOOPBACK, { hops: [BY_ETH0], over: '10.255.0.0/25' })
  t.deepEqual([route(own), route('10.255.0.0/25'), route(OUTSIDE)], [undefined, undefined, BY_ETH0])
  t.deepEqual(reasons(), [`${own} NextHopLoop`, '10.255.0.0/25 NextHopLoop'])
  lead(LOOPBACK, { hops: [BY_ETH0], over: own })
  t.deepEqual([route(own), route('10.255.0.0/25')], [undefined, BY_ETH0])
  // a route of BGP itself: whoever follows the next hop knows of loops
  lead(LOOPBACK, { hops: [BY_ETH0] })
  t.deepEqual([route(own), reasons()], [BY_ETH0, []])
})

test('of several paths one that is reached over the route itself leads nowhere by what another one left there', t => {
  const own = `${LOOPBACK}/32`
  const [first, second] = ['192.168.10.7', '192.168.10.8'] as const
  const by = (...hops: string[]) => ({ prefix: own, ...path(hops[0]!, 1), paths: hops.map(hop => path(hop, 1)) })
  const onLink = (...hops: string[]) => hops.map(gateway => ({ gateway, interfaceName: 'eth0' }))
  const { calculator, lead, route } = routed({}, [by(LOOPBACK, first, second)])
  const written = () => [route(own)].flat() as NextHopWay['hops']
  for (let i = 0; i < 3; i++) lead(LOOPBACK, { hops: written(), overOurs: own })
  t.deepEqual(written(), onLink(first, second))
  calculator.set('learned', own, by(LOOPBACK, second))
  calculator.step()
  for (let i = 0; i < 3; i++) lead(LOOPBACK, { hops: written(), overOurs: own })
  t.deepEqual(written(), onLink(second))
})

test('a path whose next hop is on a link takes its part in the very route by which the kernel leads to that next hop', t => {
  const [first, second] = ['192.168.10.7', '192.168.10.8'] as const
  const own = `${first}/32`
  const paths = [path(first, 1), path(second, 1)]
  const { calculator, lead, route } = routed({}, [])
  lead(first, { hops: [{ gateway: second, interfaceName: 'eth0' }], overOurs: own })
  calculator.set('learned', own, { prefix: own, ...paths[0]!, paths })
  calculator.step()
  t.deepEqual(
    route(own),
    [first, second].map(gateway => ({ gateway, interfaceName: 'eth0' })),
  )
})

test('an IPv6 route over a loopback goes by the link-local address of a router', t => {
  const hop = { gateway: 'fe80::1', interfaceName: 'eth0' }
  const { route, reasons } = routed({ '2001:db8:ff::1': { hops: [hop], over: '2001:db8:ff::1/128' } }, [
    learned('2001:db8:99::/48', '2001:db8:ff::1'),
    learned('198.51.101.0/24', '2001:db8:ff::1'),
  ])
  t.deepEqual(route('2001:db8:99::/48'), hop)
  t.deepEqual(reasons(), ['198.51.101.0/24 BadNextHop'])
})

test('an interface by which a route leads to a next hop is an uplink, as long as some route has that next hop', t => {
  const { lead, calculator } = routed({}, [learned(OUTSIDE, LOOPBACK)])
  t.deepEqual(calculator.otherUplinks, [])
  lead(LOOPBACK, { hops: [BY_ETH0, BY_ETH1] })
  t.deepEqual(calculator.otherUplinks, ['eth1'])
  calculator.set('learned', OUTSIDE, undefined)
  calculator.step()
  t.deepEqual(calculator.otherUplinks, [])
})

function path(nextHop: string, weight: number) {
  return { nextHop, encapsulations: [], weight }
}
