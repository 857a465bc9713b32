// What of a pod is put back and what is left, case by case, and which events may have taken something of it.
import test from 'ava'
import type { Mismatch } from '../../cni/inspect.ts'
import { changeText, decidePod, type Pause, touchedBy } from '../../cni/pod-decision.ts'
import { HOST_MAC, podSide } from '../../kernel/pod-interface.ts'
import type { PodEvent } from '../../kernel/port/kernel.ts'

const inPod = (kind: Mismatch['kind'], object: string, is?: string): Mismatch => ({
  ...{ side: 'pod', kind, object },
  ...(is !== undefined && { is, should: 'as it was' }),
})

const FACTS = {
  ...{ kept: new Set<string>(), paused: new Map<string, Pause>(), repairs: new Map<string, number[]>() },
  ...{ nowMs: 100_000, leadsElsewhere: new Set<'ipv4' | 'ipv6'>(), hostMtu: 1450 },
}

const ROUTE = inPod('route', '0.0.0.0/0 dev eth0')
const cases: [title: string, mismatch: Mismatch, facts: Partial<typeof FACTS>, 'heal' | 'undone' | 'both' | 'left'][] =
  [
    ['a link that is down', inPod('link', 'eth0 state', 'down'), {}, 'heal'],
    ['a link that is gone', inPod('link', 'eth0'), {}, 'left'],
    ['an MTU above that of the host’s end', inPod('link', 'eth0 mtu', '1500'), {}, 'heal'],
    ['an MTU below it', inPod('link', 'eth0 mtu', '1400'), {}, 'left'],
    ['another MAC', inPod('link', 'eth0 mac', '02:00:00:00:00:01'), {}, 'left'],
    ['a setting', inPod('sysctl', 'net.ipv6.conf.eth0.disable_ipv6', '1'), {}, 'heal'],
    ['an address that is gone', inPod('address', '10.0.0.1/32 dev eth0'), {}, 'heal'],
    ['an address that is not in use yet', inPod('address', '10.0.0.1/32 dev eth0', 'not in use yet'), {}, 'left'],
    ['a neighbour that is gone', inPod('neighbour', '169.254.1.1 dev eth0'), {}, 'heal'],
    ['a neighbour with another MAC', inPod('neighbour', '169.254.1.1 dev eth0', 'x permanent'), {}, 'heal'],
    ['a default route that is gone', ROUTE, {}, 'heal'],
    ['one that leads elsewhere', ROUTE, { leadsElsewhere: new Set(['ipv4'] as const) }, 'left'],
    ['one while the other family leads elsewhere', ROUTE, { leadsElsewhere: new Set(['ipv6'] as const) }, 'heal'],
    ['one with another gateway', inPod('route', '0.0.0.0/0 dev eth0 gateway', '10.0.0.9'), {}, 'left'],
    ['what was so from the beginning', ROUTE, { kept: new Set([ROUTE.object]) }, 'left'],
    ['what was put back once', ROUTE, { repairs: new Map([[ROUTE.object, [99_000]]]) }, 'heal'],
    [
      'what was put back twice in ten seconds',
      ROUTE,
      { repairs: new Map([[ROUTE.object, [90_001, 99_000]]]) },
      'undone',
    ],
    ['what was put back twice in longer', ROUTE, { repairs: new Map([[ROUTE.object, [90_000, 99_000]]]) }, 'heal'],
    [
      'what is left as it is',
      ROUTE,
      { paused: new Map([[ROUTE.object, { untilMs: 100_001, lengthMs: 1 }]]) },
      'undone',
    ],
    [
      'what was left for long enough',
      ROUTE,
      { paused: new Map([[ROUTE.object, { untilMs: 100_000, lengthMs: 1 }]]) },
      'both',
    ],
  ]

for (const [title, mismatch, facts, expected] of cases)
  test(`${title}: ${expected}`, t => {
    const { heal, undone } = decidePod([mismatch], { ...FACTS, ...facts })
    const among = (...of: string[]) => (of.includes(expected) ? [mismatch] : [])
    t.deepEqual([heal, undone], [among('heal', 'both'), among('undone', 'both')])
  })

