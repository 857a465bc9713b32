// Blocks that a network of another plugin has for itself.
import test from 'ava'
import { kinds } from '../../api/kinds.ts'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import { assign, emitBlock, emptyBlock, epochOf, parseBlock, release } from '../../ipam/block.ts'
import { claimedBlock } from '../../ipam/forecast.ts'
import type { Assigned, AssignRefusal, AssignRequest } from '../../ipam/port.ts'
import { gatewayHandle, PLUGIN_TYPE } from '../../ipam/port.ts'
import { placesIn, subnetOf } from '../../ipam/subnet.ts'
import { familyOf, indexOf } from '../../lib/ip.ts'
import { aNode, aPod, aPool, assigned, converge, convergeAll, drained, type TestNode } from './world.ts'

test.after('calicoctl ipam check would find nothing in what the tests left', convergeAll)

/** Blocks of eight: of a subnet one gateway and five containers. */
const POOL = aPool('p', '10.0.0.0/24', 29)

async function aWorld(...pools: ReturnType<typeof aPool>[]): Promise<{ store: FakeStore; node: TestNode }> {
  const store = createFakeStore()
  for (const pool of pools.length === 0 ? [POOL] : pools) await store.create('IPPool', pool)
  const node = aNode(store, 'n1')
  node.start()
  await converge(store, node)
  return { store, node }
}

const behind = (
  name: string,
  blocks: 'one' | 'any',
  more: Partial<AssignRequest> = {},
  network = 'net',
): AssignRequest => ({
  ...aPod(name),
  handle: `ipam/${network}.${name}.eth0`,
  attributes: { ...aPod(name).attributes, type: PLUGIN_TYPE.pod },
  subnet: { network, blocks },
  ...more,
})

function given(answer: readonly Assigned[] | AssignRefusal): Assigned {
  if ('refused' in answer) throw new Error(`${answer.refused}: ${answer.message}`)
  return answer[0]!
}
const refused = (answer: readonly Assigned[] | AssignRefusal) => ('refused' in answer ? answer.refused : 'given')

test('a network has a block for itself: its first request takes the gateway too, and no other request gets an address of it', async t => {
  const { store, node } = await aWorld()
  const { allocator } = node
  const first = given(await allocator.assign(behind('a', 'any')))
  const [gateway] = allocator.held().get(gatewayHandle('net', first.block)) ?? []
  t.deepEqual(
    [gateway?.address, first.address],
    [
      first.block.replace(/\d+\/29/, n => `${Number.parseInt(n, 10) + 1}`),
      first.block.replace(/\d+\/29/, n => `${Number.parseInt(n, 10) + 2}`),
    ],
  )
  t.is(allocator.blocks().find(({ cidr }) => cidr === first.block)?.subnetOf, 'net')
  const others = await Promise.all(Array.from({ length: 20 }, (_, i) => allocator.assign(aPod(`own${i}`))))
  t.false(others.map(given).some(({ block }) => block === first.block))
  t.not(given(await allocator.assign(behind('a', 'any', {}, 'other'))).block, first.block)
  await converge(store, node)
})

test('a network of any number of blocks gets the next one when one is full, one of a single block is refused with what to do', async t => {
  const { store, node } = await aWorld()
  const { allocator } = node
  const any: Assigned[] = []
  for (let i = 0; i < 7; i++) any.push(given(await allocator.assign(behind(`a${i}`, 'any'))))
  t.is(new Set(any.map(({ block }) => block)).size, 2)
  const last = any.map(({ address }) => Number(address.split('.')[3]) % 8)
  t.false(
    last.some(n => n < 2 || n === 7),
    `network, gateway and broadcast are nobody’s: ${last}`,
  )
  for (let i = 0; i < 5; i++) given(await allocator.assign(behind(`b${i}`, 'one', {}, 'br')))
  const full = await allocator.assign(behind('b5', 'one', {}, 'br'))
  t.like(full, { refused: 'exhausted' })
  t.regex('remedy' in full ? full.remedy : '', /a bridge has one address/)
  await converge(store, node)
})

