// Which addresses of Services a node announces: the rules one by one, and all of them beside a slow reading.
import test from 'ava'
import fc from 'fast-check'
import { isExcluded, Services, type Standing, serviceRanges } from '../../../agent/cluster/services.ts'
import { bgpSettings } from '../../../agent/cluster/settings.ts'
import type { Resource } from '../../../api/kinds.ts'
import { contains, familyOf, parseAddress } from '../../../lib/ip.ts'
import { aPool, aResource } from '../../datastore/objects.ts'

type Config = Partial<Resource<'BGPConfiguration'>['spec']>

const some = (...cidrs: string[]) => cidrs.map(cidr => ({ cidr }))
const RANGES = {
  serviceClusterIPs: some('10.96.0.0/16', 'fd00:96::/112'),
  serviceExternalIPs: some('192.0.2.0/24', '198.51.100.7'),
  serviceLoadBalancerIPs: some('203.0.113.0/24', '203.0.114.9/32', '2001:db8::/64'),
}
const WHOLE = ['10.96.0.0/16', '192.0.2.0/24', '2001:db8::/64', '203.0.113.0/24', 'fd00:96::/112']

const rangesOf = (spec: Config, pools: readonly Resource<'IPPool'>[] = []) =>
  serviceRanges(bgpSettings(aResource('BGPConfiguration', { metadata: { name: 'default' }, spec })), pools)

const aService = (name: string, spec: object, ips: string[] = []) =>
  aResource('Service', {
    metadata: { name, namespace: 'shop' },
    spec: { type: 'LoadBalancer', clusterIP: '10.96.0.1', ...spec },
    status: { loadBalancer: { ingress: ips.map(ip => ({ ip })) } },
  })

/** `node ready serving terminating`, each of the last three as a letter; a dot says nothing of it. */
type End = readonly [node: string, conditions: string]
const SAID: Readonly<Record<string, boolean>> = { '+': true, '-': false }

const aSlice = (name: string, of: string, ends: readonly End[], addressType = 'IPv4') =>
  aResource('EndpointSlice', {
    metadata: { name, namespace: 'shop', labels: { 'kubernetes.io/service-name': of } },
    addressType,
    endpoints: ends.map(([nodeName, conditions]) => {
      const [ready, serving, terminating] = [...conditions].map(letter => SAID[letter])
      return { nodeName, conditions: { ready, serving, terminating } }
    }),
  })

const READY = '++-'
const ENDING = '-++'
const UNREADY = '---'

function announced(
  config: Config,
  { services = [], slices = [] }: { services?: Resource<'Service'>[]; slices?: Resource<'EndpointSlice'>[] },
  pools: readonly Resource<'IPPool'>[] = [],
): Record<string, Standing> {
  const node = new Services('n1')
  node.setRanges(rangesOf(config, pools))
  for (const each of services) node.setService(`shop/${each.metadata.name}`, each)
  for (const each of slices) node.setSlice(`shop/${each.metadata.name}`, each)
  return Object.fromEntries([...node.prefixes()].sort(([a], [b]) => (a < b ? -1 : 1)))
}

const single = (all: Record<string, Standing>) =>
  Object.fromEntries(Object.entries(all).filter(([p]) => !WHOLE.includes(p)))

test('every node announces the ranges as they are, but for those of one address, and without ranges nothing', t => {
  t.deepEqual(Object.keys(announced(RANGES, {})), WHOLE)
  const services = [aService('web', {}, ['203.0.113.1'])]
  const slices = [aSlice('a', 'web', [['n1', READY]])]
  t.deepEqual(announced({}, { services, slices }), {})
  t.deepEqual(announced({ serviceClusterIPs: [{ cidr: 'nothing' }, {}, { cidr: '10.96.3.4/16' }] }, {}), {
    '10.96.0.0/16': 'stays',
  })
  t.deepEqual(announced({ serviceExternalIPs: some('0.0.0.0/0', '::/0') }, { services, slices }), {})
})

