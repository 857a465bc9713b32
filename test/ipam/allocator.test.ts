import test from 'ava'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import { blockFaults, parseBlock } from '../../ipam/block.ts'
import type { Assigned, AssignRefusal } from '../../ipam/port.ts'
import { tunnelRequest } from '../../ipam/tunnel.ts'
import { aNode, aPod, aPool, converge, convergeAll, type TestNode } from './world.ts'

test.after('calicoctl ipam check would find nothing in what the tests left', convergeAll)

function given(answer: readonly Assigned[] | AssignRefusal): readonly Assigned[] {
  if ('refused' in answer) throw new Error(`${answer.refused}: ${answer.message}`)
  return answer
}

function refusal(answer: readonly Assigned[] | AssignRefusal): AssignRefusal {
  if ('refused' in answer) return answer
  throw new Error(`got ${answer.map(({ address }) => address).join()}`)
}

async function started(store: FakeStore, name = 'n1'): Promise<TestNode> {
  const node = aNode(store, name)
  node.start()
  await converge(store, node)
  return node
}

async function storeWith(...pools: Parameters<typeof aPool>[]): Promise<FakeStore> {
  const store = createFakeStore()
  for (const args of pools) await store.create('IPPool', aPool(...args))
  return store
}

test('a node claims its first block at start, before any pod asks', async t => {
  const store = await storeWith(['p', '10.0.0.0/24'])
  const node = await started(store)
  t.is(node.allocator.blocks().length, 1)
  const [block] = await store.list('IPAMBlock')
  t.is(block?.spec.affinity, 'host:n1')
  t.is(block?.metadata.name, block?.spec.cidr.replaceAll(/[./]/g, '-'))
})

test('the same handle gets the same address again', async t => {
  const node = await started(await storeWith(['p', '10.0.0.0/24']))
  const first = given(await node.allocator.assign(aPod('a')))
  t.deepEqual(given(await node.allocator.assign(aPod('a'))), first)
  t.not(given(await node.allocator.assign(aPod('b')))[0]?.address, first[0]?.address)
})

test('both families or none: a pod that cannot have its IPv6 address keeps no IPv4 one', async t => {
  const node = await started(await storeWith(['p', '10.0.0.0/24']))
  const answer = refusal(await node.allocator.assign({ ...aPod('a'), families: ['ipv4', 'ipv6'] }))
  t.is(answer.refused, 'no-pool')
  t.is(node.allocator.held().size, 0)
})

test('a dual-stack pod holds one address of each family', async t => {
  const node = await started(await storeWith(['p', '10.0.0.0/24'], ['q', 'fd00:10::/112', 122]))
  const got = given(await node.allocator.assign({ ...aPod('a'), families: ['ipv4', 'ipv6'] }))
  t.deepEqual(
    got.map(({ family }) => family),
    ['ipv4', 'ipv6'],
  )
  t.deepEqual(
    await node.allocator.release(aPod('a').handle),
    got.map(({ address }) => address),
  )
})

test('families that a request takes where a pool serves them are those of the pools, and of one at the least', async t => {
  const auto = { ...aPod('a'), families: [], ifServed: ['ipv4', 'ipv6'] as const }
  const v4: Parameters<typeof aPool> = ['p', '10.0.0.0/24']
  const v6: Parameters<typeof aPool> = ['q', 'fd00:10::/112', 122]
  for (const [pools, families] of [
    [[v4], ['ipv4']],
    [[v6], ['ipv6']],
    [
      [v6, v4],
      ['ipv4', 'ipv6'],
    ],
  ] as const) {
    const node = await started(await storeWith(...pools))
    const got = given(await node.allocator.assign(auto))
    t.deepEqual(
      got.map(({ family }) => family),
      families,
    )
    t.deepEqual(given(await node.allocator.assign(auto)), got)
  }
  const none = refusal(await (await started(await storeWith())).allocator.assign(auto))
  t.is(none.refused, 'no-pool')
  t.regex(none.message, /no IPPool serves ipv4 .*; no IPPool serves ipv6 /)
})

test('a family that a pool serves is given or the request is refused, also when the pool is full', async t => {
  const node = await started(await storeWith(['p', '10.0.0.0/24'], ['q', 'fd00:10::/128', 128]))
  const auto = (name: string) => ({ ...aPod(name), families: [], ifServed: ['ipv4', 'ipv6'] as const })
  t.is(given(await node.allocator.assign(auto('a'))).length, 2)
  t.is(refusal(await node.allocator.assign(auto('b'))).refused, 'exhausted')
  t.deepEqual([...node.allocator.held().keys()], [aPod('a').handle])
})

