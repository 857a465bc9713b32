// What people have from calicoctl's documentation works: manifests of every kind and shape, commands, words for kinds. The
// manifests are written for this test; their shapes are those of the documentation.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import anyTest, { type TestFn } from 'ava'
import { crdKinds } from '../../api/crd.ts'
import { startApiServer } from '../../apiserver/server.ts'
import { kubeconfigFor } from '../apiserver/kubeconfig.ts'
import { type Run, runHere } from './run.ts'

const test = anyTest as TestFn<{ ctl: (args: string[] | string, stdin?: string) => Promise<Run>; end: () => unknown }>

test.beforeEach(async t => {
  const server = await startApiServer()
  const kubeconfig = kubeconfigFor(server)
  t.context = {
    ctl: (args, stdin) => {
      const words = typeof args === 'string' ? args.split(' ') : args
      return runHere([...words, '--kubeconfig', kubeconfig], stdin)
    },
    end: () => server.close(),
  }
})
test.afterEach.always(t => t.context.end())

/** Kind, name, the rest of the metadata, spec. */
const MANIFESTS: readonly (readonly [kind: string, name: string, spec: string, metadata?: string])[] = [
  [
    'IPPool',
    'pool-ipip',
    '{cidr: 10.1.0.0/16, ipipMode: CrossSubnet, natOutgoing: true, disabled: false, nodeSelector: all()}',
  ],
  ['IPPool', 'pool-vxlan', '{cidr: 10.2.0.0/16, vxlanMode: Always, blockSize: 26, allowedUses: [Workload, Tunnel]}'],
  ['IPPool', 'pool-v6', '{cidr: "fd00:10::/64", blockSize: 122, nodeSelector: "rack == \'1\'"}'],
  ['IPReservation', 'reserved', '{reservedCIDRs: [192.168.2.3, 10.0.2.3/32, "cafe:f00d::/123"]}'],
  ['IPAMConfiguration', 'default', '{strictAffinity: true, maxBlocksPerHost: 4}'],
  [
    ...['BGPConfiguration', 'default'],
    `{logSeverityScreen: Info, nodeToNodeMeshEnabled: true, asNumber: 63400, listenPort: 178,
      serviceClusterIPs: [{cidr: 10.96.0.0/12}], serviceExternalIPs: [{cidr: 104.244.42.129/32}], serviceLoadBalancerIPs: [{cidr: 172.217.3.0/24}],
      communities: [{name: bgp-large, value: "63400:300:100"}], prefixAdvertisements: [{cidr: 10.1.0.0/26, communities: [bgp-large, "63400:120"]}]}`,
  ] as [string, string, string],
  ['BGPPeer', 'global-peer', '{peerIP: 192.20.30.40, asNumber: 64567}'],
  ['BGPPeer', 'node-peer', '{node: n1, peerIP: "aa:bb::ff", asNumber: 64514}'],
  ['BGPPeer', 'rack-peers', '{nodeSelector: has(rack), peerSelector: has(i-am-a-route-reflector)}'],
  [
    ...['BGPPeer', 'secret-peer'],
    '{peerIP: 10.0.0.9, asNumber: 64512, password: {secretKeyRef: {name: bgp-secrets, key: rr-password}}, filters: [filter-1]}',
  ] as [string, string, string],
  [
    ...['BGPFilter', 'filter-1'],
    `{exportV4: [{action: Accept, matchOperator: In, cidr: 77.0.0.0/16}, {action: Reject, source: RemotePeers}],
      importV4: [{action: Reject, matchOperator: NotIn, cidr: 44.0.0.0/16}],
      exportV6: [{action: Reject, interface: "eth*"}], importV6: [{action: Reject, matchOperator: Equal, cidr: "5000::/64"}]}`,
  ] as [string, string, string],
  [
    'FelixConfiguration',
    'default',
    '{ipv6Support: false, ipipMTU: 1400, chainInsertMode: Append, logSeverityScreen: Info, reportingInterval: 0s}',
  ],
  ['FelixConfiguration', 'node.n1', '{vxlanMTU: 1410}'],
  [
    ...['KubeControllersConfiguration', 'default'],
    '{logSeverityScreen: Info, healthChecks: Enabled, prometheusMetricsPort: 9094, controllers: {node: {reconcilerPeriod: 5m, leakGracePeriod: 15m, syncLabels: Enabled}}}',
  ] as [string, string, string],
  [
    'HostEndpoint',
    'some.name',
    '{interfaceName: eth0, node: n1, expectedIPs: [192.168.0.1, 192.168.0.2], profiles: [profile1], ports: [{name: some-port, port: 1234, protocol: TCP}]}',
    'labels: {type: production}',
  ],
  [
    ...['NetworkPolicy', 'allow-tcp-6379'],
    `{selector: role == 'database', types: [Ingress, Egress],
      ingress: [{action: Allow, metadata: {annotations: {from: frontend, to: database}}, protocol: TCP, source: {selector: role == 'frontend'}, destination: {ports: [6379, "10:20", named]}}],
      egress: [{action: Allow}]}`,
    'namespace: production',
  ] as [string, string, string, string],
  [
    ...['GlobalNetworkPolicy', 'deny-circle-blue'],
    `{selector: "color == 'red'", order: 10, doNotTrack: true, applyOnForward: true,
      ingress: [{action: Deny, protocol: ICMP, icmp: {type: 8, code: 0}, notProtocol: UDPLite, source: {nets: [10.0.0.0/8], notSelector: has(x)}}]}`,
  ] as [string, string, string],
  ['Tier', 'internal-access', '{order: 100}'],
  ['GlobalNetworkPolicy', 'internal-access.allow', '{tier: internal-access, selector: all(), types: [Ingress]}'],
  [
    'NetworkSet',
    'external-database',
    '{nets: [198.51.100.0/28, 203.0.113.0/24]}',
    'namespace: staging, labels: {role: db}',
  ],
  [
    'GlobalNetworkSet',
    'a-name-for-the-set',
    '{nets: [198.51.100.0/28, "2001:db8::/32"]}',
    'labels: {role: external-database}',
  ],
  ['StagedNetworkPolicy', 'staged', '{stagedAction: Set, selector: all(), types: [Ingress]}', 'namespace: default'],
  ['StagedGlobalNetworkPolicy', 'staged', '{stagedAction: Set, selector: all(), types: [Egress]}'],
  [
    'StagedKubernetesNetworkPolicy',
    'staged',
    '{stagedAction: Set, podSelector: {matchLabels: {role: db}}, policyTypes: [Ingress]}',
    'namespace: default',
  ],
  ['CalicoNodeStatus', 'my-caliconodestatus-1', '{classes: [Agent, BGP, Routes], node: n1, updatePeriodSeconds: 10}'],
  ['ClusterInformation', 'default', '{clusterGUID: 0123456789abcdef, datastoreReady: true}'],
  ['BlockAffinity', 'n1-10-1-0-0-26', '{cidr: 10.1.0.0/26, node: n1, state: confirmed, type: host, deleted: false}'],
  ['IPAMHandle', 'handle-1', '{handleID: handle-1, block: {10.1.0.0/26: 1}, deleted: false}'],
]

