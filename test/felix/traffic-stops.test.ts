// What counts as a reason of this node that pods do not reach each other, and what does not: objects of others.
import test from 'ava'
import { broken } from '../../api/status.ts'
import { Lasting, ownRefusals, trafficStops } from '../../felix/traffic-stops.ts'
import { ERRNO } from '../../kernel/port/error.ts'
import type { Link } from '../../kernel/port/links.ts'
import type { NamedRoute } from '../../kernel/reconcile/objects.ts'
import type { Refusal } from '../../kernel/reconcile/outcome.ts'

const UPLINK: Link = { index: 2, name: 'eth0', mtu: 1500, up: true, running: true }
const route = (dst: string, gateway: string): [string, NamedRoute] => [
  dst,
  { dst, gateway, table: 254, type: 'unicast', protocol: 80, scope: 0, interfaceName: 'eth0' },
]
const HERE = {
  ...{ interfacePrefix: 'cali', subnets: ['192.168.10.11/24', '2001:db8:10::11/64'], uplinks: [UPLINK] },
  wanted: {
    route: new Map([
      route('10.244.2.0/26', '192.168.10.12'),
      route('10.244.3.0/26', '192.168.20.13'),
      route('fd00:10::/122', '2001:db8:10::12'),
      route('198.51.100.0/24', '192.168.10.1'),
    ]),
    destination: new Map([
      ['10.244.0.0/16', true as const],
      ['fd00:10::/64', true as const],
    ]),
  },
}
const refused = (kind: Refusal['kind'], key: string, rest: Partial<Refusal> = {}): Refusal => ({
  ...{ kind, key, reason: 'Refused', errno: ERRNO.EPERM, message: 'EPERM' },
  ...(kind === 'route' && { interfaceName: 'eth0' }),
  ...rest,
})
const block = '10.244.2.0/26'
const block6 = 'fd00:10::/122'

for (const [title, refusal, expected] of [
  [
    'forwarding that cannot be switched on',
    refused('sysctl', 'net.ipv4 ip_forward', { errno: ERRNO.EROFS }),
    'Sysctl net.ipv4 ip_forward: Refused',
  ],
  [
    'proxy ARP that cannot be switched on',
    refused('sysctl', 'net.ipv4 conf/calia/proxy_arp', { interfaceName: 'calia' }),
    'Sysctl net.ipv4 conf/calia/proxy_arp: Refused',
  ],
  ['an uplink that is down', refused('route', block, { errno: ERRNO.ENETDOWN }), 'Link eth0: LinkDown'],
  ['an uplink that is away', refused('route', block, { reason: 'NoInterface' }), 'Link eth0: NoInterface'],
  ['a route to a block that the kernel refuses', refused('route', block), `Route ${block}: Refused`],
  [
    'a next hop of the own subnet that is out of reach',
    refused('route', block, { errno: ERRNO.ENETUNREACH }),
    `Route ${block}: Refused`,
  ],
  [
    'a next hop of the own IPv6 subnet that is out of reach',
    refused('route', block6, { errno: ERRNO.ENETUNREACH }),
    `Route ${block6}: Refused`,
  ],
] as const)
  test(`stops pods: ${title}`, t => {
    const [condition, ...others] = trafficStops([refusal], HERE)
    t.deepEqual(others, [])
    t.is(`${condition?.object?.kind} ${condition?.object?.name}: ${condition?.reason}`, expected)
    t.is(condition?.type, 'PodTrafficPasses')
    t.not(condition?.remedy, '')
  })