test('with policy Local each address inside the ranges of its kind is announced by nodes with a ready endpoint, and no other', t => {
  const spec = { externalTrafficPolicy: 'Local', externalIPs: ['192.0.2.5', '203.0.113.5', '8.8.8.8'] }
  const services = [aService('web', spec, ['203.0.113.1', '192.0.2.1', 'host', '203.0.113.1/32'])]
  const all = { '10.96.0.1/32': 'stays', '192.0.2.5/32': 'stays', '203.0.113.1/32': 'stays' } as const
  for (const [ends, expected] of [
    [[['n1', READY]], all],
    [[['n1', '...']], all],
    [[['n1', '.-.']], all],
    [[['n2', READY]], {}],
    [[['n1', UNREADY]], {}],
    [[], {}],
  ] as const)
    t.deepEqual(
      single(announced(RANGES, { services, slices: [aSlice('a', 'web', ends)] })),
      expected,
      JSON.stringify(ends),
    )
})

test('a local endpoint that terminates counts while it serves and none is ready; with one elsewhere this node leaves', t => {
  const services = [aService('web', { externalTrafficPolicy: 'Local', clusterIP: '10.97.0.1' }, ['203.0.113.1'])]
  const at = (...ends: End[]) => single(announced(RANGES, { services, slices: [aSlice('a', 'web', ends)] }))
  t.deepEqual(at(['n1', ENDING]), { '203.0.113.1/32': 'stays' })
  t.deepEqual(at(['n1', ENDING], ['n2', UNREADY]), { '203.0.113.1/32': 'stays' })
  t.deepEqual(at(['n1', ENDING], ['n2', READY]), { '203.0.113.1/32': 'leaves' })
  t.deepEqual(at(['n1', ENDING], ['n1', READY]), { '203.0.113.1/32': 'stays' })
  t.deepEqual(at(['n1', '--+']), {}, 'it serves no more')
  t.deepEqual(at(['n1', '-+-']), {}, 'it is not ready, and does not end')
  t.deepEqual(at(['n2', ENDING]), {})
})

test('an address is announced where an endpoint of its own family is', t => {
  const spec = {
    ...{ externalTrafficPolicy: 'Local', clusterIP: 'fd00:96::1', clusterIPs: ['fd00:96::1', '10.96.0.1'] },
    ipFamilies: ['IPv6', 'IPv4'],
  }
  const services = [aService('web', spec, ['203.0.113.1', '2001:DB8:0::1'])]
  const slices = [aSlice('a', 'web', [['n1', READY]], 'IPv6'), aSlice('b', 'web', [['n2', READY]])]
  t.deepEqual(single(announced(RANGES, { services, slices })), {
    '2001:db8::1/128': 'stays',
    'fd00:96::1/128': 'stays',
  })
  const named = [aSlice('a', 'web', [['n1', READY]], 'FQDN')]
  t.deepEqual(single(announced(RANGES, { services, slices: named })), {})
})

test('with policy Cluster an address is announced by every node where it is a range itself, and else its range says all', t => {
  const services = [
    aService('web', { externalIPs: ['198.51.100.7', '192.0.2.5'] }, ['203.0.113.1', '203.0.114.9']),
    aService('other', { type: 'ClusterIP', clusterIP: '10.96.0.9', externalTrafficPolicy: '' }, ['203.0.114.9']),
  ]
  t.deepEqual(single(announced(RANGES, { services })), { '198.51.100.7/32': 'stays', '203.0.114.9/32': 'stays' })
})

test('addresses of LoadBalancers that are not aggregated are announced one by one while an endpoint takes packets', t => {
  const config = { ...RANGES, serviceLoadBalancerAggregation: 'Disabled' } as const
  const services = [aService('web', {}, ['203.0.113.1', '203.0.114.9', '203.0.120.1'])]
  const at = (...ends: End[]) => announced(config, { services, slices: [aSlice('a', 'web', ends)] })
  const always = {
    '10.96.0.0/16': 'stays',
    '192.0.2.0/24': 'stays',
    '203.0.114.9/32': 'stays',
    'fd00:96::/112': 'stays',
  }
  t.deepEqual(at(['n2', READY]), { ...always, '203.0.113.1/32': 'stays' } as never)
  t.deepEqual(at(['n2', ENDING]), { ...always, '203.0.113.1/32': 'stays' } as never)
  t.deepEqual(at(['n2', UNREADY]), always as never)
})