test('a block with addresses of others becomes no subnet, by name neither', async t => {
  const { node } = await aWorld()
  const { allocator } = node
  const own = given(await allocator.assign(aPod('own')))
  const free = own.address === own.block.replace(/\d+\/29/, '3') ? '4' : '3'
  const beside = own.block.replace(/\d+\/29/, n => `${Number.parseInt(n, 10) + Number(free)}`)
  t.is(refused(await allocator.assign(behind('a', 'any', { addresses: [beside] }))), 'address-taken')
  t.not(given(await allocator.assign(behind('a', 'any'))).block, own.block)
})

test('a network with its one block in a pool that does not serve it any more is told so, and not that the block is full', async t => {
  const { node } = await aWorld(POOL, aPool('q', '10.1.0.0/24', 29))
  const { block } = given(await node.allocator.assign(behind('a', 'one', { pools: { ipv4: ['p'] } })))
  const answer = await node.allocator.assign(behind('b', 'one', { pools: { ipv4: ['q'] } }))
  t.is(refused(answer), 'no-pool')
  t.regex(JSON.stringify(answer), new RegExp(`has block ${block} on this node, which lies in none of the pools.*: q"`))
  t.like(given(await node.allocator.assign(behind('b', 'one', { pools: { ipv4: ['q', 'p'] } }))), { block })
})

test('an address that is asked for by name is of the one block of its network, and neither its first nor its last', async t => {
  const { node } = await aWorld()
  const { allocator } = node
  const ask = (address: string) => allocator.assign(behind(address, 'one', { addresses: [address] }))
  t.is(given(await ask('10.0.0.81')).address, '10.0.0.81')
  // the gateway makes room for it
  t.is(allocator.held().get(gatewayHandle('net', '10.0.0.80/29'))?.[0]?.address, '10.0.0.82')
  for (const address of ['10.0.0.80', '10.0.0.87', '10.0.0.82', '10.0.0.130'])
    t.is(refused(await ask(address)), 'address-taken', address)
  t.is(refused(await allocator.assign({ ...aPod('own'), addresses: ['10.0.0.84'] })), 'address-taken')
})

test('pools with blocks of one or two addresses have no subnet', async t => {
  const { node } = await aWorld(aPool('p', '10.0.0.0/24', 31))
  const answer = await node.allocator.assign(behind('a', 'any'))
  t.like(answer, { refused: 'no-pool' })
  t.regex('message' in answer ? answer.message : '', /no room for a gateway/)
})

test('what a subnet is outlives the journal, and its free addresses are no room for other pods', async t => {
  const { store, node } = await aWorld()
  const first = given(await node.allocator.assign(behind('a', 'one')))
  await converge(store, node)
  const [room] = node.allocator.room()
  t.is(room?.free, 8)
  const item = (await store.list('IPAMBlock')).find(({ spec }) => spec.cidr === first.block)!
  t.deepEqual(claimedBlock(item).unallocated, [])
  await node.close()
  const again = aNode(store, 'n1')
  again.start()
  await converge(store, again)
  t.is(again.allocator.blocks().find(({ cidr }) => cidr === first.block)?.subnetOf, 'net')
  t.is(given(await again.allocator.assign(behind('b', 'one'))).block, first.block)
  await converge(store, again)
})

test('a pod of another plugin is published at once: of it the kernel says nothing', async t => {
  const { store, node } = await aWorld()
  const first = given(await node.allocator.assign(behind('a', 'one')))
  const published = async () => {
    await drained(store)
    node.clock.advance(1_000)
    await drained(store)
    const item = (await store.list('IPAMBlock')).find(({ spec }) => spec.cidr === first.block)!
    return item.spec.allocations.filter(each => each !== null).length
  }
  t.is(await published(), 2)
  // a block that changes so often waits for 5 s and more per change otherwise
  for (let i = 0; i < 3; i++) {
    given(await node.allocator.assign(behind(`b${i}`, 'one')))
    t.is(await published(), 3 + i)
  }
})

test('the block without its last pod stays the network’s until its gateway is released, and is given back then', async t => {
  const { store, node } = await aWorld()
  const { allocator } = node
  const first = given(await allocator.assign(behind('a', 'one')))
  await allocator.release(behind('a', 'one').handle)
  await converge(store, node)
  t.is(allocator.blocks().find(({ cidr }) => cidr === first.block)?.subnetOf, 'net')
  await allocator.release(gatewayHandle('net', first.block))
  node.clock.advance(60_000)
  await converge(store, node)
  t.is(allocator.blocks().filter(({ subnetOf }) => subnetOf !== undefined).length, 0)
  t.is(allocator.blocks().length, 1)
})

