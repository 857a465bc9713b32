// What a node takes for being in the sets of others, by the objects that it sees.
import test from 'ava'
import { PolicySets } from '../../agent/policy-sets.ts'
import { openCaches } from '../../datastore/cache.ts'
import { createFakeStore } from '../../datastore/fake.ts'
import { ManualClock } from '../../lib/clock.ts'
import { openDatabase } from '../../lib/database.ts'
import { silentLog } from '../../lib/log.ts'
import { aResource } from '../datastore/objects.ts'

function aNode() {
  const store = createFakeStore()
  const clock = new ManualClock()
  const caches = openCaches(store, { database: openDatabase(':memory:'), clock, log: silentLog })
  const lines: unknown[] = []
  const sets = new PolicySets({ caches, clock, log: { ...silentLog, info: (told: unknown) => void lines.push(told) } })
  return { store, clock, caches, sets, lines }
}

const settled = () => new Promise(resolve => setTimeout(resolve, 20))

test('before policies are known, and while there is one of any kind, other nodes may have addresses in sets', async t => {
  const { store, caches, sets } = aNode()
  t.true(sets.mayHold())
  caches.start()
  await settled()
  t.false(sets.mayHold())
  const spec = { podSelector: {}, ingress: [{ from: [{ podSelector: {} }] }] }
  await store.create(
    'KubernetesNetworkPolicy',
    aResource('KubernetesNetworkPolicy', { metadata: { name: 'p', namespace: 'default' }, spec }),
  )
  await settled()
  t.true(sets.mayHold())
  await store.delete('KubernetesNetworkPolicy', 'p', { namespace: 'default' })
  await settled()
  t.false(sets.mayHold())
  caches.close()
})

test('a pod is told to have its addresses until it has ended, has none, or is another pod of its name, and nothing is told while the API server is away', async t => {
  const { store, caches, sets } = aNode()
  caches.start()
  const pod = { namespace: 'default', name: 'a' }
  const status = { phase: 'Running', podIP: '10.0.0.1', podIPs: [{ ip: '10.0.0.1' }, { ip: 'fd00::0:1' }] }
  const object = { metadata: pod, spec: { nodeName: 'n1' }, status }
  store.inject('Pod', aResource('Pod', object))
  await settled()
  t.true(sets.tells(pod, '10.0.0.1'))
  t.true(sets.tells(pod, 'fd00::1'))
  t.false(sets.tells(pod, '10.0.0.2'))
  t.false(sets.tells({ ...pod, name: 'b' }, '10.0.0.1'))
  store.inject('Pod', aResource('Pod', { ...object, status: { ...status, phase: 'Succeeded' } }))
  await settled()
  t.false(sets.tells(pod, '10.0.0.1'))
  store.inject('Pod', aResource('Pod', object))
  await settled()
  t.true(sets.tells(pod, '10.0.0.1'))
  store.inject('Pod', aResource('Pod', { ...object, status: { phase: 'Pending' } }))
  await settled()
  t.false(sets.tells(pod, '10.0.0.1'))
  store.inject('Pod', aResource('Pod', object))
  await settled()
  store.disconnect()
  await settled()
  t.false(sets.tells(pod, '10.0.0.1'), 'nobody knows')
  caches.close()
})

test('that addresses went to other pods early is one line in ten minutes, with how many it were', t => {
  const { clock, sets, lines } = aNode()
  for (let i = 0; i < 100; i++) {
    sets.late(`10.0.0.${i}`)
    clock.advance(10_000)
  }
  t.deepEqual(lines, [
    { address: '10.0.0.0', addresses: 1 },
    { address: '10.0.0.60', addresses: 60 },
  ])
})
