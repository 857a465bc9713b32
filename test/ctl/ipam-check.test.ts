// `ipam check` of nodes: what blocks and nodes say is compared in the version that both have, and the report is taken back by
// `ipam release`. What nodes write is played here.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { agentRoutes } from '../../agent/socket/routes.ts'
import { serveSocket } from '../../agent/socket/server.ts'
import type { AddressesAnswer, AddressLine } from '../../api/answers.ts'
import type { Resource } from '../../api/kinds.ts'
import type { Context, Options } from '../../ctl/command.ts'
import { ipamCheck } from '../../ctl/ipam-check.ts'
import { allocationsOf, differences, type NodeAnswer } from '../../ctl/ipam-compare.ts'
import { leaksOf, type Report } from '../../ctl/ipam-report.ts'
import type { PodExec } from '../../datastore/exec.ts'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import { silentLog } from '../../lib/log.ts'
import { aBlock, aNode, aPool, aResource } from '../datastore/objects.ts'
import { runHere } from './run.ts'

const SEQUENCE = 1_800_000_000_000_000_001n
const web = { handle_id: 'net.c1.eth0', secondary: { pod: 'web', namespace: 'shop', node: 'n1', timestamp: 'then' } }
/** Two addresses of n1, the first of which the pod `web` holds. */
const half = (spec: object = {}) =>
  aBlock('10.244.0.8/31', {
    ...{ allocations: [0, null], unallocated: [1], attributes: [web], sequenceNumber: SEQUENCE },
    ...{ sequenceNumberForAllocation: { 0: SEQUENCE }, ...spec },
  })
const held = {
  address: '10.244.0.8',
  block: '10.244.0.8/31',
  handle: 'net.c1.eth0',
  use: 'pod',
  owner: 'shop/web',
} as const

const NO_SERVICES = new Map<string, unknown>()

function anAnswer(part: Partial<NodeAnswer> = {}): Map<string, NodeAnswer> {
  const blocks = new Map([['10.244.0.8/31', SEQUENCE]])
  return new Map([['n1', { blocks, addresses: [held], findings: [], looked: 1, unlooked: [], ...part }]])
}

const told = (block: Resource<'IPAMBlock'>, part?: Partial<NodeAnswer>) =>
  differences([block], anAnswer(part)).map(({ fault }) => fault)

test('a block and its node that say the same differ in nothing, nor what the node has not published yet', t => {
  t.deepEqual(told(half()), [])
  t.deepEqual(told(half(), { blocks: new Map([['10.244.0.8/31', SEQUENCE + 1n]]), addresses: [] }), [])
  t.deepEqual(differences([half()], new Map()), [], 'nobody asked the node')
})

test('of one version, each address of which a block and its node say another thing is named', t => {
  t.deepEqual(told(half(), { addresses: [] }), ['says that 10.244.0.8 is of net.c1.eth0, and node n1 that it is free'])
  t.deepEqual(told(half(), { addresses: [held, { ...held, address: '10.244.0.9', handle: 'x' }] }), [
    'says that 10.244.0.9 is free, and node n1 that it is of x',
  ])
  t.deepEqual(told(half(), { addresses: [{ ...held, handle: 'x' }] }), [
    'says that 10.244.0.8 is of net.c1.eth0, and node n1 that it is of x',
  ])
})

test('a block that its node does not have, and one that somebody else wrote, are faults', t => {
  t.deepEqual(told(half(), { blocks: new Map() }), ['belongs to node n1, whose agent does not have it'])
  t.deepEqual(told(half({ sequenceNumber: SEQUENCE + 1n })), ['was written by somebody else after node n1 wrote it'])
})

