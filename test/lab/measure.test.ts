import test from 'ava'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import type { Link } from '../../kernel/port/links.ts'
import type { Route } from '../../kernel/port/routes.ts'
import { pathTo } from '../../lab/measure.ts'

const aRoute = (change: Partial<Route> = {}): Route => ({
  dst: '10.244.0.0/26',
  table: 254,
  type: 'unicast',
  protocol: 80,
  scope: 0,
  gateway: '192.168.10.12',
  ifindex: 7,
  ...change,
})
const aLink = (kind?: string): Link => ({ index: 7, name: 'x', kind, mtu: 1500, up: true, running: true })

/** The path that a node takes whose kernel answers with this route and this link. */
const pathOf = (route: Route, link: Link | undefined) =>
  pathTo({ lookupRoute: async () => route, link: async () => link }, '10.244.0.1')

test('a route through a tunnel device is named after the kind of the tunnel', async t => {
  t.is(await pathOf(aRoute(), aLink('ipip')), 'ipip')
  t.is(await pathOf(aRoute(), aLink('vxlan')), 'vxlan')
})

test('a route through a gateway on an ordinary device is direct, one without a gateway is local', async t => {
  t.is(await pathOf(aRoute(), aLink('veth')), 'direct')
  t.is(await pathOf(aRoute({ gateway: undefined }), aLink('veth')), 'local')
})

test('a default route, a blackhole and a route without a device are no path', async t => {
  t.is(await pathOf(aRoute({ dst: '0.0.0.0/0' }), aLink('veth')), 'none')
  t.is(await pathOf(aRoute({ type: 'blackhole' }), aLink('veth')), 'none')
  t.is(await pathOf(aRoute(), undefined), 'none')
})

test('an address that the kernel refuses to route has no path', async t => {
  const lookupRoute = () => Promise.reject(new KernelError(ERRNO.EHOSTUNREACH, 'look up', '10.244.0.1'))
  t.is(await pathTo({ lookupRoute, link: async () => undefined }, '10.244.0.1'), 'none')
})