test('a Service without an address in the cluster, or of another type, has none to announce', t => {
  for (const spec of [{ clusterIP: 'None' }, { clusterIP: '' }, { type: 'ExternalName' }]) {
    const services = [aService('web', { externalTrafficPolicy: 'Local', ...spec }, ['203.0.113.1'])]
    const slices = [aSlice('a', 'web', [['n1', READY]])]
    t.deepEqual(single(announced(RANGES, { services, slices })), {})
  }
})

test('the endpoints of a Service are looked at once for all its addresses', t => {
  let looked = 0
  const slice = aSlice('a', 'web', [['n1', READY]])
  const { endpoints } = slice
  Object.defineProperty(slice, 'endpoints', {
    get: () => {
      looked++
      return endpoints
    },
  })
  const externalIPs = Array.from({ length: 50 }, (_, i) => `192.0.2.${i}`)
  for (const externalTrafficPolicy of ['Local', 'Cluster']) {
    const services = [aService('web', { externalTrafficPolicy, externalIPs }, ['203.0.113.1', '203.0.113.2'])]
    looked = 0
    announced({ ...RANGES, serviceLoadBalancerAggregation: 'Disabled' }, { services, slices: [slice] })
    t.true(looked <= 2, `${externalTrafficPolicy}: ${looked}`)
  }
})

test('of one Service 256 addresses of a kind are announced, and it is told of which some are not', t => {
  const externalIPs = Array.from({ length: 300 }, (_, i) => `10.0.${i >> 8}.${i & 255}`)
  const node = new Services('n1')
  node.setRanges(rangesOf({ serviceExternalIPs: some('10.0.0.0/8') }))
  node.setSlice('shop/a', aSlice('a', 'web', [['n1', READY]]))
  const spec = (count: number) => ({ externalTrafficPolicy: 'Local', externalIPs: externalIPs.slice(0, count) })
  node.setService('shop/web', aService('web', spec(256)))
  t.is(node.prefixes().size, 1 + 256)
  t.deepEqual(node.refused(), [])
  node.setService('shop/web', aService('web', spec(300)))
  t.is(node.prefixes().size, 1 + 256)
  t.like(node.refused(), [{ type: 'FieldsSupported', reason: 'TooManyAddresses' }])
  t.regex(node.refused()[0]!.message, /^shop\/web has more than 256/)
  node.setRanges(rangesOf({}))
  t.deepEqual([node.prefixes().size, node.refused().length], [0, 0])
  node.setRanges(rangesOf({ serviceExternalIPs: some('10.0.0.0/8') }))
  node.setService('shop/web', undefined)
  t.deepEqual([node.prefixes().size, node.refused().length], [1, 0])
})

test('an address of a LoadBalancer that kube-proxy leaves to the balancer (ipMode Proxy) is not announced', t => {
  const local = aService('web', { externalTrafficPolicy: 'Local' })
  const ingress = [
    { ip: '203.0.113.1', ipMode: 'Proxy' },
    { ip: '203.0.113.2', ipMode: 'VIP' },
    { ip: '203.0.114.9', ipMode: 'Proxy' },
  ]
  const services = [{ ...local, status: { loadBalancer: { ingress } } }]
  const slices = [aSlice('a', 'web', [['n1', READY]])]
  t.deepEqual(single(announced(RANGES, { services, slices })), { '10.96.0.1/32': 'stays', '203.0.113.2/32': 'stays' })
})

test('an address that an IPPool gives pods is announced for no Service, and one of a pool for LoadBalancers is', t => {
  const services = [aService('web', { externalTrafficPolicy: 'Local' }, ['203.0.113.1', '203.0.113.200'])]
  const slices = [aSlice('a', 'web', [['n1', READY]])]
  const pools = [
    aPool('pods', { cidr: '203.0.113.0/25', blockSize: 26 }),
    aPool('services', { cidr: '203.0.113.128/25', allowedUses: ['LoadBalancer'], nodeSelector: 'all()' }),
  ]
  const found = single(announced(RANGES, { services, slices }, pools))
  t.deepEqual(found, { '10.96.0.1/32': 'stays', '203.0.113.200/32': 'stays' })
})