test('a family of no pool is given to nobody who demands it, nor to who asks for an address of it', async t => {
  const node = await started(await storeWith(['p', '10.0.0.0/24']))
  const demanded = { ...aPod('a'), families: ['ipv6'] as const, ifServed: ['ipv4'] as const }
  t.is(refusal(await node.allocator.assign(demanded)).refused, 'no-pool')
  const named = { ...aPod('a'), families: [], ifServed: ['ipv4', 'ipv6'] as const, addresses: ['fd00::5'] }
  t.is(refusal(await node.allocator.assign(named)).refused, 'no-pool')
})

test('a pod that has an address keeps it while no pool was seen, or its pool is gone', async t => {
  const store = await storeWith(['p', '10.0.0.0/24'], ['q', 'fd00:10::/112', 122])
  const node = await started(store)
  const auto = { ...aPod('a'), families: [], ifServed: ['ipv4', 'ipv6'] as const }
  const got = given(await node.allocator.assign(auto))
  await store.delete('IPPool', 'q')
  await converge(store, node)
  t.deepEqual(given(await node.allocator.assign(auto)), got)
  const unseen = aNode(createFakeStore(), 'n1', node.db)
  t.deepEqual(given(await unseen.allocator.assign(auto)), got)
})

test('a released address is the last one to be used again', async t => {
  const node = await started(await storeWith(['p', '10.0.0.0/30', 30]))
  const seen: string[] = []
  for (let i = 0; i < 5; i++) {
    seen.push(given(await node.allocator.assign(aPod(`p${i}`)))[0]!.address)
    await node.allocator.release(aPod(`p${i}`).handle)
  }
  t.is(new Set(seen.slice(0, 4)).size, 4)
  t.is(seen[4], seen[0])
})

test('a spare block is there before the last one is full', async t => {
  const store = await storeWith(['p', '10.0.0.0/24', 28])
  const node = await started(store)
  for (let i = 0; i < 12; i++) given(await node.allocator.assign(aPod(`p${i}`)))
  await converge(store, node)
  t.is(node.allocator.blocks().length, 2)
})

test('an empty block that is not needed as a spare is given back', async t => {
  const store = await storeWith(['p', '10.0.0.0/24', 28])
  const node = await started(store)
  for (let i = 0; i < 40; i++) given(await node.allocator.assign(aPod(`p${i}`)))
  await converge(store, node)
  for (let i = 0; i < 40; i++) await node.allocator.release(aPod(`p${i}`).handle)
  await converge(store, node)
  t.is(node.allocator.blocks().length, 1)
  t.is((await store.list('IPAMBlock')).length, 1)
})

test('assignments are published coalesced, in a form that holds no structural fault', async t => {
  const store = await storeWith(['p', '10.0.0.0/24'])
  const node = await started(store)
  for (let i = 0; i < 20; i++) given(await node.allocator.assign(aPod(`p${i}`)))
  await node.allocator.release(aPod('p3').handle)
  const before = (await store.list('IPAMBlock'))[0]!
  await converge(store, node)
  const after = (await store.list('IPAMBlock'))[0]!
  t.is(Number(after.metadata.resourceVersion) - Number(before.metadata.resourceVersion), 1)
  t.deepEqual(blockFaults(after, Date.now()), [])
  t.is(parseBlock(after).slots.filter(slot => slot !== null).length, 19)
  t.true(BigInt(after.spec.sequenceNumber ?? 0) > 2n ** 53n)
})

test('with the API server away, a restarted node assigns and releases from its journal, and publishes later', async t => {
  const store = await storeWith(['p', '10.0.0.0/24'])
  const node = await started(store)
  const kept = given(await node.allocator.assign(aPod('kept')))
  store.disconnect()
  const again = await node.restart()
  t.deepEqual(given(await again.allocator.assign(aPod('kept'))), kept)
  given(await again.allocator.assign(aPod('new')))
  store.reconnect()
  await converge(store, again)
  const [block] = await store.list('IPAMBlock')
  t.is(block?.spec.attributes.length, 2)
})

test('a node with no free address refuses with "unreachable" while the API server is away', async t => {
  const store = await storeWith(['p', '10.0.0.0/24', 32])
  const node = await started(store)
  store.disconnect()
  given(await node.allocator.assign(aPod('a')))
  const answer = refusal(await node.allocator.assign(aPod('b')))
  t.is(answer.refused, 'unreachable')
  t.regex(answer.remedy, /API server/)
})

test('a block of this node that the journal does not know is adopted with its addresses', async t => {
  const store = await storeWith(['p', '10.0.0.0/24'])
  const node = await started(store)
  const held = given(await node.allocator.assign(aPod('a')))
  await converge(store, node)
  await node.close()
  const fresh = await started(store, 'n1')
  t.deepEqual(fresh.allocator.held().get(aPod('a').handle), held)
  t.is(fresh.allocator.blocks().length, 1)
})

