// Sessions of a node with its own pods: which, with what, and under which address pods find the node.
import test from 'ava'
import { type LocalPod, PeeringEndpoints, peeringAddresses, peeringOf } from '../../../agent/cluster/local-pods.ts'
import { aPool } from '../../datastore/objects.ts'
import { aFilter, all, aPeer, settings } from './peer-world.ts'

const PEERING = { localWorkloadPeeringIPV4: '169.254.0.179', localWorkloadPeeringIPV6: 'fd12::1' }
const nobody = { pools: [], subnets: [], nodeWith: () => undefined }
const peering = peeringAddresses(settings(PEERING), nobody)
const config = settings({ nodeToNodeMeshEnabled: false, ...PEERING })

const aPod = (id: string, labels: Record<string, string>, addresses: readonly string[]): LocalPod => ({
  ...{ endpoint: id, interfaceName: `cali${id}`, addresses, labels },
})
const ROUTER = aPod('1', { app: 'router' }, ['10.244.1.5', 'fd00::5'])
const FOR_ROUTERS = { localWorkloadSelector: "app == 'router'", asNumber: 65010 }

function node(change: Parameters<typeof all>[0], ...pods: readonly LocalPod[]) {
  const { peers } = all({ config, peering, ...change })
  for (const pod of pods) peers.pod(pod.endpoint, pod)
  return peers
}
const names = (peers: ReturnType<typeof node>) => peers.take().map(({ key, peer }) => peer?.name ?? `-${key}`)
const reasons = (peers: ReturnType<typeof node>) =>
  peers.refused().map(({ object, reason }) => `${object?.name} ${reason}`)

test('a pod that a BGPPeer selects has a session in each family, which it dials, as Calico makes them', t => {
  const peers = node({ peers: [aPeer('pods', { ...FOR_ROUTERS, localASNumber: 65009, maxRestartTime: '1m' })] }, ROUTER)
  const [ipv4, ipv6] = peers.take()
  t.like(ipv4, { key: '10.244.1.5', origin: 'workload' })
  t.like(ipv4?.peer, {
    name: 'Local_Workload_10_244_1_5',
    address: '10.244.1.5',
    asn: 65010,
    localAs: 65009,
    passive: true,
    source: undefined,
    group: 'workload',
    families: ['ipv4-unicast'],
    behindUs: true,
    reflectorClient: false,
    gracefulRestart: { restartSeconds: 60, notification: true, keepOverRestarts: false },
    prefixLimit: { max: 1000, restartSeconds: 300 },
    pod: { interfaceName: 'cali1', endpoint: '1', address: '10.244.1.5' },
  })
  t.like(ipv6?.peer, { name: 'Local_Workload_fd00__5', families: ['ipv6-unicast'] })
  t.deepEqual(reasons(peers), [])
})

test('sessions follow labels, pods and BGPPeers, and end with any of them at once', t => {
  const peers = node({ peers: [aPeer('pods', FOR_ROUTERS)] }, { ...ROUTER, addresses: ['10.244.1.5'] })
  t.deepEqual(names(peers), ['Local_Workload_10_244_1_5'])
  const other = aPod('2', { app: 'plain' }, ['10.244.1.6'])
  peers.pod('2', other)
  t.deepEqual(names(peers), [])
  peers.pod('2', { ...other, labels: { app: 'router' } })
  t.deepEqual(names(peers), ['Local_Workload_10_244_1_6'])
  peers.pod('2', other)
  t.deepEqual(names(peers), ['-10.244.1.6'])
  peers.pod('1', undefined)
  t.deepEqual(names(peers), ['-10.244.1.5'])
  peers.pod('1', { ...ROUTER, addresses: ['10.244.1.5'] })
  peers.take()
  peers.bgpPeer('pods', undefined)
  t.deepEqual(names(peers), ['-10.244.1.5'])
})

test('a BGPPeer for other nodes selects no pod of this one, and of several the first by name has it', t => {
  const far = aPeer('a', { ...FOR_ROUTERS, node: 'n2' })
  const [one, two] = [aPeer('b', FOR_ROUTERS), aPeer('c', { ...FOR_ROUTERS, asNumber: 65011, node: 'n1' })]
  const peers = node({ peers: [far, two, one] }, { ...ROUTER, addresses: ['10.244.1.5'] })
  t.deepEqual(
    peers.take().map(({ peer }) => peer?.asn),
    [65010],
  )
  t.deepEqual(reasons(peers), ['c AddressClash'])
})

