// What stands in the status of a ClusterNetworkPolicy, from PolicyStatuses as margay-controllers write them, with the writes counted.
import test from 'ava'
import type { Resource } from '../../api/kinds.ts'
import { revisionOf } from '../../api/policy-receipts.ts'
import { startApiServer } from '../../apiserver/server.ts'
import { Chores } from '../../controllers/chores.ts'
import { ClusterPolicyConditions } from '../../controllers/cluster-policy-conditions.ts'
import { createFakeStore } from '../../datastore/fake.ts'
import { openStore } from '../../datastore/kube.ts'
import { NotFound, Refused, type Store } from '../../datastore/port.ts'
import { ManualClock, systemClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { aResource } from '../datastore/objects.ts'
import { until } from './programs.ts'

const KIND = 'ClusterNetworkPolicy'
const SPEC = { tier: 'Admin', priority: 10, subject: { namespaces: {} }, ingress: [] }
const BEHIND = { reason: 'Behind', message: 'not yet' }
const CLOSED = {
  reason: 'Closed',
  message: 'spec.ingress[0]: has a field that is not known; what they are part of is closed',
}
const FOREIGN = {
  ...{ type: 'Audited', status: 'True', reason: 'Seen', message: '' },
  lastTransitionTime: '2026-01-02T03:04:05Z',
}

type Status = NonNullable<Resource<'PolicyStatus'>['status']>
type Lag = { node: string; reason: string; message: string }

function aStatus(required: number, lagging: readonly Lag[] = [], lag = lagging.length): Status {
  const nodesEnforcing = required - lag
  return {
    ...{ revision: 'aa', nodesRequired: required, nodesEnforcing, nodes: `${nodesEnforcing}/${required}` },
    ...{ since: '2026-01-02T03:04:05Z', lagging: [...lagging], laggingNodes: lagging.map(({ node }) => node).join() },
  }
}

class World {
  readonly store = createFakeStore()
  readonly clock = new ManualClock()
  writes = 0
  refusal: Error | undefined
  /** What somebody does while the next write is on its way. */
  meanwhile: (() => Promise<unknown>) | undefined
  #chore: ClusterPolicyConditions
  #chores: Chores

  constructor() {
    ;[this.#chore, this.#chores] = this.#lead()
  }

  #lead(): [ClusterPolicyConditions, Chores] {
    const patch: Store['patch'] = async (kind, name, body, options) => {
      this.writes++
      if (this.refusal !== undefined) throw this.refusal
      const { meanwhile } = this
      this.meanwhile = undefined
      await meanwhile?.()
      return this.store.patch(kind, name, body, options)
    }
    const chore = new ClusterPolicyConditions({
      ...{ store: { ...this.store, patch }, clock: this.clock },
      changed: () => chores.hurry(chore.name),
    })
    const chores = new Chores([chore], { clock: this.clock, log: silentLog })
    chores.lead(true)
    return [chore, chores]
  }

  async restart(): Promise<void> {
    await this.close()
    ;[this.#chore, this.#chores] = this.#lead()
  }

  async says(name: string, status: Status): Promise<void> {
    const { metadata, spec } = await this.store.get(KIND, name)
    const form = { generation: metadata.generation, revision: revisionOf(`${KIND} ${name}`, spec) }
    const object = {
      metadata: { name: `clusternetworkpolicy.${name}` },
      ...{ spec: { kind: KIND, name }, status: { ...status, ...form } },
    }
    const isThere = (await this.store.list('PolicyStatus')).some(
      ({ metadata }) => metadata.name === object.metadata.name,
    )
    await (isThere ? this.store.update('PolicyStatus', object) : this.store.create('PolicyStatus', object))
  }

  async conditions(name: string): Promise<Record<string, unknown>[]> {
    const { status } = await this.store.get(KIND, name)
    return (status?.['conditions'] ?? []) as Record<string, unknown>[]
  }

  async pass(seconds: number): Promise<void> {
    for (let i = 0; i < seconds; i++) {
      this.clock.advance(1_000)
      for (let turn = 0; turn < 12; turn++) await new Promise(setImmediate)
    }
  }

  async close(): Promise<void> {
    this.#chore.close()
    await this.#chores.close()
  }
}

async function aWorld(...names: string[]): Promise<World> {
  const world = new World()
  for (const name of names) await world.store.create(KIND, aResource(KIND, { metadata: { name }, spec: SPEC }))
  return world
}

test('a policy that all nodes enforce is Ready and Accepted, with the number of nodes and its generation, by one write', async t => {
  const world = await aWorld('deny')
  await world.says('deny', aStatus(812))
  await world.pass(3)
  const said = { observedGeneration: 1, lastTransitionTime: '2023-11-14T22:13:22Z' }
  t.like(await world.conditions('deny'), [
    { type: 'Ready', status: 'True', reason: 'Enforced', message: 'enforced on 812 of 812 nodes', ...said },
    { type: 'Accepted', status: 'True', reason: 'Understood', ...said },
  ])
  await world.pass(3600)
  await world.restart()
  await world.pass(3600)
  t.is(world.writes, 1)
  await world.close()
})

test('a policy that no pod asks is Ready, and nobody says that it is understood', async t => {
  const world = await aWorld('deny')
  await world.says('deny', aStatus(0))
  await world.pass(40)
  t.like(await world.conditions('deny'), [
    { type: 'Ready', status: 'True', message: 'enforced on 0 of 0 nodes: no node has a pod that it has rules for' },
    { type: 'Accepted', status: 'Unknown', reason: 'NotRead' },
  ])
  await world.close()
})

test('a node that is slow is named after half a minute, and a policy that settles before costs one write', async t => {
  const world = await aWorld('deny')
  await world.says('deny', aStatus(3))
  await world.pass(3)
  await world.store.patch(KIND, 'deny', { spec: { priority: 11 } })
  await world.says('deny', aStatus(3, [{ node: 'n2', ...BEHIND }]))
  await world.pass(20)
  t.is(world.writes, 1)
  t.like(await world.conditions('deny'), [{ observedGeneration: 1 }, { observedGeneration: 1 }])
  await world.says('deny', aStatus(3))
  await world.pass(5)
  t.is(world.writes, 2)
  const settled = await world.conditions('deny')
  t.like(settled, [{ status: 'True', observedGeneration: 2, lastTransitionTime: '2023-11-14T22:13:22Z' }])
  await world.says(
    'deny',
    aStatus(
      14,
      [
        { node: 'n2', ...BEHIND },
        { node: 'n7', ...BEHIND },
      ],
      12,
    ),
  )
  await world.pass(40)
  t.is(world.writes, 3)
  t.like(await world.conditions('deny'), [
    {
      ...{ type: 'Ready', status: 'False', reason: 'Lagging' },
      message: 'enforced on 2 of 14 nodes; not on n2 (Behind), n7 (Behind) and 10 more',
    },
    { type: 'Accepted', status: 'True' },
  ])
  await world.close()
})

test('a field that a node does not understand is told at once, with the field and what holds instead', async t => {
  const world = await aWorld('new')
  await world.says(
    'new',
    aStatus(2, [
      { node: 'n1', ...CLOSED },
      { node: 'n2', ...CLOSED },
    ]),
  )
  await world.pass(3)
  t.like(await world.conditions('new'), [
    {
      type: 'Ready',
      status: 'False',
      reason: 'Lagging',
      message: 'enforced on 0 of 2 nodes; not on n1 (Closed), n2 (Closed)',
    },
    { type: 'Accepted', status: 'False', reason: 'Closed', message: `as node n1 reads it: ${CLOSED.message}` },
  ])
  await world.close()
})

test('numbers of nodes that change every two seconds are written every ten minutes', async t => {
  const world = await aWorld('deny')
  for (let nodes = 1; nodes <= 1200; nodes++) {
    await world.says('deny', aStatus(nodes))
    await world.pass(2)
  }
  t.true(world.writes <= 5, `${world.writes} writes in 40 minutes`)
  await world.pass(600)
  t.like(await world.conditions('deny'), [{ message: 'enforced on 1200 of 1200 nodes' }])
  await world.close()
})

test('a node that fails and recovers all the time costs three writes each ten minutes, and the last word is written in the end', async t => {
  const world = await aWorld('deny')
  for (let i = 0; i < 60; i++) {
    await world.says('deny', aStatus(3, [{ node: 'n2', ...BEHIND }]))
    await world.pass(35)
    await world.says('deny', aStatus(3))
    await world.pass(5)
  }
  t.true(world.writes <= 15, `${world.writes} writes in 40 minutes`)
  await world.pass(600)
  t.like(await world.conditions('deny'), [{ status: 'True', message: 'enforced on 3 of 3 nodes' }])
  await world.close()
})

test('a program that takes the conditions away whenever they come gets three writes each ten minutes, and another form of the policy one at once', async t => {
  const world = await aWorld('deny')
  await world.says('deny', aStatus(2))
  const none = { status: { conditions: [] } }
  for (let i = 0; i < 400; i++) {
    await world.pass(3)
    if ((await world.conditions('deny')).length > 0)
      await world.store.patch(KIND, 'deny', none, { subresource: 'status' })
  }
  t.true(world.writes >= 4 && world.writes <= 9, `${world.writes} writes in 20 minutes`)
  await world.store.patch(KIND, 'deny', { spec: { priority: 11 } })
  await world.says('deny', aStatus(2))
  await world.pass(3)
  t.like(await world.conditions('deny'), [{ status: 'True', observedGeneration: 2 }])
  await world.close()
})

test('a server whose policies have no status, or that takes none of ours, is asked three times each ten minutes', async t => {
  for (const refusal of [new NotFound('no such resource'), new Refused(422, 'too many conditions')]) {
    const world = await aWorld('deny')
    world.refusal = refusal
    for (let i = 0; i < 200; i++) {
      await world.says('deny', aStatus(i))
      await world.pass(3)
    }
    t.true(world.writes <= 6, `${world.writes} attempts in ten minutes`)
    await world.close()
  }
})

test('conditions that others wrote stay, and ours are put back when somebody takes them away', async t => {
  const world = await aWorld('deny')
  await world.store.patch(KIND, 'deny', { status: { conditions: [FOREIGN] } }, { subresource: 'status' })
  await world.says('deny', aStatus(2))
  await world.pass(5)
  const types = async () => (await world.conditions('deny')).map(({ type }) => type)
  t.deepEqual(await types(), ['Audited', 'Ready', 'Accepted'])
  t.like(await world.conditions('deny'), [FOREIGN])
  await world.store.patch(KIND, 'deny', { status: { conditions: [FOREIGN] } }, { subresource: 'status' })
  await world.pass(5)
  t.deepEqual(await types(), ['Audited', 'Ready', 'Accepted'])
  await world.close()
})

test('a condition that another program writes while ours are on their way stays, and ours come a moment later', async t => {
  const world = await aWorld('deny')
  world.meanwhile = () =>
    world.store.patch(KIND, 'deny', { status: { conditions: [FOREIGN] } }, { subresource: 'status' })
  await world.says('deny', aStatus(2))
  await world.pass(5)
  const types = (await world.conditions('deny')).map(({ type }) => type)
  t.deepEqual([types, world.writes], [['Audited', 'Ready', 'Accepted'], 2])
  await world.close()
})

test('a status of an earlier form of the policy says nothing of this one', async t => {
  const world = await aWorld('deny')
  await world.says('deny', aStatus(2))
  await world.store.patch(KIND, 'deny', { spec: { priority: 11 } })
  await world.pass(60)
  t.is(world.writes, 0)
  await world.close()
})

test('what nodes said of a policy that was deleted says nothing of another one under its name and with its generation', async t => {
  const world = await aWorld('deny')
  await world.says('deny', aStatus(2))
  await world.store.delete(KIND, 'deny')
  const spec = { ...SPEC, priority: 11 }
  const { metadata } = await world.store.create(KIND, aResource(KIND, { metadata: { name: 'deny' }, spec }))
  t.is(metadata.generation, 1)
  await world.pass(60)
  t.deepEqual([world.writes, await world.conditions('deny')], [0, []])
  await world.says('deny', aStatus(3))
  await world.pass(3)
  t.like(await world.conditions('deny'), [{ status: 'True', message: 'enforced on 3 of 3 nodes' }])
  await world.close()
})

test('what a server refuses is tried again, and nothing is lost', async t => {
  const world = await aWorld('deny', 'more')
  world.refusal = new Refused(403, 'no right')
  for (const name of ['deny', 'more']) await world.says(name, aStatus(2))
  await world.pass(30)
  t.true(world.writes < 10, `${world.writes} attempts`)
  world.refusal = undefined
  await world.pass(60)
  for (const name of ['deny', 'more']) t.is((await world.conditions(name)).length, 2, name)
  await world.close()
})

test('a thousand policies are written in turns, each once', async t => {
  const names = Array.from({ length: 1000 }, (_, i) => `p${i}`)
  const world = await aWorld(...names)
  for (const name of names) await world.says(name, aStatus(2))
  await world.pass(4)
  t.true(world.writes <= 100, `${world.writes} writes in four seconds`)
  await world.pass(60)
  t.is(world.writes, 1000)
  await world.close()
})

test('against margay-api the conditions are written into the status alone', async t => {
  const server = await startApiServer()
  const store = openStore({ server: server.url, token: server.token })
  await store.create(KIND, aResource(KIND, { metadata: { name: 'deny' }, spec: SPEC }))
  await store.create('PolicyStatus', {
    metadata: { name: 'clusternetworkpolicy.deny' },
    ...{
      spec: { kind: KIND, name: 'deny' },
      status: { ...aStatus(2), generation: 1, revision: revisionOf(`${KIND} deny`, SPEC) },
    },
  })
  const chore = new ClusterPolicyConditions({ store, clock: systemClock, changed: () => undefined })
  const policy = async () => {
    await chore.run()
    return store.get(KIND, 'deny')
  }
  await until(policy, found => found?.status !== undefined)
  const { metadata, spec, status } = await store.get(KIND, 'deny')
  t.is(metadata.generation, 1)
  t.deepEqual(spec, SPEC)
  t.like(status, {
    conditions: [
      { type: 'Ready', status: 'True' },
      { type: 'Accepted', status: 'True' },
    ],
  })
  chore.close()
  await store.close()
  await server.close()
})
