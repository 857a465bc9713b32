// What is said of a change of objects before it is made.
import test from 'ava'
import { type ClusterObjects, nodeBgp, nodesOf, podsOf, previewOf } from '../../../agent/cluster/preview.ts'
import { BGP_ANNOTATION } from '../../../api/core.ts'
import type { Kind, Resource } from '../../../api/kinds.ts'
import { aPool, aResource } from '../../datastore/objects.ts'
import { aNode, aPeer } from './peer-world.ts'

const NODES = [aNode('n1', '192.168.10.9'), aNode('n2', '192.168.10.10'), aNode('n3', '192.168.20.11')]
const aConfiguration = (spec: object, name = 'default') => aResource('BGPConfiguration', { metadata: { name }, spec })

type Objects = { [K in Kind]?: readonly Resource<K>[] }

/** What `n1`, or another node, would do where these objects become those. */
function preview(before: Objects, after: Objects, { node = 'n1', blocks = [] as string[] } = {}) {
  const view = (objects: Objects) => {
    const all: ClusterObjects = {
      all: <K extends Kind>(kind: K) =>
        (({ Node: NODES, ...objects })[kind as 'Node'] as never as readonly Resource<K>[]) ?? [],
    }
    return all
  }
  const were = nodesOf(view(before))
  const are = nodesOf(view(after), were)
  const of = (objects: Objects) => ({ blocks, pods: podsOf(view(objects)).get(node) ?? [] })
  return previewOf(nodeBgp(node, were, view(before), of(before)), nodeBgp(node, are, view(after), of(after)))
}

const changes = (before: Objects, after: Objects, node?: string) =>
  preview(before, after, { ...(node !== undefined && { node }) }).sessions.map(
    ({ name, change, because }) => `${name} ${change}${because.length === 0 ? '' : `: ${because.join('; ')}`}`,
  )

const tor = (spec: object = {}) => aPeer('tor', { peerIP: '10.0.0.1', asNumber: 65001, ...spec })

test('a session is new, ends, is reset with the reason, or goes on with what changes', t => {
  t.deepEqual(changes({}, { BGPPeer: [tor()] }), ['Global_10_0_0_1 new'])
  t.deepEqual(changes({ BGPPeer: [tor()] }, {}), ['Global_10_0_0_1 ends'])
  t.deepEqual(changes({ BGPPeer: [tor()] }, { BGPPeer: [tor({ asNumber: 65002 })] }), [
    'Global_10_0_0_1 resets: asn changed: the AS numbers are part of the OPEN',
  ])
  t.deepEqual(changes({ BGPPeer: [tor()] }, { BGPPeer: [tor({ ttlSecurity: 1 })] }), [
    'Global_10_0_0_1 changes: multihop, ttlSecurity',
  ])
  t.deepEqual(changes({ BGPPeer: [tor()] }, { BGPPeer: [tor()] }), [])
})

test('a range is told by its prefix: what changes for whoever is there, and that it ends where it must not come up', t => {
  const vms = (range: string, spec: object = {}) => ({
    ...aPeer('vms', { asNumber: 65010, ...spec }),
    metadata: { name: 'vms', annotations: { [BGP_ANNOTATION.range]: range } },
  })
  const [now] = preview({}, { BGPPeer: [vms('192.0.2.0/24')] }).sessions
  t.deepEqual(now, { name: 'Global_192_0_2_0_24', address: '192.0.2.0/24', change: 'new', because: [] })
  const was = { BGPPeer: [vms('192.0.2.0/24')] }
  t.deepEqual(changes(was, { BGPPeer: [vms('192.0.2.0/24 limit=7')] }), [
    'Global_192_0_2_0_24 changes: prefixLimit, rangeLimit',
  ])
  t.deepEqual(changes(was, { BGPPeer: [vms('192.0.2.0/24', { asNumber: 65011 })] }), [
    'Global_192_0_2_0_24 resets: asn changed: the AS numbers are part of the OPEN',
  ])
  const bad = preview(was, { BGPPeer: [vms('192.0.2.0/24 limit=0')] })
  t.deepEqual(
    bad.sessions.map(({ change }) => change),
    ['ends'],
  )
  t.deepEqual(
    bad.refused.map(({ reason }) => reason),
    ['BadRange'],
  )
  const pools = [aPool('p', { cidr: '10.244.0.0/16' })]
  const ofPods = preview({ IPPool: pools }, { IPPool: pools, BGPPeer: [vms('10.244.3.0/24')] })
  t.deepEqual(
    ofPods.refused.map(({ reason }) => reason),
    ['RangeOfPods'],
  )
})

