import test from 'ava'
import { aPeer, someAttributes, World } from './sessions.ts'

test('a route from one peer reaches the sink and the other peer, and its withdrawal does too', t => {
  const world = new World()
  const [a, b] = [aPeer(1), aPeer(2)]
  world.up(a, b)
  t.is(world.send(a, { announce: ['192.0.2.0/24', '2001:db8:1::/48'] }), undefined)
  world.settle()
  t.deepEqual([...world.held(b).keys()], ['192.0.2.0/24', '2001:db8:1::/48'])
  t.deepEqual(world.held(b).get('192.0.2.0/24')!.attributes.asPath, [{ type: 2, asns: [65000, 65001] }])
  t.deepEqual([...world.held(a).keys()], [])
  t.is(world.sink.routes.get('192.0.2.0/24')?.nextHop, '10.0.0.1')
  t.deepEqual(world.down.get('p2')!.markers, ['end ipv4', 'end ipv6'])
  world.send(a, { withdraw: ['192.0.2.0/24', '2001:db8:1::/48'] })
  world.settle()
  t.is(world.held(b).size, 0)
  t.is(world.sink.routes.size, 0)
  t.deepEqual(world.rib.sizes(), { ...world.rib.sizes(), sets: 0, prefixes: 0, paths: 0 })
})

test('a peer that comes later gets the table and its End-of-RIB', t => {
  const world = new World()
  const [a, b, c] = [aPeer(1), aPeer(2), aPeer(3)]
  world.up(a, b)
  world.send(a, { announce: ['192.0.2.0/24'], attributes: someAttributes([65001, 7]) })
  world.settle()
  world.up(c)
  world.settle()
  t.deepEqual([...world.held(c).keys()], ['192.0.2.0/24'])
  t.deepEqual(world.down.get('p3')!.markers, ['end ipv4', 'end ipv6'])
})

test('the peer whose route becomes the best one loses the route of the other peer', t => {
  const world = new World()
  const [a, b] = [aPeer(1), aPeer(2)]
  world.up(a, b)
  world.send(a, { announce: ['192.0.2.0/24'], attributes: someAttributes([65001, 7]) })
  world.settle()
  t.is(world.held(b).size, 1)
  world.send(b, { announce: ['192.0.2.0/24'], attributes: someAttributes([65002]) })
  world.settle()
  t.is(world.held(b).size, 0)
  t.deepEqual(world.held(a).get('192.0.2.0/24')!.attributes.asPath, [{ type: 2, asns: [65000, 65002] }])
})
