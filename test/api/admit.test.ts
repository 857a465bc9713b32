// What somebody may write: each rule with an object that keeps it and one that does not, and the field that is named.
import test from 'ava'
import fc from 'fast-check'
import { type Kind, type KindRow, kinds } from '../../api/kinds.ts'
import type { Shape } from '../../api/shapes/shape.ts'
import { admit, admitChange, type Problem, validate } from '../../api/validate.ts'
import { processorMs } from '../slowness.ts'

type Case = [kind: Kind, spec: object, path?: string]

function problems(kind: Kind, spec: object, metadata: object = {}): Problem[] {
  const single = ['FelixConfiguration', 'BGPConfiguration', 'KubeControllersConfiguration'].includes(kind)
  const namespaced = kind.includes('NetworkPolicy') && !kind.includes('Global')
  const place = namespaced || kind === 'NetworkSet' || kind === 'WorkloadEndpoint' ? { namespace: 'shop' } : {}
  const result = admit(kind, { metadata: { name: single ? 'default' : 'x', ...place, ...metadata }, spec })
  return Array.isArray(result) ? result : []
}

function play(t: import('ava').ExecutionContext, cases: readonly Case[]): void {
  for (const [kind, spec, path] of cases)
    t.deepEqual(
      [...new Set(problems(kind, spec).map(problem => problem.path))],
      path === undefined ? [] : [path],
      `${kind} ${JSON.stringify(spec)}`,
    )
}

const rule = (more: object): object => ({ ingress: [{ action: 'Allow', ...more }] })
const from = (source: object, more: object = {}): object => rule({ source, ...more })
const felix = (spec: object, path?: string): Case => ['FelixConfiguration', spec, path]
const policy = (spec: object, path?: string): Case => ['NetworkPolicy', spec, path]
const global = (spec: object, path?: string): Case => ['GlobalNetworkPolicy', spec, path]

test('types, bounds, values and lists of a shape are kept', t => {
  play(t, [
    ['Tier', {}],
    ['Tier', { order: 1.5, defaultAction: 'Pass' }],
    ['Tier', { order: '1' }, 'spec.order'],
    ['Tier', { defaultAction: 'Allow' }, 'spec.defaultAction'],
    ['CalicoNodeStatus', { node: 'n1', classes: ['Agent', 'BGP'], updatePeriodSeconds: 10 }],
    ['CalicoNodeStatus', { classes: ['BGP', 'BGP'] }, 'spec.classes[1]'],
    ['CalicoNodeStatus', { updatePeriodSeconds: 2 ** 31 }, 'spec.updatePeriodSeconds'],
    ['IPAMHandle', { handleID: 'a', block: { '10.0.0.0/26': 1 } }],
    ['IPAMHandle', { block: {} }, 'spec.handleID'],
    ['IPAMHandle', { handleID: 'a', block: { '10.0.0.0/26': 'one' } }, 'spec.block.10.0.0.0/26'],
    ['NetworkSet', { nets: 'all' }, 'spec.nets'],
    felix({ iptablesBackend: 'nft' }, 'spec.iptablesBackend'),
    felix({ routeSource: 'workloadips' }),
    felix({ bpfConntrackTimeouts: { tcpEstablished: '1h', udpTimeout: 'Auto' } }),
    felix({ bpfConntrackTimeouts: { udpTimeout: 'soon' } }, 'spec.bpfConntrackTimeouts.udpTimeout'),
    felix({ kubeNodePortRanges: ['1:2', '3:4', '5:6', '7:8', '9:10', '11:12', 13, 14] }, 'spec.kubeNodePortRanges'),
    ['KubeControllersConfiguration', { controllers: {}, prometheusMetricsPort: 65536 }, 'spec.prometheusMetricsPort'],
    ['BGPFilter', { importV4: [{ action: 'Reject', asPathPrefix: [4200000000] }] }],
    ['BGPFilter', { importV4: [{ action: 'Reject', asPathPrefix: [2 ** 32] }] }, 'spec.importV4[0].asPathPrefix[0]'],
  ])
})

