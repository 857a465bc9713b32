// Peers that a BGPPeer names by a prefix of the network.
import test from 'ava'
import { newcomers, podRanges, rangesOfPods } from '../../../agent/cluster/newcomers.ts'
import { BGP_ANNOTATION } from '../../../api/core.ts'
import { aPool } from '../../datastore/objects.ts'
import { aFilter, all, aPeer, settings } from './peer-world.ts'

const aRange = (name: string, range: string, spec: Record<string, unknown> = {}) => ({
  ...aPeer(name, spec),
  metadata: { name, annotations: { [BGP_ANNOTATION.range]: range } },
})
const withPassword = (name: string) => ({ password: { secretKeyRef: { name, key: 'k' } } })
const passwords = new Map([['s', { text: 'secret' }]])
const noMesh = settings({ nodeToNodeMeshEnabled: false })

type Made = ReturnType<typeof all>
const reasons = ({ refused }: Pick<Made, 'refused'>) => refused.map(({ object, reason }) => `${object?.name} ${reason}`)
const rangesIn = (changes: readonly { key: string; peer?: { range?: string; disabled?: boolean } }[]) =>
  changes.flatMap(({ key, peer }) => {
    if (!key.startsWith('range ')) return []
    return [`${key}: ${peer === undefined ? 'gone' : `${peer.range}${peer.disabled ? ' closed' : ''}`}`]
  })

test('a BGPPeer with margay.io/Range is one set of rules for whoever dials from there, with an AS number of its own and 100 at most', t => {
  const { wanted, refused } = all({ nodes: [], peers: [aRange('vms', '192.0.2.7/24', { asNumber: 65010 })] })
  t.deepEqual(refused, [])
  t.is(wanted.length, 1)
  t.like(wanted[0], {
    name: 'Global_192_0_2_0_24',
    range: '192.0.2.0/24',
    rangeLimit: 100,
    address: undefined,
    interface: undefined,
    source: undefined,
    asn: 65010,
    families: ['ipv4-unicast'],
    group: 'outside',
    import: 'reject',
    reflectorClient: false,
    prefixLimit: { max: 5000, restartSeconds: 300 },
  })
  const six = all({ nodes: [], peers: [aRange('vms', '2001:db8::/64 limit=2000')] }).wanted[0]
  t.like(six, { range: '2001:db8::/64', rangeLimit: 2000, asn: 'external', families: ['ipv6-unicast'] })
})

test('all neighbours of a range together may announce 500,000 prefixes, and none more than another peer outside', t => {
  const each = [1, 10, 20, 100, 10_000].map(limit => {
    const peers = [aRange('vms', `192.0.0.0/16 limit=${limit}`)]
    return all({ config: noMesh, peers }).wanted[0]?.prefixLimit?.max
  })
  t.deepEqual(each, [50_000, 50_000, 25_000, 5000, 50])
})

test('filters, password, TTL security, AS of its own, times and BFD count for each neighbour as for any peer', t => {
  const spec = {
    ...withPassword('s'),
    ...{ node: 'n1', filters: ['f'], localASNumber: 65009, ttlSecurity: 1, keepaliveTime: '5s', maxRestartTime: '7s' },
  }
  const peer = aRange('vms', '192.0.2.0/24', spec)
  Object.assign(peer.metadata.annotations, { [BGP_ANNOTATION.bfd]: '300ms x 3' })
  const filters = [aFilter('f', { importV4: [{ action: 'Accept', matchOperator: 'Equal', cidr: '198.51.100.0/24' }] })]
  const [range] = all({ config: noMesh, peers: [peer], filters, passwords }).wanted
  t.like(range, { name: 'Node_192_0_2_0_24', password: 'secret', localAs: 65009, ttlSecurity: 1, multihop: undefined })
  t.like(range, { timers: { keepaliveSeconds: 5 }, bfd: { intervalMs: 300, multiplier: 3 } })
  t.is(range!.importFilters?.length, 1)
  t.like(range!.gracefulRestart, { restartSeconds: 7 })
  t.deepEqual(all({ config: noMesh, peers: [aRange('vms', '192.0.2.0/24', { node: 'n2' })] }).wanted, [])
})