test('a block object that somebody deleted is made again with its addresses', async t => {
  const store = await storeWith(['p', '10.0.0.0/24'])
  const node = await started(store)
  given(await node.allocator.assign(aPod('a')))
  await converge(store, node)
  const [block] = await store.list('IPAMBlock')
  await store.delete('IPAMBlock', block!.metadata.name)
  await converge(store, node)
  const [back] = await store.list('IPAMBlock')
  t.is(back?.spec.attributes[0]?.handle_id, aPod('a').handle)
})

test('a block that another node owns is not assigned from, not announced, and forgotten when it is empty', async t => {
  const store = await storeWith(['p', '10.0.0.0/24', 26])
  const node = await started(store)
  given(await node.allocator.assign(aPod('a')))
  await converge(store, node)
  const [block] = await store.list('IPAMBlock')
  await store.update('IPAMBlock', { ...block!, spec: { ...block!.spec, affinity: 'host:n2' } })
  await converge(store, node)
  const lost = block!.spec.cidr
  t.false(node.allocator.blocks().some(({ cidr }) => cidr === lost))
  t.is(node.allocator.conditions().find(({ type }) => type === 'BlocksOwned')?.reason, 'LostBlock')
  t.not(given(await node.allocator.assign(aPod('b')))[0]?.block, lost)
  t.not(given(await (await node.restart()).allocator.assign(aPod('c')))[0]?.block, lost)
})

test('the pool of a block is the one that holds it now, also when it was made again under another name', async t => {
  const store = await storeWith(['old-name', '10.0.0.0/24', 26])
  const node = await started(store)
  t.deepEqual(
    node.allocator.blocks().map(({ pool }) => pool),
    ['old-name'],
  )
  await store.delete('IPPool', 'old-name')
  await store.create('IPPool', aPool('new-name', '10.0.0.0/24', 26))
  await converge(store, node)
  t.deepEqual(
    node.allocator.blocks().map(({ pool }) => pool),
    ['new-name'],
  )
})

test('a journal that still has the pool of each block is taken over', async t => {
  const store = await storeWith(['p', '10.0.0.0/24', 26])
  const node = await started(store)
  const [block] = node.allocator.blocks()
  node.db.exec("ALTER TABLE ipam_blocks ADD COLUMN pool TEXT NOT NULL DEFAULT 'p'")
  const again = await node.restart()
  t.deepEqual(again.allocator.blocks(), [block!])
  given(await again.allocator.assign(aPod('a')))
})

test('fields that others put on a block survive its publication', async t => {
  const store = await storeWith(['p', '10.0.0.0/24'])
  const node = await started(store)
  const [block] = await store.list('IPAMBlock')
  await store.update('IPAMBlock', {
    ...block!,
    metadata: { ...block!.metadata, labels: { mark: 'x' } },
    spec: { ...block!.spec, affinityClaimTime: '2026-01-01T00:00:00Z' },
  })
  given(await node.allocator.assign(aPod('a')))
  await converge(store, node)
  const [after] = await store.list('IPAMBlock')
  t.is(after?.metadata.labels?.['mark'], 'x')
  t.is(after?.spec['affinityClaimTime'], '2026-01-01T00:00:00Z')
  t.is(after?.spec.attributes.length, 1)
})

test('a tunnel address has its handle in the words that operators know and comes back after a restart', async t => {
  const store = await storeWith(['p', '10.0.0.0/24'])
  const node = await started(store)
  const [tunnel] = given(await node.allocator.assign(tunnelRequest('ipip', 'n1')))
  await converge(store, node)
  const [block] = await store.list('IPAMBlock')
  t.is(block?.spec.attributes[0]?.handle_id, 'ipip-tunnel-addr-n1')
  t.is(block?.spec.attributes[0]?.secondary?.['type'], 'ipipTunnelAddress')
  const again = await node.restart()
  t.deepEqual(given(await again.allocator.assign(tunnelRequest('ipip', 'n1'))), [tunnel!])
})

test('exact addresses of both families are given together, or none of them', async t => {
  const node = await started(await storeWith(['p', '10.0.0.0/24'], ['q', 'fd00:10::/112', 122]))
  const both = { families: ['ipv4', 'ipv6'] as const, addresses: ['fd00:10::7', '10.0.0.7'] }
  const got = given(await node.allocator.assign({ ...aPod('a'), ...both }))
  t.deepEqual(
    got.map(({ address }) => address),
    ['10.0.0.7', 'fd00:10::7'],
  )
  const half = { ...aPod('b'), ...both, addresses: ['10.0.0.8', 'fd00:10::7'] }
  t.is(refusal(await node.allocator.assign(half)).refused, 'address-taken')
  t.deepEqual([...node.allocator.held().keys()], [aPod('a').handle])
  // one by name, the other by choice
  const one = given(await node.allocator.assign({ ...aPod('c'), ...both, addresses: ['fd00:10::9'] }))
  t.deepEqual([one.length, one[1]?.address], [2, 'fd00:10::9'])
})