test('pods of other plugins, and their gateway, of whom an old copy of the journal knows nothing keep their addresses', async t => {
  const { store, node } = await aWorld()
  const first = given(await node.allocator.assign(behind('a', 'one')))
  const gone = given(await node.allocator.assign(behind('gone', 'one')))
  await converge(store, node)
  await node.close()
  const object = (await store.list('IPAMBlock')).find(({ spec }) => spec.cidr === first.block)!
  const known = parseBlock(object)
  // since the copy one pod ended, another got its address, and a third one came
  const slot = (name: string) => ({
    handle: `ipam/net.${name}.eth0`,
    secondary: { node: 'n1', containerID: name, type: PLUGIN_TYPE.pod },
  })
  const free = { ...release(known, behind('gone', 'one').handle).block, sequence: known.sequence + 100n }
  const reused = indexOf(first.block, gone.address)!
  const newer = assign(assign(free, slot('later'), reused), slot('third'), 5)
  await store.update('IPAMBlock', emitBlock(newer, { node: 'n1', epoch: epochOf(object)! }, object))
  const again = aNode(store, 'n1', node.db)
  again.start()
  await converge(store, again)
  const held = again.allocator.held()
  t.is(held.get('ipam/net.later.eth0')?.[0]?.address, gone.address)
  t.truthy(held.get('ipam/net.third.eth0'))
  t.is(held.get(behind('gone', 'one').handle), undefined)
  t.is(held.get(behind('a', 'one').handle)?.[0]?.address, first.address)
})

for (const [what, theirs, asking] of [
  ['free addresses of a subnet are lent to no other node', behind('theirs', 'any'), aPod('one-more')],
  ['a network borrows no single address', aPod('theirs'), behind('a', 'any')],
] as const)
  test(what, async t => {
    const store = createFakeStore()
    await store.create('IPPool', aPool('p', '10.0.0.0/28', 29))
    const [here, there] = [aNode(store, 'n1'), aNode(store, 'n2')] as const
    for (const node of [here, there]) {
      node.start()
      await converge(store, node)
    }
    given(await there.allocator.assign(theirs))
    for (let i = 0; i < 8; i++) given(await here.allocator.assign(aPod(`own${i}`)))
    await converge(store, here, there)
    const { answer } = await assigned(here, asking, [there])
    t.is(refused(answer), 'exhausted', JSON.stringify(answer))
    t.deepEqual(there.allocator.lent(), [])
    await there.close()
    await here.close()
  })

for (const [cidr, length, part] of [
  ['10.0.0.0/26', 30, (i: number) => `10.0.0.${i * 4 + 1}/32`],
  ['fd00::/122', 126, (i: number) => `fd00::${(i * 4 + 2).toString(16)}/127`],
] as const)
  test(`of ${cidr} blocks of which one address is left beside reserved ones are claimed for no network`, async t => {
    const { store, node } = await aWorld(aPool('p', cidr, length))
    const spec = { reservedCIDRs: Array.from({ length: 15 }, (_, i) => part(i + 1)) }
    await store.create('IPReservation', kinds.IPReservation.schema.parse({ metadata: { name: 'r' }, spec }))
    await converge(store, node)
    const families = [familyOf(cidr)]
    const { block } = given(await node.allocator.assign(behind('a', 'any', { families })))
    t.is(block, cidr.replace(/\d+$/, `${length}`))
    const { answer } = await assigned(node, behind('b', 'any', { families }, 'other'))
    t.is(refused(answer), 'exhausted')
    t.regex(JSON.stringify(answer), /no free block with room for a container of the network is left in p/)
    // that of the network, and the spare one of Margay's own pods
    t.true(node.allocator.blocks().length <= 2, JSON.stringify(node.allocator.blocks()))
    await node.close()
  })

const LAN_POOL = aPool('lan', '10.1.0.64/28', 29, {
  ...{ disableBGPExport: true, assignmentMode: 'Manual', allowedUses: ['Workload'] },
})
const onLan = (name: string, network = 'lan', more: Partial<AssignRequest> = {}): AssignRequest => {
  const { attributes, ...request } = behind(name, 'any', { pools: { ipv4: ['lan'] }, ...more }, network)
  const lan = { ipv4: { subnet: '10.1.0.0/24', gateway: '10.1.0.1' } }
  return { ...request, attributes: { ...attributes, network }, subnet: { network, blocks: 'any', lan } }
}