test('an address is leaked only where its node says so, or is gone; else the report says what uses it, or why nobody can tell', t => {
  const of = (answers: Map<string, NodeAnswer>, nodes = ['n1']) => {
    const [first] = allocationsOf([half()], new Set(nodes), answers, NO_SERVICES)
    return [first!.inUse, first!.owners]
  }
  t.deepEqual(of(anAnswer()), [true, ['Workload(shop/web)']])
  t.deepEqual(of(new Map()), [true, ['unknown: Node(n1) was not asked']])
  t.deepEqual(of(new Map(), []), [false, []])
  t.deepEqual(of(anAnswer({ addresses: [{ ...held, use: 'nobody', owner: '' }] })), [false, []])
  t.deepEqual(of(anAnswer({ addresses: [{ ...held, use: 'tunnel', owner: 'vxlanTunnelAddress' }] })), [
    true,
    ['Node(n1)'],
  ])
  const later = new Map([['10.244.0.8/31', SEQUENCE + 1n]])
  t.deepEqual(of(anAnswer({ blocks: later, addresses: [] })), [true, ['Node(n1): not published yet']])
  t.deepEqual(of(anAnswer({ addresses: [] })), [false, []], 'and the block is published')
  const nobody = anAnswer({ addresses: [{ ...held, use: 'nobody', owner: '' }] })
  const lent = half({ attributes: [{ ...web, secondary: { ...web.secondary, node: 'n2' } }] })
  const ofLent = (nodes: string[]) => allocationsOf([lent], new Set(nodes), nobody, NO_SERVICES)[0]
  t.like(ofLent(['n1', 'n2']), { inUse: true, owners: ['unknown: Node(n2) may have it, in a block of n1'] })
  t.like(ofLent(['n1']), { inUse: false, borrowed: true }, 'that node is gone')
  const [allocation] = allocationsOf([half()], new Set(['n1']), anAnswer(), NO_SERVICES)
  t.deepEqual(allocation, {
    ...{
      ip: '10.244.0.8',
      handle: 'net.c1.eth0',
      pod: 'web',
      namespace: 'shop',
      node: 'n1',
      creationTimestamp: 'then',
    },
    ...{ sequenceNumber: SEQUENCE, inUse: true, owners: ['Workload(shop/web)'] },
  })
})

const answer: AddressesAnswer = {
  ...{ node: 'n1', blocks: [{ cidr: '10.244.0.8/31', sequence: String(SEQUENCE) }], addresses: [held] },
  ...{ findings: [], looked: 1, unlooked: [] },
}
const linesOf = ({ blocks, addresses, findings, unlooked, node, looked }: AddressesAnswer): AddressLine[] => [
  ...blocks.map(block => ({ block })),
  ...addresses.map(address => ({ address })),
  ...findings.map(finding => ({ finding })),
  ...unlooked.map(id => ({ unlooked: id })),
  { node, looked },
]

/** A cluster with the node n1, whose agent writes `lines`. */
async function cluster(lines: readonly object[], change?: (store: FakeStore) => Promise<unknown>) {
  const store = createFakeStore()
  await store.create('IPPool', aPool('p1'))
  await store.create('Node', aNode('n1'))
  await store.create('IPAMBlock', half())
  const info = {
    metadata: { name: 'default' },
    spec: { clusterGUID: 'guid', clusterType: 'k8s', datastoreReady: true },
  }
  await store.create('ClusterInformation', aResource('ClusterInformation', info))
  const said = { out: '', err: '' }
  const say = (where: 'out' | 'err') => (text: string) => {
    said[where] += text
  }
  const asked: string[][] = []
  const exec: PodExec = async ({ command }, take) => {
    asked.push([...command])
    await change?.(store)
    for (const line of lines) take('out', Buffer.from(`${JSON.stringify(line)}\n`))
    return { ended: Promise.resolve(undefined), close: () => undefined }
  }
  const pod = {
    metadata: { name: 'agent', ownerReferences: [{ kind: 'DaemonSet', name: 'margay-node', controller: true }] },
    spec: { nodeName: 'n1' },
    status: { conditions: [{ type: 'Ready', status: 'True' }] },
  }
  const context = {
    ...{
      store: async () => store,
      exec: async () => exec,
      objects: async () => ({ read: async () => ({ items: [pod] }) }),
    },
    ...{ out: say('out'), err: say('err') },
  } as unknown as Context
  const base = { output: 'json', timeout: '10', margayNamespace: 'kube-system', all: true }
  const run = (options: Options = {}) => ipamCheck([], { ...base, ...options }, context)
  return { store, said, asked, run }
}

