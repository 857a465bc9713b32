import test from 'ava'
import { Lease } from '../../controllers/lease.ts'
import { createFakeStore, type FakeStore } from '../../datastore/fake.ts'
import type { Store } from '../../datastore/port.ts'
import { silentLog } from '../../lib/log.ts'
import { chanceOf, lossyStore, ProcessClock } from './world.ts'

type Candidate = { lease: Lease; clock: ProcessClock; changes: boolean[] }

/** One program; each has a clock of its own, as processes have. */
function candidate(store: Store, identity: string): Candidate {
  const clock = new ProcessClock()
  const changes: boolean[] = []
  const lease = new Lease({
    ...{ store, clock, log: silentLog, identity, namespace: 'kube-system', name: 'margay-controllers' },
    changed: leads => changes.push(leads),
  })
  return { lease, clock, changes }
}

const settled = () => new Promise(setImmediate)

/** Moves the clocks on together, and lets what falls due happen. */
async function pass(seconds: number, ...candidates: readonly Candidate[]): Promise<void> {
  for (let i = 0; i < seconds; i++) {
    for (const { clock } of candidates) clock.advance(1_000)
    for (let turn = 0; turn < 5; turn++) await settled()
  }
}

/** Two programs, of which the first leads. */
async function two(store: FakeStore): Promise<[Candidate, Candidate]> {
  const [a, b] = [candidate(store, 'a'), candidate(store, 'b')]
  a.lease.start()
  await settled()
  b.lease.start()
  await pass(3, a, b)
  return [a, b]
}

const leaseOf = (store: FakeStore) => store.get('Lease', 'margay-controllers', 'kube-system')

test('the first of two leads, and goes on while it renews', async t => {
  const store = createFakeStore()
  const [a, b] = await two(store)
  await pass(120, a, b)
  t.true(a.lease.leads)
  t.false(b.lease.leads)
  const { spec } = await leaseOf(store)
  t.like(spec, { holderIdentity: 'a', leaseDurationSeconds: 30, leaseTransitions: 0 })
  t.regex(spec.renewTime!, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/, 'the form that Kubernetes takes')
})

test('a leader that stops gives the lease back, and another one leads at its next look', async t => {
  const store = createFakeStore()
  const [a, b] = await two(store)
  await a.lease.close()
  t.deepEqual(a.changes, [true, false])
  await pass(6, b)
  t.true(b.lease.leads)
  t.is((await leaseOf(store)).spec.leaseTransitions, 1)
})

test('a leader that was killed is followed when its lease has ended, and not before', async t => {
  const [, b] = await two(createFakeStore())
  await pass(26, b)
  t.false(b.lease.leads)
  await pass(10, b)
  t.true(b.lease.leads)
})

test('a leader that was stopped and goes on does not lead, whoever is asked first', async t => {
  const [a, b] = await two(createFakeStore())
  a.clock.advanceStopped(40_000)
  await pass(40, b)
  t.true(b.lease.leads)
  t.false(a.lease.leads, 'asked before any of its timers fired')
  await pass(30, a, b)
  t.false(a.lease.leads)
  t.deepEqual(a.changes, [true, false])
})

for (const seed of [1, 2, 3])
  test(`two never lead at once, whatever is lost and whoever is stopped (seed ${seed})`, async t => {
    const store = createFakeStore()
    const chance = chanceOf(seed)
    const all = ['a', 'b', 'c'].map(name => candidate(lossyStore(store, chance, 0.15), name))
    for (const each of all) each.lease.start()
    const leftSeconds = new Map<Candidate, number>()
    let led = 0
    for (let i = 0; i < 1_000; i++) {
      for (const each of all) {
        const left = leftSeconds.get(each) ?? (chance(0.01) ? 45 : 0)
        if (left > 0) each.clock.advanceStopped(1_000)
        else each.clock.advance(1_000)
        leftSeconds.set(each, Math.max(0, left - 1))
        if (left <= 1) leftSeconds.delete(each)
        t.true(all.filter(({ lease }) => lease.leads).length <= 1, `second ${i}`)
      }
      for (let turn = 0; turn < 3; turn++) await settled()
      led += all.filter(({ lease }) => lease.leads).length
    }
    t.true(led > 300, `somebody leads much of the time: ${led} of 1000 seconds`)
  })

test('a lease that cannot be had is told after some time, and not at once', async t => {
  const store = createFakeStore()
  const a = candidate(store, 'a')
  store.disconnect()
  a.lease.start()
  await pass(5, a)
  t.is(a.lease.failure, undefined)
  await pass(30, a)
  t.regex(a.lease.failure!.message, /disconnected/)
  store.reconnect()
  await pass(6, a)
  t.is(a.lease.failure, undefined)
  t.true(a.lease.leads)
})

test('without answers of the API server the leader ends by itself', async t => {
  const store = createFakeStore()
  const [a, b] = await two(store)
  store.disconnect()
  await pass(25, a, b)
  t.deepEqual(a.changes, [true, false])
  store.reconnect()
  await pass(10, a, b)
  t.is([a, b].filter(({ lease }) => lease.leads).length, 1)
})