test('a text that would take a regular expression long is refused as fast as any other', t => {
  const udpTimeout = `${'ms'.repeat(50_000)}!`
  const check = () => t.is(problems('FelixConfiguration', { bpfConntrackTimeouts: { udpTimeout } }).length, 1)
  t.true(processorMs(check) < 1000)
})

test('the rules in CEL are kept here too, with the field that is wrong', t => {
  play(t, [
    ['BGPFilter', { exportV6: [{ action: 'Accept', cidr: 'fd00::/8', matchOperator: 'In' }] }],
    ['BGPFilter', { exportV6: [{ action: 'Accept', matchOperator: 'In' }] }, 'spec.exportV6[0]'],
    [
      'BGPFilter',
      { exportV4: [{ action: 'Reject', operations: [{ setPriority: { value: 1 } }] }] },
      'spec.exportV4[0]',
    ],
    ['BGPFilter', { exportV4: [{ action: 'Accept', operations: [{}] }] }, 'spec.exportV4[0].operations[0]'],
    global({ doNotTrack: true, applyOnForward: true }),
    global({ doNotTrack: true }, 'spec.applyOnForward'),
    global({ preDNAT: true, applyOnForward: true, types: ['Egress'] }, 'spec.types'),
    policy(rule({ icmp: { type: 8 }, protocol: 'ICMP' })),
    policy(rule({ icmp: { type: 8 } }), 'spec.ingress[0].icmp'),
    policy(rule({ icmp: { code: 1 }, protocol: 1 }), 'spec.ingress[0].icmp.code'),
    policy(rule({ protocol: 58, ipVersion: 4 }), 'spec.ingress[0].ipVersion'),
    policy(from({ services: { name: 'web' }, selector: 'all()' }), 'spec.ingress[0].source.selector'),
    policy(from({ services: { namespace: 'shop' } }), 'spec.ingress[0].source.services.name'),
    ['HostEndpoint', { node: 'n1', interfaceName: 'eth0' }],
    ['HostEndpoint', { node: 'n1' }, 'spec.interfaceName'],
    felix({ routeTableRange: { min: 1, max: 250 } }),
    felix({ routeTableRange: { min: 1, max: 251 } }, 'spec.routeTableRange'),
    felix({ deviceRouteSourceAddressIPv6: '192.0.2.1' }, 'spec.deviceRouteSourceAddressIPv6'),
    ['IPPool', { cidr: '10.0.0.0/28', disabled: true }],
    ['IPPool', { cidr: '10.0.0.0/28' }, 'spec.blockSize'],
    ['IPPool', { cidr: 'fe80::/64' }, 'spec.cidr'],
    ['IPPool', { cidr: '10.0.0.0/16', allowedUses: ['LoadBalancer'] }],
    ['IPPool', { cidr: '10.0.0.0/16', allowedUses: ['LoadBalancer', 'Tunnel'] }, 'spec.allowedUses'],
    ['IPPool', { cidr: '10.0.0.0/16', allowedUses: ['Tunnel'], namespaceSelector: 'a' }, 'spec.namespaceSelector'],
  ])
  t.is(problems('FelixConfiguration', { nodeSelector: 'all()' }).length, 1, 'of all nodes')
  t.is(problems('FelixConfiguration', { nodeSelector: 'all()' }, { name: 'rack1' }).length, 0)
})

test('the tiers that every cluster has keep their order and action', t => {
  const of = (name: string, spec: object) => problems('Tier', spec, { name }).map(({ path }) => path)
  t.deepEqual(of('kube-admin', { order: 1000, defaultAction: 'Pass' }), [])
  t.deepEqual(of('kube-baseline', { order: 10000000, defaultAction: 'Pass' }), [])
  t.deepEqual(of('default', { order: 1000000 }), [])
  t.deepEqual(of('kube-admin', { order: 1000 }), ['spec.defaultAction'])
  t.deepEqual(of('default', { defaultAction: 'Deny' }), ['spec.order'])
})