test('what is no prefix of routers, or has words nobody knows, is refused with what to write, and keeps its addresses where it can be read', t => {
  const rows = [
    ['rack', {}, 'BadRange', /begins with no prefix/, false],
    ['192.0.2.7', {}, 'BadRange', /begins with no prefix/, false],
    ['fe80::/64', {}, 'BadRange', /no router outside/, false],
    ['127.0.0.0/8', {}, 'BadRange', /no router outside/, false],
    ['224.0.0.0/4', {}, 'BadRange', /no router outside/, false],
    ['192.0.2.0/24 198.51.100.0/24', {}, 'BadRange', /one limit=N alone/, true],
    ['192.0.2.0/24 limit=1 limit=2', {}, 'BadRange', /one limit=N alone/, true],
    ['192.0.2.0/24 limit=0', {}, 'BadRange', /from 1 to 10000/, true],
    ['192.0.2.0/24 limit=10001', {}, 'BadRange', /from 1 to 10000/, true],
    ['192.0.2.0/24', { reachableBy: '192.0.2.1' }, 'NotForRanges', /reachableBy/, true],
    ['192.0.2.0/24', { peerIP: '192.0.2.1', asNumber: 65001 }, 'TwoPlaces', /peerIP is set too/, false],
    ['192.0.2.0/24', { peerSelector: 'all()' }, 'TwoPlaces', /peerSelector is set too/, false],
  ] as const
  for (const [text, spec, reason, message, keeps] of rows) {
    const { wanted, refused } = all({ config: noMesh, peers: [aRange('vms', text, spec)] })
    t.deepEqual(
      wanted.filter(({ group }) => group === 'outside').map(({ range, disabled }) => [range, disabled]),
      keeps ? [['192.0.2.0/24', true]] : [],
      text,
    )
    const found = refused.find(each => each.object?.name === 'vms')
    t.is(found?.reason, reason, text)
    t.regex(found!.message, message)
    t.true(found!.remedy.length > 0)
  }
  const both = aRange('vms', '192.0.2.0/24')
  Object.assign(both.metadata.annotations, { [BGP_ANNOTATION.interface]: 'eth1' })
  t.regex(all({ peers: [both] }).refused[0]!.message, /margay\.io\/Range is set too/)
})

test('of two BGPPeers with one prefix the narrower one has it, and the other one is told by name; prefixes in one another stand together', t => {
  const peers = [aRange('all', '192.0.2.0/24'), aRange('one', '192.0.2.0/24', { node: 'n1' })]
  const found = all({ config: noMesh, peers: [...peers, aRange('in', '192.0.2.128/25')] })
  t.deepEqual(found.wanted.map(({ name }) => name).sort(), ['Global_192_0_2_128_25', 'Node_192_0_2_0_24'])
  t.deepEqual(reasons(found), ['all AddressClash'])
  t.regex(found.refused[0]!.message, /BGPPeer one and BGPPeer all name the same peer range 192\.0\.2\.0\/24/)
})

test('a range that must not come up stays there, closed, so that a wider one takes nobody of it', t => {
  const wide = aRange('wide', '192.0.2.0/24')
  for (const spec of [withPassword('none'), { filters: ['missing'] }]) {
    const { peers, refused } = all({ config: noMesh, peers: [] })
    t.deepEqual(
      refused.map(({ reason }) => reason),
      ['NoPeers'],
    )
    peers.bgpPeer('wide', wide)
    peers.bgpPeer('narrow', aRange('narrow', '192.0.2.0/28', spec))
    t.deepEqual(rangesIn(peers.take()), ['range wide: 192.0.2.0/24', 'range narrow: 192.0.2.0/28 closed'])
  }
})

test('another prefix of a BGPPeer is a change of its range, also where it has a password, and without the BGPPeer it ends', t => {
  const { peers } = all({ config: noMesh, peers: [aRange('vms', '192.0.2.0/24', withPassword('s'))], passwords })
  peers.bgpPeer('vms', aRange('vms', '192.0.2.0/23', withPassword('s')))
  t.deepEqual(rangesIn(peers.take()), ['range vms: 192.0.2.0/23'])
  peers.bgpPeer('vms', aPeer('vms', { peerIP: '192.0.2.1', asNumber: 65001 }))
  const changes = peers.take()
  t.deepEqual(rangesIn(changes), ['range vms: gone'])
  t.is(changes[1]?.key, '192.0.2.1')
})

