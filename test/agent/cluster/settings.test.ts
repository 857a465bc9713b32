import test from 'ava'
import { bgpSettings, felixSettings, metricsSettings } from '../../../agent/cluster/settings.ts'
import { BGP_ANNOTATION } from '../../../api/core.ts'
import { aResource } from '../../datastore/objects.ts'

test("without a configuration object Calico's defaults hold", t => {
  t.like(bgpSettings(undefined), { asNumber: 64512, nodeToNodeMeshEnabled: true, listenPort: 179 })
  t.like(felixSettings(undefined), {
    vxlanPort: 4789,
    vxlanVni: 4096,
    ipipMtu: 0,
    vxlanMtu: 0,
    workloadRouteProtocol: 3,
  })
})

test('what an object says replaces the default of that field alone', t => {
  const spec = { vxlanMTU: 1300 }
  const felix = felixSettings(aResource('FelixConfiguration', { metadata: { name: 'default' }, spec }))
  t.like(felix, { vxlanMtu: 1300, vxlanPort: 4789 })
})

test('what an object for one node says replaces those fields of the cluster that may differ, and no other one', t => {
  const config = (name: string, spec: object) => aResource('BGPConfiguration', { metadata: { name }, spec })
  const cluster = config('default', {
    ...{ asNumber: 65001, listenPort: 1179, communities: [{ name: 'a', value: '65001:1' }] },
    prefixAdvertisements: [{ cidr: '10.0.0.0/8', communities: ['a'] }],
  })
  t.deepEqual(bgpSettings(cluster, config('node.n1', { asNumber: 65009, nodeToNodeMeshEnabled: false })), {
    ...cluster.spec,
    listenPort: 1179,
  })
  t.is(bgpSettings(cluster, config('node.n1', { listenPort: 179 })).listenPort, 179)
  t.is(bgpSettings(undefined, config('node.n1', { listenPort: 1180 })).listenPort, 1180)
  t.deepEqual(
    ['None', 'NodeIP', undefined].map(
      bindMode => bgpSettings(config('default', { bindMode: 'None' }), config('node.n1', { bindMode })).bindMode,
    ),
    ['None', 'NodeIP', 'None'],
  )
  const own = config('node.n1', { prefixAdvertisements: [{ cidr: '10.0.0.0/8', communities: ['65001:9'] }] })
  t.like(bgpSettings(cluster, own), { communities: undefined, prefixAdvertisements: own.spec.prefixAdvertisements })
})

test('MTUs and route protocol of one node replace those of the cluster, port and VNI of the tunnels do not', t => {
  const config = (name: string, spec: object) => aResource('FelixConfiguration', { metadata: { name }, spec })
  const cluster = config('default', { vxlanMTU: 1300, vxlanMTUV6: 1290, ipipMTU: 1400, deviceRouteProtocol: 80 })
  const own = config('node.n1', { vxlanMTU: 0, deviceRouteProtocol: 4, vxlanPort: 4790, vxlanVNI: 5 })
  const { hosts: _, ...settings } = felixSettings(cluster, own)
  t.deepEqual(settings, {
    ...{ vxlanPort: 4789, vxlanVni: 4096, ipipMtu: 1400, vxlanMtu: 0, vxlanOverIpv6Mtu: 1290 },
    workloadRouteProtocol: 4,
    nat: { keepAddressTo: 'pools', bgpPorts: [179] },
    logLimit: undefined,
  })
})

test('how much rules Log tell is as Calico has it, and what makes no sense counts as absent', t => {
  const limit = (spec: object) =>
    felixSettings(aResource('FelixConfiguration', { metadata: { name: 'default' }, spec })).logLimit
  t.deepEqual(limit({ logActionRateLimit: '3/minute' }), { rate: 3, per: 'minute', burst: 5 })
  t.deepEqual(limit({ logActionRateLimit: '3/day', logActionRateLimitBurst: 7 }), { rate: 3, per: 'day', burst: 7 })
  t.deepEqual(limit({ logActionRateLimit: '3/hour', logActionRateLimitBurst: 0 }), { rate: 3, per: 'hour', burst: 5 })
  t.deepEqual(limit({ logActionRateLimit: '0/second' }), undefined)
  t.deepEqual(limit({ logActionRateLimit: '3/week' }), undefined)
  t.deepEqual(limit({ logActionRateLimitBurst: 7 }), undefined)
})

