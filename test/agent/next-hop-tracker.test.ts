import test from 'ava'
import type { SelectedRoute } from '../../bgp/port.ts'
import { ERRNO, KernelError } from '../../kernel/port/error.ts'
import { ROUTE_SCOPE } from '../../kernel/port/routes.ts'
import { ipv4Mapped } from '../../lib/ip.ts'
import { aHost, OURS } from './tracked-host.ts'

const MAPPED = ipv4Mapped('192.0.2.9')

test('a next hop can be reached on a link, at the cost of the route that leads to it, or not, with the reason', async t => {
  const { tracker, change, pass, text } = await aHost()
  await change('add', { dst: '203.0.113.0/24', gateway: '192.0.2.7', metric: 30 })
  await change('add', { dst: '203.0.114.0/24', type: 'blackhole' })
  await change('add', { dst: '0.0.0.0/0', gateway: '192.0.2.254' })
  const hops = ['192.0.2.9', '203.0.113.9', '203.0.114.9', '8.8.8.8', '192.0.2.1', '2001:db8::1', MAPPED]
  for (const hop of hops) t.is(tracker.want(hop, undefined), undefined)
  t.is(tracker.want('fe80::1', 'eth0'), undefined)
  t.is(tracker.want('fe80::1', 'eth7'), undefined)
  t.is(tracker.want('fe80::1', undefined), undefined)
  await pass(0)
  t.is(text('192.0.2.9'), '0 over 192.0.2.0/24')
  t.is(text('203.0.113.9'), '30 over 203.0.113.0/24')
  t.is(text('203.0.114.9'), 'no route leads there')
  t.is(text('8.8.8.8'), 'only the default route leads there')
  t.is(text('192.0.2.1'), 'it is an address of this host')
  t.is(text('2001:db8::1'), 'no route leads there')
  t.is(text(MAPPED), '0 over 192.0.2.0/24')
  t.is(text('fe80::1%eth0'), '0 over eth0')
  t.is(text('fe80::1%eth7'), 'eth7 is down')
  t.is(text('fe80::1'), 'it is a link-local address without an interface')
  tracker.close()
})

test('the default route leads to next hops where that is asked for', async t => {
  const { tracker, change, pass, text } = await aHost({ defaultRoute: true })
  await change('add', { dst: '0.0.0.0/0', gateway: '192.0.2.254', metric: 5 })
  tracker.want('8.8.8.8', undefined)
  await pass(0)
  t.is(text('8.8.8.8'), '5 over 0.0.0.0/0')
  tracker.close()
})

test('a route that goes takes its next hops with it and one that comes brings them, and only those are looked up', async t => {
  const { tracker, change, pass, text, lookedUp } = await aHost()
  await change('add', { dst: '203.0.113.0/24', gateway: '192.0.2.7' })
  for (const hop of ['192.0.2.9', '203.0.113.9']) tracker.want(hop, undefined)
  await pass(0)
  await pass(20)
  lookedUp.length = 0
  await change('delete', { dst: '203.0.113.0/24', gateway: '192.0.2.7' })
  await pass(20)
  t.is(text('203.0.113.9'), 'no route leads there')
  await change('add', { dst: '203.0.113.0/24', gateway: '192.0.2.8', metric: 9 })
  await pass(20)
  t.is(text('203.0.113.9'), '9 over 203.0.113.0/24')
  t.deepEqual([...new Set(lookedUp)], ['203.0.113.9'])
  lookedUp.length = 0
  await change('add', { dst: '10.9.0.0/24', gateway: '192.0.2.7' })
  await change('add', { dst: '10.8.0.0/24', gateway: '192.0.2.7', protocol: OURS })
  await pass(20)
  t.deepEqual(lookedUp, [], 'what holds no next hop, our own writes too')
  tracker.close()
})