test('a node that is excluded from load balancers leaves everything, ranges too', t => {
  t.true(isExcluded({ 'node.kubernetes.io/exclude-from-external-load-balancers': 'true' }))
  t.false(isExcluded({ 'node.kubernetes.io/exclude-from-external-load-balancers': 'false' }))
  const node = new Services('n1')
  node.setRanges(rangesOf(RANGES))
  node.setExcluded(true)
  t.deepEqual([...node.prefixes().keys()].sort(), WHOLE)
  t.deepEqual(new Set(node.prefixes().values()), new Set(['leaves']))
  node.setExcluded(false)
  t.deepEqual(new Set(node.prefixes().values()), new Set(['stays']))
})

// ---- walks

type World = {
  config: Config
  excluded: boolean
  services: Map<string, Resource<'Service'>>
  slices: Map<string, Resource<'EndpointSlice'>>
}

/** The rules, read slowly: every prefix that could be announced is asked whether it is. */
function slowly({ config, excluded, services, slices }: World): Record<string, Standing> {
  const { serviceLoadBalancerAggregation: aggregation = 'Enabled' } = config
  const ranges = (field: 'serviceClusterIPs' | 'serviceExternalIPs' | 'serviceLoadBalancerIPs') =>
    (config[field] ?? []).map(({ cidr = '' }) => (cidr.includes('/') ? cidr : `${cidr}/32`))
  const full = (address: string) => `${address}/${familyOf(address) === 'ipv4' ? 32 : 128}`
  const asked = new Map<string, Standing[]>()
  const ask = (prefix: string, standing: Standing) => asked.set(prefix, [...(asked.get(prefix) ?? []), standing])
  for (const field of ['serviceClusterIPs', 'serviceExternalIPs', 'serviceLoadBalancerIPs'] as const)
    for (const range of ranges(field)) {
      if (/\/(32|128)$/.test(range) || (field === 'serviceLoadBalancerIPs' && aggregation === 'Disabled')) continue
      ask(range, 'stays')
    }
  for (const { metadata, spec, status } of services.values()) {
    if (spec.type === 'ExternalName' || spec.clusterIP === 'None') continue
    const kinds: [string, string[], string[]][] = [
      ['cluster', spec.clusterIPs ?? [spec.clusterIP!], ranges('serviceClusterIPs')],
      ['external', spec.externalIPs ?? [], ranges('serviceExternalIPs')],
      [
        'balancer',
        spec.type === 'LoadBalancer' ? (status?.loadBalancer?.ingress ?? []).map(({ ip = '' }) => ip) : [],
        ranges('serviceLoadBalancerIPs'),
      ],
    ]
    for (const [kind, addresses, within] of kinds)
      for (const address of addresses) {
        if (parseAddress(address) === undefined || !within.some(range => contains(range, address))) continue
        const type = familyOf(address) === 'ipv4' ? 'IPv4' : 'IPv6'
        const ends = [...slices.values()]
          .filter(
            each => each.metadata.labels?.['kubernetes.io/service-name'] === metadata.name && each.addressType === type,
          )
          .flatMap(({ endpoints = [] }) => endpoints)
        const isReady = (end: (typeof ends)[number]) => end.conditions?.ready !== false
        const drains = (end: (typeof ends)[number]) =>
          end.conditions?.terminating === true && end.conditions.serving === true
        const here = ends.filter(({ nodeName }) => nodeName === 'n1')
        if (spec.externalTrafficPolicy === 'Local') {
          if (here.some(isReady)) ask(full(address), 'stays')
          else if (here.some(drains)) ask(full(address), ends.some(isReady) ? 'leaves' : 'stays')
        } else if (within.includes(full(address))) ask(full(address), 'stays')
        else if (kind === 'balancer' && aggregation === 'Disabled' && ends.some(end => isReady(end) || drains(end)))
          ask(full(address), 'stays')
      }
  }
  const standing = (all: Standing[]): Standing => (excluded || !all.includes('stays') ? 'leaves' : 'stays')
  return Object.fromEntries([...asked].map(([prefix, all]) => [prefix, standing(all)]))
}

