// Events on the way to the API server: few, together, and never for ever.
import test from 'ava'
import { KubernetesEvents } from '../../../agent/status/kubernetes-events.ts'
import { type AnyWrite, Conflict, NotFound, Refused, type Store, Unreachable } from '../../../datastore/port.ts'
import { ManualClock } from '../../../lib/clock.ts'
import { silentLog } from '../../../lib/log.ts'

type Wrote = AnyWrite & { patch: boolean }

function world() {
  const clock = new ManualClock()
  const wrote: Wrote[] = []
  const at: { uid?: string; failure?: Error; asked: number } = { uid: 'u1', asked: 0 }
  const writeAny: Store['writeAny'] = async (_kind, object, { patch = false } = {}) => {
    at.asked++
    if (at.failure !== undefined) throw at.failure
    wrote.push({ ...object, patch })
  }
  const events = new KubernetesEvents({
    ...{ store: { writeAny }, clock, log: silentLog, nodeName: 'n1', nodeUid: () => at.uid, random: () => 0.5 },
  })
  const pass = async (ms: number) => {
    for (let left = ms; left > 0; left -= 1000) {
      clock.advance(Math.min(1000, left))
      for (let turn = 0; turn < 20; turn++) await undefined
    }
  }
  const repaired = (name: string) =>
    events.news.record({
      ...{ type: 'Healed', object: { kind: 'Route', name }, reason: 'ChangedByOther', message: 'put back' },
    })
  const session = (name: string, reason: string) =>
    events.news.record({ type: 'SessionChanged', object: { kind: 'BGPSession', name }, reason, message: reason })
  return { clock, events, wrote, at, pass, repaired, session }
}

test('an Event is about the Node object, in the form that Kubernetes takes, and what happened with it is counted in it', async t => {
  const { wrote, pass, repaired } = world()
  for (let i = 0; i < 500; i++) repaired(`10.0.${i % 256}.0/26`)
  t.is(wrote.length, 0)
  await pass(20_000)
  t.is(wrote.length, 1)
  const [event] = wrote
  t.like(event, {
    patch: false,
    involvedObject: { apiVersion: 'v1', kind: 'Node', name: 'n1', uid: 'u1' },
    ...{ reason: 'ForeignChangeRepaired', type: 'Warning', count: 500, message: 'Route 10.0.243.0/26: put back' },
    source: { component: 'margay-node', host: 'n1' },
    firstTimestamp: '2023-11-14T22:13:20Z',
  })
  t.is(event?.metadata.namespace, 'default')
  t.regex(event?.metadata.name ?? '', /^n1\.[0-9a-f]+\.1$/)
})

test('what happens again raises the count of the same Event', async t => {
  const { wrote, pass, repaired } = world()
  repaired('a')
  await pass(20_000)
  repaired('b')
  repaired('c')
  await pass(20_000)
  t.is(wrote.length, 2)
  t.like(wrote[1], { patch: true, count: 3, message: 'Route c: put back', lastTimestamp: '2023-11-14T22:13:40Z' })
  t.is(wrote[1]?.metadata.name, wrote[0]?.metadata.name)
})

test('an Event that the server forgot, and one of another Node object, are made anew', async t => {
  const { wrote, at, pass, repaired } = world()
  repaired('a')
  await pass(20_000)
  at.failure = new NotFound('gone')
  repaired('b')
  await pass(20_000)
  // the second write of it was refused too: this server has no Events
  t.is(at.asked, 3)
  delete at.failure
  await pass(700_000)
  at.uid = 'u2'
  repaired('c')
  await pass(20_000)
  t.like(wrote.at(-1), { patch: false, count: 1, involvedObject: { uid: 'u2' } })
})

test('with sessions that flap for an hour a node writes at most five times a minute, and few objects', async t => {
  const { wrote, pass, repaired, session } = world()
  const perMinute: number[] = []
  for (let minute = 0; minute < 60; minute++) {
    const before = wrote.length
    for (let i = 0; i < 12; i++) {
      for (const peer of ['a', 'b', 'c']) session(peer, i % 2 === 0 ? 'Established' : 'hold-timer')
      repaired(`r${i}`)
      await pass(5_000)
    }
    perMinute.push(wrote.length - before)
  }
  t.true(Math.max(...perMinute) <= 5, `${perMinute}`)
  t.true(Math.min(...perMinute) >= 3)
  t.is(new Set(wrote.map(({ metadata }) => metadata.name)).size, 3)
})

test('a server that does not answer is asked once more after a minute, and then the Event is forgotten', async t => {
  const { at, pass, repaired, clock } = world()
  at.failure = new Unreachable('away')
  repaired('a')
  await pass(3_600_000)
  t.is(at.asked, 2)
  t.is(clock.pending, 0)
})

test('a server that refuses is left alone for ten minutes, whatever happens meanwhile', async t => {
  for (const failure of [new Refused(403, 'forbidden'), new NotFound('no events here'), new Conflict('x')]) {
    const { at, pass, repaired } = world()
    at.failure = failure
    for (let i = 0; i < 9; i++) {
      repaired(`r${i}`)
      await pass(60_000)
    }
    t.is(at.asked, 1, failure.name)
    delete at.failure
    await pass(120_000)
    t.is(at.asked, 2, failure.name)
  }
})

test('without a Node object, and after the end, nothing is written', async t => {
  const { events, at, pass, repaired } = world()
  delete at.uid
  repaired('a')
  await pass(60_000)
  t.is(at.asked, 0)
  at.uid = 'u1'
  repaired('b')
  events.close()
  await pass(60_000)
  t.is(at.asked, 0)
})