test('--all asks each node once, and a sound cluster has exit code 0 and a report under calicoctl’s names', async t => {
  const it = await cluster(linesOf(answer))
  t.is(await it.run(), 0)
  t.deepEqual(it.asked, [['/usr/bin/node', '/opt/margay/margayctl.js', '__ipam-check']])
  const report = JSON.parse(it.said.out) as Report
  const revision = (await it.store.get('ClusterInformation', 'default')).metadata.resourceVersion
  t.like(report, {
    ...{ clusterGUID: 'guid', clusterType: 'k8s', clusterInformationRevision: revision, datastoreLocked: false },
    ...{ faults: [], asked: ['n1'], unasked: [], looked: 1, pools: 1, blocks: 1, nodes: 1 },
  })
  t.like(report.allocations['10.244.0.8']![0], { inUse: true, owners: ['Workload(shop/web)'] })
})

test('what a node finds is a fault with its name, and the exit code is 1', async t => {
  const finding = {
    object: { kind: 'Link', name: 'cali1' },
    fault: 'belongs to no pod',
    remedy: 'delete it',
    addresses: [],
  }
  const it = await cluster(linesOf({ ...answer, findings: [finding] }))
  t.is(await it.run({ output: 'table' }), 1)
  t.is(
    it.said.out,
    'OBJECT      FAULT                       REMEDY\nLink cali1  node n1: belongs to no pod  delete it\n',
  )
})

test('a node whose answer is cut, and a pod that was not looked at, are named, and the exit code is 1', async t => {
  const cut = await cluster(linesOf(answer).slice(0, -1))
  t.is(await cut.run({ output: 'table' }), 1)
  t.is(cut.said.err, 'node n1 is not asked: its answer is not whole\n')
  const silent = await cluster(linesOf(answer))
  await silent.store.create('Node', aNode('n3'))
  t.is(await silent.run({ output: 'table' }), 1)
  t.is(silent.said.err, 'node n3 is not asked: it has no pod of margay-node\n')
  const busy = await cluster(linesOf({ ...answer, unlooked: ['net/c9/eth0'] }))
  t.is(await busy.run({ output: 'table' }), 1)
  t.regex(busy.said.err, /^node n1 did not look at net\/c9\/eth0: /)
})

test('a block that its node gave back, or changed, after it was read is no fault', async t => {
  const gone = await cluster(linesOf({ ...answer, blocks: [], addresses: [] }), store =>
    store.delete('IPAMBlock', '10-244-0-8-31'),
  )
  t.is(await gone.run(), 0)
  const stays = await cluster(linesOf({ ...answer, blocks: [], addresses: [] }))
  t.is(await stays.run({ output: 'table' }), 1)
  t.regex(stays.said.out, /^IPAMBlock 10-244-0-8-31 +belongs to node n1, whose agent does not have it +restart/m)
})

