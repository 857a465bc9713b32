// A cluster on paper: small topologies whose routes and faults can be worked out by hand.
import test, { type ExecutionContext } from 'ava'
import { carriers, eachLoss, linksOf, lossOf, type Report, reportOf } from '../../../agent/simulation/report.ts'
import { MOST_ENDS, simulate, TooLarge } from '../../../agent/simulation/simulation.ts'
import { type Gone, NOTHING_GONE, type Topology } from '../../../agent/simulation/topology.ts'
import { aResource } from '../../datastore/objects.ts'
import { aPeer, aRouter, aTopology, clos, dualTor, nodeAt, noMesh, pool } from './paper.ts'

async function report(t: ExecutionContext, topology: Topology): Promise<Report> {
  const simulation = await simulate(topology)
  t.teardown(() => simulation.close())
  return reportOf(simulation)
}

async function loss(t: ExecutionContext, topology: Topology, gone: Partial<Gone>) {
  const [before, after] = [await simulate(topology), await simulate(topology, { ...NOTHING_GONE, ...gone })]
  t.teardown(() => Promise.all([before.close(), after.close()]))
  return lossOf(before, after, ['it'])
}

/** `node prefix via through way`, sorted. */
const routesOf = ({ routes }: Report) =>
  routes.map(({ node, prefix, ways }) =>
    [node, prefix, ...ways.map(({ nextHop, through = '?', way }) => `${nextHop}=${through}/${way}`)].join(' '),
  )
const faults = ({ findings }: Report) => findings.map(({ severity, reason }) => `${severity} ${reason}`)

const three = [nodeAt('n1', '192.0.2.11/24'), nodeAt('n2', '192.0.2.12/24'), nodeAt('n3', '198.51.100.13/24')]

test('in a mesh each node has the blocks of all others, plainly in its subnet and through a tunnel elsewhere', async t => {
  const found = await report(t, aTopology({ Node: three, IPPool: [pool()] }))
  t.deepEqual(routesOf(found), [
    'n1 10.244.0.128/26 198.51.100.13=n3/ipip',
    'n1 10.244.0.64/26 192.0.2.12=n2/direct',
    'n2 10.244.0.0/26 192.0.2.11=n1/direct',
    'n2 10.244.0.128/26 198.51.100.13=n3/ipip',
    'n3 10.244.0.0/26 192.0.2.11=n1/ipip',
    'n3 10.244.0.64/26 192.0.2.12=n2/ipip',
  ])
  t.deepEqual(found.findings, [])
  t.deepEqual(found.sessions, { up: 3, down: 0 })
  t.is(found.routes[0]!.why, 'the only path, from Mesh_198_51_100_13')
})

test('VXLAN leads to the node although nobody wrote down the ends of its tunnel', async t => {
  const vxlan = pool({ ipipMode: 'Never', vxlanMode: 'Always' })
  const found = await report(t, aTopology({ Node: three, IPPool: [vxlan] }))
  t.is(routesOf(found)[1], 'n1 10.244.0.64/26 192.0.2.12=n2/vxlan')
  t.deepEqual(found.findings, [])
})

test('without a tunnel a next hop in another subnet is no way, and the remedy says so', async t => {
  const found = await report(t, aTopology({ Node: three, IPPool: [pool({ ipipMode: 'Never' })] }))
  t.true(faults(found).every(each => each === 'fault NextHopNotOnLink'))
  const message = /n1, n2 have no way to 10\.244\.0\.128\/26 of n3: next hop 198\.51\.100\.13 is in no subnet/
  t.regex(found.findings.map(each => each.message).join('\n'), message)
  t.regex(found.findings[0]!.remedy, /CrossSubnet/)
})

