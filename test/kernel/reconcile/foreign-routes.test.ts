// Which routes of other programs take packets, of as many as there may be.
import test from 'ava'
import { shadowConditions } from '../../../felix/foreign-routes.ts'
import { ForeignRoutes } from '../../../kernel/reconcile/foreign-routes.ts'
import type { NamedRoute } from '../../../kernel/reconcile/objects.ts'

const route = (dst: string, more: Partial<NamedRoute> = {}): NamedRoute => ({
  ...{ dst, table: 254, type: 'unicast', protocol: 4, scope: 0, gateway: '192.168.10.1', interfaceName: 'eth0' },
  ...more,
})
const ours = (dst: string, more: Partial<NamedRoute> = {}) => route(dst, { protocol: 80, ...more })

function foreign(...wanted: readonly NamedRoute[]): ForeignRoutes {
  const routes = new ForeignRoutes()
  for (const each of wanted) routes.want(each.dst, each)
  return routes
}
const shown = (routes: ForeignRoutes) => [...routes.shadows()].map(({ route: { dst }, hides }) => `${dst} ${hides.dst}`)
const harmless = Array.from({ length: 300 }, (_, i) => route(`10.245.${i >> 8}.${i & 255}/32`))

test('a route that takes packets is told beside any number of others in the pool that take none', t => {
  const routes = foreign(ours('10.244.2.0/26'), ours('fd00:2::/122'))
  for (const each of harmless) routes.saw(each, undefined)
  t.true(routes.saw(route('10.244.2.7/32'), undefined))
  t.true(routes.saw(route('fd00:2::7/128'), undefined))
  t.deepEqual(shown(routes), ['10.244.2.7/32 10.244.2.0/26', 'fd00:2::7/128 fd00:2::/122'])
  routes.read([...harmless, route('10.244.2.8/32')])
  t.deepEqual(shown(routes), ['10.244.2.8/32 10.244.2.0/26'])
})

test('of very many that take packets a hundred are told, and others in place of those that go', t => {
  const routes = foreign(ours('10.245.0.0/16'))
  for (const each of harmless) routes.saw(each, undefined)
  t.is(shown(routes).length, 100)
  t.true(routes.gone(harmless[0]!.dst))
  t.true(routes.saw(harmless[200]!, undefined))
  t.is(shown(routes).length, 100)
  routes.want('10.245.0.0/16', undefined)
  routes.want('10.246.0.0/16', ours('10.246.0.0/16'))
  t.true(routes.saw(route('10.246.1.0/24'), undefined))
  t.deepEqual(shown(routes), ['10.246.1.0/24 10.246.0.0/16'])
})

test('a route of a larger metric beside ours takes none, whatever shorter prefix is ours too', t => {
  const routes = foreign(ours('10.244.0.0/16'), ours('10.244.2.0/26'), ours('fd00::/16'), ours('fd00:2::/122'))
  for (const each of [route('10.244.2.0/26', { metric: 20 }), route('fd00:2::/122', { metric: 2000 })])
    routes.saw(each, undefined)
  t.deepEqual(shown(routes), [])
  routes.saw(route('fd00:2::/122', { metric: 20 }), undefined)
  t.deepEqual(shown(routes), ['fd00:2::/122 fd00:2::/122'])
})

test('what is said again changes nothing, nor does a reading after its process has ended', t => {
  const routes = foreign(ours('10.244.2.0/26'))
  let alive = true
  const kernel = { authorText: () => (alive ? 'zebra (process 312)' : 'process 312') }
  t.true(routes.saw(route('10.244.2.7/32'), { port: 312 }))
  const told = shadowConditions(routes.shadows(), kernel)
  t.true(told[0]?.message.includes('which zebra (process 312) made'))
  alive = false
  t.false(routes.saw(route('10.244.2.7/32'), { port: 313 }))
  t.deepEqual(shadowConditions(routes.shadows(), kernel), told)
  routes.read([route('10.244.2.7/32')])
  t.deepEqual(shadowConditions(routes.shadows(), kernel), told)
  // another one in its place, whose maker was not heard
  routes.read([route('10.244.2.7/32', { gateway: '192.168.10.2' })])
  t.false(shadowConditions(routes.shadows(), kernel)[0]?.message.includes('which'))
})
