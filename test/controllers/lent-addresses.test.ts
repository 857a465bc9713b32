// What the owner of a block, which lives, lent to a node that is gone: the owner frees it, and nothing that a pod has.
import test from 'ava'
import { BORROWERS_ASKED_ANNOTATION } from '../../api/borrower-questions.ts'
import { blockName } from '../../api/names.ts'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import type { Store } from '../../datastore/port.ts'
import { parseBlock } from '../../ipam/block.ts'
import { aBlock, aNode, aPool } from '../datastore/objects.ts'
import { type Agent, startAgent } from './agents.ts'
import { leader, pass } from './leader.ts'
import { lent } from './lent-world.ts'

const handlesIn = async (store: FakeStore, block: string) =>
  parseBlock(await store.get('IPAMBlock', blockName(block)))
    .slots.flatMap(slot => slot?.handle ?? [])
    .toSorted()
const annotationsOf = async (store: FakeStore, block: string) =>
  (await store.get('IPAMBlock', blockName(block))).metadata.annotations ?? {}
const end = async (program: ReturnType<typeof leader>, ...agents: readonly Agent[]) => {
  await program.chores.close()
  for (const agent of agents) await agent.kill()
}

test('an address that was lent to a node which is gone for good is freed by its owner, after the grace and the time for an answer', async t => {
  const { shared, n1, n2, block } = await lent()
  const program = leader(shared)
  await pass(10, program, n1, n2)
  await n1.kill()
  await pass(600, program, n2)
  t.is(n2.allocator.lent().length, 1, 'its Node is there: it is only unreachable')
  await shared.delete('Node', 'n1')
  // its pods come and go meanwhile, so that its owner writes the block all the time
  let pods = 0
  const busy = async (seconds: number) => {
    for (let i = 0; i < seconds; i += 15) {
      n2.addPod(`q${++pods}`)
      await pass(5, program, n2)
      await n2.allocator.release(`net.q${pods}.eth0`)
      await n2.allocator.flush()
      await pass(10, program, n2)
    }
  }
  await busy(105)
  t.is(n2.allocator.lent().length, 1)
  await busy(45)
  t.deepEqual(n2.allocator.lent(), [])
  await pass(150, program, n2)
  t.deepEqual(await handlesIn(shared, block), ['net.own.eth0'])
  const annotations = Object.keys(await annotationsOf(shared, block))
  t.deepEqual(annotations, ['margay/journal'], 'no question and no wish is left')
  t.deepEqual(program.collector.waiting, [])
  t.true(n2.addPod('next'))
  await end(program, n2)
})

test('an agent that lives without its Node object answers and keeps what it borrowed, also from an owner that is gone; when it is gone too, all is freed', async t => {
  for (const isOwnerGone of [false, true]) {
    const { shared, n1, n2, address, block } = await lent()
    const program = leader(shared)
    await pass(10, program, n1, n2)
    await shared.delete('Node', 'n1')
    if (isOwnerGone) {
      await shared.delete('Node', 'n2')
      await n2.kill()
    }
    await pass(900, program, n1, ...(isOwnerGone ? [] : [n2]))
    t.deepEqual(n1.allocator.borrowed(), [address])
    t.true((await handlesIn(shared, block)).includes('net.more.eth0'))
    const waiting = program.collector.waiting.filter(each => each.block === blockName(block))
    t.like(waiting, [{ because: 'answered' }])
    await n1.kill()
    await pass(1_000, program, ...(isOwnerGone ? [] : [n2]))
    const blocks = (await shared.list('IPAMBlock')).map(({ spec }) => spec.cidr)
    t.deepEqual(blocks, isOwnerGone ? [] : [block])
    if (!isOwnerGone) t.deepEqual(await handlesIn(shared, block), ['net.own.eth0'])
    await end(program, ...(isOwnerGone ? [] : [n2]))
  }
})

test('a Node that comes back in the moment before keeps what it borrowed, and its agent takes the question out', async t => {
  const shared = createFakeStore()
  // the watch of this program is behind
  const store: Store = {
    ...shared,
    watch: (kind, handlers) => shared.watch(kind, { event: event => event.type === 'set' || handlers.event(event) }),
  }
  const { n1, n2, address, block } = await lent(shared)
  const program = leader(store)
  await pass(10, program, n1, n2)
  await shared.delete('Node', 'n1')
  await n1.kill()
  await pass(100, program, n2)
  t.regex((await annotationsOf(shared, block))[BORROWERS_ASKED_ANNOTATION] ?? '', /^\{"n1":"c1 at /)
  await shared.create('Node', aNode('n1'))
  await pass(300, program, n2)
  t.deepEqual(n2.allocator.lent(), [address])
  const again = startAgent(shared, 'n1', n1.db)
  await pass(60, program, again, n2)
  t.deepEqual(again.allocator.borrowed(), [address])
  t.is((await annotationsOf(shared, block))[BORROWERS_ASKED_ANNOTATION], undefined)
  await end(program, again, n2)
})

test('an address that Calico lent to a node which is gone is freed as one that was lent here', async t => {
  const store = createFakeStore()
  for (const name of ['n2', 'n3']) await store.create('Node', aNode(name))
  await store.create('IPPool', aPool('p', { cidr: '10.9.0.0/29', blockSize: 30 }))
  const attributes = ['n2', 'n9', 'n3'].map(node => ({
    handle_id: `k8s-pod-network.${node}`,
    secondary: { node, pod: node, namespace: 'default' },
  }))
  const spec = { affinity: 'host:n2', allocations: [0, 1, 2, null], unallocated: [3], attributes }
  await store.create('IPAMBlock', aBlock('10.9.0.0/30', spec))
  const n2 = startAgent(store, 'n2')
  const program = leader(store)
  await pass(300, program, n2)
  t.deepEqual(await handlesIn(store, '10.9.0.0/30'), ['k8s-pod-network.n2', 'k8s-pod-network.n3'])
  await end(program, n2)
})

test('an owner that is away while it is asked to free what it lent does so when it is back', async t => {
  const { shared, n1, n2, block } = await lent()
  const program = leader(shared)
  await pass(10, program, n1, n2)
  await n1.kill()
  await n2.kill()
  await shared.delete('Node', 'n1')
  await pass(600, program)
  t.deepEqual(await handlesIn(shared, block), ['net.more.eth0', 'net.own.eth0'])
  const again = startAgent(shared, 'n2', n2.db)
  await pass(150, program, again)
  t.deepEqual(await handlesIn(shared, block), ['net.own.eth0'])
  await end(program, again)
})
