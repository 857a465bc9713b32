import test from 'ava'
import type { Store, WatchEvent } from '../../datastore/port.ts'
import { aBlock } from '../datastore/objects.ts'
import { aCluster, aService, aServicePool, Giver, given, ipOf, pass, refusalOf, shown } from './load-balancer-world.ts'

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

test('a leader whose watch of blocks is behind leaves every Service the address that it has', async t => {
  const { store, giver, add } = await aCluster()
  for (let i = 0; i < 6; i++) await add(`s${i}`)
  const before = await shown(store)
  await giver.close()
  const watch: Store['watch'] = (kind, handlers, options) =>
    store.watch(
      kind,
      {
        ...handlers,
        event: event => {
          if (kind !== 'IPAMBlock') handlers.event(event)
          else if (event.type === 'sync') handlers.event({ ...event, items: [] })
        },
      },
      options,
    )
  const next = new Giver({ ...store, watch })
  await pass(5, next)
  t.deepEqual(await shown(store), before)
  t.is(Object.keys(await given(store)).length, 6)
  await next.close()
})

test('a block that is made again is not forgotten when the watch tells of the end of the one before', async t => {
  let tell: (event: WatchEvent<'IPAMBlock'>) => void = () => undefined
  let writes = 0
  const { store, giver, add } = await aCluster(undefined, store => ({
    ...store,
    patch: (...args) => {
      writes++
      return store.patch(...args)
    },
    get: (kind, ...args) => {
      if (kind === 'IPAMBlock') writes++
      return store.get(kind, ...args)
    },
    watch: (kind, handlers, options) => {
      if (kind === 'IPAMBlock') tell = handlers.event as typeof tell
      return store.watch(kind, handlers, options)
    },
  }))
  await add('web')
  const [block] = await store.list('IPAMBlock')
  writes = 0
  tell({ type: 'gone', item: { ...block!, metadata: { ...block!.metadata, uid: 'the one before' } } })
  await pass(3, giver)
  t.is(writes, 0)
  await giver.close()
})
