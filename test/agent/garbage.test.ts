// What others write is data: with garbage in every field of every kind that an agent watches, no agent ends, no good route
// moves, and every object that is not understood is told.
import test from 'ava'
import fc from 'fast-check'
import { nodeFacts, remoteNode } from '../../agent/cluster/nodes.ts'
import { Peers } from '../../agent/cluster/peers.ts'
import { felixPools } from '../../agent/cluster/pools.ts'
import { bgpSettings, felixSettings } from '../../agent/cluster/settings.ts'
import { NODE_ANNOTATION } from '../../api/core.ts'
import type { Kind } from '../../api/kinds.ts'
import { matchesSelector } from '../../api/selector.ts'
import { validate } from '../../api/validate.ts'
import { Policy } from '../../bgp/policy.ts'
import { MemoryNetwork } from '../../bgp/simulation/memory-transport.ts'
import { Speaker } from '../../bgp/speaker.ts'
import { createFakeStore } from '../../datastore/fake.ts'
import { cachedFields, pickFields } from '../../datastore/fields.ts'
import { readObject } from '../../datastore/readable.ts'
import { Calculator } from '../../felix/calc/calculator.ts'
import { aNode, aPool } from '../datastore/objects.ts'
import { aMachine, eventually, learnedRoutes, startAgent } from './machines.ts'

type Raw = { metadata: Record<string, unknown> & { name: string } } & Record<string, unknown>

/** Every field of each watched kind with a value that is right. */
const WHOLE: Readonly<Record<string, Record<string, unknown>>> = {
  Node: {
    metadata: {
      labels: { rack: 'a' },
      annotations: {
        [NODE_ANNOTATION.ipv4Address]: '192.0.2.77/24',
        [NODE_ANNOTATION.ipv6Address]: '2001:db8::77/64',
        [NODE_ANNOTATION.ipipTunnelAddress]: '10.244.77.1',
        [NODE_ANNOTATION.vxlanTunnelAddress]: '10.244.77.2',
        [NODE_ANNOTATION.vxlanTunnelAddressV6]: 'fd00:10:77::2',
        [NODE_ANNOTATION.vxlanTunnelMac]: '66:aa:bb:cc:dd:77',
        [NODE_ANNOTATION.asNumber]: '65077',
        [NODE_ANNOTATION.routeReflectorClusterId]: '224.0.0.77',
        [NODE_ANNOTATION.addressConfirmed]: '2026-01-31T12:00:00Z',
      },
    },
    spec: { podCIDR: '10.77.0.0/24' },
    status: { addresses: [{ type: 'InternalIP', address: '192.0.2.77' }] },
  },
  IPPool: {
    metadata: {},
    spec: {
      ...{ cidr: '10.99.0.0/16', blockSize: 26, ipipMode: 'Never', vxlanMode: 'Always', natOutgoing: true },
      ...{ disabled: false, disableBGPExport: true, nodeSelector: 'all()', namespaceSelector: 'all()' },
      ...{ allowedUses: ['Workload'], assignmentMode: 'Automatic' },
    },
    status: { conditions: [] },
  },
  BGPPeer: {
    metadata: {},
    spec: {
      ...{ node: 'n1', nodeSelector: "rack == 'a'", peerIP: '192.0.2.1', peerSelector: "rack == 'b'", asNumber: 65001 },
      ...{ localASNumber: 65002, nextHopMode: 'Self', keepOriginalNextHop: true, sourceAddress: 'None' },
      ...{ password: { secretKeyRef: { name: 's', key: 'k' } }, maxRestartTime: '90s', keepaliveTime: '30s' },
      ...{ numAllowedLocalASNumbers: 1, ttlSecurity: 2, filters: ['f'] },
    },
  },
  BGPFilter: {
    metadata: {},
    spec: {
      importV4: [
        {
          ...{ action: 'Accept', cidr: '10.0.0.0/8', matchOperator: 'In', prefixLength: { min: 8, max: 24 } },
          ...{ source: 'RemotePeers', interface: 'eth*', peerType: 'eBGP', communities: { values: ['65000:1'] } },
          ...{ asPathPrefix: [65001], priority: 512 },
          operations: [{ addCommunity: { value: '1:2:3' } }, { prependASPath: { prefix: [7] } }],
        },
      ],
      exportV6: [{ action: 'Reject', cidr: '2001:db8::/32', matchOperator: 'NotEqual' }],
    },
  },
  BGPConfiguration: {
    metadata: {},
    spec: {
      ...{ bindMode: 'NodeIP', ipv4NormalRoutePriority: 1024 },
      ...{ asNumber: 64512, nodeToNodeMeshEnabled: true, listenPort: 179, logSeverityScreen: 'Info' },
      ...{ nodeMeshPassword: { secretKeyRef: { name: 's', key: 'k' } }, nodeMeshMaxRestartTime: '90s' },
      communities: [{ name: 'here', value: '65001:1' }],
      prefixAdvertisements: [{ cidr: '10.244.0.0/16', communities: ['here', '65001:2:3'] }],
    },
  },
  FelixConfiguration: {
    metadata: {},
    spec: {
      ...{ interfacePrefix: 'cali', routeRefreshInterval: '90s', ipipMTU: 0, vxlanMTU: 0, vxlanPort: 4789 },
      ...{ vxlanVNI: 4096, deviceRouteProtocol: 3, removeExternalRoutes: true },
    },
  },
  IPAMConfiguration: { metadata: {}, spec: { strictAffinity: true, autoAllocateBlocks: true, maxBlocksPerHost: 0 } },
  IPAMBlock: {
    metadata: {},
    spec: {
      ...{ cidr: '10.244.99.0/30', affinity: 'host:n1', strictAffinity: true, deleted: false },
      ...{ allocations: [0, null, null, null], unallocated: [1, 2, 3], sequenceNumber: 7 },
      ...{ attributes: [{ handle_id: 'h', secondary: { pod: 'p' } }], sequenceNumberForAllocation: { 0: 7 } },
    },
  },
  IPReservation: { metadata: {}, spec: { reservedCIDRs: ['10.98.0.0/24'] } },
}

