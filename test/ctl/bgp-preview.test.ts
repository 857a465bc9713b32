// `bgp preview` against an API server: nothing is written, and the exit code says whether sessions stop.
import { readFileSync } from 'node:fs'
import test from 'ava'
import { NODE_ANNOTATION } from '../../api/core.ts'
import type { Kind } from '../../api/kinds.ts'
import { startApiServer } from '../../apiserver/server.ts'
import { bgpPreviewCommand } from '../../ctl/bgp-preview.ts'
import type { Context } from '../../ctl/command.ts'
import { openStore } from '../../datastore/kube.ts'
import { NotFound } from '../../datastore/port.ts'
import { kubeconfigFor } from '../apiserver/kubeconfig.ts'
import { aBlock, aNode, aPod, aPool, aResource } from '../datastore/objects.ts'
import { runHere } from './run.ts'

const manifest = (kind: string, name: string, spec: object) =>
  JSON.stringify({ apiVersion: 'projectcalico.org/v3', kind, metadata: { name }, spec })

test('a preview tells node by node what a manifest does, merges it as apply does, and writes nothing', async t => {
  const server = await startApiServer()
  t.teardown(() => server.close())
  const store = openStore({ server: server.url, token: server.token })
  t.teardown(() => store.close())
  for (const [i, name] of ['n1', 'n2'].entries()) {
    const annotations = { [NODE_ANNOTATION.ipv4Address]: `192.0.2.${11 + i}/24` }
    await store.create('Node', aNode(name, { annotations }))
  }
  await store.create('IPPool', aPool('p', { ipipMode: 'Always' }))
  await store.create('IPAMBlock', aBlock('10.244.64.0/31'))
  const tor = { peerIP: '192.0.2.1', asNumber: 65001 }
  await store.create('BGPPeer', aResource('BGPPeer', { metadata: { name: 'tor' }, spec: { ...tor, ttlSecurity: 1 } }))
  const config = kubeconfigFor(server)
  const run = (text: string, ...words: string[]) =>
    runHere(['bgp', 'preview', ...words, '-f', '-', '--kubeconfig', config], text)

  const same = await run(manifest('BGPPeer', 'tor', tor))
  t.deepEqual([same.code, same.out, same.err], [0, 'Nothing would change.\n', ''], 'ttlSecurity stays, as with apply')

  const asn = await run(manifest('BGPPeer', 'tor', { asNumber: 65002, peerIP: '192.0.2.1' }), '-o', 'json')
  t.is(asn.code, 1)
  const { nodes } = JSON.parse(asn.out)
  const reset = { name: 'Global_192_0_2_1', address: '192.0.2.1', change: 'resets' }
  t.like(nodes[0], { node: 'n1', sessions: { 0: reset, length: 1 } })
  t.is(nodes.length, 2)

  const one = await run(manifest('BGPPeer', 'new', { node: 'n1', peerIP: '192.0.2.9', asNumber: 65009 }))
  t.is(one.code, 0)
  t.regex(one.out, /^NODE +SESSION +ADDRESS +CHANGE +BECAUSE\nn1 +Node_192_0_2_9 +192\.0\.2\.9 +new *\n$/)

  const gone = await run(manifest('BGPPeer', 'tor', tor), '--delete', 'n2')
  t.is(gone.code, 1)
  t.regex(gone.out, /\nn2 +Global_192_0_2_1 +192\.0\.2\.1 +ends *\n$/)

  const marked = manifest('BGPConfiguration', 'default', {
    prefixAdvertisements: [{ cidr: '10.244.0.0/16', communities: ['65001:7'] }],
  })
  const announced = await run(marked)
  t.is(announced.code, 0)
  t.regex(announced.out, /n1 +10\.244\.64\.0\/31 +changes +its communities become 65001:7, and were none/)

  const recipes = readFileSync(new URL('../../docs/bgp-operations.md', import.meta.url), 'utf8')
  const passwords = [...recipes.matchAll(/```yaml\n(.*?)```/gs)]
    .map(([, yaml]) => yaml!)
    .find(yaml => /kind: Role$/m.test(yaml))!
  const signed = await run(passwords.replace("rack == 'a'", 'all()').replace('192.0.2.1', '192.0.2.8'), '-o', 'json')
  t.deepEqual([signed.code, JSON.parse(signed.out).nodes.length], [0, 2])
  t.is(
    signed.err,
    'Passed over, since sessions depend on Node, BGPPeer, BGPFilter, BGPConfiguration, IPPool, ClusterInformation, Pod, Namespace, ServiceAccount alone: Secret bgp, Role margay-bgp-bgp, RoleBinding margay-bgp-bgp.\n',
  )

  for (const [text, words, message] of [
    [manifest('GlobalNetworkPolicy', 'p', {}), [], /GlobalNetworkPolicy p: sessions depend on Node, BGPPeer/],
    [
      `${manifest('BGPPeer', 'tor', tor)}\n---\n${manifest('BGPPear', 'tor', tor)}`,
      [],
      /document 2: kind "BGPPear" is not known/,
    ],
    [`${manifest('BGPPeer', 'tor', tor)}\n---\n{kind: Role}`, [], /document 2: kind "Role" is not known/],
    [manifest('BGPPeer', 'none', tor), ['--delete'], /there is no bgppeer none to delete/],
    [manifest('BGPPeer', 'tor', tor), ['n9'], /there is no Node n9/],
  ] as const) {
    const { code, err } = await run(text, ...words)
    t.is(code, 2)
    t.regex(err, message)
  }
  t.deepEqual(
    (await store.list('BGPPeer')).map(({ spec }) => spec.asNumber),
    [65001],
  )
  t.deepEqual(await store.list('BGPConfiguration'), [])
})

