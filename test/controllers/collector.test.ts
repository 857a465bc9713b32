import test, { type ExecutionContext } from 'ava'
import { withWish } from '../../api/address-wishes.ts'
import { Nodes } from '../../controllers/nodes.ts'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import { Refused, type Store } from '../../datastore/port.ts'
import { ManualClock } from '../../lib/clock.ts'
import { aBlock, aNode, aPool } from '../datastore/objects.ts'
import { type Agent, startAgent } from './agents.ts'
import { leader, pass, settled } from './leader.ts'

const web = { handle_id: 'net.web.eth0', secondary: { pod: 'web', node: 'n1' } }
const used = (cidr: string, spec: object = {}) =>
  aBlock(cidr, { allocations: [0, null], unallocated: [1], attributes: [web], ...spec })
const cidrsOf = async (store: FakeStore) => (await store.list('IPAMBlock')).map(({ spec }) => spec.cidr).sort()

/** A cluster of the Nodes n1 and n2. */
async function cluster(): Promise<FakeStore> {
  const store = createFakeStore()
  for (const name of ['n1', 'n2']) await store.create('Node', aNode(name))
  return store
}

test('a block of a deleted Node is freed after the grace and the time for an answer, with pods and tunnels in it', async t => {
  const store = await cluster()
  const tunnel = { handle_id: 'ipip-tunnel-addr-n1', secondary: { node: 'n1', type: 'ipipTunnelAddress' } }
  const tunnelV6 = { handle_id: 'vxlan-v6-tunnel-addr-n1', secondary: { node: 'n1', type: 'vxlanV6TunnelAddress' } }
  await store.create('IPAMBlock', used('fd00::/127', { attributes: [tunnelV6] }))
  await store.create('IPAMBlock', used('10.0.0.0/31'))
  await store.create('IPAMBlock', used('10.0.0.2/31', { attributes: [tunnel] }))
  await store.create(
    'IPAMBlock',
    used('10.0.0.4/31', { affinity: 'host:n2', attributes: [], allocations: [null, null], unallocated: [0, 1] }),
  )
  const program = leader(store)
  await pass(600, program)
  t.is((await cidrsOf(store)).length, 4, 'the Nodes are there')
  await store.delete('Node', 'n1')
  await pass(115, program)
  t.is((await cidrsOf(store)).length, 4)
  await pass(10, program)
  t.deepEqual(await cidrsOf(store), ['10.0.0.4/31'])
  t.deepEqual(program.collector.freed, { blocks: 3, addresses: 3 })
  await program.chores.close()
})

test('a program that starts after a Node was deleted finds its blocks', async t => {
  const store = await cluster()
  await store.create('IPAMBlock', used('10.0.0.0/31', { affinity: 'host:n9', attributes: [{ ...web, secondary: {} }] }))
  const program = leader(store)
  await pass(140, program)
  t.deepEqual(await cidrsOf(store), [])
  await program.chores.close()
})

test('a node that is unreachable has its Node object, and keeps its blocks for ever', async t => {
  const store = await cluster()
  await store.create('IPAMBlock', used('10.0.0.0/31'))
  const program = leader(store)
  await pass(20_000, program)
  t.deepEqual(await cidrsOf(store), ['10.0.0.0/31'])
  await program.chores.close()
})

/** An agent of n1 with a pod, and its block. */
async function agentWithPod(t: ExecutionContext, store: FakeStore): Promise<{ agent: Agent; cidr: string }> {
  await store.create('IPPool', aPool('p', { cidr: '10.9.0.0/24', blockSize: 29 }))
  const agent = startAgent(store, 'n1')
  await pass(30, agent)
  t.true(agent.addPod('web'))
  await pass(10, agent)
  const [cidr] = await cidrsOf(store)
  return { agent, cidr: cidr! }
}