test('what is said of NAT for one node replaces what is said for all, field by field; all ports of BGP are known', t => {
  const config = (name: string, spec: object) => aResource('FelixConfiguration', { metadata: { name }, spec })
  const cluster = config('default', {
    natOutgoingExclusions: 'IPPoolsAndHostIPs',
    natPortRange: '0:2048',
    natOutgoingAddress: '192.0.2.1',
  })
  const nat = (own: object) => felixSettings(cluster, config('node.n1', own)).nat
  const all = {
    keepAddressTo: 'pools and nodes',
    ports: { first: 1, last: 2048 },
    address: '192.0.2.1',
    bgpPorts: [179],
  }
  t.deepEqual(nat({}) as unknown, all)
  t.deepEqual(nat({ natPortRange: 5000 })?.ports, { first: 5000, last: 5000 })
  t.is(nat({ natPortRange: 0 })?.ports, undefined)
  t.is(nat({ natOutgoingAddress: '' })?.address, undefined)
  t.is(nat({ natOutgoingExclusions: 'IPPoolsOnly' })?.keepAddressTo, 'pools')
  const bgp = (name: string, spec: object) => aResource('BGPConfiguration', { metadata: { name }, spec })
  const ports = [bgp('default', { listenPort: 1179 }), bgp('node.n2', { listenPort: 1180 }), bgp('node.n3', {})]
  t.deepEqual(felixSettings(undefined, undefined, ports).nat?.bgpPorts, [179, 1179, 1180])
})

test('the annotation for several paths of the cluster’s BGPConfiguration says how groups keep their flows', t => {
  const of = (name: string, text: string) => {
    const annotations = { [BGP_ANNOTATION.multipath]: text }
    return felixSettings(undefined, undefined, [aResource('BGPConfiguration', { metadata: { name, annotations } })])
  }
  t.deepEqual(of('default', 'resilient=128 of=ebgp').resilient, { buckets: 128, idleSeconds: 120 })
  for (const [name, text] of [
    ['default', 'of=ebgp'],
    ['default', 'off'],
    ['default', 'resilient=1'],
    ['node.n1', 'resilient'],
  ] as const)
    t.is(of(name, text).resilient, undefined, `${name} ${text}`)
})

test('metrics are served at Calico’s port of all addresses once they are enabled, and nowhere before', t => {
  const config = (spec: object, name = 'default') => aResource('FelixConfiguration', { metadata: { name }, spec })
  const on = { prometheusMetricsEnabled: true }
  t.deepEqual(metricsSettings(undefined), { ofProcess: true })
  t.deepEqual(metricsSettings(config({})), { ofProcess: true })
  t.deepEqual(metricsSettings(config(on)), { at: { port: 9091 }, ofProcess: true })
  t.deepEqual(metricsSettings(config({ ...on, prometheusMetricsHost: '', prometheusMetricsPort: 0 })), {
    ofProcess: true,
  })
  const own = config({ prometheusMetricsHost: '::1', prometheusMetricsPort: 9100 }, 'node.n1')
  t.deepEqual(metricsSettings(config(on), own).at, { host: '::1', port: 9100 })
  t.is(metricsSettings(config(on), config({ prometheusMetricsEnabled: false }, 'node.n1')).at, undefined)
})

test('metrics that are to be encrypted are served nowhere, whoever of both objects says so', t => {
  const config = (spec: object, name = 'default') => aResource('FelixConfiguration', { metadata: { name }, spec })
  const on = { prometheusMetricsEnabled: true }
  for (const tls of [
    { prometheusMetricsCertFile: '/tls.crt' },
    { prometheusMetricsKeyFile: '/tls.key' },
    { prometheusMetricsCAFile: '/ca.crt' },
    { prometheusMetricsClientAuth: 'RequireAndVerifyClientCert' },
  ]) {
    t.is(metricsSettings(config({ ...on, ...tls })).at, undefined)
    t.is(metricsSettings(config(on), config(tls, 'node.n1')).at, undefined)
  }
})

