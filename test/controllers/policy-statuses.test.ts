// The status of each policy over a fake API server, and over a real one, with what is written counted.
import test from 'ava'
import { PolicyDigest, revisionOf } from '../../api/policy-receipts.ts'
import type { PolicyReceipt } from '../../api/receipt-schemas.ts'
import { startApiServer } from '../../apiserver/server.ts'
import { Chores } from '../../controllers/chores.ts'
import { PolicyStatuses } from '../../controllers/policy-statuses.ts'
import { createFakeStore } from '../../datastore/fake.ts'
import { openStore } from '../../datastore/kube.ts'
import { Conflict, NotFound, type Store } from '../../datastore/port.ts'
import { ManualClock, systemClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { aNode, aResource } from '../datastore/objects.ts'
import { startStoredFormServer } from '../datastore/stored-form-server.ts'
import { until } from './programs.ts'

const KIND = 'KubernetesNetworkPolicy'
type Specs = Readonly<Record<string, object>>

const aPolicy = (name: string, spec: object) => aResource(KIND, { metadata: { name, namespace: 'shop' }, spec })
const SPEC = { podSelector: {} }

/** What a node says that has worked through these policies of the namespace. */
function says(seen: Specs, asked: readonly string[], failing: readonly string[] = []): PolicyReceipt {
  const revision = (name: string) => revisionOf(`${KIND} shop/${name}`, aPolicy(name, seen[name]!).spec)
  const digest = new PolicyDigest()
  for (const name of Object.keys(seen)) digest.toggle(revision(name))
  return {
    worked: { [KIND]: digest.text },
    enforced: asked.filter(name => !failing.includes(name)).map(revision),
    failing: failing.map(name => ({
      ...{ policy: `${KIND} shop/${name}`, revision: revision(name), reason: 'Refused', message: 'no room' },
    })),
  }
}

class World {
  readonly clock = new ManualClock()
  readonly chore: PolicyStatuses
  readonly #store: Store
  readonly #chores: Chores
  writes: string[] = []

  constructor(store: Store) {
    this.#store = store
    const noted = (kind: string, name: string) => {
      if (kind === 'PolicyStatus') this.writes.push(name)
    }
    this.chore = new PolicyStatuses({
      receipt: () => undefined,
      store: {
        ...store,
        create: (kind, object) => {
          noted(kind, (object.metadata as { name: string }).name)
          return store.create(kind, object)
        },
        update: (kind, object) => {
          noted(kind, (object.metadata as { name: string }).name)
          return store.update(kind, object)
        },
      },
      clock: this.clock,
      changed: () => this.#chores.hurry(this.chore.name),
    })
    this.#chores = new Chores([this.chore], { clock: this.clock, log: silentLog })
    this.#chores.lead(true)
  }

  async say(node: string, spec: PolicyReceipt): Promise<void> {
    const metadata = { name: node }
    try {
      await this.#store.create('PolicyReceipt', { metadata, spec })
    } catch (error) {
      if (!(error instanceof Conflict)) throw error
      await this.#store.patch('PolicyReceipt', node, { spec })
    }
  }

  async pass(seconds: number): Promise<void> {
    for (let i = 0; i < seconds; i++) {
      this.clock.advance(1_000)
      for (let turn = 0; turn < 12; turn++) await new Promise(setImmediate)
    }
  }

  async statusOf(name: string) {
    const { status } = await this.#store.get('PolicyStatus', `kubernetesnetworkpolicy.shop.${name}`)
    return status!
  }

  async close(): Promise<void> {
    this.chore.close()
    await this.#chores.close()
  }
}

async function aWorld(
  nodes: readonly string[],
  policies: Specs,
): Promise<{ world: World; store: ReturnType<typeof createFakeStore> }> {
  const store = createFakeStore()
  for (const name of nodes) await store.create('Node', aNode(name))
  for (const [name, spec] of Object.entries(policies)) await store.create(KIND, aPolicy(name, spec))
  return { world: new World(store), store }
}

test('a policy that all nodes have worked through is written once, with how many enforce it and since when', async t => {
  const seen = { web: SPEC }
  const { world } = await aWorld(['n1', 'n2', 'n3'], seen)
  await world.say('n1', says(seen, ['web']))
  await world.say('n2', says(seen, ['web']))
  await world.say('n3', says(seen, []))
  await world.pass(10)
  t.like(await world.statusOf('web'), {
    ...{ generation: 1, nodes: '2/2', nodesRequired: 2, nodesEnforcing: 2, laggingNodes: '', lagging: [] },
    since: '2023-11-14T22:13:22Z',
  })
  await world.pass(3600)
  t.is(world.writes.length, 1)
  await world.close()
})

test('a node that does not follow a change is named after five seconds, and the others are not waited for', async t => {
  const [before, after] = [{ web: SPEC }, { web: { podSelector: {}, ingress: [] } }]
  const { world, store } = await aWorld(['n1', 'n2', 'n3'], before)
  for (const node of ['n1', 'n2', 'n3']) await world.say(node, says(before, ['web']))
  await world.pass(5)
  t.is((await world.statusOf('web')).nodes, '3/3')
  await store.patch(KIND, 'web', { spec: after.web }, { namespace: 'shop' })
  for (const node of ['n1', 'n3']) await world.say(node, says(after, ['web']))
  await world.pass(3)
  t.is(world.writes.length, 1, 'nodes have a moment')
  await world.pass(5)
  const late = await world.statusOf('web')
  t.like(late, { generation: 2, nodes: '2/3', laggingNodes: 'n2' })
  t.like(late.lagging, [{ node: 'n2', reason: 'Behind' }])
  await world.pass(60)
  t.is(world.writes.length, 2)
  await world.say('n2', says(after, ['web']))
  await world.pass(3)
  t.like(await world.statusOf('web'), { nodes: '3/3', laggingNodes: '', lagging: [] })
  t.not((await world.statusOf('web')).since, late.since)
  await world.close()
})

test('a node that cannot enforce a policy is named with its reason', async t => {
  const seen = { web: SPEC }
  const { world } = await aWorld(['n1', 'n2'], seen)
  await world.say('n1', says(seen, ['web']))
  await world.say('n2', says(seen, ['web'], ['web']))
  await world.pass(10)
  t.like(await world.statusOf('web'), {
    nodes: '1/2',
    lagging: [{ node: 'n2', reason: 'Refused', message: 'no room' }],
  })
  await world.close()
})

test('a Node that was there and says nothing counts at once, one that comes has a minute, and one that goes counts no more', async t => {
  const seen = { web: SPEC }
  const { world, store } = await aWorld(['n1', 'n2'], seen)
  await world.say('n1', says(seen, ['web']))
  await world.pass(10)
  t.like(await world.statusOf('web'), { nodes: '1/2', lagging: [{ node: 'n2', reason: 'NoReceipt' }] })
  await store.delete('Node', 'n2')
  await store.create('Node', aNode('n3'))
  await world.pass(50)
  t.is((await world.statusOf('web')).nodes, '1/1')
  await world.pass(30)
  t.is((await world.statusOf('web')).laggingNodes, 'n3')
  await world.say('n3', says(seen, ['web']))
  await world.pass(5)
  t.is((await world.statusOf('web')).nodes, '2/2')
  await store.delete('Node', 'n3')
  await world.pass(70)
  t.is((await world.statusOf('web')).nodes, '1/1')
  await t.throwsAsync(store.get('PolicyReceipt', 'n3'), { instanceOf: NotFound })
  await world.close()
})

test('the status goes with its policy, and nothing is written anew after a restart', async t => {
  const seen = { web: SPEC, db: SPEC }
  const { world, store } = await aWorld(['n1'], seen)
  await world.say('n1', says(seen, ['web']))
  await world.pass(5)
  await world.close()
  t.deepEqual(world.writes.length, 2)
  const second = new World(store)
  await second.pass(60)
  t.is(second.writes.length, 0)
  await store.delete(KIND, 'db', { namespace: 'shop' })
  await second.pass(5)
  t.deepEqual(
    (await store.list('PolicyStatus')).map(({ metadata }) => metadata.name),
    ['kubernetesnetworkpolicy.shop.web'],
  )
  t.is(second.writes.length, 0)
  await second.close()
})

test('a thousand policies that change at once are written in turns, each once', async t => {
  const seen = Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`p${i}`, SPEC]))
  const { world } = await aWorld(['n1'], seen)
  await world.say('n1', says(seen, Object.keys(seen)))
  await world.pass(2)
  t.true(world.writes.length <= 400, `${world.writes.length} writes in two seconds`)
  await world.pass(20)
  t.is(world.writes.length, 1000)
  t.is((await world.statusOf('p999')).nodes, '1/1')
  await world.close()
})