test('with two top-of-rack routers nodes use both, the loss of one moves routes, and that of the spine cuts the racks', async t => {
  const found = await report(t, dualTor())
  t.deepEqual(found.findings, [])
  const [far] = found.routes.filter(({ node, of }) => node === 'a1' && of === 'b1')
  t.deepEqual(
    far!.ways.map(({ through, way }) => `${through} ${way}`),
    ['tor-a1 direct', 'tor-a2 direct'],
  )
  t.is(far!.why, '2 equal paths of 2, AS path 65101 65200 65102 65002')
  const tor = await loss(t, dualTor(), { machines: new Set(['tor-a1']) })
  t.deepEqual(tor.cutOff, [])
  t.true(tor.changes.length > 0 && tor.changes.every(({ node, change }) => node.startsWith('a') && change === 'moved'))
  const spine = await loss(t, dualTor(), { machines: new Set(['spine']) })
  t.is(spine.cutOff.length, 8, 'four nodes, each from the two of the other rack')
  const switched = await loss(t, dualTor(), { links: new Set(['192.0.2.0/24']) })
  t.is(switched.cutOff.length, 2 * 3 + 2 * 2, 'its nodes reach nobody, and nobody them')
  const cable = await loss(t, dualTor(), { ends: [{ machine: 'tor-a1', link: '192.0.2.0/24' }] })
  t.deepEqual(cable.cutOff, [])
})

test('the loss of each router is looked at, of each node that passes routes on, and of each link: on others nobody depends', async t => {
  const topology = dualTor()
  const before = await simulate(topology)
  t.teardown(() => before.close())
  const names = carriers(before)
  t.deepEqual(names, ['spine', 'tor-a1', 'tor-a2', 'tor-b1', 'tor-b2'])
  const told: number[] = []
  const losses = await eachLoss(topology, before, { machines: names }, done => told.push(done))
  const cutting = (of: typeof losses) => of.filter(({ cutOff }) => cutOff.length > 0).map(({ without }) => without)
  t.deepEqual(cutting(losses), [['spine']])
  t.deepEqual(told, [1, 2, 3, 4, 5])
  const links = linksOf(topology)
  t.deepEqual(links, ['10.0.0.2/31', '10.0.0.4/31', '10.0.0.6/31', '10.0.0.8/31', '192.0.2.0/24', '192.0.3.0/24'])
  t.deepEqual(cutting(await eachLoss(topology, before, { links }, () => undefined)), [
    ['192.0.2.0/24'],
    ['192.0.3.0/24'],
  ])
})

test('an address without a subnet is no link', t => {
  t.deepEqual(linksOf(aTopology({ Node: [nodeAt('n1', '192.0.2.11/32'), nodeAt('n2', '192.0.2.12/24')] })), [
    '192.0.2.0/24',
  ])
})

test('on thousands of equal ways each machine is looked at once', async t => {
  const simulation = await simulate(clos(8, 3))
  t.teardown(() => simulation.close())
  t.is(simulation.machines.get('n0')!.hops('10.244.0.64/26').length, 3)
  let asked = 0
  for (const machine of simulation.machines.values()) {
    const hops = machine.hops.bind(machine)
    machine.hops = prefix => {
      asked++
      return hops(prefix)
    }
  }
  for (const prefix of ['10.244.0.0/26', '10.244.0.64/26'])
    for (const from of ['n0', 'n7']) t.is(simulation.deadEnd(from, prefix), undefined)
  t.is(asked, 2 * (8 * 3 + 1))
})

test('nodes of one rack that do not take their own AS number do not reach each other, and it is said why', async t => {
  const found = await report(t, dualTor({ allow: 0 }))
  t.deepEqual([...new Set(faults(found))], ['fault ASLoop'])
  t.regex(found.findings[0]!.message, /its own AS number is in the path that it hears, 65101 65001/)
  t.regex(found.findings[0]!.remedy, /ASNumberLabel.*numAllowedLocalASNumbers/)
})

const reflected = (reflectors: readonly string[]) =>
  aTopology({
    Node: [
      ...['r1', 'r2'].map((name, i) =>
        nodeAt(name, `192.0.2.${1 + i}/24`, {
          ...(reflectors.includes(name) && { labels: { rr: 'yes' }, clusterId: '224.0.0.1' }),
        }),
      ),
      ...['n1', 'n2', 'n3'].map((name, i) => nodeAt(name, `192.0.2.${11 + i}/24`)),
    ].filter(({ metadata: { name } }) => name.startsWith('n') || reflectors.includes(name)),
    BGPConfiguration: [noMesh()],
    BGPPeer: [aPeer('rr', { nodeSelector: 'all()', peerSelector: "rr == 'yes'" })],
    IPPool: [pool()],
  })

