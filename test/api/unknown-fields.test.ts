import test from 'ava'
import fc from 'fast-check'
import { calicoNodeProblems, fromCalicoNode } from '../../api/calico-node.ts'
import type { Kind } from '../../api/kinds.ts'
import { formatUnknown, unknownFields } from '../../api/unknown-fields.ts'

const cases: [kind: Kind, object: object, unknown: string[]][] = [
  ['IPPool', { metadata: { name: 'p' }, spec: { cidr: '10.0.0.0/16', blockSize: 26 } }, []],
  ['IPPool', { spec: { blocksize: 28 } }, ['spec.blocksize']],
  ['IPPool', { spec: {}, specs: {}, metadata: { lables: {}, managedFields: [] } }, ['specs', 'metadata.lables']],
  [
    'IPAMBlock',
    { spec: { attributes: [{ handle_id: 'h', secondary: { any: 'x' } }, { handle: 'h' }] } },
    ['spec.attributes[1].handle'],
  ],
  ['BGPPeer', { spec: { password: { secretKeyRef: { name: 'a', keys: 'b' } } } }, ['spec.password.secretKeyRef.keys']],
  ['BGPConfiguration', { spec: { communities: [], serviceClusterIPs: [] } }, []],
  [
    'BGPConfiguration',
    { spec: { ipv4NormalRoutePriority: 512, nodeMeshPassword: { secretKeyRef: { optional: true } } } },
    [],
  ],
  ['BGPPeer', { spec: { reversePeering: 'Manual', failureDetectionMode: 'x' } }, ['spec.failureDetectionMode']],
  ['IPAMConfiguration', { spec: { ipCooldownSeconds: 5 } }, []],
  ['IPAMBlock', { spec: { affinityClaimTime: '', attributes: [{ releasedAt: '', alternateOwnerAttrs: {} }] } }, []],
  ['FelixConfiguration', { spec: { bpfEnabled: true, bpfenabled: true } }, ['spec.bpfenabled']],
  ['WorkloadEndpoint', { spec: { ipNATs: [] } }, []],
  ['Pod', { spec: { containers: [{ anything: 1 }] } }, []],
  ['IPPool', { status: { conditions: [{ anything: 1 }] } }, []],
]

for (const [kind, object, unknown] of cases)
  test(`of ${kind} ${JSON.stringify(object)} unknown are: ${unknown.join(', ') || 'none'}`, t => {
    t.deepEqual(unknownFields(kind, object), unknown)
  })

test('the message of an unknown field says which one is meant', t => {
  t.is(formatUnknown('IPPool', 'spec.blocksize'), 'unknown field "spec.blocksize": is spec.blockSize meant?')
  t.is(
    formatUnknown('FelixConfiguration', 'spec.bpfenabled'),
    'unknown field "spec.bpfenabled": is spec.bpfEnabled meant?',
  )
  t.is(formatUnknown('IPPool', 'spec.nonsense'), 'unknown field "spec.nonsense"')
})

test("Calico's Node becomes Kubernetes' Node with annotations, and a null stays one", t => {
  const bgp = { asNumber: '64999', ipv4Address: '192.0.2.1/24', routeReflectorClusterID: null }
  const { node, problems } = fromCalicoNode({
    metadata: { name: 'n1', annotations: { a: 'b' } },
    spec: { bgp, podCIDR: 'x' },
  })
  t.deepEqual(problems, [])
  t.deepEqual(node, {
    metadata: {
      name: 'n1',
      annotations: {
        a: 'b',
        'projectcalico.org/ASNumber': '64999',
        'projectcalico.org/IPv4Address': '192.0.2.1/24',
        'projectcalico.org/RouteReflectorClusterID': null,
      },
    },
    spec: { podCIDR: 'x' },
  })
  const other = { spec: { bgp: { asNum: 1 }, wireguard: { interfaceIPv4Address: 'x' } } }
  t.deepEqual(
    fromCalicoNode(other).problems.map(({ path }) => path),
    ['spec.bgp.asNum', 'spec.wireguard.interfaceIPv4Address'],
  )
  t.regex(calicoNodeProblems({ spec: { bgp } })[0]!.message, /annotation projectcalico\.org\/ASNumber/)
})

test("the tunnel addresses of Calico's Node become annotations, each of its family alone", t => {
  const spec = {
    ipv4VXLANTunnelAddr: '10.244.0.1',
    ipv6VXLANTunnelAddr: 'fd00:10::1',
    vxlanTunnelMACAddr: '66:00:00:00:00:01',
  }
  const { node, problems } = fromCalicoNode({ metadata: { name: 'n1' }, spec })
  t.deepEqual(problems, [])
  t.deepEqual(node['metadata'], {
    name: 'n1',
    annotations: {
      'projectcalico.org/IPv4VXLANTunnelAddr': '10.244.0.1',
      'projectcalico.org/IPv6VXLANTunnelAddr': 'fd00:10::1',
      'projectcalico.org/VXLANTunnelMACAddr': '66:00:00:00:00:01',
    },
  })
  const wrong = fromCalicoNode({ spec: { ipv4VXLANTunnelAddr: 'fd00:10::1', ipv6VXLANTunnelAddr: '10.244.0.1' } })
  t.deepEqual(
    wrong.problems.map(({ path }) => path),
    ['spec.ipv4VXLANTunnelAddr', 'spec.ipv6VXLANTunnelAddr'],
  )
  // the devices of a node have one MAC
  t.regex(calicoNodeProblems({ spec: { vxlanTunnelMACAddrV6: '66:00:00:00:00:01' } })[0]!.message, /has no effect here/)
})

test('any value is looked at without a fault', t => {
  fc.assert(
    fc.property(fc.constantFrom<Kind>('IPPool', 'IPAMBlock', 'BGPPeer', 'Node'), fc.jsonValue(), (kind, spec) => {
      unknownFields(kind, { spec, metadata: spec })
      unknownFields(kind, spec)
      calicoNodeProblems({ spec })
      return true
    }),
  )
  t.pass()
})
