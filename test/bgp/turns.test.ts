import { setImmediate as round } from 'node:timers/promises'
import test from 'ava'
import { Turns } from '../../bgp/turns.ts'

/** A job that takes the processor for `ms` each of `times` turns and says so in `ran`. */
function job(ran: string[], name: string, times: number, ms = 0): () => boolean {
  return () => {
    ran.push(name)
    for (const until = performance.now() + ms; performance.now() < until; );
    return --times > 0
  }
}

test('a job that was just enqueued goes before one that is in the middle of much', async t => {
  const turns = new Turns()
  const ran: string[] = []
  turns.enqueue(job(ran, 'long', 100, 20))
  turns.enqueue(job(ran, 'longer', 100, 20))
  while (ran.length < 4) await round()
  turns.enqueue(job(ran, 'new', 1))
  const before = ran.length
  while (!ran.includes('new')) await round()
  t.true(ran.indexOf('new') <= before + 1)
  turns.close()
})

test('jobs that come up all the time do not keep a long one from going on', async t => {
  const turns = new Turns()
  const ran: string[] = []
  turns.enqueue(job(ran, 'long', 3))
  const again = () => {
    job(ran, 'again', 1, 10)()
    if (ran.length < 1000) turns.enqueue(again)
    return false
  }
  turns.enqueue(again)
  while (ran.filter(name => name === 'long').length < 3 && ran.length < 1000) await round()
  turns.close()
  t.true(ran.length < 20, `${ran.length} turns`)
})

test('a job that cancels the others, or closes the turns, ends them at once', async t => {
  const turns = new Turns()
  const ran: string[] = []
  const others = [job(ran, 'a', 5), job(ran, 'b', 5)]
  turns.enqueue(() => {
    for (const other of others) turns.cancel(other)
    return false
  })
  for (const other of others) turns.enqueue(other)
  turns.enqueue(() => {
    turns.close()
    return true
  })
  for (let i = 0; i < 5; i++) await round()
  t.deepEqual(ran, [])
})
