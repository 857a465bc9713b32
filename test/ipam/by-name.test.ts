// Addresses and pools that are asked for by name: which pools they may be of, and what is known of the blocks that addresses lie in.
import test from 'ava'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import { blockOf } from '../../ipam/pick.ts'
import type { Assigned, AssignRefusal, AssignRequest } from '../../ipam/port.ts'
import { aNode, aPod, aPool, converge, convergeAll, type TestNode } from './world.ts'

test.after('calicoctl ipam check would find nothing in what the tests left', convergeAll)

const POOL = aPool('p', '10.0.0.0/24', 28)

async function aStore(...pools: ReturnType<typeof aPool>[]): Promise<FakeStore> {
  const store = createFakeStore()
  for (const pool of pools) await store.create('IPPool', pool)
  return store
}

async function started(store: FakeStore, name = 'n1'): Promise<TestNode> {
  const node = aNode(store, name)
  node.start()
  await converge(store, node)
  return node
}

const asking = (pod: string, address: string, more: Partial<AssignRequest> = {}): AssignRequest => ({
  ...aPod(pod),
  addresses: [address],
  families: [address.includes(':') ? 'ipv6' : 'ipv4'],
  ...more,
})

const said = (answer: readonly Assigned[] | AssignRefusal) =>
  'refused' in answer ? answer.refused : answer.map(({ address }) => address).join()

test('an address is given although the block that it lies in was another node’s when all blocks were listed', async t => {
  const store = await aStore(POOL)
  const other = await started(store, 'n2')
  const [theirs] = other.allocator.blocks()
  const address = theirs!.cidr.replace('/28', '')
  const node = await started(store)
  t.is(said(await node.allocator.assign(asking('a', address))), 'address-taken')
  await other.close()
  await store.delete('IPAMBlock', theirs!.cidr.replace(/[./]/g, '-'))
  await converge(store, node)
  t.is(said(await node.allocator.assign(asking('a', address))), address)
})

test('an address is given while this node gives the block back that it lies in', async t => {
  const store = await aStore(POOL)
  const node = await started(store)
  const [spare] = node.allocator.blocks()
  const far = spare!.cidr === '10.0.0.0/28' ? '10.0.0.16' : '10.0.0.0'
  // the spare block is not needed beside the one that comes, and goes
  t.is(said(await node.allocator.assign(asking('a', far))), far)
  const address = spare!.cidr.replace('/28', '')
  t.is(said(await node.allocator.assign(asking('b', address))), address)
  await converge(store, node)
  t.is((await store.list('IPAMBlock')).length, 2)
})

test('an address of a block that was lost to another node is refused at once, not asked for without end', async t => {
  const store = await aStore(POOL)
  const node = await started(store)
  const [own] = node.allocator.blocks()
  const address = own!.cidr.replace('/28', '')
  t.is(said(await node.allocator.assign(asking('a', address))), address)
  await converge(store, node)
  const [block] = await store.list('IPAMBlock')
  await store.update('IPAMBlock', { ...block!, spec: { ...block!.spec, affinity: 'host:n2' } })
  await converge(store, node)
  const refusal = await node.allocator.assign(asking('b', address))
  t.is(said(refusal), 'address-taken')
  t.regex((refusal as AssignRefusal).message, /of host:n2$/)
})

