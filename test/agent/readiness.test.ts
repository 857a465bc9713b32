// A whole agent whose node cannot serve pods, for one reason after the other: what the runtime, the Node object and a probe
// are told, and that it ends with the reason.
import test, { type ExecutionContext } from 'ava'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import { Refused } from '../../datastore/port.ts'
import { ManualClock } from '../../lib/clock.ts'
import { aNode, aPool } from '../datastore/objects.ts'
import { aCluster, cni, startAgent } from './machines.ts'

type Told = { ready: boolean; status: number | 'ok'; network?: string; why?: string }

/** The agent of n1. `servedAgoMs`: when an earlier one of this boot served pods. */
async function aNodeOf(t: ExecutionContext, store: FakeStore, { servedAgoMs }: { servedAgoMs?: number } = {}) {
  const { machines, network, store: first } = await aCluster(t)
  for (const node of await first.list('Node')) await store.create('Node', aNode(node.metadata.name))
  const clock = new ManualClock()
  const touched: number[] = []
  const served = { agoMs: () => servedAgoMs, touch: () => void touched.push(clock.monotonicMs()) }
  const agent = await startAgent(t, machines[0], store, network, clock, { served })
  const told = async (): Promise<Told> => {
    const { exitCode, stdout } = await cni(agent, 'STATUS', 'c1')
    const conditions = (await store.get('Node', 'n1').catch(() => undefined))?.status?.['conditions'] as
      | { type: string; status: string; reason: string }[]
      | undefined
    const network = conditions?.find(({ type }) => type === 'NetworkUnavailable')
    return {
      ready: agent.ready(),
      status: exitCode === 0 ? 'ok' : JSON.parse(stdout).code,
      ...(network !== undefined && { network: network.status, why: network.reason }),
    }
  }
  return {
    ...{ agent, clock, touched },
    /** What is told after so many seconds. */
    after: async (seconds: number) => {
      for (let i = 0; i < seconds * 4; i++) {
        clock.advance(250)
        for (let turn = 0; turn < 15; turn++) await new Promise(setImmediate)
      }
      return told()
    },
  }
}

const SERVED: Told = { ready: true, status: 'ok', network: 'False', why: 'PodsServed' }

async function aStore(): Promise<FakeStore> {
  const store = createFakeStore()
  await store.create('IPPool', aPool('pool', { cidr: '10.244.0.0/16' }))
  return store
}

test('a node that serves pods says so to the runtime, in its Node object, and to whoever asks while no agent runs', async t => {
  const { after, touched, agent } = await aNodeOf(t, await aStore())
  t.deepEqual(await after(5), SERVED)
  t.true(touched.length > 0)
  const before = touched.length
  await agent.close()
  t.is(touched.length, before + 1, 'the last word is of the end')
})

test('the only pool is disabled: a node that served pods takes no new ones and is not NotReady; a new one is', async t => {
  const disable = (store: FakeStore, disabled: boolean) => store.patch('IPPool', 'pool', { spec: { disabled } })
  const store = await aStore()
  const old = await aNodeOf(t, store)
  t.deepEqual(await old.after(5), SERVED)
  await disable(store, true)
  t.deepEqual(await old.after(15), { ready: false, status: 'ok', network: 'True', why: 'AllDisabled' })
  await disable(store, false)
  t.deepEqual(await old.after(2), SERVED)
  const other = await aStore()
  await disable(other, true)
  const fresh = await aNodeOf(t, other)
  t.deepEqual(await fresh.after(15), { ready: false, status: 50, network: 'True', why: 'AllDisabled' })
  await disable(other, false)
  t.deepEqual(await fresh.after(5), SERVED)
})

test('without the right to create blocks a new node is not ready, and says which right it lacks', async t => {
  const store = await aStore()
  let allowed = false
  const create: FakeStore['create'] = (kind, object) =>
    kind === 'IPAMBlock' && !allowed
      ? Promise.reject(new Refused(403, 'forbidden: create ipamblocks: no rule'))
      : store.create(kind, object)
  const { after, agent } = await aNodeOf(t, { ...store, create })
  t.deepEqual(await after(15), { ready: false, status: 50, network: 'True', why: 'NoBlock' })
  t.regex((await cni(agent, 'STATUS', 'c1')).stdout, /forbidden: create ipamblocks/)
  allowed = true
  t.deepEqual(await after(60), SERVED)
})

test('without the right to patch its Node a node is not ready, and is as soon as it may', async t => {
  const store = await aStore()
  let allowed = false
  let asked = 0
  const patch: FakeStore['patch'] = async (kind, name, value, options) => {
    if (kind === 'Node') asked++
    if (kind === 'Node' && !allowed) throw new Refused(403, 'forbidden: patch nodes/status: no rule')
    return store.patch(kind, name, value, options)
  }
  const { after, agent } = await aNodeOf(t, { ...store, patch })
  t.deepEqual(await after(26), { ready: false, status: 50 })
  t.true(asked <= 6, `${asked} attempts in 26 s`)
  t.is(agent.conditions().find(({ type }) => type === 'NodePublished')?.reason, 'Forbidden')
  allowed = true
  t.deepEqual(await after(60), SERVED)
})

test('a Node that is deleted makes the node not ready; another one of its name is written at once', async t => {
  const store = await aStore()
  const { after } = await aNodeOf(t, store)
  t.deepEqual(await after(5), SERVED)
  await store.delete('Node', 'n1')
  t.deepEqual(await after(30), { ready: false, status: 51 })
  await store.create('Node', aNode('n1'))
  t.deepEqual(await after(1), SERVED)
})

test('an agent that starts again while the API server is away leaves a node Ready that it serves from its journal', async t => {
  const store = await aStore()
  store.disconnect()
  const known = await aNodeOf(t, createFakeStoreLike(store), { servedAgoMs: 5000 })
  const first = await known.after(1)
  t.is(first.status, 'ok', 'what is not known yet is no fault for a minute')
  t.like(await known.after(80), { ready: false, status: 50 })
})

/** A store that takes the Nodes that the test makes although it is disconnected for the agent. */
function createFakeStoreLike(store: FakeStore): FakeStore {
  return { ...store, create: async (_kind, object) => object }
}

test('a NetworkUnavailable of somebody else, or none, is put right; those of others stay', async t => {
  const store = await aStore()
  const { after } = await aNodeOf(t, store)
  t.deepEqual(await after(5), SERVED)
  const ready = { type: 'Ready', status: 'True', reason: 'KubeletReady' }
  for (const conditions of [
    [ready],
    [ready, { type: 'NetworkUnavailable', status: 'True', reason: 'NoRouteCreated' }],
    'none',
  ]) {
    store.inject('Node', { ...(await store.get('Node', 'n1')), status: { conditions } })
    t.deepEqual(await after(1), SERVED)
    const written = (await store.get('Node', 'n1')).status?.['conditions'] as object[]
    if (conditions !== 'none') t.deepEqual(written[0], ready)
  }
})
