// Events on the way to the API server: few, together, and never for ever.
import test from 'ava'
import { KubernetesEvents } from '../../../agent/status/kubernetes-events.ts'
import { type AnyWrite, Conflict, NotFound, Refused, type Store, Unreachable } from '../../../datastore/port.ts'
import { ManualClock } from '../../../lib/clock.ts'
import { silentLog } from '../../../lib/log.ts'

function world() {
  const clock = new ManualClock()
  const wrote: AnyWrite[] = []
  const at: { uid?: string; failure?: Error; asked: number } = { uid: 'u1', asked: 0 }
  const writeAny: Store['writeAny'] = async (_kind, object) => {
    at.asked++
    if (at.failure !== undefined) throw at.failure
    wrote.push(object)
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
    involvedObject: { apiVersion: 'v1', kind: 'Node', name: 'n1', uid: 'u1' },
    ...{
      reason: 'ForeignChangeRepaired',
      type: 'Warning',
      count: 500,
      message: 'Route 10.0.243.0/26: put back; see docs/conditions.md#event-healed',
    },
    source: { component: 'margay-node', host: 'n1' },
    firstTimestamp: '2023-11-14T22:13:20Z',
  })
  t.is(event?.metadata.namespace, 'default')
  t.regex(event?.metadata.name ?? '', /^n1\.[0-9a-f]+\.1$/)
})

test('what happens again within five minutes is counted in the next Event of its reason, which is a new object', async t => {
  const { wrote, pass, repaired } = world()
  repaired('a')
  await pass(20_000)
  repaired('b')
  await pass(20_000)
  repaired('c')
  await pass(240_000)
  t.is(wrote.length, 1)
  await pass(60_000)
  t.is(wrote.length, 2)
  t.like(wrote[1], {
    count: 2,
    message: 'Route c: put back; see docs/conditions.md#event-healed',
    lastTimestamp: '2023-11-14T22:14:00Z',
  })
  t.not(wrote[1]?.metadata.name, wrote[0]?.metadata.name)
  await pass(600_000)
  t.is(wrote.length, 2)
})

test('a reason that waits for its next Event delays no other one', async t => {
  const { wrote, pass, repaired, session } = world()
  repaired('a')
  await pass(20_000)
  repaired('b')
  await pass(20_000)
  session('rack', 'Established')
  session('rack', 'hold-timer')
  await pass(10_000)
  t.deepEqual(
    wrote.map(({ reason }) => reason),
    ['ForeignChangeRepaired', 'BGPSessionDown'],
  )
})

test('an Event is about the Node object that is there now', async t => {
  const { wrote, at, pass, repaired } = world()
  repaired('a')
  await pass(400_000)
  at.uid = 'u2'
  repaired('c')
  await pass(20_000)
  t.like(wrote.at(-1), { count: 1, involvedObject: { uid: 'u2' } })
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
  const byReason = Object.values(Object.groupBy(wrote, ({ reason }) => String(reason))).map(all => all?.length ?? 0)
  t.is(byReason.length, 3)
  t.true(
    byReason.every(count => count >= 11 && count <= 12),
    `${byReason}`,
  )
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