test('where pods have no address to peer with, where a filter is missing, and what has no meaning for pods, closes the session and says so', t => {
  const without = (spec: object, change: object = {}) =>
    node({ peers: [aPeer('pods', { ...FOR_ROUTERS, ...spec })], ...change }, ROUTER)
  const none = without({}, { peering: peeringAddresses(settings(), nobody) })
  t.deepEqual(names(none), [])
  t.deepEqual(reasons(none), ['pods NoPeeringAddress'])
  const ipv4 = without(
    {},
    { peering: peeringAddresses(settings({ localWorkloadPeeringIPV4: '169.254.0.179' }), nobody) },
  )
  t.deepEqual(names(ipv4), ['Local_Workload_10_244_1_5'])
  t.deepEqual(reasons(ipv4), ['pods NoPeeringAddress'])
  const filtered = without({ filters: ['none'] })
  t.deepEqual(names(filtered), [])
  t.is(filtered.refused().length, 1)
  t.deepEqual(reasons(without({ reachableBy: '192.168.10.1' })), ['pods NotForPods'])
  const withFilter = without(
    { filters: ['f'] },
    { filters: [aFilter('f', { importV4: [{ action: 'Accept', matchOperator: 'In', cidr: '198.51.100.0/24' }] })] },
  )
  t.is(withFilter.take()[0]?.peer?.importFilters?.length, 1)
})

test('the address that pods peer with is of nobody else, and one that no route alone can lead here is refused', t => {
  const pools = [aPool('p', { cidr: '10.244.0.0/16' })]
  const subnets = ['192.168.10.9/24', '172.17.0.1/16', 'fd00:17::1/64', '169.254.20.10/32', 'fd00:20::10/128']
  const nodeWith = (address: string) => (address === '192.168.10.10' ? 'n2' : undefined)
  const why = (spec: object) => {
    const asked = { ...spec, serviceClusterIPs: [{ cidr: '10.96.0.0/12' }] }
    const found = peeringAddresses(settings(asked), { pools, subnets, nodeWith })
    return [found.ipv4, found.ipv6].map(each =>
      'missing' in each ? each.missing.message.split(' ').slice(1).join(' ') : each.address,
    )
  }
  t.deepEqual(why(PEERING), ['169.254.0.179', 'fd12::1'])
  t.deepEqual(why({ localWorkloadPeeringIPV4: '' }), ['is not set', 'is not set'])
  const refused = (address: string) => why({ localWorkloadPeeringIPV4: address, localWorkloadPeeringIPV6: address })
  t.is(refused('10.244.3.4')[0], '10.244.3.4 lies in 10.244.0.0/16, whose addresses pods or Services have')
  t.is(refused('10.96.0.1')[0], '10.96.0.1 lies in 10.96.0.0/12, whose addresses pods or Services have')
  t.is(refused('192.168.10.10')[0], '192.168.10.10 is an address of node n2')
  t.is(refused('169.254.1.1')[0], '169.254.1.1 is the gateway of all pods')
  t.is(refused('127.0.0.2')[0], "127.0.0.2 is each machine's own")
  t.is(refused('::1')[1], "::1 is each machine's own")
  const isNear = 'the subnet of an interface of this node, which could not reach the host that has it'
  t.is(refused('172.17.0.9')[0], `172.17.0.9 lies in 172.17.0.0/16, ${isNear}`)
  t.is(refused('fd00:17::9')[1], `fd00:17::9 lies in fd00:17::/64, ${isNear}`)
  t.is(refused('169.254.20.10')[0], '169.254.20.10 is an address of this node')
  t.is(refused('fd00:20::10')[1], 'fd00:20::10 is an address of this node')
  t.is(refused('224.0.0.5')[0], '224.0.0.5 is no address of a host')
  t.is(refused('fe80::179')[1], 'fe80::179 counts on one link alone, and needs an interface')
  t.is(refused('fd12::1')[0], 'fd12::1 is an address of the other family')
})

test('felix is told of the addresses that there are, and of nothing where there are none', t => {
  t.deepEqual(peeringOf(peering, 1790), { ipv4: '169.254.0.179', ipv6: 'fd12::1', port: 1790 })
  t.is(peeringOf(peeringAddresses(settings(), nobody), 179), undefined)
})

test('an endpoint is a peer from its first session to the end of its last one', t => {
  const peers = node({ peers: [aPeer('pods', FOR_ROUTERS)] }, ROUTER)
  const endpoints = new PeeringEndpoints()
  t.deepEqual(endpoints.take(peers.take()), [['1', true]])
  peers.pod('1', { ...ROUTER, addresses: ['fd00::5'] })
  t.deepEqual(endpoints.take(peers.take()), [])
  t.is(endpoints.size, 1)
  peers.pod('1', undefined)
  t.deepEqual(endpoints.take(peers.take()), [['1', false]])
  t.is(endpoints.size, 0)
})