const KINDS = Object.keys(WHOLE) as Kind[]

const garbage = fc.oneof(
  fc.constantFrom<unknown>(
    ...['not-an-address', 'zz', '', ' ', '2001:db8::1', '2001:db8::1/64', '192.0.2.9/99', '10.244.0.0/0', '0.0.0.0/0'],
    ...['::', '127.0.0.1', '224.0.0.1', '255.255.255.255', 'fe80::1%eth0', '00:00:00:00:00:00', 'ff:ff:ff:ff:ff:ff'],
    ...['+275760-09-13T00:00:00.000Z', '10.0.0.0/8', '0.0.0.0/0', '::/0', '127.0.0.0/8', 'host:n1', 'host:n2'],
    ...['1099511627776', '-1', '1e9', '0x10', 'all(', "a == '", '((((', '__proto__', 'constructor', '\u0000', '𝟙', '٣'],
    ...[2 ** 40, -1, 0, 1.5, Number.MAX_SAFE_INTEGER, true, false, [], {}, [[]], { secretKeyRef: null }, [null], [{}]],
    ...[2n ** 63n, 'x'.repeat(10_000), Array(1000).fill('192.0.2.1')],
  ),
  fc.string(),
  fc.jsonValue({ maxDepth: 3 }),
)

/** An object of a watched kind, right but for one to three values anywhere in it. */
const anObject = fc.constantFrom(...KINDS).chain(kind =>
  fc.record({
    kind: fc.constant(kind),
    faults: fc.array(fc.tuple(fc.nat(), garbage), { minLength: 1, maxLength: 3 }),
  }),
)

function withFaults(kind: Kind, name: string, faults: readonly (readonly [number, unknown])[]): Raw {
  const object = structuredClone(WHOLE[kind]!) as Raw
  object.metadata['name'] = name
  for (const [at, value] of faults) {
    const places = [...placesOf(object)].filter(({ holder, key }) => holder !== object.metadata || key !== 'name')
    const { holder, key } = places[at % places.length]!
    holder[key] = structuredClone(value)
  }
  // no client can say when an object was made; of pools that overlap the older one counts
  const server = { name, creationTimestamp: '9999-12-31T00:00:00Z' }
  // a fault may have replaced it
  if (typeof object.metadata !== 'object' || object.metadata === null) return { ...object, metadata: server }
  return { ...object, metadata: { ...object.metadata, ...server } }
}

function* placesOf(value: unknown): Generator<{ holder: Record<string, unknown>; key: string }> {
  if (typeof value !== 'object' || value === null) return
  const holder = value as Record<string, unknown>
  for (const key of Object.keys(holder)) {
    if (key !== 'metadata') yield { holder, key }
    yield* placesOf(holder[key])
  }
}

/** Whether what an agent reads of an object is right, whatever its other fields are. */
function isReadable(kind: Kind, object: Raw): boolean {
  return !Array.isArray(validate(kind, pickFields(object, cachedFields(kind))))
}

/** A BGPPeer that is valid and selects n2 decides about its session. */
function selectsAll(object: Raw): boolean {
  const peer = validate('BGPPeer', pickFields(object, cachedFields('BGPPeer')))
  return !Array.isArray(peer) && peer.spec.peerSelector !== undefined && matchesSelector(peer.spec.peerSelector, {})
}

