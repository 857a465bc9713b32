// What the settings of an IPPool do on whole nodes.
import test from 'ava'
import { parseAllDocuments } from 'yaml'
import type { NodeAgent } from '../../agent/node-agent.ts'
import { NODE_ANNOTATION } from '../../api/core.ts'
import { handleCni } from '../../cni/handle.ts'
import { keepProcess } from '../../lib/clock.ts'
import { contains } from '../../lib/ip.ts'
import { manifestFiles } from '../../manifests/installation.ts'
import { aPool, aResource } from '../datastore/objects.ts'
import { aCluster, cni, eventually, learnedRoutes, startAgent } from './machines.ts'

const broken = (agent: NodeAgent) =>
  agent.conditions().flatMap(({ type, status, object }) => (status === 'False' ? [`${type} ${object?.name}`] : []))

test('blocks of one address and their pods are no address conflict, here and on other nodes', async t => {
  const { store, network, machines } = await aCluster(t)
  await store.delete('IPPool', 'pool')
  await store.create('IPPool', aPool('tiny', { cidr: '10.9.0.0/28', blockSize: 32 }))
  const one = await startAgent(t, machines[0], store, network)
  const two = await startAgent(t, machines[1], store, network)
  for (const agent of [one, two])
    await eventually(
      t,
      'ready',
      () => agent.conditions(),
      () => agent.ready(),
    )
  for (const container of ['c0', 'c1', 'c2']) {
    const answer = await cni(one, 'ADD', container)
    t.is(answer.exitCode, 0, JSON.stringify(answer))
  }
  const pods = one.endpoints.all().flatMap(({ addresses }) => addresses.map(address => `${address}/32 via 192.0.2.11`))
  await eventually(
    t,
    'routes on n2',
    () => learnedRoutes(machines[1]),
    routes => pods.every(pod => routes.includes(pod)),
  )
  t.deepEqual([...broken(one), ...broken(two)], [])
})

for (const [file, yaml] of manifestFiles())
  if (/^overlays\/.*pools\.yaml$/.test(file))
    test(`nodes with the pools of ${file} know the way to each other’s pods`, async t => {
      const { store, network, machines } = await aCluster(t)
      await store.delete('IPPool', 'pool')
      for (const document of parseAllDocuments(yaml)) {
        const { metadata, spec } = document.toJS() as { metadata: { name: string }; spec: { cidr: string } }
        await store.create('IPPool', aPool(metadata.name, spec))
      }
      const one = await startAgent(t, machines[0], store, network)
      const two = await startAgent(t, machines[1], store, network)
      await eventually(
        t,
        'ready',
        () => one.ready() && two.ready(),
        ready => ready,
      )
      t.is((await cni(one, 'ADD', 'c0')).exitCode, 0)
      const [pod] = one.endpoints.live()
      await eventually(
        t,
        'a way to the pod',
        () => learnedRoutes(machines[1]),
        routes => routes.some(route => contains(route.split(' ')[0]!, pod!.addresses[0]!)),
      )
    })

test('a pool with a namespaceSelector serves the pods of those namespaces, and no others', async t => {
  // nothing else keeps the process while a pod waits
  t.teardown(keepProcess())
  const { store, network, machines } = await aCluster(t)
  await store.delete('IPPool', 'pool')
  await store.create(
    'IPPool',
    aPool('a-shop', { cidr: '10.8.0.0/24', blockSize: 28, namespaceSelector: 'team == "shop"' }),
  )
  await store.create('IPPool', aPool('rest', { cidr: '10.9.0.0/24', blockSize: 28 }))
  for (const [name, team] of [
    ['web', 'shop'],
    ['other', 'none'],
    ['silent', undefined],
  ] as const)
    await store.create('Namespace', aResource('Namespace', { metadata: { name, ...(team && { labels: { team } }) } }))
  const agent = await startAgent(t, machines[0], store, network)
  await eventually(
    t,
    'ready',
    () => agent.conditions(),
    () => agent.ready(),
  )
  const addressOf = async (container: string, namespace: string) => {
    const metadata = { name: container, namespace }
    await store.create('Pod', aResource('Pod', { metadata, spec: { nodeName: 'n1' } }))
    const args = { CNI_ARGS: `K8S_POD_NAMESPACE=${namespace};K8S_POD_NAME=${container}` }
    const attachment = { CNI_CONTAINERID: container, CNI_NETNS: `/run/netns/${container}`, CNI_IFNAME: 'eth0' }
    const env = { CNI_COMMAND: 'ADD', ...attachment, ...args }
    const { exitCode, stdout } = await handleCni({ env, stdin: '{"cniVersion":"1.0.0","name":"net"}' }, agent.cni())
    return exitCode === 0 ? String(JSON.parse(stdout).ips[0].address) : stdout
  }
  t.regex(await addressOf('c0', 'web'), /^10\.8\.0\./)
  t.regex(await addressOf('c1', 'other'), /^10\.9\.0\./)
  t.regex(await addressOf('c2', 'silent'), /^10\.9\.0\./)
  // the agent hears of a namespace when it is there: until then a pod waits rather than begin in a pool that is not its own
  t.like(JSON.parse(await addressOf('c3', 'late')), {
    code: 11,
    msg: 'pod late/c3 is refused: the API server has told nothing of Namespace late yet, so policies of the pod are not known',
  })
  const late = { metadata: { name: 'late', labels: { team: 'shop' } } }
  await store.create('Namespace', aResource('Namespace', late))
  await store.delete('Pod', 'c3', { namespace: 'late' })
  t.regex(await addressOf('c3', 'late'), /^10\.8\.0\./)
})

