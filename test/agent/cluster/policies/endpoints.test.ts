import test from 'ava'
import { hostEndpoint, networkSetOf, podEndpoint, podProfiles } from '../../../../agent/cluster/policies/endpoints.ts'
import { accountLabels, namespaceLabels } from '../../../../agent/cluster/policies/labels.ts'
import { serviceEndpoints, serviceOf } from '../../../../agent/cluster/policies/services.ts'
import { BUILT_IN_TIERS, tierOf } from '../../../../agent/cluster/policies/tiers.ts'
import type { Resource } from '../../../../api/kinds.ts'
import { aResource } from '../../../datastore/objects.ts'

const SHOP = namespaceLabels('shop', { env: 'p' })

function aPod(spec: object, status: object = {}, metadata: object = {}): Resource<'Pod'> {
  return aResource('Pod', {
    metadata: { name: 'p', namespace: 'shop', ...metadata },
    spec: { nodeName: 'n', ...spec },
    status,
  })
}

test('a pod has its own labels, those of its namespace and account, and those that the cluster gives', t => {
  const pod = aPod({ serviceAccountName: 'robot' }, { podIPs: [{ ip: '10.0.0.1' }] }, { labels: { app: 'web' } })
  t.deepEqual(podEndpoint(pod, [SHOP, accountLabels('robot', { role: 'r' })]), {
    kind: 'pod',
    labels: {
      app: 'web',
      'pcns.env': 'p',
      'pcns.kubernetes.io/metadata.name': 'shop',
      'pcns.projectcalico.org/name': 'shop',
      'pcsa.role': 'r',
      'pcsa.projectcalico.org/name': 'robot',
      'projectcalico.org/namespace': 'shop',
      'projectcalico.org/serviceaccount': 'robot',
      'projectcalico.org/orchestrator': 'k8s',
    },
    addresses: ['10.0.0.1'],
    ports: [],
  })
  t.deepEqual(podProfiles(pod), ['kns.shop', 'ksa.shop.robot'])
  t.deepEqual(podProfiles(aPod({})), ['kns.shop'])
})

test('nobody gives itself labels of another namespace or account, or those that only the cluster says', t => {
  const labels = {
    'pcns.env': 'q',
    'pcns.team': 'q',
    'pcsa.role': 'q',
    'projectcalico.org/namespace': 'q',
    'projectcalico.org/orchestrator': 'k8s',
    'projectcalico.org/serviceaccount': 'q',
  }
  const endpoint = podEndpoint(aPod({}, {}, { labels }), [SHOP])!
  t.is(endpoint.labels['pcns.env'], 'p')
  t.is(endpoint.labels['projectcalico.org/namespace'], 'shop')
  for (const key of ['pcns.team', 'pcsa.role', 'projectcalico.org/serviceaccount']) t.false(key in endpoint.labels, key)
  const spec = { nets: [] }
  const { value } = networkSetOf('GlobalNetworkSet', { metadata: { name: 's', labels }, spec }, [])
  t.deepEqual(value!.labels, {})
  const inShop = networkSetOf('NetworkSet', { metadata: { name: 's', namespace: 'shop', labels }, spec }, [SHOP])
  t.deepEqual(inShop.value!.labels, { ...SHOP, 'projectcalico.org/namespace': 'shop' })
})

test('a pod in the network of its host, or on no node, is no endpoint', t => {
  t.is(podEndpoint(aPod({ hostNetwork: true }), []), undefined)
  t.is(podEndpoint(aPod({ nodeName: '' }), []), undefined)
})

const CNI = 'cni.projectcalico.org/'
const addresses: [title: string, status: object, metadata: object, addresses: string[]][] = [
  [
    'all that the kubelet says',
    { podIP: '10.0.0.1', podIPs: [{ ip: 'FD00::1' }, { ip: '10.0.0.1' }] },
    {},
    ['10.0.0.1', 'fd00::1'],
  ],
  ['the first that the kubelet says', { podIP: '10.0.0.1' }, {}, ['10.0.0.1']],
  ['none yet', {}, {}, []],
  [
    'what a CNI plugin noted',
    {},
    { annotations: { [`${CNI}podIP`]: '10.0.0.1/32', [`${CNI}podIPs`]: '10.0.0.1/32,fd00::1/128' } },
    ['10.0.0.1', 'fd00::1'],
  ],
  [
    'no more than two that a CNI plugin may have noted',
    {},
    { annotations: { [`${CNI}podIPs`]: '10.0.0.1/32,fd00::1/128,10.0.0.2/32' } },
    ['10.0.0.1', 'fd00::1'],
  ],
  ['none of one that succeeded', { phase: 'Succeeded', podIP: '10.0.0.1' }, {}, []],
  ['none of one that failed', { phase: 'Failed', podIP: '10.0.0.1' }, {}, []],
  ['its own until it is gone', { podIP: '10.0.0.1' }, { deletionTimestamp: '2026-01-01T00:00:00Z' }, ['10.0.0.1']],
  [
    'none once its network is gone',
    { podIP: '10.0.0.1' },
    { deletionTimestamp: '2026-01-01T00:00:00Z', annotations: { [`${CNI}podIP`]: '' } },
    [],
  ],
  ['only those that are addresses', { podIPs: [{ ip: '10.0.0' }, { ip: '10.0.0.1' }] }, {}, ['10.0.0.1']],
]
for (const [title, status, metadata, found] of addresses)
  test(`addresses of a pod: ${title}`, t => {
    t.deepEqual(podEndpoint(aPod({}, status, metadata), [])!.addresses, found)
  })