test('a link that goes down takes its next hops out at once, and brings them when it is up', async t => {
  const { kernel, tracker, pass, text } = await aHost()
  tracker.want('192.0.2.9', undefined)
  tracker.want('198.51.100.9', undefined)
  tracker.want('fe80::1', 'eth0')
  await pass(0)
  await pass(20)
  await kernel.setLink('eth0', { up: false })
  await pass(0)
  t.is(text('192.0.2.9'), 'no route leads there')
  t.is(text('fe80::1%eth0'), 'eth0 is down')
  t.is(text('198.51.100.9'), '0 over 198.51.100.0/24')
  await kernel.setLink('eth0', { up: true })
  await pass(20)
  t.is(text('192.0.2.9'), '0 over 192.0.2.0/24')
  t.is(text('fe80::1%eth0'), '0 over eth0')
  tracker.close()
})

test('a link that gets another name while it is up takes the next hops by its old name out, and brings those by the new one', async t => {
  const { kernel, tracker, pass, text } = await aHost()
  tracker.want('fe80::1', 'eth0')
  tracker.want('fe80::1', 'lan0')
  tracker.want('192.0.2.9', undefined)
  await pass(0)
  await pass(20)
  await kernel.setLink('eth0', { name: 'lan0' })
  await pass(20)
  t.is(text('fe80::1%eth0'), 'eth0 is down')
  t.is(text('fe80::1%lan0'), '0 over lan0')
  t.is(text('192.0.2.9'), '0 over 192.0.2.0/24')
  tracker.close()
})

const aRoute = (prefix: string, nextHop: string): SelectedRoute => ({
  ...{ prefix, family: 'ipv4', nextHop, encapsulations: [], peer: 'a' },
})

test('a next hop is reached over a route of BGP at the cost of what leads to that one, as long as there is a way', async t => {
  const { tracker, change, pass, text, selected, moved } = await aHost()
  await change('add', { dst: '203.0.113.0/24', gateway: '192.0.2.7', metric: 30 })
  // a loopback, announced by a router behind 203.0.113.0/24
  selected.set('10.0.0.7/32', aRoute('10.0.0.7/32', '203.0.113.9'))
  await change('add', { dst: '10.0.0.7/32', gateway: '192.0.2.7', protocol: OURS })
  tracker.want('203.0.113.9', undefined)
  tracker.want('10.0.0.7', undefined)
  await pass(0)
  t.is(text('10.0.0.7'), '30 over 10.0.0.7/32')
  await change('delete', { dst: '203.0.113.0/24', gateway: '192.0.2.7' })
  await pass(20)
  t.is(text('10.0.0.7'), 'the next hop of 10.0.0.7/32 cannot be reached')
  await change('add', { dst: '203.0.113.0/24', gateway: '192.0.2.8', metric: 40 })
  await pass(20)
  t.is(text('10.0.0.7'), '40 over 10.0.0.7/32')
  moved.length = 0
  await change('replace', { dst: '10.0.0.7/32', gateway: '192.0.2.8', protocol: OURS })
  await pass(20)
  t.deepEqual(moved, ['10.0.0.7'], 'the sink hears of another way')
  tracker.close()
})