const ADDRESSES = [
  '10.96.0.1',
  '192.0.2.1',
  '203.0.113.1',
  '203.0.114.9',
  '198.51.100.7',
  'fd00:96::1',
  '2001:db8::1',
  '8.8.8.8',
]
const addresses = fc.subarray(ADDRESSES, { maxLength: 4 })
const service = fc
  .record({
    type: fc.constantFrom('ClusterIP', 'NodePort', 'LoadBalancer', 'LoadBalancer', 'ExternalName'),
    externalTrafficPolicy: fc.constantFrom('Local', 'Local', 'Cluster', undefined),
    clusterIPs: fc.subarray(['10.96.0.1', 'fd00:96::1'], { minLength: 1 }),
    headless: fc.integer({ min: 0, max: 9 }),
    externalIPs: addresses,
    ips: addresses,
  })
  .map(({ ips, headless, ...spec }) => ({
    ips,
    spec: { ...spec, clusterIP: headless === 0 ? 'None' : spec.clusterIPs[0]! },
  }))
const slice = fc.record({
  of: fc.constantFrom('a', 'b', 'c'),
  type: fc.constantFrom('IPv4', 'IPv6'),
  ends: fc.array(fc.tuple(fc.constantFrom('n1', 'n2'), fc.constantFrom(READY, ENDING, UNREADY, '...', '--+')), {
    maxLength: 3,
  }),
})
const config = fc.record(
  {
    serviceClusterIPs: fc.subarray(RANGES.serviceClusterIPs),
    serviceExternalIPs: fc.subarray(RANGES.serviceExternalIPs),
    serviceLoadBalancerIPs: fc.subarray(RANGES.serviceLoadBalancerIPs),
    serviceLoadBalancerAggregation: fc.constantFrom('Enabled' as const, 'Disabled' as const),
  },
  { requiredKeys: [] },
)
const name = fc.constantFrom('a', 'b', 'c')
const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant('service' as const), name, is: fc.option(service, { nil: undefined }) }),
  },
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('slice' as const), name, is: fc.option(slice, { nil: undefined }) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('config' as const), config }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('excluded' as const), on: fc.boolean() }) },
  { weight: 2, arbitrary: fc.constant({ do: 'look' as const }) },
)

test('after every walk a node announces what the rules, read slowly, say of the objects: in any order, looked at between or not', t => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), steps => {
      const world: World = { config: RANGES, excluded: false, services: new Map(), slices: new Map() }
      const node = new Services('n1')
      node.setRanges(rangesOf(world.config))
      for (const each of steps)
        if (each.do === 'service') {
          const object = each.is && aService(each.name, each.is.spec, each.is.ips)
          if (object === undefined) world.services.delete(each.name)
          else world.services.set(each.name, object)
          node.setService(`shop/${each.name}`, object)
        } else if (each.do === 'slice') {
          const object = each.is && aSlice(each.name, each.is.of, each.is.ends, each.is.type)
          if (object === undefined) world.slices.delete(each.name)
          else world.slices.set(each.name, object)
          node.setSlice(`shop/${each.name}`, object)
        } else if (each.do === 'config') {
          world.config = each.config
          node.setRanges(rangesOf(each.config))
        } else if (each.do === 'excluded') {
          world.excluded = each.on
          node.setExcluded(each.on)
        } else node.prefixes()
      const wanted = slowly(world)
      t.deepEqual(Object.fromEntries(node.prefixes()), wanted)
      // told anew, backwards, as after a restart
      const again = new Services('n1')
      for (const [key, object] of [...world.slices].reverse()) again.setSlice(`shop/${key}`, object)
      for (const [key, object] of [...world.services].reverse()) again.setService(`shop/${key}`, object)
      again.setExcluded(world.excluded)
      again.setRanges(rangesOf(world.config))
      t.deepEqual(Object.fromEntries(again.prefixes()), wanted)
    }),
    { numRuns: 500 },
  )
})