test('an address may be of any enabled pool for its use, whom the pool selects or not, and of no other', async t => {
  const store = await aStore(
    POOL,
    aPool('manual', '10.1.0.0/24', 28, { assignmentMode: 'Manual' }),
    aPool('elsewhere', '10.2.0.0/24', 28, { nodeSelector: 'none == "here"' }),
    aPool('shop', '10.3.0.0/24', 28, { namespaceSelector: 'team == "shop"' }),
    aPool('off', '10.4.0.0/24', 28, { disabled: true }),
    aPool('tunnels', '10.5.0.0/24', 28, { allowedUses: ['Tunnel'] }),
    aPool('six', 'fd00::/112', 122, { assignmentMode: 'Manual' }),
  )
  const node = await started(store)
  const given: Record<string, string> = {}
  for (const address of ['10.1.0.9', '10.2.0.9', '10.3.0.9', '10.4.0.9', '10.5.0.9', '10.6.0.9', 'fd00::9'])
    given[address] = said(await node.allocator.assign(asking(address, address)))
  t.deepEqual(given, {
    '10.1.0.9': '10.1.0.9',
    '10.2.0.9': '10.2.0.9',
    '10.3.0.9': '10.3.0.9',
    '10.4.0.9': 'address-outside',
    '10.5.0.9': 'address-outside',
    '10.6.0.9': 'address-outside',
    'fd00::9': 'fd00::9',
  })
  t.is(said(await node.allocator.assign(asking('x', '10.1.0.10', { pools: { ipv4: ['p'] } }))), 'address-outside')
  t.is(said(await node.allocator.assign(asking('x', '10.1.0.10', { pools: { ipv4: ['manual'] } }))), '10.1.0.10')
  // no automatic choice comes of that
  t.regex(said(await node.allocator.assign(aPod('auto'))), /^10\.0\.0\./)
  for (const pod of [...Object.keys(given), 'x']) await node.allocator.release(aPod(pod).handle)
  await converge(store, node)
  t.deepEqual(
    node.allocator.blocks().map(({ pool }) => pool),
    ['p'],
  )
})

test('a reserved address is given to who asks for it by name, and to nobody else', async t => {
  const store = await aStore(aPool('p', '10.0.0.0/30', 30))
  const spec = { reservedCIDRs: ['10.0.0.0/31', '10.0.0.2'] }
  await store.create('IPReservation', { metadata: { name: 'r' }, spec })
  const node = await started(store)
  t.is(said(await node.allocator.assign(aPod('a'))), '10.0.0.3')
  t.is(said(await node.allocator.assign(aPod('b'))), 'exhausted')
  t.is(said(await node.allocator.assign(asking('c', '10.0.0.1'))), '10.0.0.1')
})

test('a reserved address that leads to another pod, as its floating one, is not given to who asks for it by name', async t => {
  const store = await aStore(POOL)
  await store.create('IPReservation', { metadata: { name: 'r' }, spec: { reservedCIDRs: ['10.0.0.0/30'] } })
  const floating: Record<string, string> = { '10.0.0.1': 'shop/gateway', '10.0.0.2': 'default/own' }
  const node = aNode(store, 'n1', undefined, undefined, undefined, undefined, undefined, each => floating[each])
  node.start()
  await converge(store, node)
  const refused = await node.allocator.assign(asking('c', '10.0.0.1'))
  t.like(refused, { refused: 'address-taken', message: '10.0.0.1 is a floating address of Pod shop/gateway' })
  t.is(said(await node.allocator.assign(asking('own', '10.0.0.2'))), '10.0.0.2', 'which asks for it as both')
  t.is(said(await node.allocator.assign(asking('c', '10.0.0.3'))), '10.0.0.3')
})

test('a whole block that is reserved is claimed for who asks for one of its addresses', async t => {
  const store = await aStore(POOL)
  await store.create('IPReservation', { metadata: { name: 'r' }, spec: { reservedCIDRs: ['10.0.0.0/25'] } })
  const node = await started(store)
  t.is(said(await node.allocator.assign(asking('a', '10.0.0.7'))), '10.0.0.7')
  t.is(blockOf(POOL, '10.0.0.7'), '10.0.0.0/28')
  t.regex(said(await node.allocator.assign(aPod('b'))), /^10\.0\.0\.(12[89]|1[3-9]\d|2\d\d)$/)
})

test('a pod whose configuration names a pool of one family has its address of the other one of any pool', async t => {
  const manual = aPool('b', '10.1.0.0/24', 26, { assignmentMode: 'Manual' })
  const node = await started(await aStore(POOL, manual, aPool('six', 'fd00:10::/112', 122)))
  const pools = { ipv4: ['b'] }
  for (const [pod, families] of [
    ['demanded', { families: ['ipv4', 'ipv6'] }],
    ['auto', { families: ['ipv4'], ifServed: ['ipv6'] }],
  ] as const) {
    t.regex(said(await node.allocator.assign({ ...aPod(pod), ...families, pools })), /^10\.1\.0\.\d+,fd00:10::/)
  }
})