test('ports with a name, of containers that start first too, belong to a pod', t => {
  const ports = [
    { containerPort: 1 },
    { name: 'web', containerPort: 80 },
    { name: 'dns', containerPort: 53, protocol: 'UDP' },
  ]
  const initContainers = [{ name: 'i', ports: [{ name: 'log', containerPort: 90, protocol: 'SCTP' }] }]
  t.deepEqual(podEndpoint(aPod({ containers: [{ name: 'c', ports }, { name: 'd' }], initContainers }), [])!.ports, [
    { name: 'web', protocol: 6, port: 80 },
    { name: 'dns', protocol: 17, port: 53 },
    { name: 'log', protocol: 132, port: 90 },
  ])
})

test('an interface of a host has its labels, addresses and ports, and what cannot be read of it allows nothing', t => {
  const metadata = { name: 'h', labels: { role: 'x' } }
  const spec = {
    ...{ node: 'n', interfaceName: 'eth0', expectedIPs: ['10.0.0.1'], profiles: ['projectcalico-default-allow'] },
    ports: [{ name: 'ssh', protocol: 'TCP', port: 22 }],
  }
  t.deepEqual(hostEndpoint({ metadata, spec }, []), {
    value: {
      ...{ node: 'n', interfaceName: 'eth0', profiles: ['projectcalico-default-allow'] },
      endpoint: {
        ...{ kind: 'host', labels: { role: 'x' }, addresses: ['10.0.0.1'] },
        ports: [{ name: 'ssh', protocol: 6, port: 22 }],
      },
    },
    refused: [],
  })
  const { value, refused } = hostEndpoint({ metadata, spec: { ...spec, profiles: 'all' } }, [])
  t.like(value, { node: 'n', interfaceName: 'eth0', profiles: [] })
  t.regex(refused[0]!.message, /^spec\.profiles: /)
  t.is(hostEndpoint({ metadata, spec: { interfaceName: '*' } }, []).value, undefined)
})

test('a set has its CIDRs without the bits of hosts, and one that is none is left out and told', t => {
  const spec = { nets: ['10.1.2.3/8', '192.0.2.1', 'x', 7] }
  const { value, refused } = networkSetOf('GlobalNetworkSet', { metadata: { name: 's' }, spec }, [])
  t.deepEqual(value!.nets, ['10.0.0.0/8', '192.0.2.1/32'])
  t.regex(refused[0]!.message, /^spec\.nets\[2\]: .*left out$/)
})

test('built-in tiers are what they are whatever their objects say, and a tier that cannot be read comes last and denies', t => {
  for (const tier of BUILT_IN_TIERS)
    t.deepEqual(tierOf({ metadata: { name: tier.name }, spec: { order: 1, defaultAction: 'Deny' } }).value, tier)
  t.deepEqual(tierOf({ metadata: { name: 'x' }, spec: { order: 5, defaultAction: 'Pass' } }), {
    ...{ value: { name: 'x', order: 5, defaultAction: 'pass' }, refused: [] },
  })
  const last = { name: 'x', order: Number.POSITIVE_INFINITY, defaultAction: 'deny' }
  t.deepEqual(tierOf({ metadata: { name: 'x' }, spec: {} }).value, last as never)
  t.deepEqual(tierOf({ metadata: { name: 'x' }, spec: { defaultAction: 'Allow' } }).value, last as never)
})

function aSlice(fields: object, service = 's'): Resource<'EndpointSlice'> {
  const metadata = { name: 'x', namespace: 'shop', labels: { 'kubernetes.io/service-name': service } }
  return aResource('EndpointSlice', { metadata, addressType: 'IPv4', ...fields } as never)
}

test('what is behind a Service is all its endpoints, ready or not, at each of its ports', t => {
  const ports = [{ port: 80 }, { port: 53, protocol: 'UDP' }]
  const slices = [
    aSlice({
      endpoints: [{ addresses: ['10.0.0.2'], conditions: { ready: false } }, { addresses: ['10.0.0.1'] }],
      ports,
    }),
    aSlice({ endpoints: [{ addresses: ['10.0.0.1'] }], ports: [{ port: 80 }] }),
    aSlice({ endpoints: [{ addresses: ['example.com'] }], ports, addressType: 'FQDN' }),
    aSlice({ endpoints: [{ addresses: ['fd00::1'] }], addressType: 'IPv6' }),
  ]
  t.deepEqual(serviceEndpoints(slices).addresses, [
    { address: '10.0.0.1', protocol: 17, port: 53 },
    { address: '10.0.0.1', protocol: 6, port: 80 },
    { address: '10.0.0.2', protocol: 17, port: 53 },
    { address: '10.0.0.2', protocol: 6, port: 80 },
    { address: 'fd00::1', protocol: 6, port: 0 },
  ])
  t.is(serviceOf(slices[0]!), 'shop/s')
  t.is(serviceOf(aSlice({}, '')), undefined)
})
