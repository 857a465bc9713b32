// Two speakers that dial each other at once, over a network that delivers in another order each time.
import test from 'ava'
import { pair, stateOf } from './pair.ts'

const ORDERS = 40
/** Turns of the event loop that a delivery takes at the most. */
const MOST_DELAY = 8
/** Far more than all the messages of two sessions take. */
const MOST_TURNS = 400

for (const [higher, bId] of [
  ['that was told last', '10.0.0.2'],
  ['that was told first', '10.0.0.0'],
] as const)
  test(`of two connections that both ends dial at once one is left, in whatever order things arrive: the higher identifier is the one ${higher}`, async t => {
    for (let order = 1; order <= ORDERS; order++) {
      const { a, b, toA, toB, network, close } = await pair({ bId })
      let random = order * 7919
      network.later = then => {
        random = (random * 1103515245 + 12345) % 2 ** 31
        afterTurns(Math.floor((random / 2 ** 31) * MOST_DELAY), then)
      }
      a.setPeer(toB)
      b.setPeer(toA)
      // the clock stands: nothing is tried again
      const states = () => `${stateOf(a, 'b')} ${stateOf(b, 'a')}`
      for (let i = 0; i < MOST_TURNS && states() !== 'Established Established'; i++) await new Promise(setImmediate)
      t.is(states(), 'Established Established', `order ${order}`)
      for (let i = 0; i < 4 * MOST_DELAY; i++) await new Promise(setImmediate)
      t.is(states(), 'Established Established', `order ${order}, later`)
      t.is(network.connections.size, 2)
      t.deepEqual(
        [a, b].flatMap(speaker => speaker.peers().map(({ flaps }) => flaps)),
        [0, 0],
      )
      await close()
    }
  })

function afterTurns(turns: number, then: () => void): void {
  setImmediate(() => (turns === 0 ? then() : afterTurns(turns - 1, then)))
}

test('a peer that dials, and whose own port somebody else answers with silence, has its session after a while', async t => {
  const { a, b, toA, toB, network, clock, close } = await pair({ bId: '10.0.0.0' })
  network.listeners.set('10.0.0.2 179', () => undefined)
  a.setPeer(toB)
  for (let i = 0; i < 40; i++) await new Promise(setImmediate)
  b.setPeer(toA)
  for (let i = 0; i < 40; i++) await new Promise(setImmediate)
  t.not(stateOf(b, 'a'), 'Established')
  for (let second = 0; second < 30 && stateOf(b, 'a') !== 'Established'; second++) {
    clock.advance(1000)
    for (let i = 0; i < 40; i++) await new Promise(setImmediate)
  }
  t.is(stateOf(b, 'a'), 'Established')
  await close()
})
