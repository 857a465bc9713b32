// What does not take the address of a node away: an address that goes and comes, and a Node object that says nothing.
import test from 'ava'
import { NODE_ANNOTATION } from '../../api/core.ts'
import { ROUTE_PROTOCOL, ROUTE_TABLE } from '../../kernel/port/routes.ts'
import { aNode, aResource } from '../datastore/objects.ts'
import { aFollower } from './address-machine.ts'

/** A Node object with these InternalIPs. */
function withInternal(...addresses: readonly string[]) {
  const status = { addresses: addresses.map(address => ({ type: 'InternalIP', address })) }
  return aResource('Node', { metadata: { name: 'n1' }, spec: {}, status })
}

test('a Node object that is gone or has no InternalIP yet withdraws no address of either family', async t => {
  const wanted = 'kubernetes-internal-ip'
  const { look, look6, change, setNode } = await aFollower(t, {
    ...{ wanted, wantedIpv6: wanted, node: withInternal('192.0.2.11', '2001:db8::11') },
  })
  for (const add of ['192.0.2.12', '2001:db8::11', '2001:db8::12']) await change({ add })
  t.is(await look6(), '2001:db8::11')
  for (const node of [withInternal(), undefined, withInternal('192.0.2.11'), withInternal('2001:db8::11')]) {
    setNode(node)
    t.is(await look(), '192.0.2.11')
    t.is(await look6(), '2001:db8::11')
  }
  setNode(withInternal('192.0.2.12', '2001:db8::12'))
  t.is(await look(), '192.0.2.12')
  t.is(await look6(), '2001:db8::12')
})

test('an IPv6 address that goes and comes changes nothing, whichever way it was chosen; after 3 s another one is chosen', async t => {
  const annotated = aNode('n1', { annotations: { [NODE_ANNOTATION.ipv6Address]: '2001:db8::11/64' } })
  for (const [wantedIpv6, node, next] of [
    ['auto', undefined, '2001:db8::12'],
    ['auto', annotated, '2001:db8::12'],
    ['auto', { ...withInternal('2001:db8::12'), metadata: annotated.metadata }, '2001:db8::12'],
    ['cidr=2001:db8::/64', undefined, '2001:db8::12'],
    ['2001:db8::11', undefined, undefined],
    ['kubernetes-internal-ip', withInternal('2001:db8::11'), undefined],
  ] as const) {
    const { look, look6, change, clock, asked } = await aFollower(t, { wantedIpv6, node, families: ['ipv6'] })
    await change({ add: '2001:db8::11' })
    t.is(await look6(), '2001:db8::11', wantedIpv6)
    await change({ add: '2001:db8::12' })
    await change({ remove: '2001:db8::11' })
    t.is(await look6(), '2001:db8::11', `${wantedIpv6}: it may come back at once`)
    clock.advance(2999)
    t.is(await look6(), '2001:db8::11')
    await change({ add: '2001:db8::11' })
    t.is(await look6(), '2001:db8::11')
    clock.advance(10_000)
    t.is(await look6(), '2001:db8::11')
    await change({ remove: '2001:db8::11' })
    await look()
    clock.advance(3000)
    t.true(asked() > 0, `${wantedIpv6}: it is looked for again by itself`)
    t.is(await look6(), next, wantedIpv6)
    t.is(await look(), '192.0.2.11')
  }
})

test('the IPv6 address of an earlier run is waited for at the start, and IPv4 does not wait with it', async t => {
  const node = aNode('n1', { annotations: { [NODE_ANNOTATION.ipv6Address]: '2001:db8::11/64' } })
  const { look, look6, change } = await aFollower(t, { node, families: ['ipv6'] })
  await change({ add: '2001:db8::12' })
  t.is(await look(), '192.0.2.11')
  t.is(await look6(), undefined)
  await change({ add: '2001:db8::11' })
  t.is(await look6(), '2001:db8::11')
  const lost = await aFollower(t, { node, families: ['ipv6'] })
  await lost.change({ add: '2001:db8::12' })
  t.is(await lost.look6(), undefined)
  lost.clock.advance(3000)
  t.is(await lost.look6(), '2001:db8::12')
})

test('an IPv4 address in use that goes and comes changes nothing where the Node has another one too', async t => {
  const node = aNode('n1', { annotations: { [NODE_ANNOTATION.ipv4Address]: '192.0.2.11/24' } })
  const { look, change, clock, setNode } = await aFollower(t, { node })
  await change({ add: '192.0.2.12' })
  t.is(await look(), '192.0.2.11')
  setNode(withInternal('192.0.2.12'))
  await change({ remove: '192.0.2.11' })
  t.is(await look(), '192.0.2.11')
  clock.advance(3000)
  t.is(await look(), '192.0.2.12')
})

test('a route to the address of can-reach comes, and the address is looked for at once', async t => {
  const wantedIpv6 = 'can-reach=2001:db8:ffff::1'
  const { look6, change, turns, kernel, ifindex, asked } = await aFollower(t, { wantedIpv6, families: ['ipv6'] })
  await change({ add: '2001:db8::11' })
  t.is(await look6(), undefined)
  const route = {
    table: ROUTE_TABLE.main,
    type: 'unicast',
    protocol: ROUTE_PROTOCOL.static,
    scope: 0,
    ifindex,
  } as const
  await kernel.changeRoutes([{ verb: 'add', route: { ...route, dst: '2001:db8:eeee::/48' } }])
  await turns()
  t.is(asked(), 0, 'it leads elsewhere')
  await kernel.changeRoutes([{ verb: 'add', route: { ...route, dst: '2001:db8:ffff::/48' } }])
  await turns()
  t.true(asked() > 0)
  t.is(await look6(), '2001:db8::11')
})
