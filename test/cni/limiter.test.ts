// The limiter of CNI requests: order per key, limits of running and waiting requests.
import test from 'ava'
import { Limiter } from '../../cni/limiter.ts'

const gate = () => Promise.withResolvers<void>()
const nextLoop = () => new Promise(setImmediate)

test('requests of one container run one after the other; requests of other containers do not wait for them', async t => {
  const limiter = new Limiter()
  const { promise, resolve } = gate()
  const order: string[] = []
  const first = limiter.run('a', async () => {
    await promise
    order.push('a1')
  })
  const second = limiter.run('a', async () => void order.push('a2'))
  await limiter.run('b', async () => void order.push('b'))
  resolve()
  await Promise.all([first, second])
  t.deepEqual(order, ['b', 'a1', 'a2'])
})

test('no more requests run at once than the limit, and the next one starts when one ends', async t => {
  const limiter = new Limiter({ running: 2, waiting: 10 })
  let now = 0
  let most = 0
  const work = async (): Promise<void> => {
    most = Math.max(most, ++now)
    await nextLoop()
    now--
  }
  await Promise.all(Array.from({ length: 8 }, (_, i) => limiter.run(`c${i}`, work)))
  t.is(most, 2)
})

test('requests above the limit of waiting ones are refused with code 11', async t => {
  const limiter = new Limiter({ running: 1, waiting: 1 })
  const { promise, resolve } = gate()
  const running = limiter.run('a', () => promise)
  await nextLoop()
  const waiting = limiter.run('b', async () => {})
  await t.throwsAsync(
    limiter.run('c', async () => {}),
    { message: /waiting/ },
  )
  resolve()
  await Promise.all([running, waiting])
  await t.notThrowsAsync(limiter.run('c', async () => {}))
})

test('a request that fails frees its place', async t => {
  const limiter = new Limiter({ running: 1, waiting: 1 })
  for (let i = 0; i < 3; i++)
    await t.throwsAsync(
      limiter.run('a', async () => {
        throw new Error('no')
      }),
    )
  await t.notThrowsAsync(limiter.run('a', async () => {}))
})
