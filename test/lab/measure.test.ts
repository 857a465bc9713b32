import test from 'ava'
import type { Link, Route } from '../../kernel/port.ts'
import { pathOf } from '../../lab/measure.ts'

const aRoute = (change: Partial<Route> = {}): Route => ({
  dst: '10.244.0.0/26',
  table: 254,
  type: 'unicast',
  protocol: 12,
  scope: 0,
  gateway: '192.168.10.12',
  ifindex: 7,
  ...change,
})
const aLink = (kind?: string): Link => ({ index: 7, name: 'x', kind, mtu: 1500, up: true, running: true })

test('a route through a tunnel device is named after the kind of the tunnel', t => {
  t.is(pathOf(aRoute(), aLink('ipip')), 'ipip')
  t.is(pathOf(aRoute(), aLink('vxlan')), 'vxlan')
})

test('a route through a gateway on an ordinary device is direct, one without a gateway is local', t => {
  t.is(pathOf(aRoute(), aLink('veth')), 'direct')
  t.is(pathOf(aRoute({ gateway: undefined }), aLink('veth')), 'local')
})

test('a default route, a blackhole and a route without a device are no path', t => {
  t.is(pathOf(aRoute({ dst: '0.0.0.0/0' }), aLink('veth')), 'none')
  t.is(pathOf(aRoute({ type: 'blackhole' }), aLink('veth')), 'none')
  t.is(pathOf(aRoute(), undefined), 'none')
})