for (const [title, refusal] of [
  ['a next hop that another node made up', refused('route', '10.244.3.0/26', { errno: ERRNO.ENETUNREACH })],
  ['a next hop that is an address of this node', refused('route', block, { errno: ERRNO.EINVAL })],
  ['a route outside of the pools', refused('route', '198.51.100.0/24')],
  ['the administrator’s route in its place', refused('route', '198.51.100.0/24', { reason: 'ForeignOwner' })],
  ['a pod that deleted its interface', refused('link', 'calia', { reason: 'NoInterface', interfaceName: 'calia' })],
  ['the pod filter', refused('nftTable', 'inet margay')],
  ['a set of a policy', refused('nftSet', 'inet margay-policy s4-1')],
  ['the rules of a policy', refused('nftChain', 'inet margay-policy to-1')],
  ['the bandwidth that a pod asks', refused('shaping', 'calia egress')],
] as const)
  test(`does not take readiness away: ${title}`, t => {
    t.deepEqual(trafficStops([refusal], HERE), [])
  })

test('what the kernel refuses of the interface of path probes stops no pod', t => {
  const of = { interfaceName: 'caliprobe' }
  const refusals = [refused('sysctl', 'net.ipv4/conf/caliprobe/forwarding', of), refused('route', '10.244.1.9/32', of)]
  t.deepEqual(trafficStops(refusals, HERE), [])
  t.deepEqual(ownRefusals(refusals, 'cali'), [])
  t.is(ownRefusals([refused('route', '10.244.1.9/32', { interfaceName: 'cali1' })], 'cali').length, 1)
})

test('thousands of routes over an uplink that is down are one condition', t => {
  const all = Array.from({ length: 5000 }, (_, n) => refused('route', `10.244.${n}`, { errno: ERRNO.ENETDOWN }))
  const [condition, ...others] = trafficStops(all, HERE)
  t.deepEqual(others, [])
  t.is(condition?.message, 'interface eth0 is down: route 10.244.0 and 4999 more cannot be there')
  t.is(condition?.remedy, 'take it up: ip link set eth0 up')
})

test('a next hop out of reach over an interface that is down is the fault of the interface', t => {
  const all = [
    refused('route', '10.244.2.0/26', { errno: ERRNO.ENETDOWN }),
    refused('route', '10.244.3.0/26', { errno: ERRNO.ENETUNREACH }),
  ]
  const [condition, ...others] = trafficStops(all, HERE)
  t.deepEqual(others, [])
  t.like(condition, { reason: 'LinkDown', object: { kind: 'Link', name: 'eth0' } })
})

test('an uplink without carrier stops pods, although the kernel refuses nothing', t => {
  const [condition] = trafficStops([], { ...HERE, uplinks: [{ ...UPLINK, running: false }] })
  t.like(condition, { reason: 'NoCarrier', object: { kind: 'Link', name: 'eth0' } })
})

test('an uplink that is down stops pods, once, whether or not the kernel refuses a route over it', t => {
  const here = { ...HERE, uplinks: [{ ...UPLINK, up: false, running: false }] }
  for (const refusals of [[], [refused('route', block, { errno: ERRNO.ENETDOWN })]]) {
    const [condition, ...others] = trafficStops(refusals, here)
    t.like(condition, { reason: 'LinkDown', object: { kind: 'Link', name: 'eth0' } })
    t.deepEqual(others, [])
  }
})

test('of two uplinks the one without carrier is named', t => {
  const uplinks = [UPLINK, { ...UPLINK, index: 3, name: 'eth1', running: false }]
  const found = trafficStops([], { ...HERE, uplinks })
  t.deepEqual(
    found.map(({ object }) => object),
    [{ kind: 'Link', name: 'eth1' }],
  )
})

test('a condition counts once it has held for the whole time, and begins anew when it was gone', t => {
  const lasting = new Lasting(2000)
  const one = [broken('PodTrafficPasses', { reason: 'LinkDown', message: '', remedy: '' })]
  t.deepEqual(lasting.take(one, 0), { lasting: [], waitMs: 2000 })
  t.deepEqual(lasting.take(one, 1500), { lasting: [], waitMs: 500 })
  t.deepEqual(lasting.take(one, 2000), { lasting: one })
  t.deepEqual(lasting.take([], 2500), { lasting: [] })
  t.deepEqual(lasting.take(one, 3000), { lasting: [], waitMs: 2000 })
})
