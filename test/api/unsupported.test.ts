// The table of fields without effect is the truth about the code: every field of every schema is looked for in the files
// that read its kind.
import { globSync, readFileSync } from 'node:fs'
import test from 'ava'
import { crdKinds } from '../../api/crd.ts'
import { type Kind, type KindRow, kinds } from '../../api/kinds.ts'
import { UNREAD, unreadGroup } from '../../api/unread.ts'
import { ineffectiveFields, UNSUPPORTED } from '../../api/unsupported.ts'
import { unsupportedText } from '../../manifests/unsupported.ts'
import { aPool, aResource } from '../datastore/objects.ts'

const root = new URL('../..', import.meta.url).pathname

/** The rooms that act on an object, and what they all ask about one. The API server and the lab only carry it. */
const ACT = '{agent,bgp,cni,controllers,ctl,datastore,felix,ipam,kernel}/**/*.ts'
const files = globSync([ACT, 'api/datastore-lock.ts'], { cwd: root }).map(file => ({
  file,
  text: withoutComments(readFileSync(`${root}${file}`, 'utf8')),
}))

function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|\s)\/\/.*$/gm, '')
}

type Schema = {
  def: { type: string; shape?: Record<string, Schema>; in?: Schema; innerType?: Schema; element?: Schema }
}

function* pathsOf({ def }: Schema, path: readonly string[] = []): Generator<readonly string[]> {
  for (const inner of [def.in, def.innerType, def.element]) if (inner !== undefined) yield* pathsOf(inner, path)
  for (const [name, field] of Object.entries(def.shape ?? {})) {
    yield [...path, name]
    yield* pathsOf(field, [...path, name])
  }
}

/** They make objects with these fields, or carry objects of every kind from one cluster to another, and act on none of them. */
const CARRIERS = ['controllers/first-objects.ts', 'ctl/datastore.ts']

/** Files that name the kind and the field. */
function readers(kind: Kind, field: string): string[] {
  const names = (text: string, word: string, flags = '') => new RegExp(`\\b${word}\\b`, flags).test(text)
  const found = files.filter(({ text }) => names(text, kind, 'i') && names(text, field)).map(({ file }) => file)
  return found.filter(file => !CARRIERS.includes(file))
}

const ours = crdKinds()
const specOf = (kind: Kind) => (kinds[kind].schema as unknown as Schema).def.shape!['spec']!
const rowOf = (kind: Kind, path: string) =>
  UNSUPPORTED.find(row => row.kind === kind && (row.field === '*' || `${path}.`.startsWith(`${row.field}.`)))

test('a field that nobody reads is in the table of fields without effect', t => {
  const missing = ours.flatMap(kind =>
    [...pathsOf(specOf(kind))]
      .filter(path => readers(kind, path.at(-1)!).length === 0 && rowOf(kind, path.join('.')) === undefined)
      .map(path => `${kind} ${path.join('.')}`),
  )
  t.deepEqual(missing, [], 'add a row to api/unsupported.ts, or a reader')
})

/** Policies, which are read by their parts: what nobody keeps of one is read too, to close it. */
const ofPolicy = (kind: Kind) => kinds[kind].schema === kinds.HostEndpoint.schema

test('a field in the table has no reader: with its capability the row goes', t => {
  const read = UNSUPPORTED.filter(({ kind }) => !ofPolicy(kind)).flatMap(({ kind, field }) => {
    const fields = field === '*' ? [...pathsOf(specOf(kind))].map(path => path.at(-1)!) : [field]
    return fields.flatMap(name => readers(kind, name).map(file => `${kind} ${name} is read by ${file}`))
  })
  t.deepEqual(read, [])
})

test('a row names a field that the schema has, once', t => {
  for (const { kind, field } of UNSUPPORTED)
    if (field !== '*' && !ofPolicy(kind))
      t.true(
        [...pathsOf(specOf(kind))].some(path => path.join('.') === field),
        `${kind} ${field}`,
      )
  const keys = UNSUPPORTED.map(({ kind, field }) => `${kind} ${field}`)
  t.is(new Set(keys).size, keys.length)
})

test('a field is told when it is set to something else than its default', t => {
  const fields = (spec: object) =>
    ineffectiveFields(
      'FelixConfiguration',
      aResource('FelixConfiguration', { metadata: { name: 'default' }, spec }),
    ).map(({ field }) => field)
  t.deepEqual(fields({}), [])
  t.deepEqual(fields({ interfacePrefix: 'cali' }), [])
  t.deepEqual(fields({ interfacePrefix: 'tap' }), ['interfacePrefix'])
  t.deepEqual(ineffectiveFields('IPPool', aPool('a', { natOutgoing: true })), [])
  const peer = aResource('BGPPeer', {
    metadata: { name: 'a' },
    spec: { peerIP: '192.0.2.1', asNumber: 1, filters: ['f'], fromLater: 'all()', keepaliveTime: '30s' },
  })
  t.deepEqual(
    ineffectiveFields('BGPPeer', peer).map(({ field }) => field),
    ['fromLater'],
  )
})

