import test from 'ava'
import { ADDRESSES, aCluster, given, ipOf, KEY, pass, refusalOf, shown } from './load-balancer-world.ts'

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