test('a server that has no BGPFilters yet is asked all the same, and one that lacks another kind is told of', async t => {
  const run = (lacks: Kind) => {
    let out = ''
    const list = async (kind: Kind) => {
      if (kind === lacks) throw new NotFound(`${kind} is not there`)
      return kind === 'Node' ? [aNode('n1', { annotations: { [NODE_ANNOTATION.ipv4Address]: '192.0.2.11/24' } })] : []
    }
    const text = manifest('BGPPeer', 'tor', { peerIP: '192.0.2.1', asNumber: 65001 })
    const context = {
      ...{ objects: async () => ({ list }), read: async () => [{ name: 'tor.json', text }], connection: () => ({}) },
      out: (more: string) => {
        out += more
      },
    } as unknown as Context
    const options = { filename: ['tor.json'], namespace: 'default', output: 'table' }
    return bgpPreviewCommand.run([], options, context).then(() => out)
  }
  t.regex(await run('BGPFilter'), /n1 +Global_192_0_2_1 +192\.0\.2\.1 +new/)
  await t.throwsAsync(run('BGPPeer'), { instanceOf: NotFound })
})

test('sessions with pods are told with their pods, also of a Pod that is deleted', async t => {
  const server = await startApiServer()
  t.teardown(() => server.close())
  const store = openStore({ server: server.url, token: server.token })
  t.teardown(() => store.close())
  const annotations = { [NODE_ANNOTATION.ipv4Address]: '192.0.2.11/24' }
  await store.create('Node', aNode('n1', { annotations }))
  const addressed = { nodeToNodeMeshEnabled: false, localWorkloadPeeringIPV4: '169.254.0.179' }
  const configuration = aResource('BGPConfiguration', { metadata: { name: 'default' }, spec: addressed })
  await store.create('BGPConfiguration', configuration)
  await store.create('Namespace', aResource('Namespace', { metadata: { name: 'net' } }))
  const pod = aPod('router', { nodeName: 'n1' }, { namespace: 'net', labels: { app: 'router' } })
  await store.create('Pod', pod)
  await store.updateStatus('Pod', {
    ...(await store.get('Pod', 'router', 'net')),
    status: { phase: 'Running', podIPs: [{ ip: '10.244.64.5' }] },
  })
  const config = kubeconfigFor(server)
  const run = (text: string, ...words: string[]) =>
    runHere(['bgp', 'preview', ...words, '-f', '-', '--kubeconfig', config], text)
  const spec = { localWorkloadSelector: "app == 'router'", asNumber: 65010 }
  const begun = await run(manifest('BGPPeer', 'routers', spec))
  t.deepEqual([begun.code, begun.err], [0, ''])
  t.regex(begun.out, /\nn1 +Local_Workload_10_244_64_5 +10\.244\.64\.5 \(net\/router\) +new *\n$/)

  const aRouter = JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'router', namespace: 'net' } })
  t.deepEqual((await run(aRouter, '--delete')).out, 'Nothing would change.\n', 'it is no peer yet')
  await store.create('BGPPeer', aResource('BGPPeer', { metadata: { name: 'routers' }, spec }))
  const ended = await run(aRouter, '--delete', '-o', 'json')
  t.is(ended.code, 1)
  t.like(JSON.parse(ended.out).nodes, { 0: { sessions: { 0: { pod: 'net/router', change: 'ends' } } }, length: 1 })
  const far = await run(aRouter.replace('"net"', '"far"'), '--delete')
  t.deepEqual([far.code, far.err.includes('there is no pod far/router to delete')], [2, true])
})

test('pods are asked for only where a BGPPeer selects some, or the manifest has one', async t => {
  const asked = async (object: string) => {
    const kinds: string[] = []
    const list = async (kind: Kind) => {
      kinds.push(kind)
      return []
    }
    const context = {
      ...{
        objects: async () => ({ list }),
        read: async () => [{ name: 'a.json', text: object }],
        connection: () => ({}),
      },
      out: () => undefined,
    } as unknown as Context
    await bgpPreviewCommand.run([], { filename: ['a.json'], namespace: 'default', output: 'table' }, context)
    return ['Pod', 'Namespace', 'ServiceAccount'].filter(kind => kinds.includes(kind))
  }
  t.deepEqual(await asked(manifest('BGPPeer', 'tor', { peerIP: '192.0.2.1', asNumber: 65001 })), [])
  const spec = { localWorkloadSelector: 'all()', asNumber: 65001 }
  t.deepEqual(await asked(manifest('BGPPeer', 'pods', spec)), ['Pod', 'Namespace', 'ServiceAccount'])
  t.deepEqual(await asked('{apiVersion: v1, kind: Namespace, metadata: {name: net}}'), ['Namespace'])
})
