import test from 'ava'
import { startApiServer } from '../../apiserver/server.ts'
import { kubeconfigFor } from '../apiserver/kubeconfig.ts'
import { runHere } from './run.ts'

const POOL = 'apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: p1}\nspec: {cidr: 10.1.0.0/16}\n'

test('validate asks no server, names what is right, and exits 1 with every fault of a manifest that is wrong', async t => {
  t.deepEqual(await runHere(['validate', '-f', '-'], POOL), {
    ...{ code: 0, out: 'ippool.projectcalico.org/p1 valid\n', err: '' },
  })
  t.deepEqual(await runHere(['validate', '-q', '-f', '-'], POOL), { code: 0, out: '', err: '' })
  const wrong = `${POOL.replace('10.1.0.0/16', 'x')}---
${POOL.replace('cidr', 'Cidr')}`
  const { code, out, err } = await runHere(['validate', '-f', '-'], wrong)
  t.deepEqual([code, out], [1, ''])
  t.regex(err, /document 1: IPPool p1: spec\.cidr/)
  t.regex(
    (await runHere(['validate', '-f', '-'], POOL.replace('cidr: 10.1.0.0/16', 'cidr: 10.1.0.0/16, blocksize: 28'))).err,
    /is spec\.blockSize meant\?/,
  )
  t.is((await runHere(['validate'])).code, 2)
})

test('a manifest that is nested too deep is refused with its name, as YAML, as JSON and in an annotation', async t => {
  const deep = (levels: number): string => '{"a":'.repeat(levels) + 1 + '}'.repeat(levels)
  const nested = (levels: number): string => POOL.replace('/16}', `/16, zzz: ${deep(levels)}}`)
  for (const [text, message] of [
    [nested(150), /document 1: IPPool p1: .*/],
    [nested(500), /input: spec\.zzz\.a: is nested deeper than 200 levels/],
    [nested(20_000), /input: is nested deeper than 200 levels/],
  ] as const) {
    const { code, out, err } = await runHere(['validate', '-f', '-'], text)
    t.deepEqual([code, out], [1, ''])
    t.regex(err, message)
    t.notRegex(err, /stack/)
  }
  const stored = {
    ...{ apiVersion: 'crd.projectcalico.org/v1', kind: 'IPPool', spec: { cidr: '10.1.0.0/16' } },
    metadata: { name: 'p1', annotations: { 'projectcalico.org/metadata': `{"labels":${deep(4000)}}` } },
  }
  t.regex(
    (await runHere(['validate', '-f', '-'], JSON.stringify(stored))).err,
    /IPPool p1: metadata\.annotations: .*200 levels/,
  )
})

const KINDS: readonly [kind: string, spec: object, metadata?: object][] = [
  ['Tier', { order: 10 }],
  ['IPPool', { cidr: '10.1.0.0/16' }],
  ['IPReservation', { reservedCIDRs: ['10.1.0.0/30', '10.1.0.0/30'] }],
  ['IPAMConfiguration', {}, { name: 'default' }],
  [
    'IPAMBlock',
    { cidr: '10.1.0.0/30', allocations: [null], unallocated: [0], attributes: [] },
    { name: '10-1-0-0-30' },
  ],
  ['BlockAffinity', { cidr: '10.1.0.0/26', node: 'n1', state: 'confirmed' }],
  ['IPAMHandle', { handleID: 'a', block: { '10.1.0.0/26': 1 } }],
  ['BGPConfiguration', { asNumber: 64512 }, { name: 'default' }],
  ['BGPPeer', { peerIP: '192.0.2.1', asNumber: 64513 }],
  ['BGPFilter', { importV4: [{ action: 'Reject' }] }],
  ['FelixConfiguration', {}, { name: 'default' }],
  ['ClusterInformation', { clusterGUID: 'a' }, { name: 'default' }],
  ['KubeControllersConfiguration', { controllers: {} }, { name: 'default' }],
  ['CalicoNodeStatus', { node: 'n1', classes: ['BGP'] }],
  ['GlobalNetworkPolicy', { selector: 'all()', types: ['Ingress'] }],
  ['NetworkPolicy', { selector: 'all()' }, { namespace: 'default' }],
  ['StagedNetworkPolicy', { selector: 'all()' }, { namespace: 'default' }],
  ['StagedGlobalNetworkPolicy', { selector: 'all()' }],
  ['StagedKubernetesNetworkPolicy', { podSelector: {} }, { namespace: 'default' }],
  ['GlobalNetworkSet', { nets: ['10.0.0.0/8'] }],
  ['NetworkSet', { nets: ['10.0.0.0/8'] }, { namespace: 'default' }],
  ['HostEndpoint', { node: 'n1', interfaceName: 'eth0' }],
]

test('everything that a server has passes from get -A to validate', async t => {
  const server = await startApiServer()
  const kubeconfig = kubeconfigFor(server)
  const items = KINDS.map(([kind, spec, metadata]) => ({
    ...{ apiVersion: 'projectcalico.org/v3', kind, spec, metadata: { name: 'x', ...metadata } },
  }))
  const applied = await runHere(
    ['create', '-f', '-', '--kubeconfig', kubeconfig],
    JSON.stringify({ kind: 'List', items }),
  )
  t.is(applied.code, 0, applied.err)
  const { code, out, err } = await runHere(['get', '-A', '-o', 'yaml', '--kubeconfig', kubeconfig])
  t.deepEqual([code, err], [0, ''])
  const checked = await runHere(['validate', '-f', '-'], out)
  t.is(checked.code, 0, checked.err)
  t.is(checked.out.trim().split('\n').length, KINDS.length)
  await server.close()
})