const text = ([kind, name, spec, metadata]: (typeof MANIFESTS)[number]): string =>
  `apiVersion: projectcalico.org/v3\nkind: ${kind}\nmetadata: {name: ${name}${metadata === undefined ? '' : `, ${metadata}`}}\nspec: ${spec}\n`

/** Made by programs alone: blocks and receipts by agents, endpoints from pods, statuses by the controllers. */
const BY_PROGRAMS = ['IPAMBlock', 'WorkloadEndpoint', 'PolicyReceipt', 'PolicyStatus']

test('a manifest of every kind applies unchanged, is there again in every format, and can be replaced and deleted', async t => {
  const { ctl } = t.context
  const kinds = new Set(MANIFESTS.map(([kind]) => kind))
  t.deepEqual(
    crdKinds().filter(kind => !kinds.has(kind) && !BY_PROGRAMS.includes(kind)),
    [],
  )
  const all = MANIFESTS.map(text).join('---\n')
  t.is((await ctl('validate -q -f -', all)).code, 0)
  const namespaces = ['production', 'staging'].map(name => `kind: Namespace\nmetadata: {name: ${name}}\n`)
  t.is((await ctl('apply -f -', namespaces.join('---\n'))).code, 0)
  const applied = await ctl('apply -f -', all)
  t.is(applied.code, 0, applied.err)
  t.is(applied.out.match(/ created\n/g)?.length, MANIFESTS.length)
  for (const [kind, name, , metadata = ''] of MANIFESTS) {
    const namespace = /namespace: (\w+)/.exec(metadata)?.[1] ?? 'default'
    const shown = await ctl(['get', kind, name, '-n', namespace, '-o', 'yaml', '--export'])
    t.is(shown.code, 0, shown.err)
    for (const verb of ['apply', 'replace', 'delete']) {
      const again = await ctl([verb, '-f', '-'], shown.out)
      t.is(again.code, 0, `${verb} ${kind} ${name}: ${again.err}`)
    }
  }
})