test('an agent that lives without its Node object answers, and keeps its block; when it is gone too, the block is freed', async t => {
  const store = await cluster()
  const { agent, cidr } = await agentWithPod(t, store)
  const program = leader(store)
  await pass(10, program, agent)
  await store.delete('Node', 'n1')
  await pass(600, program, agent)
  const block = await store.get('IPAMBlock', cidr.replace(/[.:/]/g, '-'))
  t.is(block.metadata.annotations?.['margay/owner-asked'], undefined, 'it was asked and answered')
  t.like(program.collector.waiting[0], { nodes: ['n1'], because: 'answered' })
  t.is(agent.pods().get('net.web.eth0')?.[0]?.block, cidr)
  await agent.kill()
  await pass(1_000, program)
  t.deepEqual(await cidrsOf(store), [])
  await program.chores.close()
})

test('a Node that is deleted and registered again under its name loses nothing, whether its agent runs or comes back', async t => {
  const store = await cluster()
  const { agent, cidr } = await agentWithPod(t, store)
  const program = leader(store)
  await pass(10, program, agent)
  await store.delete('Node', 'n1')
  await agent.kill()
  await pass(110, program)
  await store.create('Node', aNode('n1'))
  await pass(300, program)
  const again = startAgent(store, 'n1', agent.db)
  await pass(60, program, again)
  t.deepEqual((await cidrsOf(store)).includes(cidr), true)
  t.is(again.pods().get('net.web.eth0')?.[0]?.block, cidr)
  const { metadata } = await store.get('IPAMBlock', cidr.replace(/[.:/]/g, '-'))
  t.is(metadata.annotations?.['margay/owner-asked'], undefined, 'the agent took the question out')
  await again.kill()
  await program.chores.close()
})

test('a Node that comes back in the moment before the delete keeps its block: the watch of this program is behind', async t => {
  const shared = await cluster()
  await shared.create('IPAMBlock', used('10.0.0.0/31'))
  const store: Store = {
    ...shared,
    watch: (kind, handlers) => shared.watch(kind, { event: event => event.type === 'set' || handlers.event(event) }),
  }
  const program = leader(store)
  await settled()
  await shared.delete('Node', 'n1')
  await pass(110, program)
  await shared.create('Node', aNode('n1'))
  await pass(2_000, program)
  t.deepEqual(await cidrsOf(shared), ['10.0.0.0/31'])
  await program.chores.close()
})

test('a block that anybody wrote after the question stays', async t => {
  const store = await cluster()
  await store.create('IPAMBlock', used('10.0.0.0/31'))
  await store.create('IPAMBlock', aBlock('10.0.0.2/31', { affinity: undefined }))
  const program = leader(store)
  await settled()
  await store.delete('Node', 'n1')
  await pass(100, program)
  await store.patch('IPAMBlock', '10-0-0-0-31', { metadata: { labels: { touched: 'yes' } } })
  await pass(100, program)
  t.deepEqual(await cidrsOf(store), ['10.0.0.0/31'], 'a block of nobody with nothing in it is gone')
  await program.chores.close()
})

test('what is not of a node that is gone stays: borrowed addresses, blocks of others than nodes, addresses of nobody', async t => {
  const store = await cluster()
  const of = (secondary: object) => ({ attributes: [{ handle_id: 'h', secondary }] })
  await store.create('IPAMBlock', used('10.0.0.0/31', of({ node: 'n2' })))
  await store.create('IPAMBlock', used('10.0.0.2/31', { affinity: 'virtual:other' }))
  await store.create('IPAMBlock', used('10.0.0.4/31', { affinity: undefined, ...of({}) }))
  const program = leader(store)
  await settled()
  await store.delete('Node', 'n1')
  await pass(1_000, program)
  t.is((await cidrsOf(store)).length, 3)
  t.deepEqual(program.collector.unclear, [
    { block: '10-0-0-2-31', why: 'it belongs to virtual:other' },
    { block: '10-0-0-4-31', why: 'address 0 of it names no node' },
  ])
  await program.chores.close()
})

