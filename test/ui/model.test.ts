// What the map shows of what nodes say.
import test from 'ava'
import { linksAt, mapOf, type NodeSnapshot, type SeenNode, snapshotOf } from '../../ui/model.ts'

const NOW = 1_700_000_000_000

function snapshot(node: string, more: Partial<NodeSnapshot> = {}): NodeSnapshot {
  return {
    ...{ node, atMs: NOW - 1_000, address: `192.0.2.${node.slice(1)}`, subnet: '192.0.2.0/24', ready: true },
    ...{ wrong: [], pods: [], podCount: 0, blocks: [], sessions: { up: 2, down: [], downCount: 0 }, paths: [] },
    ...more,
  }
}

const seen = (node: string, more: Partial<NodeSnapshot> = {}): SeenNode => ({ node, last: snapshot(node, more) })
const path = (node: string, state: NodeSnapshot['paths'][number]['state']) =>
  ({ node, state, encapsulation: 'vxlan', sinceMs: 0 }) as const

test('a node is ready, not ready or silent, and what it said last stays with its age', t => {
  const { nodes, counts } = mapOf(
    [
      seen('n2', { ready: false }),
      seen('n1', { podCount: 3 }),
      { node: 'n3', silent: 'refused', last: snapshot('n3') },
      { node: 'n4', silent: 'refused' },
    ],
    NOW,
    [],
  )
  t.deepEqual(
    nodes.map(({ name, state, ageMs, silent }) => [name, state, ageMs, silent]),
    [
      ['n1', 'ready', 1_000, undefined],
      ['n2', 'not ready', 1_000, undefined],
      ['n3', 'silent', 1_000, 'refused'],
      ['n4', 'silent', undefined, 'refused'],
    ],
  )
  t.deepEqual(counts, { ready: 1, notReady: 1, silent: 2, pods: 3, lost: 0 })
})

test('a link is as bad as the worse of its two ends says, whichever of them that is', t => {
  for (const [one, other] of [
    ['passes', 'lost'],
    ['lost', 'passes'],
  ] as const) {
    const { links } = mapOf(
      [seen('n1', { paths: [path('n2', one)] }), seen('n2', { paths: [path('n1', other)] })],
      NOW,
      [],
    )
    t.deepEqual(links, [{ from: 'n1', to: 'n2', way: 'vxlan', state: 'lost' }])
  }
})

test('a session that is down is a link with a fault, by the address of the other end; a path that nobody probes is none', t => {
  const down = [
    { name: 'n2', address: '192.0.2.2', state: 'Active', reason: 'timeout', detail: 'no answer', remedy: 'look' },
  ]
  const world = [
    seen('n1', { sessions: { up: 0, down, downCount: 1 }, paths: [path('n3', 'absent')] }),
    seen('n2'),
    seen('n3'),
  ]
  t.deepEqual(mapOf(world, NOW, []).links, [{ from: 'n1', to: 'n2', way: undefined, state: 'no session' }])
  t.is(mapOf(world, NOW, []).counts.lost, 1)
})

test('what a silent node said last of its links is no news, and nodes that nobody has seen have none', t => {
  const old = { node: 'n1', silent: 'refused', last: snapshot('n1', { paths: [path('n2', 'passes')] }) }
  t.deepEqual(mapOf([old, seen('n2', { paths: [path('n9', 'lost')] })], NOW, []).links, [])
})

test('the links of one node are its own alone', t => {
  const world = [
    seen('n1', { paths: [path('n2', 'passes')] }),
    seen('n2', { paths: [path('n3', 'passes')] }),
    seen('n3'),
  ]
  t.deepEqual(
    linksAt(world, 'n3').map(({ from, to }) => `${from}-${to}`),
    ['n2-n3'],
  )
})

test('of too many links those with a fault are told, and how many there are', t => {
  const count = 80
  const names = Array.from({ length: count }, (_, i) => `n${String(i + 1).padStart(2, '0')}`)
  const world = names.map(name =>
    seen(name, {
      paths: names
        .filter(each => each !== name)
        .map(each => path(each, name === 'n01' && each === 'n02' ? 'lost' : 'passes')),
    }),
  )
  const { links, linkCount } = mapOf(world, NOW, [])
  t.is(linkCount, (count * (count - 1)) / 2)
  t.deepEqual(links, [{ from: 'n01', to: 'n02', way: 'vxlan', state: 'lost' }])
})

test('a snapshot is small however much a node has, and of its paths those with a fault come first', t => {
  const peer = (i: number, state: string) => ({
    ...{ name: `n${i}`, address: `192.0.2.${i}`, type: 'node-to-node mesh', state, since: '', reason: '', detail: '' },
    ...{ remedy: '', flaps: 0, prefixes: { received: 0, accepted: 0, announced: 0 } },
  })
  const many = Array.from({ length: 1_000 }, (_, i) => i)
  const told = snapshotOf(
    {
      node: 'n1',
      ready: true,
      conditions: [{ type: 'A', status: 'True', reason: 'Ok', message: '', remedy: '' }],
      peers: many.map(i => peer(i, i < 900 ? 'Established' : 'Active')),
      endpoints: many.map(i => ({
        id: `${i}`,
        interface: 'cali',
        addresses: [],
        pod: { name: `p${i}`, namespace: 'default' },
      })),
    },
    [...many.map(i => path(`n${i}`, 'passes')), path('n2000', 'lost')],
    NOW,
  )
  t.deepEqual([told.sessions.up, told.sessions.downCount, told.sessions.down.length], [900, 100, 50])
  t.deepEqual([told.pods.length, told.podCount, told.wrong.length], [500, 1_000, 0])
  t.deepEqual([told.paths.length, told.paths[0]?.node], [64, 'n2000'])
})

test('a thousand nodes with 16 paths each are a map in well under a second', t => {
  const names = Array.from({ length: 1_000 }, (_, i) => `n${i}`)
  const world = names.map((name, i) =>
    seen(name, { paths: Array.from({ length: 16 }, (_, k) => path(names[(i + k + 1) % names.length]!, 'passes')) }),
  )
  const start = performance.now()
  const { linkCount } = mapOf(world, NOW, [])
  t.is(linkCount, 16_000)
  t.true(performance.now() - start < 1_000)
})
