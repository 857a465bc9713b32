import test from 'ava'
import { NodePublisher } from '../../agent/node-publisher.ts'
import type { NetworkCondition } from '../../agent/serving.ts'
import { NODE_ANNOTATION } from '../../api/core.ts'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import { Refused, Unreachable } from '../../datastore/port.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { aNode, aResource } from '../datastore/objects.ts'

const turns = async () => {
  for (let i = 0; i < 10; i++) await new Promise(setImmediate)
}

const SERVED: NetworkCondition = { status: 'False', reason: 'PodsServed', message: 'fine' }
const LOST: NetworkCondition = { status: 'True', reason: 'NoNodeObject', message: 'lost' }

function aPublisher() {
  const store = createFakeStore()
  const clock = new ManualClock()
  let asked = 0
  let failure: Error | undefined
  const patch: FakeStore['patch'] = async (kind, name, value, options) => {
    asked++
    if (failure !== undefined) throw failure
    return store.patch(kind, name, value, options)
  }
  const publisher = new NodePublisher('n1', { store: { ...store, patch }, clock, log: silentLog })
  const annotations = async () => (await store.get('Node', 'n1')).metadata.annotations
  const conditions = async () => (await store.get('Node', 'n1')).status?.['conditions'] as { type: string }[]
  const network = async () => (await conditions()).find(({ type }) => type === 'NetworkUnavailable')
  const pass = async (ms: number) => {
    clock.advance(ms)
    await turns()
  }
  return {
    ...{ store, clock, publisher, annotations, conditions, network, pass },
    asked: () => asked,
    fail: (error: Error | undefined) => {
      failure = error
    },
    /** The watch tells the object as it is now. */
    see: async () => {
      publisher.saw(await store.get('Node', 'n1'))
      await turns()
    },
  }
}

test('a fact is written, one that is absent is removed, and what others wrote stays', async t => {
  const { store, publisher, annotations } = aPublisher()
  const before = { 'example.org/mine': 'kept', [NODE_ANNOTATION.ipipTunnelAddress]: '10.0.0.9' }
  publisher.saw(await store.create('Node', aNode('n1', { annotations: before })))
  publisher.want({ ipv4: '192.0.2.11/24', vxlanTunnelAddress: '10.0.0.1', vxlanTunnelAddressV6: 'fd00::1' })
  await turns()
  t.deepEqual(await annotations(), {
    'example.org/mine': 'kept',
    [NODE_ANNOTATION.ipv4Address]: '192.0.2.11/24',
    [NODE_ANNOTATION.vxlanTunnelAddress]: '10.0.0.1',
    [NODE_ANNOTATION.vxlanTunnelAddressV6]: 'fd00::1',
  })
})

test('an object that says all of it already is not written', async t => {
  const { store, publisher, asked, see, network, pass } = aPublisher()
  await store.create('Node', aNode('n1', { annotations: { [NODE_ANNOTATION.ipv4Address]: '192.0.2.11/24' } }))
  await see()
  publisher.want({ ipv4: '192.0.2.11/24' })
  await turns()
  t.is(asked(), 0)
  publisher.wantCondition(SERVED)
  await turns()
  t.is(asked(), 1)
  const before = await network()
  for (let i = 0; i < 100; i++) {
    publisher.wantCondition(SERVED)
    publisher.want({ ipv4: '192.0.2.11/24' })
    await see()
    await pass(1000)
  }
  t.is(asked(), 1)
  t.deepEqual(await network(), before)
})

test('the condition of this node is written beside those of others, which stay as they are', async t => {
  const { store, publisher, conditions, network, see, pass } = aPublisher()
  const ready = { type: 'Ready', status: 'True', reason: 'KubeletReady' }
  await store.create('Node', aResource('Node', { metadata: { name: 'n1' }, spec: {}, status: { conditions: [ready] } }))
  await see()
  publisher.wantCondition(LOST)
  await turns()
  const [kept, first] = (await conditions()) as Record<string, string>[]
  t.deepEqual(kept, ready)
  t.like(first, { type: 'NetworkUnavailable', ...LOST })
  await see()
  await pass(5000)
  publisher.wantCondition({ ...LOST, message: 'other words' })
  await turns()
  t.like(await network(), { lastTransitionTime: first!['lastTransitionTime'] }, 'the status is the same since then')
  await pass(5000)
  publisher.wantCondition(SERVED)
  await turns()
  t.like(await network(), SERVED)
  t.not(((await network()) as unknown as Record<string, string>)['lastTransitionTime'], first!['lastTransitionTime'])
})