test('a file may be one list, a List, JSON, or several documents, some of them empty', async t => {
  const { ctl } = t.context
  const [one, two, three] = MANIFESTS.slice(0, 3).map(text) as [string, string, string]
  const indented = (manifest: string): string => `- ${manifest.trimEnd().replaceAll('\n', '\n  ')}\n`
  const said = (words: string): string =>
    ['pool-ipip', 'pool-vxlan', 'pool-v6'].map(name => `ippool.projectcalico.org/${name} ${words}\n`).join('')
  t.is((await ctl('create -f -', indented(one) + indented(two) + indented(three))).out, said('created'))
  t.is((await ctl('apply -f -', `---\n# first\n${one}---\n---\n${two}---\n${three}`)).code, 0)
  const list = (await ctl('get ippools -o json')).out
  t.is((await ctl('replace -f -', list)).code, 0)
})

test('-f takes folders with their folders with -R, and what is empty with --skip-empty', async t => {
  const { ctl } = t.context
  const dir = mkdtempSync(join(tmpdir(), 'margay-calicoctl-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  mkdirSync(join(dir, 'below', 'empty'), { recursive: true })
  writeFileSync(join(dir, 'below', 'pool.yaml'), text(MANIFESTS[0]!))
  writeFileSync(join(dir, 'comment.yaml'), '# nothing yet\n')
  t.regex((await ctl(['create', '-f', dir])).err, /holds no resource/)
  t.deepEqual(await ctl(['create', '-f', dir, '--skip-empty']), { code: 0, out: '', err: '' })
  t.is((await ctl(['create', '-R', '-f', dir, '--skip-empty'])).out, 'ippool.projectcalico.org/pool-ipip created\n')
})

test("calicoctl's commands and words for kinds work as they are documented", async t => {
  const { ctl } = t.context
  const node =
    'apiVersion: projectcalico.org/v3\nkind: Node\nmetadata: {name: n1, labels: {rack: r1}}\nspec: {bgp: {asNumber: 64512, ipv4Address: 10.244.0.1/24, routeReflectorClusterID: 244.0.0.1}}\n'
  t.is((await ctl('create --filename=-', `${text(MANIFESTS[0]!)}---\n${node}---\n${text(MANIFESTS[6]!)}`)).code, 0)
  for (const word of ['ippool', 'ipp', 'pools', 'IPPool'])
    t.is((await ctl(`get ${word} -o name`)).out, 'ippool.projectcalico.org/pool-ipip\n')
  for (const word of ['bgppeer', 'bp', 'bgpPeers'])
    t.is((await ctl(`get ${word} --output=name`)).out, 'bgppeer.projectcalico.org/global-peer\n')
  for (const word of ['policy', 'np', 'pol', 'gnp', 'hep', 'wep']) t.is((await ctl(`get ${word} -a`)).code, 0, word)
  t.regex(
    (await ctl('get ippool --output=wide')).out,
    /^NAME +CIDR +NAT +IPIPMODE +VXLANMODE +DISABLED +DISABLEBGPEXPORT +SELECTOR\npool-ipip +10\.1\.0\.0\/16 +true +CrossSubnet/,
  )
  t.regex((await ctl('get bgppeers -o ps')).out, /^NAME +PEERIP +NODE +ASN\nglobal-peer +192\.20\.30\.40/)
  t.regex((await ctl('get nodes -o custom-columns=NAME,ASN')).out, /^NAME +ASN\nn1 +64512\n/)
  const patched = await ctl(['patch', 'node', 'n1', '-p', '{"spec":{"bgp":{"routeReflectorClusterID":"244.0.0.2"}}}'])
  t.is(patched.code, 0, patched.err)
  t.is((await ctl(['patch', 'ippool', 'pool-ipip', '--patch={"spec":{"natOutgoing":false}}'])).code, 0)
  t.is((await ctl('label nodes n1 cluster=backend --overwrite')).code, 0)
  t.is((await ctl('label nodes n1 cluster --remove')).code, 0)
  t.is((await ctl('delete bgppeer global-peer missing --skip-not-exists')).code, 0)
  t.is((await ctl('create --skip-exists -f -', text(MANIFESTS[0]!))).code, 0)
})