test('of two reflectors one may go; of one everything depends, and it is told as a risk before it goes', async t => {
  const two = await report(t, reflected(['r1', 'r2']))
  t.deepEqual(two.findings, [])
  const gone = await loss(t, reflected(['r1', 'r2']), { machines: new Set(['r1']) })
  t.deepEqual(gone.cutOff, [])
  t.deepEqual(
    gone.changes.map(({ node, change }) => `${node} ${change}`),
    ['r2 lost', 'n1 lost', 'n2 lost', 'n3 lost'],
    'the block of the reflector itself',
  )
  const one = await report(t, reflected(['r1']))
  t.deepEqual(faults(one), ['risk SinglePeer'])
  t.deepEqual([...one.findings[0]!.machines], ['n1', 'n2', 'n3'])
  const all = await loss(t, reflected(['r1']), { machines: new Set(['r1']) })
  t.is(all.cutOff.length, 6)
})

test('a filter of one side cuts one direction, which is named with the rule', async t => {
  const rules = [{ action: 'Reject', cidr: '10.244.0.64/26', matchOperator: 'Equal' }]
  const filter = aResource('BGPFilter', { metadata: { name: 'f' }, spec: { importV4: rules } })
  const peer = aPeer('f', {
    node: 'n1',
    peerSelector: "kubernetes.io/hostname == 'n2'",
    filters: ['f'],
    reversePeering: 'Manual',
  })
  const back = aPeer('g', { node: 'n2', peerSelector: "kubernetes.io/hostname == 'n1'", reversePeering: 'Manual' })
  const labels = (name: string) => ({ labels: { 'kubernetes.io/hostname': name } })
  const Node = [nodeAt('n1', '192.0.2.11/24', labels('n1')), nodeAt('n2', '192.0.2.12/24', labels('n2'))]
  const found = await report(t, aTopology({ Node, BGPFilter: [filter], BGPPeer: [peer, back], IPPool: [pool()] }))
  t.deepEqual(faults(found), ['fault AsymmetricFilter'])
  t.regex(
    found.findings[0]!.message,
    /^n1 has no way to 10\.244\.0\.64\/26 of n2: import refuses it, .*; the way back works/,
  )
})

for (const [title, neighbor, peer, reason, message] of [
  ['other AS numbers than the other end has', { asNumber: 65009 }, {}, 'WrongAS', /AS/],
  ['a router that does not know the node', undefined, {}, 'OneSided', /tor has no session with n1/],
  [
    'an address that nobody has',
    { asNumber: 64512 },
    { peerIP: '192.0.2.99' },
    'NobodyThere',
    /no machine of the topology has 192\.0\.2\.99/,
  ],
  ['a password of one end alone', { asNumber: 64512, password: { name: 's', key: 'k' } }, {}, 'Timeout', /passwords/],
] as const)
  test(`a session that never comes up is told with its cause and a remedy: ${title}`, async t => {
    const neighbors = neighbor === undefined ? [] : [{ address: '192.0.2.11', ...neighbor }]
    const tor = aRouter('tor', { asNumber: 65001, addresses: ['192.0.2.1/24'], neighbors })
    const Node = [nodeAt('n1', '192.0.2.11/24')]
    const BGPPeer = [aPeer('tor', { peerIP: '192.0.2.1', asNumber: 65001, ...peer })]
    const found = await report(t, aTopology({ Node, BGPPeer, IPPool: [pool()] }, [tor]))
    const finding = found.findings.find(each => each.reason === reason)
    t.regex(finding?.message ?? JSON.stringify(found.findings), message)
    t.true((finding?.remedy ?? '').length > 10)
  })

test('where packets end at another machine, the finding says at which', async t => {
  const router = aRouter('r', {
    ...{ asNumber: 65101, addresses: ['192.0.2.1/24'], networks: ['10.244.0.0/16'] },
    neighbors: [{ address: '192.0.2.11', asNumber: 64512 }],
  })
  const objects = {
    Node: [nodeAt('n1', '192.0.2.11/24'), nodeAt('n2', '192.0.2.12/24')],
    ...{ BGPConfiguration: [noMesh()], IPPool: [pool()] },
    BGPPeer: [aPeer('r', { node: 'n1', peerIP: '192.0.2.1', asNumber: 65101 })],
  }
  const { findings } = await report(t, aTopology(objects, [router]))
  const messages = findings.filter(({ reason }) => reason === 'Partition').map(({ message }) => message)
  t.deepEqual(messages, [
    'n2 has no way to 10.244.0.0/26 of n1: nobody announces it there',
    'n1 has no way to 10.244.0.64/26 of n2: packets get as far as r: nobody announces it there',
  ])
})