test('selectors can be read, and global() stands alone where it may stand', t => {
  play(t, [
    policy({ selector: "role == 'db'" }),
    policy({ selector: 'role = db' }, 'spec.selector'),
    policy({ serviceAccountSelector: 'global()' }, 'spec.serviceAccountSelector'),
    policy(from({ namespaceSelector: 'global()' })),
    policy(from({ namespaceSelector: 'global() || all()' }), 'spec.ingress[0].source.namespaceSelector'),
    policy(from({ notSelector: 'a ==' }), 'spec.ingress[0].source.notSelector'),
    ['BGPPeer', { peerSelector: 'has(rack)' }],
    ['BGPPeer', { peerSelector: 'has(' }, 'spec.peerSelector'],
    ['IPPool', { cidr: '10.0.0.0/16', nodeSelector: 'global()' }, 'spec.nodeSelector'],
  ])
})

test('networks, addresses and ranges are what their field takes', t => {
  play(t, [
    ['GlobalNetworkSet', { nets: ['192.0.2.1', '10.0.0.1/8', '2001:db8::/32'] }],
    ['GlobalNetworkSet', { nets: ['ten'] }, 'spec.nets[0]'],
    policy(from({ nets: ['10.0.0.0/8'] })),
    policy(from({ nets: ['10.0.0.1/8'] }), 'spec.ingress[0].source.nets[0]'),
    policy(from({ nets: ['10.0.0.1'] }), 'spec.ingress[0].source.nets[0]'),
    policy(from({ notNets: ['0.0.0.0/0'] }), 'spec.ingress[0].source.notNets[0]'),
    policy(from({ nets: ['10.0.0.0/8', 'fd00::/8'] }), 'spec.ingress[0].source.nets[1]'),
    policy(from({ nets: ['10.0.0.0/8'] }, { ipVersion: 6 }), 'spec.ingress[0].source.nets[0]'),
    ['IPReservation', { reservedCIDRs: ['10.0.0.1', '10.0.1.0/24'] }],
    ['IPReservation', { reservedCIDRs: ['10.0.1.1/24'] }, 'spec.reservedCIDRs[0]'],
    ['BGPConfiguration', { serviceExternalIPs: [{ cidr: '192.0.2.1' }], localWorkloadPeeringIPV6: 'fd00::1' }],
    ['BGPConfiguration', { serviceExternalIPs: [{ cidr: 'x' }] }, 'spec.serviceExternalIPs[0].cidr'],
    ['BGPConfiguration', { localWorkloadPeeringIPV4: 'fd00::1' }, 'spec.localWorkloadPeeringIPV4'],
    ['BGPConfiguration', { ignoredInterfaces: ['docker*'] }],
    ['BGPConfiguration', { ignoredInterfaces: ['*'] }, 'spec.ignoredInterfaces[0]'],
    ['BGPPeer', { peerIP: '192.0.2.1', reachableBy: '192.0.2.2' }],
    ['BGPPeer', { peerIP: '192.0.2.1', reachableBy: 'fd00::1' }, 'spec.reachableBy'],
    ['BGPFilter', { exportV4: [{ action: 'Accept', cidr: 'fd00::/8', matchOperator: 'In' }] }, 'spec.exportV4[0].cidr'],
    ['BGPFilter', { exportV4: [{ action: 'Accept', interface: '*.calico' }] }],
    ['BGPFilter', { exportV4: [{ action: 'Accept', interface: 'eth 0' }] }, 'spec.exportV4[0].interface'],
    ['HostEndpoint', { node: 'n1', interfaceName: '*', expectedIPs: ['192.0.2.1'] }],
    ['HostEndpoint', { node: 'n1', interfaceName: 'eth#0' }, 'spec.interfaceName'],
    ['HostEndpoint', { node: 'n1', expectedIPs: ['192.0.2.0/24'] }, 'spec.expectedIPs[0]'],
    felix({ externalNodesList: ['192.0.2.1', '192.0.2.0/24'], bpfForceTrackPacketsFromIfaces: ['docker+'] }),
    felix({ externalNodesList: ['fd00::1'] }, 'spec.externalNodesList[0]'),
    felix({ bpfForceTrackPacketsFromIfaces: ['a@b'] }, 'spec.bpfForceTrackPacketsFromIfaces[0]'),
  ])
})

