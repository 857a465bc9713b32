import test from 'ava'
import { stopAgent } from '../../agent/stop.ts'
import { ManualClock } from '../../lib/clock.ts'
import { silentLog } from '../../lib/log.ts'

const turns = async () => {
  for (let i = 0; i < 5; i++) await new Promise(setImmediate)
}

/** An agent that is asked to stop, and what of it has ended so far. */
function aStop(flush: () => Promise<void>, { request = Promise.resolve(), answered = () => {} } = {}) {
  const clock = new ManualClock()
  const ended: string[] = []
  const end = (what: string) => async () => void ended.push(what)
  const allocator = {
    refuse: () => void ended.push('refuse'),
    flush: () => {
      ended.push('flush begins')
      return flush()
    },
  }
  const running = {
    socket: { close: () => request.then(end('socket')) },
    agent: { allocator, close: end('agent') },
    store: {
      close: async () => {
        ended.push('store')
        answered()
      },
    },
    kernel: { close: () => void ended.push('kernel') },
  }
  const stopped = stopAgent(running, { clock, log: silentLog })
  return { clock, ended, stopped }
}

const ORDER = ['refuse', 'socket', 'flush begins', 'store', 'agent', 'kernel']

test('a stop ends requests, publishes the blocks, and only then closes what that needs', async t => {
  const published = Promise.withResolvers<void>()
  const { clock, ended, stopped } = aStop(() => published.promise)
  await turns()
  t.deepEqual(ended, ['refuse', 'socket', 'flush begins'])
  published.resolve()
  await stopped
  t.deepEqual(ended, ORDER)
  t.is(clock.pending, 0)
})

test('a server that does not answer holds up a stop for 0.1 s and no longer', async t => {
  const { clock, ended, stopped } = aStop(() => new Promise(() => undefined))
  await turns()
  clock.advance(99)
  await turns()
  t.deepEqual(ended, ['refuse', 'socket', 'flush begins'])
  clock.advance(1)
  await stopped
  t.deepEqual(ended, ORDER)
})

test('blocks that cannot be published do not keep the agent from its end', async t => {
  const { ended, stopped } = aStop(() => Promise.reject(new Error('no answer')))
  await stopped
  t.deepEqual(ended, ORDER)
})

test('a request that waits for a server which does not answer is ended with the store, 0.1 s after the stop', async t => {
  const { promise: request, resolve: answered } = Promise.withResolvers<void>()
  const { clock, ended, stopped } = aStop(async () => undefined, { request, answered })
  await turns()
  t.deepEqual(ended, ['refuse'])
  clock.advance(100)
  await stopped
  t.deepEqual(ended, ['refuse', 'store', 'socket', 'flush begins', 'agent', 'kernel'])
})
