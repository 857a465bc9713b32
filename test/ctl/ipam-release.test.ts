import test from 'ava'
import { releaseAddress, releaseLeaks, releaseNode } from '../../ctl/ipam-release.ts'
import { renderReleased } from '../../ctl/ipam-view.ts'
import { createFakeStore } from '../../datastore/fake.ts'
import { blockFaults, isCollectAsked } from '../../ipam/block.ts'
import { aBlock, aNode, aResource } from '../datastore/objects.ts'

const NOW = { force: false, waitMs: 0, borrowerWaitMs: 0 }
const FORCED = { force: true, waitMs: 0, borrowerWaitMs: 0 }
const held = (pod: string, node: string) => ({ handle_id: `net.${pod}.eth0`, secondary: { pod, node } })

/** The Node n2 alone, with a block of it and one of n1. */
async function cluster() {
  const store = createFakeStore()
  await store.create('Node', aNode('n2'))
  const two = { allocations: [0, 1], unallocated: [] }
  await store.create('IPAMBlock', aBlock('10.0.0.0/31', { ...two, attributes: [held('a', 'n1'), held('b', 'n1')] }))
  const other = { affinity: 'host:n2', attributes: [held('c', 'n2'), held('d', 'n2')] }
  await store.create('IPAMBlock', aBlock('10.0.0.2/31', { ...two, ...other }))
  return store
}

test('ipam release --node frees the blocks of a node that is gone, and says which addresses', async t => {
  const store = await cluster()
  const released = await releaseNode(store, 'n1', NOW)
  t.is(renderReleased(released), 'IPAMBlock 10-0-0-0-31 freed 2 addresses: 10.0.0.0, 10.0.0.1\n')
  t.deepEqual(
    (await store.list('IPAMBlock')).map(({ spec }) => spec.cidr),
    ['10.0.0.2/31'],
  )
  t.is(renderReleased(await releaseNode(store, 'n1', NOW)), 'there is nothing to free\n')
})

test('ipam release refuses what a node with a Node object has, unless it is forced', async t => {
  const store = await cluster()
  const [refused] = await releaseNode(store, 'n2', NOW)
  t.regex(refused!.refused!, /^Node n2 is there/)
  t.regex((await releaseAddress(store, '10.0.0.3', NOW))[0]!.refused!, /^Node n2 is there/)
  t.is((await store.get('IPAMBlock', '10-0-0-2-31')).metadata.annotations, undefined, 'nobody was asked')
  t.deepEqual((await releaseNode(store, 'n2', FORCED))[0]!.freed, ['10.0.0.2', '10.0.0.3'])
})

test('ipam release --ip frees one address, and the block stays sound', async t => {
  const store = await cluster()
  t.deepEqual((await releaseAddress(store, '10.0.0.0', NOW))[0]!.freed, ['10.0.0.0'])
  const block = await store.get('IPAMBlock', '10-0-0-0-31')
  t.deepEqual(block.spec.allocations, [null, 0])
  t.is(block.spec.affinity, 'host:n1')
  t.deepEqual(blockFaults(block, Date.now()), [])
  t.regex((await releaseAddress(store, '10.0.0.0', NOW))[0]!.refused!, /not in use/)
})

test('ipam release frees nothing whose owner writes its block when it is asked', async t => {
  const store = await cluster()
  const releasing = releaseNode(store, 'n1', { force: false, waitMs: 50, borrowerWaitMs: 50 })
  let asked = await store.get('IPAMBlock', '10-0-0-0-31')
  while (asked.metadata.annotations === undefined) {
    await new Promise(setImmediate)
    asked = await store.get('IPAMBlock', '10-0-0-0-31')
  }
  t.regex(asked.metadata.annotations['margay/owner-asked']!, /^margayctl at /)
  await store.update('IPAMBlock', { ...asked, metadata: { ...asked.metadata, annotations: {} } })
  t.regex((await releasing)[0]!.refused!, /its owner answered/)
  t.is((await store.list('IPAMBlock')).length, 2)
})

