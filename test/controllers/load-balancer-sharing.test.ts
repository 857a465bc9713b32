import test from 'ava'
import { LoadBalancerPlan } from '../../controllers/load-balancer-plan.ts'
import {
  ADDRESSES,
  aCluster,
  aService,
  aServicePool,
  given,
  ipOf,
  KEY,
  pass,
  refusalOf,
  shown,
} from './load-balancer-world.ts'

test('Services of one namespace with one key share an address while their ports differ', async t => {
  const { store, giver, add, edit } = await aCluster()
  const port = (number: number, protocol = 'TCP') => ({ ports: [{ port: number, protocol }] })
  const annotations = { [KEY]: 'dns' }
  await add('tcp', { annotations, spec: port(53) })
  await add('udp', { annotations, spec: port(53, 'UDP') })
  await add('clash', { annotations, spec: port(53) })
  await add('elsewhere', { annotations, namespace: 'other', spec: port(54) })
  const address = (await shown(store))['tcp']!
  t.deepEqual((await given(store))[address], 'tcp udp')
  t.is((await shown(store))['udp'], address)
  t.not((await shown(store))['clash'], address)
  t.not((await shown(store))['other/elsewhere'], address)
  // the first one goes, and the other keeps the address
  await store.delete('Service', 'tcp', { namespace: 'default' })
  await pass(3, giver)
  t.is((await given(store))[address], 'udp')
  t.is((await shown(store))['udp'], address)
  // whoever came later makes room when it is edited
  await add('late', { annotations: { ...annotations, [ADDRESSES]: `["${address}"]` }, spec: port(80) })
  t.is((await given(store))[address], 'udp late')
  await edit('late', { spec: port(53, 'UDP') })
  t.is((await given(store))[address], 'udp')
  t.is((await shown(store))['late'], '')
  t.regex((await refusalOf(store, 'late'))!, /Service udp has it \(both have port 53\/UDP\)/)
  await edit('late', { spec: port(81) })
  t.is((await given(store))[address], 'udp late')
  await giver.close()
})

test('with externalTrafficPolicy Local an address is shared by Services of the same pods alone', async t => {
  const { store, giver, add } = await aCluster()
  const annotations = { [KEY]: 'web', ...ipOf('198.51.100.9').annotations }
  const local = (port: number, selector: object | undefined, externalTrafficPolicy = 'Local') => ({
    annotations,
    spec: { ports: [{ port }], externalTrafficPolicy, selector },
  })
  await add('a', local(80, { app: 'a', tier: 'web' }))
  await add('same', local(81, { tier: 'web', app: 'a' }))
  await add('other', local(82, { app: 'b' }))
  await add('cluster', local(83, { app: 'a', tier: 'web' }, 'Cluster'))
  await add('bare', local(84, undefined))
  t.is((await given(store))['198.51.100.9'], 'a same')
  t.regex((await refusalOf(store, 'other'))!, /externalTrafficPolicy is Local, and they do not select the same pods/)
  await giver.close()
})

test('an address is shared by 64 Services at most', async t => {
  const annotations = { [KEY]: 'k' }
  const services = Array.from({ length: 70 }, (_, i) =>
    aService(`s${i}`, { annotations, spec: { ports: [{ port: i + 1 }] } }),
  )
  const { store, giver, add } = await aCluster(undefined, undefined, services)
  for (let i = 0; i < 60 && Object.values(await shown(store)).includes(''); i++) await pass(1, giver)
  const sharers = Object.entries(await given(store)).map(
    ([address, names]) => [address, names.split(' ').length] as const,
  )
  t.deepEqual(sharers.map(([, count]) => count).sort(), [6, 64])
  const full = sharers.find(([, count]) => count === 64)![0]
  await add('late', { annotations: { ...annotations, ...ipOf(full).annotations }, spec: { ports: [{ port: 99 }] } })
  t.regex((await refusalOf(store, 'late'))!, /^AddressTaken: .* \(with 63 others, and no more can share it\)/)
  await giver.close()
})

test('a Service of a key that finds no address is not compared with all others of that key', t => {
  let reads = 0
  const services = Array.from({ length: 500 }, (_, i) => {
    const service = aService(`s${i}`, { annotations: { [KEY]: 'k' } })
    const metadata = Object.defineProperty(service.metadata, 'uid', { get: () => `uid ${i} ${++reads}`.slice(0, 7) })
    return { ...service, metadata }
  })
  const pools = [aServicePool('lb')]
  const inputs = { assignIPs: 'AllServices', pools, reserved: [], selectsNamespace: () => undefined } as const
  const plan = new LoadBalancerPlan(inputs, services, [])
  plan.shut('lb')
  for (const service of services) t.like(plan.step(service), { do: 'status', refused: { reason: 'NoAddressLeft' } })
  t.true(reads < 10 * services.length, `${reads} reads`)
})