test('a peer that is to be reached by another router is told, and its session goes on', t => {
  const [none, one, other] = [tor(), tor({ reachableBy: '192.168.10.1' }), tor({ reachableBy: '192.168.10.2' })]
  for (const [before, after] of [
    [none, one],
    [one, other],
    [other, none],
  ])
    t.deepEqual(changes({ BGPPeer: [before!] }, { BGPPeer: [after!] }), ['Global_10_0_0_1 changes: reachableBy'])
})

test('from the mesh to a BGPPeer sessions change their names alone', t => {
  const joined = aPeer('all', { nodeSelector: 'all()', peerSelector: 'all()' })
  const mesh = aConfiguration({ nodeToNodeMeshEnabled: false })
  const told = changes({}, { BGPPeer: [joined], BGPConfiguration: [mesh] })
  t.deepEqual(
    told.map(each => each.split(':')[0]),
    ['Node_192_168_10_10 changes', 'Node_192_168_20_11 changes'],
  )
  for (const each of told) t.true(each.includes('name'), each)
  t.deepEqual(changes({}, { BGPConfiguration: [mesh] }), ['Mesh_192_168_10_10 ends', 'Mesh_192_168_20_11 ends'])
})

test('another AS number of the cluster, of a node, or of another node says what is reset where', t => {
  const why = 'the AS number of this node becomes 64600, and was 64512'
  const own = changes({}, { BGPConfiguration: [aConfiguration({ asNumber: 64600 })] })
  t.is(own.length, 2)
  for (const each of own) t.true(each.includes(`resets: ${why}`), each)
  const [first, ...rest] = NODES
  const moved = aNode('n1', '192.168.10.9', { 'projectcalico.org/ASNumber': '64600' })
  t.is(first!.metadata.name, 'n1')
  t.true(changes({}, { Node: [moved, ...rest] }).every(each => each.includes(why)))
  t.deepEqual(
    changes({}, { Node: [moved, ...rest] }, 'n2').map(each => each.split(':')[0]),
    ['Mesh_192_168_10_9 resets'],
  )
})

test('a password that is named, or another Secret, changes a session and is never in the answer', t => {
  const password = (name: string) => ({ password: { secretKeyRef: { name, key: 'k' } } })
  const told = changes({ BGPPeer: [tor()] }, { BGPPeer: [tor(password('planted'))] })
  t.deepEqual(told, ['Global_10_0_0_1 changes: password'])
  const other = changes({ BGPPeer: [tor(password('planted'))] }, { BGPPeer: [tor(password('other'))] })
  t.deepEqual(other, ['Global_10_0_0_1 changes: password'])
})

test('what would be refused is told with the remedy, and not again where it was before', t => {
  const missing = tor({ filters: ['none'] })
  const { refused, sessions } = preview({ BGPPeer: [tor()] }, { BGPPeer: [missing] })
  t.deepEqual(
    sessions.map(({ change }) => change),
    ['ends'],
  )
  t.is(refused.length, 1)
  t.like(refused[0], { type: 'PeersConfigured', object: { kind: 'BGPPeer', name: 'tor' } })
  t.deepEqual(preview({ BGPPeer: [missing] }, { BGPPeer: [missing] }).refused, [])
})