test('a network on a LAN has blocks for itself without a gateway, also after the journal was lost, and they go with its last container', async t => {
  const { store, node } = await aWorld(POOL, LAN_POOL)
  const { allocator } = node
  const first = given(await allocator.assign(onLan('a')))
  t.deepEqual([...allocator.held().keys()], ['ipam/lan.a.eth0'])
  const is = (of: typeof allocator) => of.blocks().find(({ cidr }) => cidr === first.block)
  t.like(is(allocator), { subnetOf: 'lan', isOnLan: true, used: 1 })
  for (const other of [
    { ...aPod('own'), pools: { ipv4: ['lan'] } },
    onLan('b', 'other'),
    behind('c', 'any', { pools: { ipv4: ['lan'] } }),
  ]) {
    const answer = await allocator.assign(other)
    t.not('refused' in answer ? '' : answer[0]!.block, first.block)
    await allocator.release(other.handle)
  }
  t.is(given(await allocator.assign(onLan('d'))).block, first.block)
  await converge(store, node)
  const block = (await store.list('IPAMBlock')).find(({ spec }) => spec.cidr === first.block)!
  t.deepEqual(claimedBlock(block).unallocated, [])
  await node.close()
  const again = aNode(store, 'n1')
  again.start()
  await converge(store, again)
  t.like(is(again.allocator), { subnetOf: 'lan', isOnLan: true, used: 2 })
  for (const name of ['a', 'd']) await again.allocator.release(onLan(name).handle)
  again.clock.advance(20 * 60_000)
  await converge(store, again)
  t.is(is(again.allocator), undefined)
})

test('a pod that chooses no pool never gets an address of a LAN, and a block of one waits for no other node', async t => {
  const store = createFakeStore()
  for (const pool of [aPool('p', '10.0.0.0/29', 29), LAN_POOL]) await store.create('IPPool', pool)
  const node = aNode(store, 'n1', undefined, undefined, undefined, () => new Promise(() => undefined))
  node.start()
  await converge(store, node)
  t.is(given(await node.allocator.assign(onLan('a'))).block.slice(0, 7), '10.1.0.')
  await node.close()
  const other = await aWorld(aPool('p', '10.0.0.0/29', 29), LAN_POOL)
  const answers: string[] = []
  for (let i = 0; i < 9; i++) answers.push(refused(await other.node.allocator.assign(aPod(`own${i}`))))
  t.deepEqual(answers, [...Array(8).fill('given'), 'exhausted'])
})

test('free addresses of a block of a LAN are lent to no other node, also where its pool is announced later', async t => {
  const store = createFakeStore()
  for (const pool of [POOL, LAN_POOL]) await store.create('IPPool', pool)
  const [here, there] = [aNode(store, 'n1'), aNode(store, 'n2')] as const
  for (const node of [here, there]) {
    node.start()
    await converge(store, node)
  }
  const named = (name: string) => ({ ...aPod(name), pools: { ipv4: ['lan'] } })
  given(await there.allocator.assign(onLan('theirs')))
  await converge(store, here, there)
  // others are asked for addresses of pools that are announced alone
  const pool = (await store.list('IPPool')).find(({ metadata }) => metadata.name === 'lan')!
  await store.update('IPPool', { ...pool, spec: { ...pool.spec, disableBGPExport: false } })
  await converge(store, here, there)
  for (let i = 0; i < 8; i++) given(await here.allocator.assign(named(`own${i}`)))
  await converge(store, here, there)
  const { answer } = await assigned(here, named('one-more'), [there])
  t.is(refused(answer), 'exhausted', JSON.stringify(answer))
  t.deepEqual(there.allocator.lent(), [])
})

test('of IPv6 the last address of a block is one like others', t => {
  const block = emptyBlock('fd00::/126', 1n)
  const all = () => true
  const net = { network: 'net' }
  t.deepEqual(placesIn(block, net, all), { ordinal: 2, gateway: 1 })
  t.deepEqual(placesIn(block, net, all, 'fd00::3'), { ordinal: 3, gateway: 1 })
  t.is(placesIn(block, net, all, 'fd00::'), undefined)
  t.deepEqual(placesIn(block, undefined, all), { ordinal: 0 })
  t.is(subnetOf(block), undefined)
})