test('a loop of next hops is refused and named, and stays so until the route that needs itself is announced no more', async t => {
  const { tracker, change, pass, text, selected, announced } = await aHost()
  await change('add', { dst: '10.0.0.0/8', gateway: '192.0.2.7' })
  tracker.want('10.1.0.1', undefined)
  await pass(0)
  t.is(text('10.1.0.1'), '0 over 10.0.0.0/8')
  announced.set('10.1.0.0/16', ['10.1.0.1'])
  selected.set('10.1.0.0/16', aRoute('10.1.0.0/16', '10.1.0.1'))
  await change('add', { dst: '10.1.0.0/16', gateway: '192.0.2.7', protocol: OURS })
  await pass(20)
  const refused = 'next-hop-loop: it is reached over 10.1.0.0/16, which needs it'
  t.is(text('10.1.0.1'), refused)
  selected.delete('10.1.0.0/16')
  await change('delete', { dst: '10.1.0.0/16', gateway: '192.0.2.7', protocol: OURS })
  for (let i = 0; i < 5; i++) await pass(1000)
  t.is(text('10.1.0.1'), refused)
  await change('add', { dst: '10.1.0.0/24', gateway: '192.0.2.8' })
  await pass(20)
  t.is(text('10.1.0.1'), '0 over 10.1.0.0/24', 'a longer route does not need it')
  await change('delete', { dst: '10.1.0.0/24', gateway: '192.0.2.8' })
  await pass(20)
  t.is(text('10.1.0.1'), '0 over 10.0.0.0/8')
  selected.set('10.1.0.0/16', aRoute('10.1.0.0/16', '10.1.0.1'))
  await change('add', { dst: '10.1.0.0/16', gateway: '192.0.2.7', protocol: OURS })
  await pass(20)
  t.is(text('10.1.0.1'), refused)
  selected.delete('10.1.0.0/16')
  announced.delete('10.1.0.0/16')
  await change('delete', { dst: '10.1.0.0/16', gateway: '192.0.2.7', protocol: OURS })
  await pass(20)
  await pass(1000)
  t.is(text('10.1.0.1'), '0 over 10.0.0.0/8')
  tracker.close()
})

test('two routes of BGP that need each other are a loop, and one of two paths that does not is enough', async t => {
  const { tracker, change, pass, text, selected, announced } = await aHost()
  const over = async (prefix: string, nextHop: string) => {
    selected.set(prefix, aRoute(prefix, nextHop))
    await change('add', { dst: prefix, gateway: '192.0.2.7', protocol: OURS })
  }
  await over('10.1.0.0/16', '10.2.0.1')
  await over('10.2.0.0/16', '10.1.0.1')
  for (const hop of ['10.1.0.1', '10.2.0.1', '192.0.2.9']) tracker.want(hop, undefined)
  await pass(0)
  t.regex(text('10.1.0.1'), /^next-hop-loop: it is reached over 10.1.0.0\/16/)
  t.regex(text('10.2.0.1'), /^next-hop-loop/)
  // both routes go for it, and what is left would let them come back
  await change('add', { dst: '10.0.0.0/8', gateway: '192.0.2.7' })
  announced.set('10.1.0.0/16', ['10.2.0.1'])
  announced.set('10.2.0.0/16', ['10.1.0.1'])
  const both = [...selected]
  selected.clear()
  for (const dst of ['10.1.0.0/16', '10.2.0.0/16'])
    await change('delete', { dst, gateway: '192.0.2.7', protocol: OURS })
  for (let i = 0; i < 4; i++) await pass(1000)
  t.regex(text('10.1.0.1'), /^next-hop-loop/)
  t.regex(text('10.2.0.1'), /^next-hop-loop/)
  for (const [prefix, route] of both) await over(prefix, route.nextHop)
  const paths = ['10.2.0.1', '192.0.2.9'].map(nextHop => ({ nextHop, encapsulations: [], peer: nextHop }))
  selected.set('10.1.0.0/16', { ...aRoute('10.1.0.0/16', '10.2.0.1'), paths })
  tracker.selected('10.1.0.0/16')
  await pass(20)
  t.is(text('10.1.0.1'), '0 over 10.1.0.0/16')
  t.is(text('10.2.0.1'), '0 over 10.2.0.0/16')
  tracker.close()
})