test('a field inside others, and one inside a list, is told when it is set', t => {
  const told = (node: object) =>
    ineffectiveFields(
      'KubeControllersConfiguration',
      aResource('KubeControllersConfiguration', { metadata: { name: 'default' }, spec: { controllers: { node } } }),
    ).map(({ field }) => field)
  t.deepEqual(told({}), [])
  t.deepEqual(told({ syncLabels: 'Enabled', reconcilerPeriod: '5m', leakGracePeriod: '15m' }), [])
  const templates = [{ generateName: 'a' }, { generateName: 'b', interfacePattern: 'eth.*' }]
  t.deepEqual(told({ hostEndpoint: { autoCreate: 'Enabled', templates: templates.slice(0, 1) } }), [])
  t.deepEqual(told({ syncLabels: 'Disabled', hostEndpoint: { autoCreate: 'Enabled', templates } }), [
    'controllers.node.syncLabels',
    'controllers.node.hostEndpoint.templates.interfacePattern',
  ])
})

test('an entry of Services’ ranges that is none, or a default route, is told, and is no range', t => {
  const told = (...cidrs: string[]) =>
    ineffectiveFields(
      'BGPConfiguration',
      aResource('BGPConfiguration', {
        metadata: { name: 'default' },
        spec: { serviceExternalIPs: cidrs.map(cidr => ({ cidr })) },
      }),
    ).map(({ field, effect, instead }) => `${field} ${effect}: ${instead}`)
  t.deepEqual(told('192.0.2.0/24', '192.0.2.7', '2001:db8::/64'), [])
  t.deepEqual(told('192.0.2.0/24', '192.0.2.0/33', '0.0.0.0/0', '::/0'), [
    'serviceExternalIPs[1] ignored: it is neither a CIDR nor an address',
    'serviceExternalIPs[2] ignored: it is everything, and nodes announce no default route',
    'serviceExternalIPs[3] ignored: it is everything, and nodes announce no default route',
  ])
})

test('a field that the schema does not have is told for configuration, and not for what programs write', t => {
  const spec = { bpfEnabled: true, bpfTurbo: true, nftablesMode: 'Auto' }
  const felix = aResource('FelixConfiguration', { metadata: { name: 'default' }, spec })
  t.deepEqual(ineffectiveFields('FelixConfiguration', felix), [
    {
      field: 'bpfEnabled',
      effect: 'ignored',
      instead: "there is no data plane in eBPF: the kernel's routes and nftables carry everything",
    },
    { field: 'bpfTurbo', effect: 'ignored', instead: 'this version does not know the field' },
  ])
  const node = aResource('Node', { metadata: { name: 'n1' }, spec: { taints: [] } })
  t.deepEqual(ineffectiveFields('Node', node), [])
})

test('a kind that nobody reads is told as a whole', t => {
  const handle = aResource('IPAMHandle', { metadata: { name: 'h' }, spec: {} })
  t.deepEqual(
    ineffectiveFields('IPAMHandle', handle).map(({ field }) => field),
    ['spec'],
  )
})

test('docs/unsupported.md has the table as it is', t => {
  t.is(readFileSync(`${root}docs/unsupported.md`, 'utf8'), unsupportedText(), 'npm run manifests writes it')
})

test('a field that limits what a peer can do, and one of a BGPPeer that nobody knows, are closed', t => {
  const peer = (spec: object) =>
    aResource('BGPPeer', { metadata: { name: 'a' }, spec: { peerIP: '192.0.2.1', asNumber: 1, ...spec } })
  const effects = (spec: object) =>
    ineffectiveFields('BGPPeer', peer(spec)).map(({ field, effect }) => `${field} ${effect}`)
  const password = (optional?: boolean) => ({ password: { secretKeyRef: { name: 's', key: 'k', optional } } })
  for (const spec of [password(), password(false)]) t.deepEqual(effects(spec), [])
  t.deepEqual(effects(password(true)), ['password.secretKeyRef.optional ignored'])
  t.deepEqual(effects({ filters: ['deny-all'] }), [])
  t.deepEqual(effects({ reachableBy: '192.0.2.9' }), [])
  t.deepEqual(effects({ keepaliveTime: '30s', maxRestartTime: '90s' }), [])
})

test('of kinds with one object that counts, another one is told with every field that it sets', t => {
  const felix = aResource('FelixConfiguration', { metadata: { name: 'other' }, spec: { vxlanMTU: 1300 } })
  t.deepEqual(ineffectiveFields('FelixConfiguration', felix), [
    {
      field: 'vxlanMTU',
      effect: 'ignored',
      instead: 'only the FelixConfiguration named default is read, for all nodes',
    },
  ])
})