test('nothing that others can write makes the pure parts throw', t => {
  fc.assert(
    fc.property(fc.array(anObject, { minLength: 1, maxLength: 6 }), objects => {
      const felix = new Calculator({ routeProtocol: 80 })
      felix.configure({ node: { name: 'n1', ipv4: '192.0.2.11/24', uplink: 'eth0', vxlanTunnelAddress: '10.244.1.1' } })
      felix.configure({ capabilities: { ipip: true, vxlan: true } })
      felix.useLearned()
      const peers = new Peers({ nodeName: 'n1', address: '192.0.2.11', config: bgpSettings(undefined) })
      for (const [i, { kind, faults }] of objects.entries()) {
        const object = withFaults(kind, `g${i}`, faults)
        if (kind === 'Node') {
          const { item } = readObject(kind, object)
          const { facts } = item === undefined ? { facts: undefined } : nodeFacts(item)
          peers.node(`g${i}`, facts)
          felix.set('remote', `g${i}`, facts && remoteNode(facts))
        } else if (kind === 'BGPPeer') peers.bgpPeer(`g${i}`, readObject(kind, object).item)
        else if (kind === 'BGPFilter') peers.filter('f', readObject(kind, object).item)
        else if (kind === 'BGPConfiguration') peers.configure({ config: bgpSettings(readObject(kind, object).item) })
        else if (kind === 'FelixConfiguration')
          felix.configure({ config: felixSettings(readObject(kind, object).item) })
        else if (kind === 'IPPool') {
          const { item } = readObject(kind, object)
          for (const [name, pool] of felixPools(item === undefined ? [] : [item])) felix.set('pool', name, pool)
        } else readObject(kind, object)
      }
      felix.set('learned', '10.99.0.0/26', { prefix: '10.99.0.0/26', nextHop: '192.0.2.77', encapsulations: [] })
      felix.step()
      for (const { peer } of peers.take())
        for (const rules of [peer?.import, peer?.importFilters, peer?.export]) new Policy(rules, { external: true })
      peers.refused()
    }),
    { numRuns: 1000 },
  )
  t.pass()
})

test('with garbage in every field of every kind an agent goes on, keeps its routes, and tells what it cannot read', async t => {
  const store = createFakeStore()
  const network = new MemoryNetwork()
  const n2 = { [NODE_ANNOTATION.ipv4Address]: '192.0.2.12/24', [NODE_ANNOTATION.vxlanTunnelAddress]: '10.244.2.1' }
  await store.create('Node', aNode('n1'))
  await store.create('Node', aNode('n2', { annotations: n2 }))
  await store.create('IPPool', aPool('pool', { vxlanMode: 'CrossSubnet' }))
  const far = new Speaker({ asn: 64512, routerId: '192.0.2.12' }, { transport: network.host('192.0.2.12') })
  t.teardown(() => far.close())
  await far.listen({ address: '192.0.2.12', port: 179 })
  far.setPeer({ address: '192.0.2.11', asn: 64512 })
  far.announce({ prefix: '10.244.2.0/26' })
  const machine = await aMachine(t, 'n1', '192.0.2.11')
  const agent = await startAgent(t, machine, store, network)
  const routes = await eventually(
    t,
    'the route of n2',
    () => learnedRoutes(machine),
    all => all.length > 0,
  )
  const moved: string[] = []
  const monitor = machine.world.kernel().monitor(event => {
    if (event.type === 'route-gone' && event.route.dst === '10.244.2.0/26') moved.push('gone')
  })
  let written = 0
  await fc.assert(
    fc.asyncProperty(anObject, fc.constantFrom('new', 'in place'), async ({ kind, faults }, where) => {
      const inPlace = kind === 'Node' ? 'n2' : kind === 'IPPool' ? 'pool' : 'default'
      const object = withFaults(kind, where === 'new' ? `g${written}` : inPlace, faults)
      // what can be read of an object under a name that counts is no garbage: somebody decided so
      if (where === 'in place' && isReadable(kind, object)) return
      if (kind === 'BGPPeer' && selectsAll(object)) return
      written++
      store.inject(kind, object)
      await store.settled()
    }),
    { numRuns: 300 },
  )
  for (const field of [
    'ipv4Address',
    'vxlanTunnelAddress',
    'vxlanTunnelMac',
    'asNumber',
    'routeReflectorClusterId',
  ] as const)
    for (const text of ['not-an-address', 'zz', '2001:db8::1', '192.0.2.12/99', '1099511627776']) {
      store.inject('Node', { ...aNode('n2', { annotations: { ...n2, [NODE_ANNOTATION[field]]: text } }) })
      await store.settled()
    }
  await eventually(
    t,
    'told',
    () => agent.conditions().filter(({ type }) => type === 'ObjectsReadable'),
    all => all.some(({ object }) => object?.name === 'n2') && all.some(({ reason }) => reason === 'Invalid'),
  )
  t.true(agent.ready())
  t.deepEqual(await learnedRoutes(machine), routes)
  t.deepEqual(moved, [])
  t.true(written > 100, `${written} objects`)
  monitor.close()
  // an agent that is closed is not asked whether its blocks fit what lies here
  await agent.close()
})