test('protocols and ports are those of IP, and ports need a protocol that has them', t => {
  play(t, [
    ...['TCP', 'UDPLite', 'ICMPv6', 1, 255, '6'].map(protocol => policy(rule({ protocol }))),
    ...['tcp', 0, 256, '256'].map(protocol => policy(rule({ protocol }), 'spec.ingress[0].protocol')),
    policy(from({ ports: [80, '80:90', 'http'] }, { protocol: 'TCP' })),
    policy(from({ ports: ['http'] })),
    policy(from({ ports: [80] }), 'spec.ingress[0].source.ports'),
    policy(from({ notPorts: ['http'] }, { protocol: 'ICMP' }), 'spec.ingress[0].source.notPorts'),
    ...['90:80', 0, 65536, '0:1', '1:2:3', 'a b'].map(port =>
      policy(from({ ports: [port] }, { protocol: 'TCP' }), 'spec.ingress[0].source.ports[0]'),
    ),
    felix({ failsafeInboundHostPorts: [{ protocol: 'TCP', port: 22, net: '10.0.0.0/8' }] }),
    felix({ failsafeInboundHostPorts: [{ protocol: 'ICMP', port: 22 }] }, 'spec.failsafeInboundHostPorts[0].protocol'),
    ['HostEndpoint', { node: 'n1', interfaceName: 'e', ports: [{ name: 'web', port: 80, protocol: 'TCP' }] }],
    [
      'HostEndpoint',
      { node: 'n1', interfaceName: 'e', ports: [{ name: 'Web', port: 80, protocol: 'TCP' }] },
      'spec.ports[0].name',
    ],
    [
      'HostEndpoint',
      { node: 'n1', interfaceName: 'e', ports: [{ name: 'web', port: 80, protocol: 'ICMP' }] },
      'spec.ports[0].protocol',
    ],
  ])
})

test('HTTP and Services stand only where they can be looked at', t => {
  const http = (spec: object): object => rule({ http: spec })
  play(t, [
    policy(http({ methods: ['GET'], paths: [{ exact: '/a' }, { prefix: '/b' }] })),
    policy(http({ methods: ['GET', 'GET'] }), 'spec.ingress[0].http.methods'),
    policy(http({ paths: [{ exact: '/a', prefix: '/b' }] }), 'spec.ingress[0].http.paths[0]'),
    policy(http({ paths: [{ exact: 'a' }] }), 'spec.ingress[0].http.paths[0].exact'),
    policy(http({ paths: [{ prefix: '/a?b' }] }), 'spec.ingress[0].http.paths[0].prefix'),
    policy({ egress: [{ action: 'Allow', http: { methods: ['GET'] } }] }, 'spec.egress[0].http'),
    policy(from({ services: { name: 'web' } })),
    policy(rule({ destination: { services: { name: 'web' } } }), 'spec.ingress[0].destination.services'),
    policy({ egress: [{ action: 'Allow', source: { services: { name: 'web' } } }] }, 'spec.egress[0].source.services'),
    global(from({ services: { name: 'web', namespace: 'shop' } })),
    global(from({ services: { name: 'web' } }), 'spec.ingress[0].source.services.namespace'),
  ])
})

test('a staged policy that deletes says nothing else', t => {
  play(t, [
    ['StagedNetworkPolicy', { stagedAction: 'Delete', tier: 'blue' }],
    ['StagedNetworkPolicy', { stagedAction: 'Delete', selector: 'all()' }, 'spec.selector'],
    ['StagedNetworkPolicy', { stagedAction: 'Set', selector: 'all()' }],
    ['StagedGlobalNetworkPolicy', { stagedAction: 'Delete', order: 1 }, 'spec.order'],
    ['StagedKubernetesNetworkPolicy', { stagedAction: 'Delete', podSelector: {} }],
    ['StagedKubernetesNetworkPolicy', { stagedAction: 'Delete', policyTypes: ['Ingress'] }, 'spec.policyTypes'],
  ])
})

