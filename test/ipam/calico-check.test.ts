// The oracle itself: a cluster in which nothing is wrong, and one fault at a time.
import test from 'ava'
import type { Resource } from '../../api/kinds.ts'
import { createFakeStore } from '../../datastore/fake.ts'
import { aBlock, aNode, aPod, aPool, aResource } from '../datastore/objects.ts'
import { type CalicoObjects, calicoObjects, calicoProblems, calicoProblemsOf, type Moment } from './calico-check.ts'

const NOW_MS = Date.parse('2026-06-01T00:00:00Z')
const ALL: readonly Moment[] = ['at once', 'published', 'cluster']
const web = { handle_id: 'net.C1', secondary: { pod: 'web', namespace: 'default', node: 'n1' } }
const tunnel = { handle_id: 'ipip-tunnel-addr-n1', secondary: { type: 'ipipTunnelAddress', node: 'n1' } }

/** A block of four: a pod, a tunnel and two free ones. */
const block = (spec: object = {}) =>
  aBlock('10.244.0.0/30', {
    ...{ allocations: [0, null, 1, null], unallocated: [3, 1], attributes: [web, tunnel] },
    ...spec,
  })
const pod = (status: Resource<'Pod'>['status'], spec: object = {}, metadata: object = {}) => ({
  ...aPod('web', { nodeName: 'n1', ...spec }, metadata),
  status,
})
const handle = (name: string) => aResource('IPAMHandle', { metadata: { name }, spec: { handleID: name } })

const sound: CalicoObjects = {
  pools: [aPool('p')],
  blocks: [block()],
  handles: [handle('net.c1')],
  nodes: [aNode('n1', { annotations: { 'projectcalico.org/IPv4IPIPTunnelAddr': '10.244.0.2' } })],
  pods: [pod({ podIPs: [{ ip: '10.244.0.0' }] })],
  workloads: [],
  services: [],
  singletons: ['KubeControllersConfiguration', 'ClusterInformation'],
}

const found = (change: Partial<CalicoObjects>) =>
  calicoProblems({ ...sound, ...change }, ALL, { nowMs: NOW_MS }).map(({ rule, about }) => `${rule}: ${about}`)

test('a sound cluster has no problem', t => {
  t.deepEqual(found({}), [])
})

const STRUCTURE = 'structure: 10-244-0-0-30: '
const POD_FREE = 'allocated and not in use: 10.244.0.0 (net.C1)'

test('an IPv6 tunnel address of a Node is in use, which calicoctl does not know', t => {
  const six = { handle_id: 'vxlan-v6-tunnel-addr-n1', secondary: { type: 'vxlanV6TunnelAddress', node: 'n1' } }
  const blocks = [block(), aBlock('fd00::/127', { allocations: [0, null], unallocated: [1], attributes: [six] })]
  const tells = {
    'projectcalico.org/IPv4IPIPTunnelAddr': '10.244.0.2',
    'projectcalico.org/IPv6VXLANTunnelAddr': 'fd00::',
  }
  t.deepEqual(found({ blocks, nodes: [aNode('n1', { annotations: tells })] }), [])
  t.deepEqual(found({ blocks }), ['allocated and not in use: fd00:: (vxlan-v6-tunnel-addr-n1)'])
})

