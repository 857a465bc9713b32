import { setImmediate as round } from 'node:timers/promises'
import test from 'ava'
import { WorkQueue } from '../../bgp/work-queue.ts'

/** A job that takes the processor for `ms` each of `times` turns and says so in `ran`. */
function job(ran: string[], name: string, times: number, ms = 0): () => boolean {
  return () => {
    ran.push(name)
    for (const until = performance.now() + ms; performance.now() < until; );
    return --times > 0
  }
}

test('a new job runs before jobs that already had a slice', async t => {
  const queue = new WorkQueue()
  const ran: string[] = []
  queue.enqueue(job(ran, 'long', 100, 20))
  queue.enqueue(job(ran, 'longer', 100, 20))
  while (ran.length < 4) await round()
  queue.enqueue(job(ran, 'new', 1))
  const before = ran.length
  while (!ran.includes('new')) await round()
  t.true(ran.indexOf('new') <= before + 1)
  queue.close()
})

test('new jobs that keep coming do not stop a long one', async t => {
  const queue = new WorkQueue()
  const ran: string[] = []
  queue.enqueue(job(ran, 'long', 3))
  const again = () => {
    job(ran, 'again', 1, 10)()
    if (ran.length < 1000) queue.enqueue(again)
    return false
  }
  queue.enqueue(again)
  while (ran.filter(name => name === 'long').length < 3 && ran.length < 1000) await round()
  queue.close()
  t.true(ran.length < 20, `${ran.length} turns`)
})

test('a job that cancels the others, or closes the queue, ends them at once', async t => {
  const queue = new WorkQueue()
  const ran: string[] = []
  const others = [job(ran, 'a', 5), job(ran, 'b', 5)]
  queue.enqueue(() => {
    for (const other of others) queue.cancel(other)
    return false
  })
  for (const other of others) queue.enqueue(other)
  queue.enqueue(() => {
    queue.close()
    return true
  })
  for (let i = 0; i < 5; i++) await round()
  t.deepEqual(ran, [])
})
