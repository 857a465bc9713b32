import test from 'ava'
import { aBlock } from '../datastore/objects.ts'
import { aCluster, aService, aServicePool, given, ipOf, pass, refusalOf, shown } from './load-balancer-world.ts'

test('pools are chosen by annotation, Manual ones by that alone, and a Service moves when it asks for another one', async t => {
  const { store, giver, add, edit } = await aCluster([
    aServicePool('auto'),
    aServicePool('manual', { cidr: '203.0.113.0/28', assignmentMode: 'Manual' }),
    aServicePool('pods', { cidr: '10.9.0.0/16', blockSize: 26, allowedUses: ['Workload'] }),
  ])
  const asking = (...pools: string[]) => ({ annotations: { 'projectcalico.org/ipv4pools': JSON.stringify(pools) } })
  await add('plain')
  await add('named', asking('manual'))
  await add('cidr', asking('203.0.113.0/28'))
  await add('pods', asking('pods'))
  const inPool = async (name: string) => (await shown(store))[name]!.split('.')[0]
  t.deepEqual(await Promise.all(['plain', 'named', 'cidr', 'pods'].map(inPool)), ['198', '203', '203', ''])
  await edit('plain', { metadata: asking('manual') })
  await edit('named', { metadata: { annotations: null } })
  t.deepEqual(await Promise.all(['plain', 'named'].map(inPool)), ['203', '198'])
  t.is(Object.keys(await given(store)).length, 3, 'what they left is free')
  await giver.close()
})

test('a deleted pool stays until its last Service has gone, and gives no address meanwhile', async t => {
  const { store, giver, add } = await aCluster()
  await add('web')
  await store.delete('IPPool', 'lb')
  await pass(3, giver)
  await add('late')
  t.not((await shown(store))['web'], '')
  t.is((await shown(store))['late'], '')
  await store.create('IPPool', aServicePool('next', { cidr: '203.0.113.0/28' }))
  await pass(3, giver)
  t.regex((await shown(store))['late']!, /^203/)
  await store.patch(
    'Service',
    'web',
    { metadata: { annotations: { 'projectcalico.org/ipv4pools': '["next"]' } } },
    { namespace: 'default' },
  )
  await pass(4, giver)
  t.regex((await shown(store))['web']!, /^203/)
  t.false(
    (await store.list('IPAMBlock')).some(({ spec }) => spec.cidr.startsWith('198')),
    'its blocks are given back',
  )
  await giver.close()
})

test('a pool gives its blocks one after the other, and none that shares addresses with a block of a node', async t => {
  const { store, giver, add } = await aCluster([aServicePool('lb', { cidr: '198.51.100.0/29', blockSize: 31 })])
  await store.create('IPAMBlock', aBlock('198.51.100.4/31'))
  for (let i = 0; i < 8; i++) await add(`s${i}`)
  t.is(Object.keys(await given(store)).length, 6)
  t.is(giver.chore.unassigned.length, 2)
  t.is((await store.list('IPAMBlock')).find(({ spec }) => spec.cidr === '198.51.100.4/31')!.spec.affinity, 'host:n1')
  await giver.close()
})

test('no address is given that is reserved, or that the status of another Service has', async t => {
  const metallb = {
    spec: { loadBalancerClass: 'metallb.io/metallb' },
    status: { loadBalancer: { ingress: [{ ip: '198.51.100.2' }] } },
  }
  const pool = aServicePool('lb', { cidr: '198.51.100.0/30', blockSize: 30 })
  const { store, giver, add } = await aCluster([pool], undefined, [aService('metallb', metallb)])
  await store.create('IPReservation', {
    metadata: { name: 'r' },
    spec: { reservedCIDRs: ['198.51.100.0/31'] },
  } as never)
  await add('web')
  await add('left-out')
  await add('exact', ipOf('198.51.100.0'))
  await add('taken', ipOf('198.51.100.2'))
  t.like(await shown(store), { web: '198.51.100.3', 'left-out': '', exact: '198.51.100.0', taken: '' })
  t.is(await refusalOf(store, 'left-out'), 'NoAddressLeft: no address is left in IPPool lb (198.51.100.0/30)')
  await giver.close()
})