test('blocks that are announced no more, anew, or with other communities are told', t => {
  const blocks = ['10.244.1.0/26']
  const pool = (disableBGPExport: boolean) => ({ IPPool: [aPool('p', { disableBGPExport })] })
  const told = (before: Objects, after: Objects) =>
    preview(before, after, { blocks }).announced.map(({ prefix, change }) => `${prefix} ${change}`)
  t.deepEqual(told(pool(false), pool(true)), ['10.244.1.0/26 ends'])
  t.deepEqual(told(pool(true), pool(false)), ['10.244.1.0/26 new'])
  const marked = aConfiguration({ prefixAdvertisements: [{ cidr: '10.244.0.0/16', communities: ['65001:7'] }] })
  const { announced } = preview(pool(false), { ...pool(false), BGPConfiguration: [marked] }, { blocks })
  t.deepEqual(announced, [
    {
      prefix: '10.244.1.0/26',
      change: 'changes',
      because: 'its communities become 65001:7, and were none',
    },
  ])
})

test('of a pool with VXLAN disableBGPExport is told as what it is: peers outside hear no more, and nodes as before', t => {
  const blocks = ['10.244.1.0/26']
  const pool = (spec: object) => ({ IPPool: [aPool('p', spec)] })
  const vxlan = (disableBGPExport: boolean) => pool({ vxlanMode: 'Always', disableBGPExport })
  const told = (before: Objects, after: Objects) =>
    preview(before, after, { blocks }).announced.map(({ change, because }) => `${change}: ${because}`)
  t.deepEqual(told(vxlan(false), vxlan(true)), ['changes: peers outside the cluster hear of it no more'])
  t.deepEqual(told(vxlan(true), vxlan(false)), ['changes: peers outside the cluster hear of it'])
  t.deepEqual(told(pool({ disableBGPExport: true }), vxlan(true)), ['new: other nodes hear of it'])
  t.deepEqual(told(pool({ disableBGPExport: true }), vxlan(false)), ['new: peers hear of it'])
  t.deepEqual(told(vxlan(true), pool({ disableBGPExport: true })), ['ends: no peer hears of it any more'])
  const marked = aConfiguration({ prefixAdvertisements: [{ cidr: '10.244.0.0/16', communities: ['65001:7'] }] })
  t.deepEqual(told(vxlan(true), { ...vxlan(true), BGPConfiguration: [marked] }), [
    'changes: its communities become 65001:7, and were none',
  ])
})

test('ranges of Services are told, and the label that excludes a node', t => {
  const ranges = { BGPConfiguration: [aConfiguration({ serviceClusterIPs: [{ cidr: '10.96.0.0/12' }] })] }
  const told = (before: Objects, after: Objects) =>
    preview(before, after).announced.map(({ prefix, change }) => `${prefix} ${change}`)
  t.deepEqual(told({}, ranges), ['10.96.0.0/12 new'])
  const label = { 'node.kubernetes.io/exclude-from-external-load-balancers': 'true' }
  const excluded = { Node: [aNode('n1', '192.168.10.9', {}, label), ...NODES.slice(1)] }
  t.deepEqual(told(ranges, { ...ranges, ...excluded }), ['10.96.0.0/12 ends'])
})

test('a node that goes ends its sessions, at both ends', t => {
  const left = { Node: NODES.filter(({ metadata }) => metadata.name !== 'n2') }
  t.deepEqual(changes({}, left, 'n2'), ['Mesh_192_168_10_9 ends', 'Mesh_192_168_20_11 ends'])
  t.deepEqual(changes({}, left), ['Mesh_192_168_10_10 ends'])
})

test('a key for BFD is taken to be there, however long the names of its Secret are', t => {
  const asked = tor()
  const metadata = {
    name: 'tor',
    annotations: { 'margay.io/BFD': '300ms x 3 secret=passwords-of-the-racks/rack-a-bfd' },
  }
  const watched = aResource('BGPPeer', { metadata, spec: asked.spec })
  t.deepEqual(changes({ BGPPeer: [asked] }, { BGPPeer: [watched] }), ['Global_10_0_0_1 changes: bfd'])
  t.deepEqual(preview({ BGPPeer: [asked] }, { BGPPeer: [watched] }).refused, [])
})

