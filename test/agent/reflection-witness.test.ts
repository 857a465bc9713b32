// How long a node's look into its table holds everything else.
import test from 'ava'
import { ReflectionWitness } from '../../agent/reflection-witness.ts'
import type { Speaker } from '../../bgp/speaker.ts'
import { ManualClock } from '../../lib/clock.ts'

/** Paths that are read before anything else has its turn: a few milliseconds. */
const MOST = 4_000

test('a look into the table lets other work in between, however many nodes announce the same prefixes', async t => {
  let read = 0
  const path = { peer: 'n2', accepted: { attributes: {} }, received: { attributes: {} } }
  function* dumpPrefixes(family: string) {
    for (let prefix = 0; family === 'ipv4-unicast' && prefix < 100; prefix++) {
      read += 500
      yield Array.from({ length: 500 }, () => path)
    }
  }
  const nothing = () => undefined
  const speaker = {
    ...{ rib: { dumpPrefixes }, peers: () => [] },
    ...{ onRibEvent: nothing, onChange: nothing, onRestartComplete: nothing },
  } as unknown as Speaker
  const clock = new ManualClock()
  const witness = new ReflectionWitness({ clock, changed: nothing, sessionOf: nothing })
  witness.follow(speaker)
  witness.ask({
    ...{ step: 1, mesh: 'whole', reflectors: new Map(), reflects: false, held: false, nodeName: 'n1' },
    members: () => new Set(),
  })
  let most = 0
  for (let before = 0; witness.said === undefined; before = read) {
    clock.advance(100)
    await new Promise(setImmediate)
    most = Math.max(most, read - before)
  }
  t.is(read, 50_000)
  t.true(most <= MOST, `${most} paths at once`)
  witness.close()
})
