import test from 'ava'
import { type HostEndpointSettings, wantedHostEndpoints } from '../../controllers/auto-host-endpoints.ts'
import { hostEndpointSettings } from '../../controllers/settings.ts'
import { aNode, aResource } from '../datastore/objects.ts'

const LABEL = { 'projectcalico.org/created-by': 'calico-kube-controllers' }

function settings(hostEndpoint: object): HostEndpointSettings {
  const spec = { controllers: { node: { hostEndpoint } } }
  return hostEndpointSettings(aResource('KubeControllersConfiguration', { metadata: { name: 'default' }, spec }))
}

function aNodeAt(name: string, addresses: readonly string[], metadata: object = {}) {
  const status = { addresses: addresses.map(address => ({ type: 'InternalIP', address })) }
  return { ...aNode(name, metadata), status }
}

const names = (nodes: readonly ReturnType<typeof aNodeAt>[], hostEndpoint: object) =>
  [...wantedHostEndpoints(nodes, settings({ autoCreate: 'Enabled', ...hostEndpoint })).wanted.keys()].toSorted()

test('a node gets one HostEndpoint for all interfaces, with its labels and each of its addresses once', t => {
  const node = aNodeAt('n1', ['192.0.2.1', '2001:DB8:0::1', 'no address'], {
    labels: { rack: 'a' },
    annotations: {
      'projectcalico.org/IPv4Address': '192.0.2.1/24',
      'projectcalico.org/IPv4IPIPTunnelAddr': '10.244.0.1',
      'projectcalico.org/IPv4VXLANTunnelAddr': '10.244.0.9',
      'projectcalico.org/IPv6VXLANTunnelAddr': 'fd00:10::1',
      'example.org/note': 'not of the node',
    },
  })
  node.status.addresses.push({ type: 'ExternalIP', address: '203.0.113.1' }, { type: 'Hostname', address: 'n1' })
  const { wanted, clashes } = wantedHostEndpoints([node], settings({ autoCreate: 'Enabled' }))
  t.deepEqual(clashes, [])
  t.deepEqual([...wanted.values()] as unknown[], [
    {
      metadata: { name: 'n1-auto-hep', labels: { rack: 'a', ...LABEL }, annotations: {} },
      spec: {
        node: 'n1',
        interfaceName: '*',
        expectedIPs: ['192.0.2.1', '10.244.0.1', '10.244.0.9', 'fd00:10::1', '2001:db8::1'],
        profiles: ['projectcalico-default-allow'],
      },
    },
  ])
})

test('without autoCreate Enabled no node has one', t => {
  for (const hostEndpoint of [{}, { autoCreate: 'Disabled', templates: [{ generateName: 'a' }] }])
    t.is(wantedHostEndpoints([aNodeAt('n1', ['192.0.2.1'])], settings(hostEndpoint)).wanted.size, 0)
})

test('a template makes one for the nodes of its selector, with the addresses in its ranges and its own labels before those of the node', t => {
  const template = {
    ...{ generateName: 'outside', nodeSelector: "role == 'edge'", interfaceCIDRs: ['198.51.100.0/24', '2001:db8::7'] },
    ...{ labels: { side: 'out', role: 'border' }, annotations: { 'example.org/owner': 'net' } },
  }
  const nodes = [
    aNodeAt('n1', ['192.0.2.1', '198.51.100.1', '2001:db8::7'], { labels: { role: 'edge' } }),
    aNodeAt('n2', ['192.0.2.2'], { labels: { role: 'edge' } }),
    aNodeAt('n3', ['198.51.100.3']),
  ]
  const asked = { autoCreate: 'Enabled', createDefaultHostEndpoint: 'Disabled', templates: [template] }
  t.deepEqual([...wantedHostEndpoints(nodes, settings(asked)).wanted.values()] as unknown[], [
    {
      metadata: {
        name: 'n1-outside-auto-hep',
        labels: { role: 'border', side: 'out', ...LABEL },
        annotations: { 'example.org/owner': 'net' },
      },
      spec: {
        node: 'n1',
        expectedIPs: ['198.51.100.1', '2001:db8::7'],
        profiles: ['projectcalico-default-allow'],
      },
    },
  ])
  t.deepEqual(names(nodes, { templates: [template] }), [
    'n1-auto-hep',
    'n1-outside-auto-hep',
    'n2-auto-hep',
    'n3-auto-hep',
  ])
})

test('a template without ranges, and one with an interfacePattern, make none', t => {
  const templates = [
    { generateName: 'a' },
    { generateName: 'b', interfacePattern: 'eth.*', interfaceCIDRs: ['192.0.2.0/24'] },
  ]
  t.deepEqual(names([aNodeAt('n1', ['192.0.2.1'])], { templates }), ['n1-auto-hep'])
})

test('of two with one name the default one is made, then that of the first node, in any order of Nodes, and the other is told', t => {
  const interfaceCIDRs = ['192.0.2.0/24']
  const templates = [{ generateName: 'x', interfaceCIDRs }, { interfaceCIDRs }]
  const nodes = [aNodeAt('n1-x', ['192.0.2.2']), aNodeAt('n1', ['192.0.2.1'])]
  const asked = settings({ autoCreate: 'Enabled', templates })
  const one = wantedHostEndpoints(nodes, asked)
  t.deepEqual(one, wantedHostEndpoints(nodes.toReversed(), asked))
  t.like(one.wanted.get('n1-x-auto-hep')?.spec, { node: 'n1-x', interfaceName: '*' })
  t.deepEqual(one.clashes, [
    { name: 'n1-x-auto-hep', node: 'n1' },
    { name: 'n1-auto-hep', node: 'n1' },
    { name: 'n1-x-auto-hep', node: 'n1-x' },
  ])
})

test('a name that is too long for an object becomes a digest of it', t => {
  const nodes = ['a', 'b'].map(end => aNodeAt(`n${'x'.repeat(251)}${end}`, ['192.0.2.1']))
  const found = names(nodes, {})
  t.is(new Set(found).size, 2)
  for (const name of found) t.regex(name, /^[a-z0-9]{40,43}-auto-hep$/)
})

test('a configuration of which a template cannot be read is not valid as a whole, so nobody acts on a part of it', t => {
  const faults: readonly (readonly [object, RegExp])[] = [
    [{ nodeSelector: 'role ==' }, /templates.*nodeSelector/],
    [{ interfaceCIDRs: ['192.0.2.0/33'] }, /templates.*interfaceCIDRs/],
    [{ generateName: 'a_b' }, /templates.*generateName/],
    [{ labels: { a: '-' } }, /templates.*labels/],
  ]
  for (const [template, path] of faults)
    t.throws(() => settings({ autoCreate: 'Enabled', templates: [template] }), { message: path })
})