test('another preference of blocks is told as one', t => {
  const blocks = ['10.244.1.0/26', 'fd00:10:244::/122']
  const preferred = { BGPConfiguration: [aConfiguration({ ipv4NormalRoutePriority: 512 })] }
  t.deepEqual(preview({}, preferred, { blocks }).announced, [
    {
      prefix: '10.244.1.0/26',
      change: 'changes',
      because: 'its LOCAL_PREF becomes 2147483135, and was 2147482623',
    },
  ])
})

test('a node that is to drain announces all it has as the last choice', t => {
  const drained = { Node: [aNode('n1', '192.168.10.9', { 'margay.io/DrainBGP': 'true' }), ...NODES.slice(1)] }
  const { announced, sessions, refused } = preview({}, drained, { blocks: ['10.244.1.0/26'] })
  t.deepEqual([sessions, refused], [[], []])
  t.deepEqual(
    announced.map(({ prefix, change, because }) => [prefix, change, because]),
    [
      [
        '10.244.1.0/26',
        'changes',
        'its communities become 65535:0, and were none; its LOCAL_PREF becomes 0, and was 2147482623',
      ],
    ],
  )
})

test('an annotation of a Node that cannot be read is told, and what was read before counts on, as for agents', t => {
  const before = { Node: [aNode('n1', '192.168.10.9', { 'projectcalico.org/ASNumber': '64600' }), ...NODES.slice(1)] }
  const after = { Node: [aNode('n1', '192.168.10.9', { 'projectcalico.org/ASNumber': 'none' }), ...NODES.slice(1)] }
  for (const node of ['n1', 'n2']) {
    const { sessions, refused } = preview(before, after, { node })
    t.deepEqual(sessions, [], node)
    t.like(refused, [{ object: { kind: 'Node', name: 'n1' } }], node)
    t.is(refused.length, 1)
  }
})

test('rules for several paths that make no sense are told', t => {
  const metadata = { name: 'default', annotations: { 'margay.io/Multipath': 'all' } }
  const { refused } = preview({}, { BGPConfiguration: [aResource('BGPConfiguration', { metadata, spec: {} })] })
  t.like(refused, [{ object: { kind: 'BGPConfiguration', name: 'default' } }])
})

test('a label that is to be the AS number of a node and is none is told of that node', t => {
  const metadata = { name: 'default', annotations: { 'margay.io/ASNumberLabel': 'rack-as' } }
  const labelled = { Node: [aNode('n1', '192.168.10.9', {}, { 'rack-as': 'a' }), ...NODES.slice(1)] }
  const asked = { ...labelled, BGPConfiguration: [aResource('BGPConfiguration', { metadata, spec: {} })] }
  t.like(preview(labelled, asked).refused, [{ reason: 'BadASNumber', object: { kind: 'Node', name: 'n1' } }])
  t.deepEqual(preview(labelled, asked, { node: 'n2' }).refused, [])
})

const aPod = (name: string, change: { labels?: Record<string, string>; spec?: object; status?: object } = {}) => {
  const {
    labels = { app: 'router' },
    spec = {},
    status = { podIPs: [{ ip: '10.244.1.5' }, { ip: 'fd00::5' }] },
  } = change
  return aResource('Pod', { metadata: { name, namespace: 'net', labels }, spec: { nodeName: 'n1', ...spec }, status })
}
const forPods = (spec: object = {}) => ({
  BGPPeer: [aPeer('pods', { localWorkloadSelector: "app == 'router'", asNumber: 65010, ...spec })],
})
const NET = { Namespace: [aResource('Namespace', { metadata: { name: 'net', labels: { role: 'edge' } } })] }
const PEERING = {
  BGPConfiguration: [
    aConfiguration({
      ...{ nodeToNodeMeshEnabled: false },
      ...{ localWorkloadPeeringIPV4: '169.254.0.179', localWorkloadPeeringIPV6: 'fd12::1' },
    }),
  ],
}
const ofPods = (before: Objects, after: Objects, node = 'n1') =>
  preview({ ...PEERING, ...NET, ...before }, { ...PEERING, ...NET, ...after }, { node }).sessions.map(
    ({ pod, address, change }) => `${pod} ${address} ${change}`,
  )

