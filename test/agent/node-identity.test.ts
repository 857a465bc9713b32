// Which Node object is this machine's, and whose an address is.
import { execFileSync } from 'node:child_process'
import test from 'ava'
import { NODE_ANNOTATION } from '../../api/core.ts'
import { ManualClock } from '../../lib/clock.ts'
import { aNode, aPool } from '../datastore/objects.ts'
import { aCluster, cni, eventually, learnedRoutes, startAgent } from './machines.ts'

test('without its Node object a node is not ready, serves no pod and claims no block; with it, it does', async t => {
  const { store, network, machines } = await aCluster(t)
  await store.delete('Node', 'n1')
  const agent = await startAgent(t, machines[0], store, network)
  const missing = await eventually(
    t,
    'told',
    () => agent.conditions().find(({ type }) => type === 'NodeObjectKnown'),
    condition => condition?.status === 'False',
  )
  t.is(missing?.reason, 'NoNodeObject')
  t.regex(missing!.remedy, /create Node n1, or start margay-node with --node-name/)
  t.false(agent.ready())
  const answer = await cni(agent, 'ADD', 'c1')
  t.not(answer.exitCode, 0)
  t.regex(answer.stdout, /the cluster has no Node n1/)
  t.deepEqual(await store.list('IPAMBlock'), [])
  await store.create('Node', aNode('n1'))
  await eventually(
    t,
    'ready',
    () => agent.ready(),
    ready => ready,
  )
})

test('the program takes the name of its node in lower case, as the kubelet does', t => {
  const main = new URL('../../agent/main.ts', import.meta.url).pathname
  const env = { ...process.env, NODENAME: 'Worker-1' }
  t.regex(execFileSync(process.execPath, [main, '--help'], { env, encoding: 'utf8' }), /default:\s+"worker-1"/)
})

test('blocks wait no longer once the Node of this node is there', async t => {
  const { store, network, machines } = await aCluster(t)
  const clock = new ManualClock()
  const agent = await startAgent(t, machines[0], store, network, clock)
  const pass = async (ms: number) => {
    clock.advance(ms)
    for (let i = 0; i < 20; i++) await new Promise(setImmediate)
  }
  for (let i = 0; i < 100 && !agent.ready(); i++) await pass(50)
  const adding = cni(agent, 'ADD', 'c1')
  for (let i = 0; i < 100; i++) await pass(10)
  t.is((await adding).exitCode, 0)
  const pods = async () => {
    const blocks = await store.list('IPAMBlock')
    return blocks.flatMap(({ spec }) => spec.attributes).filter(({ secondary }) => secondary?.['type'] === undefined)
  }
  t.is((await pods()).length, 1)
  await store.delete('Node', 'n1')
  const deleting = cni(agent, 'DEL', 'c1')
  for (let i = 0; i < 200; i++) await pass(2000)
  t.is((await deleting).exitCode, 0)
  t.is((await pods()).length, 1, 'nothing is written without the Node')
  await store.create('Node', aNode('n1'))
  for (let i = 0; i < 5; i++) await pass(10)
  t.is((await pods()).length, 0)
})

test('a left-over Node with the address of a living node and another VTEP takes no tunnel away, and is the one that is told', async t => {
  const { store, network, machines } = await aCluster(t)
  await store.delete('IPPool', 'pool')
  await store.create('IPPool', aPool('vxlan', { cidr: '10.245.0.0/16', vxlanMode: 'Always' }))
  const leftOver = {
    [NODE_ANNOTATION.ipv4Address]: '192.0.2.12/24',
    [NODE_ANNOTATION.vxlanTunnelAddress]: '10.245.99.1',
    [NODE_ANNOTATION.vxlanTunnelMac]: '66:00:00:00:00:01',
  }
  // it is older than the Node of the machine that has the address now, and the first by name
  const old = { annotations: leftOver, creationTimestamp: '2020-01-01T00:00:00Z' }
  store.inject('Node', { ...aNode('a-old', old) })
  const one = await startAgent(t, machines[0], store, network)
  await startAgent(t, machines[1], store, network)
  await eventually(
    t,
    'a route over the tunnel',
    () => learnedRoutes(machines[0]),
    routes => routes.length > 0,
  )
  const { annotations = {} } = (await store.get('Node', 'n2')).metadata
  const vtep = annotations[NODE_ANNOTATION.vxlanTunnelAddress]
  await eventually(
    t,
    'the VTEP of n2 is used',
    () => learnedRoutes(machines[0]),
    routes => routes.every(route => route.endsWith(` via ${vtep}`)),
  )
  t.truthy(annotations[NODE_ANNOTATION.addressConfirmed])
  const told = await eventually(
    t,
    'told',
    () => one.conditions().filter(({ type, status }) => type === 'AddressesUnique' && status === 'False'),
    all => all.some(({ message }) => /VTEP/.test(message) && /the same node/.test(message)),
  )
  t.is(told.length, 1, 'one left-over Node is one condition, of BGP and of VXLAN')
  t.is(told[0]?.object?.name, 'a-old')
  t.regex(told[0]?.message ?? '', /n2/)
  t.is(told[0]?.remedy, 'delete Node a-old if its machine is gone, or give it addresses of its own')
  const gone: string[] = []
  const monitor = machines[0].world.kernel().monitor(event => {
    if (event.type === 'route-gone' && event.route.gateway !== undefined) gone.push(event.route.dst)
  })
  await store.delete('Node', 'a-old')
  store.inject('Node', { ...aNode('a-older', { ...old, annotations: leftOver }) })
  await eventually(
    t,
    'the next one is told',
    () => one.conditions().filter(({ object }) => object?.name === 'a-older').length,
    count => count > 0,
  )
  t.deepEqual(gone, [], 'n2 has confirmed it before')
  monitor.close()
})

test('a Node that confirms an address of this node at the end of time does not stop this node', async t => {
  for (const time of ['+275760-09-13T00:00:00.000Z', '9999-12-31T23:59:59.999Z']) {
    const { store, network, machines } = await aCluster(t)
    const claim = { [NODE_ANNOTATION.ipv4Address]: '192.0.2.11/24', [NODE_ANNOTATION.addressConfirmed]: time }
    store.inject('Node', aNode('a-old', { annotations: claim }))
    const agent = await startAgent(t, machines[0], store, network)
    await eventually(
      t,
      'ready',
      () => agent.ready(),
      ready => ready,
    )
    const { annotations = {} } = (await store.get('Node', 'n1')).metadata
    const confirmed = annotations[NODE_ANNOTATION.addressConfirmed]
    t.true(confirmed === undefined || !Number.isNaN(Date.parse(confirmed)), confirmed)
  }
})
