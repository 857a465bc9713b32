import test from 'ava'
import { Queue } from '../../cni/queue.ts'

const gate = () => Promise.withResolvers<void>()
const breathe = () => new Promise(setImmediate)

test('requests of one container take turns, those of others do not wait for them', async t => {
  const queue = new Queue()
  const { promise, resolve } = gate()
  const order: string[] = []
  const first = queue.run('a', async () => {
    await promise
    order.push('a1')
  })
  const second = queue.run('a', async () => void order.push('a2'))
  await queue.run('b', async () => void order.push('b'))
  resolve()
  await Promise.all([first, second])
  t.deepEqual(order, ['b', 'a1', 'a2'])
})

test('no more work at once than the limit, and the next one starts when one ends', async t => {
  const queue = new Queue({ running: 2, waiting: 10 })
  let now = 0
  let most = 0
  const work = async (): Promise<void> => {
    most = Math.max(most, ++now)
    await breathe()
    now--
  }
  await Promise.all(Array.from({ length: 8 }, (_, i) => queue.run(`c${i}`, work)))
  t.is(most, 2)
})

test('too many that wait are sent away with code 11', async t => {
  const queue = new Queue({ running: 1, waiting: 1 })
  const { promise, resolve } = gate()
  const running = queue.run('a', () => promise)
  await breathe()
  const waiting = queue.run('b', async () => {})
  await t.throwsAsync(
    queue.run('c', async () => {}),
    { message: /waiting/ },
  )
  resolve()
  await Promise.all([running, waiting])
  await t.notThrowsAsync(queue.run('c', async () => {}))
})

test('a failure frees the place', async t => {
  const queue = new Queue({ running: 1, waiting: 1 })
  for (let i = 0; i < 3; i++)
    await t.throwsAsync(
      queue.run('a', async () => {
        throw new Error('no')
      }),
    )
  await t.notThrowsAsync(queue.run('a', async () => {}))
})