test('many next hops over a route that needs all of them are loops, and whoever is reached over it is told at once', async t => {
  const { tracker, change, pass, text, selected, announced } = await aHost()
  const hops = Array.from({ length: 64 }, (_, i) => `10.1.0.${i + 1}`)
  await change('add', { dst: '10.0.0.0/8', gateway: '192.0.2.7' })
  for (const hop of [...hops, '10.2.0.1']) tracker.want(hop, undefined)
  await pass(0)
  for (const prefix of ['10.1.0.0/24', '10.2.0.0/24']) {
    const paths = hops.map(nextHop => ({ nextHop, encapsulations: [], peer: nextHop }))
    announced.set(prefix, hops)
    selected.set(prefix, { ...aRoute(prefix, hops[0]!), paths })
    await change('add', { dst: prefix, gateway: '192.0.2.7', protocol: OURS })
  }
  await pass(20)
  t.deepEqual(
    hops.filter(hop => !text(hop).startsWith('next-hop-loop')),
    [],
  )
  // the routes go for it, and what peers announce is followed instead
  const sparse = [...hops.slice(0, 32), '192.0.2.9']
  for (const dst of selected.keys()) {
    announced.set(dst, sparse)
    await change('delete', { dst, gateway: '192.0.2.7', protocol: OURS })
  }
  selected.clear()
  for (let i = 0; i < 2; i++) await pass(1000)
  t.regex(text(hops[0]!), /^next-hop-loop/)
  t.is(text('10.2.0.1'), '0 over 10.0.0.0/8')
  tracker.close()
})

test('a next hop that no path has is followed for a while, so that it is known when it comes back, and no more than some', async t => {
  const { tracker, change, pass } = await aHost()
  tracker.want('192.0.2.9', undefined)
  await pass(0)
  tracker.release('192.0.2.9', undefined)
  await change('add', { dst: '192.0.2.8/29', gateway: '192.0.2.7', metric: 3 })
  await pass(20)
  t.deepEqual(tracker.want('192.0.2.9', undefined), { reachable: true, cost: 3, over: '192.0.2.8/29' })
  tracker.release('192.0.2.9', undefined)
  for (let i = 0; i < 256; i++) {
    tracker.want(`10.0.0.${i}`, undefined)
    tracker.release(`10.0.0.${i}`, undefined)
  }
  t.is(tracker.want('192.0.2.9', undefined), undefined)
  tracker.close()
})

test('the way to a next hop is told when it changes, and that there is none only once nobody follows the address any more', async t => {
  const { tracker, change, pass, ways } = await aHost()
  await change('add', { dst: '10.1.0.0/24', gateway: '192.0.2.7' })
  for (const hop of ['10.1.0.1', ipv4Mapped('10.1.0.1')]) tracker.want(hop, undefined)
  await pass(0)
  t.deepEqual(new Set(ways), new Set(['10.1.0.1 192.0.2.7']))
  ways.length = 0
  await change('delete', { dst: '10.1.0.0/24', gateway: '192.0.2.7' })
  await pass(20)
  t.deepEqual(ways, [])
  await change('add', { dst: '10.1.0.0/24', gateway: '192.0.2.8' })
  await pass(20)
  t.deepEqual(new Set(ways), new Set(['10.1.0.1 192.0.2.8']))
  ways.length = 0
  const forget = (hop: string) => {
    tracker.release(hop, undefined)
    for (let i = 0; i < 256; i++) {
      tracker.want(`10.0.0.${i}`, undefined)
      tracker.release(`10.0.0.${i}`, undefined)
    }
  }
  forget('10.1.0.1')
  t.false(ways.includes('10.1.0.1 gone'), 'it is followed inside of IPv6')
  forget(ipv4Mapped('10.1.0.1'))
  t.true(ways.includes('10.1.0.1 gone'))
  tracker.close()
})

