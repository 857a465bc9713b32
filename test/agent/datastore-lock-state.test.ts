// What an agent may still write when the datastore is locked, by a clock that only the test moves.
import test from 'ava'
import { DatastoreLock } from '../../agent/datastore-lock.ts'
import { kinds } from '../../api/kinds.ts'
import { ManualClock } from '../../lib/clock.ts'

function aLock() {
  const clock = new ManualClock()
  let datastoreReady = true
  let published = Promise.withResolvers<void>()
  let calls = 0
  const cluster = {
    synced: true,
    get: () => kinds.ClusterInformation.schema.parse({ metadata: { name: 'default' }, spec: { datastoreReady } }),
  }
  const publish = () => {
    calls++
    return published.promise
  }
  const lock = new DatastoreLock({ cluster, clock, publish })
  return {
    ...{ lock, clock, cluster },
    published: () => published.resolve(),
    calls: () => calls,
    set(ready: boolean) {
      datastoreReady = ready
      published = Promise.withResolvers()
      lock.follow()
    },
  }
}
const turns = async () => {
  for (let i = 0; i < 5; i++) await Promise.resolve()
}

test('an agent that sees the lock come publishes once what is unpublished, and writes nothing from then on', async t => {
  const { lock, set, published, calls } = aLock()
  lock.follow()
  set(false)
  t.is(lock.why(), undefined)
  lock.follow()
  published()
  await turns()
  t.regex(lock.why() ?? '', /the datastore is locked/)
  lock.follow()
  t.is(calls(), 1)
  set(true)
  t.is(lock.why(), undefined)
  set(false)
  t.is(calls(), 2)
})

test('what cannot be published within two seconds after the lock came stays unpublished', t => {
  const { lock, clock, set } = aLock()
  lock.follow()
  set(false)
  clock.advance(1_999)
  t.is(lock.why(), undefined)
  clock.advance(1)
  t.regex(lock.why() ?? '', /the datastore is locked/)
})

test('after a lock, an unlock and a lock again an agent has the whole two seconds once more', t => {
  const { lock, clock, set } = aLock()
  lock.follow()
  set(false)
  clock.advance(1_500)
  set(true)
  set(false)
  clock.advance(1_999)
  t.is(lock.why(), undefined)
  clock.advance(1)
  t.regex(lock.why() ?? '', /the datastore is locked/)
})

test('an agent that finds the lock at its start publishes nothing', t => {
  const { lock, set, calls } = aLock()
  set(false)
  t.regex(lock.why() ?? '', /the datastore is locked/)
  t.is(calls(), 0)
})