test('of a BGPConfiguration for one node five fields count, and every other one that is set is told', t => {
  const spec = {
    ...{ listenPort: 1179, prefixAdvertisements: [], communities: [{ name: 'a', value: '65001:1' }] },
    ...{ bindMode: 'None', logSeverityScreen: 'Debug' },
    ...{ asNumber: 65001, nodeToNodeMeshEnabled: false, nodeMeshPassword: { secretKeyRef: { name: 's', key: 'k' } } },
  }
  const told = (name: string) =>
    ineffectiveFields('BGPConfiguration', aResource('BGPConfiguration', { metadata: { name }, spec }))
  t.deepEqual(
    told('node.n1').map(({ field }) => field),
    ['asNumber', 'nodeToNodeMeshEnabled', 'nodeMeshPassword'],
  )
  t.regex(
    told('node.n1')[0]!.instead,
    /for one node only listenPort, bindMode, communities, prefixAdvertisements and logSeverityScreen count/,
  )
  t.is(told('n1').length, 7, 'a name that is neither default nor node.NAME')
})

test('of a FelixConfiguration for one node MTUs, route protocol, NAT and metrics count, and every other field that is set is told', t => {
  const spec = {
    ...{ prometheusMetricsEnabled: true, prometheusMetricsPort: 9100, prometheusMetricsHost: '' },
    ...{ ipipMTU: 1400, vxlanMTU: 0, deviceRouteProtocol: 80, vxlanPort: 4790, interfacePrefix: 'tap' },
    ...{ natOutgoingExclusions: 'IPPoolsAndHostIPs', natPortRange: '1024:2048', natOutgoingAddress: '192.0.2.1' },
  }
  const felix = aResource('FelixConfiguration', { metadata: { name: 'node.n1' }, spec })
  const told = ineffectiveFields('FelixConfiguration', felix)
  t.deepEqual(told.map(({ field }) => field).sort(), ['interfacePrefix', 'vxlanPort'])
  t.regex(told[0]!.instead, /both ends of a tunnel need the same port and VNI/)
})

test('a field that closes what an object asks for does so in an object for one node too, with its own words', t => {
  const object = (spec: object) => aResource('FelixConfiguration', { metadata: { name: 'node.n1' }, spec })
  t.deepEqual(ineffectiveFields('FelixConfiguration', object({ prometheusMetricsCertFile: '/tls.crt' })), [
    {
      field: 'prometheusMetricsCertFile',
      effect: 'closed',
      instead: 'the metrics are not served at any port',
    },
  ])
})

test('each setting of Felix, BGP and IPAM that nothing reads says what holds instead', t => {
  for (const kind of ['FelixConfiguration', 'BGPConfiguration', 'IPAMConfiguration', 'IPPool'] as const) {
    const read = new Set([...pathsOf(specOf(kind))].map(([name]) => name))
    const { properties = {} } = (kinds[kind] as KindRow).shape!().spec
    const silent = Object.keys(properties).filter(name => !read.has(name) && unreadGroup(kind, name) === undefined)
    t.deepEqual(silent, [], `${kind}: add a group to api/unread.ts, or a reader`)
  }
})

test('a group of settings has names that Calico knows, and none of them is read', t => {
  for (const { kind, names } of UNREAD)
    for (const name of names) {
      const { properties = {} } = (kinds[kind] as KindRow).shape!().spec
      const meant = Object.keys(properties).filter(each => {
        const [first, last = ''] = name.split('*')
        return name.includes('*') ? each.startsWith(first!) && each.endsWith(last) : each === name
      })
      t.true(meant.length > 0, `${kind} ${name}`)
      const read = [...pathsOf(specOf(kind))].map(path => path[0]!)
      t.deepEqual(
        meant.filter(each => read.includes(each)),
        [],
        `${kind} ${name}`,
      )
    }
})

test('what somebody relies on and nobody keeps is told as not enforced', t => {
  const spec = { wireguardEnabled: true, failsafeInboundHostPorts: [{ protocol: 'TCP', port: 22 }], healthPort: 1 }
  const felix = aResource('FelixConfiguration', { metadata: { name: 'default' }, spec })
  t.deepEqual(
    ineffectiveFields('FelixConfiguration', felix).map(({ field, effect }) => `${field} ${effect}`),
    ['wireguardEnabled unenforced', 'healthPort ignored'],
  )
  const host = aResource('HostEndpoint', { metadata: { name: 'n1-eth0' }, spec: { node: 'n1' } })
  t.deepEqual(ineffectiveFields('HostEndpoint', host), [])
})

test('of a policy only what is not kept to is told', t => {
  const told = (kind: 'NetworkPolicy' | 'GlobalNetworkPolicy' | 'ClusterNetworkPolicy', spec: object) =>
    ineffectiveFields(kind, aResource(kind, { metadata: { name: 'deny', ...placeOf(kind) }, spec })).map(
      ({ field, effect }) => `${field} ${effect}`,
    )
  const placeOf = (kind: Kind) => (kinds[kind].namespaced ? { namespace: 'shop' } : {})
  t.deepEqual(told('NetworkPolicy', { selector: 'all()', types: ['Ingress'] }), [])
  t.deepEqual(told('GlobalNetworkPolicy', { applyOnForward: false, preDNAT: false }), [])
  t.deepEqual(told('GlobalNetworkPolicy', { applyOnForward: true, doNotTrack: true }), [])
  const http = { action: 'Allow', http: { methods: ['GET'] } }
  t.deepEqual(told('NetworkPolicy', { ingress: [{ action: 'Allow' }, http] }), ['ingress.http closed'])
})