test('of 1,000 next hops without a way a link that gets its carrier has those looked up that are behind it, and nothing else any', async t => {
  // as with ignore_routes_with_linkdown
  let ignored = ''
  const { kernel, tracker, change, pass, lookedUp, text } = await aHost({
    wrap: real => {
      const lookupRoute = real.lookupRoute.bind(real)
      const none = (dst: string) => Promise.reject(new KernelError(ERRNO.ENETUNREACH, 'look up route', dst))
      return Object.assign(real, { lookupRoute: (dst: string) => (dst === ignored ? none(dst) : lookupRoute(dst)) })
    },
  })
  const hops = Array.from({ length: 1000 }, (_, i) => `10.${i >> 8}.${i & 255}.1`)
  for (const hop of hops) tracker.want(hop, undefined)
  await pass(0)
  await pass(20)
  lookedUp.length = 0
  const { index: ifindex } = await kernel.createLink({ kind: 'veth', name: 'eth2', peer: { name: 'tor' } })
  for (const link of ['eth2', 'tor']) await kernel.setLink(link, { up: true })
  await kernel.addAddress({ ifindex, address: '203.0.113.1', length: 24, scope: ROUTE_SCOPE.universe })
  await kernel.setLink('eth0', { mtu: 1400 })
  await pass(20)
  t.deepEqual(lookedUp, [])
  await change('add', { dst: '10.1.7.0/24', gateway: '203.0.113.7', ifindex })
  await pass(20)
  t.is(text('10.1.7.1'), '0 over 10.1.7.0/24')
  ignored = '10.1.7.1'
  await kernel.setLink('tor', { up: false })
  await pass(0)
  t.is(text('10.1.7.1'), 'no route leads there')
  lookedUp.length = 0
  ignored = ''
  await kernel.setLink('tor', { up: true })
  await pass(20)
  t.deepEqual(lookedUp, ['10.1.7.1'])
  t.is(text('10.1.7.1'), '0 over 10.1.7.0/24')
  tracker.close()
})

test('a kernel that does not answer is asked again, and until then what was known counts', async t => {
  let broken = false
  const { tracker, change, pass, text } = await aHost({
    wrap: kernel => {
      const lookupRoute = kernel.lookupRoute.bind(kernel)
      return Object.assign(kernel, {
        lookupRoute: (dst: string) =>
          broken ? Promise.reject(new KernelError(ERRNO.ENOBUFS, 'look up route', dst)) : lookupRoute(dst),
      })
    },
  })
  tracker.want('192.0.2.9', undefined)
  await pass(0)
  broken = true
  await change('add', { dst: '192.0.2.8/29', gateway: '192.0.2.7', metric: 3 })
  await pass(20)
  t.is(text('192.0.2.9'), '0 over 192.0.2.0/24')
  broken = false
  await pass(1000)
  t.is(text('192.0.2.9'), '3 over 192.0.2.8/29')
  tracker.close()
})

test('what the kernel refuses to look up for a reason of its own cannot be reached, and keeps no other next hop waiting', async t => {
  const { tracker, pass, text } = await aHost({
    wrap: kernel => {
      const lookupRoute = kernel.lookupRoute.bind(kernel)
      return Object.assign(kernel, {
        lookupRoute: (dst: string) =>
          dst.includes(':')
            ? Promise.reject(new KernelError(ERRNO.EOPNOTSUPP, 'look up route', dst))
            : lookupRoute(dst),
      })
    },
  })
  for (const hop of ['2001:db8::1', '192.0.2.9']) tracker.want(hop, undefined)
  await pass(0)
  await pass(20)
  t.is(text('192.0.2.9'), '0 over 192.0.2.0/24')
  t.is(text('2001:db8::1'), 'no route leads there')
  tracker.close()
})

test('what the sink wrote is looked at where it holds next hops, and after an error all are: the kernel tells nothing of it', async t => {
  const { tracker, lookedUp, pass, clock } = await aHost()
  for (const hop of ['203.0.113.9', '203.0.114.9']) tracker.want(hop, undefined)
  await pass(0)
  lookedUp.length = 0
  tracker.written(['10.0.0.0/24', '203.0.113.0/24'])
  await pass(20)
  t.deepEqual(lookedUp, ['203.0.113.9'])
  lookedUp.length = 0
  tracker.written(['10.0.0.0/24'])
  await pass(20)
  t.deepEqual(lookedUp, [])
  tracker.written('unknown')
  await pass(20)
  t.deepEqual(lookedUp.toSorted(), ['203.0.113.9', '203.0.114.9'])
  tracker.close()
  t.is(clock.pending, 0)
})