test('the time of a condition that somebody else wrote is kept where it is one', async t => {
  for (const [lastTransitionTime, kept] of [
    ['2026-01-02T03:04:05Z', true],
    ['yesterday', false],
    [7, false],
    [null, false],
  ] as const) {
    const { store, publisher, network, see } = aPublisher()
    await store.create('Node', aNode('n1'))
    const conditions = [{ type: 'NetworkUnavailable', status: 'False', reason: 'Other', lastTransitionTime }]
    store.inject('Node', { ...(await store.get('Node', 'n1')), status: { conditions } })
    await see()
    publisher.wantCondition(SERVED)
    await turns()
    const written = (await network()) as unknown as Record<string, string>
    t.like(written, SERVED)
    t.regex(written['lastTransitionTime']!, kept ? /^2026-01-02T03:04:05Z$/ : /^2023-11-14T22:13:20Z$/)
  }
})

test('the condition that somebody removed or changed is written again, but no more often than six times a minute', async t => {
  const { store, publisher, network, see, pass, asked } = aPublisher()
  await store.create('Node', aNode('n1'))
  await see()
  publisher.wantCondition(SERVED)
  await turns()
  for (const conditions of [
    [],
    null,
    'none',
    [{ type: 'NetworkUnavailable', status: 'True', reason: 'NoRouteCreated' }],
  ]) {
    store.inject('Node', { ...(await store.get('Node', 'n1')), status: { conditions } })
    await see()
    t.like(await network(), SERVED)
  }
  const before = asked()
  for (let minute = 0; minute < 10; minute++)
    for (let i = 0; i < 60; i++) {
      store.inject('Node', { ...(await store.get('Node', 'n1')), status: { conditions: [] } })
      await see()
      await pass(1000)
    }
  t.true(asked() - before <= 60, `${asked() - before} writes in ten minutes`)
  await pass(60_000)
  t.like(await network(), SERVED)
})

test('a server that refuses is asked in one chain of attempts, however often the cluster changes, and a condition says why', async t => {
  const { store, publisher, fail, asked, pass, annotations, see } = aPublisher()
  await store.create('Node', aNode('n1'))
  await see()
  fail(new Refused(403, 'forbidden: patch nodes/status: no rule'))
  publisher.want({ ipv4: '192.0.2.11/24' })
  for (let i = 0; i < 260; i++) {
    publisher.want({ ipv4: '192.0.2.11/24', ipv6: `2001:db8::${i}/64` })
    publisher.wantCondition({ ...LOST, message: String(i) })
    await pass(100)
  }
  t.true(asked() <= 6, `${asked()} attempts in 26 s`)
  const [condition] = publisher.refused()
  t.like(condition, { type: 'NodePublished', status: 'False', reason: 'Forbidden' })
  t.regex(condition!.message, /cannot be written into its Node object: forbidden: patch nodes\/status: no rule$/)
  fail(undefined)
  await pass(60_000)
  t.is((await annotations())?.[NODE_ANNOTATION.ipv6Address], '2001:db8::259/64')
  t.deepEqual(publisher.refused(), [])
})

test('a server that was away is asked at once when it is back, and is no reason for a condition', async t => {
  const { store, publisher, fail, asked, pass, annotations, see } = aPublisher()
  await store.create('Node', aNode('n1'))
  await see()
  fail(new Unreachable('away'))
  publisher.want({ ipv4: '192.0.2.11/24' })
  for (let i = 0; i < 600; i++) await pass(1000)
  t.true(asked() < 40)
  t.deepEqual(publisher.refused(), [])
  fail(undefined)
  publisher.retryNow()
  await turns()
  t.is((await annotations())?.[NODE_ANNOTATION.ipv4Address], '192.0.2.11/24')
})

test('a Node that is missing is tried again until it is there, with the latest facts', async t => {
  const { store, publisher, clock, annotations } = aPublisher()
  publisher.want({ ipv4: '192.0.2.11/24' })
  await turns()
  publisher.want({ ipv4: '192.0.2.12/24' })
  await turns()
  await store.create('Node', aNode('n1'))
  clock.advance(30_000)
  await turns()
  t.is((await annotations())?.[NODE_ANNOTATION.ipv4Address], '192.0.2.12/24')
})

test('a Node that is deleted and made again under its name is written at once', async t => {
  const { store, publisher, annotations, network, see, pass } = aPublisher()
  await store.create('Node', aNode('n1'))
  await see()
  publisher.want({ ipv4: '192.0.2.11/24' })
  publisher.wantCondition(SERVED)
  await turns()
  await see()
  await store.delete('Node', 'n1')
  publisher.saw(undefined)
  for (let i = 0; i < 100; i++) await pass(1000)
  await store.create('Node', aNode('n1'))
  await see()
  t.is((await annotations())?.[NODE_ANNOTATION.ipv4Address], '192.0.2.11/24')
  t.like(await network(), SERVED)
})

test('closed, it tries no more', async t => {
  const { publisher, clock, asked } = aPublisher()
  publisher.want({ ipv4: '192.0.2.11/24' })
  await turns()
  publisher.close()
  publisher.wantCondition(LOST)
  publisher.retryNow()
  await turns()
  t.is(clock.pending, 0)
  t.is(asked(), 1)
})
