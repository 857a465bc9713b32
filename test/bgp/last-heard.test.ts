// When a peer was heard last and written to last: what tells messages that are lost in one direction.
import test from 'ava'
import { bringUp, pair } from './pair.ts'
import { settle } from './settle.ts'

test('a peer that is up says when it was heard and written to last, and one that is down does not', async t => {
  const net = await pair({ a: { timers: { holdTimeSeconds: 9 } } })
  await bringUp(net)
  const { clock, a } = net
  const startMs = clock.wallMs()
  const last = () => {
    const { lastReceivedMs, lastSentMs } = a.peer('b')!
    return [lastReceivedMs, lastSentMs].map(ms => ms && ms - startMs)
  }
  const pass = async (seconds: number) => {
    for (let second = 0; second < seconds; second++) {
      clock.advance(1000)
      await settle()
    }
  }
  await pass(4)
  t.deepEqual(last(), [3000, 3000])
  net.network.silent = true
  await pass(7)
  t.deepEqual(last(), [3000, 9000])
  await pass(2)
  t.deepEqual(last(), [undefined, undefined])
  await net.close()
})