test('against margay-api, in either group of Calico, what nodes say becomes the status of a policy', async t => {
  for (const startServer of [startApiServer, startStoredFormServer]) {
    const server = await startServer()
    const store = openStore({ server: server.url, token: server.token })
    const kind = 'GlobalNetworkPolicy'
    await store.create('Node', aNode('n1'))
    await store.create(
      kind,
      aResource(kind, { metadata: { name: 'all' }, spec: { selector: 'all()', types: ['Ingress'] } }),
    )
    const revision = revisionOf(`${kind} all`, (await store.get(kind, 'all')).spec)
    const digest = new PolicyDigest()
    digest.toggle(revision)
    const spec = { worked: { [kind]: digest.text }, enforced: [revision], failing: [] }
    await store.create('PolicyReceipt', { metadata: { name: 'n1' }, spec })
    const chore = new PolicyStatuses({ receipt: () => undefined, store, clock: systemClock, changed: () => undefined })
    const written = async () => {
      await chore.run()
      return (await store.list('PolicyStatus')).length
    }
    await until(written, count => count === 1)
    t.like(await store.get('PolicyStatus', 'globalnetworkpolicy.all'), {
      spec: { kind, name: 'all' },
      status: { nodes: '1/1', generation: 1, revision },
    })
    chore.close()
    await store.close()
    await server.close()
  }
})