test('names of policies and tiers are those that Calico can keep apart', t => {
  const isTaken = (kind: Kind, name: string): boolean => problems(kind, {}, { name }).length === 0
  for (const name of ['web', 'blue.web', 'knp.default.shop.web']) t.true(isTaken('NetworkPolicy', name), name)
  for (const name of ['a.b.c', 'Web', 'web.']) t.false(isTaken('NetworkPolicy', name), name)
  for (const name of ['web', 'blue.web']) t.true(isTaken('GlobalNetworkPolicy', name), name)
  for (const name of ['a.b.c', 'knp.default.web']) t.false(isTaken('GlobalNetworkPolicy', name), name)
  t.true(isTaken('Tier', 'a'.repeat(63)))
  for (const name of ['a.b', 'a'.repeat(64)]) t.false(isTaken('Tier', name), name)
})

test("Calico's own label, and annotations above the limit of Kubernetes, are refused", t => {
  const paths = (metadata: object): string[] => problems('NetworkSet', {}, metadata).map(({ path }) => path)
  t.deepEqual(paths({ labels: { role: 'a' } }), [])
  t.deepEqual(paths({ labels: { 'projectcalico.org/namespace': 'a' } }), [
    'metadata.labels[projectcalico.org/namespace]',
  ])
  t.deepEqual(paths({ annotations: { a: 'x'.repeat(256 * 1024) } }), ['metadata.annotations'])
})

test('settings of Felix that are sums, names or expressions are checked', t => {
  play(t, [
    felix({ routeTableRanges: [{ min: 1, max: 65535 }] }),
    felix({ routeTableRanges: [{ min: 1, max: 65536 }] }, 'spec.routeTableRanges'),
    felix({ routeTableRanges: [{ min: 1, max: 2 ** 32 }] }, 'spec.routeTableRanges[0].max'),
    felix({ openstackRegion: 'north-1' }),
    felix({ openstackRegion: 'n'.repeat(47) }, 'spec.openstackRegion'),
    felix({ kubeNodePortRanges: ['30000:32767'] }),
    felix({ kubeNodePortRanges: ['http'] }, 'spec.kubeNodePortRanges[0]'),
    felix({ mtuIfacePattern: '^(en|eth)' }),
    felix({ mtuIfacePattern: '*' }, 'spec.mtuIfacePattern'),
    felix({ healthTimeoutOverrides: [{ name: 'internal dataplane', timeout: '90s' }] }),
    felix({ healthTimeoutOverrides: [{ name: '%', timeout: '90s' }] }, 'spec.healthTimeoutOverrides[0].name'),
    felix({ bpfExtToServiceConnmark: 0xffffffff }),
    felix({ bpfExtToServiceConnmark: -1 }, 'spec.bpfExtToServiceConnmark'),
    felix({ ipv4NormalRoutePriority: 0 }, 'spec.ipv4NormalRoutePriority'),
    felix({ prometheusMetricsHost: 'fd00::1' }),
    felix({ prometheusMetricsHost: 'local host' }, 'spec.prometheusMetricsHost'),
  ])
})

test('a workload endpoint has single addresses, NAT inside of them, and ports that can be named', t => {
  const of = (more: object, path?: string): Case => [
    'WorkloadEndpoint',
    {
      orchestrator: 'cni',
      node: 'n1',
      endpoint: 'eth0',
      interfaceName: 'cali1',
      ipNetworks: ['192.0.2.1/32'],
      ...more,
    },
    path,
  ]
  play(t, [
    of({ mac: 'ee:ee:ee:ee:ee:ee', ipv4Gateway: '169.254.1.1', allowSpoofedSourcePrefixes: ['10.0.0.0/8'] }),
    of({ ipNetworks: ['192.0.2.0/24'] }, 'spec.ipNetworks[0]'),
    of({ ipv6Gateway: '169.254.1.1' }, 'spec.ipv6Gateway'),
    of({ ipNATs: [{ internalIP: '192.0.2.1', externalIP: '198.51.100.1' }] }),
    of({ ipNATs: [{ internalIP: '192.0.2.2', externalIP: '198.51.100.1' }] }, 'spec.ipNATs[0].internalIP'),
    of({ ipNATs: [{ internalIP: '192.0.2.1', externalIP: 'fd00::1' }] }, 'spec.ipNATs[0].externalIP'),
    of({ ports: [{ port: 80, protocol: 'TCP', hostPort: 8080 }] }),
    of({ ports: [{ port: 80, protocol: 'TCP' }] }, 'spec.ports[0].name'),
    of({ containerID: 'abc-' }, 'spec.containerID'),
  ])
})

