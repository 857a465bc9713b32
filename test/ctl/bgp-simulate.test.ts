// `bgp simulate` as people call it: files in, text or JSON out, exit codes.
import { readFileSync } from 'node:fs'
import test from 'ava'
import { runHere } from './run.ts'

const node = (name: string, address: string) => ({
  ...{ apiVersion: 'v1', kind: 'Node' },
  metadata: { name, annotations: { 'projectcalico.org/IPv4Address': address } },
})
const pool = {
  ...{ apiVersion: 'projectcalico.org/v3', kind: 'IPPool', metadata: { name: 'p' } },
  spec: { cidr: '10.244.0.0/16', ipipMode: 'CrossSubnet' },
}
const router = (name: string, spec: object) => ({
  ...{ apiVersion: 'simulation.margay.io/v1', kind: 'Router', metadata: { name } },
  spec: { asNumber: 65001, addresses: ['192.0.2.1/24', '198.51.100.1/24'], ...spec },
})
const run = (items: readonly object[], ...words: string[]) =>
  runHere(['bgp', 'simulate', '-f', '-', ...words], items.map(each => JSON.stringify(each)).join('\n---\n'))

const two = [node('n1', '192.0.2.11/24'), node('n2', '198.51.100.12/24'), pool]

test('it prints routes, what is wrong, and exits with 0 where nothing is', async t => {
  const { code, out, err } = await run(two)
  t.is(err, '')
  t.is(code, 0)
  t.is(
    out,
    `2 nodes, 0 routers, 1 session up

NODE  PREFIX          OF  NEXT HOP                 WHY
n1    10.244.0.64/26  n2  198.51.100.12 (n2) ipip  the only path, from Mesh_198_51_100_12
n2    10.244.0.0/26   n1  192.0.2.11 (n1) ipip     the only path, from Mesh_192_0_2_11

Nothing is wrong on paper.
`,
  )
})

test('--node and --prefix choose routes, and -o json has all of them as values', async t => {
  const one = JSON.parse((await run(two, '--node', 'n2', '-o', 'json')).out)
  const ways = [{ nextHop: '192.0.2.11', through: 'n1', way: 'ipip' }]
  t.like(one, { nodes: 2, sessions: { up: 1, down: 0 }, routes: { 0: { node: 'n2', of: 'n1', ways }, length: 1 } })
  const { routes } = JSON.parse((await run(two, '--prefix', '10.244.0.64/26', '-o', 'json')).out)
  t.deepEqual(
    routes.map((each: { node: string }) => each.node),
    ['n1'],
  )
})

test('--without tells what a loss changes, --each whom it cuts off, and both exit with 1 where somebody is', async t => {
  const objects = [...two, router('r', {})]
  const gone = await run(objects, '--without', 'r')
  t.is(gone.code, 1)
  t.regex(gone.out, /Without r: 2 routes lost, 0 moved, 0 restored; n2, n1 cut off from n1, n2\n\nNODE +PREFIX +CHANGE/)
  const each = await run(objects, '--each')
  t.is(each.code, 1)
  t.regex(each.out, /Without r: 2 routes lost.*\n$/)
  t.regex(each.err, /1 of 1 losses/)
  const link = await run(objects, '--each-link')
  t.is(link.code, 1)
  t.regex(link.out, /\nWithout 192\.0\.2\.0\/24: .*; n2, n1 cut off from n1, n2\n\nWithout 198/)
  t.notRegex(link.out, /Without r:|nobody depends/)
  const end = await run(objects, '--without', 'n1@192.0.2.0/24')
  t.is(end.code, 1)
  const none = await run(two, '--each')
  t.is(none.code, 0)
  t.regex(none.out, /nobody depends on another one/)
})

test('what no route depends on is passed over, and said to be', async t => {
  const policy = {
    ...{ apiVersion: 'projectcalico.org/v3', kind: 'GlobalNetworkPolicy', metadata: { name: 'p' }, spec: {} },
  }
  const { code, err } = await run([...two, policy])
  t.is(code, 0)
  t.regex(err, /passed over, since no route depends on them: 1 GlobalNetworkPolicy/)
})

test('addresses are the same however they are written', async t => {
  const annotations = {
    'projectcalico.org/IPv4Address': '192.0.2.11/24',
    'projectcalico.org/IPv6Address': '2001:DB8::11/64',
  }
  const peer = {
    ...{ apiVersion: 'projectcalico.org/v3', kind: 'BGPPeer', metadata: { name: 'r' } },
    spec: { peerIP: '2001:db8::1', asNumber: 65001 },
  }
  const r = router('r', {
    addresses: ['192.0.2.1/24', '2001:0DB8:0::1/64'],
    neighbors: [{ address: '2001:Db8::11', asNumber: 64512 }],
  })
  const { code, out } = await run([{ ...node('n1', ''), metadata: { name: 'n1', annotations } }, peer, r])
  t.regex(out, /1 node, 1 router, 1 session up\n/)
  t.is(code, 0)
})

test('a Node whose annotation is no address is told, and has no session', async t => {
  const { code, out } = await run([...two, node('n3', 'banana')])
  t.is(code, 1)
  t.regex(out, /fault +BadAnnotation +annotation projectcalico\.org\/IPv4Address is "banana"/)
})

for (const [title, items, words, message] of [
  ['no node', [pool], [], /has no Node/],
  ['two machines of one name', [...two, router('n1', {})], [], /two machines are called n1/],
  [
    'two machines of one address',
    [...two, router('r', { addresses: ['192.0.2.11/24'] })],
    [],
    /n1 and Router r both have 192\.0\.2\.11/,
  ],
  [
    'two routers of one address',
    [...two, router('r', {}), router('s', { addresses: ['198.51.100.1/24'] })],
    [],
    /Router s both have 198\.51\.100\.1/,
  ],
  [
    'an address without a mask',
    [...two, router('r', { addresses: ['192.0.2.1'] })],
    [],
    /spec\.addresses\.0: is no address with a mask/,
  ],
  ['a word that routers do not have', [...two, router('r', { neighbours: [] })], [], /neighbours/],
  [
    'a neighbour of two kinds',
    [...two, router('r', { neighbors: [{ asNumber: 1, address: '192.0.2.9', range: '192.0.2.0/24' }] })],
    [],
    /either an address or a range/,
  ],
  ['an unknown machine', two, ['--without', 'n9'], /--without n9: the topology has no such machine/],
  ['an unknown node', two, ['--node', 'n9'], /the topology has no Node n9/],
] as const)
  test(`a topology that cannot be meant is refused, and what is wrong with it is named: ${title}`, async t => {
    const { code, err } = await run(items, ...words)
    t.is(code, 2)
    t.regex(err, message)
  })

test('the example of the documentation prints what stands there', async t => {
  const text = readFileSync(new URL('../../docs/bgp-simulate.md', import.meta.url), 'utf8')
  const [, topology = ''] = /<!-- test: rack -->\n```yaml\n(.*?)```/s.exec(text) ?? []
  const [, output = ''] = /<!-- output: rack -->\n```\n(.*?)```/s.exec(text) ?? []
  const { code, out } = await runHere(['bgp', 'simulate', '-f', '-', '--each'], topology)
  t.is(out, output)
  t.is(code, 1, 'tor-b alone leads to its rack')
})