test('what disableBGPExport of a pool keeps back is told with the pool, and through tunnels it is nothing between nodes with sessions', async t => {
  const [vxlan, plain] = [{ ipipMode: 'Never', vxlanMode: 'Always' }, { ipipMode: 'Never' }]
  const inside = (spec: object) => [pool({ ...spec, disableBGPExport: true })]
  for (const spec of [vxlan, {}])
    t.deepEqual((await report(t, aTopology({ Node: three, IPPool: inside(spec) }))).findings, [])
  const racks = dualTor()
  const withPool = (spec: object): Topology => {
    const pools = inside(spec)
    return { ...racks, all: kind => (kind === 'IPPool' ? pools : racks.all(kind)) as never }
  }
  for (const [topology, message, remedy] of [
    [aTopology({ Node: three, IPPool: inside(plain) }), /IPPool p .* told to nobody$/, /vxlanMode/],
    [withPool(plain), /IPPool p .* told to nobody$/, /vxlanMode/],
    [withPool(vxlan), /IPPool p .* to nodes alone$/, /mesh/],
  ] as const) {
    const { findings } = await report(t, topology)
    t.deepEqual(
      findings.map(({ reason }) => reason),
      ['NotExported'],
    )
    t.regex(findings[0]!.message, message)
    t.regex(findings[0]!.remedy, remedy)
  }
})

test('a router outside that draws packets in for a pool that it may not hear of ends them, and no filter is blamed', async t => {
  const router = aRouter('r', {
    ...{ asNumber: 65101, addresses: ['192.0.2.1/24'], networks: ['0.0.0.0/0'] },
    neighbors: ['192.0.2.11', '192.0.2.12'].map(address => ({ address, asNumber: 64512 })),
  })
  const filter = aResource('BGPFilter', { metadata: { name: 'f' }, spec: { importV4: [{ action: 'Accept' }] } })
  const objects = {
    Node: [nodeAt('n1', '192.0.2.11/24'), nodeAt('n2', '192.0.2.12/24')],
    ...{ BGPConfiguration: [noMesh()], BGPFilter: [filter] },
    IPPool: [pool({ ipipMode: 'Never', vxlanMode: 'CrossSubnet', disableBGPExport: true })],
    BGPPeer: [aPeer('r', { peerIP: '192.0.2.1', asNumber: 65101, filters: ['f'] })],
  }
  const { findings } = await report(t, aTopology(objects, [router]))
  t.deepEqual(
    [...new Set(findings.map(({ severity, reason }) => `${severity} ${reason}`))],
    ['fault NotExported', 'risk SinglePeer'],
  )
  t.regex(findings[0]!.message, /packets get as far as r: IPPool p has disableBGPExport/)
})

test('nodes without a session between them are parted, and a router between two subnets that is gone ends their sessions', async t => {
  const Node = [nodeAt('n1', '192.0.2.11/24'), nodeAt('n2', '198.51.100.12/24')]
  const parted = await report(t, aTopology({ Node, BGPConfiguration: [noMesh()], IPPool: [pool()] }))
  t.true(faults(parted).includes('fault Partition'))
  const between = aRouter('r', { asNumber: 65001, addresses: ['192.0.2.1/24', '198.51.100.1/24'] })
  const topology = aTopology({ Node, IPPool: [pool()] }, [between])
  t.deepEqual((await report(t, topology)).findings, [])
  const gone = await loss(t, topology, { machines: new Set(['r']) })
  t.deepEqual(
    gone.cutOff.map(({ from, to }) => `${from} ${to}`),
    ['n2 n1', 'n1 n2'],
  )
})