test("a server's defaults are Calico's", t => {
  t.like(admit('Tier', { metadata: { name: 'x' }, spec: {} }), { spec: { defaultAction: 'Deny' } })
  t.like(admit('GlobalNetworkPolicy', { metadata: { name: 'x' }, spec: {} }), { spec: { tier: 'default' } })
  t.like(admit('StagedGlobalNetworkPolicy', { metadata: { name: 'x' }, spec: {} }), { spec: { stagedAction: 'Set' } })
  const inner = { controllers: { node: { hostEndpoint: { autoCreate: 'Enabled' } }, loadBalancer: {} } }
  const filled = { controllers: { ...inner.controllers, loadBalancer: { assignIPs: 'AllServices' } } }
  t.like(admit('KubeControllersConfiguration', { metadata: { name: 'default' }, spec: inner }), { spec: filled })
})

/** A value of a shape, but that any part of it may be anything. */
function almost(shape: Shape, depth = 0): fc.Arbitrary<unknown> {
  const anything = fc.jsonValue({ maxDepth: 2 })
  const right = (): fc.Arbitrary<unknown> => {
    if (shape.enum !== undefined) return fc.constantFrom(...shape.enum)
    if (depth > 5) return anything
    if (shape.items !== undefined) return fc.array(almost(shape.items, depth + 1), { maxLength: 2 })
    const { properties, required = [] } = shape
    if (properties !== undefined)
      return fc.record(
        Object.fromEntries(Object.entries(properties).map(([name, field]) => [name, almost(field, depth + 1)])),
        { requiredKeys: [...required] },
      )
    if (shape.type === 'integer') return fc.integer({ min: shape.minimum ?? 0, max: 100 })
    if (shape.type === 'boolean') return fc.boolean()
    return fc.constantFrom('10.0.0.0/16', 'all()', 'x', '10.0.0.1', '')
  }
  return fc.oneof({ weight: 12, arbitrary: right() }, { weight: 1, arbitrary: anything })
}

const anything = fc.jsonValue({ maxDepth: 3 })
const metadata = fc.oneof(
  anything,
  fc.record(
    {
      name: fc.constant('x'),
      namespace: fc.constant('shop'),
      labels: anything,
      annotations: anything,
      finalizers: anything,
    },
    { requiredKeys: ['name'] },
  ),
)

test('whatever an object holds, it is judged: nothing that is not of its kind ends the program', t => {
  for (const kind of Object.keys(kinds) as Kind[]) {
    const { shape }: KindRow = kinds[kind]
    const spec = shape === undefined ? anything : almost(shape().spec)
    const object = fc.oneof(
      { weight: 1, arbitrary: anything },
      { weight: 8, arbitrary: fc.record({ metadata, spec, status: anything }, { requiredKeys: [] }) },
    )
    fc.assert(
      fc.property(object, object, (before, after) => {
        for (const judge of [validate, admit]) t.true(typeof judge(kind, after) === 'object')
        if (typeof before === 'object' && before !== null && typeof after === 'object' && after !== null)
          t.true(typeof admitChange(kind, before, after) === 'object')
      }),
      { numRuns: 60 },
    )
  }
})

test('labels that are a text are refused by their own field', t => {
  for (const kind of ['NetworkSet', 'GlobalNetworkSet'] as const)
    t.deepEqual(
      problems(kind, {}, { labels: 'x' }).map(({ path }) => path),
      ['metadata.labels'],
    )
})