test('an exact address is given once, and refused when it is held, foreign or outside every pool', async t => {
  const store = await storeWith(['p', '10.0.0.0/25'])
  const n1 = await started(store, 'n1')
  const n2 = await started(store, 'n2')
  const own = n1.allocator.blocks()[0]!.cidr
  const address = own.replace(/\/.*/, '')
  t.is(given(await n1.allocator.assign({ ...aPod('a'), addresses: [address] }))[0]?.address, address)
  t.is(refusal(await n1.allocator.assign({ ...aPod('b'), addresses: [address] })).refused, 'address-taken')
  t.is(refusal(await n2.allocator.assign({ ...aPod('c'), addresses: [address] })).refused, 'address-taken')
  t.is(refusal(await n1.allocator.assign({ ...aPod('d'), addresses: ['1.1.1.1'] })).refused, 'address-outside')
})

test('ten requests at once on an empty node share one claim', async t => {
  const store = await storeWith(['p', '10.0.0.0/24'])
  const node = await started(store)
  const answers = await Promise.all(Array.from({ length: 10 }, (_, i) => node.allocator.assign(aPod(`p${i}`))))
  t.is(new Set(answers.map(answer => given(answer)[0]?.address)).size, 10)
  t.is(node.allocator.blocks().length, 1)
})

test('listeners hear when all blocks are known and when one is claimed, and not of every address', async t => {
  const store = await storeWith(['p', '10.0.0.0/24'])
  const node = aNode(store, 'n1')
  const heard: string[][] = []
  node.allocator.onBlocks(blocks => heard.push(blocks.map(({ cidr }) => cidr)))
  node.start()
  await converge(store, node)
  for (let i = 0; i < 5; i++) given(await node.allocator.assign(aPod(`p${i}`)))
  t.deepEqual(
    heard.map(blocks => blocks.length),
    [0, 1],
  )
})

test('a wall clock that jumps by ten years, back or forth, changes no answer and publishes everything', async t => {
  const store = await storeWith(['p', '10.0.0.0/24', 28])
  const node = await started(store)
  const nowMs = node.clock.wallMs()
  const seen = new Set<string>()
  for (const [i, years] of [0, 10, -10, 5, -40].entries()) {
    node.clock.wallMs = () => nowMs + years * 365 * 86_400_000
    for (let n = 0; n < 6; n++) seen.add(given(await node.allocator.assign(aPod(`p${i}-${n}`)))[0]!.address)
    await converge(store, node)
    t.deepEqual(node.allocator.conditions(), [])
  }
  t.is(seen.size, 30)
  const again = await node.restart()
  await converge(store, again)
  t.is([...again.allocator.held().keys()].filter(handle => handle.startsWith('net.')).length, 30)
})

test('with ipCooldownSeconds no other pod gets a released address before its time, and a refusal says so', async t => {
  const store = await storeWith(['p', '10.0.0.0/31', 31])
  const spec = { strictAffinity: false, autoAllocateBlocks: true, maxBlocksPerHost: 0, ipCooldownSeconds: 30 }
  await store.create('IPAMConfiguration', { metadata: { name: 'default' }, spec })
  const node = await started(store)
  given(await node.allocator.assign(aPod('a')))
  const second = given(await node.allocator.assign(aPod('b')))[0]!.address
  await node.allocator.release(aPod('b').handle)
  const refused = refusal(await node.allocator.assign(aPod('c')))
  t.is(refused.refused, 'exhausted')
  t.regex(refused.message, /; 1 released addresses rest for 30 s \(ipCooldownSeconds\)$/)
  t.is(
    given(await node.allocator.assign({ ...aPod('d'), addresses: [second] }))[0]?.address,
    second,
    'asked for by name',
  )
  await node.allocator.release(aPod('d').handle)
  node.clock.advance(29_999)
  refusal(await node.allocator.assign(aPod('c')))
  node.clock.advance(1)
  t.is(given(await node.allocator.assign(aPod('c')))[0]?.address, second)
})

test('while addresses rest other ones are used, of further blocks, and no block with one is given back', async t => {
  const store = await storeWith(['p', '10.0.0.0/28', 30])
  const spec = { strictAffinity: false, autoAllocateBlocks: true, maxBlocksPerHost: 0, ipCooldownSeconds: 1200 }
  await store.create('IPAMConfiguration', { metadata: { name: 'default' }, spec })
  const node = await started(store)
  const seen = new Set<string>()
  for (let i = 0; i < 12; i++) {
    seen.add(given(await node.allocator.assign(aPod(`p${i}`)))[0]!.address)
    await node.allocator.release(aPod(`p${i}`).handle)
  }
  t.is(seen.size, 12)
  t.is(node.allocator.blocks().length, 3, 'and no block is given back whose next owner would not wait')
})