test('routers of a range dial the nodes, and a node or a router with a BGPPeer of its own is none of them', async t => {
  const vms = aPeer('vms', { asNumber: 65010 })
  Object.assign(vms.metadata, { annotations: { 'margay.io/Range': '192.0.2.0/24' } })
  const tor = aPeer('tor', { peerIP: '192.0.2.3', asNumber: 65003 })
  const vm = (name: string, asNumber: number, i: number) =>
    aRouter(name, {
      ...{ asNumber, addresses: [`192.0.2.${i}/24`], networks: [`10.244.128.${i * 16}/28`] },
      neighbors: [{ address: '192.0.2.11', asNumber: 64512 }],
    })
  const Node = three.slice(0, 2)
  const routers = [vm('vm1', 65010, 1), vm('vm2', 65010, 2), vm('tor', 65003, 3), vm('stranger', 65009, 4)]
  const found = await report(t, aTopology({ Node, BGPPeer: [vms, tor], IPPool: [pool()] }, routers))
  t.deepEqual(
    routesOf(found).filter(each => each.startsWith('n1 10.244.128')),
    [
      'n1 10.244.128.16/28 192.0.2.1=vm1/direct',
      'n1 10.244.128.32/28 192.0.2.2=vm2/direct',
      'n1 10.244.128.48/28 192.0.2.3=tor/direct',
    ],
  )
  t.true(found.findings.some(({ reason, machines }) => reason === 'WrongAS' && machines.includes('stranger')))
})

test('a session by an interface is said to be left out, and is no fault', async t => {
  const annotations = { 'margay.io/Interface': 'eth1' }
  const unnumbered = aResource('BGPPeer', { metadata: { name: 'u', annotations }, spec: { asNumber: 65001 } })
  const found = await report(t, aTopology({ Node: three.slice(0, 1), BGPPeer: [unnumbered], IPPool: [pool()] }))
  t.deepEqual(faults(found), ['risk NotSimulated'])
})

test('a block of an IPAMBlock counts, and the others get the next free ones', async t => {
  const block = aResource('IPAMBlock', {
    metadata: { name: '10-244-0-0-26' },
    spec: { cidr: '10.244.0.0/26', affinity: 'host:n2', allocations: [], unallocated: [], attributes: [] },
  })
  const found = await report(t, aTopology({ Node: three.slice(0, 2), IPAMBlock: [block], IPPool: [pool()] }))
  t.deepEqual(routesOf(found), ['n1 10.244.0.0/26 192.0.2.12=n2/direct', 'n2 10.244.0.64/26 192.0.2.11=n1/direct'])
})

test('more sessions than a simulation takes are refused before they eat all memory', async t => {
  const many = Array.from({ length: Math.ceil(Math.sqrt(MOST_ENDS)) + 2 }, (_, i) =>
    nodeAt(`n${i}`, `10.0.${i >> 8}.${i & 255}/16`),
  ).slice(1)
  await t.throwsAsync(simulate(aTopology({ Node: many, IPPool: [pool()] })), { instanceOf: TooLarge })
})

/** Numbers in [0, 1) that a seed gives again (mulberry32). */
function randoms(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let value = Math.imul(state ^ (state >>> 15), 1 | state)
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32
  }
}

for (const seed of [1, 2, 3, 4, 5, 6])
  test(`what a simulation says does not depend on the order of the objects, and a mesh lacks nothing: ${seed}`, async t => {
    const random = randoms(seed)
    const shuffled = <T>(items: readonly T[]): T[] =>
      items
        .map(item => [random(), item] as const)
        .sort(([a], [b]) => a - b)
        .map(([, item]) => item)
    const Node = Array.from({ length: 2 + Math.floor(random() * 4) }, (_, i) =>
      nodeAt(`n${i}`, `192.0.${2 + Math.floor(random() * 2)}.${11 + i}/24`),
    )
    const IPPool = [pool({ ipipMode: random() < 0.5 ? 'Always' : 'CrossSubnet' })]
    const mesh = random() < 0.5
    const BGPConfiguration = mesh ? [] : [noMesh()]
    const reflectors = mesh ? [] : ['n0']
    const labelled = Node.map(node =>
      reflectors.includes(node.metadata.name)
        ? nodeAt('n0', '192.0.2.11/24', { labels: { rr: 'yes' }, clusterId: '224.0.0.1' })
        : node,
    )
    const BGPPeer = mesh ? [] : [aPeer('rr', { peerSelector: "rr == 'yes'" })]
    const objects = { IPPool, BGPConfiguration, BGPPeer }
    const sorted = (found: Report) => ({ ...found, routes: routesOf(found).sort(), findings: faults(found).sort() })
    const first = sorted(await report(t, aTopology({ ...objects, Node: labelled })))
    t.deepEqual(sorted(await report(t, aTopology({ ...objects, Node: shuffled(labelled) }))), first)
    t.deepEqual(
      first.findings.filter(each => each.startsWith('fault')),
      [],
    )
    t.is(first.routes.length, Node.length * (Node.length - 1))
  })
