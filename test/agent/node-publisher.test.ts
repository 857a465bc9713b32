import test from 'ava'
import { NodePublisher } from '../../agent/node-publisher.ts'
import { NODE_ANNOTATION } from '../../api/core.ts'
import { createFakeStore } from '../../datastore/fake.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'
import { aNode } from '../datastore/objects.ts'

const turns = async () => {
  for (let i = 0; i < 10; i++) await new Promise(setImmediate)
}

function aPublisher() {
  const store = createFakeStore()
  const clock = new ManualClock()
  const publisher = new NodePublisher('n1', { store, clock, log: silentLog })
  const annotations = async () => (await store.get('Node', 'n1')).metadata.annotations
  return { store, clock, publisher, annotations }
}

test('a fact is written, one that is absent is removed, and what others wrote stays', async t => {
  const { store, publisher, annotations } = aPublisher()
  const before = { 'example.org/mine': 'kept', [NODE_ANNOTATION.ipipTunnelAddress]: '10.0.0.9' }
  const seen = await store.create('Node', aNode('n1', { annotations: before }))
  publisher.want({ ipv4: '192.0.2.11/24', vxlanTunnelAddress: '10.0.0.1' }, seen)
  await turns()
  t.deepEqual(await annotations(), {
    'example.org/mine': 'kept',
    [NODE_ANNOTATION.ipv4Address]: '192.0.2.11/24',
    [NODE_ANNOTATION.vxlanTunnelAddress]: '10.0.0.1',
  })
})

test('an object that says all of it already is not written', async t => {
  const { store, publisher } = aPublisher()
  await store.create('Node', aNode('n1', { annotations: { [NODE_ANNOTATION.ipv4Address]: '192.0.2.11/24' } }))
  const seen = await store.get('Node', 'n1')
  publisher.want({ ipv4: '192.0.2.11/24' }, seen)
  await turns()
  t.is((await store.get('Node', 'n1')).metadata.resourceVersion, seen.metadata.resourceVersion)
})

test('a Node that is missing is tried again until it is there, with the latest facts', async t => {
  const { store, publisher, clock, annotations } = aPublisher()
  publisher.want({ ipv4: '192.0.2.11/24' }, undefined)
  await turns()
  publisher.want({ ipv4: '192.0.2.12/24' }, undefined)
  await turns()
  await store.create('Node', aNode('n1'))
  clock.advance(30_000)
  await turns()
  t.is((await annotations())?.[NODE_ANNOTATION.ipv4Address], '192.0.2.12/24')
})

test('closed, it tries no more', async t => {
  const { publisher, clock } = aPublisher()
  publisher.want({ ipv4: '192.0.2.11/24' }, undefined)
  await turns()
  publisher.close()
  t.is(clock.pending, 0)
})
