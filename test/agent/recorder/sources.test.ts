// What the recorder of a whole agent keeps, on kernels, a store and TCP in memory, and what never gets into its files.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { recorded } from '../../../agent/recorder/query.ts'
import { aNode, aPool, aResource } from '../../datastore/objects.ts'
import { aCluster, cni, eventually, startAgent } from '../machines.ts'

const PLANTED = {
  password: 'planted-bgp-password',
  annotation: 'planted-annotation',
  token: 'eyJhbGciOiJIUzI1NiJ9.eyJwbGFudGVkIjoidG9rZW4ifQ.cGxhbnRlZA',
}

test('pods, blocks, learned routes, policies and objects are kept with their causes; secrets and what is in annotations never', async t => {
  const { store, network, machines } = await aCluster(t)
  const [one, two] = [
    await startAgent(t, machines[0], store, network),
    await startAgent(t, machines[1], store, network),
  ]
  const ready = (agent: typeof one) => eventually(t, 'ready', () => agent.ready(), Boolean)
  await ready(one)
  await ready(two)
  const all = async () => {
    const records = await Array.fromAsync(recorded(one.events, {}, one.events.seq))
    return records.map(({ type, object: { kind, namespace, name }, reason, message }) => {
      const whose = namespace === undefined ? name : `${namespace}/${name}`
      return `${type} ${kind} ${whose} (${reason})${message === '' ? '' : `: ${message}`}`
    })
  }
  const kept = (pattern: RegExp) =>
    eventually(t, `${pattern}`, all, records => records.some(each => pattern.test(each)))
  await kept(/^Came Block 10\.244\.\d+\.\d+\/26 \(block\): of pool pool, 64 addresses$/)
  await kept(/^Learned Route 10\.244\.\d+\.\d+\/26 \(learned\): next hop 192\.0\.2\.12$/)
  await kept(/^Came Route 10\.244\.\d+\.\d+\/26 \(learned\): via 192\.0\.2\.12 dev eth0 proto 80$/)

  t.is((await cni(one, 'ADD', 'c1', { args: { token: PLANTED.token }, password: PLANTED.password })).exitCode, 0)
  await kept(/^Came Endpoint \S*c1\S* \(pod\): .*cali\w+, 10\.244\.\d+\.\d+$/)
  await kept(/^Came Route 10\.244\.\d+\.\d+\/32 \(pod\): dev cali\w+ proto 3$/)
  await kept(/^Changed NftElement inet margay-policy to_pod cali\w+ \(policy\): \+1 -0 members$/)
  t.is((await cni(one, 'DEL', 'c1')).exitCode, 0)
  await kept(/^Went Endpoint \S*c1\S* \(pod\)/)
  await kept(/^Went Route 10\.244\.\d+\.\d+\/32 \(pod\)$/)

  const annotations = { 'example.com/key': PLANTED.annotation, password: PLANTED.password }
  const policy = aResource('GlobalNetworkPolicy', {
    metadata: { name: 'audit', annotations },
    spec: { order: 10, selector: "all() && note != 'x'", types: ['Ingress'] },
  })
  const made = await store.create('GlobalNetworkPolicy', policy)
  await kept(/^Came GlobalNetworkPolicy audit \(policy\)$/)
  await store.update('GlobalNetworkPolicy', { ...made, spec: { ...made.spec, order: 20 } })
  await kept(/^Changed GlobalNetworkPolicy audit \(policy\): spec\.order$/)
  await store.delete('GlobalNetworkPolicy', 'audit')
  await kept(/^Went GlobalNetworkPolicy audit \(policy\)$/)

  const pool = await store.get('IPPool', 'pool')
  await store.update('IPPool', {
    ...pool,
    metadata: { ...pool.metadata, annotations },
    spec: { ...pool.spec, natOutgoing: true },
  })
  await kept(/^Changed IPPool pool \(cluster\): .*spec\.natOutgoing/)
  await store.create('IPPool', aPool('late', { cidr: '10.246.0.0/24' }, { annotations }))
  await kept(/^Came IPPool late \(cluster\)$/)
  await store.create('Node', aNode('n3', { annotations, labels: { secret: PLANTED.annotation } }))
  await kept(/^Came Node n3 \(cluster\)$/)
  const password = { secretKeyRef: { name: 'bgp', key: 'rack' } }
  await store.create(
    'Secret',
    aResource('Secret', {
      metadata: { name: 'bgp', namespace: 'kube-system' },
      data: { rack: Buffer.from(PLANTED.password).toString('base64') },
    }),
  )
  await store.create(
    'BGPPeer',
    aResource('BGPPeer', {
      metadata: { name: 'rack', annotations },
      spec: { peerIP: '192.0.2.1', asNumber: 65001, password },
    }),
  )
  await kept(/^Came BGPPeer rack \(cluster\)$/)

  const wrong = /^Went NftElement inet margay-policy|^Changed Sysctl \S+ conf\/(all|tunl0)\/forwarding \((?!cluster)/
  t.deepEqual(
    (await all()).filter(each => wrong.test(each)),
    [],
    'what the agent itself does is told as its own',
  )

  await two.close()
  await kept(/^Withdrawn Route 10\.244\.\d+\.\d+\/26 \(learned\)$|^SessionChanged BGPSession \S+ \(\w/)
  one.events.flush()
  const folder = join(machines[0].dataDir, 'recorder')
  t.true(readdirSync(folder).length >= 2)
  const written = readdirSync(folder)
    .map(file => readFileSync(join(folder, file), 'latin1'))
    .join('')
  const planted = Object.values(PLANTED)
  for (const secret of [...planted, ...planted.map(each => Buffer.from(each).toString('base64'))])
    t.false(written.includes(secret), secret)
})

test('an agent that starts again keeps no news of what was there before', async t => {
  const { store, network, machines } = await aCluster(t)
  const first = await startAgent(t, machines[0], store, network)
  await eventually(t, 'ready', () => first.ready(), Boolean)
  t.is((await cni(first, 'ADD', 'c1')).exitCode, 0)
  await first.close()
  const { seq } = first.events
  const again = await startAgent(t, machines[0], store, network)
  await eventually(t, 'ready', () => again.ready(), Boolean)
  const records = await Array.fromAsync(recorded(again.events, {}, again.events.seq))
  const news = records.filter(
    record => record.seq > seq && !['Started', 'ConditionChanged', 'SessionChanged'].includes(record.type),
  )
  t.deepEqual(
    news.map(({ type, object, message }) => `${type} ${object.kind} ${object.name} ${message}`),
    [],
  )
  t.true(records.some(record => record.seq <= seq && record.type === 'Came'))
})
