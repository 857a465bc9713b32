import test from 'ava'
import { NextHopDamping } from '../../agent/next-hop-damping.ts'
import type { NextHopState } from '../../bgp/port.ts'

const UP: NextHopState = { reachable: true, cost: 0, over: 'eth0' }
const DEAR: NextHopState = { reachable: true, cost: 50, over: '192.0.2.0/24' }
const DOWN: NextHopState = { reachable: false, why: 'eth0 is down' }

/** Gives a damping what is found at times in seconds; answers what counted each time: the cost, or - for none. */
function walk(...found: (readonly [atSeconds: number, state: NextHopState])[]) {
  const damping = new NextHopDamping()
  let counted: NextHopState = found[0]![1]
  const costs: string[] = []
  let waitMs: number | undefined
  for (const [atSeconds, state] of found) {
    const taken = damping.take(counted, state, atSeconds * 1000)
    counted = taken.state
    waitMs = taken.waitMs
    costs.push(counted.reachable ? String(counted.cost) : '-')
  }
  return { damping, counted, waitMs, text: costs.join(' ') }
}

test('losses count at once, and so does what comes back, until there were three within a minute', t => {
  t.is(walk([0, UP], [1, DOWN], [2, UP], [3, DOWN], [4, UP]).text, '0 - 0 - 0')
  const third = walk([0, UP], [1, DOWN], [2, UP], [3, DOWN], [4, UP], [5, DOWN], [6, UP])
  t.is(third.text, '0 - 0 - 0 - -')
  t.is(third.waitMs, 10_000)
  t.is(third.damping.losses, 3)
  t.true(third.damping.damped)
  t.regex(third.counted.reachable ? '' : third.counted.why, /damped: .* 3 times within 60 s.* 10 s/)
})

test('a damped next hop counts again once it stayed for ten seconds, and each loss meanwhile begins them anew', t => {
  const flaps = [
    [0, UP],
    [1, DOWN],
    [2, UP],
    [3, DOWN],
    [4, UP],
    [5, DOWN],
    [6, UP],
  ] as const
  t.is(walk(...flaps, [15.9, UP]).text.at(-1), '-')
  t.is(walk(...flaps, [15.9, UP]).waitMs, 100)
  t.is(walk(...flaps, [16, UP]).text.at(-1), '0')
  const again = walk(...flaps, [10, DOWN], [11, UP], [20, UP])
  t.is(again.text.at(-1), '-')
  t.is(again.damping.losses, 4)
  t.is(walk(...flaps, [10, DOWN], [11, UP], [21, UP]).text.at(-1), '0')
})

test('three losses within more than a minute damp nothing', t => {
  t.is(walk([0, UP], [1, DOWN], [2, UP], [31, DOWN], [32, UP], [62, DOWN], [63, UP]).text, '0 - 0 - 0 - 0')
})

test('a link that goes up and down each second for ten minutes changes what counts five times', t => {
  const flaps = Array.from({ length: 600 }, (_, i) => [i, i % 2 === 0 ? UP : DOWN] as const)
  const costs = walk(...flaps).text.split(' ')
  t.is(costs.filter((cost, i) => i > 0 && cost !== costs[i - 1]).length, 5)
})

test('a higher cost is a loss too: it counts at once, and a damped one keeps it until the lower one stayed', t => {
  const flaps = walk([0, UP], [1, DEAR], [2, UP], [3, DEAR], [4, UP], [5, DEAR], [6, UP])
  t.is(flaps.text, '0 50 0 50 0 50 50')
  t.is(flaps.counted, DEAR)
})

test('what is worse and better within one moment, as while it is worked out, is one loss', t => {
  t.is(walk([0, UP], [1, DOWN], [1, UP], [1, DOWN], [1, UP]).damping.losses, 1)
})
