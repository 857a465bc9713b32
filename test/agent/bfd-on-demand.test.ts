import test from 'ava'
import { BfdOnDemand } from '../../agent/bfd-on-demand.ts'
import type { BfdChange, BfdSessionConfig } from '../../bgp/bfd/config.ts'
import { SaidThread } from '../bgp/said-bfd.ts'

const A: BfdSessionConfig = { local: '192.0.2.1', peer: '192.0.2.2' }

function made() {
  const thread = new SaidThread()
  let starts = 0
  const bfd = new BfdOnDemand(() => {
    starts++
    return thread
  })
  return { thread, bfd, starts: () => starts }
}

test('the thread of BFD starts with the first session, and once', async t => {
  const { thread, bfd, starts } = made()
  const changes: BfdChange[] = []
  bfd.onChange(change => changes.push(change))
  bfd.removeSession('none')
  t.deepEqual(await bfd.status(), { scheduling: 'usual', sessions: [], dropped: {} })
  t.throws(() => bfd.setSession('bad', { ...A, desiredMinTxMs: 10 }), { code: 'bad-session' })
  t.is(starts(), 0)
  bfd.setSession('a', A)
  bfd.setSession('b', { ...A, peer: '192.0.2.3' })
  t.is(starts(), 1)
  thread.say('Down', 'Up', {}, 'a')
  t.deepEqual(
    changes.map(({ name }) => name),
    ['a'],
  )
  bfd.removeSession('b')
  t.deepEqual([...thread.sessions.keys()], ['a'])
  await bfd.close()
  t.true(thread.closed)
})

for (const scheduling of ['real-time', 'raised'] as const)
  test(`a thread that is ${scheduling === 'raised' ? 'before its group' : 'in real time'} has the intervals that are asked for`, async t => {
    const { thread, bfd } = made()
    bfd.setSession('a', { ...A, desiredMinTxMs: 50, requiredMinRxMs: 100 })
    t.like(thread.sessions.get('a'), { desiredMinTxMs: 300, requiredMinRxMs: 300 }, 'it is not known yet')
    await thread.start(scheduling)
    t.like(thread.sessions.get('a'), { desiredMinTxMs: 50, requiredMinRxMs: 100 })
    bfd.setSession('a', { ...A, desiredMinTxMs: 60, requiredMinRxMs: 60 })
    t.like(thread.sessions.get('a'), { desiredMinTxMs: 60, requiredMinRxMs: 60 })
    t.is(bfd.condition(), undefined)
  })

test('a thread without priority has no interval below 300 ms, and says why', async t => {
  const { thread, bfd } = made()
  bfd.setSession('a', { ...A, desiredMinTxMs: 50, requiredMinRxMs: 50 })
  bfd.setSession('slow', { ...A, peer: '192.0.2.3', desiredMinTxMs: 700, requiredMinRxMs: 100 })
  t.is(bfd.condition(), undefined)
  await thread.start('usual')
  t.like(thread.sessions.get('a'), { desiredMinTxMs: 300, requiredMinRxMs: 300 })
  t.like(thread.sessions.get('slow'), { desiredMinTxMs: 700, requiredMinRxMs: 300 })
  t.like(bfd.condition(), { type: 'BfdOnTime', status: 'False', reason: 'NoPriority' })
  t.regex(bfd.condition()!.message, /2 sessions that ask for less than 300 ms have 300 ms/)
  t.regex(bfd.condition()!.remedy, /CAP_SYS_NICE/)
  bfd.removeSession('slow')
  bfd.setSession('a', A)
  t.notRegex(bfd.condition()!.message, /sessions that ask/)
  bfd.removeSession('a')
  t.is(bfd.condition(), undefined)
})