const faults: [title: string, change: Partial<CalicoObjects>, problems: string[]][] = [
  [
    'an allocation without its attribute',
    { blocks: [block({ allocations: [0, null, 7, null] })] },
    [`${STRUCTURE}no attribute 7`, `${STRUCTURE}attribute 1 of no address`],
  ],
  [
    'an attribute that stayed when its address was released',
    { blocks: [block({ attributes: [web, tunnel, web] })] },
    [`${STRUCTURE}attribute 2 of no address`],
  ],
  [
    'an ordinal out of range',
    { blocks: [block({ unallocated: [3, 4] })] },
    [`${STRUCTURE}unallocated 4 of 4 addresses`],
  ],
  ['an ordinal twice', { blocks: [block({ unallocated: [3, 3] })] }, [`${STRUCTURE}unallocated 3 twice`]],
  [
    'an ordinal that is allocated as well',
    { blocks: [block({ unallocated: [0, 3] })] },
    [`${STRUCTURE}unallocated 0 is allocated`],
  ],
  [
    'an address that is neither',
    { blocks: [block({ unallocated: [3] })] },
    [`${STRUCTURE}1 unallocated and 2 allocated of 4 addresses`],
  ],
  [
    'a release in the future',
    { blocks: [block({ attributes: [{ ...web, releasedAt: '2026-06-01T00:00:01Z' }, tunnel] })] },
    ['released in the future: 10-244-0-0-30: 2026-06-01T00:00:01Z'],
  ],
  ['an address that no pod has', { pods: [] }, [POD_FREE]],
  ['the address of a pod that has ended', { pods: [pod({ phase: 'Failed', podIP: '10.244.0.0' })] }, [POD_FREE]],
  [
    'the address of a pod on the network of its host',
    { pods: [pod({ podIP: '10.244.0.0' }, { hostNetwork: true })] },
    [POD_FREE],
  ],
  [
    'the address of a tunnel that its Node does not name',
    { nodes: [aNode('n1')] },
    ['allocated and not in use: 10.244.0.2 (ipip-tunnel-addr-n1)'],
  ],
  [
    'a pod with an address that no block has given',
    { pods: [pod({ podIPs: [{ ip: '10.244.0.0' }, { ip: '10.244.0.1' }] })] },
    ['in use and not allocated: 10.244.0.1 of Pod web'],
  ],
  [
    'a pod with an address of a disabled pool that no block has given',
    { pools: [aPool('p', { disabled: true })], pods: [pod({ podIPs: [{ ip: '10.244.0.0' }, { ip: '10.244.0.1' }] })] },
    ['in use, in no active pool and not allocated: 10.244.0.1 of Pod web'],
  ],
  ['a handle without addresses', { handles: [handle('gone')] }, ['handle without address: gone']],
  [
    'two blocks over one address',
    { blocks: [block(), aBlock('10.244.0.0/31')] },
    ['shared by two blocks: 10-244-0-0-30 and 10-244-0-0-31'],
  ],
  [
    'no ClusterInformation',
    { singletons: ['KubeControllersConfiguration'] },
    ['object missing: ClusterInformation default'],
  ],
]

for (const [title, change, problems] of faults)
  test(`what is found: ${title}`, t => {
    t.deepEqual(found(change), problems)
  })

const fine: [title: string, change: Partial<CalicoObjects>][] = [
  [
    'a pod that its kubelet has not told of yet',
    { pods: [pod({}, {}, { annotations: { 'cni.projectcalico.org/podIPs': '10.244.0.0/32' } })] },
  ],
  [
    'a workload endpoint',
    {
      pods: [],
      workloads: [
        aResource('WorkloadEndpoint', {
          metadata: { name: 'w', namespace: 'default' },
          spec: {
            ...{ node: 'n1', orchestrator: 'cni', endpoint: 'eth0', interfaceName: 'cali1' },
            ipNetworks: ['10.244.0.0/32'],
          },
        }),
      ],
    },
  ],
  [
    'an address that cools down',
    { pods: [], blocks: [block({ attributes: [{ ...web, releasedAt: '2026-05-31T23:59:59Z' }, tunnel] })] },
  ],
  [
    'an address reserved for Windows',
    { pods: [], handles: [], blocks: [block({ attributes: [{ handle_id: 'windows-reserved-ipam-handle' }, tunnel] })] },
  ],
  ['an allocated address of a disabled pool', { pools: [aPool('p', { disabled: true })] }],
]

for (const [title, change] of fine)
  test(`what is sound: ${title}`, t => {
    t.deepEqual(found(change), [])
  })

test('rules that hold when all is published are not asked before', t => {
  const early = (moments: readonly Moment[]) =>
    calicoProblems({ ...sound, pods: [] }, moments, { nowMs: NOW_MS }).length
  t.deepEqual([early(['at once']), early(['at once', 'published'])], [0, 1])
})

test('of some nodes alone, what others have is no problem', async t => {
  const store = createFakeStore()
  await store.create('IPPool', aPool('p'))
  await store.create('IPAMBlock', block({ affinity: 'host:n2' }))
  await store.create('Node', aNode('n2', { annotations: { 'projectcalico.org/IPv4IPIPTunnelAddr': '10.244.9.9' } }))
  const of = (name: string) => calicoProblemsOf(store, [{ name, addresses: [] }], NOW_MS)
  t.deepEqual(await of('n1'), [])
  t.is((await of('n2')).length, 3)
  t.deepEqual((await calicoObjects(store)).singletons, [])
})