test('a range with a password that holds a node, a peer or a range without one is refused by name, until that has one or goes', t => {
  const vms = aRange('vms', '192.168.0.0/16', withPassword('s'))
  const { peers, wanted, refused } = all({ peers: [vms], passwords })
  t.deepEqual(
    wanted.filter(({ range }) => range !== undefined).map(({ disabled }) => disabled),
    [true],
  )
  t.deepEqual(reasons({ refused }), ['vms UnsignedInRange'])
  t.regex(
    refused[0]!.message,
    /192\.168\.0\.0\/16 have a password, and Mesh_192_168_10_10 with 192\.168\.10\.10 in it has none/,
  )
  const closedBy = (name: string, object: ReturnType<typeof aPeer>) => {
    const world = all({ config: noMesh, peers: [vms, object], passwords })
    return [rangesIn(world.peers.take()), reasons(world).filter(each => each.startsWith('vms')), name]
  }
  const of = (spec: object) => aPeer('tor', { peerIP: '192.168.7.1', asNumber: 65001, ...spec })
  t.deepEqual(closedBy('peer', of({})), [[], ['vms UnsignedInRange'], 'peer'])
  t.deepEqual(closedBy('signed peer', of(withPassword('s'))), [[], [], 'signed peer'])
  t.deepEqual(closedBy('closed peer', of(withPassword('none'))), [[], [], 'closed peer'])
  t.deepEqual(closedBy('range', aRange('in', '192.168.7.0/24')), [[], ['vms UnsignedInRange'], 'range'])
  t.deepEqual(closedBy('range around', aRange('around', '192.0.0.0/8')), [[], [], 'range around'])
  const ao = aPeer('tor', { peerIP: '192.168.7.1', asNumber: 65001 })
  ao.metadata.annotations = { [BGP_ANNOTATION.tcpAo]: '1=s/k' }
  t.deepEqual(closedBy('TCP-AO', ao), [[], ['vms UnsignedInRange'], 'TCP-AO'])

  peers.configure({ config: noMesh })
  t.deepEqual(rangesIn(peers.take()), ['range vms: 192.168.0.0/16'])
  t.false(reasons({ refused: peers.refused() }).some(each => each.startsWith('vms')))
  peers.bgpPeer('tor', of({}))
  t.deepEqual(rangesIn(peers.take()), ['range vms: 192.168.0.0/16 closed'])
  peers.bgpPeer('tor', undefined)
  t.deepEqual(rangesIn(peers.take()), ['range vms: 192.168.0.0/16'])
  t.deepEqual(rangesIn(peers.take()), [])
})

test('nodes, pods, and whoever an object names are no neighbours of a range, also where there must be no session with them', t => {
  const { peers } = all({
    peers: [
      aPeer('tor', { peerIP: '192.0.2.1', asNumber: 65001 }),
      aPeer('no-as', { peerIP: '192.0.2.2' }),
      aPeer('closed', { peerIP: '192.0.2.3', asNumber: 65001, filters: ['missing'] }),
      aPeer('others', { node: 'n2', peerIP: '192.0.2.4', asNumber: 65001 }),
    ],
  })
  const pools = [aPool('a', { cidr: '10.244.0.0/16' }), aPool('b', { cidr: '10.9.0.0/16', disabled: true })]
  const admits = newcomers({
    nodeWith: address => (address === '192.0.2.200' ? 'n9' : undefined),
    asksFor: address => peers.asksFor(address),
    pods: [...podRanges(pools), '10.9.1.0/26'],
  })
  for (const address of [
    '192.0.2.1',
    '192.0.2.2',
    '192.0.2.3',
    '192.168.10.10',
    '192.0.2.200',
    '10.244.3.4',
    '10.9.1.5',
  ])
    t.false(admits(address), address)
  for (const address of ['192.0.2.4', '192.0.2.9', '10.9.2.5', '2001:db8::9']) t.true(admits(address), address)
  for (const address of ['fe80::1', '127.0.0.1', '::1']) t.false(admits(address), address)
})

test('a range of a family of which the node has no address is told, until it has one', t => {
  const { peers, refused } = all({
    config: noMesh,
    peers: [aRange('six', '2001:db8::/64'), aRange('four', '192.0.2.0/24')],
  })
  t.deepEqual(reasons({ refused }), ['six NoAddressOfFamily'])
  peers.configure({ address: undefined, ipv6Address: '2001:db8::11' } as object)
  t.is(reasons({ refused: peers.refused() })[0], 'four NoAddressOfFamily')
})

test('a range of pods alone is told, as nobody can connect', t => {
  const pools = [aPool('a', { cidr: '10.244.0.0/16' }), aPool('b', { cidr: '10.9.0.0/16', disabled: true })]
  const ranges = new Map([
    ['in', '10.244.3.0/24'],
    ['around', '10.0.0.0/8'],
    ['disabled', '10.9.0.0/24'],
  ])
  t.deepEqual(reasons({ refused: rangesOfPods(ranges, pools) }), ['in RangeOfPods'])
})