test('ipam release --from-report takes the blocks of gone nodes whole, and looks at each address again', async t => {
  const store = await cluster()
  const leak = (ip: string, handle: string) => ({ ip, handle, sequenceNumber: undefined })
  const leaks = [
    ...[leak('10.0.0.0', 'net.a.eth0'), leak('10.0.0.1', 'net.b.eth0')],
    ...[leak('10.0.0.2', 'net.c.eth0'), leak('10.0.0.3', 'net.other.eth0'), leak('10.9.9.9', 'net.d.eth0')],
  ]
  const released = await releaseLeaks(store, leaks, NOW)
  t.deepEqual(
    released.map(({ what, freed, refused }) => [what, freed.length, refused?.slice(0, 12)]),
    [
      ['IP 10.0.0.3', 0, 'it is free, '],
      ['IP 10.9.9.9', 0, 'it is free, '],
      ['IPAMBlock 10-0-0-0-31', 2, undefined],
      ['IP 10.0.0.2', 0, 'the agent of'],
    ],
  )
})

test('an address that was given anew after the report stays', async t => {
  const store = await cluster()
  const item = await store.get('IPAMBlock', '10-0-0-0-31')
  await store.update('IPAMBlock', { ...item, spec: { ...item.spec, sequenceNumberForAllocation: { 0: 7, 1: 9n } } })
  const leak = (sequenceNumber: bigint) => ({ ip: '10.0.0.0', handle: 'net.a.eth0', sequenceNumber })
  t.regex((await releaseLeaks(store, [leak(6n)], NOW))[0]!.refused!, /given anew since the report/)
  t.is((await releaseLeaks(store, [leak(7n)], NOW))[0]!.refused, undefined)
})

test('a block of a report whose owner has no Node object and lives stays, whatever is forced', async t => {
  const store = await cluster()
  const leak = { ip: '10.0.0.0', handle: 'net.a.eth0', sequenceNumber: undefined }
  const releasing = releaseLeaks(store, [leak], { force: true, waitMs: 50, borrowerWaitMs: 50 })
  let asked = await store.get('IPAMBlock', '10-0-0-0-31')
  for (let turn = 0; turn < 1_000 && asked.metadata.annotations === undefined; turn++) {
    await new Promise(setImmediate)
    asked = (await store.list('IPAMBlock')).find(({ spec }) => spec.cidr === '10.0.0.0/31') ?? asked
  }
  t.regex(asked.metadata.annotations?.['margay/owner-asked'] ?? '', /^margayctl at /)
  await store.update('IPAMBlock', { ...asked, metadata: { ...asked.metadata, annotations: {} } })
  t.regex((await releasing)[0]!.refused ?? '', /its owner answered/)
  t.is((await store.list('IPAMBlock')).length, 2)
})

test('while the datastore is locked, an address that stays is not said to be used by a pod: its owner publishes nothing', async t => {
  const store = await cluster()
  const info = aResource('ClusterInformation', {
    metadata: { name: 'default' },
    spec: { clusterGUID: 'guid', datastoreReady: false },
  })
  await store.create('ClusterInformation', info)
  const leak = { ip: '10.0.0.2', handle: 'net.c.eth0', sequenceNumber: undefined }
  const releasing = releaseLeaks(store, [leak], { force: false, waitMs: 300, borrowerWaitMs: 300 })
  for (;;) {
    const asked = await store.get('IPAMBlock', '10-0-0-2-31')
    if (isCollectAsked(asked)) {
      await store.update('IPAMBlock', { ...asked, metadata: { ...asked.metadata, annotations: {} } })
      break
    }
    await new Promise(setImmediate)
  }
  t.like((await releasing)[0]!, {
    refused: 'the datastore is locked, so the agent of n2 publishes nothing',
    remedy: "'margayctl datastore unlock', then give the report once more",
  })
})

test('a report of 5,000 nodes is compared with each block once', async t => {
  const store = createFakeStore()
  await store.create('Node', aNode('n1'))
  const blocks = Array.from({ length: 5_000 }, (_, i) => aBlock(`10.${i >> 8}.${i & 255}.0/31`))
  let read = 0
  const counted = blocks.map(block => {
    const { spec } = block
    return {
      ...block,
      get spec() {
        read++
        return spec
      },
    }
  })
  const leaks = blocks.map(({ spec }) => ({
    ...{ ip: spec.cidr.replace(/\/31$/, ''), handle: 'nobody', sequenceNumber: undefined },
  }))
  const released = await releaseLeaks({ ...store, list: async () => counted } as never, leaks, NOW)
  t.is(released.length, leaks.length)
  t.true(read <= 10 * blocks.length, `${read} reads of blocks`)
})