test('established connections are kept where an annotation says so, of the object for this node first; anything else cuts them', t => {
  const object = (name: string, says?: string) =>
    aResource('FelixConfiguration', {
      metadata: { name, ...(says !== undefined && { annotations: { 'margay.io/EstablishedConnections': says } }) },
      spec: {},
    })
  const keeps = (cluster?: string, own?: string) =>
    felixSettings(object('default', cluster), own === undefined ? undefined : object('node.n1', own)).keepConnections
  t.deepEqual([keeps(), keeps('Keep'), keeps('keep'), keeps('')], [undefined, true, undefined, undefined])
  t.deepEqual([keeps('Keep', 'Cut'), keeps('Cut', 'Keep')], [undefined, true])
})

test('pods may send under other sources where workloadSourceSpoofing is Any in any case, of the object for this node first', t => {
  const object = (name: string, workloadSourceSpoofing?: string) =>
    aResource('FelixConfiguration', {
      metadata: { name },
      spec: { ...(workloadSourceSpoofing && { workloadSourceSpoofing }) },
    })
  const allows = (cluster?: string, own?: string) =>
    felixSettings(object('default', cluster), own === undefined ? undefined : object('node.n1', own)).allowSources
  t.deepEqual([allows(), allows('Disabled'), allows('Any'), allows('any')], [undefined, undefined, true, true])
  t.deepEqual([allows('Any', 'Disabled'), allows('Disabled', 'Any'), allows('Any', '')], [undefined, true, true])
})

test('ports of hosts stay open as Calico has them, or as somebody says, for all nodes or for one', t => {
  const config = (name: string, spec: object) => aResource('FelixConfiguration', { metadata: { name }, spec })
  const { inbound = [], outbound = [], podsToHost } = felixSettings(undefined).hosts ?? {}
  const shown = (ports: typeof inbound) => ports.map(({ protocol, port }) => `${protocol}/${port}`).join(' ')
  t.is(shown(inbound), '6/22 6/179 6/2379 6/2380 6/5473 6/6443 6/6666 6/6667 17/68')
  t.is(shown(outbound), '6/179 6/2379 6/2380 6/5473 6/6443 6/6666 6/6667 17/53 17/67')
  t.is(podsToHost, 'accept')
  const cluster = config('default', {
    failsafeInboundHostPorts: [
      { port: 22, net: '10.0.0.7/8' },
      { protocol: 'udp', port: 53, net: '' },
      { protocol: 132, port: 7 },
      { protocol: 'ICMP', port: 1 },
      { protocol: 'TCP', port: 0 },
    ],
    failsafeOutboundHostPorts: [],
    defaultEndpointToHostAction: 'DROP',
  })
  t.deepEqual(felixSettings(cluster).hosts, {
    inbound: [
      { protocol: 6, port: 22, net: '10.0.0.0/8' },
      { protocol: 17, port: 53 },
      { protocol: 132, port: 7 },
    ],
    outbound: [],
    podsToHost: 'drop',
  })
  const own = config('node.n1', { failsafeInboundHostPorts: [], defaultEndpointToHostAction: 'Return' })
  t.deepEqual(felixSettings(cluster, own).hosts, { inbound: [], outbound: [], podsToHost: 'accept' })
})

test('addresses of Services that nobody has end here where the cluster announces ranges, in the way that Felix is told', t => {
  const ranges = { serviceClusterIPs: [{ cidr: '10.96.0.0/12' }], serviceExternalIPs: [{ cidr: '192.0.2.1' }, {}] }
  const bgp = (name: string, spec: object) => aResource('BGPConfiguration', { metadata: { name }, spec })
  const loops = (serviceLoopPrevention: string | undefined, ...objects: ReturnType<typeof bgp>[]) =>
    felixSettings(
      aResource('FelixConfiguration', { metadata: { name: 'default' }, spec: { serviceLoopPrevention } }),
      undefined,
      objects,
    ).serviceLoops
  const all = { ranges: ['10.96.0.0/12', '192.0.2.1/32'] }
  t.deepEqual(loops(undefined, bgp('node.n1', {}), bgp('default', ranges)), { action: 'drop', ...all })
  t.deepEqual(loops('', bgp('default', ranges)), { action: 'drop', ...all })
  t.deepEqual(loops('REJECT', bgp('default', ranges)), { action: 'reject', ...all })
  t.is(loops('Disabled', bgp('default', ranges)), undefined)
  t.is(loops('Drop', bgp('default', {}), bgp('node.n1', ranges)), undefined)
  t.is(loops('Drop'), undefined)
})