test('a pool that is disabled keeps no tunnel: nodes take addresses of another one, and no way to a pod is gone meanwhile', async t => {
  const { store, network, machines } = await aCluster(t)
  await store.delete('IPPool', 'pool')
  const vxlan = { vxlanMode: 'Always', blockSize: 28 }
  await store.create('IPPool', aPool('old', { cidr: '10.8.0.0/24', ...vxlan }))
  const one = await startAgent(t, machines[0], store, network)
  const two = await startAgent(t, machines[1], store, network)
  await eventually(
    t,
    'ready',
    () => one.ready() && two.ready(),
    ready => ready,
  )
  t.is((await cni(one, 'ADD', 'c1')).exitCode, 0)
  const [pod] = one.endpoints.live()
  const tunnels = async () =>
    (await store.list('Node')).map(({ metadata }) => `${metadata.annotations?.[NODE_ANNOTATION.vxlanTunnelAddress]}`)
  const waysToPod = async () =>
    (await learnedRoutes(machines[1])).filter(route => contains(route.split(' ')[0]!, pod!.addresses[0]!))
  await eventually(t, 'tunnels of the old pool', tunnels, seen => seen.every(address => address.startsWith('10.8.')))
  await eventually(t, 'a way to the pod', waysToPod, routes => routes.length === 1)
  const gone: string[] = []
  const monitor = machines[1].world.kernel().monitor(event => {
    if (event.type === 'route-gone' && contains(event.route.dst, pod!.addresses[0]!)) gone.push(event.route.dst)
  })
  await store.create('IPPool', aPool('new', { cidr: '10.9.0.0/24', ...vxlan }))
  await store.patch('IPPool', 'old', { spec: { disabled: true } })
  await eventually(t, 'tunnels of the new pool', tunnels, seen => seen.every(address => address.startsWith('10.9.')))
  const [first] = await tunnels()
  await eventually(t, 'the way by the new tunnel', waysToPod, routes => `${routes}`.endsWith(` via ${first}`))
  t.deepEqual(gone, [])
  monitor.close()
  t.true(one.ready() && two.ready())
  // for half a minute nobody uses the addresses that the tunnels had: calicoctl would call them leaked
  for (const agent of [one, two]) await agent.close()
})

test('labels of the Node decide at once which pools are its own: blocks are claimed, and given back when they are empty', async t => {
  const { store, network, machines } = await aCluster(t)
  await store.delete('IPPool', 'pool')
  const zone = (name: string) => ({ nodeSelector: `zone == "${name}"`, blockSize: 28 })
  await store.create('IPPool', aPool('a', { cidr: '10.8.0.0/24', ...zone('a') }))
  await store.create('IPPool', aPool('b', { cidr: '10.9.0.0/24', ...zone('b') }))
  const agent = await startAgent(t, machines[0], store, network)
  const broken = () => agent.conditions().flatMap(({ type, status }) => (status === 'False' ? [type] : []))
  await eventually(t, 'no pool is for it', broken, types => types.includes('PoolsUsable'))
  const label = (name: string) => store.patch('Node', 'n1', { metadata: { labels: { zone: name } } })
  const pools = () => agent.allocator.blocks().map(({ pool }) => pool)
  await label('a')
  await eventually(t, 'a block of pool a', pools, names => `${names}` === 'a')
  await eventually(
    t,
    'ready',
    () => agent.ready(),
    ready => ready,
  )
  await label('b')
  await eventually(t, 'a block of pool b, and that of pool a given back', pools, names => `${names}` === 'b')
})