test("a block of Services is nobody else's business, and counted as that of load balancers", async t => {
  const store = await cluster()
  const secondary = { namespace: 'default', service: 'web', type: 'LoadBalancer' }
  await store.create(
    'IPAMBlock',
    used('10.0.0.2/31', { affinity: 'virtual:load-balancer', attributes: [{ handle_id: 'lb-1', secondary }] }),
  )
  const program = leader(store)
  await pass(1_000, program)
  t.deepEqual(await cidrsOf(store), ['10.0.0.2/31'])
  t.deepEqual([program.collector.unclear, program.collector.waiting], [[], []])
  t.like(program.collector.census, [{ node: 'load-balancer', blocks: 1, used: 1, borrowed: 0, candidates: 0 }])
  await program.chores.close()
})

test('a block of a gone node with an address that it lent goes once the borrower has asked to free that, and not before', async t => {
  const store = await cluster()
  await store.create('IPAMBlock', used('10.0.0.0/31', { attributes: [{ handle_id: 'h', secondary: { node: 'n2' } }] }))
  const program = leader(store)
  await settled()
  await store.delete('Node', 'n1')
  await pass(1_000, program)
  const wish = { at: 'now', want: [], hold: [], free: ['10.0.0.0'] }
  const write = async (node: string) =>
    store.update('IPAMBlock', withWish(await store.get('IPAMBlock', '10-0-0-0-31'), node, wish))
  await write('n3')
  await pass(1_000, program)
  t.is((await cidrsOf(store)).length, 1, 'another node cannot say that')
  await write('n2')
  await pass(1_000, program)
  t.deepEqual(await cidrsOf(store), [])
  await program.chores.close()
})

test('nothing is freed while the cluster has no Node at all, or when the grace is set to none', async t => {
  const store = createFakeStore()
  await store.create('IPAMBlock', used('10.0.0.0/31'))
  const program = leader(store)
  await pass(1_000, program)
  t.is((await cidrsOf(store)).length, 1)
  await program.chores.close()
  await store.create('Node', aNode('n2'))
  const never = leader(store, { graceMs: undefined, periodMs: 300_000 })
  await pass(2_000, never)
  t.is((await cidrsOf(store)).length, 1)
  await never.chores.close()
})

test('a right that is missing is told for its block, and does not stop the others', async t => {
  const shared = await cluster()
  await shared.create('IPAMBlock', used('10.0.0.0/31'))
  await shared.create('IPAMBlock', used('10.0.0.2/31'))
  const store: Store = {
    ...shared,
    delete: async (kind, name, options) => {
      if (name === '10-0-0-0-31') throw new Refused(403, 'ipamblocks is forbidden: cannot delete')
      return shared.delete(kind, name, options)
    },
  }
  const program = leader(store)
  await settled()
  await shared.delete('Node', 'n1')
  await pass(200, program)
  t.deepEqual(await cidrsOf(shared), ['10.0.0.0/31'])
  t.like(program.collector.waiting[0], { block: '10-0-0-0-31', because: 'refused' })
  await program.chores.close()
})

test('the time without a Node begins with the first question: a program that only waits keeps nothing of Nodes that went', async t => {
  const store = await cluster()
  const clock = new ManualClock()
  const nodes = new Nodes({ store, clock, gone: () => undefined })
  nodes.start()
  await settled()
  await store.delete('Node', 'n1')
  await settled()
  clock.advance(3_600_000)
  t.is(nodes.goneMs('n1'), 0)
  clock.advance(60_000)
  t.is(nodes.goneMs('n1'), 60_000)
  nodes.close()
})

test('a hundred Nodes that go within ten seconds cost one list of all blocks', async t => {
  const store = createFakeStore()
  const names = Array.from({ length: 101 }, (_, i) => `m${i}`)
  for (const name of names) await store.create('Node', aNode(name))
  let lists = 0
  const pages: FakeStore['pages'] = (kind, options) => {
    if (kind === 'IPAMBlock') lists++
    return store.pages(kind, options)
  }
  const { clock, chores } = leader({ ...store, pages })
  await settled()
  clock.advance(10_000)
  await settled()
  const before = lists
  for (const name of names.slice(1)) {
    await store.delete('Node', name)
    clock.advance(90)
    await settled()
  }
  clock.advance(1_000)
  await settled()
  t.is(lists - before, 1)
  await chores.close()
})
