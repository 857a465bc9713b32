// A kind that the server does not serve costs it next to nothing, and is there soon after another one is.
import test from 'ava'
import type { Kind } from '../../api/kinds.ts'
import { openCaches } from '../../datastore/cache.ts'
import { MAY_BE_ABSENT } from '../../datastore/fields.ts'
import { NotFound, type Store, type WatchHandlers } from '../../datastore/port.ts'
import { startWatch } from '../../datastore/watch.ts'
import { ManualClock } from '../../lib/clock.ts'
import { openDatabase } from '../../lib/database.ts'
import { silentLog } from '../../lib/log.ts'

const turns = async () => {
  for (let turn = 0; turn < 10; turn++) await Promise.resolve()
}

/** A watch of a kind that is not served, and how often the server was asked. */
function aWatch(mayBeAbsent: boolean) {
  const clock = new ManualClock()
  const asked = { times: 0 }
  const list = async () => {
    asked.times++
    throw new NotFound('the server could not find the requested resource')
  }
  const source = { fields: true as const, list, open: list, read: () => undefined, mayBeAbsent }
  const watch = startWatch(source, { event: () => undefined }, { clock, random: () => 0.5 })
  const pass = async (seconds: number) => {
    for (let second = 0; second < seconds; second++) {
      clock.advance(1000)
      await turns()
    }
  }
  return { asked, pass, watch }
}

test('a kind that a server may be without is asked for a few times in the first minute, then as rarely as every ten minutes', async t => {
  const { asked, pass, watch } = aWatch(true)
  await pass(60)
  t.true(asked.times >= 5 && asked.times <= 8, `${asked.times}`)
  await pass(3600)
  const before = asked.times
  t.true(before <= 20, `${before} in the first hour`)
  await pass(3600)
  t.true(asked.times - before <= 8, `${asked.times - before} in the second hour`)
  watch.close()
})

test('a kind that every server has is asked for every few seconds, when it is not served', async t => {
  const { asked, pass, watch } = aWatch(false)
  await pass(600)
  t.true(asked.times > 60, `${asked.times}`)
  watch.close()
})

test('a watch that waits minutes for its kind asks at once when it is told to hurry', async t => {
  const { asked, pass, watch } = aWatch(true)
  await pass(1800)
  const before = asked.times
  watch.hurry()
  await turns()
  t.is(asked.times, before + 1)
  watch.close()
})

test('when a kind is served that was not, the others are asked for at once, and once more after ten seconds', async t => {
  const clock = new ManualClock()
  const watches = new Map<string, WatchHandlers<Kind>>()
  const options = new Map<string, boolean | undefined>()
  let hurried = 0
  const store: Partial<Store> = {
    get: async () => {
      throw new NotFound('namespaces "default" not found')
    },
    apiGroup: async () => 'v3' as const,
    retryNow: () => void hurried++,
    watch: ((kind: Kind, handlers: WatchHandlers<Kind>, { mayBeAbsent }: { mayBeAbsent?: boolean }) => {
      watches.set(kind, handlers)
      options.set(kind, mayBeAbsent)
      return { close: () => undefined, hurry: () => undefined }
    }) as Store['watch'],
  }
  const caches = openCaches(store as Store, { database: openDatabase(':memory:'), clock, log: silentLog })
  for (const kind of ['Node', 'IPPool', 'Tier', 'ClusterNetworkPolicy'] as const) caches.of(kind)
  caches.start()
  for (let i = 0; i < 5; i++) await turns()
  t.deepEqual(
    [...options].filter(([, may]) => may).map(([kind]) => kind),
    ['Tier', 'ClusterNetworkPolicy'],
  )
  watches.get('Node')!.connection!({ connected: true })
  clock.advance(2000)
  const cause = new NotFound('not served')
  for (const kind of ['IPPool', 'Tier', 'ClusterNetworkPolicy'])
    watches.get(kind)!.connection!({ connected: false, cause })
  const before = hurried
  watches.get('Tier')!.connection!({ connected: true })
  t.is(hurried, before + 1)
  clock.advance(10_000)
  t.is(hurried, before + 2)
  clock.advance(60_000)
  t.is(hurried, before + 2)
  caches.close()
  t.is(clock.pending, 0)
})

test('what every installation has is never waited for by minutes', t => {
  for (const kind of ['Node', 'Namespace', 'Pod', 'IPPool', 'IPAMBlock', 'NetworkPolicy'] as const)
    t.false(MAY_BE_ABSENT.has(kind))
})
