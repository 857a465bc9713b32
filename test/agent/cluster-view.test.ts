// Routing works on several kinds at once: what is true of all of them, and what one alone can hold back.
import test from 'ava'
import { ClusterView } from '../../agent/cluster-view.ts'
import type { Kind, Resource } from '../../api/kinds.ts'
import { openCaches } from '../../datastore/cache.ts'
import { createFakeStore } from '../../datastore/fake.ts'
import type { Cache } from '../../datastore/kind-cache.ts'
import { NotFound, Refused, Unreachable } from '../../datastore/port.ts'
import { ManualClock } from '../../lib/clock.ts'
import { openDatabase } from '../../lib/database.ts'
import { silentLog } from '../../lib/log.ts'
import { aNode, aPool, aResource } from '../datastore/objects.ts'

const FILTERED = aResource('BGPPeer', {
  metadata: { name: 'a' },
  spec: { peerIP: '192.0.2.1', asNumber: 1, filters: ['f'] },
})

type State = { synced: boolean; recalled?: boolean; connected: boolean; cause?: Error }

/** Caches without objects whose state the test sets, kind by kind. */
class StateCaches {
  readonly states = new Map<string, State>()
  readonly listeners = new Set<() => void>()

  readonly doubt = undefined
  readonly connection = { connected: false }
  retryNow(): void {}

  ownNode(name: string): Cache<'Node'> {
    return this.#cache(`Node ${name}`)
  }

  readonly peers: Resource<'BGPPeer'>[] = []

  endpointReadiness(): Cache<'EndpointSlice'> {
    return this.#cache('EndpointSlice readiness')
  }

  of<K extends Kind>(kind: K): Cache<K> {
    return this.#cache(kind, kind === 'BGPPeer' ? this.peers : [])
  }

  #cache<K extends Kind>(name: string, objects: readonly object[] = []): Cache<K> {
    const state = this.states.get(name) ?? { synced: false, connected: false }
    this.states.set(name, state)
    return {
      ...{
        get: () => undefined,
        all: () => objects as readonly Resource<K>[],
        size: 0,
        version: undefined,
        refused: [],
        onChange: () => () => undefined,
      },
      onState: listen => {
        this.listeners.add(listen)
        return () => void this.listeners.delete(listen)
      },
      get cause() {
        return state.cause
      },
      get synced() {
        return state.synced
      },
      get known() {
        return state.synced || state.recalled === true
      },
      get connected() {
        return state.connected
      },
    }
  }
}

const turns = async () => {
  for (let i = 0; i < 20; i++) await new Promise(setImmediate)
}

for (const what of ['synced', 'connected'] as const)
  test(`the view is ${what} when every kind is, and one kind that is not is enough to tell`, t => {
    const caches = new StateCaches()
    caches.peers.push(FILTERED)
    const view = new ClusterView(caches, 'n1')
    const states = [...caches.states.values()]
    t.true(states.length > 1)
    t.false(view[what])
    for (const state of states) state[what] = true
    t.true(view[what])
    for (const [kind, state] of caches.states) {
      state[what] = false
      t.false(view[what], kind)
      state[what] = true
    }
  })

test('filters that nobody asks for keep no agent from starting, as after an upgrade while the API server is away', t => {
  const caches = new StateCaches()
  const view = new ClusterView(caches, 'n1')
  for (const [kind, state] of caches.states) state.synced = kind !== 'BGPFilter'
  t.true(view.synced)
  caches.peers.push(FILTERED)
  t.false(view.synced)
  const filters = caches.states.get('BGPFilter')!
  filters.synced = true
  t.true(view.synced)
  filters.synced = false
  for (const cause of [new NotFound('no such resource'), new Refused(403, 'forbidden: list bgpfilters')]) {
    filters.cause = cause
    t.true(view.synced, 'a server without the kind, or an agent without the right')
  }
  filters.cause = new Unreachable('away')
  t.false(view.synced)
})

test('a ClusterInformation that nobody has ever seen, and nobody gives out, keeps no agent from starting', t => {
  const caches = new StateCaches()
  const view = new ClusterView(caches, 'n1')
  for (const [kind, state] of caches.states) state.synced = kind !== 'ClusterInformation'
  t.false(view.synced, 'it may say that this node reflects')
  const information = caches.states.get('ClusterInformation')!
  for (const cause of [new NotFound('no such resource'), new Refused(403, 'forbidden'), new Unreachable('away')]) {
    information.cause = cause
    t.true(view.synced)
  }
  information.recalled = true
  t.false(view.synced, 'that of the last run counts')
})

async function aCluster() {
  const store = createFakeStore()
  await store.create('Node', aNode('n1'))
  await store.create('IPPool', aPool('a'))
  const caches = openCaches(store, { database: openDatabase(':memory:'), clock: new ManualClock(), log: silentLog })
  const view = new ClusterView(caches, 'n1')
  const heard: string[] = []
  view.onChange('Node', ({ key, before, after }) => void heard.push(`${key} ${!before} ${!after}`))
  view.onState(() => void heard.push('state'))
  return { store, caches, view, heard }
}

test('a view that is made before the caches start sees every kind whole, and each change of one', async t => {
  const { store, caches, view, heard } = await aCluster()
  caches.start()
  await turns()
  t.true(view.synced)
  t.deepEqual(
    view.all('IPPool').map(({ metadata }) => metadata.name),
    ['a'],
  )
  t.is(view.get('Node', 'n1')?.metadata.name, 'n1')
  t.deepEqual(
    heard.filter(line => line !== 'state'),
    ['n1 true false'],
  )
  t.true(heard.includes('state'))
  await store.delete('Node', 'n1')
  await turns()
  t.is(heard.at(-1), 'n1 false true')
  caches.close()
})

test('of its own Node a view has the addresses, and tells of each change', async t => {
  const { store, caches, view } = await aCluster()
  let told = 0
  view.onOwnNode(() => void told++)
  caches.start()
  await turns()
  const addresses = [{ type: 'InternalIP', address: '192.0.2.1' }]
  await store.patch('Node', 'n1', { status: { addresses } }, { subresource: 'status' })
  await turns()
  t.deepEqual(view.ownNode?.status?.addresses, addresses)
  t.is(told, 2)
  t.is(view.get('Node', 'n1')?.status, undefined)
  caches.close()
})

test('the ranges for pods are those of its own Node, of both families or of one, and nothing that is no CIDR', async t => {
  const { store, caches, view } = await aCluster()
  await store.create('Node', { ...aNode('n2'), spec: { podCIDRs: ['10.2.0.0/24'] } })
  caches.start()
  for (const [spec, expected] of [
    [{}, []],
    [{ podCIDR: '10.1.0.0/24' }, ['10.1.0.0/24']],
    [{ podCIDR: '10.1.0.0/24', podCIDRs: ['10.1.0.0/24', 'fd01::/64'] }, ['10.1.0.0/24', 'fd01::/64']],
    [{ podCIDRs: ['x', '10.1.0.0/24'] }, ['10.1.0.0/24']],
  ] as const) {
    await store.patch('Node', 'n1', { spec: { podCIDR: null, podCIDRs: null, ...spec } })
    await turns()
    t.deepEqual(view.podCidrs(), expected)
  }
  caches.close()
})

test('closed, a view calls nobody any more, while others go on with the same caches', async t => {
  const { store, caches, view, heard } = await aCluster()
  caches.start()
  await turns()
  view.close()
  heard.length = 0
  let others = 0
  caches.of('Node').onChange(() => void others++)
  await store.create('Node', aNode('n2'))
  await turns()
  caches.close()
  t.deepEqual(heard, [])
  t.is(others, 1)
})