const SIDE = podSide(
  {
    ...{ interfaceName: 'cali1', ifname: 'eth0', addresses: ['10.0.0.1', 'fd00::1'], mac: '02:00:00:00:00:01' },
    mtu: 1450,
  },
  HOST_MAC,
)
const link = (more: object): PodEvent => ({
  type: 'link',
  link: { index: 2, name: 'eth0', up: true, running: true, mtu: 1450, mac: '02:00:00:00:00:01', ...more },
})
const address = (type: 'address' | 'address-gone', text: string, length = 32): PodEvent => ({
  ...{ type, address: { ifindex: 2, address: text, length, scope: 0 } },
})
const neighbour = (type: 'neighbour' | 'neighbour-gone', text: string, mac?: string, permanent = true): PodEvent => ({
  ...{ type, neighbour: { ifindex: 2, address: text, permanent, ...(mac !== undefined && { mac }) } },
})
const gone = (dst: string): PodEvent => ({
  type: 'route-gone',
  route: { dst, table: 254, type: 'unicast', protocol: 3, scope: 0, ifindex: 2 },
})

const events: [title: string, event: PodEvent, object: string | undefined][] = [
  ['a link as it should be', link({}), undefined],
  ['a link that went down', link({ up: false }), 'eth0 state'],
  ['a larger MTU', link({ mtu: 1451 }), 'eth0 mtu'],
  ['a smaller MTU', link({ mtu: 1400 }), undefined],
  ['another MAC', link({ mac: '02:00:00:00:00:02' }), 'eth0 mac'],
  ['the MAC in other letters', link({ mac: '02:00:00:00:00:01'.toUpperCase() }), undefined],
  ['its address', address('address-gone', '10.0.0.1'), '10.0.0.1/32 dev eth0'],
  ['its address with another length', address('address-gone', '10.0.0.1', 24), undefined],
  ['its IPv6 address', address('address-gone', 'fd00::1', 128), 'fd00::1/128 dev eth0'],
  ['an address of its own', address('address-gone', '10.0.0.2'), undefined],
  ['an address that came', address('address', '10.0.0.1'), undefined],
  ['the default route', gone('0.0.0.0/0'), '0.0.0.0/0 dev eth0'],
  ['the way to the gateway', gone('169.254.1.1/32'), '169.254.1.1/32 dev eth0'],
  ['a route of its own', gone('10.9.9.9/32'), undefined],
  ['the gateway’s entry', neighbour('neighbour-gone', '169.254.1.1', HOST_MAC), '169.254.1.1 dev eth0'],
  ['the gateway’s entry as it should be', neighbour('neighbour', '169.254.1.1', HOST_MAC), undefined],
  ['the gateway with another MAC', neighbour('neighbour', '169.254.1.1', '02:00:00:00:00:09'), '169.254.1.1 dev eth0'],
  ['the gateway without a MAC', neighbour('neighbour', '169.254.1.1', undefined, false), '169.254.1.1 dev eth0'],
  ['a neighbour of its own', neighbour('neighbour-gone', '10.0.0.9', '02:00:00:00:00:09'), undefined],
]

for (const [title, event, object] of events)
  test(`what is told of ${title} ${object === undefined ? 'takes nothing of the interface' : `may have taken ${object}`}`, t => {
    t.is(touchedBy(event, SIDE, { mac: '02:00:00:00:00:01', hostMtu: 1450 })?.object, object)
  })

test('a change is told with what it was and is, and with whoever did it', t => {
  const changed = { ...inPod('link', 'eth0 mtu', '1500'), should: '1450' }
  t.is(changeText(changed, 'ip (process 7)'), 'link eth0 mtu was changed from 1450 to 1500 by ip (process 7)')
  t.is(changeText(changed, undefined), 'link eth0 mtu was changed from 1450 to 1500 by somebody')
  t.is(changeText(ROUTE, 'ip (process 7)'), 'route 0.0.0.0/0 dev eth0 was deleted by ip (process 7)')
  t.is(changeText(ROUTE, undefined), 'route 0.0.0.0/0 dev eth0 was gone')
})