test('sessions with pods of the node begin and end with the BGPPeer, the pod, its labels and its namespace', t => {
  const Pod = [aPod('router'), aPod('plain', { labels: {} })]
  const both = (change: string) => ['10.244.1.5', 'fd00::5'].map(address => `net/router ${address} ${change}`)
  const there = { Pod, ...forPods() }
  t.deepEqual(ofPods({ Pod }, there), both('new'))
  t.deepEqual(ofPods({ Pod }, there, 'n2'), [], 'it runs on another node')
  t.deepEqual(ofPods(there, { Pod }), both('ends'))
  t.deepEqual(ofPods(there, { ...there, Pod: [] }), both('ends'))
  t.deepEqual(ofPods(there, { ...there, Pod: [aPod('router', { labels: {} })] }), both('ends'))
  t.deepEqual(ofPods(there, { ...there, Namespace: [] }), both('ends'), 'its pods go with a namespace')
  t.deepEqual(ofPods(there, { Pod, ...forPods({ asNumber: 65011 }) }), both('resets'))
  t.deepEqual(ofPods(there, { Pod, ...forPods({ filters: [] }) }), [])
  const inherited = forPods({ localWorkloadSelector: "pcns.role == 'edge' && pcsa.tier == 'fast' && app == 'router'" })
  const account = aResource('ServiceAccount', {
    metadata: { name: 'fast', namespace: 'net', labels: { tier: 'fast' } },
  })
  const fast = { Pod: [aPod('router', { spec: { serviceAccountName: 'fast' } })], ServiceAccount: [account] }
  t.deepEqual(ofPods(fast, { ...fast, ...inherited }), both('new'))
  t.deepEqual(ofPods(fast, { ...fast, ServiceAccount: [], ...inherited }), [])
})

test('pods without an address of their own have no session', t => {
  for (const change of [
    { spec: { hostNetwork: true } },
    { spec: { nodeName: '' } },
    { status: {} },
    { status: { phase: 'Succeeded', podIP: '10.244.1.5' } },
  ]) {
    const Pod = [aPod('router', change)]
    t.deepEqual(ofPods({ Pod }, { Pod, ...forPods() }), [], JSON.stringify(change))
  }
})

test('an address under which pods would find their node, and that somebody has, is refused once, and ends their sessions', t => {
  const Pod = [aPod('router'), aPod('other', { status: { podIP: '10.244.1.6' } })]
  const there = { ...NET, ...PEERING, ...forPods(), Pod }
  const why = (localWorkloadPeeringIPV4: string) => {
    const spec = { nodeToNodeMeshEnabled: false, localWorkloadPeeringIPV4, localWorkloadPeeringIPV6: 'fd12::1' }
    const { sessions, refused } = preview(there, { ...there, BGPConfiguration: [aConfiguration(spec)] })
    t.deepEqual(
      sessions.map(({ pod, address, change }) => `${pod} ${address} ${change}`),
      ['net/router 10.244.1.5 ends', 'net/other 10.244.1.6 ends'],
    )
    t.like(refused, { length: 1, 0: { reason: 'NoPeeringAddress', object: { kind: 'BGPPeer', name: 'pods' } } })
    return refused[0]!.message.replace('localWorkloadPeeringIPV4 ', '')
  }
  t.is(why('192.168.20.11'), '192.168.20.11 is an address of node n3')
  t.regex(why('192.168.10.200'), /^192\.168\.10\.200 lies in 192\.168\.10\.0\/24, the subnet/)
  t.is(why(''), 'is not set')
})