test('--show-all-ips lists what uses each address, and -o FILE writes the report there', async t => {
  const folder = mkdtempSync(join(tmpdir(), 'margay-check-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const it = await cluster(linesOf(answer))
  const file = join(folder, 'report.json')
  t.is(await it.run({ output: file, showAllIps: true }), 0)
  t.regex(it.said.out, /^10\.244\.0\.8 +n1 +yes +Workload\(shop\/web\) +net\.c1\.eth0$/m)
  t.regex(
    it.said.out,
    /\n\nnothing is wrong with 1 pool, 1 block and 1 address; 1 node of 1 asked, 1 pod interface looked at\n$/,
  )
  t.is((JSON.parse(readFileSync(file, 'utf8')) as Report).clusterGUID, 'guid')
  await t.throwsAsync(it.run({ output: 'jsno' }), {
    message: /-o jsno: write one of table, wide, yaml, json, or a file/,
  })
})

test('--here asks the agent of this node alone, without an API server', async t => {
  const folder = mkdtempSync(join(tmpdir(), 'margay-check-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'agent.sock')
  const leaked = { ...held, use: 'nobody', owner: '' } as const
  const finding = {
    object: { kind: 'Address', name: '10.244.0.8' },
    fault: 'leaked',
    remedy: 'r',
    addresses: ['10.244.0.8'],
  }
  const agent = { checkAddresses: async () => ({ ...answer, addresses: [leaked], findings: [finding] }) }
  const server = await serveSocket(path, agentRoutes(agent as never), silentLog)
  t.teardown(() => server.close())
  const { code, out } = await runHere(['ipam', 'check', '--here', '--socket', path])
  t.is(code, 1)
  t.regex(out, /^Address 10\.244\.0\.8 +node n1: leaked +r$/m)
  const lines = (await runHere(['__ipam-check', '--socket', path])).out.trim().split('\n')
  t.deepEqual(JSON.parse(lines.at(-1)!), { node: 'n1', looked: 1 })
  t.is((await runHere(['ipam', 'check', '--here', 'n1'])).code, 2)
})

/** A report in which these addresses are leaked. */
function aReport(leaks: Record<string, bigint>, part: object = {}) {
  const allocations = Object.fromEntries(
    Object.entries(leaks).map(([ip, sequence]) => [
      ip,
      [{ ip, handle: 'h', sequenceNumber: 0, inUse: false, at: `${sequence}` }],
    ]),
  )
  const base = { version: '1', clusterGUID: 'guid', clusterInformationRevision: '7', allocations, ...part }
  const text = JSON.stringify(base).replace(
    /"sequenceNumber":0,"inUse":false,"at":"(\d+)"/g,
    '"sequenceNumber":$1,"inUse":false',
  )
  return { name: 'report.json', text }
}

const info = aResource('ClusterInformation', {
  metadata: { name: 'default', resourceVersion: '7' },
  spec: { clusterGUID: 'guid', datastoreReady: true },
})
const NOW = { version: '1', info, force: false }

test('of several reports only what is leaked in all of them, in the same assignment, is leaked', t => {
  const one = aReport({ '10.0.0.1': SEQUENCE, '10.0.0.2': SEQUENCE, '10.0.0.3': SEQUENCE })
  const two = aReport(
    { '10.0.0.1': SEQUENCE, '10.0.0.2': SEQUENCE + 1n, '10.0.0.4': SEQUENCE },
    { clusterInformationRevision: '6' },
  )
  t.deepEqual(
    leaksOf([one], NOW).map(({ ip }) => ip),
    ['10.0.0.1', '10.0.0.2', '10.0.0.3'],
  )
  t.deepEqual(leaksOf([one, two], NOW), [{ ip: '10.0.0.1', handle: 'h', sequenceNumber: SEQUENCE }])
})

test('reports of another cluster, of another version, or older than the ClusterInformation are refused; force accepts the version alone', t => {
  const refused = (part: object, how = NOW) => t.throws(() => leaksOf([aReport({}, part)], how)).message
  t.regex(refused({ clusterGUID: 'other' }, { ...NOW, force: true }), /a report of another cluster/)
  t.regex(refused({ clusterGUID: '' }, { ...NOW, info: undefined as never }), /no ClusterInformation default/)
  t.regex(refused({ version: '0' }), /written by version 0/)
  t.deepEqual(leaksOf([aReport({}, { version: '0' })], { ...NOW, force: true }), [])
  t.regex(
    refused({ clusterInformationRevision: '6' }, { ...NOW, force: true }),
    /changed since these reports were written/,
  )
  t.regex(t.throws(() => leaksOf([{ name: 'x', text: '{}' }], NOW)).message, /^x is no report/)
  for (const part of [{ ip: 'all' }, { ip: '10.0.0.0/8' }, { sequenceNumber: 1.5 }]) {
    const edited = { allocations: { x: [{ ip: '10.0.0.1', inUse: false, ...part }] } }
    t.regex(refused(edited), /^report.json is no report/, JSON.stringify(part))
  }
})
